"""HDF5 datatypes, dataspaces and filters: the parts that Keras files and their copies use.

Source of the layouts: "HDF5 File Format Specification Version 3.0", The HDF Group.
"""

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from tlfast.saving.errors import FormatError

UNDEFINED = 0xFFFFFFFFFFFFFFFF
MAX_RANK = 8
MAX_ELEMENTS = 1 << 48  # without the axes of size zero, which NumPy multiplies as ones

_TYPE_HEAD = struct.Struct("<II")  # class and version (8 bits), bits (24); size
_FLOAT = struct.Struct("<HHBBBBI")

# Bits of IEEE numbers: size -> (sign, exponent location, exponent size, mantissa size, bias).
_IEEE = {2: (15, 10, 5, 10, 15), 4: (31, 23, 8, 23, 127), 8: (63, 52, 11, 52, 1023)}


class Cursor:
    """Reads little-endian numbers from a bytes object and checks every step.

    Args:
        data: the bytes.
        where: text that names the file and the structure in error messages.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.pos: int = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self.pos + size
        if size < 0 or end > len(self.data):
            raise FormatError(f"{self.where}: the structure ends after {len(self.data)} bytes")
        part = self.data[self.pos : end]
        self.pos = end
        return part

    def uint(self, size: int) -> int:
        """Return the next unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return the next numbers in a fixed layout; faster than one `uint` each."""
        return layout.unpack(self.take(layout.size))

    def align8(self) -> None:
        """Skip the padding to the next multiple of eight."""
        self.take(-self.pos % 8)

    def left(self) -> int:
        """Return how many bytes are left."""
        return len(self.data) - self.pos


@dataclass(frozen=True)
class Datatype:
    """A decoded datatype: kind is "number", "string", "vlen_string" or "opaque"."""

    kind: str
    size: int
    dtype: np.dtype | None = None


@dataclass(frozen=True)
class Filters:
    """The filter pipeline of a chunked dataset, in the order of writing."""

    ids: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()


def parse_datatype(cur: Cursor) -> Datatype:
    """Decode a datatype message; unsupported classes raise FormatError."""
    head, size = cur.unpack(_TYPE_HEAD)
    kind, version, bits = head & 15, head >> 4 & 15, head >> 8
    if not 1 <= version <= 4:
        raise FormatError(f"{cur.where}: datatype version {version} is not known")
    if kind == 0:
        return _integer_type(cur, bits, size)
    if kind == 1:
        return _float_type(cur, bits, size)
    if kind == 3:
        return Datatype("string", size)
    if kind == 5:
        return Datatype("opaque", size)
    if kind == 9 and bits & 15 == 1:
        return Datatype("vlen_string", size)
    names = {2: "time", 4: "bit field", 6: "compound", 7: "reference", 8: "enumeration",
             9: "variable-length sequence", 10: "array"}  # fmt: skip
    raise FormatError(
        f"{cur.where}: HDF5 data of class {names.get(kind, kind)} is not supported; "
        "weight files hold numbers and strings"
    )


def _integer_type(cur: Cursor, bits: int, size: int) -> Datatype:
    offset, precision = cur.uint(2), cur.uint(2)
    if size not in (1, 2, 4, 8) or offset != 0 or precision != 8 * size:
        raise FormatError(f"{cur.where}: integers of {precision} bits in {size} bytes")
    order = ">" if bits & 1 else "<"
    return Datatype("number", size, np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"))


def _float_type(cur: Cursor, bits: int, size: int) -> Datatype:
    offset, precision, exponent_at, exponent_bits, mantissa_at, mantissa_bits, bias = cur.unpack(
        _FLOAT
    )
    found = (bits >> 8 & 255, exponent_at, exponent_bits, mantissa_bits, bias)
    usual = (offset, precision, mantissa_at) == (0, 8 * size, 0)
    if bits & 0x40 or not usual or _IEEE.get(size) != found:
        raise FormatError(
            f"{cur.where}: floating-point numbers of {size} bytes that are not IEEE half, "
            "single or double"
        )
    return Datatype("number", size, np.dtype(f"{'>' if bits & 1 else '<'}f{size}"))


def parse_dataspace(cur: Cursor) -> tuple[int, ...] | None:
    """Decode a dataspace message: the shape, () for a scalar, None for a null space."""
    version, rank, flags = cur.uint(1), cur.uint(1), cur.uint(1)
    if version == 1:
        cur.take(5)
        null = False
    elif version == 2:
        null = cur.uint(1) == 2
    else:
        raise FormatError(f"{cur.where}: dataspace version {version} is not known")
    if rank > MAX_RANK:
        raise FormatError(f"{cur.where}: {rank} dimensions, but at most {MAX_RANK} are allowed")
    if flags & ~1:
        raise FormatError(f"{cur.where}: dataspace flags {flags:#x} are not supported")
    dims = tuple(cur.uint(8) for _ in range(rank))
    if math.prod(dim or 1 for dim in dims) > MAX_ELEMENTS:
        raise FormatError(f"{cur.where}: the shape {dims} is not that of any data")
    return None if null else dims


def parse_filters(cur: Cursor) -> Filters:
    """Decode a filter pipeline message; only deflate, shuffle and fletcher32 are allowed."""
    version, count = cur.uint(1), cur.uint(1)
    if version not in (1, 2):
        raise FormatError(f"{cur.where}: filter pipeline version {version} is not known")
    if count > 8:
        raise FormatError(f"{cur.where}: {count} filters, but at most 8 are allowed")
    if version == 1:
        cur.take(6)
    ids, sizes = [], []
    for _ in range(count):
        number = cur.uint(2)
        name_size = cur.uint(2) if version == 1 or number >= 256 else 0
        cur.uint(2)
        n_values = cur.uint(2)
        name = cur.take(name_size).split(b"\0")[0].decode("ascii", "replace")
        values = [cur.uint(4) for _ in range(n_values)]
        if version == 1 and n_values % 2:
            cur.uint(4)
        if number not in (1, 2, 3):
            raise FormatError(
                f"{cur.where}: compressed with filter {number} ({name!r}); only deflate (gzip), "
                "shuffle and fletcher32 are supported, so re-save the file with gzip or none"
            )
        ids.append(number)
        sizes.append(values[0] if values else 0)
    return Filters(tuple(ids), tuple(sizes))


def undo_filters(data: bytes, filters: Filters, mask: int, size: int, where: str) -> bytes:
    """Return the `size` bytes of one chunk from its stored form."""
    for place in reversed(range(len(filters.ids))):
        if mask >> place & 1:
            continue
        number = filters.ids[place]
        if number == 3:
            data = _strip_fletcher32(data, where)
        elif number == 1:
            # Checksums stand outside or inside of deflate: allow their four bytes.
            data = _inflate(data, size + 4 * filters.ids.count(3), where)
        else:
            data = _unshuffle(data, filters.sizes[place])
    if len(data) != size:
        raise FormatError(f"{where}: a chunk has {len(data)} bytes instead of {size}")
    return data


def _inflate(data: bytes, limit: int, where: str) -> bytes:
    worker = zlib.decompressobj()
    try:
        out = worker.decompress(data, limit + 1)
    except zlib.error as exc:
        raise FormatError(f"{where}: a compressed chunk is damaged ({exc})") from exc
    if len(out) > limit or not worker.eof:
        raise FormatError(f"{where}: a compressed chunk does not have its declared size")
    return out


def _unshuffle(data: bytes, item: int) -> bytes:
    count = len(data) // item if item > 1 else 0
    if count == 0:
        return data
    whole = count * item
    planes = np.frombuffer(data, np.uint8, whole).reshape(item, count)
    return planes.T.tobytes() + data[whole:]


def _strip_fletcher32(data: bytes, where: str) -> bytes:
    if len(data) < 4:
        raise FormatError(f"{where}: a chunk is too short for its checksum")
    body, stored = data[:-4], struct.unpack("<I", data[-4:])[0]
    if fletcher32(body) != stored:
        raise FormatError(f"{where}: the checksum of a chunk does not fit its data")
    return body


def fletcher32(data: bytes) -> int:
    """Return HDF5's Fletcher checksum of `data` (16-bit big-endian words, modulo 65535)."""
    padded = data + b"\0" * (len(data) % 2)
    words = np.frombuffer(padded, ">u2").astype(np.uint64)
    # sum2 counts word i (len - i) times; blocks keep the products inside 64 bits.
    first = second = 0
    for start in range(0, len(words), 1 << 20):
        block = words[start : start + (1 << 20)]
        count = len(block)
        weights = np.arange(count, 0, -1, dtype=np.uint64)
        second = (second + first * count + int((block * weights).sum())) % 65535
        first = (first + int(block.sum())) % 65535
    # HDF5 folds ones' complement sums: a non-zero sum that is 0 modulo 65535 stays 65535.
    if data and words.any():
        first, second = first or 65535, second or 65535
    return second << 16 | first


def chunk_bytes(dims: tuple[int, ...], item: int, where: str) -> int:
    """Return the size of one chunk in bytes, refusing zero and absurd ones."""
    size = math.prod(dims) * item
    if not 0 < size <= 1 << 32:
        raise FormatError(f"{where}: chunks of {dims} elements of {item} bytes are not allowed")
    return size
