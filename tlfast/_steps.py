"""Handing out the batches of a source, epoch by epoch, and collecting what was skipped."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tlfast._warnings import DataWarning

_LISTED = 20  # skipped images named in the warning


class Steps:
    """The batches of one `fit`, `evaluate` or `predict`.

    Args:
        engine: makes batches of a source.
        source: the data; it knows how many batches an epoch has and where the next one starts.
        training: shuffled and augmented, or in order and plain.

    Attributes:
        batch: the batch handed out last.
    """

    def __init__(self, engine: Any, source: Any, training: bool) -> None:
        self._engine = engine
        self._source = source
        self._training = training
        self._learned: int | None = None
        self._current: Any = None
        self.batch: Any = None
        self._bad: dict[str, str] = {}

    @property
    def num_batches(self) -> int | None:
        """Batches per epoch, None while not known."""
        known = self._source.num_batches
        return self._learned if known is None else known

    def epoch(self, epoch: int) -> Iterator[tuple[int, Any]]:
        """Yield (step number, batch) for the next epoch.

        Args:
            epoch: number of the epoch, from 0.

        Raises:
            ValueError: there is not a single batch.
        """
        self.close()
        self._current = self._engine.batches(self._source, epoch, self._training)
        step = -1
        for step, batch in enumerate(self._current):
            self._bad.update({str(path): str(reason) for path, reason in batch.bad or ()})
            self.batch = batch
            yield step, batch
        self.close()
        if step < 0 and self._learned is None:
            raise ValueError(
                "The data have no batches. Check that the source is not empty and, for a Python "
                "generator, that it has not been used up by an earlier call."
            )
        self._learned = step + 1

    def inputs(self) -> list[np.ndarray]:
        """Return the inputs of the last batch, read again where only their features were kept."""
        if self.batch.x is None:
            self.batch.x, _, _ = next(self._source.pixels([self.batch.ids]))
        return [np.asarray(x) for x in self.batch.x]

    def files(self) -> list[str]:
        """Return the image file of each row of the last batch; [] where that is not known."""
        paths = self._source.file_paths
        if paths is None or self.batch.ids is None:
            return []
        return [str(paths[i]) for i in self.batch.ids]

    def close(self) -> None:
        """Stop the threads that decode ahead; called at the end, normal or not."""
        if hasattr(self._current, "close"):
            self._current.close()
        self._current = self.batch = None

    def report_bad(self) -> None:
        """Warn with the list of images that were skipped."""
        if not self._bad:
            return
        count = len(self._bad)
        lines = [f"  {path}: {reason}" for path, reason in list(self._bad.items())[:_LISTED]]
        if count > _LISTED:
            lines.append(f"  ... and {count - _LISTED} more")
        subject = "1 image was" if count == 1 else f"{count} images were"
        warnings.warn(
            f"{subject} skipped, unreadable:\n" + "\n".join(lines), DataWarning, stacklevel=3
        )
