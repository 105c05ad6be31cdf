"""How close tlfast comes to the convolution primitives alone, batch 16, 224x224, seven networks.

`convolution_limit.cpp` times every convolution of a network by itself, in the layout it likes
best: oneDNN's direct algorithm, forward and both gradients. Nothing else of the network is in that
sum, so a step near it has little left to save; below it, Winograd's algorithm pays for all the
rest. Both run in turns.
"""

import argparse
import collections
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import networks
import numpy as np
from process import HERE, Worker, keep, machine, middle
from train import BATCH


def build_limit(folder: Path) -> Path:
    """Compile convolution_limit.cpp against the oneDNN that tlfast is built with (extra `dev`)."""
    headers = importlib.metadata.distribution("onednn-devel-cpu-gomp")
    header = next(f for f in headers.files or [] if f.name == "dnnl.hpp" and "oneapi" in f.parts)
    include = Path(header.locate()).resolve().parents[2]
    import tlfast

    library = Path(tlfast.__file__).parent / "libdnnl.so.3"
    program = folder / "convolution_limit"
    command = ["g++", "-O2", "-fopenmp", str(HERE / "convolution_limit.cpp"), f"-I{include}",
               str(library), f"-Wl,-rpath,{library.parent}", "-o", str(program)]  # fmt: skip
    subprocess.run(command, check=True)
    return program


def padding(layer: Any, size: tuple[int, ...], out: tuple[int, ...]) -> tuple[int, int]:
    """Zeros above and to the left of the image."""
    if layer.padding != "same":
        return 0, 0
    stride = layer.strides[0]
    rows = max((out[0] - 1) * stride + layer.kernel_size[0] - size[0], 0)
    columns = max((out[1] - 1) * stride + layer.kernel_size[1] - size[1], 0)
    return rows // 2, columns // 2


def convolutions(network: str) -> str:
    """The convolutions of a network as convolution_limit reads them, equal ones counted."""
    from tlfast import keras

    model = getattr(keras.applications, network)(
        include_top=False, weights=None, input_shape=(networks.SIZE, networks.SIZE, 3)
    )
    found: collections.Counter[tuple[Any, ...]] = collections.Counter()
    for layer in model.layers:
        kind = type(layer).__name__
        if kind not in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D"):
            continue
        _, h, w, n_in = layer.input.shape
        _, out_h, out_w, n_out = layer.output.shape
        top, left = padding(layer, (h, w), (out_h, out_w))
        window = (*layer.kernel_size, layer.strides[0], top, left)
        if kind == "Conv2D":
            found["c", n_in, n_out, h, w, out_h, out_w, *window] += 1
        elif kind == "DepthwiseConv2D":
            found["d", n_in, n_out, h, w, out_h, out_w, *window] += 1
        else:
            found["d", n_in, n_in, h, w, out_h, out_w, *window] += 1
            found["c", n_in, n_out, out_h, out_w, out_h, out_w, 1, 1, 1, 0, 0] += 1
    return "".join(" ".join(map(str, (*key, n))) + "\n" for key, n in found.items())


def measure(
    network: str, program: Path, rounds: int, folder: Path, precision: str
) -> dict[str, Any]:
    shapes = folder / f"{network}.txt"
    shapes.write_text(convolutions(network))
    pixels = str(folder / "pixels.npy")
    rng = np.random.default_rng(1)
    np.save(pixels, rng.uniform(-1, 1, (BATCH, networks.SIZE, networks.SIZE, 3)).astype("f4"))
    worker = Worker("tlfast", ["train_keras.py", "tlfast", precision], sys.executable, {})
    worker.ask("predict", network=network, model="", pixels=pixels)
    worker.ask("step")
    worker.ask("inference")
    found: dict[str, list[float]] = collections.defaultdict(list)
    for _ in range(rounds):
        found["step"].append(worker.ask("step"))
        found["inference"].append(worker.ask("inference"))
        command = [str(program), str(BATCH), str(shapes), precision]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        step, inference = (float(v) / 1e3 for v in answer.split())
        found["limit of a step"].append(step)
        found["limit of inference"].append(inference)
    worker.close()
    return found


def run(options: argparse.Namespace) -> None:
    kept: dict[str, Any] = {"machine": machine(), "networks": {}}
    precision = "bf16" if options.bf16 else "f32"
    print("network: step / its direct convolutions alone, predict / the same")
    with tempfile.TemporaryDirectory() as temporary:
        program = build_limit(Path(temporary))
        for network in options.network or networks.NAMES:
            found = measure(network, program, options.rounds, Path(temporary), precision)
            kept["networks"][network] = found
            step, step_limit = middle(found["step"])[0], middle(found["limit of a step"])[0]
            predict = middle(found["inference"])[0]
            predict_limit = middle(found["limit of inference"])[0]
            print(
                f"{network}: {step / step_limit:.2f}x ({step:.3f} s, limit {step_limit:.3f}), "
                f"{predict / predict_limit:.2f}x ({predict:.3f} s, limit {predict_limit:.3f})",
                flush=True,
            )
    target = keep("limit-bf16" if options.bf16 else "limit", kept)
    print(f"{', '.join(kept['machine'].values())}; kept in {target}")
