"""Model files beside Keras: load_model with the first prediction of one image, and save.

Each figure comes from a new process, tlfast and Keras in turns. Keras runs with TensorFlow's oneDNN
kernels on and off, the faster one counts (saving does not use them). Loading counts from after the
first article's imports to the first prediction of an image that is in memory, of the article's
model (network, pooling, dense head); the import and the whole process are given too. Files stand in
the page cache, written by both libraries, and both must predict the same from each before anything
is timed. Saving is that of ResNet50 with Adam's slots after one step; memory is the peak of the
process while it saves over what it held just before.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from files_contender import SIZES
from process import HERE, keep, machine, middle, peer

# Name of a contender: which library, and TensorFlow's TF_ENABLE_ONEDNN_OPTS.
CONTENDERS = {"tlfast": ("tlfast", ""), "Keras": ("keras", "0"), "Keras, oneDNN": ("keras", "1")}
FORMATS = ("h5", "keras")
WRITERS = ("tlfast", "keras")
PARTS = ("load", "save")
AGREE = 1e-5


def ask(name: str, *arguments: str) -> dict[str, Any]:
    """The answer of a new process of a contender, with the seconds of its whole life."""
    library, onednn = CONTENDERS[name]
    python = sys.executable if library == "tlfast" else peer("TLFAST_PEER_KERAS")
    # Compiled modules are kept, as in any installation.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn, "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    done = subprocess.run(
        [python, str(HERE / "files_contender.py"), library, *arguments],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"the process of {name} ended:\n{done.stderr[-3000:]}")
    return {**json.loads(done.stdout), "process": seconds}


def in_turns(names: list[str], rounds: int, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            runs[name].append(ask(name, *arguments))
    return runs


def check(file: Path, image: Path) -> float:
    """Largest difference of the predictions from one file; ends where it is too large."""
    found = [np.array(ask(name, "load", str(file), str(image))["output"]) for name in CONTENDERS]
    difference = max(float(np.abs(output - found[0]).max()) for output in found)
    if not difference <= AGREE or np.ptp(found[0]) < 100 * AGREE:
        sys.exit(f"{file.name}: predictions differ by {difference:.1e}: {found}")
    return difference


def make_models(folder: Path, networks: list[str]) -> None:
    for network in networks:
        size = SIZES[network]
        pixels = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
        np.save(folder / f"{network}.npy", pixels)
        for name, library in zip(("tlfast", "Keras"), WRITERS, strict=True):
            if not (folder / f"{network}-{library}.keras").exists():
                ask(name, "make", network, str(folder))


def measure_load(
    folder: Path, network: str, ending: str, writers: list[str], rounds: int
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for writer in writers:
        file, image = folder / f"{network}-{writer}.{ending}", folder / f"{network}.npy"
        difference = check(file, image)
        runs = in_turns(list(CONTENDERS), rounds, "load", str(file), str(image))
        result[writer] = {"difference": difference, "runs": runs}
        report_load(f"{network} .{ending} written by {writer}", difference, runs)
    return result


def counted(run: dict[str, Any]) -> float:
    return float(run["load"] + run["predict"])


def fastest(runs: dict[str, list[dict[str, Any]]], of: Any) -> float:
    """The median of Keras' faster setting."""
    return min(statistics.median(map(of, runs[name])) for name in runs if name != "tlfast")


def report_load(title: str, difference: float, runs: dict[str, list[dict[str, Any]]]) -> None:
    ratio = fastest(runs, counted) / statistics.median(map(counted, runs["tlfast"]))
    print(f"\n{title}: median of {len(runs['tlfast'])}, predictions agree to {difference:.1e}")
    print(f"  load and first prediction, Keras / tlfast   {ratio:.1f}x")
    print("  seconds: load and first prediction (least to most) = load + predict;")
    print("           both once more in the same process; import; whole process")
    for name, found in runs.items():
        both, least, most = middle([counted(run) for run in found])
        parts = [
            middle([run[part] for run in found])[0]
            for part in ("load", "predict", "next", "import", "process")
        ]
        print(
            f"    {name:14} {both:6.3f} ({least:.3f} to {most:.3f}) = {parts[0]:.3f} + "
            f"{parts[1]:.3f}; {parts[2]:.3f}; {parts[3]:.2f}; {parts[4]:.2f}"
        )


def measure_save(folder: Path, ending: str, rounds: int) -> dict[str, Any]:
    runs = in_turns(
        ["tlfast", "Keras"], rounds, "save", "ResNet50", str(folder / f"saved.{ending}")
    )
    print(f"\nResNet50 with Adam's slots to .{ending}: median of {rounds}, first and second save")
    for save in ("first", "second"):

        def seconds(run: dict[str, Any], save: str = save) -> float:
            return float(run[save]["seconds"])

        ratio = fastest(runs, seconds) / statistics.median(map(seconds, runs["tlfast"]))
        print(f"  {save} save, Keras / tlfast   {ratio:.1f}x")
        for name, found in runs.items():
            middles = {
                key: middle([run[save][key] for run in found])[0]
                for key in ("seconds", "added", "before")
            }
            share = middles["added"] / found[0]["model"]
            print(
                f"    {name:14} {middles['seconds']:6.3f} s, {middles['added']:4.0f} MB more than "
                f"the {middles['before']:.0f} before: {share:.1%} of the model's "
                f"{found[0]['model']:.0f} MB"
            )
    return runs


def run(options: argparse.Namespace) -> None:
    networks = options.network or list(SIZES)
    kept: dict[str, Any] = {"machine": machine(), "load": {}, "save": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.models or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        parts = options.part or PARTS
        if "load" in parts or options.models:
            make_models(folder, networks)
        pairs = itertools.product(networks, options.format or FORMATS)
        for network, ending in pairs if "load" in parts else ():
            kept["load"][f"{network} {ending}"] = measure_load(
                folder, network, ending, options.writer or list(WRITERS), options.rounds
            )
        for ending in (options.format or FORMATS) if "save" in parts else ():
            kept["save"][ending] = measure_save(folder, ending, options.rounds)
    target = keep("files", kept)
    print(f"\n{', '.join(kept['machine'].values())}; kept in {target}")
