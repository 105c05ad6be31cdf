"""The input-range guard: its decision on generated pictures, and what fit and predict say."""

import copy
import importlib.util
import itertools
import pathlib
import warnings

import h5py
import numpy as np
import pictures
import pytest
from PIL import Image

import tlfast
from tlfast import InputRangeWarning, _backbones, applications, keras, saving
from tlfast._backbones import Stem, stems
from tlfast._input_range import judge, measure, sample
from tlfast._input_watch import _for_its_weights
from tlfast.applications import _registry
from tlfast.applications._scales import SCALES

SEVEN = (
    "VGG16", "ResNet50", "InceptionV3", "Xception", "DenseNet121", "MobileNetV2", "EfficientNetB0",
)  # fmt: skip
SIZE = 32


def scaled(pixels: np.ndarray, kind: str) -> np.ndarray:
    scale = SCALES[kind]
    values = pixels[..., ::-1] if scale.bgr else pixels
    return ((values - np.asarray(scale.mean)) / scale.std).astype(np.float32)


def verdict_on(pixels: np.ndarray, kind: str, expected: str):
    return judge(measure(sample(scaled(pixels, kind))), expected)


# ---- the decision --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SEVEN, "EfficientNetLite0"])
@pytest.mark.parametrize("kind", pictures.KINDS)
def test_every_range_at_every_backbone(name, kind, rng):
    """Of 8 pictures no range is undecidable, but Lite's and -1..1, which differ by 1/128."""
    record = _registry.lookup(name)
    by_keras = Stem(name, record.preprocessing, True)
    in_model = Stem(name, "none", True)  # include_preprocessing=True, or the network's own layers
    for _ in range(2):
        pixels = pictures.KINDS[kind](rng, 8)
        found = {arrives: measure(sample(scaled(pixels, arrives))) for arrives in SCALES}
        for stem, arrives in itertools.product((by_keras, in_model), SCALES):
            verdict = judge(found[arrives], stem.expects)
            if arrives == stem.expects or {arrives, stem.expects} == {"lite", "tf"}:
                assert verdict.right, (arrives, stem)
                continue
            assert not verdict.right, (arrives, stem)
            assert verdict.arrives == {"lite": "tf"}.get(arrives, arrives), (arrives, stem)
            text = _for_its_weights(stem, "values", verdict.arrives)
            module = f"tlfast.applications.{record.module}.preprocess_input(x)"
            assert (module in text) == (stem.expects != "none")
            assert ("tlfast.layers.Rescaling(" in text) == (stem.expects == "none")


def test_real_cells():
    """Photographs of solar cells: grey, no white, often nothing black."""
    package = importlib.util.find_spec("elpv_dataset").submodule_search_locations[0]
    files = sorted(pathlib.Path(package, "data", "images").glob("*.png"))
    for start in range(0, 200, 40):
        chosen = [Image.open(file).resize((96, 96)) for file in files[start::200]]
        pixels = np.stack([np.asarray(image.convert("RGB")) for image in chosen])
        for arrives, expected in itertools.product(
            ("none", "unit", "tf", "torch", "caffe"), SCALES
        ):
            verdict = verdict_on(pixels, arrives, expected)
            assert verdict.right == (arrives == {"lite": "tf"}.get(expected, expected))
            assert verdict.right or verdict.arrives == arrives


# What no look at the values can decide, with the reason; none of them warns.
UNDECIDABLE = {
    "two pictures in 0..1 at -1..1": (
        # could be two bright pictures: only a range filled from end to end counts below 4
        lambda rng: scaled(pictures.grey_cells(rng, 2), "unit"), "tf",
    ),
    "black pictures": (lambda rng: np.zeros((8, 9, 9, 3), np.float32), "torch"),
    "almost black pictures": (  # whole numbers in a small range: nothing was divided
        lambda rng: rng.integers(0, 3, (8, 40, 40, 3)).astype(np.float32), "none",
    ),
    "blank paper in 0..1 at -1..1": (
        lambda rng: scaled(rng.integers(225, 250, (8, 40, 40, 3)), "unit"), "tf",
    ),
    "means taken away without turning RGB into BGR": (
        lambda rng: scaled(pictures.photographs(rng, 8)[..., ::-1], "caffe"), "caffe",
    ),
    "pixels / 255 - 0.5 at -1..1": (  # pictures of little contrast look like this
        lambda rng: pictures.photographs(rng, 8).astype(np.float32) / 255 - 0.5, "tf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDECIDABLE)
def test_what_cannot_be_decided_is_right(case, rng):
    make, expected = UNDECIDABLE[case]
    assert judge(measure(sample(make(rng))), expected).right


@pytest.mark.parametrize(
    ("once", "twice"), [("unit", "tf"), ("unit", "unit"), ("tf", "tf"), ("torch", "caffe")]
)
def test_pictures_scaled_twice(once, twice, rng):
    values = scaled(scaled(pictures.photographs(rng, 8), once), twice)
    for name in SEVEN:
        assert not judge(measure(sample(values)), _registry.lookup(name).preprocessing).right


def test_other_wrong_ranges_have_no_name(rng):
    pixels = pictures.photographs(rng, 8).astype(np.float64)
    standard = (pixels - pixels.mean((1, 2, 3), keepdims=True)) / pixels.std()
    for values in (pixels * 257, standard * 3, -pixels):
        verdict = judge(measure(sample(values)), "tf")
        assert not verdict.right and verdict.arrives is None


def test_overshoot_of_a_bicubic_resize_is_right(rng):
    pixels = np.clip(pictures.scans(rng, 8).astype(np.float64) * 1.25 - 30, -25, 280)
    for expected in ("none", "tf", "torch", "caffe", "lite"):
        assert verdict_on(pixels, expected, expected).right


def test_low_contrast_and_single_pictures_in_the_right_range_are_right(rng):
    for _ in range(5):
        for make in pictures.KINDS.values():
            one = make(rng, 1, 48)
            pale = 0.3 * one + rng.uniform(0, 178)
            for expected in ("none", "tf", "torch", "caffe", "lite"):
                assert verdict_on(one, expected, expected).right
                assert verdict_on(pale, expected, expected).right


# ---- fit, evaluate and predict -------------------------------------------------------------------


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    """Weights of a small MobileNetV2 as another library would give them: without a record."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    small(None).save_weights(path)
    with h5py.File(path, "a") as file:
        del file.attrs["tlfast"]
    return path


def small(weights, **arguments):
    options = {"input_shape": (SIZE, SIZE, 3), **arguments}
    return applications.MobileNetV2(include_top=False, alpha=0.35, weights=weights, **options)


def compiled(inputs, x):
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x), name="mine")
    model.compile("adam", loss="sparse_categorical_crossentropy")
    return model


def nested(base, prepare=lambda x: x):
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    return compiled(inputs, base(prepare(inputs)))


@pytest.fixture
def photographs(rng):
    return pictures.photographs(rng, 24, SIZE).astype(np.float32)


LABELS = np.arange(24) % 2
LINE = r"x = tlfast.applications.mobilenet_v2.preprocess_input\(x\)"


def fit(model, x, **arguments):
    return model.fit(x, LABELS, batch_size=8, verbose=0, **arguments)


def test_raw_pixels_give_one_warning(weight_file, photographs):
    model = nested(small(weight_file))
    with pytest.warns(InputRangeWarning) as seen:
        fit(model, photographs, epochs=2, validation_data=(photographs, LABELS))
        fit(model, photographs)
        model.evaluate(photographs, LABELS, verbose=0)
        model.predict(photographs, verbose=0)
        model.train_on_batch(photographs, LABELS)
    assert len(seen) == 1 and seen[0].filename == __file__
    text = str(seen[0].message)
    assert text.startswith(
        "model 'mine': values from 0 to 255 arrive at MobileNetV2, whose weights"
    )
    assert "made for pixels scaled to -1 to 1" in text and "preprocess_input(x)\n" in text
    assert "include_preprocessing=True" in text


@pytest.mark.parametrize("call", ["evaluate", "predict", "train_on_batch", "predict_on_batch"])
def test_every_call_looks(weight_file, photographs, call):
    model = nested(small(weight_file))
    labels = (LABELS,) if call in ("evaluate", "train_on_batch") else ()
    with pytest.warns(InputRangeWarning, match=LINE) as seen:
        getattr(model, call)(photographs, *labels)
    assert len(seen) == 1 and seen[0].filename == __file__


def preprocess(x):
    return applications.mobilenet_v2.preprocess_input(x)


def rescaled(x):
    return keras.layers.Rescaling(1 / 127.5, offset=-1)(x)


def augmented(x):
    return rescaled(keras.layers.RandomFlip("horizontal")(x))


@pytest.mark.parametrize("prepare", [preprocess, rescaled, augmented])
def test_preparation_inside_the_model_counts(weight_file, photographs, prepare):
    fit(nested(small(weight_file), prepare), photographs)
    with pytest.warns(InputRangeWarning, match=r"values from -1 to -0.99.* take away the scaling"):
        fit(nested(small(weight_file), prepare), photographs / 255)


def test_preparation_of_the_data_counts(weight_file, photographs, image_tree):
    folder = image_tree(per_class=8, size=(SIZE, SIZE))
    options = {"image_size": (SIZE, SIZE), "batch_size": 4, "verbose": False}
    data = keras.utils.image_dataset_from_directory(folder, **options)
    model = nested(small(weight_file))
    model.fit(data.map(lambda x, y: (preprocess(x), y)), verbose=0)
    generator = keras.preprocessing.image.ImageDataGenerator(preprocessing_function=preprocess)
    options = {"target_size": (SIZE, SIZE), "class_mode": "sparse"}
    model.fit(generator.flow_from_directory(folder, **options), verbose=0)
    model = nested(small(weight_file))
    with pytest.warns(InputRangeWarning, match=LINE):
        model.fit(data, verbose=0)


def flat(weights):
    base = small(weights)
    base.trainable = False
    return compiled(base.input, base.output)


def sequential(weights):
    base = small(weights)
    base.trainable = False
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential([base, *head])
    model.compile("adam", loss="sparse_categorical_crossentropy")
    return model


def on_a_tensor(weights):
    inputs = keras.Input((SIZE, SIZE, 3))
    flipped = keras.layers.RandomFlip()(inputs)
    base = small(weights, input_tensor=flipped, input_shape=None)
    base.trainable = False
    return compiled(inputs, base.output)


@pytest.mark.parametrize("build", [flat, sequential, on_a_tensor])
def test_every_way_to_build_on_a_base(weight_file, photographs, build):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There are no MobileNetV2 weights")
        model, right = build(weight_file), build(weight_file)
        fresh = build(None)
    fit(right, preprocess(photographs))
    fit(fresh, photographs)
    with pytest.warns(
        InputRangeWarning, match=r"0 to 1 \(pixels divided by 255.*take away"
    ) as seen:
        fit(model, photographs / 255)
    assert len(seen) == 1


def test_weights_that_learn_the_range_are_not_judged(weight_file, photographs):
    fit(nested(small(None)), photographs)
    inputs = keras.Input((SIZE, SIZE, 3))
    learned = keras.layers.Conv2D(3, 1)(inputs)
    base = small(weight_file)
    base.trainable = False
    fit(compiled(inputs, base(learned)), photographs)


def test_only_the_first_batches_are_looked_at(weight_file, photographs, monkeypatch):
    counted = []
    monkeypatch.setattr(tlfast._input_watch, "measure", lambda x: counted.append(1) or measure(x))
    x = preprocess(np.concatenate([photographs] * 3))
    model = nested(small(weight_file))
    data = (x, np.concatenate([LABELS] * 3))
    model.fit(*data, batch_size=8, epochs=3, verbose=0, cache_features=False)
    assert len(counted) == 3
    model.fit(*data, batch_size=8, epochs=2, verbose=0, cache_features=True)
    assert len(counted) == 6
    model.fit(*data, batch_size=8, epochs=2, verbose=0)  # its features were kept
    assert len(counted) == 6
    model.predict(x[:10], batch_size=1, verbose=0)
    assert len(counted) == 14


# ---- what is remembered --------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_saved_model_knows_its_weights_and_its_training(
    weight_file, photographs, tmp_path, ending
):
    path = tmp_path / f"model{ending}"
    nested(small(weight_file)).save(path)
    model = saving.load_model(path)
    with pytest.warns(InputRangeWarning, match=LINE):
        fit(model, photographs)
    model.save(path)
    model = saving.load_model(path)
    (stem,) = stems(model).values()
    assert stem == Stem("MobileNetV2", "tf", True, "none")
    model.predict(photographs, verbose=0)  # as in fit
    with pytest.warns(InputRangeWarning, match="was trained on pixels 0 to 255. Prepare these"):
        model.predict(preprocess(photographs), verbose=0)
    with pytest.warns(InputRangeWarning, match=LINE):
        fit(model, photographs)
    fit(model, preprocess(photographs))
    assert stem.trained_on == "tf"


def test_weights_loaded_later_and_a_training_from_scratch(weight_file, photographs, tmp_path):
    base = small(None)
    model = nested(base)
    fit(model, photographs)
    model.save_weights(tmp_path / "own.weights.h5")
    model.load_weights(tmp_path / "own.weights.h5")  # its own, from a training on raw pixels
    model.predict(photographs, verbose=0)
    base.load_weights(weight_file)
    with pytest.warns(InputRangeWarning, match=LINE):
        model.predict(photographs, verbose=0)


def test_copies(weight_file):
    model = nested(small(weight_file))
    assert stems(copy.deepcopy(model)) == stems(model)
    assert stems(keras.models.clone_model(model.get_layer(index=1))) == {}  # it has new weights


@pytest.mark.parametrize(
    "found",
    [5, {"a": 5}, {"a": {"application": "VGG16"}},
     {"a": {"application": [], "expects": "tf", "pretrained": True, "trained_on": None}},
     {"a": {"application": "VGG16", "expects": "tf", "pretrained": 1, "trained_on": None}}],
)  # fmt: skip
def test_a_damaged_record_is_named(found):
    with pytest.raises(ValueError, match="'backbones'"):
        _backbones.from_record(found)


def test_a_network_of_a_later_version_is_left_out():
    entry = {"application": "Later", "expects": "tf", "pretrained": True, "trained_on": None}
    assert _backbones.from_record({"conv": entry}) == {}


# ---- include_preprocessing -----------------------------------------------------------------------

FAMILIES = ("VGG16", "ResNet50", "InceptionV3", "Xception", "DenseNet121", "MobileNetV2",
            "EfficientNetLite0")  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_include_preprocessing_makes_the_numbers_of_preprocess_input(name, rng):
    build, record = getattr(applications, name), _registry.lookup(name)
    options = {"include_top": False, "weights": None, "input_shape": (75, 75, 3)}
    plain = build(**options)
    model = build(**options, include_preprocessing=True)
    assert model.count_params() == plain.count_params()
    assert [w.shape for w in model.weights] == [w.shape for w in plain.weights]
    added = len(model.layers) - len(plain.layers)
    assert added == (5 if record.preprocessing == "caffe" else 1)
    for one, other in zip(model.layers[1 + added :], plain.layers[1:], strict=True):
        assert type(one) is type(other) and one.output.shape == other.output.shape
    front = keras.Model(model.input, model.layers[1 + added].input)
    pixels = pictures.photographs(rng, 2, 75).astype(np.float32)
    want = getattr(applications, record.module).preprocess_input(pixels)
    got = front.predict(pixels, verbose=0)
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-7 * np.abs(want).max())
    (stem,) = {id(s): s for s in stems(model).values()}.values()
    assert stem == Stem(name, "none", False)


def test_include_preprocessing_at_fit(weight_file, photographs):
    fit(nested(small(weight_file, include_preprocessing=True)), photographs)
    model = nested(small(weight_file, include_preprocessing=True))
    with pytest.warns(InputRangeWarning, match=r"Rescaling\(127.5, offset=127.5\)\(x\)"):
        fit(model, preprocess(photographs))


def front(name):
    """The layers that include_preprocessing=True puts in front of a network."""
    options = {"include_top": False, "weights": None, "include_preprocessing": True}
    model = getattr(applications, name)(input_tensor=keras.Input((None, None, 3)), **options)
    last = keras.layers.Concatenate if name == "VGG16" else keras.layers.Rescaling
    (layer,) = [layer for layer in model.layers[:6] if isinstance(layer, last)]
    return keras.Model(model.input, layer.output)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_include_preprocessing_travels_in_files(tmp_path, rng, ending):
    model = front("VGG16")
    model.save(tmp_path / f"m{ending}")
    pixels = pictures.photographs(rng, 2, 32)
    loaded = saving.load_model(tmp_path / f"m{ending}")
    assert np.array_equal(loaded.predict(pixels, verbose=0), model.predict(pixels, verbose=0))
    assert list(stems(loaded).values()) == [Stem("VGG16", "none", False)]


def test_wrong_values_of_include_preprocessing():
    with pytest.raises(ValueError, match="EfficientNetB0 always scales pixels itself"):
        applications.EfficientNetB0(weights=None, include_preprocessing=False)
    with pytest.raises(ValueError, match="True or False. Received: include_preprocessing='yes'"):
        applications.VGG16(weights=None, include_preprocessing="yes")
    with pytest.raises(ValueError, match="needs RGB pictures"):
        applications.VGG16(
            weights=None, include_top=False, input_shape=(32, 32, 1), include_preprocessing=True
        )


@pytest.mark.peer("keras")
def test_keras_opens_the_layers_of_include_preprocessing(tmp_path, rng, run_peer):
    pixels = pictures.photographs(rng, 2, 40).astype(np.float32)
    np.save(tmp_path / "x.npy", pixels)
    want = {}
    for name in ("VGG16", "DenseNet121", "MobileNetV2", "EfficientNetLite0"):
        model = front(name)
        want[name] = model.predict(pixels, verbose=0)
        for ending in (".keras", ".h5"):
            model.save(tmp_path / f"{name}{ending}")
    run_peer(
        "keras",
        "import keras, numpy as np, pathlib\n"
        f"folder = pathlib.Path(r'{tmp_path}')\n"
        "x = np.load(folder / 'x.npy')\n"
        "for path in [*folder.glob('*.keras'), *folder.glob('*.h5')]:\n"
        "    model = keras.models.load_model(path)\n"
        "    np.save(f'{path}.npy', model.predict(x, verbose=0))\n"
        "    model.save(path.with_name('back' + path.name))\n",
    )
    for name, ending in itertools.product(want, (".keras", ".h5")):
        got = np.load(tmp_path / f"{name}{ending}.npy")
        limit = 3e-7 * np.abs(want[name]).max()
        np.testing.assert_allclose(got, want[name], rtol=0, atol=limit)
        back = saving.load_model(tmp_path / f"back{name}{ending}")
        assert np.array_equal(back.predict(pixels, verbose=0), want[name])
