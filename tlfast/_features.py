"""What the frozen part of a network made of the images, kept from one epoch to the next.

A store holds one row per sample and output of the frozen part, in memory as long as the budget
allows, then in one unnamed file in the cache folder: unnamed, so that the system removes it with
the process however that ends. A full disk ends the keeping, not the training.
"""

import logging
import math
import mmap
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlfast._cache import cache_folder, unnamed_file

_log = logging.getLogger("tlfast")

# Share of the memory that is available when a store is made, and the variable that replaces it.
_MEMORY_SHARE = 0.25
# Below this many bytes of frozen weights a file is not worth its time.
_WORTH_A_FILE = 16 << 20
_BUDGET_VARIABLE = "TLFAST_CACHE_MEMORY"


def memory_budget() -> int:
    """Bytes that one store may keep in memory: `$TLFAST_CACHE_MEMORY` (in MB) or a quarter of
    what is available now."""
    from tlfast import _core

    named = os.environ.get(_BUDGET_VARIABLE)
    if named:
        if not named.isdigit():
            raise ValueError(
                f"{_BUDGET_VARIABLE}={named!r}: expected a whole number of MB, 0 for the disk only"
            )
        return int(named) << 20
    return int(_core.memory_available() * _MEMORY_SHARE)


def _file_array(bytes_needed: int) -> np.ndarray:
    """An array in an unnamed file of the cache folder whose space is reserved beforehand, so that a
    full disk is an OSError here and never a bus error later."""
    with unnamed_file("features-") as file:
        os.posix_fallocate(file.fileno(), 0, max(bytes_needed, 1))
        return np.frombuffer(mmap.mmap(file.fileno(), max(bytes_needed, 1)), np.uint8)


def page_out(variables: Sequence[Any]) -> None:
    """Move large weights that nobody trains to an unnamed file of the cache folder.

    The kernels read them in layouts of their own; the values as the user sees them are needed only
    to make those, and to save, so the system may have their memory. Where there is no room they
    stay in memory.

    Args:
        variables: variables of the core.
    """
    if 4 * sum(math.prod(v.shape) for v in variables) < _WORTH_A_FILE:
        return
    try:
        with unnamed_file("weights-") as file:
            at = 0
            for variable in variables:
                at += variable.page_out(file.fileno(), at)
    except OSError as error:
        _log.info("frozen weights stay in memory: %s", error)


class FeatureStore:
    """Rows of features by sample number.

    Args:
        count: number of samples.
        shapes: shape of one sample of each output of the frozen part.
        budget: bytes that may be in memory; beyond that the disk is used.

    Raises:
        OSError: neither memory nor disk has the room.
    """

    def __init__(self, count: int, shapes: Sequence[tuple[int, ...]], budget: int) -> None:
        self.shapes = [tuple(shape) for shape in shapes]
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in self.shapes]
        self.bytes = 4 * count * sum(sizes)
        self.on_disk = self.bytes > budget
        whole = _file_array(self.bytes) if self.on_disk else np.empty(self.bytes, np.uint8)
        self._rows = []
        at = 0
        for shape, size in zip(self.shapes, sizes, strict=True):
            part = whole[at : at + 4 * count * size].view(np.float32)
            self._rows.append(part.reshape(count, *shape))
            at += 4 * count * size
        self._known = np.zeros(count, bool)
        self._left_out = np.zeros(count, bool)

    def missing(self, ids: np.ndarray) -> np.ndarray:
        """The ids, each once and in their order, that are not kept yet and can be read."""
        wanted = ids[~(self._known[ids] | self._left_out[ids])]
        _, first = np.unique(wanted, return_index=True)
        return wanted[np.sort(first)]

    def readable(self, ids: np.ndarray) -> np.ndarray:
        """The ids without those that were left out as unreadable."""
        return ids[~self._left_out[ids]]

    def put(self, ids: np.ndarray, features: Sequence[np.ndarray]) -> None:
        """Keep one row of each output for each id."""
        for rows, values in zip(self._rows, features, strict=True):
            rows[ids] = values
        self._known[ids] = True

    def leave_out(self, ids: np.ndarray) -> None:
        """Remember samples whose image cannot be read."""
        self._left_out[ids] = True

    def get(self, ids: np.ndarray) -> list[np.ndarray]:
        """One array per output, a row per id."""
        return [rows[ids] for rows in self._rows]


class FeatureCache:
    """The stores of one model: by data and by what computes the features.

    Args:
        limit: number of stores; the one used longest ago goes first.
    """

    def __init__(self, limit: int = 6) -> None:
        self._stores: OrderedDict[object, tuple[object, FeatureStore | None]] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._stores)

    def holds(self, key: object, version: object) -> bool:
        """Whether there is a store for these weights already."""
        return key in self._stores and self._stores[key][0] == version

    def store(
        self, key: object, version: object, count: int, shapes: Sequence[tuple[int, ...]]
    ) -> FeatureStore | None:
        """The store for a key, made on first demand; None where there is no room for one.

        Args:
            key: the data and the computation.
            version: of the weights; another one replaces the store.
            count, shapes: see `FeatureStore`.
        """
        if not self.holds(key, version):
            self._stores.pop(key, None)  # the room is needed for its successor
            self._stores[key] = (version, _make_store(count, shapes))
        self._stores.move_to_end(key)
        while len(self._stores) > self._limit:
            self._stores.popitem(last=False)
        return self._stores[key][1]


def _make_store(count: int, shapes: Sequence[tuple[int, ...]]) -> FeatureStore | None:
    try:
        store = FeatureStore(count, shapes, memory_budget())
    except (OSError, MemoryError) as error:
        _log.warning(
            "no room for the outputs of the frozen layers (%s); they are computed again in every "
            "epoch",
            error,
        )
        return None
    if store.on_disk:
        _log.info(
            "outputs of the frozen layers: %d MB, kept in %s until the process ends",
            store.bytes >> 20,
            cache_folder(),
        )
    return store
