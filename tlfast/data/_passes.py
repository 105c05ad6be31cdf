"""Passes over the data, cut into epochs; where they stand can be stored and found again.

What a pass gives follows from the state of random generators when it is opened. So its place is
stored as that state and the number of elements read since: to go there, the generators are put
back, the pass is opened again, and as many elements are dropped.
"""

import math
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tlfast._random_state import check_random_state, get_random_state, set_random_state
from tlfast._warnings import DataWarning, ResumeWarning, user_level
from tlfast.data import _nodes
from tlfast.data._random import Philox, global_seed, shuffled
from tlfast.saving.checks import object_of, one_of, whole

_MAX_INT32 = 2**31 - 1
_END = object()


class Opener:
    """Starts passes.

    Attributes:
        ahead: the next pass is opened as soon as one has been read, as tf.data does.
    """

    ahead = False

    def open(self) -> Iterator[Any]:
        """Start a pass; called also for passes that are never read, as Keras does."""
        raise NotImplementedError

    def get_state(self) -> Any:
        """What decides what the next pass gives, as plain values."""
        raise NotImplementedError

    def check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns."""
        raise NotImplementedError

    def set_state(self, state: Any) -> None:
        """Go back to what `get_state` returned."""
        raise NotImplementedError


class Chain(Opener):
    """The elements of a dataset: row numbers as long as there is a table, or values."""

    ahead = True

    def __init__(self, node: _nodes.Node, values: bool) -> None:
        self._node = node
        self._open = node.values if values else node.open

    def open(self) -> Iterator[Any]:
        return self._open()

    def get_state(self) -> Any:
        return _nodes.get_chain_state(self._node)

    def check_state(self, value: Any, where: str) -> None:
        _nodes.check_chain_state(self._node, value, where)

    def set_state(self, state: Any) -> None:
        _nodes.set_chain_state(self._node, state)


class Rows(Opener):
    """Row numbers of arrays, in batches. After `set_random_seed`, each pass has the same order, as
    in Keras: the shuffle of its array pipeline starts from the global seed in every pass.

    Args:
        count: number of rows.
        size: rows per batch.
        shuffle: True, False, or "batch" (inside each batch).
    """

    def __init__(self, count: int, size: int, shuffle: bool | str) -> None:
        self._count, self._size, self._shuffle = count, size, shuffle
        # Without a seed, one stream for all passes, so that the next order can be stored.
        self._seeds = Philox(*np.random.SeedSequence().generate_state(2, np.uint64).tolist())

    def open(self) -> Iterator[np.ndarray]:
        if self._shuffle == "batch":
            return self._shuffled_inside(self._draw())
        if not self._shuffle:
            return self._unshuffled()
        order = shuffled(np.arange(self._count), self._draw())
        return (order[s : s + self._size] for s in range(0, self._count, self._size))

    def _unshuffled(self) -> Iterator[np.ndarray]:
        for start in range(0, self._count, self._size):
            yield np.arange(start, min(start + self._size, self._count))

    def _shuffled_inside(self, draw: Philox) -> Iterator[np.ndarray]:
        for ids in self._unshuffled():
            yield shuffled(ids, draw)
            draw.skip_to_block()

    def _draw(self) -> Philox:
        seed = global_seed()
        if seed is None:
            return Philox(self._seeds(), self._seeds())
        seed %= _MAX_INT32
        return Philox(seed, 0 if seed else _MAX_INT32)

    def get_state(self) -> Any:
        return self._seeds.get_state()

    def check_state(self, value: Any, where: str) -> None:
        self._seeds.check_state(value, where)

    def set_state(self, state: Any) -> None:
        self._seeds.set_state(state)


class Numbers(Opener):
    """The numbers of batches, shuffled by Python's `random` as Keras does.

    Args:
        numbers: makes them.
        shuffle: whether their order is drawn.
        begin: called when a pass begins.
    """

    def __init__(
        self, numbers: Callable[[], Any], shuffle: bool, begin: Callable[[], None] | None = None
    ) -> None:
        self._numbers, self._shuffle, self._begin = numbers, shuffle, begin

    def open(self) -> Iterator[int]:
        if self._begin is not None:
            self._begin()
        numbers = self._numbers()
        if self._shuffle:
            numbers = list(numbers)
            random.shuffle(numbers)
        return iter(numbers)

    def get_state(self) -> Any:
        return get_random_state() if self._shuffle else None

    def check_state(self, value: Any, where: str) -> None:
        (check_random_state if self._shuffle else one_of(None))(value, where)

    def set_state(self, state: Any) -> None:
        if state is not None:
            set_random_state(state)


class Generator(Opener):
    """A Python generator, which can only be read on."""

    def __init__(self, generator: Iterator[Any]) -> None:
        self._generator = generator

    def open(self) -> Iterator[Any]:
        return self._generator

    def get_state(self) -> Any:
        return get_random_state()

    def check_state(self, value: Any, where: str) -> None:
        check_random_state(value, where)

    def set_state(self, state: Any) -> None:
        set_random_state(state)


class Passes:
    """Opens passes and cuts them into epochs as Keras' epoch iterator does.

    Args:
        opener: starts a pass.
        total: elements per pass, or None.
        steps: batches per epoch asked for, or None for whole passes.
        restart: start a new pass in each epoch even with `steps` (evaluation).
    """

    def __init__(self, opener: Opener, total: int | None, steps: int | None, restart: bool) -> None:
        self._opener, self._total, self._steps = opener, total, steps
        self._goes_on = steps is not None and not restart
        self._current: Iterator[Any] | None = None
        self._origin: Any = None  # the opener's state before the current pass
        self._seen = 0

    def _start(self) -> None:
        self._origin = self._opener.get_state()
        self._current, self._seen = self._opener.open(), 0

    def epoch(self, skip: int = 0) -> Iterator[Any]:
        """The elements of the next epoch.

        Args:
            skip: number of elements that are read and dropped at once.
        """
        if self._current is None or not self._goes_on:
            self._start()
        elements = self._epoch()
        if skip and isinstance(self._opener, Generator):
            _say_skipped(skip)
        _drop(elements, skip)
        return elements

    def _epoch(self) -> Iterator[Any]:
        limit = self._steps or self._total or math.inf
        done = 0
        while done < limit:
            if self._total and self._seen >= self._total:
                _ran_out()
                break
            element = next(self._current, _END) if self._current is not None else _END
            if element is _END:
                if limit is not math.inf or not done:
                    _ran_out()
                self._current = None
                return
            done, self._seen = done + 1, self._seen + 1
            yield element
        if self._total and self._seen >= self._total:
            if self._opener.ahead:
                self._start()
            else:
                self._current, self._seen = None, 0

    def get_state(self) -> dict[str, Any]:
        """Where the passes stand between two epochs, as plain values."""
        goes_on = self._goes_on and self._current is not None
        return {
            "now": self._opener.get_state(),
            "origin": self._origin if goes_on else None,
            "seen": self._seen if goes_on else None,
        }

    def check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns."""
        now = {"now": self._opener.check_state}
        goes_on = isinstance(value, dict) and value.get("seen") is not None
        seen = whole(0, self._total or 1 << 53)
        inside = {"origin": self._opener.check_state, "seen": seen}
        between = {"origin": one_of(None), "seen": one_of(None)}
        object_of(now | (inside if goes_on else between))(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to where `get_state` was called; other users of Python's `random` are disturbed."""
        self._current, self._seen = None, 0
        if state["seen"] is not None:
            self._opener.set_state(state["origin"])
            self._start()
            assert self._current is not None
            if state["seen"] and isinstance(self._opener, Generator):
                _say_skipped(state["seen"])
            _drop(self._current, state["seen"])
            self._seen = state["seen"]
        self._opener.set_state(state["now"])


def _drop(elements: Iterator[Any], count: int) -> None:
    for done in range(count):
        if next(elements, _END) is _END:
            raise ValueError(
                f"The data end after {done} batches; the training that is resumed had read {count} "
                "of them."
            )


def _say_skipped(count: int) -> None:
    warnings.warn(
        f"the place in a Python generator cannot be stored: its first {count} batches are read "
        "and dropped. The resumed training is exact if the generator yields the same batches "
        "again; image_dataset_from_directory, flow_from_directory and a PyDataset go to their "
        "place at once.",
        ResumeWarning,
        stacklevel=user_level(),
    )


def _ran_out() -> None:
    warnings.warn(
        "Your input ran out of data; interrupting training. Make sure that your dataset or "
        "generator can generate at least `steps_per_epoch * epochs` batches. You may need to use "
        "the `.repeat()` function when building your dataset.",
        DataWarning,
        stacklevel=4,
    )
