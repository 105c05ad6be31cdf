"""The metadata of an HDF5 file: blocks under limits, object headers, attributes, link tables."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_types import (
    UNDEFINED,
    Cursor,
    Datatype,
    parse_dataspace,
    parse_datatype,
)
from tlfast.saving.source import Source

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Limits. The largest official weight file (NASNetLarge) has about 4,000 objects, needs about
# 40,000 steps and holds under 1 MB of attributes; a user's model is allowed a lot more.
MAX_STEPS = 4_000_000
MAX_BLOCK = 4 << 20
MAX_TEXT = 64 << 20
MAX_GROUP = 65_536
MAX_NAME = 1024
# Small files are allowed less. What is stored once is read once or twice, so work, text and data
# grow with the size of the file; more means that structures or data are used again and again.
# A file of nothing but empty groups needs a step for ten bytes of it.
_FREE_STEPS, _STEPS_PER_BYTE = 20_000, 0.25
_FREE_TEXT, _TEXT_PER_BYTE = 1 << 20, 8
# Weights are hardly compressed; slots of an optimizer, full of zeros, are.
_FREE_DATA, _DATA_PER_BYTE = 16 << 20, 200
_BYTES_PER_STEP = 256  # of metadata

_MESSAGE = struct.Struct("<HHB3x")  # kind, size, flags
_SYMBOL = struct.Struct("<QQI20x")  # name in the heap, object header, cache type
_ATTRIBUTE = struct.Struct("<BHHH")  # flags, sizes of name, datatype, dataspace
_STRING = struct.Struct("<IQI")  # length, heap, object in the heap


class Blocks:
    """Reads the metadata blocks of one file and counts the work.

    Args:
        source: the file's bytes.
        name: text for error messages.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.source = source
        self.name = name
        self.max_steps: int = min(MAX_STEPS, int(_FREE_STEPS + _STEPS_PER_BYTE * source.size))
        self.max_text: int = min(MAX_TEXT, _FREE_TEXT + _TEXT_PER_BYTE * source.size)
        self.max_data: int = _FREE_DATA + _DATA_PER_BYTE * source.size
        self.steps: int = 0  # spent, like the next two
        self.text: int = 0
        self.data: int = 0
        self._heaps: dict[int, dict[int, bytes]] = {}

    def spend(self, steps: int = 1) -> None:
        """Count work; raise when the file asks for more than any real one."""
        self.steps += steps
        if self.steps > self.max_steps:
            raise FormatError(f"{self.name}: more than {self.max_steps} steps of metadata; damaged")

    def spend_text(self, size: int) -> None:
        """Count attribute bytes; raise when the file holds more than any real one."""
        self.text += size
        if self.text > self.max_text:
            raise FormatError(f"{self.name}: more than {self.max_text} bytes of attributes")

    def spend_data(self, size: int, where: str) -> None:
        """Count unpacked data, before it is allocated; raise when a file expands without end."""
        self.data += size
        if self.data > self.max_data:
            raise FormatError(
                f"{where}: {size} bytes more of unpacked data make {self.data} bytes from a file "
                f"of {self.source.size}; refused"
            )

    def cursor(self, offset: int, size: int, what: str) -> Cursor:
        """Read one metadata block."""
        if size > MAX_BLOCK:
            raise FormatError(f"{self.name}: {what} of {size} bytes, more than {MAX_BLOCK}")
        self.spend(1 + size // _BYTES_PER_STEP)
        return Cursor(self.source.read(offset, size), f"{self.name}: {what} at byte {offset}")

    def heap_object(self, address: int, index: int) -> bytes:
        """Return one object of a global heap collection."""
        if address not in self._heaps:
            self._heaps[address] = self._read_global_heap(address)
        heap = self._heaps[address]
        if index not in heap:
            raise FormatError(f"{self.name}: object {index} of the heap at {address} is missing")
        return heap[index]

    def _read_global_heap(self, address: int) -> dict[int, bytes]:
        head = self.cursor(address, 16, "global heap")
        if head.take(4) != b"GCOL" or head.uint(1) != 1:
            raise FormatError(f"{head.where}: no global heap there")
        head.take(3)
        size = head.uint(8)
        if not 16 <= size <= MAX_TEXT:
            raise FormatError(f"{head.where}: a heap of {size} bytes")
        self.spend_text(size)
        cur = Cursor(self.source.read(address + 16, size - 16), head.where)
        objects: dict[int, bytes] = {}
        while cur.left() >= 16:
            self.spend()
            index = cur.uint(2)
            cur.take(6)
            length = cur.uint(8)
            if index == 0:
                break
            objects[index] = cur.take(length)
            cur.take(min(-length % 8, cur.left()))
        return objects

    def root_address(self) -> int:
        """Check the superblock and return where the root group is."""
        if self.source.size < 48 or self.source.head != SIGNATURE:
            raise FormatError(f"{self.name}: not an HDF5 file (its first bytes are others)")
        cur = self.cursor(8, min(self.source.size - 8, 104), "superblock")
        version = cur.uint(1)
        if version in (0, 1):
            cur.take(4)
            sizes = (cur.uint(1), cur.uint(1))
            cur.take(9 if version == 0 else 13)
            base = cur.uint(8)
            cur.take(8)
            end = cur.uint(8)
            cur.take(16)
            root = cur.uint(8)
        elif version in (2, 3):
            sizes = (cur.uint(1), cur.uint(1))
            cur.take(1)
            base = cur.uint(8)
            cur.take(8)
            end = cur.uint(8)
            root = cur.uint(8)
        else:
            raise FormatError(f"{cur.where}: HDF5 superblock version {version} is not known")
        if sizes != (8, 8) or base != 0:
            raise FormatError(
                f"{cur.where}: addresses of {sizes} bytes with base {base}; only 8-byte "
                "addresses in a file without a user block are supported"
            )
        if end > self.source.size:
            raise FormatError(
                f"{self.name}: the file says that it has {end} bytes, but it has "
                f"{self.source.size}; it is truncated or damaged, so copy or download it again"
            )
        return root


class Header:
    """The messages of one object header."""

    def __init__(self, file: Blocks, address: int, path: str) -> None:
        self.file = file
        self.where: str = f"{file.name}: {path!r}"
        self.messages: list[tuple[int, int, bytes]] = []
        start = file.cursor(address, 16, "object header")
        if start.data[:4] == b"OHDR":
            self._read_v2(address)
        else:
            self._read_v1(address, start)

    def all(self, kind: int) -> Iterator[bytes]:
        """Yield the bodies of all messages of a kind."""
        for number, flags, body in self.messages:
            if number == kind:
                if flags & 2:
                    raise FormatError(
                        f"{self.where}: a shared header message (kind {kind}) is not supported"
                    )
                yield body

    def one(self, kind: int) -> bytes | None:
        """Return the body of the first message of a kind, or None."""
        return next(self.all(kind), None)

    def cursor(self, body: bytes, what: str) -> Cursor:
        return Cursor(body, f"{self.where}, {what}")

    def _read_v1(self, address: int, start: Cursor) -> None:
        version = start.uint(1)
        start.take(1)
        count = start.uint(2)
        start.take(4)
        size = start.uint(4)
        if version != 1:
            raise FormatError(f"{start.where}: version {version} of an object header")
        blocks = [(address + 16, size)]
        seen = set()
        while blocks and count:
            place, size = blocks.pop(0)
            if place in seen:
                raise FormatError(f"{start.where}: a header block continues itself")
            seen.add(place)
            cur = self.file.cursor(place, size, "object header block")
            while cur.left() >= 8 and count:
                self.file.spend()
                kind, length, flags = cur.unpack(_MESSAGE)
                body = cur.take(length)
                count -= 1
                self._keep(kind, flags, body, blocks)

    def _read_v2(self, address: int) -> None:
        head = self.file.cursor(address, min(48, self.file.source.size - address), "object header")
        head.take(4)
        version, flags = head.uint(1), head.uint(1)
        if version != 2:
            raise FormatError(f"{head.where}: version {version} of an object header")
        head.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
        size = head.uint(1 << (flags & 3))
        blocks = [(address + head.pos, size)]
        seen = set()
        first = True
        while blocks:
            place, size = blocks.pop(0)
            if place in seen:
                raise FormatError(f"{head.where}: a header block continues itself")
            seen.add(place)
            cur = self.file.cursor(place, size, "object header block")
            if not first:
                if cur.take(4) != b"OCHK":
                    raise FormatError(f"{cur.where}: no continuation block there")
                cur.data = cur.data[:-4]
            first = False
            step = 6 if flags & 4 else 4
            while cur.left() >= step:
                self.file.spend()
                kind, length, bits = cur.uint(1), cur.uint(2), cur.uint(1)
                cur.take(step - 4)
                self._keep(kind, bits, cur.take(length), blocks)

    def _keep(self, kind: int, flags: int, body: bytes, blocks: list[tuple[int, int]]) -> None:
        if kind == 0x10:
            cur = Cursor(body, f"{self.where}, continuation")
            blocks.append((cur.uint(8), cur.uint(8)))
        elif kind:
            self.messages.append((kind, flags, body))


@dataclass(frozen=True)
class _Stored:
    """An attribute that is not decoded yet: its datatype, dataspace and value in `data`."""

    data: bytes
    padded: bool
    shared: bool
    type_size: int
    space_size: int


class Attributes:
    """The attributes of an object, decoded when asked for."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._stored: dict[str, _Stored] = {}
        for body in header.all(0x0C):
            cur = header.cursor(body, "attribute")
            version = cur.uint(1)
            if version not in (1, 2, 3):
                raise FormatError(f"{cur.where}: attribute version {version} is not known")
            flags, name_size, type_size, space_size = cur.unpack(_ATTRIBUTE)
            if version == 3:
                cur.take(1)
            if name_size > MAX_NAME:
                raise FormatError(f"{cur.where}: a name of {name_size} bytes")
            name = cur.take(name_size).split(b"\0")[0].decode("utf-8", "replace")
            padded = version == 1
            if padded:
                cur.align8()
            self._stored[name] = _Stored(
                body[cur.pos :], padded, bool(flags), type_size, space_size
            )
        for body in header.all(0x15):
            info = header.cursor(body, "attribute info")
            info.take(1)
            info.take(2 if info.uint(1) & 1 else 0)
            if info.uint(8) != UNDEFINED:
                raise dense_error(header.where, "attributes")

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def get(self, name: str) -> object:
        """Return a str, a list of str, a number or an ndarray; None when there is none."""
        if name not in self._stored:
            return None
        stored = self._stored[name]
        cur = self._header.cursor(stored.data, f"attribute {name!r}")
        if stored.shared:
            raise FormatError(f"{cur.where}: shared datatypes are not supported")
        kind = parse_datatype(Cursor(cur.take(stored.type_size), cur.where))
        if stored.padded:
            cur.align8()
        shape = parse_dataspace(Cursor(cur.take(stored.space_size), cur.where))
        if stored.padded:
            cur.align8()
        return self._decode(kind, shape, cur)

    def _decode(self, kind: Datatype, shape: tuple[int, ...] | None, cur: Cursor) -> object:
        if shape is None:
            return None
        count = math.prod(shape)
        if count * max(kind.size, 1) > cur.left():
            raise FormatError(f"{cur.where}: {shape} elements do not fit in its message")
        self._header.file.spend(1 + count // 64)
        self._header.file.spend_text(count * kind.size)
        if kind.kind == "number":
            assert kind.dtype is not None
            array = np.frombuffer(cur.take(count * kind.size), kind.dtype).reshape(shape).copy()
            return array if shape else array.item()
        if kind.kind == "opaque":
            raise FormatError(f"{cur.where}: opaque data is not supported")
        texts = [self._text(kind, cur) for _ in range(count)]
        return texts if shape else texts[0]

    def _text(self, kind: Datatype, cur: Cursor) -> str:
        if kind.kind == "string":
            raw = cur.take(kind.size).split(b"\0")[0]
        else:
            if kind.size != 16:
                raise FormatError(f"{cur.where}: string references of {kind.size} bytes")
            length, address, index = cur.unpack(_STRING)
            raw = b""
            if length:
                file = self._header.file
                file.spend()
                file.spend_text(length)
                raw = file.heap_object(address, index)[:length]
                if len(raw) != length:
                    raise FormatError(f"{cur.where}: a string is longer than its heap object")
        try:
            return raw.rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError as exc:
            raise FormatError(f"{cur.where}: text that is not UTF-8") from exc


def dense_error(where: str, what: str) -> FormatError:
    """Return the error for links or attributes in a fractal heap."""
    return FormatError(
        f"{where}: its {what} are stored in HDF5's dense form (h5py with libver='latest' or "
        "track_order=True), which is not supported; re-save the file with h5py's defaults"
    )


def tree_node(file: Blocks, address: int, kind: int, parent_level: int) -> Cursor:
    """Return a cursor behind the type of a B-tree node; levels must fall on the way down."""
    head = file.cursor(address, 24, "B-tree node")
    if head.take(4) != b"TREE" or head.uint(1) != kind:
        raise FormatError(f"{head.where}: no B-tree of the right kind there")
    level = head.data[5]
    if (parent_level >= 0 and level != parent_level - 1) or level > 16:
        raise FormatError(f"{head.where}: a B-tree with wrong levels")
    return head


def read_symbol_table(file: Blocks, tree: int, heap: int, links: dict[str, int | None]) -> None:
    """Add the links of an old-style group to `links`; soft ones as None."""
    head = file.cursor(heap, 32, "local heap")
    if head.take(4) != b"HEAP":
        raise FormatError(f"{head.where}: no local heap there")
    head.take(4)
    size = head.uint(8)
    head.take(8)
    names = file.cursor(head.uint(8), size, "local heap data").data
    stack = [(tree, -1)]
    while stack:
        place, level = stack.pop()
        node = tree_node(file, place, 0, level)
        level, count = node.uint(1), node.uint(2)
        node.take(16)
        cur = file.cursor(place + 24, count * 16 + 8, "B-tree node")
        children = []
        for _ in range(count):
            cur.take(8)
            children.append(cur.uint(8))
        if level:
            stack.extend((child, level) for child in reversed(children))
        else:
            for child in children:
                _read_symbol_node(file, child, names, links)


def _read_symbol_node(file: Blocks, place: int, names: bytes, links: dict[str, int | None]) -> None:
    head = file.cursor(place, 8, "symbol table node")
    if head.take(4) != b"SNOD" or head.uint(1) != 1:
        raise FormatError(f"{head.where}: no symbol table node there")
    head.take(1)
    count = head.uint(2)
    cur = file.cursor(place + 8, count * 40, "symbol table node")
    for _ in range(count):
        file.spend()
        name_at, address, cache = cur.unpack(_SYMBOL)
        end = names.find(b"\0", name_at, name_at + MAX_NAME + 1)
        if name_at >= len(names) or end < 0:
            raise FormatError(
                f"{cur.where}: a name outside of its heap, or of more than {MAX_NAME} bytes: "
                f"{names[name_at : name_at + 40]!r}"
            )
        _add_link(links, names[name_at:end], None if cache == 2 else address, cur.where)


def read_link(cur: Cursor, links: dict[str, int | None]) -> None:
    """Add the link of one link message to `links`; soft and external ones as None."""
    version, flags = cur.uint(1), cur.uint(1)
    if version != 1:
        raise FormatError(f"{cur.where}: link version {version} is not known")
    kind = cur.uint(1) if flags & 8 else 0
    cur.take((8 if flags & 4 else 0) + (1 if flags & 0x10 else 0))
    size = cur.uint(1 << (flags & 3))
    if size > MAX_NAME:
        raise FormatError(f"{cur.where}: a name of {size} bytes: {cur.data[cur.pos :][:40]!r}")
    name = cur.take(size)
    _add_link(links, name, cur.uint(8) if kind == 0 else None, cur.where)


def _add_link(links: dict[str, int | None], raw: bytes, address: int | None, where: str) -> None:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise FormatError(f"{where}: a name that is not UTF-8") from exc
    if not name or "/" in name:
        raise FormatError(f"{where}: {name!r} is no name of an object")
    if name in links or len(links) >= MAX_GROUP:
        raise FormatError(f"{where}: the name {name!r} stands twice, or too many names")
    links[name] = address
