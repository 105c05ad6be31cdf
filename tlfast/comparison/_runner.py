"""The order of the trainings, the choice of the learning rate, the budget, and resuming."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tlfast._warnings import InputRangeWarning
from tlfast.comparison._arms import Arm
from tlfast.comparison._cells import Cell, OutOfTime, RunFolder, read_json, train, write_json
from tlfast.comparison._images import Images
from tlfast.comparison._network import Network


@dataclass
class ArmRun:
    """What was run of one arm.

    Attributes:
        arm: the arm.
        rates: the learning rates tried.
        rate: the one chosen, or None where the budget did not allow all of them.
        records: the record of each finished training, learning rates that lost included.
        probabilities: for each finished seed what was predicted for the test part.
        skipped: the seeds left out.
    """

    arm: Arm
    rates: list[float]
    rate: float | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    probabilities: dict[int, np.ndarray] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)


class Runner:
    """Runs all cells that are not in the run folder yet, cheap arms first.

    Args:
        folder: where finished cells are kept.
        images: the parts.
        make_network: gives the network of a backbone and a freeze level.
        epochs: epochs of every training.
        seeds: the first one chooses the learning rates.
        deadline: on `time.monotonic()`; infinity for none.
        say: gets one line per cell.
    """

    def __init__(
        self,
        folder: RunFolder,
        images: Images,
        make_network: Callable[[Arm], Network],
        epochs: int,
        seeds: Sequence[int],
        deadline: float,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._images, self._make_network = folder, images, make_network
        self._epochs, self._seeds, self._deadline, self._say = epochs, list(seeds), deadline, say
        self._network: Any = None  # Network
        self._network_of: tuple[Any, ...] | None = None

    def run(self, arms: Sequence[Arm], rates: Sequence[float]) -> list[ArmRun]:
        """Run the arms in their order.

        Args:
            arms: arms of one backbone and freeze level should follow one another.
            rates: the grid of learning rates for arms without a rate of their own.
        """
        runs = []
        for arm in arms:
            with warnings.catch_warnings():
                if arm.pixels is not None:  # the arm is there to show what this range costs
                    warnings.simplefilter("ignore", InputRangeWarning)
                runs.append(self._run_arm(arm, list(rates)))
        return runs

    def _run_arm(self, arm: Arm, grid: list[float]) -> ArmRun:
        run = ArmRun(arm, grid if arm.own_rate is None else [arm.own_rate])
        candidates = [Cell(arm, self._seeds[0], rate) for rate in run.rates]
        try:
            for place, cell in enumerate(candidates):
                self._train_candidate(cell, run, len(candidates) - place)
            chosen = best_cell(candidates, self._folder)
            run.rate = chosen.rate
            self._test_candidate(chosen, run)
            for cell in candidates:
                self._folder.drop_weights(cell)
            for seed in self._seeds[1:]:
                self._run_seed(Cell(arm, seed, chosen.rate), run)
        except OutOfTime:
            run.skipped = [seed for seed in self._seeds if seed not in run.probabilities]
            what = "all" if run.rate is None else ", ".join(map(str, run.skipped))
            self._say(f"{arm.name}: seeds skipped: {what} (budget)")
        return run

    def _train_candidate(self, cell: Cell, run: ArmRun, left: int) -> None:
        """One learning rate with the first seed."""
        record = self._folder.record(cell)
        if record is None:
            self._check_time(run, left)
            record, values = train(
                cell, self._network_for(cell.arm), self._images, self._epochs, self._deadline
            )
            self._folder.put_weights(cell, values)
            self._folder.put_record(cell, record)
            self._report(cell, record)
        run.records.append(record)

    def _test_candidate(self, cell: Cell, run: ArmRun) -> None:
        """Predict the test part with the learning rate that was chosen."""
        probabilities = self._folder.predictions(cell)
        if probabilities is None:
            network = self._network_for(cell.arm)
            values = self._folder.weights(cell)
            if values is None:  # another choice was made in an earlier call: run it again
                _, values = train(cell, network, self._images, self._epochs, self._deadline)
            for variable, value in zip(network.written(), values, strict=True):
                variable.assign(value)
            probabilities = self._finish(cell, self._folder.record(cell), network)
        run.probabilities[cell.seed] = probabilities

    def _run_seed(self, cell: Cell, run: ArmRun) -> None:
        """A further seed with the learning rate chosen."""
        record, probabilities = self._folder.record(cell), self._folder.predictions(cell)
        if record is None or probabilities is None:
            self._check_time(run, 1)
            network = self._network_for(cell.arm)
            record, _ = train(cell, network, self._images, self._epochs, self._deadline)
            probabilities = self._finish(cell, record, network)
            self._folder.put_record(cell, record)
            self._report(cell, record)
        run.records.append(record)
        run.probabilities[cell.seed] = probabilities

    def _finish(self, cell: Cell, record: dict[str, Any], network: Network) -> np.ndarray:
        """Predict the test part with the network as it stands; keep it if it is the best so far."""
        frozen = cell.arm.freeze == "all"
        test = self._images.fixed("test") if frozen else self._images.test_alone()
        probabilities = network.model.predict(test, verbose=0)
        keep_best(self._folder.path, cell, record, network.model)
        self._folder.put_predictions(cell, probabilities)
        return probabilities

    def _network_for(self, arm: Arm) -> Network:
        if self._network_of != (arm.backbone, arm.freeze, arm.pixels):
            self._network = None  # frees its memory before the next is made
            self._network = self._make_network(arm)
            self._network_of = (arm.backbone, arm.freeze, arm.pixels)
        return self._network

    def _check_time(self, run: ArmRun, cells: int) -> None:
        """Do not begin what the budget will not let end."""
        known = [r["epoch_seconds"][1:] or r["epoch_seconds"] for r in run.records]
        expected = median(s for seconds in known for s in seconds) * self._epochs if known else 0.0
        if time.monotonic() + cells * expected > self._deadline:
            raise OutOfTime

    def _report(self, cell: Cell, record: dict[str, Any]) -> None:
        self._say(
            f"{cell.arm.name}, rate {cell.rate:g}, seed {cell.seed}: validation accuracy "
            f"{record['validation_accuracy']:.4f} in epoch {record['best_epoch']} of "
            f"{self._epochs}, {record['seconds']:.1f} s"
        )


def best_cell(cells: Sequence[Cell], folder: RunFolder) -> Cell:
    """The cell with the highest validation accuracy, then the lowest loss, then the lowest rate."""
    return max(cells, key=lambda cell: (*_quality(folder.record(cell)), -cell.rate))


def _quality(record: dict[str, Any]) -> tuple[float, float]:
    loss = record["validation_loss"]  # null where the training diverged
    return record["validation_accuracy"], -math.inf if loss is None else -loss


def keep_best(folder: Path, cell: Cell, record: dict[str, Any], model: Any) -> None:
    """Save the model as best.keras if no finished cell was better on the validation part."""
    so_far = read_json(folder / "best.json")
    if so_far is not None and _quality(record) <= _quality(so_far):
        return
    model.save(folder / "best.keras")
    kept = ("arm", "seed", "learning_rate", "best_epoch", "validation_accuracy", "validation_loss")
    write_json(folder / "best.json", {"cell": cell.key, **{name: record[name] for name in kept}})
