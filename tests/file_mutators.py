"""Damage to model files, from single bytes to whole layers; the same for the same generator."""

import hashlib
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hostile_files import (
    CONFIG,
    METADATA,
    WEIGHTS,
    external,
    hdf5,
    members,
    nested_calls,
    packed,
    virtual,
)  # fmt: skip

Rng = np.random.Generator
Mutator = Callable[[bytes, Rng], bytes]

STATE_HEAD = 32  # bytes in front of the JSON
BYTES = [0, 1, 7, 8, 16, 127, 128, 255]
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 17, 10_000, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), "", "x", "relu", "same", "channels_first", "../../etc", "\ud800",
    "\x1b[2J", "n" * 5000, [], [[]], {}, {"a": []}, [None], [-1, -1], [0, 0], [10**9, 10**9], [None,
    8, 8, 3], {"class_name": "Dense"}, {"class_name": "Dense", "config": {}},
    {"class_name": "Dense", "config": {"units": 3, "name": "new"}},
    {"class_name": 7, "config": None}, {"class_name": "__numpy__", "config": {"value": [1.5]}},
    {"class_name": "__tuple__", "items": [1, 2]}, {"class_name": "Orthogonal", "config": {}},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["dense", 0, 0]}},
]  # fmt: skip
CLASSES = ["Dense", "Conv2D", "Add", "Concatenate", "Flatten", "Reshape", "Functional",
           "Sequential", "InputLayer", "BatchNormalization", "ZeroPadding2D", "Rescaling",
           "Adam", "SGD", "GlorotUniform", "L2", "MaxPooling2D", "Lambda", "Custom>A"]  # fmt: skip


def pick(rng: Rng, items: Any) -> Any:
    """One of the items; not `rng.choice`, which would make an array of them."""
    return items[int(rng.integers(len(items)))]


# ---- bytes


def some_bytes(data: bytes, rng: Rng) -> bytes:
    """Bytes and words changed, moved, zeroed or left out; half the time where files begin."""
    made = bytearray(data)
    end = len(made) if rng.random() < 0.5 else min(len(made), 20_000)
    words = [0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(made), len(made) - 8]
    kind = int(rng.integers(7))
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(min(end, len(made))))
        if kind == 0:
            made[at] = int(rng.integers(256))
        elif kind == 1:
            made[at] = pick(rng, BYTES)
        elif kind == 2:
            size = pick(rng, (2, 4, 8))
            made[at : at + size] = (pick(rng, words) % (1 << 8 * size)).to_bytes(size, "little")
        elif kind == 3:
            source, size = int(rng.integers(len(made))), int(rng.integers(1, 65))
            made[at : at + size] = made[source : source + size]
        elif kind == 4:
            made[at : at + 16] = bytes(16)
        elif kind == 5:
            made[at] ^= 1 << int(rng.integers(8))
        elif len(made) > 200:
            del made[at : at + int(rng.integers(1, 64))]
    return bytes(made)


def length(data: bytes, rng: Rng) -> bytes:
    """The file cut, or with something behind."""
    if rng.random() < 0.7:
        return data[: int(rng.integers(len(data)))]
    return data + (bytes(64) if rng.random() < 0.5 else data[-500:])


# ---- HDF5


def addresses(data: bytes, rng: Rng) -> bytes:
    """Words that may be addresses or sizes exchanged: cycles, shared blocks, wild lengths."""
    words = np.frombuffer(data[: len(data) // 8 * 8], "<u8").copy()
    places = np.flatnonzero((words >= 32) & (words < len(data)))
    if len(places) < 2:
        return data
    for _ in range(int(rng.integers(1, 4))):
        words[pick(rng, places)] = words[pick(rng, places)]
        if rng.random() < 0.3:
            words[pick(rng, places)] = pick(rng, (1, 8, 1 << 16, 1 << 22, len(data) - 16))
    return words.tobytes() + data[len(words) * 8 :]


def structures(data: bytes, rng: Rng) -> bytes:
    """Bytes of headers, trees, heaps and tables: near a signature or a header's beginning."""
    made = bytearray(data)
    signature = pick(rng, (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"\1\0\0\0\1\0\0\0", b"\1\0\1\0"))
    starts = []
    at = data.find(signature)
    while at >= 0:
        starts.append(at)
        at = data.find(signature, at + 4)
    for _ in range(int(rng.integers(1, 5))):
        at = pick(rng, starts or [0]) + int(rng.integers(64))
        if at < len(made):
            made[at] = pick(rng, BYTES) if rng.random() < 0.5 else int(rng.integers(256))
    return bytes(made)


def _objects(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def objects(data: bytes, rng: Rng) -> bytes:
    """An object taken away, linked, or replaced by data of another shape, type or layout."""

    def change(file: h5py.File) -> None:
        paths = _objects(file)
        path, other = pick(rng, paths), pick(rng, ["/", *paths])
        parent, _, name = path.rpartition("/")
        group = file[parent or "/"]
        shape = file[path].shape if isinstance(file[path], h5py.Dataset) else (3,)
        target = file[other]
        kind = int(rng.integers(12))
        if kind == 0:
            file.attrs.create("layer_names", [b"dense", b"x"])
            return
        if kind == 1 and file[path].attrs:
            key = pick(rng, list(file[path].attrs))
            file[path].attrs[key] = pick(rng, (3, 2.5, "text", [b"a"] * 300, np.zeros((0, 4)), ""))
            return
        del file[path]
        shape = tuple(int(n) for n in shape) or (1,)
        larger = (*(max(n, 1) for n in shape), 2)
        packed_as = {"chunks": larger, "compression": 4, "shuffle": True, "fletcher32": True}
        made: list[Callable[[], object]] = [
            lambda: None,
            lambda: group.__setitem__(name, target),
            lambda: group.__setitem__(name, h5py.SoftLink(other)),
            lambda: group.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")),
            lambda: group.create_dataset(name, data=np.ones(larger)),
            lambda: group.create_dataset(name, data=np.ones(shape, ">f2")),
            lambda: group.create_dataset(name, data=np.ones(shape, "i1")),
            lambda: group.create_dataset(name, data=np.ones(larger), **packed_as),
            lambda: group.create_dataset(name, (1 << 30, *shape), "f4"),
            lambda: group.create_dataset(name, data="text"),
            lambda: external(shape)(group, name),
            lambda: virtual(shape)(group, name),
        ]
        pick(rng, made)()

    return hdf5(data, change)


def json_attribute(data: bytes, rng: Rng) -> bytes:
    """A value of a config in the attributes of an older file."""

    def change(file: h5py.File) -> None:
        keys = [k for k in ("model_config", "training_config", "tlfast") if k in file.attrs]
        if keys:
            key = pick(rng, keys)
            file.attrs[key] = json_values(file.attrs[key].encode(), rng)

    return hdf5(data, change)


# ---- JSON


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    for key, below in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(below, (dict, list)):
            _places(below, found)
    return found


def json_values(data: bytes, rng: Rng) -> bytes:
    """Values replaced, moved, doubled, nested or dropped; a class exchanged for another."""
    config = json.loads(data)
    for _ in range(int(rng.integers(1, 4))):
        places = _places(config, [])
        if not places:
            break
        holder, key = pick(rng, places)
        kind = int(rng.integers(8))
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.extend(json.loads(json.dumps(holder)) * int(rng.integers(1, 20)))
        elif kind == 2:
            other, other_key = pick(rng, places)
            holder[key] = json.loads(json.dumps(other[other_key]))
        elif kind == 3:
            named = [(h, k) for h, k in places if k == "class_name"]
            if named:
                holder, key = pick(rng, named)
                holder[key] = pick(rng, CLASSES)
        elif kind == 4:
            for _ in range(int(rng.integers(1, 60))):
                holder[key] = [holder[key]] if rng.random() < 0.5 else {"config": holder[key]}
        elif kind == 5 and isinstance(holder[key], (int, float)):
            holder[key] = holder[key] * pick(rng, (-1, 2, 1000, 10**9))
        elif kind == 6 and rng.random() < 0.1:
            config = json.loads(nested_calls(int(rng.integers(1, 12))))
        else:
            holder[key] = json.loads(json.dumps(pick(rng, VALUES)))
    return json.dumps(config).encode()


# ---- archives


def archive_parts(data: bytes, rng: Rng) -> bytes:
    """The archive packed again: a member renamed, empty, twice, first, deflated, or unknown."""
    parts = members(data)
    name = pick(rng, list(parts))
    kind = int(rng.integers(7))
    if kind == 0:
        parts[pick(rng, ("../x", "/x", "", "a" * 3000, "\x1b[2J", name.upper()))] = parts.pop(name)
    elif kind == 1:
        parts[name] = pick(rng, (b"", b"{}", b"null", b"\0" * 5_000_000, parts[CONFIG]))
    elif kind == 2:
        parts = {name: parts[name], **parts}
    elif kind == 3:
        del parts[name]
    elif kind == 4:
        parts[METADATA] = json.dumps({"tlfast": pick(rng, VALUES)}).encode()
    packing = pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    made = packed(parts, compression=packing)
    return made + made if kind == 5 else made


def archive_directory(data: bytes, rng: Rng) -> bytes:
    """Fields of the local headers and of the directory at the end."""
    made = bytearray(data)
    directory = data.rfind(b"PK\1\2")
    for _ in range(int(rng.integers(1, 5))):
        start = pick(rng, (0, directory, directory - 60, data.rfind(b"PK\5\6"), len(data) - 22))
        at = max(start, 0) + int(rng.integers(46))
        if at < len(made):
            made[at] = pick(rng, BYTES) if rng.random() < 0.5 else int(rng.integers(256))
    return bytes(made)


def member_of_archive(data: bytes, rng: Rng) -> bytes:
    """One member damaged, with right checksums."""
    parts = members(data)
    name = pick(rng, (CONFIG, CONFIG, METADATA, WEIGHTS, WEIGHTS))
    inside = HDF5 if name == WEIGHTS else JSON
    return packed({**parts, name: pick(rng, inside)(parts[name], rng)})


# ---- torch


def pickle_operations(data: bytes, rng: Rng) -> bytes:
    """Operations put in, taken out or exchanged where the header of a torch file is."""
    made = bytearray(data)
    codes = b"().NtQRbuseahqjrcKMJX}]\x80\x85\x86\x87\x88\x89\x8a\x81\x93iocP"
    end = min(len(made), 1500)
    for _ in range(int(rng.integers(1, 6))):
        at, kind = int(rng.integers(end)), int(rng.integers(4))
        if kind == 0:
            made[at] = pick(rng, codes)
        elif kind == 1:
            made[at:at] = bytes([pick(rng, codes)]) * int(rng.integers(1, 40))
        elif kind == 2:
            made[at:at] = b"cos\nsystem\n"
        else:
            at = max(data.find(b"J", at), 0)
            struct.pack_into("<i", made, at + 1, pick(rng, (-1, 0, 1, 2**31 - 1, 1000)))
    return bytes(made)


# ---- states of a training


def parts_of_state(data: bytes) -> tuple[Any, bytes]:
    """The JSON of a state file, and the bytes of its arrays."""
    end = STATE_HEAD + int.from_bytes(data[STATE_HEAD - 8 : STATE_HEAD], "little")
    return json.loads(data[STATE_HEAD:end]), data[-(-end // 64) * 64 : -32]


def state_of(head: bytes, found: Any, arrays: bytes) -> bytes:
    """A state file with a right hash; `head` is one from which it begins."""
    text = json.dumps(found).encode()
    made = head[: STATE_HEAD - 8] + len(text).to_bytes(8, "little") + text
    made += bytes(-len(made) % 64) + arrays
    return made + hashlib.sha256(made).digest()


def state_values(data: bytes, rng: Rng) -> bytes:
    """What a training goes on from, or now and then the rest of the JSON, with other values."""
    found, arrays = parts_of_state(data)
    whole = rng.random() < 0.2
    holder, key = (found, "arrays") if whole else (found["state"]["d"], "state")
    changed = json.loads(json_values(json.dumps({"x": holder[key]}).encode(), rng))
    holder[key] = changed.get("x") if isinstance(changed, dict) else changed
    return state_of(data, found, arrays)


def state_parts(data: bytes, rng: Rng) -> bytes:
    """A file written by tlfast, of a state with other parts."""
    from tlfast.saving import state_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state")
        path.write_bytes(data)
        found = state_file.read_state(path)
        for _ in range(int(rng.integers(1, 3))):
            holder, key = pick(rng, _places(found["state"], []))
            value, kind = holder[key], int(rng.integers(3))
            if kind == 0:
                del holder[key]
            elif kind == 1 and isinstance(value, (int, float)):
                holder[key] = value * pick(rng, (-1, 2, 1000, 10**9))
            elif kind == 1 and isinstance(value, list):
                holder[key] = value[:-1]
            elif kind == 1 and isinstance(value, np.ndarray):
                others = value.astype(np.int64), value[None], value.ravel()[:-1], value * np.nan
                holder[key] = pick(rng, others)
            else:
                holder[key] = json.loads(json.dumps(pick(rng, VALUES)))
        state_file.write_state(path, found)
        return path.read_bytes()


def state_bytes(data: bytes, rng: Rng) -> bytes:
    """Any bytes damaged, the hash made right again."""
    made = some_bytes(data[:-32], rng)
    return made + hashlib.sha256(made).digest()


RAW: list[Mutator] = [some_bytes, length]
HDF5: list[Mutator] = [some_bytes, length, addresses, structures, objects]
OLD: list[Mutator] = [*HDF5, json_attribute, json_attribute]
JSON: list[Mutator] = [json_values, json_values, json_values, some_bytes]
ARCHIVE: list[Mutator] = [*RAW, archive_parts, archive_directory, *[member_of_archive] * 4]
TORCH: list[Mutator] = [*RAW, pickle_operations, pickle_operations]
STATE: list[Mutator] = [*RAW, state_bytes, state_values, *[state_parts] * 4]
