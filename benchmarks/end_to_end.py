"""Minutes from an empty virtual environment to a trained, saved model, tlfast beside Keras.

The settings are those of the two articles: 512 px, 2 classes, 500 images, a frozen ResNet50, 5
epochs; 224 px, 8 classes, 4,000 images, Xception frozen and unfrozen, 2 epochs. Photographs are
generated, weights are random: neither changes the time. Each run makes an environment, installs
(tlfast: its wheel of dist/; Keras: tensorflow-cpu) and runs article.py, which differs in one import
line only. What pip takes depends on the network and its cache, so it stands apart.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from frozen import make_images
from process import HERE, keep, machine

# Setting: image size, classes, images, network, frozen, epochs.
SETTINGS = {
    "ResNet50 frozen, 512 px": (512, 2, 500, "ResNet50", True, 5),
    "Xception frozen, 224 px": (224, 8, 4000, "Xception", True, 2),
    "Xception unfrozen, 224 px": (224, 8, 4000, "Xception", False, 2),
}


def newest_wheel() -> str:
    wheels = sorted((HERE.parent / "dist").glob("tlfast-*.whl"), key=os.path.getmtime)
    if not wheels:
        sys.exit("no wheel in dist/: build one with python .ci/release.py")
    return str(wheels[-1])


def seconds_of(command: list[str], environment: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True,
                          env=os.environ | (environment or {}))  # fmt: skip
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - start


def install(contender: str, folder: Path) -> dict[str, float]:
    packages = {"tlfast": [newest_wheel()], "keras": ["tensorflow-cpu", "pillow"]}[contender]
    environment = folder / contender
    made = seconds_of([sys.executable, "-m", "venv", str(environment)])
    pip = [str(environment / "bin" / "pip"), "install", "-q", *packages]
    return {"environment": made, "install": seconds_of(pip)}


def train(contender: str, folder: Path, setting: str, images: Path) -> float:
    size, _, _, network, frozen, epochs = SETTINGS[setting]
    command = [
        str(folder / contender / "bin" / "python"), str(HERE / "article.py"), contender,
        str(images), str(size), network, "frozen" if frozen else "unfrozen", str(epochs),
        str(folder / f"{contender}.keras"),
    ]  # fmt: skip
    return seconds_of(command, {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"})


def run(options: argparse.Namespace) -> None:
    kept: dict[str, Any] = {"machine": machine(), "share": options.share, "settings": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kept["install"] = {name: install(name, folder) for name in ("tlfast", "keras")}
        for setting in options.setting or SETTINGS:
            _, classes, count, *_ = SETTINGS[setting]
            images = folder / f"{classes} classes"
            if not images.exists():
                make_images(images, int(count * options.share), classes)
            found = {name: train(name, folder, setting, images) for name in ("tlfast", "keras")}
            kept["settings"][setting] = found
            whole = {n: found[n] + sum(kept["install"][n].values()) for n in found}
            print(f"{setting}: {whole['keras'] / whole['tlfast']:.2f}x Keras")
            for name, seconds in found.items():
                parts = kept["install"][name]
                print(f"    {name:7} {whole[name] / 60:6.2f} min: environment "
                      f"{parts['environment']:.0f} s, pip {parts['install']:.0f} s, script "
                      f"{seconds:.0f} s", flush=True)  # fmt: skip
    if options.share != 1:
        print(f"with {options.share:.0%} of the images of each setting")
    target = keep("end-to-end", kept)
    print(f"{', '.join(kept['machine'].values())}; kept in {target}")
