"""The HDF5 reader against h5py: Keras' samples, every supported layout, refused content."""

import os
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from tlfast.saving import hdf5_blocks, hdf5_read
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import Dataset, File, Group
from tlfast.saving.hdf5_types import fletcher32

FILES = Path(__file__).parent / "files"


def compare(group: Group, expected: h5py.Group) -> int:
    """Compare everything below a group with what h5py reads; return the number of datasets."""
    assert sorted(group.keys()) == sorted(expected.keys())
    assert sorted(group.attrs) == sorted(expected.attrs)
    for name in group.attrs:
        want = expected.attrs[name]
        if isinstance(want, bytes):
            want = want.decode()
        if isinstance(want, np.ndarray) and want.dtype.kind in "SO":
            want = [w.decode() if isinstance(w, bytes) else w for w in want]
        assert np.array_equal(group.attrs.get(name), want), name
    count = 0
    for name in group.keys():
        found = group.get(name)
        if isinstance(found, Group):
            count += compare(found, expected[name])
        else:
            assert isinstance(found, Dataset)
            want = expected[name][()]
            got = found.read(expected[name].shape)
            assert got.dtype == expected[name].dtype.newbyteorder("=")
            assert np.array_equal(got, want)
            count += 1
    return count


@pytest.mark.parametrize("name", ["keras3_legacy.h5", "keras3.weights.h5"])
def test_keras_samples(name: str) -> None:
    with File(FILES / name) as ours, h5py.File(FILES / name) as theirs:
        assert compare(ours.root, theirs) == 25


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i8", ">u2", "i1"])
def test_layouts(tmp_path: Path, libver: str, kind: str) -> None:
    path = tmp_path / "x.h5"
    data = np.arange(7 * 5 * 3).reshape(7, 5, 3).astype(kind)
    with h5py.File(path, "w", libver=libver) as f:
        g = f.create_group("a/b")
        g["contiguous"] = data
        g["scalar"] = np.array(3, kind)
        g["empty"] = np.zeros((0, 4), kind)
        g["one_chunk"] = f.create_dataset(
            "plain", data=data, chunks=data.shape, compression="gzip", shuffle=True
        )
        if libver == "earliest":
            for extra in ({}, {"compression": 9}, {"shuffle": True}, {"fletcher32": True},
                          {"compression": 1, "shuffle": True, "fletcher32": True}):  # fmt: skip
                g.create_dataset(f"c{len(g)}", data=data, chunks=(3, 2, 3), **extra)
        g.attrs["fixed"] = np.array([b"abc", b"d"], "S5")
        g.attrs["vlen"] = ["a", "ü", ""]
        g.attrs["text"] = "x" * 200_000
        g.attrs["bytes"] = b"raw"
        g.attrs["number"] = 2.5
        g.attrs["numbers"] = np.arange(4)
        if libver == "earliest":
            for i in range(40):
                f.create_dataset(f"many/v{i:03}", data=np.float32(i))
                f.attrs[f"a{i}"] = i
    with File(path) as ours, h5py.File(path) as theirs:
        assert compare(ours.root, theirs) >= 5


def test_large_group(tmp_path: Path) -> None:
    """More links than one B-tree node holds, so the tree has levels."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        for i in range(1500):
            f.create_group(f"g{i:05}")
    with File(path) as ours:
        assert ours.root.keys() == [f"g{i:05}" for i in range(1500)]
        assert ours.root.get("g00777/none") is None
        assert "g01499" in ours.root and "g01500" not in ours.root


def test_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    values = np.array([1.5, -2.0, 0.0], np.float32)
    with h5py.File(path, "w") as f:
        f.create_dataset("w", data=(values.view(np.uint32) >> 16).astype(np.uint16).view("V2"))
        f["w"].attrs["dtype"] = "bfloat16"
    with File(path) as ours:
        found = ours.root.dataset("w")
        assert found is not None and found.dtype == np.float32
        assert np.array_equal(found.read((3,)), values)


def test_from_bytes() -> None:
    data = (FILES / "keras3.weights.h5").read_bytes()
    with File(data, "inner") as ours:
        found = ours.root.dataset("layers/dense/vars/0")
        assert found is not None and found.read((4, 5)).shape == (4, 5)


def test_shape_is_checked_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("w", (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10), compression=9)
        f.create_dataset("v", (1 << 20, 1 << 20), "f4")
    with File(path) as ours:
        for name in "wv":
            found = ours.root.dataset(name)
            assert found is not None
            with pytest.raises(FormatError, match=r"bomb.h5.*shape \(1048576, 1048576\).*\(3, 4\)"):
                found.read((3, 4))
            with pytest.raises(FormatError, match="refused"):
                found.read()


def test_deflate_bomb_in_one_chunk(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("w", data=np.zeros(1000, "f4"), chunks=(1000,), compression=9)
        f.flush()
        info = f["w"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    bomb = zlib.compress(bytes(30_000_000), 9)
    place = len(data)
    data += bomb
    index = data.find(struct.pack("<IIQQQ", info.size, 0, 0, 0, info.byte_offset))
    assert index > 0
    data[index : index + 4] = struct.pack("<I", len(bomb))
    data[index + 24 : index + 32] = struct.pack("<Q", place)
    with File(bytes(data), "bomb") as ours:
        found = ours.root.dataset("w")
        assert found is not None
        with pytest.raises(FormatError, match="chunk"):
            found.read((1000,))


def test_chunks_beside_their_grid(tmp_path: Path) -> None:
    """They would leave a part of the array as it was allocated."""
    path = tmp_path / "f.h5"
    with h5py.File(path, "w", libver="earliest") as f:
        f.create_dataset("w", data=np.arange(6, dtype="f4"), chunks=(3,))
    content = path.read_bytes()
    second = struct.pack("<IIQQ", 12, 0, 3, 0)  # bytes, filters, offset, offset in an element
    assert content.count(second) == 1
    for offset in (1, 2, 4, 5):
        moved = struct.pack("<IIQQ", 12, 0, offset, 0)
        with File(content.replace(second, moved)) as file:
            with pytest.raises(FormatError, match="chunk index is damaged"):
                file.root.dataset("w").read()


def test_refused_content(tmp_path: Path) -> None:
    path, other = tmp_path / "x.h5", tmp_path / "secret.bin"
    other.write_bytes(bytes(40))
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "d", (4,))
    with h5py.File(path, "w") as f:
        f["soft"] = h5py.SoftLink("/d")
        f["away"] = h5py.ExternalLink(str(other), "/d")
        f.create_dataset("outside", (10,), "f4", external=[(str(other), 0, 40)])
        f.create_virtual_dataset("virtual", layout)
        f["compound"] = np.zeros(2, [("a", "f4")])
        f["text"] = "hello"
        f.create_dataset("lzf", data=np.zeros(100), chunks=(50,), compression="lzf")
        f.attrs["flag"] = np.bool_(True)
    expected = {
        "soft": "soft or external link",
        "away": "soft or external link",
        "outside": "external storage",
        "virtual": "layout version 4|virtual",
        "compound": "compound",
        "text": "vlen_string",
        "lzf": "lzf",
    }
    with File(path) as ours:
        for name, text in expected.items():
            with pytest.raises(FormatError, match=text):
                found = ours.root.get(name)
                assert isinstance(found, Dataset)
                found.read()
        with pytest.raises(FormatError, match="enumeration"):
            ours.root.attrs.get("flag")


def test_dense_storage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as f:
        for i in range(30):
            f.create_group(f"g{i}")
    with File(path) as ours, pytest.raises(FormatError, match="libver='latest'.*re-save"):
        ours.root.keys()


def test_not_hdf5_and_not_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for content, text in ((b"", "empty"), (b"hello" * 50, "not an HDF5"), (b"\x89HDF", "HDF5")):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=text):
            File(path)
    with pytest.raises(FormatError, match="a folder"):
        File(tmp_path)
    with pytest.raises(FileNotFoundError):
        File(tmp_path / "none.h5")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        File(tmp_path / "pipe")


def test_every_truncation_is_an_error_or_the_same() -> None:
    """A file cut at any of 300 places reads the same values or says so."""
    data = (FILES / "keras3.weights.h5").read_bytes()
    with File(data) as whole:
        found = whole.root.dataset("layers/dense_1/vars/0")
        assert found is not None
        want = found.read((5, 3))
    errors = 0
    for cut in range(1, len(data), len(data) // 300):
        try:
            with File(data[:cut], "cut") as f:
                found = f.root.dataset("layers/dense_1/vars/0")
                assert found is not None
                assert np.array_equal(found.read((5, 3)), want)
        except FormatError as exc:
            assert "cut" in str(exc)
            errors += 1
    assert errors > 200


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    path = FILES / "keras3_legacy.h5"
    monkeypatch.setattr(hdf5_blocks, "MAX_STEPS", 10)
    with pytest.raises(FormatError, match="steps"):
        File(path).root.get("model_weights/dense/dense/kernel")
    monkeypatch.undo()
    monkeypatch.setattr(hdf5_blocks, "MAX_TEXT", 10)
    with pytest.raises(FormatError, match="attributes|heap"):
        File(path).root.attrs.get("model_config")
    monkeypatch.undo()
    with pytest.raises(FormatError, match="path of more than"):
        File(path).root.get("a/" * (hdf5_read.MAX_DEPTH + 1))


def test_limits_are_far_from_honest_files(tmp_path: Path) -> None:
    """Read twice, files of nothing but metadata use at most half of what is allowed."""
    with h5py.File(tmp_path / "groups.h5", "w") as f:
        for i in range(1000):
            f.create_group(f"g{i}")
    with h5py.File(tmp_path / "scalars.h5", "w") as f:
        for i in range(1000):
            f.create_dataset(f"layer/{i}/vars/0", data=np.float32(i))
    with h5py.File(tmp_path / "texts.h5", "w") as f:
        for i in range(300):
            f.attrs[f"names{i}"] = [f"layer{k}" for k in range(30)]
            f.attrs[f"fixed{i}"] = np.array([b"x" * 50] * 2)
    with h5py.File(tmp_path / "packed.h5", "w") as f:
        for i in range(10):
            weights = np.random.default_rng(i).normal(size=(500, 500)).astype("f4")
            f.create_dataset(f"w{i}", data=weights, chunks=True, compression=9)
            f.create_dataset(f"slot{i}", data=weights * 0, chunks=True, compression=9)

    def visit(group: Group) -> None:
        for name in group.attrs:
            group.attrs.get(name)
        for name in group.keys():
            found = group.get(name)
            if isinstance(found, Group):
                visit(found)
            elif found is not None:
                found.read()

    files = [*tmp_path.glob("*.h5"), *FILES.glob("*.h5")]
    assert len(files) == 6
    for path in files:
        with File(path) as ours:
            file = ours.root.file
            for _ in range(2):
                visit(ours.root)
            for kind in ("steps", "text", "data"):
                share = getattr(file, kind) / getattr(file, f"max_{kind}")
                assert share < 0.5, (path.name, kind, share)


def test_fletcher32_known_values() -> None:
    """Values from HDF5's own filter, through h5py's stored chunks, sizes odd and even."""
    rng = np.random.default_rng(3)
    for size in (2, 4, 6, 1000, 720, 3_000_000):
        data = rng.integers(0, 256, size, np.uint8)
        with h5py.File("x", "w", driver="core", backing_store=False) as f:
            d = f.create_dataset("w", data=data, chunks=(size,), fletcher32=True)
            raw = d.id.read_direct_chunk((0,))[1]
        assert raw[-4:] == struct.pack("<I", fletcher32(data.tobytes()))
