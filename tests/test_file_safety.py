"""Hostile files: one kind of error, that names the place, in little time and memory."""

import contextlib
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile_files import FILES, TORCH, every_file, members

from tlfast._shown import is_name, shown
from tlfast.saving.errors import FormatError
from tlfast.weights.torch_file import read_torch_file

SECONDS = 0.1  # of processor time, to refuse one of the files
MEGABYTES = 64
SLOW = 5.0  # seconds; what is large, but honest

KINDS = [
    "Lambda and marshalled code", "module import", "custom object", "soft link", "external link",
    "external storage", "virtual dataset", "shape bomb", "zip bomb", "path traversal",
    "duplicate member", "deep JSON", "huge names", "truncation", "cyclic group", "wrong dtype",
    "non-finite shapes", "torch pickle with other globals",
]  # fmt: skip


class Audit:
    """What Python reports of files, imports and code while a file is read."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.seen: list[str] = []
        own = Path(__file__).parent.parent
        self.known = (sys.base_prefix, sys.prefix, str(own), "/proc/self/", "<frozen")
        sys.addaudithook(self.hook)

    @contextlib.contextmanager
    def of(self, path: Path) -> Iterator[None]:
        self.path = str(path)
        try:
            yield
        finally:
            self.path = None

    def hook(self, event: str, arguments: tuple) -> None:
        if self.path is None:
            return
        if event == "open" and isinstance(arguments[0], int):
            return
        if event in ("open", "exec"):
            name = str(arguments[0] if event == "open" else arguments[0].co_filename)
            if name == self.path or name.startswith(self.known):
                return
            self.seen.append(f"{event} {name}")
        elif event.split(".")[0] in ("os", "subprocess", "socket", "pickle", "ctypes", "shutil"):
            if event not in ("os.listdir", "os.scandir"):  # of imports
                self.seen.append(event)


@pytest.fixture(scope="module")
def audit() -> Audit:
    return Audit()


@pytest.fixture(scope="module")
def hostile() -> dict[str, list]:
    found: dict[str, list] = {}
    for file in every_file():
        found.setdefault(file.kind, []).append(file)
    return found


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) << 10


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> Iterator[dict]:
    """Functions that read a file of a kind; what they import is imported already."""
    from tlfast.models import model_from_json
    from tlfast.saving import load_model

    model = load_model(FILES / "keras3.keras")
    load_model(FILES / "keras3_legacy.h5")
    model.load_weights(FILES / "keras3.weights.h5")
    path = tmp_path_factory.mktemp("torch") / "good.pth"
    path.write_bytes(TORCH)
    read_torch_file(path)
    yield {
        "model": load_model,
        "weights": model.load_weights,
        "torch": read_torch_file,
        "json": lambda path: model_from_json(path.read_text()),
    }


def test_every_kind_is_there(hostile):
    assert list(hostile) == KINDS
    assert min(map(len, hostile.values())) >= 3
    assert len(hostile["truncation"]) == 4 * 100


@pytest.mark.unsanitized
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files(kind, hostile, readers, audit, tmp_path):
    """Refused, with the layer, member or place in the message; nothing else opened or run."""
    path = tmp_path / "hostile"
    for file in hostile[kind]:
        path.write_bytes(file.data)
        seconds = []
        for _ in range(3):  # the machine may be busy
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
            before, start = status("VmRSS"), time.process_time()
            with audit.of(path), pytest.raises(FormatError, match=file.says) as caught:
                readers[file.reader](path)
            seconds.append(time.process_time() - start)
            grown = (status("VmHWM") - before) >> 20
            assert grown < MEGABYTES, file.says
            if seconds[-1] < SECONDS:
                break
        text = str(caught.value)
        assert min(seconds) < SECONDS, text
        assert text.startswith((str(path), "model_from_json")), text
        assert len(text) < 2500 and is_name(text[:1000]), text
        assert audit.seen == [], text


def test_loading_nothing_of_a_hostile_file_changes_a_model(hostile, tmp_path):
    from tlfast.saving import load_model

    model = load_model(FILES / "keras3.keras")
    before = model.get_weights()
    path = tmp_path / "hostile.h5"
    for kind in ("soft link", "external storage", "wrong dtype", "cyclic group"):
        for file in hostile[kind]:
            if file.reader == "weights":
                path.write_bytes(file.data)
                with pytest.raises(FormatError):
                    model.load_weights(path)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_text_from_files_is_shown_safely(tmp_path):
    from tlfast import layers

    assert shown("a\x1b[2J\u202eb\n\ud800é\u200dx") == "a\\x1b[2J\\u202eb\\n\\ud800é\u200dx"
    assert shown("n" * 300) == "n" * 150 + "[... 100 characters ...]" + "n" * 50
    error = FormatError(f"file: {'x' * 10_000}\x9b31m")
    assert len(str(error)) < 2100 and str(error).endswith("x\\x9b31m")
    assert is_name("conv_1") and is_name("слой") and not is_name("a\u202e") and not is_name("\n")
    for name in ("a\x1b[31m", "a\nb", "\u2066a", "n" * 1025):
        with pytest.raises(ValueError, match="all of which can be seen"):
            layers.Dense(1, name=name)


def test_warnings_quote_files_safely(tmp_path):
    """Names of weights in older files are anything; skip_mismatch shows them in a warning."""
    import h5py

    from tlfast.saving import load_model

    path = tmp_path / "w.h5"
    path.write_bytes((FILES / "keras3_legacy.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights/dense"]
        group.create_dataset("\x1b[2J", data=np.zeros((9, 9), "f4"))
        group.attrs["weight_names"] = ["\x1b[2J", "dense/bias"]
    model = load_model(FILES / "keras3.keras")
    with pytest.warns(UserWarning, match=r"\\x1b\[2J") as caught:
        model.load_weights(path, skip_mismatch=True)
    assert "\x1b" not in str(caught[0].message)


# ---- models one by one


def pack(path: Path, parts: dict[str, bytes], **kwargs) -> Path:
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def load(path: Path) -> None:
    from tlfast.saving import load_model

    load_model(path)


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
    assert time.process_time() - start < SLOW
