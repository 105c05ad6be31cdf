"""Is freezing the weights always right? python benchmarks/frozen_or_not.py [--gcompris DIR]

`tlfast.compare` on two data sets: the certain cells of elpv-dataset (functional or defective,
random split), and with --gcompris the photographs of Debian's gcompris-qt-data (see gcompris.py;
DIR is where the package was unpacked). EfficientNet-Lite0 with ImageNet weights; frozen, last block
trained, unfrozen; SGD (momentum 0.9) and Adam; 5 seeds. A run that was ended goes on where it was.
Results, with every prediction for the test part, are kept as JSON in benchmarks/results/.

At 160 pixels and 6 epochs the solar cells take hours on two cores, the photographs minutes.
"""

import argparse
import importlib.util
import platform
import time
from pathlib import Path

import gcompris

import tlfast.comparison
from tlfast import demo, keras

HERE = Path(__file__).resolve().parent
LAST_BLOCK = "block7a_expand_conv"


def solar_cells(folder: Path) -> Path:
    """Folder with train and test parts of the certain cells."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None:
        raise SystemExit("the images are not installed: pip install elpv-dataset==1.0.0.post1")
    source = Path(spec.submodule_search_locations[0]) / "data"
    for part, label, file in demo.split_cells(source / "labels.csv", "random", seed=0, fold=0):
        demo.place(source / file, folder / part / label / Path(file).name)
    return folder


def photographs(package: Path, folder: Path) -> Path:
    """Folder with train and test parts of the photographs."""
    if not (folder / "test").is_dir():
        gcompris.make_folders(package / "usr" / "share" / "gcompris-qt" / "rcc", folder)
    return folder


def row(arm: dict) -> str:
    """A line of the README's table."""
    scores = [arm["scores"][name] for name in ("accuracy", "balanced_accuracy")]
    if not arm["seeds"]:
        return f"| {arm['name']} | skipped | | | |"
    shown = [f"{100 * sum(s) / len(s):.1f}" for s in scores]
    verdict = "reference" if arm["difference"] is None else arm["difference"]["verdict"]
    took = tlfast.comparison.duration(arm["seconds"])
    return f"| {arm['name']} | {' | '.join(shown)} | {took} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gcompris", type=Path, metavar="DIR")
    parser.add_argument("--only", choices=("elpv", "gcompris"))
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", help="for each data set")
    parser.add_argument("--folder", type=Path, default=Path("frozen-or-not"))
    options = parser.parse_args()
    data = {}
    if options.only != "gcompris":
        data["elpv"] = solar_cells(options.folder / "elpv")
    if options.gcompris and options.only != "elpv":
        data["gcompris"] = photographs(options.gcompris, options.folder / "gcompris")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for name, folder in data.items():
        result = tlfast.compare(
            folder,
            freeze=["all", LAST_BLOCK, "none"],
            optimizer=[keras.optimizers.SGD(momentum=0.9), "adam"],
            epochs=options.epochs,
            seeds=options.seeds,
            budget=options.budget,
            image_size=options.size,
            run_folder=options.folder / f"run-{name}-{options.size}-{options.epochs}",
        )
        print(f"\n{result}\n")
        result.settings |= {"processor": platform.processor() or platform.machine(),
                            "threads": tlfast.num_threads()}  # fmt: skip
        result.to_json(HERE / "results" / f"frozen-or-not-{name}-{stamp}.json")
        print("\n".join(row(arm) for arm in result.to_dict()["arms"]))


if __name__ == "__main__":
    main()
