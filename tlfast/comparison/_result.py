"""What a comparison found: scores, verdicts, the table as text, HTML and JSON."""

import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlfast import _statistics
from tlfast._statistics import Difference
from tlfast.comparison._cells import finite, write_json
from tlfast.comparison._runner import ArmRun

_HEADINGS = (
    "arm", "seeds", "rate", "accuracy", "balanced", "macro-F1", "time", "memory", "trained",
)  # fmt: skip


@dataclass
class ArmResult:
    """One row of the table.

    Attributes:
        name: backbone, freeze level, optimizer.
        rate: learning rate chosen, or None where the arm was skipped.
        rate_note: "smallest tried" or "largest tried" where the choice is at an end of the grid,
            "given" where there was none.
        seeds: seeds finished; skipped: seeds that the budget did not allow.
        scores: "accuracy", "balanced_accuracy", "macro_f1" on the test part, one per seed.
        seconds: all trainings of the arm, the choice of the learning rate included.
        peak_memory: largest size of the process in bytes, or None where it cannot be measured.
        trained_parameters: number of weights that are trained, or None where nothing was run.
        said: class numbers of the test images, (seeds, images).
        difference: to the reference; None for the reference itself and without common seeds.
    """

    name: str
    rate: float | None
    rate_note: str
    seeds: list[int]
    skipped: list[int]
    scores: dict[str, list[float]]
    seconds: float
    peak_memory: int | None
    trained_parameters: int | None
    said: np.ndarray
    difference: Difference | None = None

    @property
    def verdict(self) -> str:
        """The sentence about the difference to the reference."""
        if not self.seeds:
            return "skipped (budget)"
        return (
            "no seed in common with the reference"
            if self.difference is None
            else (self.difference.verdict)
        )


@dataclass
class Comparison:
    """The result of `tlfast.compare`; print it, or show it in a notebook.

    Attributes:
        protocol: the lines at the head of the table.
        class_names: names of the classes.
        truth: class numbers of the test images.
        arms: one result per arm, in the order in which they ran.
        reference: name of the arm the others are compared with.
        score: "accuracy" or "balanced_accuracy": what the verdicts are about.
        folder: the run folder.
        parts: paths of the images of each part.
        best: the record of the best model by validation, saved as best.keras; or None.
    """

    protocol: list[str]
    class_names: list[str]
    truth: np.ndarray
    arms: list[ArmResult]
    reference: str
    score: str
    folder: Path
    parts: dict[str, list[str]]
    best: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def arm(self, name: str) -> ArmResult:
        """The result of one arm.

        Args:
            name: as the table has it.

        Raises:
            KeyError: no such arm, with the names that exist.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(f"no arm {name!r}; the arms are {[arm.name for arm in self.arms]}")

    # ---- shown -----------------------------------------------------------------------------

    def __str__(self) -> str:
        rows = [_HEADINGS, *(_cells(arm) for arm in self.arms)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
        lines = ["Protocol", *(f"  {line}" for line in self.protocol), ""]
        for row in rows:
            first, *others = row
            numbers = (f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True))
            lines.append("  ".join([f"{first:<{widths[0]}}", *numbers]).rstrip())
        lines += ["", f'{_score_name(self.score)} against "{self.reference}", in points:']
        rest = [arm for arm in self.arms if arm.name != self.reference]
        lines += [f"  {arm.name}: {arm.verdict}" for arm in rest] or ["  no other arm"]
        return "\n".join([*lines, "", *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table where a notebook cell ends with it."""
        protocol = "".join(f"<li>{html.escape(line)}</li>" for line in self.protocol)
        head = "".join(f"<th>{html.escape(text)}</th>" for text in (*_HEADINGS, "verdict"))
        body = []
        for arm in self.arms:
            said = "reference" if arm.name == self.reference else arm.verdict
            cells = "".join(f"<td>{html.escape(text)}</td>" for text in (*_cells(arm), said))
            body.append(f"<tr>{cells}</tr>")
        notes = "<br>".join(html.escape(note) for note in self._notes())
        return (
            f"<details open><summary>Protocol</summary><ul>{protocol}</ul></details>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
            f"<p>Verdicts: {_score_name(self.score).lower()} against "
            f"&quot;{html.escape(self.reference)}&quot;, in points.<br>{notes}</p>"
        )

    def _notes(self) -> list[str]:
        notes = []
        for arm in self.arms:
            if arm.rate_note in ("smallest tried", "largest tried"):
                notes.append(
                    f"{arm.name}: the rate chosen, {arm.rate:g}, is the {arm.rate_note}; a wider "
                    "grid may do better."
                )
            if arm.skipped:
                which = ", ".join(map(str, arm.skipped))
                notes.append(f"{arm.name}: seeds skipped because of the budget: {which}.")
        if self.best is not None:
            notes.append(
                f"Best model on the validation part: {self.folder / 'best.keras'} "
                f"({self.best['arm']}, seed {self.best['seed']})."
            )
        return notes

    # ---- kept ------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; scores and differences in shares of 1."""
        return {
            "protocol": self.protocol,
            "settings": self.settings,
            "class_names": self.class_names,
            "reference": self.reference,
            "score": self.score,
            "arms": [_plain(arm) for arm in self.arms],
            "best": self.best,
            "truth": self.truth.tolist(),
            "parts": self.parts,
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Everything as JSON; with a path it is also written there, whole or not at all.

        Args:
            path: a file, or None.
        """
        if path is not None:
            write_json(Path(path), self.to_dict())
        return json.dumps(finite(self.to_dict()), indent=1, allow_nan=False)


def _plain(arm: ArmResult) -> dict[str, Any]:
    difference = None
    if arm.difference is not None:
        difference = {**vars(arm.difference), "verdict": arm.difference.verdict}
    return {
        "name": arm.name,
        "learning_rate": arm.rate,
        "rate_note": arm.rate_note,
        "seeds": arm.seeds,
        "skipped": arm.skipped,
        "scores": arm.scores,
        "seconds": arm.seconds,
        "peak_memory": arm.peak_memory,
        "trained_parameters": arm.trained_parameters,
        "said": arm.said.tolist(),
        "difference": difference,
    }


def _score_name(score: str) -> str:
    return {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}[score]


def _cells(arm: ArmResult) -> tuple[str, ...]:
    planned = len(arm.seeds) + len(arm.skipped)
    if not arm.seeds:
        return (arm.name, f"0 of {planned}", "skipped", *[""] * (len(_HEADINGS) - 3))
    seeds = f"{len(arm.seeds)} of {planned}" if arm.skipped else str(planned)
    scores = (_mean_and_spread(arm.scores[name]) for name in _statistics.SCORES)
    memory = "-" if arm.peak_memory is None else f"{arm.peak_memory / 1e6:.0f} MB"
    return (
        arm.name, seeds, f"{arm.rate:g}", *scores, duration(arm.seconds), memory,
        f"{arm.trained_parameters:,}",
    )  # fmt: skip


def _mean_and_spread(values: Sequence[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}"
    return f"{mean} ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


def duration(seconds: float) -> str:
    """Seconds as "12.3 s", "4m05s" or "2h03m"."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 100 else f"{minutes // 60}h{minutes % 60:02d}m"


# ---- from the runs ----


def arm_result(run: ArmRun, truth: np.ndarray) -> ArmResult:
    """The row of one arm, without its difference."""
    seeds = sorted(run.probabilities)
    said = [run.probabilities[seed].argmax(axis=1) for seed in seeds]
    peaks = [r["peak_memory"] for r in run.records if r["peak_memory"] is not None]
    return ArmResult(
        name=run.arm.name,
        rate=run.rate,
        rate_note=_rate_note(run),
        seeds=seeds,
        skipped=run.skipped,
        scores={name: [score(truth, row) for row in said]
                for name, score in _statistics.SCORES.items()},
        seconds=sum(r["seconds"] for r in run.records),
        peak_memory=max(peaks, default=None),
        trained_parameters=run.records[0]["trained_parameters"] if run.records else None,
        said=np.array(said, np.int64).reshape(len(seeds), len(truth)),
    )  # fmt: skip


def _rate_note(run: ArmRun) -> str:
    if len(run.rates) == 1:
        return "given"
    ends: dict[Any, str] = {min(run.rates): "smallest tried", max(run.rates): "largest tried"}
    return ends.get(run.rate, "")


def add_differences(
    arms: Sequence[ArmResult], reference: ArmResult, truth: np.ndarray, score: str
) -> None:
    """Compare every arm with the reference on the seeds that both have."""
    others = [arm for arm in arms if arm is not reference and set(arm.seeds) & set(reference.seeds)]
    pairs: list[Any] = []
    for arm in others:
        common = [seed for seed in reference.seeds if seed in arm.seeds]
        pairs.append(
            tuple(
                each.said[[each.seeds.index(seed) for seed in common]] for each in (reference, arm)
            )
        )
    found = _statistics.compare_pairs(pairs, truth, score)
    for arm, difference in zip(others, found, strict=True):
        arm.difference = difference
