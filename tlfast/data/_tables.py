"""What a dataset draws from: rows that can be fetched by number, kept in memory or in files.

Order is decided on row numbers alone; pixels are fetched for the rows of a batch when it is needed.
So shuffling a folder of images moves integers, and the loader knows in advance what to decode.
"""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from tlfast._warnings import DataWarning
from tlfast.data._pixels import PixelReader, PixelSpec
from tlfast.data._structure import leaves, map_leaves

# Batches handed to the loader at a time while a dataset is iterated by hand: long enough that
# restarting it does not show, short enough that an endless chain is not drawn far ahead.
_CHUNK = 128

Bad = list[tuple[str, str]]


def _rows(array: Any, ids: np.ndarray) -> Any:
    """Rows by number; neighbours in order are not copied."""
    if len(ids) and np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        return array[ids[0] : ids[0] + len(ids)]
    return array[ids]


class Table:
    """Rows by number. Subclasses say how rows become arrays."""

    count: int
    class_names: list[str] | None = None
    file_paths: list[str] | None = None

    def spec(self) -> Any:
        """Structure of (shape, dtype) of one row."""
        raise NotImplementedError

    def values(self, ids: Iterable[Any]) -> Iterator[Any]:
        """The elements for row numbers or arrays of row numbers, in order."""
        raise NotImplementedError

    def identity(self) -> Any:
        """A hashable key: same key and same row number mean the same pixels; None if unknown."""
        raise NotImplementedError

    def pixels(self, batches: list[np.ndarray]) -> Iterator[tuple[list[Any], np.ndarray, Bad]]:
        """Inputs of each batch, the rows that could be read, and (path, reason) of the others."""
        raise NotImplementedError

    def targets(self, ids: np.ndarray) -> list[np.ndarray] | None:
        """Targets of the rows, or None without labels."""
        raise NotImplementedError

    def weights(self, ids: np.ndarray) -> np.ndarray | None:
        """Sample weights of the rows, or None."""
        raise NotImplementedError

    def fingerprint(self) -> Any:
        """Plain values: another data set has others; nothing of a path or a name is in them."""
        raise NotImplementedError

    def ranks(self) -> np.ndarray | None:
        """The place of each row in an order that any process finds; None: the rows have it."""
        return None

    def remembering(self) -> "Table":
        """The same table, keeping in memory what was read once (for `Dataset.cache`)."""
        raise NotImplementedError


class ArrayTable(Table):
    """Rows of arrays of equal length, in any structure of tuples and dicts.

    Args:
        structure: the arrays; for training a tuple (x, y) or (x, y, sample_weight).
    """

    def __init__(self, structure: Any) -> None:
        self.structure = structure
        self.count = len(leaves(structure)[0])

    def spec(self) -> Any:
        return map_leaves(lambda a: (a.shape[1:], a.dtype), self.structure)

    def values(self, ids: Iterable[Any]) -> Iterator[Any]:
        for rows in ids:
            yield map_leaves(lambda a, rows=rows: np.asarray(a[rows]), self.structure)

    def identity(self) -> Any:
        return ("arrays", content_hash(leaves(self._part(0))))

    def fingerprint(self) -> Any:
        return sampled_hash(leaves(self.structure))

    def pixels(self, batches: list[np.ndarray]) -> Iterator[tuple[list[Any], np.ndarray, Bad]]:
        inputs = leaves(self._part(0))
        for ids in batches:
            yield [_rows(a, ids) for a in inputs], ids, []

    def targets(self, ids: np.ndarray) -> list[np.ndarray] | None:
        part = self._part(1)
        return None if part is None else [a[ids] for a in leaves(part)]

    def weights(self, ids: np.ndarray) -> np.ndarray | None:
        part = self._part(2)
        return None if part is None else leaves(part)[0][ids]

    def _part(self, place: int) -> Any:
        parts = self.structure if isinstance(self.structure, tuple) else (self.structure,)
        return parts[place] if place < len(parts) else None

    def remembering(self) -> "ArrayTable":
        return self


def content_hash(arrays: list[np.ndarray]) -> str:
    """Hash of shapes, types and bytes: about a millisecond per megabyte, far below one image."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str};".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


# Rows are left out of a fingerprint so that no more bytes than this are read for it.
_FINGERPRINT_BYTES = 64 << 20


def sampled_hash(arrays: list[np.ndarray]) -> str:
    """Hash of shapes, types and every n-th row."""
    step = -(-sum(array.nbytes for array in arrays) // _FINGERPRINT_BYTES) or 1
    shapes = [np.array([*array.shape, step]) for array in arrays]
    return content_hash([*shapes, *(array[::step] for array in arrays)])


class FileTable(Table):
    """Image files with labels, decoded ahead by the loader's threads.

    Args:
        paths: image files.
        labels: class numbers, (n,) integers, or None.
        label_mode: "int" (int32), "categorical" (float32 one-hot), "binary" (float32, (n, 1)) or
            None.
        class_names: name of each class, or None.
        pixel_spec: how a file becomes an array.
        on_bad_image: "error" or "skip".
        by_chance: whether the order of the files is another in each process.
    """

    def __init__(
        self,
        paths: list[str],
        labels: np.ndarray | None,
        label_mode: str | None,
        class_names: list[str] | None,
        pixel_spec: PixelSpec,
        on_bad_image: str = "error",
        by_chance: bool = False,
    ) -> None:
        self.paths: list[str] = paths
        self.by_chance = by_chance
        self.file_paths: list[str] | None = paths
        self.count: int = len(paths)
        self.labels: Any = labels
        self.label_mode = label_mode
        self.class_names: Any = class_names
        self.pixel_spec = pixel_spec
        self.on_bad_image = on_bad_image
        self.bad: dict[str, str] = {}
        self._kept: Any = None  # {row: pixels}, once they are to be kept

    def spec(self) -> Any:
        image = (self.pixel_spec.shape, self.pixel_spec.dtype)
        if self.label_mode is None:
            return image
        labels: Any = self.targets(np.zeros(1, np.int64))
        label = labels[0]
        return image, (label.shape[1:], label.dtype)

    def identity(self) -> Any:
        digest = hashlib.sha256(repr(self.pixel_spec).encode())
        for path in self.paths:
            digest.update(os.fsencode(path) + b"\0" + _file_state(path))
        return ("files", digest.hexdigest())

    def fingerprint(self) -> Any:
        """Names below their common folder, sizes and labels: the files may have been copied."""
        top = os.path.dirname(os.path.commonprefix(self.paths))
        digest = hashlib.sha256(repr(self.pixel_spec).encode())
        for row in np.argsort(self._ranks()).tolist():
            path = self.paths[row]
            label = None if self.labels is None else int(self.labels[row])
            size = os.stat(path).st_size if os.path.exists(path) else None
            digest.update(os.fsencode(os.path.relpath(path, top)) + f"\0{size} {label};".encode())
        return digest.hexdigest()

    def ranks(self) -> np.ndarray | None:
        return self._ranks() if self.by_chance else None

    def _ranks(self) -> np.ndarray:
        ranks = np.empty(self.count, np.int64)
        ranks[sorted(range(self.count), key=self.paths.__getitem__)] = np.arange(self.count)
        return ranks

    def targets(self, ids: np.ndarray) -> list[np.ndarray] | None:
        if self.label_mode is None:
            return None
        labels = self.labels[ids]
        if self.label_mode == "int":
            return [labels.astype(np.int32)]
        if self.label_mode == "binary":
            return [labels.astype(np.float32)[:, None]]
        # As tf.one_hot: a label outside the range gives a row of zeros.
        return [(labels[:, None] == np.arange(len(self.class_names))).astype(np.float32)]

    def weights(self, ids: np.ndarray) -> None:
        return None

    def pixels(self, batches: list[np.ndarray]) -> Iterator[tuple[list[Any], np.ndarray, Bad]]:
        if self._kept is None:
            for images, ids, bad in self._read(batches):
                yield [images], ids, bad
            return
        for ids in batches:
            yield self._remembered(ids)

    def _read(self, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, Bad]]:
        reader = PixelReader(self.paths, self.pixel_spec, self.on_bad_image)
        for images, ids, bad in reader.read(batches):
            self.bad.update(bad)
            yield images, ids, bad

    def _remembered(self, ids: np.ndarray) -> tuple[list[Any], np.ndarray, Bad]:
        wanted = dict.fromkeys(ids.tolist())
        missing = np.array([i for i in wanted if i not in self._kept], np.int64)
        bad: Bad = []
        if len(missing):
            for images, found, new_bad in self._read([missing]):
                bad += new_bad
                self._kept.update(zip(found.tolist(), np.array(images), strict=True))
        ids = np.array([i for i in ids.tolist() if i in self._kept], np.int64)
        rows = [self._kept[i] for i in ids.tolist()]
        images = np.stack(rows) if rows else np.empty((0, *self.pixel_spec.shape), np.float32)
        return [images], ids, bad

    def remembering(self) -> "FileTable":
        twin = FileTable(
            self.paths,
            self.labels,
            self.label_mode,
            self.class_names,
            self.pixel_spec,
            self.on_bad_image,
            self.by_chance,
        )
        twin.bad, twin._kept = self.bad, {}
        return twin

    def values(self, ids: Iterable[Any]) -> Iterator[Any]:
        ids = iter(ids)
        known = len(self.bad)
        while block := list(islice(ids, _CHUNK)):
            single = np.ndim(block[0]) == 0
            batches = [np.atleast_1d(np.asarray(rows, np.int64)) for rows in block]
            for (images,), kept, _ in self.pixels(batches):
                if len(kept):
                    value = self._element(images, kept)
                    yield map_leaves(lambda a: a[0], value) if single else value
        if len(self.bad) > known:
            warnings.warn(bad_image_sentence(list(self.bad.items())), DataWarning, stacklevel=3)

    def _element(self, images: np.ndarray, ids: np.ndarray) -> Any:
        targets = self.targets(ids)
        return images if targets is None else (images, targets[0])


def _file_state(path: str) -> bytes:
    """Size and modification time; a file that has gone is told apart from every other state."""
    try:
        state = os.stat(path)
    except OSError as error:
        return f"missing {error.errno};".encode()
    return f"{state.st_size} {state.st_mtime_ns};".encode()


def bad_image_sentence(bad: Bad) -> str:
    """One sentence about skipped files: how many, the first five by name, and why."""
    shown = "; ".join(f"{path}: {reason}" for path, reason in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    count = f"{len(bad)} unreadable image{'s were' if len(bad) > 1 else ' was'} skipped"
    return f"{count}: {shown}{more}"
