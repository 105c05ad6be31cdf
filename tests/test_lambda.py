"""Lambda layers: the function's operations become part of the model, in files too."""

import json
import zipfile

import numpy as np
import pytest
from official_weights import official_file
from reference import formula

from tlfast import keras
from tlfast._warnings import InputRangeWarning

mobilenet_v2 = keras.applications.mobilenet_v2
SIZE = 32


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.float32)


def with_base(first):
    base = keras.applications.MobileNetV2(
        alpha=0.35, input_shape=(SIZE, SIZE, 3), include_top=False, weights=None, pooling="avg"
    )
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Dense(2, activation="softmax")(base(first(inputs)))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("function", [
    mobilenet_v2.preprocess_input,
    keras.applications.vgg16.preprocess_input,
    lambda x: keras.cast(x, "float32") / 255.0,
    lambda x: keras.layers.Rescaling(2.0)(x)[..., ::-1],
])
def test_on_arrays_and_in_a_model(function, pixels):
    want = np.asarray(function(pixels.copy()))
    layer = keras.layers.Lambda(function)
    np.testing.assert_allclose(layer(pixels), want, rtol=1e-5, atol=1e-4)
    model = keras.Sequential([keras.layers.Lambda(function, input_shape=(SIZE, SIZE, 3))])
    np.testing.assert_allclose(model.predict(pixels, verbose=0), want, rtol=1e-5, atol=1e-4)


def test_several_inputs_and_arguments():
    a, b = keras.Input((3,)), keras.Input((3,))
    layer = keras.layers.Lambda(
        lambda x, factor: x[0] + x[1] * factor, arguments={"factor": 2.0},
        output_shape=lambda shapes: shapes[0])  # fmt: skip
    model = keras.Model([a, b], layer([a, b]))
    one = np.ones((2, 3), np.float32)
    assert model.predict([one, one], verbose=0).tolist() == [[3.0] * 3] * 2


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_files_hold_the_operations_and_no_code(ending, pixels, tmp_path):
    model = with_base(keras.layers.Lambda(mobilenet_v2.preprocess_input, name="prepare"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(pixels, np.array([0, 1, 0, 1]), verbose=0)
    path = str(tmp_path / f"model{ending}")
    model.save(path)
    want = model.predict(pixels, verbose=0)
    assert np.array_equal(keras.models.load_model(path).predict(pixels, verbose=0), want)
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    model.load_weights(path)
    assert np.array_equal(model.predict(pixels, verbose=0), want)
    if ending == ".keras":
        with zipfile.ZipFile(path) as file:
            text = file.read("config.json").decode()
        (stored,) = (c for c in json.loads(text)["config"]["layers"] if c["name"] == "prepare")
        assert stored["class_name"] == "Functional" and "__lambda__" not in text


def test_clones_and_weight_files(pixels, tmp_path):
    model = with_base(keras.layers.Lambda(mobilenet_v2.preprocess_input))
    want = model.predict(pixels, verbose=0)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert np.array_equal(clone.predict(pixels, verbose=0), want)
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    other = with_base(keras.layers.Lambda(mobilenet_v2.preprocess_input))
    other.load_weights(path)
    assert np.array_equal(other.predict(pixels, verbose=0), want)


def test_the_input_watch_looks_behind_it(tmp_path):
    """A pretrained network warns of what a Lambda makes of the pixels, and only then."""
    pixels = formula.photos(8, SIZE, SIZE, 1).astype(np.float32)
    base = keras.applications.MobileNetV2(
        alpha=0.35, input_shape=(SIZE, SIZE, 3), include_top=False, weights=None, pooling="avg")
    path = str(tmp_path / "base.h5")
    official_file(path, base)
    for function, right in ((mobilenet_v2.preprocess_input, True), (lambda x: x / 255.0, False)):
        base = keras.applications.MobileNetV2(
            alpha=0.35, input_shape=(SIZE, SIZE, 3), include_top=False, weights=path,
            pooling="avg")  # fmt: skip
        model = keras.Sequential([keras.layers.Lambda(function, input_shape=(SIZE, SIZE, 3)), base])
        if right:
            model.predict(pixels, verbose=0)
        else:
            with pytest.warns(InputRangeWarning, match="0 to 1"):
                model.predict(pixels, verbose=0)


@pytest.mark.peer("keras")
def test_keras_reads_the_files(pixels, tmp_path, run_peer):
    model = with_base(keras.layers.Lambda(mobilenet_v2.preprocess_input))
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "p.npy", model.predict(pixels, verbose=0))
    printed = run_peer("keras", f"""
import os; os.chdir({str(tmp_path)!r})
import keras, numpy as np
x, p = np.load("x.npy"), np.load("p.npy")
print(abs(keras.models.load_model("m.keras").predict(x, verbose=0) - p).max())
base = keras.applications.MobileNetV2(
    alpha=0.35, input_shape={(SIZE, SIZE, 3)}, include_top=False, weights=None, pooling="avg")
inputs = keras.Input({(SIZE, SIZE, 3)})
x1 = keras.layers.Lambda(keras.applications.mobilenet_v2.preprocess_input)(inputs)
model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(base(x1)))
model.load_weights("m.weights.h5")
print(abs(model.predict(x, verbose=0) - p).max())
""")
    assert [float(line) < 1e-5 for line in printed.split()[-2:]] == [True, True]
