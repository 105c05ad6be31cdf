"""Where the time of a step goes: `Model.profile`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlfast import _core
from tlfast._memory_plan import MB, check_count, sample_shapes

_SHOWN = 30  # rows of the printed table
_HEADS = ("layer", "op", "forward", "backward", "of peak", "MB", "computed by")


@dataclass(frozen=True)
class ProfileRow:
    """One step of a plan: a layer, or a part of one, with what is fused into it.

    Attributes:
        layer: name of the layer.
        op: what is computed; "reorder" is a change of the order of values in memory.
        forward: milliseconds.
        backward: milliseconds; what is computed again for it included.
        flops: operations of a direct computation, forward and backward; 0 for ops without a kernel.
        bytes: that forward reads and writes at least.
        kernels: what computes it, forward and backward: oneDNN's name of the implementation, or
            "tlfast" for our own.
    """

    layer: str
    op: str
    forward: float
    backward: float
    flops: float
    bytes: int
    kernels: tuple[str, ...]

    @property
    def milliseconds(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward

    @property
    def is_slow(self) -> bool:
        """Is it left to a loop that oneDNN has for everything it has no kernel for? Plain products
        are what its `gemm` is made for."""
        slow = ("ref",) if self.op == "dense" else ("ref", "gemm")
        return any(part in name for name in self.kernels for part in slow)


@dataclass(frozen=True)
class Profile:
    """Times of the parts of one step; means of several.

    Attributes:
        model: the model's name.
        batch_size: images per step.
        training: whether it is a training step; otherwise a prediction.
        threads: that compute.
        peak: float32 operations per second of these threads, measured: multiply-adds in registers.
        milliseconds: of a whole step.
        rows: in the order of execution.
    """

    model: str
    batch_size: int
    training: bool
    threads: int
    peak: float
    milliseconds: float
    rows: list[ProfileRow] = field(repr=False)

    @property
    def other(self) -> float:
        """Milliseconds outside of all rows: copies in and out, the loss, Python."""
        return self.milliseconds - sum(row.milliseconds for row in self.rows)

    def share_of_peak(self, row: ProfileRow) -> float:
        """How near a row comes to the machine's peak. Winograd's convolutions need less operations
        than a direct one, which is what is counted: they may be above 1."""
        return row.flops / (row.milliseconds * 1e-3) / self.peak if row.milliseconds else 0.0

    def slowest(self, count: int | None = None) -> list[ProfileRow]:
        """Rows by time, the slowest first."""
        return sorted(self.rows, key=lambda row: -row.milliseconds)[:count]

    def _table(self) -> list[tuple[str, ...]]:
        shown = self.slowest(_SHOWN)
        table: list[tuple[str, ...]] = [
            (
                row.layer, row.op, f"{row.forward:.2f}",
                f"{row.backward:.2f}" if row.backward else "",
                f"{self.share_of_peak(row):.0%}" if row.flops else "", f"{row.bytes / MB:.1f}",
                ", ".join(row.kernels) + (" (no fast kernel)" if row.is_slow else ""),
            )
            for row in shown
        ]  # fmt: skip
        rest = self.slowest()[len(shown) :]
        if rest:
            forward, backward = sum(r.forward for r in rest), sum(r.backward for r in rest)
            label = f"{len(rest)} more"
            table.append((label, "", f"{forward:.2f}", f"{backward:.2f}", "", "", ""))
        table.append(("everything else", "", f"{self.other:.2f}", "", "", "", ""))
        return table

    def _title(self) -> str:
        what = "A training step" if self.training else "A prediction"
        return (
            f"{what} of '{self.model}' with batch_size={self.batch_size}: "
            f"{self.milliseconds:.1f} ms on {self.threads} "
            f"{'thread' if self.threads == 1 else 'threads'}; peak {self.peak / 1e9:,.0f} GFLOP/s"
        )

    def __str__(self) -> str:
        table = [_HEADS, *self._table()]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(_HEADS))]
        left = {0, 1, len(_HEADS) - 1}
        lines = [self._title()]
        for cells in table:
            padded = [
                cell.ljust(width) if i in left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            lines.append(("  " + "  ".join(padded)).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html

        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        rows = "".join(line(cells, "td") for cells in self._table())
        head = f"<caption>{html.escape(self._title())}</caption>{line(_HEADS, 'th')}"
        return f"<table>{head}{rows}</table>"


def _rows(plans: list[list[Any]], runs: int) -> list[ProfileRow]:
    """One row per step; those of the plans for 4, 2 and 1 images are added up."""
    merged: dict[tuple[Any, ...], list[float]] = {}
    for number, steps in enumerate(plans):
        seen: dict[tuple[Any, ...], int] = {}
        part = "head" if any(step["seconds"][1] for step in steps) else "chunk"
        for step in steps:
            name = (part if len(plans) > 1 else number, step["layer"], step["op"])
            seen[name] = seen.get(name, 0) + 1
            kernels = tuple(dict.fromkeys(k for k in step["kernels"] if k is not None))
            if not kernels:
                continue  # a view
            sums = merged.setdefault((*name, seen[name], kernels), [0.0] * 4)
            times = step["runs"] / runs
            forward, backward = step["seconds"]
            for i, more in enumerate(
                (forward / runs, backward / runs, times * sum(step["flops"]), times * step["bytes"])
            ):
                sums[i] += more
    return [
        ProfileRow(layer, op, 1e3 * forward, 1e3 * backward, flops, int(size), kernels)
        for (_, layer, op, _, kernels), (forward, backward, flops, size) in merged.items()
    ]


def _measure(
    engine: Any, shapes: Sequence[tuple[int, ...]], batch: int, runs: int
) -> tuple[list[float], list[list[Any]]]:
    """Seconds of every step, after one that prepares; per plan in use what it says of its steps."""
    rng = np.random.default_rng(0)
    x = [rng.uniform(-1, 1, (batch, *shape)).astype(np.float32) for shape in shapes]
    engine.dry_step(x)
    plans = engine.plans()
    seconds = []
    try:
        for plan in plans:
            plan.measure(True)
        for _ in range(runs):
            start = time.perf_counter()
            engine.dry_step(x)
            seconds.append(time.perf_counter() - start)
        return seconds, [rows for plan in plans if (rows := plan.profile()) and rows[0]["runs"]]
    finally:
        for plan in plans:
            plan.measure(False)


def profile_model(
    model: Any, batch_size: int, input_shape: Sequence[int] | None, runs: int
) -> Profile:
    """What `Model.profile` prints; see there."""
    check_count("batch_size", batch_size)
    check_count("runs", runs)
    shapes = sample_shapes(model, input_shape)
    seconds, plans = _measure(model._engine, shapes, int(batch_size), int(runs))
    return Profile(
        model=model.name,
        batch_size=int(batch_size),
        training=any(step["seconds"][1] for steps in plans for step in steps),
        threads=_core.num_threads(),
        peak=_core.peak_flops(),
        milliseconds=1e3 * float(np.mean(seconds)),
        rows=_rows(plans, runs),
    )
