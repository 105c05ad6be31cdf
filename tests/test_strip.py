"""`tlfast strip`: nothing of the training is left in a file, and nothing else is lost."""

import json
import zipfile

import h5py
import numpy as np
import pytest
from tlfast.keras import layers

from tlfast import cli, keras
from tlfast.saving import get_record, load_model
from tlfast.testing import TinyBackbone


@pytest.fixture
def trained(image_tree):
    """A model trained on a folder, with a network and Adam's state."""
    data = keras.utils.image_dataset_from_directory(
        image_tree(("cat", "dog")), image_size=(32, 32), batch_size=4, verbose=False, seed=1
    )
    inputs = keras.Input((32, 32, 3))
    outputs = layers.Dense(2, activation="softmax", name="head")(
        TinyBackbone(pooling="avg")(inputs)
    )
    model = keras.Model(inputs, outputs)
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data, epochs=2, verbose=0)
    return model


def strip(capsys, *words) -> str:
    capsys.readouterr()
    assert cli.main(["strip", *map(str, words)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_model_file(trained, tmp_path, capsys, ending):
    path, copy = tmp_path / f"m{ending}", tmp_path / f"copy{ending}"
    trained.save(path)
    before = path.read_bytes()
    printed = strip(capsys, path, "--output", copy)
    assert "taken out: recipe" in printed and "taken out: history" in printed
    assert path.read_bytes() == before
    content = copy.read_bytes()
    for word in (b'"recipe"', b'"history"', b"instruction set"):
        assert word not in content
    again = load_model(copy)
    assert sorted(get_record(again)) == ["class_names"] and again.class_names == ["cat", "dog"]
    for a, b in zip(trained.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.get_config() == load_model(path).get_config()
    for a, b in zip(trained.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a.numpy()), np.asarray(b.numpy()))
    assert again.get_compile_config() == load_model(path).get_compile_config()
    # In place, with the names of the classes.
    strip(capsys, path, "--class-names")
    assert get_record(load_model(path)) == {}
    assert "nothing to take out" in strip(capsys, path)
    assert cli.main(["reproduce", str(path)]) == 2


def test_a_weights_file(trained, tmp_path, capsys):
    for name in ("m.weights.h5", "m.h5"):
        trained.save_weights(tmp_path / name)
        strip(capsys, tmp_path / name)
        assert b"recipe" not in (tmp_path / name).read_bytes()
        other = keras.models.clone_model(trained)
        other.load_weights(tmp_path / name)
        for a, b in zip(trained.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_networks_inside_stay_known(trained, tmp_path, capsys):
    trained.save(tmp_path / "m.keras")
    strip(capsys, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        record = json.loads(file.read("metadata.json"))["tlfast"]
    assert list(record["backbones"]) and sorted(record) == ["backbones", "class_names"]


def test_an_attribute_without_a_value_stays(trained, tmp_path, capsys):
    path = tmp_path / "m.h5"
    trained.save(path)
    with h5py.File(path, "a") as file:
        file.attrs["nothing"] = h5py.Empty("i8")
    strip(capsys, path)
    with h5py.File(path) as file:
        assert file.attrs["nothing"].shape is None
    load_model(path)


def test_what_is_no_model_file(tmp_path, capsys):
    (tmp_path / "m.keras").write_text("no model")
    assert cli.main(["strip", str(tmp_path / "m.keras")]) == 1
    assert "neither a `.keras` nor an HDF5 file" in capsys.readouterr().err
    assert (tmp_path / "m.keras").read_text() == "no model"
    assert cli.main(["strip", str(tmp_path / "missing.h5")]) == 1


@pytest.mark.peer("keras")
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_keras_opens_stripped_files(trained, tmp_path, capsys, run_peer, ending):
    x = np.full((1, 32, 32, 3), 90, np.float32)
    path = tmp_path / f"m{ending}"
    trained.save(path)
    strip(capsys, path)
    code = (
        "import keras, numpy as np\n"
        f"model = keras.models.load_model({str(path)!r})\n"
        "x = np.full((1, 32, 32, 3), 90, np.float32)\n"
        "print('RESULT', *model.predict(x, verbose=0)[0], int(model.optimizer.iterations))\n"
    )
    line = next(r for r in run_peer("keras", code).splitlines() if r.startswith("RESULT"))
    *numbers, steps = line.split()[1:]
    np.testing.assert_allclose([float(n) for n in numbers], trained.predict(x, verbose=0)[0], 1e-5)
    assert int(steps) == 4
