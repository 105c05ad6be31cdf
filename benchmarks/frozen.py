"""A new head on a frozen network, 224x224, batch 16, the same weights and images for all.

tlfast runs the article's script; beside it, each in its own process and in turns, Keras with the
same script, Keras with features computed once by hand, and scikit-learn on those features. Keras
runs with TensorFlow's oneDNN kernels on and off (it leaves them off on CPUs without AVX-512); the
faster one counts. Memory is that of processes of their own, which run the article's script once
(fit with validation data, evaluate, predict). Outputs are compared before anything is timed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from process import Worker, keep, machine, middle, peer

TITLES = {"resnet50": "ResNet50", "efficientnetlite0": "EfficientNet-Lite0"}
NETWORKS = tuple(TITLES)
# Name of a contender: what its process runs, and TensorFlow's TF_ENABLE_ONEDNN_OPTS.
CONTENDERS = {
    "tlfast": ("tlfast", None),
    "article": ("article", "0"),
    "article, oneDNN": ("article", "1"),
    "by hand": ("by-hand", "0"),
    "by hand, oneDNN": ("by-hand", "1"),
}
EPOCHS = 20
AGREE = 1e-4  # of the largest feature
IMPORTS = 11


def start(name: str) -> Worker:
    kind, onednn = CONTENDERS[name]
    if onednn is None:
        return Worker(name, ["frozen_keras.py", kind], sys.executable, {})
    environment = {"TF_ENABLE_ONEDNN_OPTS": onednn}
    return Worker(name, ["frozen_keras.py", kind], peer("TLFAST_PEER_KERAS"), environment)


def make_images(folder: Path, count: int, classes: int = 2) -> None:
    """JPEG files of the size of small photographs, a folder per class."""
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:375, 0:500]
    for number in range(count):
        label = f"class{number % classes}"
        planes = []
        for _ in range(3):
            a, b = rng.uniform(0.01, 0.2, 2) * (1 + number % classes)
            planes.append(127 + 90 * np.sin(a * x + b * y + rng.uniform(0, 6)))
        pixels = np.stack(planes, -1) + rng.normal(0, 12, (375, 500, 3))
        (folder / label).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        image.save(folder / label / f"{number:04d}.jpg", quality=90)


def check_outputs(workers: dict[str, Worker], network: str, folder: Path) -> float:
    """Largest difference of the features, as a share of the largest feature; ends where it is
    too large."""
    path = folder / "pixels.npy"
    rng = np.random.default_rng(1)
    np.save(path, rng.uniform(0, 255, (3, 224, 224, 3)).astype(np.float32))
    found = {
        name: np.array(worker.ask("features", network=network, pixels=str(path)))
        for name, worker in workers.items()
    }
    theirs = found["article"]
    difference = max(float(np.abs(f - theirs).max() / np.abs(theirs).max()) for f in found.values())
    if not difference <= AGREE:
        sys.exit(f"{network}: features differ by {difference:.1e} of the largest, allowed {AGREE}")
    return difference


def measure(network: str, images: int, rounds: int) -> dict[str, Any]:
    """All contenders in turns on one network."""
    workers = {name: start(name) for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder / "warm", 2 * 16)
        make_images(folder / "images", images)
        result: dict[str, Any] = {"difference": check_outputs(workers, network, folder)}
        result["versions"] = {name: worker.versions for name, worker in workers.items()}
        for worker in workers.values():
            worker.ask("run", network=network, folders=[str(folder / "warm")] * 2, epochs=1)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for number in range(rounds):
            # Copies, so that nothing computed in an earlier fit can be found again.
            copies = [str(folder / f"images-{number}-{copy}") for copy in (0, 1)]
            for copy in copies:
                shutil.copytree(folder / "images", copy)
            for name, worker in workers.items():
                answer = worker.ask("run", network=network, folders=copies, epochs=EPOCHS)
                runs[name].append(answer)
        result["runs"] = runs
        for worker in workers.values():
            worker.close()
        result["memory"] = {
            name: memory_of_script(name, network, str(folder / "images"))
            for name in CONTENDERS
            if not name.startswith("by hand")
        }
    return result


def memory_of_script(name: str, network: str, folder: str) -> dict[str, float]:
    worker = start(name)
    found = worker.ask("script", network=network, folder=folder)
    worker.close()
    return found


def figures(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Ratios of one network's result with their names; of Keras' two settings the faster counts."""
    runs, memory = result["runs"], result["memory"]

    def best(script: str, what: str) -> float:
        names = [name for name in runs if name != "tlfast" and name.startswith(script)]
        return min(middle([run[what] for run in runs[name]])[0] for name in names)

    first, ours = (middle([run[what] for run in runs["tlfast"]])[0] for what in ("first", "all"))
    rows = [
        ("first pass, fastest peer / tlfast", f"{best('', 'first') / first:.2f}x"),
        (f"{EPOCHS} epochs / one pass, tlfast", f"{ours / first:.2f}"),
        (f"{EPOCHS} epochs, the same script in Keras / tlfast",
         f"{best('article', 'all') / ours:.0f}x"),
        (f"{EPOCHS} epochs, Keras with features computed once by hand / tlfast",
         f"{best('by hand', 'all') / ours:.2f}x"),
        ("scikit-learn on such features / tlfast", f"{best('by hand', 'sklearn') / ours:.2f}x"),
    ]  # fmt: skip
    if "head" in runs["tlfast"][0]:
        head = middle([run["head"] for run in runs["tlfast"]])[0]
        rows.append(("epochs of the head alone, Keras on such features / tlfast",
                     f"{best('by hand', 'head') / head:.1f}x"))  # fmt: skip
    for field, label in (("peak", "peak memory"), ("over_import", "peak over import")):
        theirs = min(of[field] for name, of in memory.items() if name.startswith("article"))
        ratio = memory["tlfast"][field] / theirs
        rows.append((f"{label}, tlfast / the same script in Keras", f"{ratio:.2f}"))
    return rows


def report(network: str, result: dict[str, Any], images: int) -> None:
    """Ratios first, then seconds and megabytes."""
    runs, memory = result["runs"], result["memory"]
    print(f"\n{network}, {images} images, median of {len(runs['tlfast'])} rounds in turns")
    print(f"  features agree to {result['difference']:.1e} of the largest")
    for label, text in figures(result):
        print(f"  {label:70} {text}")
    print("  seconds: median (least to most)")
    for name in CONTENDERS:
        first = middle([run["first"] for run in runs[name]])
        whole = middle([run["all"] for run in runs[name]])[0]
        line = f"    {name:16} first {first[0]:7.2f} ({first[1]:.2f} to {first[2]:.2f})"
        line += f"  {EPOCHS} epochs {whole:8.2f}"
        line += " (first x 20)" if name.startswith("article") else ""
        if name in memory:
            line += f"  peak {memory[name]['peak']:.0f} MB"
            line += f", {memory[name]['over_import']:.0f} MB over import"
        print(line)


def import_times() -> dict[str, float]:
    """Milliseconds that imports take after NumPy's, each in a new process; medians."""
    code = (
        "import time, numpy; a = time.perf_counter(); import tlfast; b = time.perf_counter()\n"
        "{more}\nprint((b - a) * 1e3, (time.perf_counter() - a) * 1e3)"
    )
    build = "tlfast.applications.MobileNetV2(weights=None)"
    rows = []
    for _ in range(IMPORTS):
        command = [sys.executable, "-c", code.format(more=build)]
        rows.append([float(v) for v in subprocess.check_output(command, text=True).split()])
    plain, built = np.median(rows, axis=0)
    return {"import": float(plain), "import and MobileNetV2(weights=None)": float(built)}


def run(options: argparse.Namespace) -> None:
    networks = [options.network] if options.network else list(NETWORKS)
    kept: dict[str, Any] = {"machine": machine(), "imports": import_times(), "networks": {}}
    for network in networks:
        result = measure(network, options.images, options.rounds)
        kept["networks"][network] = result
        report(network, result, options.images)
    print("\nimport after NumPy, milliseconds, median of", IMPORTS)
    for name, value in kept["imports"].items():
        print(f"  {name}: {value:.0f}")
    target = keep("frozen", kept)
    print(f"\n{', '.join(kept['machine'].values())}; kept in {target}")
