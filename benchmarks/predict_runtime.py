"""OpenVINO and ONNX Runtime in the benchmark `predict`:
python predict_runtime.py openvino | openvino-streams | onnxruntime THREADS f32 | bf16

Images are handed over in the order the network was written in (NCHW), so no runtime pays for a
change of order; float32 is not OpenVINO's default on CPUs with bf16.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graph
from serving import serve, timed


class OpenVino:
    """One request at a time on all threads."""

    hint = "LATENCY"

    def __init__(self, threads: int, precision: str) -> None:
        self.threads, self.precision = threads, precision

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("openvino", "onnx", "numpy")}

    def load(self, network: str, folder: str, pixels: str, batch: int) -> list[list[float]]:
        """Predictions of the images, which are those that are timed."""
        import openvino

        path = Path(folder) / "network.onnx"
        path.write_bytes(onnx_graph.load(Path(folder)).SerializeToString())
        options = {
            "PERFORMANCE_HINT": self.hint, "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": self.precision,
        }  # fmt: skip
        self.compiled = openvino.Core().compile_model(str(path), "CPU", options)
        precision = self.compiled.get_property("INFERENCE_PRECISION_HINT")
        assert precision == getattr(openvino.Type, self.precision), (
            f"OpenVINO computes in {precision}"
        )
        self.x = np.ascontiguousarray(np.load(pixels)[:batch].transpose(0, 3, 1, 2))
        self.request = self.compiled.create_infer_request()
        return self.predict().tolist()

    def predict(self) -> np.ndarray:
        return self.request.infer([self.x])[0]

    def time(self, calls: int) -> list[float]:
        return timed(self.predict, calls)


class OpenVinoStreams(OpenVino):
    """As many requests at once as OpenVINO finds best."""

    hint = "THROUGHPUT"

    def time(self, calls: int) -> list[float]:
        """Seconds per batch, as many times as calls, of batches that run side by side."""
        import openvino

        queue = openvino.AsyncInferQueue(self.compiled)
        together = len(queue)

        def all_at_once() -> None:
            for _ in range(together):
                queue.start_async([self.x])
            queue.wait_all()

        return [seconds / together for seconds in timed(all_at_once, calls)]


class OnnxRuntime:
    """All graph optimizations, all threads inside an operator."""

    def __init__(self, threads: int, precision: str) -> None:
        if precision != "f32":
            raise SystemExit("ONNX Runtime's CPU provider computes in float32 only")
        self.threads = threads

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("onnxruntime", "onnx", "numpy")}

    def load(self, network: str, folder: str, pixels: str, batch: int) -> list[list[float]]:
        """Predictions of the images, which are those that are timed."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = self.threads
        model = onnx_graph.load(Path(folder)).SerializeToString()
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        x = np.ascontiguousarray(np.load(pixels)[:batch].transpose(0, 3, 1, 2))
        self.feeds = {self.session.get_inputs()[0].name: x}
        return self.predict().tolist()

    def predict(self) -> Any:
        return self.session.run(None, self.feeds)[0]

    def time(self, calls: int) -> list[float]:
        return timed(self.predict, calls)


KINDS = {"openvino": OpenVino, "openvino-streams": OpenVinoStreams, "onnxruntime": OnnxRuntime}

if __name__ == "__main__":
    serve(KINDS[sys.argv[1]](int(sys.argv[2]), sys.argv[3]))
