"""Files that released versions wrote load in this one: files/release-VERSION.zip."""

import zipfile
from pathlib import Path

import file_cases as cases
import numpy as np
import pytest

import tlfast
from tlfast import keras, saving

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
