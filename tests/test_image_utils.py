"""load_img, img_to_array, array_to_img, save_img, smart_resize, to_categorical, seeds."""

import io
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfast._core import DecodeError
from tlfast.data._random import _GlobalSeed
from tlfast.preprocessing import image
from tlfast.utils import img_to_array, load_img, normalize, set_random_seed, to_categorical

PIXELS = Path(__file__).parent / "reference" / "directory_pixels.npz"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_load_img_returns_a_pillow_image(photo):
    path, pixels = photo
    for given in (path, str(path), bytes(path), io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(np.asarray(load_img(given)), pixels)
    assert load_img(path, color_mode="grayscale").mode == "L"
    assert load_img(path, color_mode="rgba").mode == "RGBA"
    assert load_img(path, target_size=(9, 14)).size == (14, 9)


def test_load_img_resizes_as_pillow(photo):
    path, pixels = photo
    original = Image.fromarray(pixels)
    for name in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"):
        expected = original.resize((5, 7), Image.Resampling[name.upper()])
        got = load_img(path, target_size=(7, 5), interpolation=name)
        np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))
    kept = load_img(path, target_size=(6, 6), interpolation="bilinear", keep_aspect_ratio=True)
    expected = original.resize((6, 6), Image.Resampling.BILINEAR, box=(2, 0, 11, 9))
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(expected))


def test_gray_16_bit_images_keep_their_mode(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((3, 3), 40000, np.uint16)).save(path)
    assert load_img(path, color_mode="grayscale").mode == "I;16"


def test_unreadable_files_are_named(tmp_path, photo):
    for name, data, reason in (
        ("empty.jpg", b"", "the file is empty"), ("text.png", b"hello", "not a known image format"),
        ("cut.png", photo[0].read_bytes()[:100], "."),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DecodeError, match=f"{name}': .*{reason}"):
            load_img(path)
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        load_img(tmp_path / "nothing.png")


@pytest.mark.parametrize(("arguments", "kind", "text"), [
    (dict(color_mode="bgr"), ValueError, "'rgb', 'rgba', 'grayscale'; got 'bgr'"),
    (dict(target_size=(3,)), ValueError, r"target_size must be \(height, width\)"),
    (dict(target_size=(3, 3), interpolation="bilinaer"), ValueError, "Did you mean 'bilinear'"),
    (dict(targetsize=(3, 3)), TypeError, "Did you mean 'target_size'"),
])
def test_load_img_errors(photo, arguments, kind, text):
    with pytest.raises(kind, match=text):
        load_img(photo[0], **arguments)
    with pytest.raises(TypeError, match="got ndarray"):
        load_img(np.zeros(3))


def test_img_to_array(photo):
    path, pixels = photo
    array = img_to_array(load_img(path))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, pixels)
    assert img_to_array(load_img(path, color_mode="grayscale"), dtype="uint8").shape == (9, 14, 1)
    with pytest.raises(ValueError, match="2 or 3 axes"):
        img_to_array(np.zeros((1, 2, 3, 4)))
    with pytest.raises(NotImplementedError, match="channels_last"):
        img_to_array(load_img(path), data_format="channels_first")


def test_array_to_img_stretches_as_keras():
    with np.load(PIXELS) as reference:
        pixels = np.random.default_rng(1).integers(0, 256, (9, 14, 3)).astype(np.uint8)
        got = image.array_to_img(pixels.astype("float32") / 3)
        np.testing.assert_array_equal(np.asarray(got), reference["array_to_img"])
    assert np.asarray(image.array_to_img(np.full((2, 2, 1), 7.9), scale=False))[0, 0] == 7
    assert image.array_to_img(np.full((2, 2, 1), 700.0), scale=False).mode == "I"
    assert image.array_to_img(np.zeros((2, 2, 4))).mode == "RGBA"
    with pytest.raises(ValueError, match=r"out of a batch, for example x\[0\]"):
        image.array_to_img(np.zeros((1, 2, 2, 3)))


def test_save_img(tmp_path, photo):
    path, pixels = photo
    out = tmp_path / "out.png"
    image.save_img(out, pixels, scale=False)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), pixels)
    rgba = np.dstack([pixels, pixels[..., :1]])
    with pytest.warns(UserWarning, match="does not support RGBA"):
        image.save_img(tmp_path / "out.jpg", rgba, scale=False)
    buffer = io.BytesIO()
    image.save_img(buffer, pixels, file_format="jpg", quality=50)
    assert buffer.getvalue()[:2] == b"\xff\xd8"


def test_smart_resize_is_that_of_keras():
    pixels = np.random.default_rng(1).integers(0, 256, (9, 14, 3)).astype(np.uint8)
    with np.load(PIXELS) as reference:
        got = image.smart_resize(pixels, (8, 8))
        np.testing.assert_array_equal(got, reference["smart_resize"])
        batch = image.smart_resize(np.stack([pixels, pixels]), (8, 8))
        np.testing.assert_array_equal(batch[1], reference["smart_resize"])
    assert image.smart_resize(pixels, (4, 4), "nearest").dtype == np.uint8
    with pytest.raises(ValueError, match=r"got shape \(9, 14\)"):
        image.smart_resize(pixels[..., 0], (4, 4))


def test_to_categorical():
    np.testing.assert_array_equal(to_categorical([[0], [2]]), [[1, 0, 0], [0, 0, 1]])
    assert to_categorical([0, 1], num_classes=4).shape == (2, 4)
    assert to_categorical(np.zeros((2, 3), int), 2).shape == (2, 3, 2)
    for wrong in ([0, 4], [0, -1]):
        with pytest.raises(ValueError, match=f"class number {wrong[1]} lies outside 0 to 2"):
            to_categorical(wrong, num_classes=3)


def test_normalize():
    np.testing.assert_allclose(normalize(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


def test_set_random_seed(monkeypatch):
    monkeypatch.setattr(_GlobalSeed, "seed", None)
    monkeypatch.setattr(_GlobalSeed, "stream", None)
    set_random_seed(3)
    first = random.random(), np.random.rand()
    set_random_seed(3)
    assert (random.random(), np.random.rand()) == first
    for wrong in (-1, 2**32, 1.5, True):
        with pytest.raises(ValueError, match="set_random_seed needs"):
            set_random_seed(wrong)


def test_names_are_where_keras_scripts_look():
    import tlfast.preprocessing
    import tlfast.utils

    for name in ("load_img", "img_to_array", "array_to_img", "save_img", "smart_resize"):
        assert getattr(tlfast.utils, name) is getattr(tlfast.preprocessing.image, name)
    assert tlfast.preprocessing.image_dataset_from_directory is \
        tlfast.utils.image_dataset_from_directory
    assert "tlfast.preprocessing.image" in sys.modules


def test_names_from_elsewhere_and_names_that_are_not_there():
    import tlfast.utils

    assert callable(tlfast.utils.get_file) and isinstance(tlfast.utils.Progbar, type)
    assert all(hasattr(tlfast.utils, name) for name in tlfast.utils.__all__)
    with pytest.raises(AttributeError, match="Did you mean 'to_categorical'"):
        tlfast.utils.to_categorial  # noqa: B018
    with pytest.raises(AttributeError, match="no 'plot_model'.*It has: Progbar"):
        tlfast.utils.plot_model  # noqa: B018
