"""tlfast.testing: the tiny backbone, folders of generated images, comparing models."""

import hashlib
import warnings

import numpy as np
import pytest
from PIL import Image

import tlfast
from tlfast import keras, testing
from tlfast.testing import _images

CLASSES = ("disc", "square", "triangle", "cross")
LOSS = "sparse_categorical_crossentropy"
# Users store predictions and train on the images: another network or other pixels change what
# their tests compare with, and are named in CHANGELOG.md.
WEIGHTS_SHA256 = "92f4adf711384b2659f098b5e47ecca56ed24471394d444ec405e5873ae79e15"
PIXELS_SHA256 = "aa82b67cdf982e598b8037a622f28ef7bb74ea98811b8791483eb7d729bac5e7"


def head_on(base, classes=3, name="head"):
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(classes, activation="softmax", name=name)(base(inputs))
    return keras.Model(inputs, outputs)


def images_of(folder):
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(32, 32), batch_size=16, seed=1, verbose=False
    )


def trained(folder, epochs=15):
    keras.utils.set_random_seed(3)
    base = testing.TinyBackbone(input_shape=(32, 32, 3), pooling="avg")
    base.trainable = False
    model = head_on(base)
    model.compile(keras.optimizers.Adam(0.02), LOSS, metrics=["accuracy"])
    model.fit(images_of(folder), epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return testing.image_folder(tmp_path_factory.mktemp("images"), CLASSES[:3], 12)


@pytest.fixture(scope="module")
def model(folder):
    return trained(folder)


@pytest.fixture
def pictures(rng):
    return rng.uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)


# --- the backbone ------------------------------------------------------------------------------


def test_backbone_is_small_and_always_the_same():
    first, second = (testing.TinyBackbone(input_shape=(32, 32, 3)) for _ in range(2))
    assert sum(variable.nbytes for variable in first.weights) <= 50_000
    digest = hashlib.sha256(b"".join(w.tobytes() for w in first.get_weights())).hexdigest()
    assert digest == hashlib.sha256(b"".join(w.tobytes() for w in second.get_weights())).hexdigest()
    assert digest == WEIGHTS_SHA256
    assert first.output_shape == (None, 16, 16, 32)


def test_a_head_learns_colour_and_shape_together(model, tmp_path):
    other = testing.image_folder(tmp_path, CLASSES[:3], 20, seed=1)
    assert model.evaluate(images_of(other), verbose=0)[1] >= 0.95


def test_a_head_learns_shape_alone():
    """White figures on grey: only the shape tells them apart."""

    def pictures(seed, count):
        made = []
        for index in range(len(CLASSES)):
            random = np.random.RandomState((seed, index))
            made += [_images._picture(random, index, np.full(3, 255.0), 32, 32)
                     for _ in range(count)]
        return np.array(made, np.float32), np.repeat(np.arange(len(CLASSES)), count)

    keras.utils.set_random_seed(0)
    base = testing.TinyBackbone(input_shape=(32, 32, 3), pooling="avg")
    base.trainable = False
    model = head_on(base, len(CLASSES))
    model.compile(keras.optimizers.Adam(0.05), LOSS, metrics=["accuracy"])
    model.fit(*pictures(0, 60), epochs=60, verbose=0)
    assert model.evaluate(*pictures(1, 60), verbose=0)[1] >= 0.65  # by chance 0.25


def test_backbone_freezes_and_trains(folder):
    base = testing.TinyBackbone(input_shape=(32, 32, 3), pooling="avg")
    before = base.get_weights()
    base.trainable = False
    model = head_on(base)
    model.compile("adam", LOSS)
    model.fit(images_of(folder), epochs=2, verbose=0)
    for old, new in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    base.trainable = True
    model.compile("adam", LOSS)
    model.fit(images_of(folder), epochs=1, verbose=0)
    moved = {v.path.split("/")[-2] for v, old in zip(base.weights, before, strict=True)
             if not np.array_equal(old, v.numpy())}
    assert moved == {"edges", "parts", "parts_bn"}


def test_backbone_without_weights_trains_a_classifier():
    model = testing.TinyBackbone(include_top=True, weights=None, classes=4)
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 4)
    assert model.layers[-1].name == "predictions"


def test_backbone_reads_its_weights_from_a_file(tmp_path, rng):
    made = testing.TinyBackbone(input_shape=(32, 32, 3))
    made.set_weights([rng.normal(size=w.shape) ** 2 for w in made.get_weights()])
    made.save_weights(tmp_path / "tiny.weights.h5")
    read = testing.TinyBackbone(input_shape=(32, 32, 3), weights=tmp_path / "tiny.weights.h5")
    testing.assert_model_close(read, made, rtol=0, atol=0)


def test_backbone_stands_on_another_tensor():
    inputs = keras.Input((40, 24, 3))
    flipped = keras.layers.RandomFlip()(inputs)
    model = testing.TinyBackbone(input_tensor=flipped, pooling="max")
    assert model.inputs[0] is inputs and model.output_shape == (None, 32)


def test_a_wrong_range_warns_as_for_pretrained_networks(tmp_path, folder):
    base = testing.TinyBackbone(input_shape=(32, 32, 3), pooling="avg")
    head_on(base).save(tmp_path / "model.keras")
    scaled = images_of(folder).map(lambda x, y: (x / 255.0, y))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with pytest.warns(tlfast.InputRangeWarning, match="TinyBackbone, whose weights.*0 to 255"):
        loaded.predict(scaled, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.predict(images_of(folder), verbose=0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weights": "imagenet"}, "'fixed', None .* Received: weights='imagenet'. There is no"),
        ({"weights": "fixd"}, "Did you mean 'fixed'"),
        ({"weights": 3}, "Received: weights=3"),
        ({"include_top": True}, "have no classifier"),
        ({"input_tensor": np.zeros((1, 32, 32, 3))}, "must be symbolic"),
        ({"input_shape": (32, 32, 1)}, "3 channels"),
        ({"input_shape": (7, 32, 3)}, "at least 8x8"),
        ({"pooling": "sum"}, "pooling='sum'"),
    ],
)
def test_backbone_names_what_is_not_allowed(arguments, text):
    with pytest.raises(ValueError, match=text):
        testing.TinyBackbone(**arguments)


def test_a_misspelt_argument_gets_a_suggestion():
    with pytest.raises(TypeError, match="Did you mean 'pooling'"):
        testing.TinyBackbone(poling="avg")


# --- images ------------------------------------------------------------------------------------


def files_of(top):
    return sorted(path.relative_to(top) for path in top.rglob("*") if path.is_file())


def test_image_folder_is_the_same_every_time(tmp_path):
    first = testing.image_folder(tmp_path / "a", ("x", "y"), 3, (24, 40), seed=5)
    second = testing.image_folder(tmp_path / "b", ("x", "y"), 3, (24, 40), seed=5)
    assert [str(name) for name in files_of(first)] == [
        "x/000.jpg", "x/001.png", "x/002.jpg", "y/000.jpg", "y/001.png", "y/002.jpg"]  # fmt: skip
    for name in files_of(first):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        with Image.open(first / name) as image:
            assert image.size == (40, 24) and image.mode == "RGB"
            assert image.format == {".jpg": "JPEG", ".png": "PNG"}[name.suffix]
    with Image.open(first / "x" / "001.png") as image:
        pixels = np.asarray(image)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == PIXELS_SHA256


def test_image_folder_with_another_seed_has_other_images(tmp_path):
    folders = [testing.image_folder(tmp_path / str(seed), ("x",), 2, seed=seed) for seed in (0, 1)]
    contents = {(top / name).read_bytes() for top in folders for name in files_of(top)}
    assert len(contents) == 4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"classes": "cat"}, "list of names"),
        ({"classes": ()}, "one or more different names"),
        ({"classes": ("a", "a")}, "one or more different names"),
        ({"classes": ("a/b",)}, "without '/'.*Received: 'a/b'"),
        ({"classes": (".a",)}, "without a dot"),
        ({"images_per_class": 0}, "images_per_class=0"),
        ({"size": (32, 7)}, "at least 8"),
        ({"size": (32, 32, 3)}, r"size=\(32, 32, 3\)"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_image_folder_names_what_is_not_allowed(tmp_path, arguments, text):
    with pytest.raises(ValueError, match=text):
        testing.image_folder(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_image_folder_writes_beside_nothing_old(tmp_path):
    testing.image_folder(tmp_path, ("x",), 1)
    with pytest.raises(FileExistsError, match="new folders only"):
        testing.image_folder(tmp_path, ("new", "x"), 1)
    assert not (tmp_path / "new").exists()


# --- comparing ---------------------------------------------------------------------------------


def difference(actual, desired, **arguments):
    with pytest.raises(AssertionError) as failed:
        testing.assert_model_close(actual, desired, **arguments)
    return str(failed.value)


def test_equal_models_are_close(model, folder, tmp_path, pictures):
    testing.assert_model_close(model, trained(folder), inputs=pictures)
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        testing.assert_model_close(model, tmp_path / name, rtol=0, atol=0, inputs=pictures)
    model.save_weights(tmp_path / "model.weights.h5")
    testing.assert_model_close(model, tmp_path / "model.weights.h5", rtol=0, atol=0)
    testing.assert_model_close(model, model.get_weights(), rtol=0, atol=0)
    testing.assert_model_close(model, model.predict(pictures, verbose=0), inputs=pictures)


def test_the_message_names_the_layer_and_says_how_much(model, pictures):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    kernel, bias = other.get_layer("head").get_weights()
    kernel[3, 1] += 0.5
    other.get_layer("head").set_weights([kernel, bias])
    text = difference(other, model, inputs=pictures)
    head, weight, predictions = text.splitlines()
    assert head == f"model '{other.name}' differs (rtol=0.0001, atol=1e-05):"
    assert weight.startswith("  head (Dense) kernel: 1 of 96 values differ, most at [3, 1]: ")
    assert weight.endswith(", off by 0.5")
    assert predictions.startswith("  predictions: ") and "of 15 values differ" in predictions
    assert "  head (Dense) kernel: 1 of 96" in difference(other, model.get_weights())
    wanted = model.predict(pictures, verbose=0)
    assert difference(other, wanted, inputs=pictures).count("\n") == 1
    testing.assert_model_close(other, model, atol=0.51)
    testing.assert_model_close(other, model, rtol=np.inf)


def test_a_layer_inside_a_model_is_named_by_its_path(model):
    other = keras.models.clone_model(model)
    other.set_weights([w * (0.5 if i == 2 else 1) for i, w in enumerate(model.get_weights())])
    assert "  tinybackbone/parts (Conv2D) kernel: " in difference(other, model)


def test_missing_renamed_and_other_layers():
    def build(*names, units=4):
        layers = [keras.layers.Dense(units, name=name) for name in names]
        return keras.Sequential([keras.Input((3,)), *layers])

    assert "  b (Dense): not in the desired model" in difference(build("a", "b"), build("a"))
    assert "  b (Dense): missing" in difference(build("a"), build("a", "b"))
    assert "  b (Dense): instead of c (Dense)" in difference(build("a", "b"), build("a", "c"))
    text = difference(build("a"), build("a", units=5))
    assert "  output shape: (None, 4) instead of (None, 5)" in text
    assert "  a (Dense) kernel: shape (3, 4) instead of (3, 5)" in text
    without = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, use_bias=False, name="a")])
    assert "weights ['kernel'] instead of ['kernel', 'bias']" in difference(without, build("a"))
    assert "1 weights instead of 2" in difference(without, build("a").get_weights())


def test_automatic_names_count_by_class():
    def build(layer):
        return keras.Sequential([keras.Input((4,)), layer])

    first, second = build(keras.layers.Dense(4)), build(keras.layers.Dense(4))
    second.set_weights(first.get_weights())
    assert first.layers[0].name != second.layers[0].name
    testing.assert_model_close(first, second, rtol=0, atol=0)
    assert "(Activation)" in difference(build(keras.layers.Activation("relu")), first)


def test_class_names_are_part_of_a_model(model):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    testing.assert_model_close(other, model)
    other.class_names = list(reversed(model.class_names))
    assert "  class names: ['triangle', 'square', 'disc'] instead of" in difference(other, model)


def test_nan_is_close_to_nan_only():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="a")])
    kernel, bias = model.get_weights()
    broken = [np.where(np.eye(2, dtype=bool), np.nan, kernel), bias]
    assert "2 of 4 values differ" in difference(model, broken)
    model.set_weights(broken)
    testing.assert_model_close(model, broken)
    assert "2 of 4 values differ" in difference(model, [kernel, bias])


def test_outputs_are_named():
    inputs = keras.Input((3,))
    two = keras.Model(inputs, [keras.layers.Dense(2, name=name)(inputs) for name in "ab"])
    x = np.ones((4, 3), np.float32)
    first, second = two.predict(x, verbose=0)
    testing.assert_model_close(two, [first, second], inputs=x)
    assert "  predictions 1: 8 of 8" in difference(two, [first, second + 1], inputs=x)
    assert "outputs ['0', '1'] instead of ['']" in difference(two, first, inputs=x)


def test_what_cannot_be_compared_is_said(model):
    with pytest.raises(ValueError, match="`actual` is a model. Received: int"):
        testing.assert_model_close(3, model)
    with pytest.raises(ValueError, match="predictions need the `inputs`.*ndarray without inputs"):
        testing.assert_model_close(model, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="rtol=-1"):
        testing.assert_model_close(model, model, rtol=-1)
    with pytest.raises(ValueError, match="not built"):
        testing.assert_model_close(model, keras.Sequential([keras.layers.Dense(2)]))
