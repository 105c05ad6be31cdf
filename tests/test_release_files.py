"""Files of other versions: released ones (files/release-VERSION.zip) load, newer ones say so."""

import json
import zipfile
from pathlib import Path

import file_cases as cases
import h5py
import numpy as np
import pytest
from test_saving import filled, repack, same_weights, sequential_model, transfer_model

import tlfast
from tlfast import keras, saving
from tlfast.saving.errors import FormatError

ARCHIVES = sorted(Path(__file__).parent.glob("files/release-*.zip"))
CASE = "augmented"


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def files(request, tmp_path):
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def wanted(files):
    with np.load(files / "wanted.npz") as stored:
        return dict(stored)


def check(model, wanted: dict, state: bool) -> None:
    found = cases.describe(model, CASE)
    kinds = ("weight", "state") if state else ("weight",)
    for key in wanted:
        if key.split()[0] in kinds:
            assert np.array_equal(found[key], wanted[key]), key
    np.testing.assert_allclose(found["predictions"], wanted["predictions"], rtol=1e-5)


def test_there_are_files_of_this_version():
    assert f"release-{tlfast.__version__}" in [path.stem for path in ARCHIVES], (
        "run tests/files/make_release_files.py"
    )


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_models(files, wanted, name):
    model = keras.models.load_model(files / name)
    check(model, wanted, state=True)
    assert model.class_names == ["ant", "bee", "cat", "dog"]
    assert set(saving.get_record(model)["history"]) == {"loss", "accuracy"}
    answer = model.predict(files / "photo.png", verbose=0)
    assert answer.name == model.class_names[int(wanted["answer"].argmax())]
    np.testing.assert_allclose(answer.scores, wanted["answer"], rtol=1e-5)


@pytest.mark.parametrize("name", ["w.weights.h5", "w_legacy.h5"])
def test_weights(files, wanted, name):
    model = cases.build(keras, CASE)
    model.set_weights([w * 0 for w in model.get_weights()])
    cases.compile_model(keras, model, CASE)
    model.optimizer.build(model.trainable_weights)
    model.load_weights(files / name)
    check(model, wanted, state=name == "w.weights.h5")


# ---- newer versions


def with_record(path: Path, change) -> None:
    """Change the record of a file of any format."""
    if path.name.endswith(".keras"):
        metadata = json.loads(zipfile.ZipFile(path).read("metadata.json"))
        change(metadata["tlfast"])
        repack(path, metadata=metadata)
        return
    with h5py.File(path, "r+") as f:
        record = json.loads(f.attrs["tlfast"])
        change(record)
        f.attrs["tlfast"] = json.dumps(record)


def open_any(path: Path, model):
    if "m." in path.name:
        return saving.load_model(path)
    model.load_weights(path)
    return model


EVERY_FILE = ("m.keras", "m.h5", "w.weights.h5", "w_legacy.h5")


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("version", ["0.1.1", "0.2.0.dev3", "10.0"])
def test_a_file_of_a_newer_version_says_so(tmp_path, name, version):
    model, path = transfer_model(), tmp_path / name
    (model.save if name[0] == "m" else model.save_weights)(path)
    with_record(path, lambda record: record.update(version=version, backbones={"x": {"new": 1}}))
    other = filled(transfer_model(), 2)
    with pytest.warns(UserWarning, match=rf"{name}: written by tlfast {version}, which is newer"):
        found = open_any(path, other)
    assert same_weights(found, model)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_an_error_in_a_file_of_a_newer_version_says_so(tmp_path, name):
    path = tmp_path / name
    model = sequential_model()
    (model.save if name[0] == "m" else model.save_weights)(path)
    with_record(path, lambda record: record.update(version="0.3.0"))
    if name == "m.keras":
        config = json.loads(zipfile.ZipFile(path).read("config.json"))
        config["config"]["layers"][1]["class_name"] = "Conv7D"
        repack(path, config=config)
    elif name == "m.h5":
        with h5py.File(path, "r+") as f:
            f.attrs["model_config"] = f.attrs["model_config"].replace('"Conv2D"', '"Conv7D"')
    message = "'Conv7D'" if name[0] == "m" else "could not be loaded|Layer count mismatch"
    with pytest.raises(FormatError, match=rf"(?s)({message}).*written by tlfast 0\.3\.0, which is"):
        open_any(path, transfer_model())


@pytest.mark.parametrize("version", [None, 3, "", "old", "0.0.9", "0.1.0", "9" * 50, ["0.2"]])
def test_other_versions_say_nothing(tmp_path, version):
    path = tmp_path / "m.keras"
    sequential_model().save(path)
    with_record(path, lambda record: record.update(version=version))
    assert "version" not in saving.get_record(saving.load_model(path))
