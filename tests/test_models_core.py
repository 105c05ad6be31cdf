"""The same models computed by the core: equal to Keras; direct calls on arrays."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
from keras_cases import CASES, digest, set_numbers
from numpy_graph import run

from tlfast import _engine, activations, backend, layers, models

KERAS = json.loads(Path(__file__).with_name("keras_cases.json").read_text("utf-8"))
TLFAST = types.SimpleNamespace(layers=layers, models=models, backend=backend)
IMAGES = np.random.default_rng(0).uniform(0, 255, size=(3, 12, 10, 3)).astype("float32")


@pytest.fixture(autouse=True)
def fresh():
    backend.clear_session(free_memory=False)


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_keras(case):
    model = CASES[case](TLFAST)
    images = set_numbers(model)
    predicted = _engine.Engine(model).predict([images])
    for found, (shape, square, values) in zip(digest(predicted), KERAS[case]["outputs"],
                                              strict=True):
        assert found[0] == shape
        assert found[1] == pytest.approx(square, rel=1e-4)
        np.testing.assert_allclose(found[2], values, rtol=1e-4, atol=1e-5)
    called = model(images, training=False)
    for a, b in zip(predicted, called if isinstance(called, list) else [called], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_weights_set_later_are_used():
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    x = np.ones((1, 4), "float32")
    model(x)
    model.layers[0].set_weights([np.full((4, 2), 2.0), np.array([1.0, -1.0])])
    np.testing.assert_array_equal(model(x), [[9, 7]])
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), np.full((4, 2), 2.0))


def test_random_layers_act_when_called_directly():
    flip = layers.RandomFlip("horizontal")
    for image in (IMAGES[0], IMAGES):
        seen = [flip(image) for _ in range(20)]
        assert all(y.shape == image.shape for y in seen)
        assert any(not np.array_equal(y, image) for y in seen)
    np.testing.assert_array_equal(flip(IMAGES, training=False), IMAGES)
    chain = models.Sequential([layers.RandomRotation(0.2), layers.RandomZoom(0.2)])
    assert np.abs(chain(IMAGES) - IMAGES).max() > 1
    np.testing.assert_array_equal(chain(IMAGES, training=False), IMAGES)


def test_dropout_acts_in_training_only():
    np.testing.assert_array_equal(layers.Dropout(0.5)(IMAGES), IMAGES)
    dropped = layers.Dropout(0.5)(IMAGES, training=True)
    kept = dropped != 0
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_allclose(dropped[kept], IMAGES[kept] * 2)
    spatial = layers.SpatialDropout2D(0.5)(np.ones((8, 3, 3, 16)), training=True)
    np.testing.assert_array_equal(spatial, spatial[:, :1, :1] * np.ones((1, 3, 3, 1)))
    assert set(np.unique(spatial)) == {0.0, 2.0}


def test_layers_called_on_arrays_and_lists():
    assert layers.Conv2D(4, 3)(IMAGES).shape == (3, 10, 8, 4)
    assert layers.add([IMAGES, IMAGES]).max() == IMAGES.max() * 2
    np.testing.assert_allclose(layers.Rescaling(1 / 255)(IMAGES.astype("uint8")),
                               IMAGES.astype("uint8") / 255, rtol=1e-5)
    with pytest.raises(ValueError, match="should be tensors"):
        layers.Dense(2)("images")
    dense = layers.Dense(2)
    dense(np.ones((1, 3)))
    with pytest.raises(ValueError, match="axis -1 of input shape to have value 3"):
        dense(np.ones((1, 4)))
    with pytest.raises(ValueError, match="expected ndim=4"):
        layers.Conv2D(2, 3)(IMAGES[0])


def test_arrays_of_the_wrong_shape():
    model = CASES["plain"](TLFAST)
    with pytest.raises(ValueError, match=r"expected shape=.None, 32, 24, 3., found shape=.None, 9"):
        model(np.ones((1, 9, 9, 3)))
    with pytest.raises(ValueError, match=r"expected shape=.None, 32, 24, 3., found shape=.None, 9"):
        _engine.Engine(model).predict([np.ones((1, 9, 9, 3), "float32")])
    with pytest.raises(ValueError, match="expects 1 input"):
        model([np.ones((1, 32, 24, 3)), np.ones((1, 32, 24, 3))])


def test_pickle_and_deepcopy():
    import copy
    import pickle

    model = CASES["nested"](TLFAST)
    images = set_numbers(model)
    expected = model(images, training=False)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert other.to_json() == model.to_json()
        np.testing.assert_array_equal(other(images, training=False), expected)
        assert not {id(v) for v in other.weights} & {id(v) for v in model.weights}
    unbuilt = pickle.loads(pickle.dumps(models.Sequential([layers.Dense(2)], name="later")))
    assert unbuilt.name == "later" and not unbuilt.built
    dense = layers.Dense(2)
    x = np.ones((1, 3))
    again = pickle.loads(pickle.dumps(dense))
    assert again.get_config() == dense.get_config() and not again.built
    y = dense(x)
    np.testing.assert_array_equal(copy.deepcopy(dense)(x), y)
    variable = pickle.loads(pickle.dumps(dense.kernel))
    np.testing.assert_array_equal(variable.numpy(), dense.kernel.numpy())
    assert variable.path == dense.kernel.path


def test_dropped_models_are_freed():
    import weakref

    from tlfast import _variable

    def big():
        model = models.Sequential([layers.Input((1024,)), layers.Dense(32768, use_bias=False)])
        model.layers[0].kernel.assign(np.zeros((1024, 32768), "float32"))
        return weakref.ref(model.layers[0].kernel)

    assert 1024 * 32768 * 4 > _variable._COLLECT_AFTER
    first = big()
    models.Sequential([layers.Input((2,)), layers.Dense(2)])
    assert first() is None


def test_notebooks_show_the_summary():
    html = CASES["plain"](TLFAST)._repr_html_()
    assert html.startswith("<pre>") and "conv2d (Conv2D)" in html
    assert "&quot;plain&quot;" in html


@pytest.mark.parametrize("name", sorted(activations._NAMES))
def test_the_core_computes_every_activation(name):
    x = np.linspace(-5, 5, 22, dtype="float32").reshape(2, 11)
    expected = activations.get(name)(x)
    np.testing.assert_allclose(layers.Activation(name)(x), expected, rtol=1e-5, atol=1e-6)
    image = np.broadcast_to(x[:, None, None], (2, 3, 3, 11))
    np.testing.assert_allclose(layers.Activation(name)(image)[:, 1, 1], expected, rtol=1e-5,
                               atol=1e-6)
    identity = layers.Dense(11, name, kernel_initializer="identity")
    np.testing.assert_allclose(identity(x), expected, rtol=1e-5, atol=1e-6)


COMPARED = [
    lambda: layers.ELU(0.5), lambda: layers.LeakyReLU(0.2), lambda: layers.ReLU(6),
    lambda: layers.ReLU(negative_slope=0.1), lambda: layers.Softmax(),
    lambda: layers.Conv2D(8, 3, groups=2), lambda: layers.Conv2D(5, 3, dilation_rate=2),
    lambda: layers.Conv2D(5, (3, 2), strides=(2, 3), padding="same", activation="swish"),
    lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6"),
    lambda: layers.DepthwiseConv2D(5, strides=2, padding="same"),
    lambda: layers.SeparableConv2D(5, 3, dilation_rate=2, padding="same"),
    lambda: layers.MaxPooling2D(3, 2, "same"), lambda: layers.AveragePooling2D(3, 2, "same"),
    lambda: layers.GlobalMaxPooling2D(keepdims=True), lambda: layers.GlobalAveragePooling2D(),
    lambda: layers.Cropping2D(((1, 0), (2, 1))), lambda: layers.ZeroPadding2D(((0, 1), (2, 3))),
    lambda: layers.Flatten(), lambda: layers.Reshape((3, -1)), lambda: layers.Dense(4, "gelu"),
    lambda: layers.Rescaling([1.0, 2, 3, 4, 5, 6], 0.5), lambda: layers.BatchNormalization(),
]


@pytest.mark.parametrize("make", COMPARED)
def test_the_core_equals_numpy(make):
    x = np.random.default_rng(2).normal(size=(3, 9, 7, 6)).astype("float32")
    layer = make()
    computed = layer(x)
    expected, _ = run(layer, x)
    assert computed.shape == expected.shape
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape((None, 9, 7, 6)) == (None, *computed.shape[1:])
