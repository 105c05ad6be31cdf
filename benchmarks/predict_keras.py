"""tlfast and Keras in the benchmark `predict`: python predict_keras.py tlfast | keras f32 | bf16"""

import os
import sys
from pathlib import Path
from typing import Any

import networks
import numpy as np
from serving import serve, timed


class Contender:
    """`Model.predict` of one network."""

    def __init__(self, kind: str, precision: str) -> None:
        if kind == "tlfast":
            import tlfast as tf
        else:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            import tensorflow as tf
        self.tf = tf
        if precision == "bf16":
            tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        self.network: Any = None

    def versions(self) -> dict[str, str]:
        return {"framework": self.tf.__version__, "numpy": np.__version__}

    def built(self, network: str) -> Any:
        """The network, once: a second one would give its layers other names, so other weights."""
        if self.network is None:
            self.network = networks.classifier(self.tf.keras, network)
        return self.network

    def describe(self, network: str, folder: str, batch: int) -> None:
        """Writes the network for the runtimes that read ONNX."""
        import recorded_graph

        recorded_graph.save(self.built(network), batch, Path(folder))

    def load(self, network: str, folder: str, pixels: str, batch: int) -> list[list[float]]:
        """Predictions of the images, which are those that are timed."""
        self.built(network)
        self.x, self.batch = np.load(pixels)[:batch], batch
        return np.asarray(self.predict()).tolist()

    def predict(self) -> Any:
        return self.network.predict(self.x, batch_size=self.batch, verbose=0)

    def time(self, calls: int) -> list[float]:
        return timed(self.predict, calls)


if __name__ == "__main__":
    serve(Contender(*sys.argv[1:]))
