"""fine_tune: rates per variable in the core, two phases equal to two fits, flags, printed lines."""

import numpy as np
import pytest

from tlfast import keras
from tlfast._fine_tune import depth_factors
from tlfast.layers import BatchNormalization

layers = keras.layers


def data(rng, count=12):
    labels = np.arange(count) % 2
    images = rng.normal(0, 1, (count, 8, 8, 3)) + labels[:, None, None, None]
    return images.astype(np.float32), labels


def network(seed=0, compiled=True, nested=True, size=8, channels=3):
    """Two convolutions with batch norm, as a model inside the model or flat, and a head."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, channels))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv_1")(image)
    x = layers.ReLU()(layers.BatchNormalization(name="norm_1")(x))
    x = layers.Conv2D(6, 3, name="conv_2")(x)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="norm_2")(x))
    if nested:
        base = keras.Model(image, x, name="base")
        image = keras.Input((size, size, channels))
        x = base(image)
    model = keras.Model(image, layers.Dense(2, activation="softmax", name="head")(x), name="net")
    if compiled:
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def by_name(model):
    return {layer.name: layer for layer in model._flatten_layers()}


# ---- rates per variable ----


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.SGD(0.1),
        lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        lambda: keras.optimizers.Adam(0.1),
        lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
        lambda: keras.optimizers.RMSprop(0.1, momentum=0.5),
    ],
)
def test_a_factor_scales_the_first_step(rng, make):
    images, labels = data(rng)
    steps = {}
    for factor in (1.0, 0.25, 0.0):
        model = network()
        optimizer = make()
        head = by_name(model)["head"]
        optimizer.set_rate_factors([(head.kernel, factor)])
        model.compile(optimizer, "sparse_categorical_crossentropy")
        before = head.kernel.numpy(), head.bias.numpy()
        model.train_on_batch(images, labels)
        steps[factor] = head.kernel.numpy() - before[0], head.bias.numpy() - before[1]
    whole = steps[1.0][0]
    assert np.abs(whole).max() > 1e-4
    np.testing.assert_allclose(steps[0.25][0], 0.25 * whole, atol=2e-7)
    assert (steps[0.0][0] == 0).all()
    for factor in (0.25, 0.0):
        np.testing.assert_array_equal(steps[factor][1], steps[1.0][1])  # the bias has none


def test_factors_that_are_no_rates():
    variable = by_name(network())["head"].kernel
    for factor in (-0.1, np.inf, np.nan):
        with pytest.raises(ValueError, match="head/kernel.*a number, 0 or more"):
            keras.optimizers.SGD().set_rate_factors([(variable, factor)])


def test_depth_factors_fall_geometrically():
    model = network(nested=False)
    body = [by_name(model)[name] for name in ("conv_1", "norm_1", "conv_2", "norm_2")]
    factors = depth_factors(body, 100.0)
    assert [f for v, f in factors if v.name == "kernel"] == pytest.approx([0.01, 0.1])
    assert [f for v, f in factors if v.name == "gamma"] == pytest.approx([10**-1.5, 10**-0.5])
    assert {f for _, f in depth_factors(body, 1.0)} == {1.0}


# ---- the two phases ----


@pytest.mark.parametrize("nested", [True, False])
def test_equals_two_fits(rng, nested):
    """What fine_tune does, written by hand, bit for bit."""
    images, labels = data(rng)
    given = {"validation_data": (images[:4], labels[:4]), "batch_size": 4, "verbose": 0}
    model = network(nested=nested)
    keras.utils.set_random_seed(1)
    history = model.fine_tune(
        (images, labels), epochs=2, freeze_epochs=2, base_lr=0.1, **given
    )  # fmt: skip

    plain = network(nested=nested)
    keras.utils.set_random_seed(1)
    named = by_name(plain)
    body = [named[name] for name in ("conv_1", "norm_1", "conv_2", "norm_2")]
    for layer in body:
        layer.trainable = False
    loss = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    plain.compile(keras.optimizers.SGD(0.1), **loss)
    first = plain.fit(images, labels, epochs=2, **given).history
    for layer in body:
        layer.trainable = not isinstance(layer, BatchNormalization)
    optimizer = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.05, 6))
    rates = {"conv_1": 0.01, "conv_2": 0.01**0.5}
    optimizer.set_rate_factors([(v, rates[name]) for name in rates for v in named[name].weights])
    plain.compile(optimizer, **loss)
    second = plain.fit(images, labels, initial_epoch=2, epochs=4, **given).history

    for one, two in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert history.epoch == [0, 1, 2, 3]
    assert history.history == {name: first[name] + second[name] for name in first}
    assert model.history is history


@pytest.mark.parametrize("train_bn", [False, True])
def test_batch_norm(rng, train_bn):
    model = network()
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, BatchNormalization)]
    before = [norm.get_weights() for norm in norms]
    model.fine_tune(data(rng), epochs=1, base_lr=0.1, train_bn=train_bn, verbose=0)
    for norm, old in zip(norms, before, strict=True):
        same = [(a == b).all() for a, b in zip(norm.get_weights(), old, strict=True)]
        assert same == [not train_bn] * 4  # gamma, beta, mean, variance
        assert norm.trainable is train_bn
    others = [x for x in model._flatten_layers() if x.weights and not x._sublayers()]
    assert all(x.trainable for x in others if x not in norms)


def test_the_body_stands_still_at_first(rng):
    model = network()
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append([v.numpy() for v in by_name(self.model)["base"].weights])

    start = [v.numpy() for v in by_name(model)["base"].weights]
    model.fine_tune(data(rng), epochs=1, freeze_epochs=2, callbacks=[Look()], verbose=0)
    assert len(seen) == 1  # callbacks see the second phase only
    assert all((a == b).all() for a, b in zip(start, seen[0], strict=True))
    moved = {
        name: np.abs(by_name(model)[name].kernel.numpy() - old).max()
        for name, old in (("conv_1", start[0]), ("conv_2", start[5]))
    }
    assert 0 < moved["conv_1"] < moved["conv_2"]


def test_no_frozen_phase(rng):
    model = network()
    history = model.fine_tune(data(rng), epochs=3, freeze_epochs=0, verbose=0)
    assert history.epoch == [0, 1, 2]


def test_it_learns(rng):
    images, labels = data(rng, 32)
    model = network()
    history = model.fine_tune((images, labels), epochs=12, base_lr=0.5, batch_size=8, verbose=0)
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]


def test_what_is_printed(rng, capsys):
    network().fine_tune(data(rng), epochs=2, base_lr=0.02, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "1 epoch of the head (head: 14 weights) at learning rate 0.02, 4 layers in front of it "
        "frozen; pixels in a range that the network was not made for are an error"
    )
    assert (
        "2 epochs of all layers: learning rate 0.01 in the head, 0.0001 in conv_1, falling to 0; "
        "batch norm frozen (train_bn=False)"
    ) in lines
    network().fine_tune(data(rng), epochs=1, verbose=0)
    assert capsys.readouterr().out == ""


def test_data_of_unknown_length(rng, capsys):
    images, labels = data(rng)
    whole = keras.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    network().fine_tune(whole.filter(lambda x, y: True), epochs=1, verbose=2)
    assert "constant (length of the data not known)" in capsys.readouterr().out


def test_the_optimizer_stays_of_its_kind(rng):
    model = network()
    model.compile(keras.optimizers.SGD(0.5, momentum=0.7), "sparse_categorical_crossentropy")
    model.fine_tune(data(rng), epochs=1, base_lr=0.01, verbose=0)
    assert type(model.optimizer).__name__ == "SGD" and model.optimizer.momentum == 0.7


# ---- folders ----


def test_a_folder_needs_no_compile(image_tree, capsys):
    model = network(compiled=False)
    history = model.fine_tune(image_tree(per_class=10), epochs=1, batch_size=4, verbose=2)
    printed = capsys.readouterr().out
    assert "Using 16 files for training." in printed and "Using 4 files for validation." in printed
    assert "val_accuracy" in history.history
    assert type(model.optimizer).__name__ == "Adam"


def test_train_folder_and_given_validation(image_tree, capsys):
    top = image_tree(("train/a", "train/b", "test/a", "test/b"), 4)
    test = keras.utils.image_dataset_from_directory(top / "test", image_size=(8, 8))
    model = network(compiled=False)
    model.fine_tune(str(top), epochs=1, validation_data=test, verbose=2)
    assert "Found 8 files belonging to 2 classes." in capsys.readouterr().out


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "binary_crossentropy"])
def test_labels_go_with_the_loss(image_tree, loss):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3)(image))
    one = loss.startswith("binary")
    x = layers.Dense(1 if one else 2, activation="sigmoid" if one else "softmax")(x)
    model = keras.Model(image, x)
    model.compile("adam", loss)
    history = model.fine_tune(image_tree(per_class=10), epochs=1, verbose=0)
    assert np.isfinite(history.history["val_loss"]).all()


# ---- which layers are the head ----


def test_head_by_name(rng, capsys):
    network(nested=False).fine_tune(data(rng), epochs=1, head="conv_2", verbose=2)
    assert "the head (conv_2, norm_2, head: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"head": "conv_3"}, "no layer with weights of this name. Did you mean 'conv_"),
        ({"head": "conv_1"}, "nothing in front of its head 'conv_1'"),
        ({"epochs": 0}, "`epochs` is a whole number, 1 or more. Received: 0"),
        ({"freeze_epochs": -1}, "`freeze_epochs` is a whole number, 0 or more"),
        ({"base_lr": 0}, "`base_lr` is a number, above 0"),
        ({"base_lr": "fast"}, "`base_lr` is a number, above 0"),
        ({"depth_factor": 0.5}, "`depth_factor` is a number, 1 or more"),
    ],
)
def test_wrong_arguments(rng, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        network().fine_tune(data(rng), **{"epochs": 1, "verbose": 0, **arguments})


def test_a_tuple_of_three_is_refused(rng):
    with pytest.raises(ValueError, match=r"a pair \(x, y\). Received: a tuple of 3; with sample"):
        network().fine_tune((*data(rng), np.ones(12)), epochs=1)


def test_not_compiled(rng, image_tree):
    with pytest.raises(ValueError, match="'net' is not compiled: call compile"):
        network(compiled=False).fine_tune(data(rng), epochs=1)
    image = keras.Input((8, 8, 3))
    linear = keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3)(image))))
    with pytest.raises(ValueError, match="does not end in one softmax layer"):
        linear.fine_tune(image_tree(per_class=5), epochs=1)


def test_folder_without_a_fixed_size(image_tree):
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(image))
    model = keras.Model(image, layers.Dense(2, activation="softmax")(x))
    with pytest.raises(ValueError, match="has no fixed image size"):
        model.fine_tune(image_tree(), epochs=1)


def test_pixels_in_a_wrong_range_are_an_error(image_tree):
    """`fit` only warns, with Keras' numbers."""
    base = keras.applications.EfficientNetLite0(
        include_top=False, input_shape=(32, 32, 3), pooling="avg"
    )
    image = keras.Input((32, 32, 3))
    outputs = layers.Dense(2, activation="softmax")(base(image, training=False))
    model = keras.Model(image, outputs)
    before = model.get_weights()
    with pytest.raises(ValueError, match="(?s)fine_tune wants matching pixels: .*preprocess_input"):
        model.fine_tune(image_tree(per_class=10), epochs=1, verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
