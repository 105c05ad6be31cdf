"""Time against the number of images, memory against images, epochs, batch size and image size.

Every figure is that of a process of its own. Time per image and peak memory must not depend on the
number of images or epochs; the peak over what the process held before training is compared with
what `Model.plan` said it would be.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import networks
from frozen import make_images
from process import Worker, keep, machine

IMAGES = 48  # and 4, 16 times as many
TIMES = (1, 4, 16)
EPOCHS = (1, 4)
SIZES = ((8, 224), (16, 224), (32, 224), (16, 160), (16, 320))  # batch, image
# How much more the time per image, the memory and the plan may be off.
LINEAR, FLAT_MB, PREDICTED = 1.15, 16.0, 0.05


def ask(what: str, **request: Any) -> Any:
    """The answer of a new process."""
    worker = Worker("tlfast", ["growth_tlfast.py"], sys.executable, {})
    answer = worker.ask(what, **request)
    worker.close()
    return answer


def against_images(folder: Path, frozen: bool) -> list[dict[str, float]]:
    rows = []
    for times in TIMES:
        make_images(folder / str(times), IMAGES * times)
        for epochs in EPOCHS if times == max(TIMES) else (2,):
            found = ask("fit", folder=str(folder / str(times)), frozen=frozen, epochs=epochs)
            rows.append({"images": IMAGES * times, "epochs": epochs, **found})
    return rows


def report_images(kind: str, rows: list[dict[str, float]]) -> bool:
    """Prints a part; true when time is linear and memory flat."""
    print(f"{kind}: images, epochs, ms per image in the last epoch, peak MB")
    for row in rows:
        print(
            f"  {row['images']:6} {row['epochs']:3} {row['ms_per_image']:9.2f} {row['peak']:8.0f}"
        )
    # A small folder's epoch has a larger share of what does not grow: it may be slower per image.
    linear = rows[-1]["ms_per_image"] <= LINEAR * min(row["ms_per_image"] for row in rows)
    flat = max(row["peak"] for row in rows) - min(row["peak"] for row in rows) <= FLAT_MB
    print(f"  {'linear' if linear else 'NOT LINEAR'}, {'flat' if flat else 'NOT FLAT'}")
    return linear and flat


def report_sizes(rows: list[dict[str, Any]]) -> bool:
    print("unfrozen step: network, batch, image, MB grown, MB planned, difference")
    for row in rows:
        off = row["grown"] / row["planned"] - 1
        print(f"  {row['network']:15} {row['batch']:3} {row['size']:4} {row['grown']:8.0f} "
              f"{row['planned']:8.0f} {off:+7.1%}")  # fmt: skip
    worst = max(abs(row["grown"] / row["planned"] - 1) for row in rows)
    print(f"  largest difference {worst:.1%}, allowed {PREDICTED:.0%}")
    return worst <= PREDICTED


def run(options: argparse.Namespace) -> None:
    kept: dict[str, Any] = {"machine": machine()}
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for kind in ("frozen", "unfrozen"):
            kept[kind] = against_images(Path(temporary) / kind, kind == "frozen")
            good &= report_images(kind, kept[kind])
        make_images(Path(temporary) / "few", 3 * max(batch for batch, _ in SIZES))
        kept["sizes"] = [
            {"network": network, "batch": batch, "size": size,
             **ask("step", network=network, batch=batch, size=size,
                   folder=str(Path(temporary) / "few"))}
            for network in options.network or networks.NAMES
            for batch, size in SIZES
        ]  # fmt: skip
    good &= report_sizes(kept["sizes"])
    target = keep("growth", kept)
    print(f"{', '.join(kept['machine'].values())}; kept in {target}")
    if not good:
        sys.exit("growth: a line above is outside its limit")
