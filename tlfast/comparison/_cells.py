"""One training of a comparison, a cell, and what is kept of it on disk."""

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlfast import _core
from tlfast._version import __version__
from tlfast.callbacks import Callback
from tlfast.comparison._arms import Arm
from tlfast.comparison._images import Images
from tlfast.comparison._network import Network
from tlfast.saving.atomic import replacing


class OutOfTime(Exception):
    """The budget ends before this training would."""


@dataclass(frozen=True)
class Cell:
    """One training: an arm, a seed, a learning rate."""

    arm: Arm
    seed: int
    rate: float

    @property
    def key(self) -> str:
        """Name of its files below the folder of cells."""
        return f"{self.arm.key}/seed{self.seed}-rate{self.rate:g}"


class RunFolder:
    """Where finished cells lie: each file is written whole or not at all.

    Args:
        path: the folder; made on first use.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def _file(self, cell: Cell, ending: str) -> Path:
        return self.path / "cells" / f"{cell.key}{ending}"

    def record(self, cell: Cell) -> Any:
        """What a finished training left, or None."""
        return read_json(self._file(cell, ".json"))

    def put_record(self, cell: Cell, record: dict[str, Any]) -> None:
        """Keep the record of a finished training."""
        write_json(self._file(cell, ".json"), record)

    def predictions(self, cell: Cell) -> np.ndarray | None:
        """Probabilities of the test images (images, classes), or None."""
        path = self._file(cell, ".test.npy")
        return np.load(path, allow_pickle=False) if path.exists() else None

    def put_predictions(self, cell: Cell, probabilities: np.ndarray) -> None:
        """Keep the predictions for the test part."""
        with replacing(self._file(cell, ".test.npy")) as file:
            np.save(file, probabilities, allow_pickle=False)

    def weights(self, cell: Cell) -> list[np.ndarray] | None:
        """Weights of a training that may be chosen, or None."""
        path = self._file(cell, ".weights.npz")
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as found:
            return [found[name] for name in found.files]

    def put_weights(self, cell: Cell, values: Sequence[np.ndarray]) -> None:
        """Keep weights until a learning rate is chosen."""
        with replacing(self._file(cell, ".weights.npz")) as file:
            np.savez(file, *values)

    def drop_weights(self, cell: Cell) -> None:
        """Remove weights that are not needed any more."""
        self._file(cell, ".weights.npz").unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file, or None where there is no file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all; numbers that are not finite become null."""
    with replacing(path) as file:
        file.write((json.dumps(finite(value), indent=1, allow_nan=False) + "\n").encode())


def finite(value: Any) -> Any:
    """The same structure with None for NaN and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# ---- one training ----


class _BestEpoch(Callback):
    """Keeps the weights of the first epoch with the highest validation accuracy."""

    def __init__(self, variables: Sequence[Any]) -> None:
        super().__init__()
        self._variables = variables
        self.values: list[np.ndarray] = []
        self.epoch = 0
        self._best = -math.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["val_accuracy"] > self._best:
            self._best, self.epoch = logs["val_accuracy"], epoch
            self.values = [variable.numpy() for variable in self._variables]


class Clock(Callback):
    """Measures epochs, and ends a training that the budget does not allow.

    Args:
        deadline: on `time.monotonic()`, seconds.
        test_share: test images per validation image: the time that the predictions will take.
    """

    def __init__(self, deadline: float, test_share: float) -> None:
        super().__init__()
        self._deadline, self._test_share = deadline, test_share
        self.seconds: list[float] = []
        self._validation = 0.0
        self._epoch_began = self._test_began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check(0.0)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._test_began = time.monotonic()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check(0.0)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        # The first validation may compute features, as the test predictions will have to.
        self._validation = max(self._validation, time.monotonic() - self._test_began)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.seconds.append(time.monotonic() - self._epoch_began)
        if epoch > 0:  # the first epoch reads files and computes features
            self._check(self.seconds[-1] * (self.params["epochs"] - epoch - 1))

    def _check(self, ahead: float) -> None:
        if time.monotonic() + ahead + self._validation * self._test_share > self._deadline:
            raise OutOfTime


def train(
    cell: Cell, network: Network, images: Images, epochs: int, deadline: float
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Run one training; the network has the weights of the best epoch afterwards.

    Equal, bit for bit, to building the network, `compile` and `fit` with
    `EarlyStopping("val_accuracy", patience=epochs, restore_best_weights=True)`.

    Args:
        cell: what to train.
        network: of the cell's backbone and freeze level.
        images: the parts.
        epochs: number of epochs.
        deadline: on `time.monotonic()`.

    Returns:
        (record for the run folder, the values of `network.written()`).

    Raises:
        OutOfTime: the training would end after the deadline.
    """
    network.restart(cell.seed)
    data = images.train(cell.seed)
    model = network.model
    model.compile(
        optimizer=cell.arm.make_optimizer(cell.rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    best = _BestEpoch(network.written())
    clock = Clock(deadline, images.count("test") / images.count("validation"))
    measures_peak = reset_peak_memory()
    began = time.monotonic()
    history = model.fit(
        data, validation_data=images.fixed("validation"), epochs=epochs, verbose=0,
        callbacks=[best, clock],
    ).history  # fmt: skip
    seconds = time.monotonic() - began
    for variable, value in zip(network.written(), best.values, strict=True):
        variable.assign(value)
    record = {
        "arm": cell.arm.name,
        "seed": cell.seed,
        "learning_rate": cell.rate,
        "optimizer": model.optimizer.get_config(),
        "best_epoch": best.epoch + 1,
        "validation_accuracy": float(history["val_accuracy"][best.epoch]),
        "validation_loss": float(history["val_loss"][best.epoch]),
        "history": {name: [float(v) for v in values] for name, values in history.items()},
        "seconds": seconds,
        "epoch_seconds": clock.seconds,
        "peak_memory": peak_memory() if measures_peak else None,
        "trained_parameters": network.trained_parameters,
        "tlfast": __version__,
        "threads": _core.num_threads(),
    }
    return record, best.values


# ---- memory ----


def reset_peak_memory() -> bool:
    """Start a new measurement of the process's peak; False where the system does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """Largest resident size of the process, in bytes, since `reset_peak_memory`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no line VmHWM")
