"""Folders of generated images, for tests that need files but no photographs."""

import colorsys
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlfast._arguments import checked_arguments

_FORMATS = (".jpg", ".png")
_SMALLEST = 8


@checked_arguments
def image_folder(
    path: str | os.PathLike[str],
    classes: Sequence[str] = ("disc", "square", "triangle"),
    images_per_class: int = 8,
    size: int | tuple[int, int] = 32,
    seed: int = 0,
) -> Path:
    """Write a folder of generated images, `path/<class>/000.jpg`, `001.png`, ...

    Every image shows one figure on a noisy grey ground. Classes differ in its colour and in its
    shape (disc, square, triangle, cross, then from the start); its place, size and brightness vary.
    JPEG and PNG take turns. The class at a place of `classes` looks the same for every `seed`, so
    that folders of different seeds are training and test images.

    The same arguments give the same pixels on every machine; the bytes of the files are the same
    too where Pillow has the same libjpeg and zlib.

    Args:
        path: the folder; it is made where it is missing, but may not hold any of the classes yet.
        classes: names of the sub-folders, one per class.
        images_per_class: number of images in each.
        size: (height, width) in pixels, or one number for both; at least 8.
        seed: of the places, sizes and noise; 0 to 2**32 - 1.

    Returns:
        The folder.

    Raises:
        ValueError: an argument has another value than listed.
        FileExistsError: the folder of a class is there already.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as top:
        ...     folder = image_folder(top + "/images", ("cat", "dog"), images_per_class=2)
        ...     sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*"))
        ['cat/000.jpg', 'cat/001.png', 'dog/000.jpg', 'dog/001.png']
    """
    _check_classes(classes)
    height, width = _checked_size(size)
    if not _is_count(images_per_class, 1):
        raise ValueError(
            f"`images_per_class` is 1 or more. Received: images_per_class={images_per_class!r}"
        )
    if not _is_count(seed, 0) or seed >= 2**32:
        raise ValueError(f"`seed` is a whole number from 0 to 2**32 - 1. Received: seed={seed!r}")
    top = Path(path)
    for name in classes:
        if (top / name).exists():
            raise FileExistsError(
                17, "images go into new folders only (pytest's tmp_path is one), and this one is "
                "there already", os.fspath(top / name)
            )  # fmt: skip
    for index, name in enumerate(classes):
        # NumPy keeps the numbers of RandomState the same for ever; those of Generator may change.
        random = np.random.RandomState((seed, index))
        colour = _colour(index, len(classes))
        (top / name).mkdir(parents=True)
        for number in range(images_per_class):
            pixels = _picture(random, index, colour, height, width)
            _save(pixels, top / name / f"{number:03d}{_FORMATS[number % 2]}")
    return top


def _check_classes(classes: Sequence[str]) -> None:
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"`classes` is a list of names. Received: classes={classes!r}")
    if not classes or len({*classes}) < len(classes):
        raise ValueError(f"`classes` needs one or more different names. Received: {classes!r}")
    for name in classes:
        if name != os.path.basename(name) or name.startswith(".") or not name:
            raise ValueError(
                "a class is the name of a folder, without '/' and without a dot in front. "
                f"Received: {name!r} in `classes`"
            )


def _checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(_is_count(side, _SMALLEST) for side in sides):
        raise ValueError(
            f"`size` is (height, width) in pixels, at least {_SMALLEST}, or one number for both. "
            f"Received: size={size!r}"
        )
    return sides[0], sides[1]


def _is_count(value: object, least: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return False
    return bool(value >= least)


def _colour(index: int, count: int) -> np.ndarray:
    """The hue of a class: all are equally far from each other."""
    return 255 * np.array(colorsys.hsv_to_rgb(index / count, 0.85, 1.0))


def _picture(
    random: np.random.RandomState, index: int, colour: np.ndarray, height: int, width: int
) -> np.ndarray:
    """uint8 (height, width, 3)."""
    side = min(height, width)
    radius = side * random.uniform(0.22, 0.36)
    y = np.arange(height)[:, None] - random.uniform(radius, height - 1 - radius)
    x = np.arange(width)[None, :] - random.uniform(radius, width - 1 - radius)
    figure = _figure(index % 4, y / radius, x / radius)
    ground = random.uniform(60, 190)
    light = random.uniform(0.7, 1.0)
    pixels = np.where(figure[..., None], light * colour, ground)
    noise = random.randint(-12, 13, (height, width, 3))
    return np.clip(np.rint(pixels) + noise, 0, 255).astype(np.uint8)


def _figure(shape: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether a place belongs to the figure; they reach from -1 to 1, y points down."""
    if shape == 0:
        return x * x + y * y <= 1
    if shape == 1:
        return np.maximum(abs(x), abs(y)) <= 0.85
    if shape == 2:
        return (abs(y) <= 1) & (2 * abs(x) <= 1 + y)
    return (np.minimum(abs(x), abs(y)) <= 0.3) & (np.maximum(abs(x), abs(y)) <= 1)


def _save(pixels: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, quality=92)
