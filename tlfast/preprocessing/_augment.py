"""Augmentations of ImageDataGenerator on one image, with Keras' random draws and numbers.

Keras calls scipy.ndimage.affine_transform; `affine` gives its numbers for linear interpolation.
"""

from typing import Any

import numpy as np

FILL_MODES = ("constant", "nearest", "reflect", "wrap")


def draw(generator: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Draw the parameters of one image, in Keras' order, from NumPy's global generator.

    Args:
        generator: the ImageDataGenerator with the ranges.
        shape: (height, width, channels).
    """
    uniform = np.random.uniform
    limit = generator.rotation_range
    theta = uniform(-limit, limit) if limit else 0
    # In Keras the height's shift is called tx and moves columns; kept, as models were trained so.
    tx = _shift(generator.height_shift_range, shape[0])
    ty = _shift(generator.width_shift_range, shape[1])
    shear = uniform(-generator.shear_range, generator.shear_range) if generator.shear_range else 0
    zx = zy = 1
    if tuple(generator.zoom_range) != (1, 1):
        low, high = generator.zoom_range
        zx, zy = uniform(low, high, 2)
    # Two numbers are drawn in any case, so that seeds give the order of Keras.
    horizontal = np.random.random() < 0.5
    vertical = np.random.random() < 0.5
    intensity = brightness = None
    if generator.channel_shift_range:
        intensity = uniform(-generator.channel_shift_range, generator.channel_shift_range)
    if generator.brightness_range is not None:
        brightness = uniform(*generator.brightness_range)
    return {
        "theta": theta,
        "tx": tx,
        "ty": ty,
        "shear": shear,
        "zx": zx,
        "zy": zy,
        "flip_horizontal": horizontal and generator.horizontal_flip,
        "flip_vertical": vertical and generator.vertical_flip,
        "channel_shift_intensity": intensity,
        "brightness": brightness,
    }


def _shift(limit: Any, size: int) -> float:
    """A shift in pixels: a fraction of `size`, a number of pixels, or one of a list."""
    if not (limit if isinstance(limit, float) else np.any(limit)):  # in every epoch, of every image
        return 0
    if np.ndim(limit) or isinstance(limit, (int, np.integer)):
        shift = np.random.choice(limit)
        shift = shift * np.random.choice([-1, 1])
    else:
        shift = np.random.uniform(-limit, limit)
    return shift * size if np.max(limit) < 1 else shift


def matrix(
    theta: float, tx: float, ty: float, shear: float, zx: float, zy: float, shape: tuple[int, ...]
) -> np.ndarray | None:
    """The 2x3 matrix from places (row, column) of the output to those of the input; None: same."""
    if (theta, tx, ty, shear, zx, zy) == (0, 0, 0, 0, 1, 1):
        return None
    angle, slant = np.deg2rad(theta), np.deg2rad(shear)
    made = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0],
                     [0, 0, 1]])  # fmt: skip
    made = made @ [[1, 0, tx], [0, 1, ty], [0, 0, 1]]
    made = made @ [[1, -np.sin(slant), 0], [0, np.cos(slant), 0], [0, 0, 1]]
    made = made @ [[zx, 0, 0], [0, zy, 0], [0, 0, 1]]
    # Keras takes height and width for x and y here, so other shapes than squares turn about a
    # place beside their centre.
    x, y = shape[0] / 2 - 0.5, shape[1] / 2 - 0.5
    made = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ made @ [[1, 0, -x], [0, 1, -y], [0, 0, 1]]
    return made[[1, 0]][:, [1, 0, 2]]


def affine(x: np.ndarray, made: np.ndarray, fill_mode: str, cval: float) -> np.ndarray:
    """out(place) = x(matrix @ place), linear between pixels.

    Args:
        x: image (height, width, channels).
        made: see `matrix`.
        fill_mode: what is outside: one of FILL_MODES, as scipy.ndimage understands them.
        cval: the value outside for "constant".
    """
    height, width = x.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    rows, columns = (r[0] * rows + r[1] * columns + r[2] for r in made)
    row_taps, row_share, row_in = _taps(rows, height, fill_mode)
    column_taps, column_share, column_in = _taps(columns, width, fill_mode)
    result = 0.0
    for i in (0, 1):
        for j in (0, 1):
            share = (row_share if i else 1 - row_share) * (
                column_share if j else 1 - column_share)  # fmt: skip
            result = result + share[..., None] * x[row_taps[i], column_taps[j]]
    return np.where((row_in & column_in)[..., None], result, cval).astype(x.dtype)


def _taps(
    at: np.ndarray, size: int, fill_mode: str
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """The two pixels around each coordinate, the share of the second, and what lies inside."""
    inside = np.ones(at.shape, bool)
    last = size - 1
    if fill_mode == "constant":
        inside = (at >= 0) & (at <= last)
    elif fill_mode == "wrap":  # scipy's "wrap" lays the first pixel on the last
        period = max(last, 1)
        at = np.where(at < 0, at + period * (np.trunc(-at / period) + 1), at)
        at = np.where(at > last, at - period * np.trunc(at / period), at)
    if fill_mode != "reflect":
        at = np.clip(at, 0, last)
    low = np.floor(at)
    taps = (low.astype(np.int64), low.astype(np.int64) + 1)
    if fill_mode == "reflect":
        taps = tuple(np.minimum(t % (2 * size), 2 * size - 1 - t % (2 * size)) for t in taps)
    return (taps[0], np.minimum(taps[1], last)), at - low, inside


def shift_channels(x: np.ndarray, intensity: float) -> np.ndarray:
    """Add `intensity`, within the image's own smallest and largest value."""
    return np.clip(x + x.dtype.type(intensity), x.min(), x.max())


def brighten(x: np.ndarray, brightness: float) -> np.ndarray:
    """Multiply the brightness, in whole pixels, as Pillow does it."""
    from PIL import ImageEnhance

    from tlfast.preprocessing._images import array_to_img, img_to_array

    low, high = x.min(), x.max()
    beyond = bool(low < 0 or high > 255)
    image = ImageEnhance.Brightness(array_to_img(x, scale=beyond)).enhance(brightness)
    made = img_to_array(image)
    return made / 255 * (high - low) + low if beyond else made
