"""`tlfast bench`: how fast this machine trains and predicts, and tuning it."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from tlfast.commands import CommandError

HELP = "time training and predicting here; --tune measures the best algorithms for this machine"
DESCRIPTION = (
    "Times a training step and a prediction of well-known networks with random weights. With "
    "--tune it measures instead which convolutions run faster by Winograd's algorithm and keeps "
    "that in the cache folder, where later processes find it; results then differ from those "
    "before in the last bits. Nothing else should run meanwhile."
)
NETWORKS = (
    "VGG16", "ResNet50", "InceptionV3", "Xception", "DenseNet121", "MobileNetV2", "EfficientNetB0",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast bench`."""
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: all seven")
    parser.add_argument("--size", type=int, default=224, help="height and width of images (224)")
    parser.add_argument("--batch", type=int, default=16, help="images per step (16)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; the fastest counts (5)")
    parser.add_argument("--tune", action="store_true", help="measure and keep a table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="of --tune, instead of the "
                        "cache folder; TLFAST_ALGORITHMS=FILE uses it")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit status."""
    for name in ("size", "batch", "rounds"):
        least = 32 if name == "size" else 1
        if getattr(options, name) < least:
            raise CommandError(f"--{name} {getattr(options, name)}: {least} or more")
    if options.output is not None and not options.tune:
        raise CommandError("--output belongs to --tune")
    return _tune(options) if options.tune else _time(options)


def _time(options: argparse.Namespace) -> int:
    from tlfast import num_threads
    from tlfast._algorithms import algorithm_choices

    print(f"batch of {options.batch} at {options.size} x {options.size}, {num_threads()} threads, "
          f"algorithms {algorithm_choices()}")  # fmt: skip
    print(f"{'network':16}{'training step':>16}{'predicted images':>20}")
    for network in options.network or NETWORKS:
        step, predict = _seconds(network, options)
        print(f"{network:16}{step * 1e3:13.0f} ms{options.batch / predict:18.0f}/s", flush=True)
    return 0


def _seconds(network: str, options: argparse.Namespace) -> tuple[float, float]:
    import numpy as np

    from tlfast import applications, layers, models

    shape = (options.size, options.size, 3)
    base = getattr(applications, network)(
        include_top=False, weights=None, input_shape=shape, pooling="avg"
    )
    model = models.Model(base.input, layers.Dense(2, activation="softmax")(base.output))
    model.compile("sgd", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (options.batch, *shape)).astype(np.float32)
    y = np.arange(options.batch) % 2

    def fastest(call: Any) -> float:
        call()  # makes the plan
        times = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    predict = fastest(lambda: model.predict(x, batch_size=options.batch, verbose=0))
    return fastest(lambda: model.train_on_batch(x, y)), predict


def _tune(options: argparse.Namespace) -> int:
    from tlfast import _version, num_threads
    from tlfast._algorithms import ISAS, Entry, instruction_set, read_table, table_text, tuned_file
    from tlfast._tune import BATCH, shapes_of, tune
    from tlfast.saving.atomic import replacing

    shapes = shapes_of(options.network or NETWORKS, options.size)
    target = options.output or tuned_file()
    print(f"{len(shapes)} kinds of layers, {options.rounds} rounds each; for {target}")
    print(f"{'result':>12}{'channels':>14}{'type':>10}  by Winograd's algorithm")
    entries: list[Entry] = []
    for (height, width, n_in, n_out, _), found in tune(shapes, options.rounds):
        entries += found
        dtype = found[0][1]
        chosen = ", ".join(use for use, *_, winograd in found if winograd) or "nothing"
        print(
            f"{f'{height} x {width}':>12}{f'{n_in} -> {n_out}':>14}{dtype:>10}  {chosen}",
            flush=True,
        )
    tables = {isa: read_table(target, isa) for isa in ISAS if target.exists()}
    tables[instruction_set()] = entries  # those of other instruction sets stay
    facts = {"version": _version.__version__, "threads": str(num_threads()), "batch": str(BATCH)}
    try:
        os.makedirs(target.parent, exist_ok=True)
        with replacing(str(target)) as file:
            file.write(table_text({i: t for i, t in tables.items() if t}, facts).encode())
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error}") from error
    print(f"kept in {target}" + ("" if options.output else "; used from the next process on"))
    sys.stdout.flush()
    return 0
