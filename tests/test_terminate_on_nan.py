"""TerminateOnNaN: where the first values that are not finite are, and in which files."""

import re

import numpy as np
import pytest
from reference_compare import cases  # noqa: F401 - puts reference/ on the path
from training_cases import captured

import tlfast
from tlfast import keras

layers = keras.layers
SIZE = (16, 16)


def network(rate=0.01, frozen=False, scale=1 / 255):
    keras.utils.set_random_seed(4)
    base = keras.Sequential(
        [
            keras.Input((*SIZE, 3)),
            layers.Rescaling(scale, name="scaled"),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(name="normal"),
            layers.Activation("tanh", name="bent"),
        ],
        name="base",
    )
    base.trainable = not frozen
    inputs = keras.Input((*SIZE, 3), name="picture")
    x = layers.GlobalAveragePooling2D(name="mean")(base(inputs))
    x = layers.Dropout(0.2, name="drop")(x)
    outputs = layers.Dense(2, activation="softmax", name="head")(x)
    model = keras.Model(inputs, outputs, name="net")
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    return model


@pytest.fixture
def arrays(rng):
    return rng.uniform(0, 255, (12, *SIZE, 3)).astype(np.float32), np.arange(12) % 2


def said(model, x, y=None, **kwargs):
    """The lines printed, and the weights at the end."""
    kwargs = {"epochs": 3, "verbose": 0, "shuffle": False, **kwargs}
    if y is not None:
        kwargs["batch_size"] = 4
    with captured() as out:
        model.fit(x, y, callbacks=[keras.callbacks.TerminateOnNaN()], **kwargs)
    assert model.stop_training and model._training_steps is None
    return out.getvalue().splitlines()


def spoil(model, path, value):
    (variable,) = [v for v in model.weights if v.path.endswith(path)]
    values = variable.numpy()
    values.flat[0] = value
    variable.assign(values)


def test_pixels(arrays):
    x, y = arrays
    x[6, 3, 3] = np.nan
    assert said(network(), x, y) == [
        "Batch 1: Invalid loss, terminating training",
        "Epoch 1, batch 2: the loss is nan.",
        "First values that are not finite: the input 'picture'.",
        "They come from row 3.",
    ]


def test_pixels_of_features_that_are_kept(arrays):
    x, y = arrays
    x[[9, 11]] = np.inf
    lines = said(network(frozen=True), x, y, cache_features=True)
    assert lines[0] == "Batch 2: Invalid loss, terminating training"
    assert lines[2:] == [
        "First values that are not finite: the input 'picture'.",
        "They come from row 2, row 4.",
    ]


def test_labels_and_sample_weights(arrays):
    x, y = arrays
    model = network()
    model.compile("sgd", "mse")
    labels = np.eye(2, dtype=np.float32)[y]
    labels[5] = np.inf
    assert said(model, x, labels)[2:] == [
        "First values that are not finite: the labels of the output 'head'.",
        "They come from row 2.",
    ]
    weights = np.ones(12, np.float32)
    weights[0] = np.nan
    assert said(network(), x, y, sample_weight=weights)[2:] == [
        "First values that are not finite: the sample weights.",
        "They come from row 1.",
    ]


@pytest.mark.parametrize("frozen", [False, True])
def test_weights_that_were_not_finite_before(arrays, frozen):
    model = network(frozen=frozen)
    spoil(model, "first/kernel", np.nan)
    lines = said(model, *arrays)
    assert lines[0] == "Batch 0: Invalid loss, terminating training"
    assert "the weight base/first/kernel of the layer 'first'" in lines[2]
    assert ("which is frozen" if frozen else "before the step already") in lines[2]
    assert len(lines) == 3


def test_outputs_of_the_first_layer_that_overflows(arrays):
    model = network()
    (kernel,) = [v for v in model.weights if v.path == "base/first/kernel"]
    kernel.assign(np.full(kernel.shape, 3e38, np.float32))
    lines = said(model, *arrays)
    assert lines[2] == "First values that are not finite: the outputs of the layer 'first'."


def test_frozen_layers_are_searched_too(arrays):
    lines = said(network(frozen=True, scale=1e37), *arrays)
    assert lines[2] == "First values that are not finite: the outputs of the layer 'scaled'."


def test_weights_are_left_as_keras_leaves_them(arrays):
    """After a step with a loss that is no number the weights are no numbers either."""
    x, y = arrays
    x[0] = np.nan
    models = [network(), network()]
    said(models[0], x, y)
    models[1].train_on_batch(x[:4], y[:4])
    for ours, plain in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, plain)
    assert not np.isfinite(models[0].get_weights()[0]).any()


def test_a_rate_that_is_too_high(arrays):
    x, y = arrays
    model = keras.Sequential(
        [keras.Input((*SIZE, 3)), layers.Flatten(), layers.Dense(4, name="first"),
         layers.Dense(1, name="head")]
    )  # fmt: skip
    model.compile(keras.optimizers.SGD(10.0), "mse")
    lines = said(model, x, y)
    assert int(re.match(r"Batch (\d+)", lines[0])[1]) > 0
    assert re.search("the (weight|outputs) .*'(first|head)'", lines[2])


def test_a_loss_that_is_not_defined(arrays):
    x, y = arrays
    model = keras.Sequential([keras.Input((*SIZE, 3)), layers.Flatten(), layers.Dense(1)])
    model.set_weights([np.full((768, 1), -1, np.float32), np.zeros(1, np.float32)])
    model.compile("sgd", "poisson")  # the logarithm of outputs below 0
    lines = said(model, x, y.astype(np.float32) + 1)
    assert lines[1] == "Epoch 1, batch 1: the loss is nan."
    assert "the loss or its penalties; all outputs are finite" in lines[2] and len(lines) == 3


def test_raise_error(arrays):
    x, y = arrays
    x[0] = np.nan
    ends = keras.callbacks.LambdaCallback(on_train_end=lambda logs: pytest.fail("as in Keras"))
    callback = keras.callbacks.TerminateOnNaN(raise_error=True)
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 0") as info:
        network().fit(x, y, verbose=0, shuffle=False, callbacks=[ends, callback])
    assert "the input 'picture'.\nThey come from row 1." in str(info.value)


def broken_network():
    return network(scale=1e37)


def test_files_of_a_folder(image_tree):
    folder = image_tree(per_class=5, size=SIZE)
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=SIZE, batch_size=3, shuffle=False, verbose=False
    )
    lines = said(broken_network(), data)
    names = [f"{folder}/cat/00{i}.{'jpg' if i % 2 == 0 else 'png'}" for i in range(3)]
    assert lines[-1] == f"The files of the batch: {', '.join(names)}."
    shuffled = keras.utils.image_dataset_from_directory(
        folder, image_size=SIZE, batch_size=10, shuffle=True, seed=1, verbose=False
    )
    lines = said(broken_network(), shuffled)
    assert lines[-1].endswith(" and 2 more.") and lines[-1].count(str(folder)) == 8


@pytest.mark.parametrize("options", [{}, {"horizontal_flip": True}], ids=["plain", "augmented"])
def test_files_of_a_generator(image_tree, options):
    folder = image_tree(per_class=3, size=SIZE)
    flow = tlfast.preprocessing.image.ImageDataGenerator(**options).flow_from_directory(
        folder, target_size=SIZE, batch_size=4, class_mode="sparse", shuffle=False
    )
    lines = said(broken_network(), flow)
    names = [f"{folder}/cat/000.jpg", f"{folder}/cat/001.png", f"{folder}/cat/002.jpg",
             f"{folder}/dog/000.jpg"]  # fmt: skip
    assert lines[-1] == f"The files of the batch: {', '.join(names)}."


def test_the_file_with_the_bad_pixels(image_tree):
    folder = image_tree(per_class=3, size=SIZE)
    seen = []

    def prepare(image):
        seen.append(image)
        return np.full_like(image, np.nan) if len(seen) % 6 == 5 else image

    generator = tlfast.preprocessing.image.ImageDataGenerator(preprocessing_function=prepare)
    flow = generator.flow_from_directory(
        folder, target_size=SIZE, batch_size=6, class_mode="sparse", shuffle=False
    )
    seen.clear()
    lines = said(network(), flow)
    assert re.fullmatch(rf"They come from {folder}/\w+/00\d\.\w+\.", lines[3])


def test_hooks_called_by_hand():
    callback = keras.callbacks.TerminateOnNaN()
    model = network()
    callback.set_model(model)
    with captured() as out:
        callback.on_train_batch_begin(2)
        callback.on_train_batch_end(2, {"loss": float("inf")})
    assert out.getvalue() == "Batch 2: Invalid loss, terminating training\n"
    assert model.stop_training
