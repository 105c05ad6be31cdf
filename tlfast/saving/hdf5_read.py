"""A reader in Python of the HDF5 that Keras writes, safe on files from strangers.

libhdf5 can be made to crash or hang by damaged metadata before any check of ours could act,
so it is never given a file to read. This reader follows hard links only, keeps no state beside
the file, and stops at limits of work, text and unpacked data that grow with the file. It reads
superblocks 0 to 3, symbol-table groups and compact link groups, attributes in object headers,
contiguous, compact and chunked data (B-tree version 1 or a single chunk) with deflate, shuffle
and fletcher32.
Not read: fractal heaps (h5py with libver="latest" or track_order=True), soft and external
links, external storage, virtual datasets, compound and other non-numeric data.
"""

import math
import os
from types import TracebackType
from typing import Any, Self

import numpy as np

from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_blocks import (
    MAX_BLOCK,
    SIGNATURE,
    Attributes,
    Blocks,
    Header,
    dense_error,
    read_link,
    read_symbol_table,
    tree_node,
)
from tlfast.saving.hdf5_types import (
    UNDEFINED,
    Cursor,
    Filters,
    chunk_bytes,
    parse_dataspace,
    parse_datatype,
    parse_filters,
    undo_filters,
)
from tlfast.saving.source import Source, open_source

__all__ = ["SIGNATURE", "Dataset", "File", "Group"]

MAX_DEPTH = 64

_CLASS_NAMES = {0: "compact", 1: "contiguous", 2: "chunked", 3: "virtual"}


class File:
    """An open HDF5 file.

    Args:
        source: path, bytes, or a `Source` (which this object then closes).
        name: text for error messages; default the path.

    Raises:
        FormatError: the content is not HDF5 or outside of what this reader supports.
        OSError: the path cannot be opened.
    """

    def __init__(
        self, source: str | os.PathLike[str] | bytes | Source, name: str | None = None
    ) -> None:
        if isinstance(source, bytes):
            source = Source(name or "<bytes>", data=source)
        elif not isinstance(source, Source):
            source = open_source(source)
        blocks = Blocks(source, name or source.name)
        self.source = source
        self.name: str = blocks.name
        try:
            root = blocks.root_address()
            self.root: Group = Group(blocks, Header(blocks, root, "/"), "/", frozenset({root}))
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Group:
    """A group: `keys()`, `get(path)`, `attrs`.

    Args:
        file: the file's blocks.
        header: the group's object header.
        path: the way that led here.
        above: addresses of this group and of those above it.
    """

    def __init__(self, file: Blocks, header: Header, path: str, above: frozenset[int]) -> None:
        self.file = file
        self.path = path
        self._above = above
        self._header = header
        self._links: dict[str, int | None] | None = None
        self._groups: dict[str, Group] = {}  # opened before; a path is followed many times
        self._attributes: Attributes | None = None

    @property
    def attrs(self) -> Attributes:
        """The attributes of this group."""
        if self._attributes is None:
            self._attributes = Attributes(self._header)
        return self._attributes

    def keys(self) -> list[str]:
        """Return the names of the links in stored order."""
        return list(self._load_links())

    def __contains__(self, path: str) -> bool:
        return self.get(path) is not None

    def group(self, path: str) -> "Group | None":
        """Return the group at a path below this one, or None when there is nothing."""
        found = self.get(path)
        if isinstance(found, Dataset):
            raise FormatError(f"{self.file.name}: {found.path!r} is a dataset, not a group")
        return found

    def dataset(self, path: str) -> "Dataset | None":
        """Return the dataset at a path below this one, or None when there is nothing."""
        found = self.get(path)
        if isinstance(found, Group):
            raise FormatError(f"{self.file.name}: {found.path!r} is a group, not a dataset")
        return found

    def get(self, path: str) -> "Group | Dataset | None":
        """Return the object at a path below this one, or None when there is nothing."""
        parts = [part for part in path.split("/") if part]
        if len(parts) > MAX_DEPTH:
            raise FormatError(f"{self.file.name}: a path of more than {MAX_DEPTH} names")
        here: Group | Dataset = self
        for part in parts:
            if isinstance(here, Dataset):
                return None
            if part in here._groups:
                here = here._groups[part]
                continue
            links = here._load_links()
            if part not in links:
                return None
            address = links[part]
            below = f"{here.path.rstrip('/')}/{part}"
            if address is None:
                raise FormatError(
                    f"{self.file.name}: {below!r} is a soft or external link; only data inside "
                    "the file is read"
                )
            if address in here._above:
                raise FormatError(
                    f"{self.file.name}: {below!r} leads back to a group above it; refused"
                )
            found = _open_object(self.file, address, below, here._above)
            if isinstance(found, Group):
                here._groups[part] = found
            here = found
        return here

    def _load_links(self) -> dict[str, int | None]:
        if self._links is None:
            links: dict[str, int | None] = {}
            table = self._header.one(0x11)
            if table is not None:
                cur = self._header.cursor(table, "symbol table")
                read_symbol_table(self.file, cur.uint(8), cur.uint(8), links)
            for body in self._header.all(0x02):
                info = self._header.cursor(body, "link info")
                info.take(1)
                info.take(8 if info.uint(1) & 1 else 0)
                if info.uint(8) != UNDEFINED:
                    raise dense_error(self._header.where, "links")
            for body in self._header.all(0x06):
                read_link(self._header.cursor(body, "link"), links)
            self._links = links
        return self._links


class Dataset:
    """A dataset: `shape`, `dtype`, `read()`; nothing is read before `read()`."""

    def __init__(self, file: Blocks, header: Header, path: str) -> None:
        self.file = file
        self.path = path
        self.where: str = header.where
        self._header = header
        if header.one(0x07) is not None:
            raise FormatError(f"{self.where}: data in other files (external storage) is refused")
        bodies = [header.one(kind) for kind in (0x01, 0x03, 0x08)]
        if None in bodies:
            raise FormatError(f"{self.where}: neither a group nor a dataset")
        space, kind, layout = (header.cursor(body or b"", "dataset") for body in bodies)
        shape = parse_dataspace(space)
        if shape is None:
            raise FormatError(f"{self.where}: a dataset without data space")
        self.shape: tuple[int, ...] = shape
        self._type = parse_datatype(kind)
        self.attrs: Attributes = Attributes(header)
        self._layout = layout
        pipeline = header.one(0x0B)
        self._filters = parse_filters(header.cursor(pipeline, "filters")) if pipeline else Filters()

    @property
    def dtype(self) -> np.dtype:
        """NumPy type of the elements; bfloat16 (which Keras marks) reads as float32."""
        if self._is_bfloat16():
            return np.dtype(np.float32)
        if self._type.dtype is None:
            raise FormatError(f"{self.where}: holds {self._type.kind} data, not numbers")
        return self._type.dtype.newbyteorder("=")

    def read(self, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return the data.

        Args:
            shape: the shape that is needed; checked before anything is allocated.

        Raises:
            FormatError: another shape, damaged data, or more data than the file can hold.
        """
        self._check_shape(shape)
        bfloat16 = self._is_bfloat16()
        stored = np.dtype("<u2") if bfloat16 else self._type.dtype
        if stored is None:
            raise FormatError(f"{self.where}: holds {self._type.kind} data, not numbers")
        array = self._read_stored(stored, self._stored_bytes(stored))
        if bfloat16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array if stored.isnative else array.astype(stored.newbyteorder("="))

    def read_variable(self, shape: tuple[int, ...]) -> Any:
        """Return the data as a new `_core.Variable`, in one copy where the file allows it.

        Args:
            shape: the shape that is needed; checked before anything is allocated.

        Raises:
            FormatError: as from `read`.
        """
        self._check_shape(shape)
        stored = self._type.dtype
        cur = self._layout
        cur.pos = 0
        if stored == np.float32 and stored.isnative and (cur.uint(1), cur.uint(1)) == (3, 1):
            address = self._contiguous_address(cur, self._stored_bytes(stored))
            if address is not None:
                return self.file.source.read_variable(address, self.shape)
        from tlfast import _core

        made = _core.Variable(self.shape)
        made.assign(self.read())
        return made

    def _check_shape(self, shape: tuple[int, ...] | None) -> None:
        if shape is not None and tuple(shape) != self.shape:
            raise FormatError(f"{self.where}: has shape {self.shape}, but {tuple(shape)} is needed")

    def _stored_bytes(self, stored: np.dtype) -> int:
        """The size of the data, checked before anything is allocated."""
        total = math.prod(self.shape) * stored.itemsize
        self.file.spend_data(total, self.where)
        return total

    def _is_bfloat16(self) -> bool:
        return (
            self._type.kind == "opaque"
            and self._type.size == 2
            and self.attrs.get("dtype") == "bfloat16"
        )

    def _read_stored(self, stored: np.dtype, total: int) -> np.ndarray:
        cur = self._layout
        cur.pos = 0
        version, kind = cur.uint(1), cur.uint(1)
        if version not in (3, 4):
            raise FormatError(
                f"{self.where}: data layout version {version} is not supported; re-save the file "
                "with h5py's defaults"
            )
        if kind == 0:
            return self._compact(cur, stored, total)
        if kind == 1:
            return self._contiguous(cur, stored, total)
        if kind == 2:
            return (self._chunked if version == 3 else self._single_chunk)(cur, stored)
        name = _CLASS_NAMES.get(kind, str(kind))
        raise FormatError(f"{self.where}: {name} datasets are refused")

    def _compact(self, cur: Cursor, stored: np.dtype, total: int) -> np.ndarray:
        data = cur.take(cur.uint(2))
        if len(data) < total:
            raise FormatError(f"{self.where}: {len(data)} bytes stored, {total} needed")
        return np.frombuffer(data[:total], stored).reshape(self.shape).copy()

    def _contiguous(self, cur: Cursor, stored: np.dtype, total: int) -> np.ndarray:
        address = self._contiguous_address(cur, total)
        if address is None:
            return np.zeros(self.shape, stored)
        array = np.empty(self.shape, stored)
        self.file.source.read_into(address, array)
        return array

    def _contiguous_address(self, cur: Cursor, total: int) -> int | None:
        """Where the data lies; None for data never written, which HDF5 reads as the fill value,
        zero in Keras' files."""
        if self._filters.ids:
            raise FormatError(f"{self.where}: filters on contiguous data")
        address, size = cur.uint(8), cur.uint(8)
        if address == UNDEFINED:
            if total > MAX_BLOCK:
                raise FormatError(f"{self.where}: declares {total} bytes but stores none")
            return None
        # Checked before the allocation: the bytes must exist.
        if size < total or address + total > self.file.source.size:
            raise FormatError(
                f"{self.where}: needs {total} bytes at {address}, but the file has "
                f"{self.file.source.size}; it is truncated or damaged"
            )
        return address

    def _chunked(self, cur: Cursor, stored: np.dtype) -> np.ndarray:
        rank = cur.uint(1) - 1
        address = cur.uint(8)
        dims = tuple(cur.uint(4) for _ in range(rank))
        if rank != len(self.shape) or cur.uint(4) != stored.itemsize or 0 in dims:
            raise FormatError(f"{self.where}: its chunks do not fit its shape")
        size = chunk_bytes(dims, stored.itemsize, self.where)
        expected = math.prod(-(-n // d) for n, d in zip(self.shape, dims, strict=True))
        chunks = [] if address == UNDEFINED else self._chunk_list(address, dims, expected)
        if len(chunks) != expected:
            raise FormatError(f"{self.where}: has {len(chunks)} chunks instead of {expected}")
        array = np.empty(self.shape, stored)
        for offsets, place, length, mask in chunks:
            self._place_chunk(array, offsets, dims, size, (place, length, mask))
        return array

    def _place_chunk(
        self,
        array: np.ndarray,
        offsets: tuple[int, ...],
        dims: tuple[int, ...],
        size: int,
        stored: tuple[int, int, int],
    ) -> None:
        place, length, mask = stored
        if length > size + (size >> 3) + 1024:
            raise FormatError(f"{self.where}: a chunk stored in {length} bytes, {size} unpacked")
        self.file.spend(1 + (length >> 16))
        self.file.spend_data(size, self.where)
        raw = self.file.source.read(place, length)
        raw = undo_filters(raw, self._filters, mask, size, self.where)
        block = np.frombuffer(raw, array.dtype).reshape(dims)
        target = tuple(slice(o, o + d) for o, d in zip(offsets, dims, strict=True))
        part = array[target]
        part[...] = block[tuple(slice(0, n) for n in part.shape)]

    def _chunk_list(
        self, address: int, dims: tuple[int, ...], expected: int
    ) -> list[tuple[tuple[int, ...], int, int, int]]:
        """Walk the version 1 B-tree; every chunk once, inside the shape, on the grid."""
        found: dict[tuple[int, ...], tuple[int, int, int]] = {}
        stack = [(address, -1)]
        while stack:
            place, level = stack.pop()
            head = tree_node(self.file, place, 1, level)
            level, count = head.uint(1), head.uint(2)
            head.take(16)
            key = 8 + 8 * (len(dims) + 1)
            cur = self.file.cursor(place + 24, count * (key + 8) + key, "B-tree node")
            for _ in range(count):
                length, mask = cur.uint(4), cur.uint(4)
                offsets = tuple(cur.uint(8) for _ in dims)
                cur.take(8)
                child = cur.uint(8)
                self.file.spend()
                if level:
                    stack.append((child, level))
                    continue
                inside = all(o < n for o, n in zip(offsets, self.shape, strict=True))
                on_grid = not any(o % d for o, d in zip(offsets, dims, strict=True))
                if offsets in found or not (inside and on_grid) or len(found) >= expected:
                    raise FormatError(f"{self.where}: its chunk index is damaged")
                found[offsets] = (child, length, mask)
        return [(offsets, *where) for offsets, where in found.items()]

    def _single_chunk(self, cur: Cursor, stored: np.dtype) -> np.ndarray:
        flags, rank, width = cur.uint(1), cur.uint(1), cur.uint(1)
        if not 1 <= width <= 8:
            raise FormatError(f"{self.where}: chunk sizes of {width} bytes")
        dims = tuple(cur.uint(width) for _ in range(rank))[:-1]
        index = cur.uint(1)
        if index != 1 or dims != self.shape:
            raise FormatError(
                f"{self.where}: chunks of HDF5's newest layout (libver='latest') are not "
                "supported; re-save the file with h5py's defaults"
            )
        size = chunk_bytes(dims, stored.itemsize, self.where)
        length, mask = (cur.uint(8), cur.uint(4)) if flags & 2 else (size, 0)
        address = cur.uint(8)
        array = np.empty(self.shape, stored)
        self._place_chunk(array, (0,) * len(dims), dims, size, (address, length, mask))
        return array


def _open_object(file: Blocks, address: int, path: str, above: frozenset[int]) -> Group | Dataset:
    header = Header(file, address, path)
    kinds = {number for number, _, _ in header.messages}
    if kinds & {0x11, 0x02, 0x06}:
        return Group(file, header, path, above | {address})
    return Dataset(file, header, path)
