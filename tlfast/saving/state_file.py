"""Plain values and arrays in one file with a hash: how a training in progress is stored.

    magic, 24 bytes                  "tlfast training state 1\\n"
    length of the JSON, 8 bytes      little-endian
    JSON                             {"state": ..., "arrays": [[type, shape, offset, bytes], ...]}
    arrays                           one after the other, each on the next multiple of 64 bytes
    SHA-256 of all that, 32 bytes

In the JSON, a dict is {"d": {...}} and an array {"a": its number}. A long list of numbers, {"l":
number}, and a long text, {"t": number}, are arrays too: those may be as large as the disk, and the
JSON may not. Every array is used once.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from tlfast.saving.atomic import replacing
from tlfast.saving.config_json import MAX_BYTES, parse_json
from tlfast.saving.errors import FormatError
from tlfast.saving.source import MAX_FILE_BYTES, Source, open_source

_FAMILY = b"tlfast training state "
_MAGIC = _FAMILY + b"1\n"
_ALIGNMENT = 64
_HASH_BYTES = 32
_PIECE = 4 << 20
_MAX_AXES = 32
_LONG_LIST = 64  # numbers
_LONG_TEXT = 1024  # characters
_TYPES = {
    kind.str: kind
    for native in map(np.dtype, "?bhilBHILefd")
    for kind in (native.newbyteorder("<"), native.newbyteorder(">"))
}


def write_state(
    path: str | os.PathLike[str],
    state: dict[str, Any],
    previous: str | os.PathLike[str] | None = None,
) -> None:
    """Write a state; see `read_state`.

    Args:
        path: the file, which appears whole or not at all.
        state: dicts with text as keys, lists, numbers, text, None, NumPy arrays, and objects whose
            method `numpy()` gives one.
        previous: what the file that was there is called from then on; None: it goes.

    Raises:
        TypeError: something else in the state, with its place.
        FormatError: more values, or deeper ones, than `read_state` takes.
        OSError: the file cannot be written; an older one is kept.
    """
    arrays: list[Any] = []
    stored = _stored(state, arrays, "state")
    table: list[list[Any]] = []
    at = 0
    for array in arrays:
        kind, size = _dtype(array), _bytes(array)
        table.append([kind.str, list(array.shape), at, size])
        at += -(-size // _ALIGNMENT) * _ALIGNMENT
    text = json.dumps({"state": stored, "arrays": table}).encode()
    parse_json(text, os.fspath(path))  # what cannot be read is not written over what can
    head = _MAGIC + len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256()
    with replacing(path, previous) as file:
        for piece in _pieces(head, arrays):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())


def _pieces(head: bytes, arrays: list[Any]) -> Iterator[bytes | memoryview]:
    yield head
    yield bytes(-len(head) % _ALIGNMENT)
    for array in arrays:
        values = np.ascontiguousarray(array.numpy() if hasattr(array, "numpy") else array)
        content = values.reshape(-1).view(np.uint8).data
        for start in range(0, len(content), _PIECE):
            yield content[start : start + _PIECE]
        yield bytes(-len(content) % _ALIGNMENT)


def _dtype(array: Any) -> np.dtype[Any]:
    return np.dtype(getattr(array, "dtype", np.float32))


def _bytes(array: Any) -> int:
    count = 1
    for length in array.shape:
        count *= length
    return int(count * _dtype(array).itemsize)


def _stored(value: Any, arrays: list[Any], where: str) -> Any:
    if isinstance(value, str) and len(value) > _LONG_TEXT:
        arrays.append(np.frombuffer(value.encode("utf-8", "surrogatepass"), np.uint8))
        return {"t": len(arrays) - 1}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise TypeError(f"{where}: the key {wrong!r} of a dict is no text")
        return {"d": {key: _stored(one, arrays, f"{where}[{key!r}]") for key, one in value.items()}}
    if isinstance(value, (list, tuple)):
        if len(value) > _LONG_LIST and (kind := _kind_of_all(value)) is not None:
            arrays.append(np.array(value, kind))
            return {"l": len(arrays) - 1}
        return [_stored(one, arrays, f"{where}[{i}]") for i, one in enumerate(value)]
    if isinstance(value, (np.ndarray, np.generic)):
        value = np.asarray(value)
    if hasattr(value, "shape") and _dtype(value).str in _TYPES:
        arrays.append(value)
        return {"a": len(arrays) - 1}
    raise TypeError(
        f"{where}: an object of type {type(value).__name__} cannot be stored; numbers, text, None, "
        "lists, dicts and NumPy arrays of numbers can"
    )


def _kind_of_all(values: Any) -> str | None:
    """The type of an array that holds these numbers and gives the same ones back."""
    if all(isinstance(value, float) for value in values):
        return "<f8"
    if all(type(value) is int and -(1 << 63) <= value < 1 << 63 for value in values):
        return "<i8"
    return None


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `write_state` was given; tuples are lists, numbers of NumPy are arrays.

    Args:
        path: the file.

    Raises:
        FormatError: damaged, of a newer version, or no such file at all.
        OSError: it cannot be opened.
    """
    with open_source(path) as source:
        start, text = _checked(source)
        found = parse_json(text, source.name)
        table = found.get("arrays")
        if not isinstance(table, list) or not isinstance(found.get("state"), dict):
            raise FormatError(f"{source.name}: neither state nor arrays in it")
        arrays: list[np.ndarray | None] = []
        begin = 0
        for entry in table:
            array, begin = _read_array(source, start, begin, entry)
            arrays.append(array)
        state = _restored(found["state"], arrays, source.name)
    if not isinstance(state, dict):
        raise FormatError(f"{source.name}: the state is a {type(state).__name__}")
    return state


def _checked(source: Source) -> tuple[int, bytes]:
    """Where the arrays start, and the JSON, of a file whose hash is right."""
    head = source.read(0, min(len(_MAGIC) + 8, source.size))
    if not head.startswith(_MAGIC):
        if head.startswith(_FAMILY):
            raise FormatError(f"{source.name}: written by a newer version of tlfast")
        raise FormatError(f"{source.name}: no training state (it starts with {head[:8]!r})")
    end = source.size - _HASH_BYTES
    digest = hashlib.sha256()
    for at in range(0, max(end, 0), _PIECE):
        digest.update(source.read(at, min(_PIECE, end - at)))
    if end < len(head) or source.read(end, _HASH_BYTES) != digest.digest():
        raise FormatError(f"{source.name}: damaged or cut short (its SHA-256 is wrong)")
    size = int.from_bytes(head[len(_MAGIC) :], "little")
    if size > min(MAX_BYTES, end - len(head)):
        raise FormatError(f"{source.name}: {size} bytes of JSON")
    text = source.read(len(head), size)
    return -(-(len(head) + size) // _ALIGNMENT) * _ALIGNMENT, text


def _read_array(source: Source, start: int, begin: int, entry: Any) -> tuple[np.ndarray, int]:
    """The array that `begin` bytes lie in front of, and where the next one begins."""
    if not _is_entry(entry, begin):
        raise FormatError(f"{source.name}: the entry {str(entry)[:80]} of an array")
    name, shape, _, size = entry
    source.check(start + begin, size)
    array = np.empty(shape, _TYPES[name])
    source.read_into(start + begin, array)
    return array, begin + -(-size // _ALIGNMENT) * _ALIGNMENT


def _is_entry(entry: Any, begin: int) -> bool:
    """Whether this is [type, shape, offset, bytes] of an array that lies where `begin` says."""
    if not isinstance(entry, list) or len(entry) != 4:
        return False
    name, shape, offset, size = entry
    if not isinstance(name, str) or name not in _TYPES or not isinstance(shape, list):
        return False
    if not all(type(n) is int and 0 <= n <= MAX_FILE_BYTES for n in (*shape, offset, size)):
        return False
    # NumPy multiplies the lengths of empty arrays too, the 0 left out.
    small = len(shape) <= _MAX_AXES and math.prod(n or 1 for n in shape) <= MAX_FILE_BYTES
    return small and offset == begin and math.prod(shape) * _TYPES[name].itemsize == size


def _restored(value: Any, arrays: list[np.ndarray | None], where: str) -> Any:
    if isinstance(value, list):
        return [_restored(one, arrays, where) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"d"} and isinstance(value["d"], dict):
        return {key: _restored(one, arrays, where) for key, one in value["d"].items()}
    ((kind, number),) = value.items() if len(value) == 1 else ((None, None),)
    if type(number) is int and 0 <= number < len(arrays):
        array, arrays[number] = arrays[number], None
        if array is not None and kind == "a":
            return array
        if array is not None and kind == "l" and array.ndim == 1:
            return array.tolist()
        if array is not None and kind == "t" and array.dtype == np.uint8:
            return _text(array, where)
    raise FormatError(f"{where}: the entry {str(value)[:80]}")


def _text(array: np.ndarray, where: str) -> str:
    try:
        return array.tobytes().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: a text that is not UTF-8 ({error.reason})") from error
