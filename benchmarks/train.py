"""One training step at 224x224, batch 16, of the seven networks, all layers or only the head.

tlfast, Keras (TensorFlow's oneDNN kernels on; jit_compile off and on) and PyTorch (channels_last,
eager and compiled) train the same network from the same weights: SGD with momentum, a softmax head
with two classes. Predictions are compared before anything is timed. Each network has new processes,
whose peak memory is measured too; beside it stands the lower bound of `Model.plan`.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import networks
import numpy as np
from process import Ended, Worker, keep, machine, middle, peer

# Name of a contender: script and arguments, the variable that names its Python, its environment.
CONTENDERS: dict[str, tuple[list[str], str | None, dict[str, str]]] = {
    "tlfast": (["train_keras.py", "tlfast"], None, {}),
    "keras": (["train_keras.py", "keras"], "TLFAST_PEER_KERAS", {"TF_ENABLE_ONEDNN_OPTS": "1"}),
    "keras, jit": (
        ["train_keras.py", "keras", "jit"], "TLFAST_PEER_KERAS", {"TF_ENABLE_ONEDNN_OPTS": "1"},
    ),
    "torch": (["train_torch.py"], "TLFAST_PEER_TORCH", {}),
    "torch, compiled": (["train_torch.py", "compiled"], "TLFAST_PEER_TORCH", {}),
}  # fmt: skip
BATCH = 16
MODES = ("frozen", "bf16", "avx2")
# What oneDNN (of all three), PyTorch's own kernels and MKL may use in the mode avx2.
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip
# Of the largest prediction: softmax of features of order 1.
AGREE, AGREE_BF16 = 1e-3, 5e-2


def start(name: str, modes: list[str]) -> Worker:
    script, variable, environment = CONTENDERS[name]
    python = peer(variable) if variable else sys.executable
    return Worker(name, [*script, *modes], python, environment | (AVX2 if "avx2" in modes else {}))


def compare(found: dict[str, np.ndarray], network: str, allowed: float) -> float:
    """Largest difference of the predictions; ends where it is too large."""
    difference = max(float(np.abs(p - found["tlfast"]).max()) for p in found.values())
    if not difference <= allowed:
        sys.exit(f"{network}: predictions differ by {difference:.1e}, allowed {allowed}")
    return difference


def ask_all(workers: dict[str, Worker], failed: dict[str, str], what: str, **request: Any) -> Any:
    """The answers by name. A peer that fails (torch.compile may) is out of the race, and said."""
    answers = {}
    for name, worker in list(workers.items()):
        try:
            answers[name] = worker.ask(what, **request)
        except Ended as error:
            if name == "tlfast" or len(workers) == 2:
                raise
            failed[name] = str(error).strip().splitlines()[-1]
            workers.pop(name).close()
            print(f"{name} failed: {failed[name]}", flush=True)
    return answers


def measure(network: str, contenders: list[str], rounds: int, modes: list[str]) -> dict[str, Any]:
    """All contenders in turns."""
    workers = {name: start(name, modes) for name in contenders}
    with tempfile.TemporaryDirectory() as temporary:
        model = str(Path(temporary) / "model.json")
        pixels = str(Path(temporary) / "pixels.npy")
        rng = np.random.default_rng(1)
        np.save(pixels, rng.uniform(-1, 1, (BATCH, networks.SIZE, networks.SIZE, 3)).astype("f4"))
        workers["tlfast"].ask("describe", network=network, target=model)
        failed: dict[str, str] = {}
        request = {"network": network, "model": model, "pixels": pixels}
        predicted = ask_all(workers, failed, "predict", **request)
        found = {name: np.array(values) for name, values in predicted.items()}
        difference = compare(found, network, AGREE_BF16 if "bf16" in modes else AGREE)
        first = ask_all(workers, failed, "step")
        steps = [ask_all(workers, failed, "step") for _ in range(rounds)]
        memory = ask_all(workers, failed, "memory")
        bound = workers["tlfast"].ask("lower_bound")
    seconds = {name: [step[name] for step in steps] for name in workers}
    first = {name: first[name] for name in workers}
    versions = {name: worker.versions for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    return {
        "difference": difference, "first": first, "seconds": seconds, "memory": memory,
        "lower_bound": bound, "versions": versions, "failed": failed,
    }  # fmt: skip


def report(network: str, result: dict[str, Any]) -> float:
    """One line of ratios, then the figures; returns fastest peer / tlfast."""
    median = {name: middle(values)[0] for name, values in result["seconds"].items()}
    memory, bound = result["memory"], result["lower_bound"]
    peers = [name for name in median if name != "tlfast"]
    fastest = min(peers, key=lambda name: median[name])
    ratio = median[fastest] / median["tlfast"]
    print(
        f"{network}: {ratio:.2f}x the fastest peer ({fastest}); memory "
        f"{memory['tlfast'] / bound:.2f} of the lower bound, "
        f"{memory['tlfast'] / min(memory[name] for name in peers):.2f} of the best peer's"
    )
    for name, values in result["seconds"].items():
        _, least, most = middle(values)
        print(
            f"    {name:16} {median[name]:7.2f} s ({least:.2f} to {most:.2f})  first step "
            f"{result['first'][name]:.1f} s  peak {memory[name]:,.0f} MB"
        )
    return ratio


def run(options: argparse.Namespace) -> None:
    contenders = ["tlfast", *(options.contender or [n for n in CONTENDERS if n != "tlfast"])]
    kept: dict[str, Any] = {"machine": machine(), "networks": {}}
    modes = [mode for mode in MODES if getattr(options, mode)]
    ratios = []
    for network in options.network or networks.NAMES:
        kept["networks"][network] = measure(network, contenders, options.rounds, modes)
        ratios.append(report(network, kept["networks"][network]))
        sys.stdout.flush()
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"geometric mean of {len(ratios)}: {mean:.2f}x; least {min(ratios):.2f}x")
    target = keep("-".join(["train", *modes]), kept)
    print(f"{', '.join(kept['machine'].values())}; kept in {target}")
