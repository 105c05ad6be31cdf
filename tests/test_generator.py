"""ImageDataGenerator: files, order, flips and pixels against Keras; fit order; errors."""

import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfast._core import DecodeError
from tlfast._warnings import DataWarning
from tlfast.data._random import _GlobalSeed
from tlfast.data._source import IndexedSource, StreamSource, adapt
from tlfast.preprocessing.image import DirectoryIterator, ImageDataGenerator
from tlfast.utils import PyDataset

REFERENCE = Path(__file__).parent / "reference"
SIZE = (12, 10)


@pytest.fixture(autouse=True)
def keep_global_state(monkeypatch):
    monkeypatch.setattr(_GlobalSeed, "seed", None)
    monkeypatch.setattr(_GlobalSeed, "stream", None)
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


@pytest.fixture(scope="module")
def expected():
    return json.loads((REFERENCE / "directory_order.json").read_text())


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    with np.load(REFERENCE / "directory_files.npz") as files:
        for name in files.files:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name].tobytes())
    return str(root)


@pytest.fixture
def no_pixels(monkeypatch):
    """Iterators that give sample numbers in place of images: order without decoding."""
    def images(self, drawn):
        for ids, transforms in drawn:
            assert len(ids) == len(transforms)
            yield np.asarray(ids), np.asarray(ids), []

    monkeypatch.setattr(DirectoryIterator, "images", images)


def flow(tree, options=None, **arguments):
    return ImageDataGenerator(**(options or {})).flow_from_directory(
        tree, target_size=SIZE, **arguments)


CASES = ("plain", "sorted", "training", "validation", "two")


@pytest.mark.parametrize("case", CASES)
def test_files_order_and_labels_are_those_of_keras(case, expected, tree, no_pixels):
    assert set(CASES) == set(expected["generator"])
    want = expected["generator"][case]
    it = flow(tree, want["options"], **want["arguments"])
    assert it.filenames == want["filenames"]
    assert it.filepaths == [os.path.join(tree, name) for name in want["filenames"]]
    assert it.classes.dtype == np.int32 and it.classes.tolist() == want["classes"]
    assert it.class_indices == want["class_indices"]
    assert (it.samples, it.n, len(it)) == (want["samples"], want["samples"], want["length"])
    for reference in want["batches"]:
        batch = next(it)
        ids, labels = batch if isinstance(batch, tuple) else (batch, None)
        assert [it.filenames[i] for i in ids] == reference["files"]
        if labels is not None:
            assert labels.dtype == np.float32
        assert (None if labels is None else labels.tolist()) == reference["labels"]
    for number, files in zip((1, 0), want["items"], strict=True):
        batch = it[number]
        ids = batch[0] if isinstance(batch, tuple) else batch
        assert [it.filenames[i] for i in ids] == files


def test_fit_evaluate_and_predict_see_the_batches_of_keras(expected, tree):
    want = expected["generator_fit"]
    random.seed(11)
    train = flow(tree, batch_size=6, seed=3)
    test = flow(tree, batch_size=9, seed=4)

    def epoch(source, training):
        return [[train.filenames[i] for i in ids] for ids in source.order(0, training)]

    source, held_out, seen = adapt(train), adapt(test, purpose="evaluate"), []
    for _ in range(3):
        seen += epoch(source, True) + epoch(held_out, False)
    assert seen == want["fit"]
    assert epoch(adapt(train, shuffle=False), True) == want["fit_again"]
    assert epoch(adapt(test, purpose="evaluate"), False) == want["evaluate"]
    assert epoch(adapt(test, purpose="predict"), False) == want["predict"]


def test_sources_are_indexed_only_where_pixels_follow_from_the_file(tree):
    def source(options=None, **arguments):
        return adapt(flow(tree, options, **arguments))

    plain = source()
    assert isinstance(plain, IndexedSource)
    assert isinstance(source(dict(rescale=1 / 255)), IndexedSource)
    assert plain.identity == source(seed=4).identity
    assert plain.identity != source(dict(rescale=1 / 255)).identity
    assert plain.identity != source(interpolation="bilinear").identity
    assert plain.class_names == ["Dog", "cat", "hot dog"]
    assert (plain.num_samples, plain.num_batches, plain.batch_size) == (40, 2, 32)
    assert plain.element_shapes == [(12, 10, 3)]
    for options, arguments in (
        (dict(horizontal_flip=True), {}), (dict(preprocessing_function=lambda x: x), {}),
        ({}, dict(class_mode="input")), ({}, dict(save_to_dir="."))):
        assert isinstance(source(options, **arguments), StreamSource)


def test_class_weight_and_steps(tree):
    source = adapt(flow(tree, batch_size=8), class_weight={1: 2.0}, steps=3)
    assert source.num_batches == 3 and len(source.order(0, True)) == 3
    ids = np.arange(40)
    numbers = source.targets(ids)[0].argmax(1)
    assert source.weights(ids).tolist() == np.where(numbers == 1, 2.0, 1.0).tolist()


def test_subclasses_that_load_in_their_own_way_are_read_batch_by_batch(tree):
    class Own(DirectoryIterator):
        def __getitem__(self, index):
            return np.full((2, 1), index), np.zeros(2)

    own = Own(tree, ImageDataGenerator(), target_size=SIZE, batch_size=20)
    assert isinstance(own, PyDataset)
    source = adapt(own, shuffle=False)
    assert [int(x[0, 0]) for (x,), _, _ in source.batches(0, True)] == [0, 1]


def test_flow_from_arrays_is_that_of_keras():
    x = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3)).astype(np.float32)
    it = ImageDataGenerator(horizontal_flip=True).flow(x, np.arange(6), batch_size=4, seed=2)
    batches = [next(it) for _ in range(3)]
    with np.load(REFERENCE / "directory_pixels.npz") as reference:
        np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), reference["flow_x"])
        np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), reference["flow_y"])


def test_flow_subsets_weights_and_further_inputs():
    x, y, w = np.arange(10.0)[:, None, None, None], np.arange(10) % 2, np.linspace(0, 1, 10)
    generator = ImageDataGenerator(validation_split=0.4)
    it = generator.flow(x, y, sample_weight=w, shuffle=False, subset="validation")
    images, labels, weights = next(it)
    assert images.ravel().tolist() == [0, 1, 2, 3] and weights.tolist() == w[:4].tolist()
    it = generator.flow((x, y * 3), y, shuffle=False, subset="training")
    (images, other), labels = it.next()
    assert images.ravel().tolist() == list(range(4, 10)) and other.tolist() == (y * 3)[4:].tolist()
    with pytest.raises(ValueError, match="different classes after the split"):
        generator.flow(x, np.arange(10), subset="training")
    assert next(ImageDataGenerator().flow(x)).shape == (10, 1, 1, 1)


def test_flow_source_is_indexed():
    x = np.arange(20.0).reshape(5, 2, 2, 1)
    it = ImageDataGenerator(rescale=0.5).flow(x, np.arange(5), batch_size=2, shuffle=False)
    source = adapt(it, shuffle=False)
    order = source.order(0, True)
    got = list(source.pixels(order))
    np.testing.assert_array_equal(np.concatenate([p[0][0] for p in got]), x / 2)
    assert source.targets(order[2])[0].tolist() == [4]
    np.testing.assert_array_equal(it.x, x)  # rescaled copies, not the array itself


def test_preprocessing_comes_before_rescale_and_leaves_the_input_alone():
    x = np.full((1, 2, 2, 3), 10.0, np.float32)
    seen = []

    def add(image):
        seen.append(image.shape)
        image += 1
        return image

    it = ImageDataGenerator(preprocessing_function=add, rescale=2.0).flow(x)
    np.testing.assert_array_equal(next(it), np.full((1, 2, 2, 3), 22.0))
    assert seen == [(2, 2, 3)] and x.max() == 10


def test_random_transform_draws_both_flips_always():
    plain, both = ImageDataGenerator(), ImageDataGenerator(horizontal_flip=True, vertical_flip=True)
    np.random.seed(0)
    plain.get_random_transform((4, 4, 3))
    after = np.random.rand()
    np.random.seed(0)
    np.random.rand(2)
    assert np.random.rand() == after
    x = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(
        both.apply_transform(x, {"flip_horizontal": True, "flip_vertical": True}), x[::-1, ::-1])
    with pytest.raises(ValueError, match="no parameter 'angle'"):
        both.apply_transform(x, {"angle": 3.0})
    assert both.random_transform(x, seed=1).shape == x.shape


def test_reset_and_index_errors(tree, no_pixels):
    it = flow(tree, batch_size=30, shuffle=False)
    assert len(next(it)[0]) == 30
    it.reset()
    assert it.batch_index == 0 and len(next(it)[0]) == 30 and len(next(it)[0]) == 10
    with pytest.raises(ValueError, match="element 2, but the iterator has 2 batches"):
        it[2]
    assert it.total_batches_seen == 3 and it.labels is it.classes


def test_prints_what_keras_prints(tree, capsys):
    flow(tree)
    assert capsys.readouterr().out == "Found 40 images belonging to 3 classes.\n"


ERRORS = [
    (dict(class_mode="binary"), ValueError, "exactly two classes.*has 3"),
    (dict(class_mode="catagorical"), ValueError, "Did you mean 'categorical'"),
    (dict(classes=["dog"]), ValueError, "classes=.*'dog'.*Did you mean 'Dog'"),
    (dict(subset="validation"), ValueError, r"needs ImageDataGenerator\(validation_split"),
    (dict(subset="test"), ValueError, "subset must be one of"),
    (dict(color_mode="grey"), ValueError, "color_mode must be one of"),
    (dict(interpolation="area"), ValueError, "interpolation must be one of"),
    (dict(batch_size=0), ValueError, "batch_size must be at least 1"),
    (dict(bacth_size=4), TypeError, "no argument 'bacth_size'. Did you mean 'batch_size'"),
]


@pytest.mark.parametrize(("arguments", "kind", "text"), ERRORS)
def test_flow_errors(tree, arguments, kind, text):
    with pytest.raises(kind, match=text):
        ImageDataGenerator().flow_from_directory(tree, **arguments)


def test_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ImageDataGenerator().flow_from_directory(tmp_path / "no")
    with pytest.raises(ValueError, match="No images found"):
        ImageDataGenerator().flow_from_directory(tmp_path)


def some_function(x):
    return x


@pytest.mark.parametrize(("make", "kind", "text"), [
    (lambda: ImageDataGenerator(some_function), TypeError,
     r"write ImageDataGenerator\(preprocessing_function=some_function\)"),
    (lambda: ImageDataGenerator(zoom_range=(0.9, 1.0, 1.1)), ValueError, "zoom_range.*a pair"),
    (lambda: ImageDataGenerator(interpolation_order=3), NotImplementedError, "interpolation_ord"),
    (lambda: ImageDataGenerator(fill_mode="reflct"), ValueError, "Did you mean 'reflect'"),
    (lambda: ImageDataGenerator(featurewise_center=True), NotImplementedError, "featurewise_cent"),
    (lambda: ImageDataGenerator(brightness_range=0.5), ValueError, "brightness_range.*a pair"),
    (lambda: ImageDataGenerator(validation_split=2), ValueError, "strictly between 0 and 1"),
    (lambda: ImageDataGenerator(preprocessing_function="x"), TypeError, "must be a function"),
    (lambda: ImageDataGenerator(reskale=1), TypeError, "Did you mean 'rescale'"),
    (lambda: ImageDataGenerator(data_format="channels_first"), NotImplementedError, "channels_la"),
    (lambda: ImageDataGenerator().flow(np.zeros((2, 3, 3))), ValueError, r"x\[None\]"),
    (lambda: ImageDataGenerator().flow(np.zeros((2, 3, 3, 3)), [1]), ValueError, "same length"),
    (lambda: ImageDataGenerator().fit(np.zeros(3)), ValueError, "rank 4"),
    (lambda: ImageDataGenerator().flow_from_dataframe(None), NotImplementedError, "flow_from_dir"),
])
def test_generator_errors(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


def test_arguments_switched_off_are_accepted():
    made = ImageDataGenerator(
        rotation_range=0, zoom_range=[1, 1], brightness_range=None, fill_mode="reflect")
    assert made.rotation_range == 0 and made.fill_mode == "reflect"
    assert re.match("[0-9a-f]{64}", made.identity())


# Pixels

PIXEL_CASES = {
    "nearest": ({}, {}), "bilinear": ({}, dict(interpolation="bilinear")),
    "keep": ({}, dict(interpolation="bicubic", keep_aspect_ratio=True)),
    "gray": ({}, dict(color_mode="grayscale")), "rgba": ({}, dict(color_mode="rgba")),
    "rescale": (dict(rescale=1 / 255), {}),
    "flips": (dict(horizontal_flip=True, vertical_flip=True), {}),
}


@pytest.mark.parametrize("name", PIXEL_CASES)
def test_pixels_are_those_of_keras(name, tree):
    options, arguments = PIXEL_CASES[name]
    it = flow(tree, options, batch_size=8, seed=8, **arguments)
    with np.load(REFERENCE / "directory_pixels.npz") as reference:
        want = reference[f"generator_{name}"]
    images, _ = next(it)
    assert images.dtype == np.float32 and images.shape == want.shape
    files = [it.filenames[i] for i in it.index_array[:8]]
    png = [i for i, file in enumerate(files) if file.endswith("png")]
    difference = np.abs(images - want) * (255 if name == "rescale" else 1)
    assert difference[png].max() < 1e-3
    assert (difference <= 1).mean() >= 0.999 and difference.max() <= 4


def test_streamed_and_indexed_epochs_give_the_same_pixels(tree):
    plain = adapt(flow(tree, batch_size=16, seed=1), shuffle=False)
    order = plain.order(0, True)
    streamed = adapt(flow(tree, dict(preprocessing_function=lambda x: x), batch_size=16, seed=1),
                     shuffle=False)
    batches = list(streamed.batches(0, True))
    assert len(batches) == 3
    for (x, ids, _), ((sx,), (sy,), _) in zip(plain.pixels(order), batches, strict=True):
        np.testing.assert_array_equal(x[0], sx)
        np.testing.assert_array_equal(plain.targets(ids)[0], sy)


def test_class_mode_input_and_saved_images(tree, tmp_path):
    it = flow(tree, class_mode="input", batch_size=3, save_to_dir=str(tmp_path), save_prefix="s")
    x, y = next(it)
    np.testing.assert_array_equal(x, y)
    saved = sorted(path.name for path in tmp_path.iterdir())
    assert len(saved) == 3 and all(re.fullmatch(r"s_\d+_\d+\.png", name) for name in saved)


def test_a_broken_image_is_named_or_skipped(tree, tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((Path(tree) / "cat" / "im0.png").read_bytes())
    (tmp_path / "a" / "2.png").write_bytes(b"")
    generator = ImageDataGenerator(horizontal_flip=True)
    with pytest.raises(DecodeError, match="2.png"):
        next(generator.flow_from_directory(tmp_path, shuffle=False))
    it = generator.flow_from_directory(tmp_path, shuffle=False, on_bad_image="skip")
    with pytest.warns(DataWarning, match="1 unreadable image was skipped: .*2.png"):
        _, y = next(it)
    assert y.argmax(1).tolist() == [0, 1]
    source = adapt(it, shuffle=False)
    ((x,), (y,), _), = source.batches(0, True)
    assert len(x) == 2 and [os.path.basename(path) for path, _ in source.bad] == ["2.png"]


def test_formats_that_only_pillow_reads(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    for name in ("1.png", "2.ppm", "3.tif", "4.bmp"):
        Image.fromarray(pixels).save(tmp_path / "a" / name)
    it = ImageDataGenerator().flow_from_directory(
        tmp_path, target_size=(9, 8), shuffle=False, class_mode="sparse")
    images, _ = next(it)
    for image in images:
        np.testing.assert_array_equal(image, pixels)
