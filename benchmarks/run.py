"""Benchmarks: python benchmarks/run.py frozen [--images 96] [--rounds 3] [--network NAME]

frozen: a new head on a frozen network, 224x224, batch 16, the same weights and images for all.
tlfast runs the article's script; beside it, each in its own process and in turns, Keras with the
same script, Keras with features computed once by hand, and scikit-learn on those features.
Outputs are compared before anything is timed. Ratios come first; the figures are kept as JSON in
benchmarks/results/.

Peers: TLFAST_PEER_KERAS=PYTHON names a Python with tensorflow, keras and scikit-learn, where
they are not installed beside tlfast.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
NETWORKS = ("resnet50", "efficientnetlite0")
KINDS = ("tlfast", "article", "by-hand")
EPOCHS = 20
AGREE = 1e-4  # of the largest feature
IMPORTS = 11


class Worker:
    """A contender's process."""

    def __init__(self, kind: str) -> None:
        python = sys.executable
        if kind != "tlfast":
            python = os.environ.get("TLFAST_PEER_KERAS", sys.executable)
        self.kind = kind
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py"), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.versions = self.read()

    def read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            sys.exit(f"the process of {self.kind} ended:\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def ask(self, what: str, **request: Any) -> Any:
        self.process.stdin.write(json.dumps({"what": what, **request}) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def make_images(folder: Path, count: int) -> None:
    """Two classes of JPEG files of the size of small photographs."""
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:375, 0:500]
    for number in range(count):
        label = ("one", "two")[number % 2]
        planes = []
        for _ in range(3):
            a, b = rng.uniform(0.01, 0.2, 2) * (1 + number % 2)
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
    ours = np.array(workers["tlfast"].ask("features", network=network, pixels=str(path)))
    theirs = np.array(workers["article"].ask("features", network=network, pixels=str(path)))
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not difference <= AGREE:
        sys.exit(f"{network}: features differ by {difference:.1e} of the largest, allowed {AGREE}")
    return difference


def measure(network: str, images: int, rounds: int) -> dict[str, Any]:
    """All contenders in turns on one network."""
    workers = {kind: Worker(kind) for kind in KINDS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder / "warm", 2 * 16)
        make_images(folder / "images", images)
        result: dict[str, Any] = {"difference": check_outputs(workers, network, folder)}
        result["versions"] = {kind: worker.versions for kind, worker in workers.items()}
        for worker in workers.values():
            worker.ask("run", network=network, folders=[str(folder / "warm")] * 2, epochs=1)
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for number in range(rounds):
            # Copies, so that nothing computed in an earlier fit can be found again.
            copies = [str(folder / f"images-{number}-{copy}") for copy in (0, 1)]
            for copy in copies:
                shutil.copytree(folder / "images", copy)
            for kind, worker in workers.items():
                answer = worker.ask("run", network=network, folders=copies, epochs=EPOCHS)
                runs[kind].append(answer)
        result["runs"] = runs
        result["memory"] = {kind: worker.ask("memory") for kind, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    return result


def middle(runs: list[dict[str, float]], what: str) -> tuple[float, float, float]:
    """(median, least, most)."""
    values = [run[what] for run in runs]
    return statistics.median(values), min(values), max(values)


def report(network: str, result: dict[str, Any], images: int) -> None:
    """Ratios first, then seconds and megabytes."""
    runs, memory = result["runs"], result["memory"]
    first = {kind: middle(runs[kind], "first") for kind in KINDS}
    whole = {kind: middle(runs[kind], "all") for kind in KINDS}
    logistic = middle(runs["by-hand"], "sklearn")
    fastest = min(first[kind][0] for kind in KINDS if kind != "tlfast")
    print(f"\n{network}, {images} images, median of {len(runs['tlfast'])} rounds in turns")
    print(f"  features agree to {result['difference']:.1e} of the largest")
    print(f"  first pass, fastest peer / tlfast        {fastest / first['tlfast'][0]:.2f}x")
    print(f"  {EPOCHS} epochs / one pass, tlfast             "
          f"{whole['tlfast'][0] / first['tlfast'][0]:.2f}x")  # fmt: skip
    for name, other in (
        ("the article's script", whole["article"]),
        ("features by hand", whole["by-hand"]),
        ("scikit-learn on them", logistic),
    ):
        print(f"  {EPOCHS} epochs, {name:20} / tlfast   {other[0] / whole['tlfast'][0]:.2f}x")
    for field, name in (("peak", "peak memory"), ("over_import", "peak over import")):
        ratio = memory["tlfast"][field] / memory["article"][field]
        print(f"  {name}, tlfast / the article's script {ratio:.2f}x")
    print("  seconds: median (least to most)")
    for kind in KINDS:
        line = f"    {kind:8} first {first[kind][0]:7.2f} ({first[kind][1]:.2f} to "
        line += f"{first[kind][2]:.2f})  {EPOCHS} epochs {whole[kind][0]:8.2f}"
        line += " (first x 20)" if kind == "article" else ""
        print(f"{line}  peak {memory[kind]['peak']:.0f} MB")


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


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "commit": commit or "unknown",
    }


def frozen(options: argparse.Namespace) -> None:
    networks = [options.network] if options.network else list(NETWORKS)
    kept: dict[str, Any] = {"machine": machine(), "imports": import_times(), "networks": {}}
    for network in networks:
        result = measure(network, options.images, options.rounds)
        kept["networks"][network] = result
        report(network, result, options.images)
    print("\nimport after NumPy, milliseconds, median of", IMPORTS)
    for name, value in kept["imports"].items():
        print(f"  {name}: {value:.0f}")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    target = results / time.strftime("frozen-%Y%m%d-%H%M%S.json")
    target.write_text(json.dumps(kept, indent=1))
    print(f"\n{', '.join(kept['machine'].values())}; kept in {target}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=("frozen",))
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", choices=NETWORKS)
    frozen(parser.parse_args())


if __name__ == "__main__":
    main()
