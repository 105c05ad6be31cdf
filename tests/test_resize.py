"""Resizing: a float64 reference, TensorFlow's stored pixels, and Pillow itself."""

import json
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from tlfast import _core

STORED = np.load(Path(__file__).parent / "reference" / "pixels.npz")
CASES = json.loads(str(STORED["cases"]))
PILLOW_13 = int(PIL.__version__.split(".")[0]) >= 13
PIL_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SHAPES = [(1, 1), (1, 40), (17, 1), (20, 30), (37, 10), (10, 53), (37, 53), (90, 61), (111, 200)]


def pixels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def half_pixel(out: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper source index and the mix, in float64."""
    at = (np.arange(out) + 0.5) * size / out - 0.5
    lower = np.floor(at)
    return (
        np.clip(lower, 0, size - 1).astype(int),
        np.clip(np.ceil(at), 0, size - 1).astype(int),
        at - lower,
    )


def bilinear64(image: np.ndarray, height: int, width: int) -> np.ndarray:
    image = image.astype(np.float64)
    lower, upper, mix = half_pixel(width, image.shape[1])
    image = image[:, lower] + (image[:, upper] - image[:, lower]) * mix[:, None]
    lower, upper, mix = half_pixel(height, image.shape[0])
    return image[lower] + (image[upper] - image[lower]) * mix[:, None, None]


def keys(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def bicubic_matrix(out: int, size: int) -> np.ndarray:
    at = (np.arange(out) + 0.5) * size / out - 0.5
    weights = keys(np.arange(size)[None] - at[:, None])
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", SHAPES)
def test_bilinear_equals_float64(rng, size, channels):
    for dtype in (np.uint8, np.float32):
        image = pixels(rng, 37, 53, channels).astype(dtype)
        got = _core.resize_image(image, *size)
        assert got.dtype == np.float32 and got.shape == (*size, channels)
        np.testing.assert_allclose(got, bilinear64(image, *size), atol=3e-3)


@pytest.mark.parametrize("size", SHAPES)
def test_bicubic_near_float64(rng, size):
    image = pixels(rng, 37, 53, 3)
    rows, columns = bicubic_matrix(size[0], 37), bicubic_matrix(size[1], 53)
    exact = np.moveaxis(rows @ np.moveaxis(image, 2, 0).astype(np.float64) @ columns.T, 0, 2)
    # the coefficients come from a table with 1024 steps
    np.testing.assert_allclose(_core.resize_image(image, *size, "bicubic"), exact, atol=0.6)


@pytest.mark.parametrize("size", SHAPES)
def test_nearest_takes_the_centre(rng, size):
    image = pixels(rng, 37, 53, 3)
    rows = np.floor((np.arange(size[0]) + 0.5) * 37 / size[0]).astype(int)
    columns = np.floor((np.arange(size[1]) + 0.5) * 53 / size[1]).astype(int)
    for pipeline in ("keras", "pil"):
        got = _core.resize_image(image, *size, "nearest", pipeline)
        np.testing.assert_array_equal(got, image[rows][:, columns])


def test_same_size_is_the_same_image(rng):
    image = pixels(rng, 37, 53, 4)
    for pipeline in ("keras", "pil", "fast"):
        for interpolation in ("nearest", "bilinear", "bicubic"):
            for fit in ("stretch", "crop", "pad"):
                got = _core.resize_image(image, 37, 53, interpolation, pipeline, fit)
                np.testing.assert_array_equal(got, image)


@pytest.mark.parametrize("case", range(len(CASES["resize"])))
def test_equals_tensorflow(case):
    name, height, width, interpolation, fit = CASES["resize"][case]
    image = _core.decode_image(STORED[f"file/{name}"].tobytes())
    got = _core.resize_image(image, height, width, interpolation, "keras", fit)
    np.testing.assert_array_equal(got, STORED[f"resize/{case}"])


@pytest.mark.parametrize("key", [k for k in STORED.files if k.startswith("line/")])
def test_long_lines_equal_tensorflow(key):
    _, width, interpolation = key.split("/")
    line = np.arange(1000, dtype=np.uint8)[None, :, None]
    got = _core.resize_image(line, 1, int(width), interpolation)
    np.testing.assert_array_equal(got, STORED[key])


def compare_with_pillow(got: np.ndarray, expected: np.ndarray) -> None:
    """Pillow 13 changed the order of its two passes, each of which rounds."""
    if PILLOW_13:
        np.testing.assert_array_equal(got, expected)
    else:
        assert np.abs(got - expected).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("interpolation", PIL_FILTERS)
def test_equals_pillow(rng, interpolation, mode):
    channels = len(mode)
    image = pixels(rng, 37, 53, channels)
    picture = Image.fromarray(image.squeeze())
    for height, width in [*SHAPES, (5, 7), (512, 3)]:
        expected = np.asarray(picture.resize((width, height), PIL_FILTERS[interpolation]))
        got = _core.resize_image(image, height, width, interpolation, "pil")
        compare_with_pillow(got, expected.reshape(height, width, channels))


@pytest.mark.parametrize("interpolation", PIL_FILTERS)
def test_crop_equals_load_img(rng, interpolation):
    """keras.utils.load_img(keep_aspect_ratio=True): an integer box, filters reach beyond it."""
    for height, width in [(20, 31), (37, 20), (64, 64), (3, 200)]:
        image = pixels(rng, 41, 77, 3)
        crop_h, crop_w = min(41, 77 * height // width), min(77, 41 * width // height)
        top, left = (41 - crop_h) // 2, (77 - crop_w) // 2
        expected = Image.fromarray(image).resize(
            (width, height),
            PIL_FILTERS[interpolation],
            box=(left, top, left + crop_w, top + crop_h),
        )
        got = _core.resize_image(image, height, width, interpolation, "pil", "crop")
        compare_with_pillow(got, np.asarray(expected))


def test_pad_keeps_the_aspect_ratio(rng):
    image = 1 + pixels(rng, 20, 40, 3) // 2
    got = _core.resize_image(image, 40, 40, "bilinear", "pil", "pad")
    expected = Image.fromarray(image).resize((40, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(got[10:30], np.asarray(expected))
    assert not got[:10].any() and not got[30:].any()
    thin = _core.resize_image(pixels(rng, 500, 1, 3) | 1, 8, 8, "nearest", "keras", "pad")
    assert thin.any(axis=(0, 2)).sum() == 1


def test_non_contiguous_and_wrong_arrays(rng):
    image = pixels(rng, 30, 40, 3)
    expected = _core.resize_image(np.ascontiguousarray(image[::2, ::-1]), 9, 9)
    np.testing.assert_array_equal(_core.resize_image(image[::2, ::-1], 9, 9), expected)
    with pytest.raises(TypeError, match="uint8 or float32 pixels, not dtype"):
        _core.resize_image(image.astype(np.float64), 9, 9)
    with pytest.raises(ValueError, match="not one with 2 axes"):
        _core.resize_image(image[..., 0], 9, 9)
    with pytest.raises(ValueError, match="cannot resize shape"):
        _core.resize_image(image[:0], 9, 9)
    with pytest.raises(ValueError, match="each must be 1 to 65536"):
        _core.resize_image(image, 0, 9)
    with pytest.raises(ValueError, match="channels: 1 to 64"):
        _core.resize_image(np.zeros((4, 4, 65), np.uint8), 9, 9)
    with pytest.raises(ValueError, match="interpolation='bilinaer' is not known; allowed: 'near"):
        _core.resize_image(image, 9, 9, "bilinaer")
    with pytest.raises(ValueError, match="pipeline='tf' is not known; allowed: 'keras', 'pil'"):
        _core.resize_image(image, 9, 9, pipeline="tf")
    with pytest.raises(NotImplementedError, match="'lanczos' does not exist in pipeline 'keras'"):
        _core.resize_image(image, 9, 9, "lanczos")
    with pytest.raises(NotImplementedError, match="'pil' resizes uint8 pixels only"):
        _core.resize_image(image.astype(np.float32), 9, 9, "bilinear", "pil")
