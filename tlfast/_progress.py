"""The progress line, character for character as Keras prints it.

Layout, colours, throttling and number formats: keras/src/utils/progbar.py. One difference: where
the output is neither a terminal nor a notebook (a log file, a pipe), one plain line per epoch is
printed instead of thousands of redrawn ones.
"""

import math
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np


def print_text(text: str, line_break: bool = True) -> None:
    """Write to the current standard output and flush.

    Args:
        text: what to write.
        line_break: end with a line break.
    """
    text = text + "\n" if line_break else text
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        # Terminals without the heavy line get "=" as in Keras' io_utils.
        encoding = sys.stdout.encoding or "ascii"
        text = text.replace("━", "=")
        sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def is_live() -> bool:
    """Say whether the output can be redrawn: a terminal, a notebook or PyCharm."""
    return (
        (hasattr(sys.stdout, "isatty") and sys.stdout.isatty())
        or "ipykernel" in sys.modules
        or "PYCHARM_HOSTED" in os.environ
    )


class Progbar:
    """A progress bar for `target` steps.

    Args:
        target: number of steps, None if unknown.
        width: width of the bar in characters.
        verbose: 0 silent, 1 bar, 2 one line at the end.
        interval: least time between two drawings in seconds.
        stateful_metrics: names of values shown as they are; others are averaged over the steps.
        stateless_metrics: the other way round: names of values to be averaged.
        unit_name: what is counted.
        live: redraw in place (True), or print one plain line at the end (False); None: find out.

    Raises:
        ValueError: both kinds of metric lists are given.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
        live: bool | None = None,
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "Only one of `stateful_metrics` or `stateless_metrics` can be provided: the first "
                "lists the values not to be averaged, the second those to be averaged."
            )
        self.target: Any = target  # a number; None where not known
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.unit_name = unit_name
        self._averaged = None if stateless_metrics is None else set(stateless_metrics)
        self._shown_as_is = set(stateful_metrics or ())
        self._live = is_live() if live is None else live
        self._seen = 0
        self._values: dict[str, list[Any]] = {}
        self._start = time.time()
        self._last_update = 0.0
        self._time_after_first_step: float | None = None
        self._previous_width = 0

    def update(
        self,
        current: int,
        values: list[tuple[str, float]] | None = None,
        finalize: bool | None = None,
    ) -> None:
        """Show the state after step number `current` (counted from 1).

        Args:
            current: number of steps done.
            values: names and values to show.
            finalize: this is the last drawing; by default when `current` reaches the target.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        self._take(current, values or [], finalize)
        now = time.time()
        duration = self._step_duration(current, now)
        if self.verbose == 1 and self._live:
            if now - self._last_update < self.interval and not finalize:
                return
            self._draw(current, now, duration, finalize)
        elif self.verbose and finalize and self.target:
            self._print_line(current, now, duration)
        self._last_update = now

    def add(self, n: int, values: list[tuple[str, float]] | None = None) -> None:
        """Advance by n steps."""
        self.update(self._seen + n, values)

    def _take(self, current: int, values: list[tuple[str, float]], finalize: bool) -> None:
        for name, value in values:
            averaged = (
                name not in self._shown_as_is if self._averaged is None else name in self._averaged
            )
            if not averaged or finalize:
                self._values[name] = [value, 1]
                continue
            # At least 1: a bar of unknown length may see the same step twice.
            steps = max(current - self._seen, 1)
            known = self._values.setdefault(name, [0.0, 0])
            known[0] += value * steps
            known[1] += steps
        self._seen = current

    def _draw(self, current: int, now: float, duration: float, finalize: bool) -> None:
        message = "\b" * self._previous_width + "\r"
        bar, invisible = self._bar(current)
        if self.target and not finalize:
            left = _duration(duration * (self.target - current))
        else:
            left = f"{now - self._start:.0f}s"
        info = f" \x1b[1m{left}\x1b[0m" + self._rate(duration)
        invisible += 8
        for name, (value, count) in self._values.items():
            info += f" - {name}: {_number(value, count, absolute=True)}"
        width = len(bar) + len(info) - invisible
        message += bar + info
        message += " " * max(0, self._previous_width - width)
        print_text(message, line_break=finalize)
        self._previous_width = width

    def _bar(self, current: int) -> tuple[str, int]:
        """Return the counter with the bar, and how many of its characters are not visible."""
        if not self.target:
            return f"{current:7d}/Unknown", 0
        digits = int(math.log10(self.target)) + 1
        bar = f"\x1b[1m{current:{digits}d}/{self.target}\x1b[0m "
        done = int(self.width * (current / self.target))
        invisible = 17
        if done > 0:
            bar += f"\33[32m{'━' * done}\x1b[0m"
            invisible += 9
        return bar + f"\33[37m{'━' * (self.width - done)}\x1b[0m", invisible

    def _print_line(self, current: int, now: float, duration: float) -> None:
        digits = int(math.log10(self.target)) + 1
        line = f"{current:{digits}d}/{self.target} - {now - self._start:.0f}s -"
        line += self._rate(duration)
        for name, (value, count) in self._values.items():
            line += f" - {name}: {_number(value, count, absolute=False)}"
        print_text(line)

    def _rate(self, duration: float) -> str:
        if duration >= 1 or duration == 0:
            return f" {duration:.0f}s/{self.unit_name}"
        if duration >= 1e-3:
            return f" {duration * 1e3:.0f}ms/{self.unit_name}"
        return f" {duration * 1e6:.0f}us/{self.unit_name}"

    def _step_duration(self, current: int, now: float) -> float:
        """Return seconds per step; the first step, which prepares things, is left out."""
        if not current:
            return 0
        if self._time_after_first_step is not None and current > 1:
            duration = (now - self._time_after_first_step) / (current - 1)
        else:
            duration = (now - self._start) / current
        if current == 1:
            self._time_after_first_step = now
        return duration


def _duration(seconds: float) -> str:
    if seconds > 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
    if seconds > 60:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
    return f"{int(seconds)}s"


def _number(value: Any, count: int, absolute: bool) -> str:
    """Format a value; Keras looks at its size in the bar, and at its sign too in the line."""
    mean = (value if isinstance(value, float) else np.mean(value)) / max(1, count)
    size = abs(mean) if absolute else mean
    return f"{mean:.4f}" if size > 1e-3 else f"{mean:.4e}"
