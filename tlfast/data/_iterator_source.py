"""Iterators of ImageDataGenerator as sources, with Keras' extra draws and batch order."""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfast.data._passes import Numbers, Passes
from tlfast.data._source import IndexedSource, Source, StreamSource, split_batch
from tlfast.data._tables import Bad, sampled_hash
from tlfast.saving.checks import COUNT, flag, object_of, one_of, permutation, whole

if TYPE_CHECKING:
    from tlfast.preprocessing._iterators import Iterator as ImageIterator

# Keras fetches this many batches when it is handed the iterator, to learn their shapes.
_PEEKED = 2


def iterator_source(
    it: "ImageIterator", shuffle: bool | str, steps: int | None, class_weight: Any, purpose: str
) -> Source | None:
    """A source over `it`, or None if a subclass loads batches in its own way."""
    from tlfast.preprocessing._iterators import LOADED_HERE, DirectoryIterator

    if type(it) not in LOADED_HERE:
        return None
    drawer = _Drawer(it, bool(shuffle), steps, purpose)
    plain = it.image_data_generator.identity() is not None and not it.save_to_dir
    if isinstance(it, DirectoryIterator):
        plain = plain and it.class_mode != "input"
    else:
        plain = plain and not it.x_misc
    return (_Indexed if plain else _Streamed)(it, drawer, class_weight)


class _Drawer:
    """Draws the batches of an epoch: numbers and transformations, no pixels."""

    def __init__(self, it: "ImageIterator", shuffle: bool, steps: int | None, purpose: str) -> None:
        self._it, self._purpose = it, purpose
        self.steps = steps
        self._peeked = False
        if purpose == "fit":
            self._peek()
            it.on_epoch_end()
        numbers = Numbers(lambda: range(len(it)), shuffle)
        self._passes = Passes(numbers, len(it), steps, purpose != "fit")

    def _peek(self) -> None:
        for i in range(min(_PEEKED, len(self._it))):
            self._it.draw(i)
        self._peeked = True

    def epoch(self) -> list[tuple[np.ndarray, list[Any]]]:
        """The batches of the next epoch."""
        # Validation data is looked at when it is first needed, after the first epoch of training.
        if not self._peeked:
            self._peek()
        if self._purpose == "evaluate":
            self._it.on_epoch_end()
        drawn = [self._it.draw(number) for number in self._passes.epoch()]
        self._it.on_epoch_end()
        return drawn

    def get_state(self) -> dict[str, Any]:
        """Where the draws stand between two epochs, as plain values."""
        it = self._it
        return {
            "passes": self._passes.get_state(),
            "peeked": self._peeked,
            "order": it.index_array,
            "batches_seen": it.total_batches_seen,
            "batch_index": it.batch_index,
        }

    def check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns."""
        ordered = isinstance(value, dict) and value.get("order") is not None
        object_of({
            "passes": self._passes.check_state, "peeked": flag,
            "order": permutation(self._it.n) if ordered else one_of(None),
            "batches_seen": COUNT,
            "batch_index": whole(0, len(self._it) - 1 if ordered else 0),
        })(value, where)  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to where `get_state` was called."""
        it = self._it
        self._passes.set_state(state["passes"])
        self._peeked = state["peeked"]
        it.index_array = state["order"]
        it.total_batches_seen = state["batches_seen"]
        it.batch_index = state["batch_index"]


class _OfIterator(Source):
    """What both kinds of sources know of their iterator."""

    def __init__(self, it: "ImageIterator", drawer: _Drawer) -> None:
        self._it, self._drawer = it, drawer
        self.bad = []
        self.batch_size, self.num_samples = it.batch_size, it.n
        self.num_batches = drawer.steps or len(it)
        self.file_paths = getattr(it, "filepaths", None)
        names = getattr(it, "class_indices", None)
        self.class_names = None if names is None else list(names)

    def get_state(self) -> dict[str, Any]:
        return self._drawer.get_state()

    def check_state(self, value: Any, where: str) -> None:
        self._drawer.check_state(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        self._drawer.set_state(state)

    def fingerprint(self) -> Any:
        if hasattr(self._it, "table"):
            return self._it.table.fingerprint()
        return sampled_hash([a for a in (self._it.x, self._it.y) if a is not None])


class _Indexed(_OfIterator, IndexedSource):
    """An iterator without chance and without a user's function: pixels follow from the number."""

    def __init__(self, it: "ImageIterator", drawer: _Drawer, class_weight: Any) -> None:
        super().__init__(it, drawer)
        self.class_weight = class_weight

    @functools.cached_property
    def identity(self) -> Any:
        return self._it.table.identity() if hasattr(self._it, "table") else self._it.identity()

    @property
    def element_shapes(self) -> list[tuple[Any, ...]]:
        return [tuple(self._it.image_shape)]

    def order(self, epoch: int, training: bool) -> list[np.ndarray]:
        return [ids.astype(np.int64) for ids, _ in self._drawer.epoch()]

    def pixels(self, batches: list[np.ndarray]) -> Iterator[tuple[list[Any], np.ndarray, Bad]]:
        for images, ids, bad in self._it.images([(ids, [None] * len(ids)) for ids in batches]):
            self.bad += bad
            yield [images], ids, bad

    def targets(self, ids: np.ndarray) -> list[np.ndarray] | None:
        if hasattr(self._it, "table"):
            return self._it.table.targets(ids)
        return None if self._it.y is None else [self._it.y[ids]]

    def weights(self, ids: np.ndarray) -> np.ndarray | None:
        given = self._it.sample_weight
        if given is None:
            return super().weights(ids)
        if self.class_weight is not None:
            raise ValueError("class_weight and sample_weight cannot be given at the same time.")
        return given[ids].astype(np.float32)


class _Streamed(_OfIterator, StreamSource):
    """An iterator that augments, or calls a function of the user's: batches only stream."""

    def __init__(self, it: "ImageIterator", drawer: _Drawer, class_weight: Any) -> None:
        super().__init__(it, drawer)
        self._class_weight = class_weight

    @property
    def element_shapes(self) -> list[tuple[Any, ...]]:
        extra = [a.shape[1:] for a in getattr(self._it, "x_misc", [])]
        return [tuple(self._it.image_shape), *extra]

    def batches(
        self, epoch: int, training: bool, skip: int = 0
    ) -> Iterator[tuple[list[Any], list[Any] | None, Any] | None]:
        return self._load(self._drawer.epoch()[skip:])

    def _load(
        self, drawn: list[tuple[np.ndarray, list[Any]]]
    ) -> Iterator[tuple[list[Any], list[Any] | None, Any] | None]:
        for images, ids, bad in self._it.images(drawn):
            self.bad += bad
            if len(ids):
                self.ids = ids
                yield split_batch(self._it.assemble(images, ids), self._class_weight)
            else:
                yield None
