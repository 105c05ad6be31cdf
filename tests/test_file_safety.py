"""Mutated and hostile files: one kind of error, in bounded time and memory."""

import json
import resource
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile_files import members
from test_torch_file import GOOD as TORCH

from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import Dataset, File, Group
from tlfast.saving.source import Source
from tlfast.weights.torch_file import read_torch_file

FILES = Path(__file__).parent / "files"
MUTANTS = 1000
SECONDS = 5.0  # of processor time for one file; whole ones take 0.03 s
MEMORY = 1 << 30  # bytes the address space may grow by while a mutant is read
INTERESTING = [0, 1, 7, 8, 16, 127, 128, 255]


@pytest.fixture(autouse=True)
def bounded_memory():
    """An allocation of more than MEMORY raises MemoryError, which no test accepts."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


def mutants(data: bytes, rng: np.random.Generator, count: int, first: int = 0):
    """Yield `count` damaged copies: bytes, words, cut, moved, repeated, zeroed."""
    words = [0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(data), len(data) - 8]
    for number in range(count):
        made = bytearray(data)
        for _ in range(int(rng.integers(1, 9))):
            at = int(rng.integers(first, len(made)))
            kind = number % 6
            if kind == 0:
                made[at] = int(rng.integers(0, 256))
            elif kind == 1:
                made[at] = INTERESTING[int(rng.integers(len(INTERESTING)))]
            elif kind == 2:
                word = words[int(rng.integers(len(words)))]
                size = (2, 4, 8)[int(rng.integers(3))]
                made[at : at + size] = (word % (1 << 8 * size)).to_bytes(size, "little")
            elif kind == 3:
                source = int(rng.integers(first, len(made)))
                size = int(rng.integers(1, 65))
                made[at : at + size] = made[source : source + size]
            elif kind == 4:
                made[at : at + 16] = bytes(16)
            elif len(made) > 200:
                del made[at : at + int(rng.integers(1, 64))]
        yield bytes(made)


def timed(action) -> bool:
    """Run one reader; return whether it raised FormatError. Anything else fails the test."""
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            action()
        return False
    except FormatError:
        return True
    finally:
        assert time.process_time() - start < SECONDS


def read_everything(group: Group, left: int = 12) -> None:
    for name in group.attrs:
        group.attrs.get(name)
    for name in group.keys():
        found = group.get(name)
        if isinstance(found, Dataset):
            assert found.read().shape == found.shape
            for attribute in found.attrs:
                found.attrs.get(attribute)
        elif found is not None and left:
            read_everything(found, left - 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["keras3_legacy.h5", "keras3.weights.h5"])
def test_hdf5_mutants(name, rng):
    data = (FILES / name).read_bytes()
    # Half of the mutants are damaged where the metadata is dense.
    refused = 0
    for part in (data, data[:20_000]):
        for made in mutants(part, rng, MUTANTS // 2):
            made = made + data[len(part) :]

            def read(made: bytes = made) -> None:
                with File(made, "mutant") as file:
                    read_everything(file.root)

            refused += timed(read)
    assert refused > MUTANTS // 10


def test_hdf5_chunked_mutants(rng, tmp_path):
    import h5py

    path = tmp_path / "chunked.h5"
    with h5py.File(path, "w") as f:
        data = np.arange(3000, dtype="f4").reshape(30, 100)
        f.create_dataset("a", data=data, chunks=(7, 30), compression=4, shuffle=True)
        f.create_dataset("b", data=data, chunks=(10, 100), fletcher32=True)
        for i in range(20):
            f.attrs[f"name{i}"] = ["x" * i, "y"]
    refused = 0
    for made in mutants(path.read_bytes(), rng, MUTANTS):

        def read(made: bytes = made) -> None:
            with File(made, "mutant") as file:
                read_everything(file.root)

        refused += timed(read)
    assert refused > MUTANTS // 10


def test_torch_mutants(rng):
    refused = sum(
        timed(lambda made=made: read_torch_file(Source("mutant", data=made)))
        for made in mutants(TORCH, rng, MUTANTS)
    )
    assert refused > MUTANTS // 2


# ---- models


def pack(path: Path, parts: dict[str, bytes], **kwargs) -> Path:
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def load(path: Path) -> None:
    from tlfast.saving import load_model

    load_model(path)


def test_keras_archive_mutants(rng, tmp_path):
    """Raw damage; most of it meets the checksums of the archive."""
    data = (FILES / "keras3.keras").read_bytes()
    path = tmp_path / "mutant.keras"
    refused = 0
    central = data[:100] + data[-400:]
    for made in mutants(data, rng, MUTANTS // 2):
        path.write_bytes(made)
        refused += timed(lambda: load(path))
    for made in mutants(central, rng, MUTANTS // 2):
        path.write_bytes(made[:100] + data[100:-400] + made[100:])
        refused += timed(lambda: load(path))
    assert refused > MUTANTS // 2


def test_keras_weights_mutants(rng, tmp_path):
    """Damage inside the weights member, packed again with right checksums."""
    parts = members()
    refused = 0
    for made in mutants(parts["model.weights.h5"], rng, MUTANTS // 4):
        path = pack(tmp_path / "mutant.keras", {**parts, "model.weights.h5": made})
        refused += timed(lambda path=path: load(path))
    assert refused > MUTANTS // 40


def test_keras_config_text_mutants(rng, tmp_path):
    parts = members()
    refused = 0
    for made in mutants(parts["config.json"], rng, MUTANTS // 4):
        path = pack(tmp_path / "mutant.keras", {**parts, "config.json": made})
        refused += timed(lambda path=path: load(path))
    assert refused > MUTANTS // 8


HOSTILE = [None, True, -1, 0, 2**31, 2**63, 10**30, 1e308, float("nan"), "", "x", "../../etc",
           [], [[]], {}, {"a": []}, [None], [-1, -1], [10**9, 10**9], {"class_name": "Dense"},
           {"class_name": "Dense", "config": {}}, {"class_name": 7, "config": None}]  # fmt: skip


def test_keras_config_value_mutants(rng, tmp_path):
    """Any value of the config replaced by one of another kind, key dropped, or list doubled."""
    parts = members()
    text = parts["config.json"]
    refused = 0
    for _ in range(MUTANTS // 4):
        config = json.loads(text)
        places = []

        def collect(value, places=places):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, below in items:
                places.append((value, key))
                if isinstance(below, (dict, list)):
                    collect(below)

        collect(config)
        for _ in range(int(rng.integers(1, 4))):
            holder, key = places[int(rng.integers(len(places)))]
            action = int(rng.integers(4))
            if action == 0 and isinstance(holder, dict):
                holder.pop(key, None)
            elif action == 1 and isinstance(holder, list):
                holder.extend(list(holder))
            else:
                value = HOSTILE[int(rng.integers(len(HOSTILE)))]
                if isinstance(holder, dict) or key < len(holder):
                    holder[key] = json.loads(json.dumps(value))
        path = pack(tmp_path / "mutant.keras", {**parts, "config.json": json.dumps(config)})
        refused += timed(lambda path=path: load(path))
    assert refused > MUTANTS // 16


def changed(change) -> dict[str, bytes]:
    """The sample with `change` applied to its parsed config."""
    parts = members()
    config = json.loads(parts["config.json"])
    change(config)
    return {**parts, "config.json": json.dumps(config).encode()}


def replace_layer(name, **values):
    def change(config):
        for layer in config["config"]["layers"]:
            if layer["name"] == name:
                layer.update(values)

    return change


def lambda_config(config):
    code = {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
    inner = {"name": "my_trick", "function": code}
    replace_layer("rescaling", class_name="Lambda", config=inner)(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda_config, "layer 'my_trick' is a Lambda.*never run.*only the weights"),
        (replace_layer("rescaling", class_name="Custom>Mine"), "Custom>Mine.*custom_objects"),
        (replace_layer("rescaling", class_name="TFSMLayer"), "TFSMLayer"),
        (replace_layer("rescaling", class_name="Popen", module="subprocess"), "Popen"),
        (replace_layer("rescaling", class_name="function", module="os", config="system"), "code"),
        (lambda c: c.update(class_name="Dense", config={"units": 3}), "not a model"),
        (lambda c: c["config"].pop("layers"), "lacks.*layers"),
    ],
)
def test_refused_configs(tmp_path, change, message):
    path = pack(tmp_path / "bad.keras", changed(change))
    with pytest.raises(FormatError, match=f"bad.keras.*{message}"):
        load(path)


def test_lambda_in_old_files(tmp_path):
    import h5py

    path = tmp_path / "bad.h5"
    path.write_bytes((FILES / "keras3_legacy.h5").read_bytes())
    with h5py.File(path, "r+") as f:
        config = json.loads(f.attrs["model_config"])
        lambda_config(config)
        f.attrs["model_config"] = json.dumps(config)
    with pytest.raises(FormatError, match="layer 'my_trick' is a Lambda"):
        load(path)


def test_nothing_is_imported(tmp_path, monkeypatch):
    """A module named in a config is never imported, known class name or not."""
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path = pack(tmp_path / "m.keras", changed(replace_layer("rescaling", module="evil_module")))
    load(path)
    path = pack(
        tmp_path / "m.keras",
        changed(replace_layer("rescaling", module="evil_module", class_name="Evil")),
    )
    with pytest.raises(FormatError, match="Evil"):
        load(path)


def test_refused_archives(tmp_path):
    parts = members()
    path = tmp_path / "bad.keras"

    def refuse(message):
        with pytest.raises(FormatError, match=f"bad.keras.*{message}"):
            load(path)

    pack(path, {"config.json": parts["config.json"]})
    refuse("without config.json and model.weights.h5")
    pack(path, {**parts, "../evil": b"x"})
    refuse("'../evil' leads outside")
    pack(path, {**parts, "/etc/evil": b"x"})
    refuse("leads outside")
    pack(path, parts)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    refuse("'config.json' stands twice")
    pack(path, {**parts, "config.json": b" " * 30_000_000}, compression=zipfile.ZIP_DEFLATED)
    refuse("declares 30000000 bytes")
    pack(path, {**parts, "config.json": b"[" * 100_000 + b"]" * 100_000})
    refuse("nested")
    pack(path, {**parts, "config.json": b'{"a":' * 250 + b"1" + b"}" * 250})
    refuse("nested deeper than 200")
    pack(path, {**parts, "config.json": b"[1]"})
    refuse("expected a JSON object")
    pack(path, {**parts, "metadata.json": b'{"tlfast": [1]}'})
    refuse("is not an object")
    pack(path, parts, compression=zipfile.ZIP_LZMA)
    refuse("neither stored nor deflated")
    pack(path, parts)
    data = bytearray(path.read_bytes())
    for at in (data.find(b"PK\x03\x04"), data.find(b"PK\x01\x02")):
        flag = at + (6 if data[at + 2] == 3 else 8)
        data[flag] |= 1
    path.write_bytes(data)
    refuse("is encrypted")


def test_deflated_archive_is_read(tmp_path):
    pack(tmp_path / "m.keras", members(), compression=zipfile.ZIP_DEFLATED)
    load(tmp_path / "m.keras")


def test_many_layers(tmp_path):
    from tlfast.saving.config_json import MAX_LAYERS

    def change(config):
        layers = config["config"]["layers"]
        layers.extend(layers[:1] * (MAX_LAYERS + 1))

    path = pack(tmp_path / "m.keras", changed(change))
    with pytest.raises(FormatError, match="layers, more than"):
        load(path)


def test_links_in_weights_are_refused(tmp_path):
    """A weights member whose datasets lie in another file (CVE-2026-1669)."""
    import h5py

    secret = tmp_path / "secret"
    secret.write_bytes(bytes(80))
    path = tmp_path / "w.h5"
    path.write_bytes(members()["model.weights.h5"])
    with h5py.File(path, "r+") as f:
        del f["layers/dense/vars/0"]
        f["layers/dense/vars"].create_dataset("0", (4, 5), "f4", external=[(str(secret), 0, 80)])
    packed = pack(tmp_path / "m.keras", {**members(), "model.weights.h5": path.read_bytes()})
    with pytest.raises(FormatError, match="external storage"):
        load(packed)
    with h5py.File(path, "r+") as f:
        del f["layers/dense/vars/0"]
        f["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense_1/vars/0")
    packed = pack(tmp_path / "m.keras", {**members(), "model.weights.h5": path.read_bytes()})
    with pytest.raises(FormatError, match="soft or external link"):
        load(packed)


@pytest.mark.parametrize("kind", ["sequential", "reversed"])
def test_time_grows_with_the_layers_only(tmp_path, kind):
    """600 layers, listed in the worst order: building them costs no square of their number."""
    from tlfast import layers, models

    names = [f"d{i}" for i in range(600)]
    x = inputs = layers.Input((1,))
    chain = [layers.Dense(1, name=name) for name in names]
    if kind == "sequential":
        models.Sequential([inputs, *chain]).save(tmp_path / "m.keras")
    else:
        for layer in chain:
            x = layer(x)
        models.Model(inputs, x).save(tmp_path / "m.keras")
        parts = members((tmp_path / "m.keras").read_bytes())
        config = json.loads(parts["config.json"])
        config["config"]["layers"].reverse()
        # Weights are numbered by the order of the graph, which stays the same.
        pack(tmp_path / "m.keras", {**parts, "config.json": json.dumps(config).encode()})
    start = time.process_time()
    load(tmp_path / "m.keras")
    assert time.process_time() - start < SECONDS
