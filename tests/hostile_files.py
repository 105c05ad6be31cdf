"""Malicious and broken model files, made here: nothing in them is ever run or opened.

Every class of attack seen on readers of Keras' and PyTorch's files is there at least three times.
`every_file` gives them in one order with the same bytes each time.
"""

import base64
import functools
import io
import itertools
import json
import marshal
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from test_torch_file import GOOD as TORCH
from test_torch_file import VALUES, make, one, tensor, text

FILES = Path(__file__).parent / "files"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
CODE = base64.b64encode(marshal.dumps(compile("exit()", "x", "eval"))).decode()
SECRET = "/etc/passwd"
TRUNCATIONS = 99


@dataclass(frozen=True)
class Hostile:
    """A file to be refused.

    Attributes:
        kind: the class of attack.
        reader: "model", "weights", "torch" or "json": what it is given to.
        data: the content.
        says: pattern of what the message has to name: layer, member, or place in the file.
    """

    kind: str
    reader: str
    data: bytes
    says: str


# ---- parts of files


def members(data: bytes | None = None) -> dict[str, bytes]:
    """The members of a `.keras` file; default Keras' sample."""
    file = io.BytesIO((FILES / "keras3.keras").read_bytes() if data is None else data)
    with zipfile.ZipFile(file) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(parts: dict[str, bytes], **options) -> bytes:
    """A zip archive of members with fixed dates."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = archive.compression
            archive.writestr(info, data)
    return file.getvalue()


def hdf5(name: str | bytes, change: Callable[[h5py.File], object]) -> bytes:
    """A sample (or other bytes), changed with h5py in memory."""
    image = (FILES / name).read_bytes() if isinstance(name, str) else name
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_file_image(image)
    with h5py.File(h5py.h5f.open(b"memory", h5py.h5f.ACC_RDWR, fapl=access)) as file:
        change(file)
        file.flush()
        return file.id.get_file_image()


def with_config(change: Callable[[dict], object]) -> bytes:
    """Keras' sample with a changed config."""
    parts = members()
    config = json.loads(parts[CONFIG])
    change(config)
    return packed({**parts, CONFIG: json.dumps(config).encode()})


def with_weights(change: Callable[[h5py.File], object]) -> bytes:
    """Keras' sample with changed weights."""
    parts = members()
    return packed({**parts, WEIGHTS: hdf5(parts[WEIGHTS], change)})


def with_old_config(change: Callable[[dict], object], key: str = "model_config") -> bytes:
    """Keras' older format with a changed config."""

    def edit(file: h5py.File) -> None:
        config = json.loads(file.attrs[key])
        change(config)
        file.attrs[key] = json.dumps(config)

    return hdf5("keras3_legacy.h5", edit)


def layers_of(config: dict) -> list[dict]:
    return config["config"]["layers"]


def layer(layer_name: str, **values) -> Callable[[dict], None]:
    """Change entries of a layer, at any depth."""

    def change(config: dict) -> None:
        for entry in layers_of(config):
            if entry.get("name") == layer_name:
                entry.update(values)
            elif "layers" in entry.get("config", {}):
                change(entry)

    return change


def inner(layer_name: str, **values) -> Callable[[dict], None]:
    """Change arguments of a layer, at any depth."""

    def change(config: dict) -> None:
        for entry in layers_of(config):
            if entry["config"].get("name") == layer_name:
                entry["config"].update(values)
            elif "layers" in entry["config"]:
                change(entry)

    return change


def replaced(path: str, make_new: Callable[[h5py.Group, str], object]) -> Callable:
    """Replace an object of an HDF5 file by what `make_new(group, name)` puts there."""

    def change(file: h5py.File) -> None:
        parent, _, name = path.rpartition("/")
        del file[path]
        make_new(file[parent or "/"], name)

    return change


def external(shape: tuple[int, ...] = (4, 5)) -> Callable[[h5py.Group, str], object]:
    size = 4 * int(np.prod(shape))
    return lambda group, name: group.create_dataset(name, shape, "f4", external=[(SECRET, 0, size)])


def virtual(shape: tuple[int, ...] = (4, 5)) -> Callable[[h5py.Group, str], object]:
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource(SECRET, "data", shape)
    return lambda group, name: group.create_virtual_dataset(name, layout)


def put(value: object) -> Callable[[h5py.Group, str], object]:
    return lambda group, name: group.__setitem__(name, value)


def stored(data: object, **options) -> Callable[[h5py.Group, str], object]:
    return lambda group, name: group.create_dataset(name, data=data, **options)


def declared(shape: tuple[int, ...], **options) -> Callable[[h5py.Group, str], object]:
    return lambda group, name: group.create_dataset(name, shape, "f4", **options)


KERNEL = "layers/dense/vars/0"
OLD_KERNEL = "model_weights/dense/dense/kernel"


def everywhere(
    kind: str, make_new: Callable, says: str, *, whole: bool = True
) -> Iterator[Hostile]:
    """The kernel of layer 'dense' replaced in the three formats, and (whole) one group too."""
    yield Hostile(kind, "model", with_weights(replaced(KERNEL, make_new)), says)
    yield Hostile(kind, "model", hdf5("keras3_legacy.h5", replaced(OLD_KERNEL, make_new)), says)
    yield Hostile(kind, "weights", hdf5("keras3.weights.h5", replaced(KERNEL, make_new)), says)
    if whole:
        for path in ("layers", "layers/functional/layers/conv2d/vars"):
            data = hdf5("keras3.weights.h5", replaced(path, make_new))
            yield Hostile(kind, "weights", data, "layers|conv2d")


# ---- code


def lambdas() -> Iterator[Hostile]:
    kind = "Lambda and marshalled code"
    new = {"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}}
    old = [CODE, None, None]
    for function in (new, old):
        config = {"name": "trick", "function": function, "function_type": "lambda"}
        change = layer("rescaling", class_name="Lambda", config=config)
        yield Hostile(kind, "model", with_config(change), "'trick'")
        yield Hostile(kind, "model", with_old_config(change), "'trick'")
        deep = layer("b1", class_name="Lambda", config=config)
        yield Hostile(kind, "model", with_config(deep), "'trick'")
    yield Hostile(kind, "model", with_config(inner("dense", kernel_initializer=new)), "__lambda__")
    yield Hostile(
        kind, "model", with_config(lambda c: c["compile_config"].update(loss=new)), "__lambda__"
    )
    served = {"name": "trick", "filepath": "/tmp/x", "call_endpoint": "serve"}
    change = layer("rescaling", class_name="TFSMLayer", config=served)
    yield Hostile(kind, "model", with_config(change), "'trick'")


def imports() -> Iterator[Hostile]:
    kind = "module import"
    for module, name, config in (
        ("os", "system", {"command": "true", "name": "trick"}),
        ("subprocess", "Popen", {"args": ["true"], "name": "trick"}),
        ("keras.src.utils.file_utils", "get_file", {"origin": "http://x", "name": "trick"}),
        ("builtins", "eval", {"name": "trick"}),
    ):
        values = {"module": module, "class_name": name, "config": config, "registered_name": name}
        change = layer("rescaling", **values)
        yield Hostile(kind, "model", with_config(change), f"'trick'.*{name}|{name}.*'trick'")
    function = {"module": "os", "class_name": "function", "config": "system"}
    for where in ("activation", "kernel_initializer", "kernel_regularizer"):
        data = with_config(inner("dense", **{where: function}))
        yield Hostile(kind, "model", data, "layer Dense 'dense'")
    for where in ("optimizer", "loss", "metrics"):
        data = with_config(lambda c, where=where: c["compile_config"].update({where: function}))
        yield Hostile(kind, "model", data, "compile.*system|system.*compile|function")


def custom() -> Iterator[Hostile]:
    kind = "custom object"
    config = {"name": "trick"}
    change = layer("rescaling", class_name="Evil", registered_name="Custom>Evil", config=config)
    yield Hostile(kind, "model", with_config(change), "'trick'.*Evil")
    yield Hostile(kind, "model", with_old_config(change), "'trick'.*Evil")
    evil = {"module": "evil", "class_name": "Evil", "config": {}, "registered_name": "Custom>Evil"}
    for where in ("kernel_initializer", "activation", "bias_regularizer"):
        data = with_config(inner("pred", **{where: evil}))
        yield Hostile(kind, "model", data, "layer Dense 'pred'")
    for where in ("optimizer", "loss", "metrics"):
        data = with_config(lambda c, where=where: c["compile_config"].update({where: evil}))
        yield Hostile(kind, "model", data, "(?i)evil")


# ---- HDF5


def soft_links() -> Iterator[Hostile]:
    link = put(h5py.SoftLink("/layers/dense_1/vars/0"))
    yield from everywhere("soft link", link, "dense/vars/0|dense/kernel")
    data = hdf5("keras3_legacy.h5", replaced("model_weights", put(h5py.SoftLink("/"))))
    yield Hostile("soft link", "model", data, "model_weights")


def external_links() -> Iterator[Hostile]:
    link = put(h5py.ExternalLink(SECRET, "/x"))
    yield from everywhere("external link", link, "dense/vars/0|dense/kernel")
    data = hdf5("keras3_legacy.h5", replaced("model_weights", link))
    yield Hostile("external link", "model", data, "model_weights")


def external_storage() -> Iterator[Hostile]:
    yield from everywhere("external storage", external(), "dense/vars/0|dense/kernel", whole=False)
    bias = replaced("layers/dense_1/vars/1", external((3,)))
    yield Hostile("external storage", "weights", hdf5("keras3.weights.h5", bias), "dense_1/vars/1")


def virtual_datasets() -> Iterator[Hostile]:
    yield from everywhere("virtual dataset", virtual(), "dense/vars/0|dense/kernel", whole=False)
    bias = replaced("layers/dense_1/vars/1", virtual((3,)))
    yield Hostile("virtual dataset", "weights", hdf5("keras3.weights.h5", bias), "dense_1/vars/1")


def cycles() -> Iterator[Hostile]:
    kind = "cyclic group"

    def up(path: str, target: str) -> Callable[[h5py.File], object]:
        return replaced(path, lambda group, name: group.__setitem__(name, group.file[target]))

    for path, target in (("layers/dense", "layers"), ("layers/dense/vars", "/"),
                         ("layers/functional/layers/conv2d", "layers/functional")):  # fmt: skip
        data = hdf5("keras3.weights.h5", up(path, target))
        yield Hostile(kind, "weights", data, path.replace("/", "."))
    data = hdf5("keras3_legacy.h5", up("model_weights/dense/dense", "model_weights"))
    yield Hostile(kind, "model", data, "model_weights/dense/dense")
    data = bytearray((FILES / "keras3.weights.h5").read_bytes())
    # A node of a B-tree that is its own child, one level up for each visit and without.
    for level in (0, 1, 255):
        node = data.find(b"TREE")
        made = bytearray(data)
        made[node + 5] = level
        struct.pack_into("<Q", made, node + 32, node)
        yield Hostile(kind, "weights", bytes(made), f"{node}")


def types() -> Iterator[Hostile]:
    kind = "wrong dtype"
    data = np.zeros((4, 5))
    for values in (
        data.astype("i1"), data.astype("u8"), data.astype("c8"), data.astype("S4"),
        data.astype(bool), np.zeros((4, 5), [("a", "f4"), ("b", "i4")]), data.astype("V4"),
    ):  # fmt: skip
        change = replaced(KERNEL, stored(values))
        yield Hostile(kind, "weights", hdf5("keras3.weights.h5", change), "dense")
    for dtype in (h5py.string_dtype(), h5py.ref_dtype, h5py.vlen_dtype("f4")):
        new = functools.partial(h5py.Group.create_dataset, shape=(4, 5), dtype=dtype)
        change = replaced(KERNEL, new)
        yield Hostile(kind, "model", with_weights(change), "dense/vars/0")


# ---- bombs


def shape_bombs() -> Iterator[Hostile]:
    kind = "shape bomb"
    for units in (2**24, 2**31, 2**62, 10**300):
        data = with_config(inner("pred", units=units))
        yield Hostile(kind, "model", data, "'pred'|pred/")
        yield Hostile(kind, "model", with_old_config(inner("pred", units=units)), "'pred'|pred/")
    for units in (2**31, 10**300):
        dense = {"class_name": "Dense", "config": {"name": "wide", "units": units}}
        start = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 1024]}}
        model = {"class_name": "Sequential", "config": {"name": "s", "layers": [start, dense]}}
        yield Hostile(kind, "json", json.dumps(model).encode(), "'wide'")
    for name, values in (
        ("c1", {"kernel_size": [10**9, 10**9]}), ("c1", {"filters": 10**12}),
        ("dw", {"depth_multiplier": 10**9}), ("sep", {"filters": 2**40}),
    ):  # fmt: skip
        # Or the next layer, which does not fit.
        says = rf"'{name}'|{name}/|received input with shape .*\d{{10}}"
        yield Hostile(kind, "model", with_config(inner(name, **values)), says)
    for shape, options in (
        ((1 << 31, 1 << 10), {"chunks": (1 << 10, 1 << 10), "compression": 9}),
        ((1 << 20, 1 << 20), {}),
        ((1 << 16, 1 << 16), {"chunks": (1 << 8, 1 << 8)}),
    ):  # fmt: skip
        yield from everywhere(kind, declared(shape, **options), "dense", whole=False)
    # The config agrees with what the weights declare, and there are none.
    wide = with_config(inner("pred", units=1 << 28))
    parts = members(wide)

    def declare(file: h5py.File) -> None:
        for number, shape in ((0, (5, 1 << 28)), (1, (1 << 28,))):
            options = {"chunks": (1,) * (len(shape) - 1) + (1 << 20,), "compression": 9}
            replaced(f"layers/dense_1/vars/{number}", declared(shape, **options))(file)

    both = packed({**parts, WEIGHTS: hdf5(parts[WEIGHTS], declare)})
    yield Hostile(kind, "model", both, "'pred'")
    yield Hostile(kind, "json", nested_calls(40), "calls of layers")
    yield Hostile(kind, "model", with_config(many_calls), "calls of layers")


def nested_calls(depth: int) -> bytes:
    """A model that calls a model twice, which calls one twice, and so on."""

    def tensor_of(name: str, index: int = 0) -> dict:
        config = {"shape": [None, None], "dtype": "float32", "keras_history": [name, index, 0]}
        return {"class_name": "__keras_tensor__", "config": config}

    model: dict = {"class_name": "ReLU", "config": {"name": "last"}}
    for level in range(depth):
        start = {"name": "i", "batch_shape": [None, None]}
        calls = [{"args": [tensor_of("i")], "kwargs": {}},
                 {"args": [tensor_of("inside")], "kwargs": {}}]  # fmt: skip
        layers = [
            {"class_name": "InputLayer", "name": "i", "config": start, "inbound_nodes": []},
            {**model, "name": "inside", "inbound_nodes": calls},
        ]
        config = {"name": f"m{level}", "layers": layers, "input_layers": ["i", 0, 0],
                  "output_layers": ["inside", 1, 0]}  # fmt: skip
        model = {"class_name": "Functional", "config": config}
    return json.dumps(model).encode()


def many_calls(config: dict) -> None:
    entry = next(entry for entry in layers_of(config) if entry["name"] == "dropout")
    entry["inbound_nodes"] = [[["global_average_pooling2d", 0, 0]]] * 30_000


def zip_bombs() -> Iterator[Hostile]:
    kind = "zip bomb"
    parts = members()
    for name in (CONFIG, METADATA, WEIGHTS):
        data = parts[name] + b" " * 30_000_000
        made = packed({**parts, name: data}, compression=zipfile.ZIP_DEFLATED)
        yield Hostile(kind, "model", made, name)
    flood = packed({**parts, **{f"assets/{i}": b"" for i in range(20_000)}})
    yield Hostile(kind, "model", flood, "directory")
    # Members that share their bytes, so that a small archive holds a large one many times.
    few = packed({**parts, **{f"assets/{i}": b"" for i in range(1_001)}})
    yield Hostile(kind, "model", few, "members")
    yield Hostile(kind, "weights", deflated_chunk(), "dense/vars/0")
    values = {"compression": 9, "chunks": (1 << 10, 1 << 10)}
    big = replaced(KERNEL, stored(np.zeros((1 << 12, 1 << 12), "f4"), **values))
    yield Hostile(kind, "weights", hdf5("keras3.weights.h5", big), "dense")


def deflated_chunk() -> bytes:
    """A chunk of 80 bytes that unpacks to thirty million."""
    place = []

    def change(file: h5py.File) -> None:
        data = np.arange(20, dtype="f4").reshape(4, 5)
        replaced(KERNEL, stored(data, chunks=(4, 5), compression=9))(file)
        file.flush()
        place.append(file[KERNEL].id.get_chunk_info(0))

    data = bytearray(hdf5("keras3.weights.h5", change))
    chunk = place[0]
    bomb = zlib.compress(bytes(30_000_000), 9)
    at = data.find(struct.pack("<IIQQQQ", chunk.size, 0, 0, 0, 0, chunk.byte_offset))
    struct.pack_into("<IIQQQQ", data, at, len(bomb), 0, 0, 0, 0, len(data))
    return bytes(data + bomb)


# ---- archives and JSON


def traversals() -> Iterator[Hostile]:
    parts = members()
    for name in ("../evil", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil", "\\\\host\\x"):
        data = packed({**parts, name: b"x"})
        yield Hostile("path traversal", "model", data, "evil|host")


def duplicates() -> Iterator[Hostile]:
    parts = members()
    for name in (CONFIG, METADATA, WEIGHTS):
        file = io.BytesIO(packed(parts))
        with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
            warnings.simplefilter("ignore", UserWarning)
            archive.writestr(zipfile.ZipInfo(name), b"{}")
        yield Hostile("duplicate member", "model", file.getvalue(), name)
        yield Hostile("duplicate member", "weights", file.getvalue(), name)


def deep_json() -> Iterator[Hostile]:
    kind = "deep JSON"
    parts = members()
    for text_of in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900,
                    b'{"a":' * 250 + b"1" + b"}" * 250):  # fmt: skip
        for name in (CONFIG, METADATA):
            yield Hostile(kind, "model", packed({**parts, name: text_of}), name)
        yield Hostile(kind, "json", text_of, "model_from_json")
    nested: object = 1
    for _ in range(250):
        nested = {"a": nested}
    for key in ("model_config", "training_config"):
        data = with_old_config(lambda c: c.update(extra=nested), key)
        yield Hostile(kind, "model", data, key)
    yield Hostile(kind, "model", with_config(inner("dense", activation=nested)), CONFIG)
    many = b'{"class_name": "Sequential", "config": [' + b"[]," * 1_000_001 + b"[]]}"
    yield Hostile(kind, "json", many, "values")


def huge_names() -> Iterator[Hostile]:
    kind = "huge names"
    parts = members()
    long = "n" * 1_000_000
    yield Hostile(kind, "model", with_config(inner("dense", name=long)), "name 'nnn")
    yield Hostile(kind, "model", with_config(layer("dense", class_name=long)), "class_name 'nnn")
    yield Hostile(kind, "json", json.dumps({"class_name": long, "config": {}}).encode(), "nnn")
    yield Hostile(kind, "model", packed({**parts, long[:60_000]: b""}), "nnn")
    yield Hostile(kind, "model", with_config(inner("dense", name="\x1b[2J\u202e")), r"\\x1b\[2J")
    for change in (
        lambda f: f.__setitem__("layers/" + long[:60_000], 1),
        lambda f: f["layers/dense/vars"].__setitem__(long[:2_000], 1),
    ):
        yield Hostile(kind, "weights", hdf5("keras3.weights.h5", change), "nnn")

    def named(file: h5py.File) -> None:
        file["model_weights/dense"].attrs["weight_names"] = [long[:50_000], "bias"]

    yield Hostile(kind, "model", hdf5("keras3_legacy.h5", named), "nnn.*'dense'")
    torch = make({long: tensor(b"FloatStorage", "k", 24, 0, (30,), (1,))}, {"k": VALUES})
    yield Hostile(kind, "torch", torch, "nnn")


def shapes() -> Iterator[Hostile]:
    kind = "non-finite shapes"
    values = (float("nan"), float("inf"), 1e308, -1, -(2**70), 0.5, "8", [], None, True)
    for value in values[:-1]:
        yield Hostile(kind, "model", with_config(inner("pred", units=value)), "'pred'|pred/")
    for value in values[:-2]:
        data = with_config(inner("c1", kernel_size=[value, 3]))
        yield Hostile(kind, "model", data, "'c1'|c1/")
        shape = [None, value, 8, 3]
        yield Hostile(kind, "model", with_config(inner("input_layer", batch_shape=shape)), "layer")
    plain = hdf5("keras3.weights.h5", replaced(KERNEL, stored(np.zeros((41, 43), "f4"))))
    stands = struct.pack("<QQ", 41, 43)
    for size in (2**64 - 1, 2**63, 2**48):
        made = plain.replace(stands, struct.pack("<QQ", size, 43))
        yield Hostile(kind, "weights", made, "dense/vars/0|'dense'")
        made = plain.replace(stands, struct.pack("<QQ", 0, size))
        yield Hostile(kind, "weights", made, "dense/vars/0|'dense'")


def torch_globals() -> Iterator[Hostile]:
    kind = "torch pickle with other globals"
    for module, name in (
        ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"),
        ("__builtin__", "getattr"), ("torch", "load"), ("torch.serialization", "load"),
        ("numpy.core.multiarray", "_reconstruct"), ("collections", "OrderedDict.fromkeys"),
        ("torch._utils", "_rebuild_tensor"), ("runpy", "_run_code"), ("torch.jit", "load"),
    ):  # fmt: skip
        code = f"c{module}\n{name}\n".encode() + text("true") + b"\x85R"
        yield Hostile(kind, "torch", one(code), f"{module}.{name}")
    yield Hostile(
        kind, "torch", b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93.", "protocol"
    )
    # Opcodes that make or find objects in other ways.
    for code in (b"ios\nsystem\n", b"o", b"\x81", b"\x92", b"\x93", b"\x82\x01", b"Pid\n", b"V1\n"):
        yield Hostile(kind, "torch", one(b"(" + text("x") + code), "pickle operation")
    # One tensor under ten thousand names, and tuples deeper than any stack.
    many = {f"n{i}": b"h\x01" for i in range(10_000)}
    first = tensor(b"FloatStorage", "k", 24, 0, (24,), (1,)) + b"q\x01"
    yield Hostile(kind, "torch", make({"a": first, **many}, {"k": VALUES}), "tensors declare")
    yield Hostile(kind, "torch", b"\x80\x02})" + b"\x85" * 49_000 + b"Ns.", "tuple")


def truncations() -> Iterator[Hostile]:
    says = "truncated|is empty"
    samples = {
        "keras3.keras": "model", "keras3_legacy.h5": "model", "keras3.weights.h5": "weights"
    }  # fmt: skip
    for name, reader in samples.items():
        data = (FILES / name).read_bytes()
        for percent in range(TRUNCATIONS + 1):
            yield Hostile("truncation", reader, data[: len(data) * percent // 100], says)
    for percent in range(TRUNCATIONS + 1):
        yield Hostile("truncation", "torch", TORCH[: len(TORCH) * percent // 100], says)


def every_file() -> Iterator[Hostile]:
    """All files, class by class."""
    makers = (
        lambdas, imports, custom, soft_links, external_links, external_storage, virtual_datasets,
        shape_bombs, zip_bombs, traversals, duplicates, deep_json, huge_names, truncations, cycles,
        types, shapes, torch_globals,
    )  # fmt: skip
    return itertools.chain.from_iterable(maker() for maker in makers)
