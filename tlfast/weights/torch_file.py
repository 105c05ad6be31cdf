"""A reader of torch files from before the zip format (torch 1.6), without torch or pickle.

Such a file is five pickles, then every storage as an int64 count and raw little-endian data.
The pickles are not run: an interpreter of the two dozen operations that tensors need builds
plain tuples and dicts, knows four names, and stops at anything else. Nothing is imported or
called, so a hostile file can at worst be refused.
"""

import math
import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlfast._shown import shown
from tlfast.saving.errors import FormatError
from tlfast.saving.source import Source, open_source

# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION of the legacy format.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_STORAGES: dict[str, np.dtype] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch LongStorage": np.dtype("<i8"),
}
_ORDERED_DICT = "collections OrderedDict"
_REBUILD = "torch._utils _rebuild_tensor_v2"
_ALLOWED = {*_STORAGES, _ORDERED_DICT, _REBUILD}

# The largest network here has about 10,000 operations in a header of 50 KB.
MAX_HEADER_BYTES = 8 << 20
MAX_OPERATIONS = 50_000
# Of all tensors, over the size of the file: tied weights are one storage under several names.
MAX_SHARING = 4


@dataclass(frozen=True)
class _Name:
    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_MARK = object()


class _Interpreter:
    """Runs one pickle's operations on plain data.

    Args:
        data: bytes that start with the pickle.
        where: text that names the file in error messages.
    """

    def __init__(self, data: memoryview, where: str) -> None:
        self.data = data
        self.where = where
        self.pos = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the value of the pickle; `pos` is then behind it."""
        for _ in range(MAX_OPERATIONS):  # so the stack has an end too
            code = self._take(1)[0]
            if code == 0x2E:  # STOP
                return self._pop()
            action = _ACTIONS.get(code)
            if action is None:
                raise self._error(f"pickle operation {bytes([code])!r} is not allowed")
            action(self)
        raise self._error(f"more than {MAX_OPERATIONS} pickle operations")

    def _error(self, text: str) -> FormatError:
        return FormatError(f"{self.where}: {text}; only tensors of weights are read")

    def _take(self, size: int) -> bytes:
        end = self.pos + size
        if end > len(self.data):
            raise FormatError(f"{self.where}: its header ends too early; truncated or damaged")
        part = bytes(self.data[self.pos : end])
        self.pos = end
        return part

    def _uint(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise self._error("the pickle takes more values than it made")
        return self.stack.pop()

    def _pop_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise self._error("the pickle has a list without its start")

    def _top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self._error(f"the pickle needs a {kind.__name__} where there is none")
        return self.stack[-1]

    def proto(self) -> None:
        if self._take(1)[0] != 2:
            raise self._error("a pickle protocol other than 2")

    def text(self) -> None:
        raw = self._take(self._uint(4))
        try:
            self.stack.append(raw.decode("utf-8"))
        except UnicodeDecodeError as exc:
            raise self._error("a name that is not UTF-8") from exc

    def signed(self) -> None:
        self.stack.append(int.from_bytes(self._take(4), "little", signed=True))

    def long(self) -> None:
        self.stack.append(int.from_bytes(self._take(self._uint(1)), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def put(self, size: int) -> None:
        index = self._uint(size)
        if not self.stack:
            raise self._error("the pickle remembers a value that is not there")
        self.memo[index] = self.stack[-1]

    def get(self, size: int) -> None:
        index = self._uint(size)
        if index not in self.memo:
            raise self._error("the pickle recalls a value that was never made")
        self.stack.append(self.memo[index])

    def set_items(self, values: list[Any]) -> None:
        target = self._top(dict)
        if len(values) % 2:
            raise self._error("a dict with a key but no value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # The value is not shown: it may be nested deeper than Python's stack.
            if not isinstance(key, str):
                raise self._error(f"a key of type {type(key).__name__}, which is no text")
            if key in target:
                raise self._error(f"the key {shown(key)!r} stands twice")
            target[key] = value

    def set_item(self) -> None:
        value = self._pop()
        key = self._pop()
        self.set_items([key, value])

    def append(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def name(self) -> None:
        end = bytes(self.data[self.pos : self.pos + 400]).split(b"\n", 2)
        if len(end) < 3:
            raise FormatError(f"{self.where}: a name does not end; truncated or damaged")
        text = b" ".join(end[:2]).decode("ascii", "replace")
        self.pos += len(end[0]) + len(end[1]) + 2
        if text not in _ALLOWED:
            raise self._error(f"it names {text.replace(' ', '.')!r}, which is not allowed")
        self.stack.append(_Name(text))

    def persistent(self) -> None:
        found = self._pop()
        if isinstance(found, tuple) and len(found) == 6 and found[0] == "storage":
            _, kind, key, _, count, view = found
            good = isinstance(kind, _Name) and kind.text in _STORAGES and isinstance(key, str)
            if good and type(count) is int and count >= 0 and view is None:
                self.stack.append(_Storage(key, _STORAGES[kind.text], count))
                return
        raise self._error("a storage that is not plain float or int64 data")

    def reduce(self) -> None:
        arguments = self._pop()
        function = self._pop()
        if function == _Name(_ORDERED_DICT) and arguments == ():
            self.stack.append({})
            return
        if function == _Name(_REBUILD) and isinstance(arguments, tuple) and len(arguments) == 6:
            storage, offset, shape, strides = arguments[:4]
            if (
                isinstance(storage, _Storage)
                and _is_size(offset)
                and isinstance(shape, tuple)
                and isinstance(strides, tuple)
                and len(shape) == len(strides) <= 8
                and all(map(_is_size, shape + strides))
            ):
                self.stack.append(_Tensor(storage, offset, shape, strides))
                return
        raise self._error("a call that does not make a tensor")

    def build(self) -> None:
        """Drop the state (`_metadata`) that torch gives to its OrderedDict."""
        self._pop()
        self._top(dict)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


_ACTIONS: dict[int, Any] = {
    0x80: _Interpreter.proto,
    ord("("): lambda s: s.stack.append(_MARK),
    ord(")"): lambda s: s.stack.append(()),
    ord("t"): lambda s: s.stack.append(tuple(s._pop_mark())),
    0x85: lambda s: s.tuple_of(1),
    0x86: lambda s: s.tuple_of(2),
    0x87: lambda s: s.tuple_of(3),
    ord("}"): lambda s: s.stack.append({}),
    ord("]"): lambda s: s.stack.append([]),
    ord("N"): lambda s: s.stack.append(None),
    0x88: lambda s: s.stack.append(True),
    0x89: lambda s: s.stack.append(False),
    ord("K"): lambda s: s.stack.append(s._uint(1)),
    ord("M"): lambda s: s.stack.append(s._uint(2)),
    ord("J"): _Interpreter.signed,
    0x8A: _Interpreter.long,
    ord("X"): _Interpreter.text,
    ord("q"): lambda s: s.put(1),
    ord("r"): lambda s: s.put(4),
    ord("h"): lambda s: s.get(1),
    ord("j"): lambda s: s.get(4),
    ord("s"): _Interpreter.set_item,
    ord("u"): lambda s: s.set_items(s._pop_mark()),
    ord("e"): lambda s: s.append(s._pop_mark()),
    ord("a"): lambda s: s.append([s._pop()]),
    ord("c"): _Interpreter.name,
    ord("Q"): _Interpreter.persistent,
    ord("R"): _Interpreter.reduce,
    ord("b"): _Interpreter.build,
}


def read_torch_file(
    source: str | os.PathLike[str] | Source, sha256: str | None = None
) -> dict[str, np.ndarray]:
    """Read the tensors of a legacy torch file (a state dict saved before torch 1.6).

    Args:
        source: path of the file, or an open `Source`.
        sha256: hex digest the file must have, checked before anything is parsed; None when
            it is not known.

    Returns:
        Dict of tensor name to a new C-contiguous array (float32 or int64), in stored order.

    Raises:
        FormatError: wrong hash, not such a file, or anything in it but plain tensors.
        OSError: the file cannot be opened.
    """
    if not isinstance(source, Source):
        with open_source(source) as opened:
            return read_torch_file(opened, sha256)
    if sha256 is not None:
        check_hash(source, sha256)
    # The header is read alone: mutated files must not cost more than they hold.
    head = memoryview(source.read(0, min(source.size, MAX_HEADER_BYTES)))
    if bytes(head[:4]) == b"PK\x03\x04":
        raise FormatError(
            f"{source.name}: a torch file in the zip form of torch 1.6 and later; only files of "
            "the older form are read (torch.save(..., _use_new_zipfile_serialization=False))"
        )
    values, data_at = _read_header(head, source)
    magic, protocol, system, tensors, keys = values
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise FormatError(f"{source.name}: not a torch file")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise FormatError(f"{source.name}: a torch file that is not little-endian")
    if not isinstance(tensors, dict) or not isinstance(keys, list):
        raise FormatError(f"{source.name}: does not hold a dict of tensors")
    return _read_tensors(source, tensors, keys, data_at)


def check_hash(source: Source, expected: str) -> None:
    """Raise FormatError unless the file has the expected sha256 or md5 (by length)."""
    import hashlib

    digest = hashlib.sha256() if len(expected) == 64 else hashlib.md5(usedforsecurity=False)
    for offset in range(0, source.size, 1 << 20):
        digest.update(source.read(offset, min(1 << 20, source.size - offset)))
    if digest.hexdigest() != expected:
        raise FormatError(
            f"{source.name}: its hash is {digest.hexdigest()}, but {expected} is expected; the "
            "file is damaged or another version, so delete it and get it again"
        )


def _read_header(head: memoryview, source: Source) -> tuple[list[Any], int]:
    values: list[Any] = []
    position = 0
    for _ in range(5):
        worker = _Interpreter(head[position:], source.name)
        values.append(worker.run())
        position += worker.pos
    return values, position


def _read_tensors(
    source: Source, tensors: dict[str, Any], keys: list[Any], offset: int
) -> dict[str, np.ndarray]:
    wanted: dict[str, _Storage] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, _Tensor):
            raise FormatError(f"{source.name}: {name!r} is not a tensor")
        first = wanted.setdefault(tensor.storage.key, tensor.storage)
        if first != tensor.storage:
            raise FormatError(f"{source.name}: the storage of {name!r} has two descriptions")
    texts = all(isinstance(key, str) for key in keys)
    if not texts or len(set(keys)) != len(keys) or set(keys) != set(wanted):
        raise FormatError(f"{source.name}: its storages do not fit its tensors")
    places = {}
    for key in keys:
        storage = wanted[key]
        count = struct.unpack("<q", source.read(offset, 8))[0]
        if count != storage.count:
            raise FormatError(f"{source.name}: a storage of {count} values, not {storage.count}")
        places[key] = offset + 8
        offset += 8 + count * storage.dtype.itemsize
        if offset > source.size:
            raise FormatError(
                f"{source.name}: ends at byte {source.size}, but its tensors need {offset}; "
                "it is truncated"
            )
    if offset != source.size:
        raise FormatError(f"{source.name}: {source.size - offset} bytes behind the last tensor")
    total = sum(math.prod(t.shape) * t.storage.dtype.itemsize for t in tensors.values())
    if total > MAX_SHARING * source.size:
        raise FormatError(
            f"{source.name}: its tensors declare {total} bytes in a file of {source.size}; refused"
        )
    return {
        name: _read_tensor(source, name, tensor, places[tensor.storage.key])
        for name, tensor in tensors.items()
    }


def _read_tensor(source: Source, name: str, tensor: _Tensor, place: int) -> np.ndarray:
    count = 1
    last = tensor.offset
    for size, stride in zip(tensor.shape, tensor.strides, strict=True):
        count *= size
        last += max(size - 1, 0) * stride
    # Never more elements than the storage has: zero strides could repeat one without end.
    if count > tensor.storage.count or (count and last >= tensor.storage.count):
        raise FormatError(f"{source.name}: tensor {name!r} reaches outside of its storage")
    data = np.empty(last - tensor.offset + 1 if count else 0, tensor.storage.dtype)
    source.read_into(place + tensor.offset * data.itemsize, data)
    steps = tuple(stride * data.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(data, tensor.shape, steps, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape).copy()
