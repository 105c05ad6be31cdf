"""Handing out the batches of a source, epoch by epoch, and collecting what was skipped."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tlfast._warnings import DataWarning
from tlfast.saving.checks import COUNT, list_of, maybe, object_of, one_of, row, text, whole

_LISTED = 20  # skipped images named in the warning


class Steps:
    """The batches of one `fit`, `evaluate` or `predict`.

    Args:
        engine: makes batches of a source.
        source: the data; it knows how many batches an epoch has and where the next one starts.
        training: shuffled and augmented, or in order and plain.

    Attributes:
        keeps_place: whether `get_state` will be called in the middle of an epoch.
        batch: the batch handed out last.
    """

    def __init__(self, engine: Any, source: Any, training: bool) -> None:
        self.keeps_place = False
        self._engine = engine
        self._source = source
        self._training = training
        self._learned: int | None = None
        self._current: Any = None
        self._begin: Any = None  # states of data and generators when the epoch began
        self._read = self._done = 0  # batches of the epoch: read from the data, handed out
        self.batch: Any = None
        self._bad: dict[str, str] = {}

    @property
    def num_batches(self) -> int | None:
        """Batches per epoch, None while not known."""
        known = self._source.num_batches
        return self._learned if known is None else known

    def epoch(self, epoch: int) -> Iterator[tuple[int, Any]]:
        """Yield (step number, batch) for the next epoch, or for the rest of one gone back to.

        Args:
            epoch: number of the epoch, from 0.

        Raises:
            ValueError: there is not a single batch.
        """
        if self._current is None:
            self._begin = self._place() if self.keeps_place else None
            self._open(epoch, 0, 0)
        try:
            for number, batch in self._current:
                self._bad.update({str(path): str(reason) for path, reason in batch.bad or ()})
                self._read, self._done = number + 1, self._done + 1
                self.batch = batch
                yield self._done - 1, batch
        finally:
            self.close()
        if not self._done and self._learned is None:
            raise ValueError(
                "The data have no batches. Check that the source is not empty and, for a Python "
                "generator, that it has not been used up by an earlier call."
            )
        self._learned = self._done

    def _place(self) -> list[Any]:
        from tlfast._random_state import get_random_state

        return [self._source.get_state(), get_random_state()]

    def _open(self, epoch: int, read: int, done: int) -> None:
        self._current = self._engine.batches(self._source, epoch, self._training, read)
        self._read, self._done = read, done

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
        """End an epoch: stop the threads that decode ahead."""
        if hasattr(self._current, "close"):
            self._current.close()
        self._current = self._begin = self.batch = None

    def get_state(self) -> dict[str, Any]:
        """Where the batches stand, as plain values."""
        return {
            "begin": self._begin,
            "now": self._source.get_state() if self._begin is None else None,
            "read": self._read,
            "done": self._done,
            "learned": self._learned,
            "bad": self._bad_by_rank(),
        }

    def _bad_by_rank(self) -> list[list[Any]]:
        """[rank, reason] of the images that were skipped: the files may be elsewhere later."""
        if not self._bad:
            return []
        ranks = {path: rank for rank, path in enumerate(self._sorted_files())}
        return [[ranks[path], reason] for path, reason in self._bad.items()]

    def _sorted_files(self) -> list[str]:
        """The image files in an order that does not depend on the process or on their folder."""
        return sorted(map(str, self._source.file_paths or ()))

    def check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns."""
        from tlfast._random_state import check_random_state

        place = self._source.check_state
        rank = whole(0, len(self._source.file_paths or ()) - 1)
        begun = isinstance(value, dict) and value.get("begin") is not None
        object_of({
            "begin": row(place, check_random_state) if begun else one_of(None),
            "now": one_of(None) if begun else place,
            "read": COUNT, "done": COUNT, "learned": maybe(COUNT),
            "bad": list_of(row(rank, text(1 << 20))),
        })(value, where)  # fmt: skip

    def set_state(self, state: dict[str, Any], epoch: int) -> None:
        """Go to where `get_state` was called; the generators of the process are disturbed.

        Args:
            state: what it returned.
            epoch: number of the epoch.
        """
        from tlfast._random_state import set_random_state

        self.close()
        self._learned = state["learned"]
        files = self._sorted_files() if state["bad"] else []
        self._bad = {files[rank]: reason for rank, reason in state["bad"]}
        if state["begin"] is None:
            self._source.set_state(state["now"])
            return
        place, generators = self._begin = state["begin"]
        self._source.set_state(place)
        set_random_state(generators)
        self._open(epoch, state["read"], state["done"])

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
