"""ImageDataGenerator's augmentations: SciPy's pixels, Keras' random numbers."""

import json

import numpy as np
import pytest
from conftest import smooth_image

from tlfast import keras
from tlfast.preprocessing import _augment

ImageDataGenerator = keras.preprocessing.image.ImageDataGenerator
RANGES = [
    {"rotation_range": 20},
    {"width_shift_range": 0.2, "height_shift_range": 0.1},
    {"width_shift_range": 5, "height_shift_range": [3, 7]},
    {"shear_range": 15.0, "zoom_range": 0.3},
    {"zoom_range": [0.5, 0.9], "channel_shift_range": 30.0},
    {"brightness_range": (0.4, 1.3), "horizontal_flip": True, "vertical_flip": True},
    {"rotation_range": 40, "width_shift_range": 0.2, "height_shift_range": 0.2, "shear_range": 0.2,
     "zoom_range": 0.2, "horizontal_flip": True, "brightness_range": [0.8, 1.2]},
]  # fmt: skip


@pytest.fixture
def image(rng):
    return smooth_image(rng, 21, 16).astype(np.float32)


@pytest.mark.parametrize("fill_mode", _augment.FILL_MODES)
@pytest.mark.parametrize("given", [
    (30, 0, 0, 0, 1, 1), (0, 4.5, -30.25, 0, 1, 1), (0, 0, 0, 20, 1, 1), (0, 0, 0, 0, 0.4, 1.7),
    (-160, 3, 2, -10, 1.3, 0.8), (0, 100, -100, 0, 1, 1), (0, 3, 0, 0, 1, 1),
])  # fmt: skip
def test_pixels_are_those_of_scipy(given, fill_mode, image):
    """Keras' own steps: the matrix with x and y exchanged, then scipy.ndimage per channel."""
    from scipy import ndimage

    theta, tx, ty, shear, zx, zy = given
    theta, shear = np.deg2rad(theta), np.deg2rad(shear)
    made = np.eye(3)
    for step in (
        [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]],
        [[1, 0, tx], [0, 1, ty], [0, 0, 1]],
        [[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]],
        [[zx, 0, 0], [0, zy, 0], [0, 0, 1]],
    ):
        made = np.dot(made, np.array(step))
    height, width = image.shape[:2]
    ox, oy = height / 2 - 0.5, width / 2 - 0.5
    made = np.dot(np.dot(np.array([[1, 0, ox], [0, 1, oy], [0, 0, 1]]), made),
                  np.array([[1, 0, -ox], [0, 1, -oy], [0, 0, 1]]))  # fmt: skip
    made[:, [0, 1]] = made[:, [1, 0]]
    made[[0, 1]] = made[[1, 0]]
    channels = [
        ndimage.affine_transform(
            image[..., c], made[:2, :2], made[:2, 2], order=1, mode=fill_mode, cval=7.0)
        for c in range(3)
    ]  # fmt: skip
    got = ImageDataGenerator(fill_mode=fill_mode, cval=7.0).apply_transform(
        image, dict(zip(("theta", "tx", "ty", "shear", "zx", "zy"), given, strict=True)))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.stack(channels, -1), atol=2e-3)


def test_nothing_drawn_changes_nothing(image):
    plain = ImageDataGenerator()
    assert not plain.augments
    assert plain.apply_transform(image, plain.get_random_transform(image.shape)) is image


@pytest.mark.parametrize("ranges", RANGES)
def test_seeds_repeat_and_batches_change(ranges, image):
    generator = ImageDataGenerator(**ranges)
    assert generator.augments and generator.identity() is None
    flow = generator.flow(image[None].repeat(4, 0), seed=3, batch_size=4)
    first, second = next(flow), next(flow)
    assert first.shape == (4, *image.shape) and not np.array_equal(first, second)
    again = ImageDataGenerator(**ranges).flow(image[None].repeat(4, 0), seed=3, batch_size=4)
    assert np.array_equal(next(again), first)


def test_brightness_and_channels(image):
    assert np.array_equal(_augment.brighten(image, 0.5), np.floor(image * 0.5))
    beyond = _augment.brighten(image - 300, 1.0)
    np.testing.assert_allclose(beyond, image - 300, atol=1.0)
    shifted = _augment.shift_channels(image, 25.0)
    assert np.array_equal(shifted, np.minimum(image + 25, image.max()))


@pytest.mark.slow
@pytest.mark.peer("keras")
def test_draws_and_colours_are_those_of_keras(image, tmp_path, run_peer):
    """Keras needs SciPy for affine steps, which test_pixels_are_those_of_scipy compares."""
    np.save(tmp_path / "x.npy", image)
    printed = run_peer("keras", f"""
import json, numpy as np
from tensorflow.keras.preprocessing.image import ImageDataGenerator
x = np.load({str(tmp_path / "x.npy")!r})
found = []
for ranges in {RANGES!r}:
    g = ImageDataGenerator(**ranges)
    p = g.get_random_transform(x.shape, seed=5)
    colours = {{k: p[k] for k in ("channel_shift_intensity", "brightness")}}
    y = g.apply_transform(x, colours)
    found.append([{{k: None if v is None else float(v) for k, v in p.items()}}, float(y.mean())])
print(json.dumps(found))
""")
    for ranges, (want, mean) in zip(RANGES, json.loads(printed.splitlines()[-1]), strict=True):
        generator = ImageDataGenerator(**ranges)
        drawn = generator.get_random_transform(image.shape, seed=5)
        assert {k: None if v is None else float(v) for k, v in drawn.items()} == want
        colours = {k: drawn[k] for k in ("channel_shift_intensity", "brightness")}
        assert generator.apply_transform(image, colours).mean() == pytest.approx(mean, rel=1e-6)
