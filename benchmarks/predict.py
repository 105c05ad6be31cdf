"""Prediction with the seven networks at 224x224, float32 or bf16: batches of 16, and one image.

tlfast and Keras run `Model.predict`, as scripts do; OpenVINO and ONNX Runtime get the same network
as ONNX and are called without anything around it. OpenVINO runs one request on all threads and, for
batches of 16, also several requests side by side; the faster one counts. ONNX Runtime has no
bfloat16 on CPUs. Each network and batch size has new processes, predictions are compared before
anything is timed.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import networks
import numpy as np
from process import Worker, keep, machine, middle, peer

THREADS = str(len(os.sched_getaffinity(0)))
# Name of a contender: script and arguments, the variable that names its Python, its environment.
CONTENDERS: dict[str, tuple[list[str], str | None, dict[str, str]]] = {
    "tlfast": (["predict_keras.py", "tlfast"], None, {}),
    "openvino": (["predict_runtime.py", "openvino", THREADS], "TLFAST_PEER_SERVE", {}),
    "openvino, streams": (
        ["predict_runtime.py", "openvino-streams", THREADS], "TLFAST_PEER_SERVE", {},
    ),
    "onnxruntime": (["predict_runtime.py", "onnxruntime", THREADS], "TLFAST_PEER_SERVE", {}),
    "keras": (["predict_keras.py", "keras"], "TLFAST_PEER_KERAS", {"TF_ENABLE_ONEDNN_OPTS": "1"}),
}  # fmt: skip
PEERS = tuple(name for name in CONTENDERS if name != "tlfast")
BATCH = 16
AGREE, AGREE_BF16 = 1e-4, 5e-2  # of the largest prediction


def start(name: str, precision: str) -> Worker:
    script, variable, environment = CONTENDERS[name]
    return Worker(
        name, [*script, precision], peer(variable) if variable else sys.executable, environment
    )


def check(found: dict[str, np.ndarray], network: str, allowed: float) -> float:
    """Largest difference as a share of the largest prediction; ends where it is too large."""
    ours = found["tlfast"]
    difference = max(float(np.abs(p - ours).max() / np.abs(ours).max()) for p in found.values())
    if not difference <= allowed:
        sys.exit(f"{network}: predictions differ by {difference:.1e} of the largest")
    return difference


def measure(
    network: str, batch: int, contenders: list[str], rounds: int, precision: str
) -> dict[str, Any]:
    """All contenders in turns; enough calls in a turn for a tenth of a second and more."""
    workers = {name: start(name, precision) for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        pixels = str(Path(folder) / "pixels.npy")
        rng = np.random.default_rng(1)
        np.save(pixels, rng.uniform(-1, 1, (batch, networks.SIZE, networks.SIZE, 3)).astype("f4"))
        workers["tlfast"].ask("describe", network=network, folder=folder, batch=batch)
        request = {"network": network, "folder": folder, "pixels": pixels, "batch": batch}
        found = {name: np.array(worker.ask("load", **request)) for name, worker in workers.items()}
    allowed = AGREE_BF16 if precision == "bf16" else AGREE
    result: dict[str, Any] = {"difference": check(found, network, allowed)}
    once = {name: worker.ask("time", calls=1)[0] for name, worker in workers.items()}
    calls = {name: 1 + int(0.1 / seconds) for name, seconds in once.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, worker in workers.items():
            taken[name] += worker.ask("time", calls=calls[name])
    result["seconds"] = taken
    result["versions"] = {name: worker.versions for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    return result


def ratio_to(result: dict[str, Any], peer_name: str) -> float | None:
    """The peer's time / tlfast's, of the peer's settings the fastest."""
    times = [middle(s)[0] for name, s in result["seconds"].items() if name.startswith(peer_name)]
    return min(times) / middle(result["seconds"]["tlfast"])[0] if times else None


def report(network: str, batch: int, result: dict[str, Any]) -> None:
    ratios = {name: ratio_to(result, name) for name in ("openvino", "onnxruntime", "keras")}
    text = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio is not None)
    print(f"{network}, batch {batch}: time / tlfast's: {text}")
    for name, values in result["seconds"].items():
        median, least, most = middle(values)
        print(
            f"    {name:18} {median * 1e3:8.2f} ms ({least * 1e3:.2f} to {most * 1e3:.2f})"
            f"  {batch / median:7.1f} images/s",
            flush=True,
        )


def run(options: argparse.Namespace) -> None:
    precision = "bf16" if options.bf16 else "f32"
    peers = options.contender or [n for n in PEERS if precision == "f32" or n != "onnxruntime"]
    kept: dict[str, Any] = {"machine": machine(), "networks": {}}
    for network in options.network or networks.NAMES:
        kept["networks"][network] = {}
        for batch in (BATCH, 1):
            names = ["tlfast", *(n for n in peers if batch > 1 or n != "openvino, streams")]
            result = measure(network, batch, names, options.rounds, precision)
            report(network, batch, result)
            kept["networks"][network][str(batch)] = result
    for batch in (BATCH, 1):
        for name in ("openvino", "onnxruntime", "keras"):
            ratios = [ratio_to(result[str(batch)], name) for result in kept["networks"].values()]
            found = [ratio for ratio in ratios if ratio is not None]
            if found:
                mean = float(np.exp(np.mean(np.log(found))))
                print(f"batch {batch}: geometric mean of {name} / tlfast {mean:.2f}")
    target = keep("predict-bf16" if options.bf16 else "predict", kept)
    print(f"{', '.join(kept['machine'].values())}; kept in {target}")
