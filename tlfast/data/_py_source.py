"""PyDatasets as sources: batches by number, fetched ahead in threads where asked for."""

import itertools
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tlfast._warnings import ResumeWarning, user_level
from tlfast.data._passes import Numbers, Passes
from tlfast.data._source import ValueSource
from tlfast.saving.errors import FormatError
from tlfast.utils._py_dataset import PyDataset

_HOOKS = ("on_epoch_begin", "on_epoch_end")


def py_dataset_source(
    x: Any,
    shuffle: bool | str,
    steps: int | None,
    class_weight: Any,
    names: tuple[Any, ...],
    purpose: str,
) -> "PySource":
    """A source over a PyDataset.

    Args:
        x, shuffle, steps, class_weight, purpose: see `adapt`.
        names: order of inputs and of outputs where data comes as dicts.
    """
    total = x.num_batches
    if total is None and steps is None:
        raise ValueError("The PyDataset has no length; give steps_per_epoch or steps.")
    if purpose == "fit":
        x.on_epoch_end()  # Keras calls it once before the first epoch, too

    def begin() -> None:
        if purpose == "evaluate":
            x.on_epoch_end()
        x.on_epoch_begin()

    def numbers() -> Any:
        return itertools.count() if total is None else range(total)

    passes = Passes(
        Numbers(numbers, bool(shuffle) and total is not None, begin),
        total, steps, purpose != "fit",
    )  # fmt: skip
    source = PySource(x, passes, class_weight, names)
    source.num_batches = steps or total
    return source


class PySource(ValueSource):
    """Batches of a PyDataset.

    Its own state, an order drawn in `on_epoch_end` for example, is stored where the data set has
    the methods `get_state` and `set_state`.
    """

    def __init__(self, x: Any, passes: Passes, class_weight: Any, names: tuple[Any, ...]) -> None:
        super().__init__(passes, class_weight, lambda: x[0], names)
        self._x = x

    def _values(self, elements: Iterator[Any]) -> Iterator[Any]:
        yield from _fetch(self._x, elements)
        self._x.on_epoch_end()

    def get_state(self) -> dict[str, Any]:
        own = self._x.get_state() if hasattr(self._x, "get_state") else None
        return {**super().get_state(), "own": own}

    def check_state(self, value: Any, where: str) -> None:
        if not isinstance(value, dict) or "own" not in value:
            raise FormatError(f"{where} has no 'own'")
        super().check_state({k: v for k, v in value.items() if k != "own"}, where)

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if state["own"] is not None:
            self._x.set_state(state["own"])
            return
        kind = type(self._x)
        if any(getattr(kind, hook) is not getattr(PyDataset, hook) for hook in _HOOKS):
            warnings.warn(
                f"{kind.__name__} changes between epochs (it has on_epoch_begin or on_epoch_end), "
                "and what it has become is not stored, so the resumed training may get other "
                "batches. Give it get_state(), which returns numbers, texts, lists, dicts and "
                "arrays, and set_state(state).",
                ResumeWarning,
                stacklevel=user_level(),
            )


def _fetch(x: Any, numbers: Iterator[int]) -> Iterator[Any]:
    """Batches in order; with several workers, fetched ahead in threads."""
    if x.workers <= 1:
        for number in numbers:
            yield x[number]
        return
    with ThreadPoolExecutor(x.workers) as pool:
        ahead: deque[Any] = deque()
        for number in numbers:
            ahead.append(pool.submit(x.__getitem__, number))
            if len(ahead) >= max(x.max_queue_size, 1):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
