"""Formats that the core does not decode (BMP, GIF, PPM, TIFF, WebP), through Pillow."""

import math
import os
import stat
from typing import Any

import numpy as np

from tlfast._packages import needed
from tlfast.data._pixels import PixelSpec

# First bytes of what Pillow is asked to read; anything else stays an error.
_MAGIC = (b"BM", b"GIF8", b"P4", b"P5", b"P6", b"II*\0", b"MM\0*")
_FORMATS = ("BMP", "GIF", "PPM", "TIFF", "WEBP")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decodable(path: str) -> bool:
    """Whether the file is of a format that is left to Pillow."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def decode(path: str, spec: PixelSpec) -> np.ndarray:
    """Pixels of one file as `spec` asks for; the first frame of an animation.

    Raises:
        ValueError: if Pillow cannot read the file.
    """
    with needed("reading images other than JPEG and PNG", "pillow"):
        from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            if spec.pipeline == "pil":
                return _resize_pil(image.convert(_MODES[spec.channels]), spec)
            pixels = np.asarray(image.convert(_MODES[spec.channels]))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot decode: {error}") from error
    return _resize_tf(pixels.reshape(*pixels.shape[:2], spec.channels), spec)


def _resize_pil(image: Any, spec: PixelSpec) -> np.ndarray:
    from tlfast.preprocessing._images import resize_pil

    image = resize_pil(image, (spec.height, spec.width), spec.interpolation, spec.fit == "crop")
    return np.asarray(image).reshape(spec.shape).astype(spec.dtype)


def _resize_tf(pixels: np.ndarray, spec: PixelSpec) -> np.ndarray:
    from tlfast import _core

    out = np.zeros(spec.shape, spec.dtype)
    top = left = 0
    height, width = spec.height, spec.width
    if spec.fit == "crop":
        pixels = pixels[centre_crop(pixels.shape[:2], (height, width))]
    elif spec.fit == "pad":
        have_h, have_w = pixels.shape[:2]
        ratio = max(have_w / width, have_h / height)
        top = max(math.floor((height - have_h / ratio) / 2), 0)
        left = max(math.floor((width - have_w / ratio) / 2), 0)
        height, width = math.floor(have_h / ratio), math.floor(have_w / ratio)
    out[top : top + height, left : left + width] = _core.resize_image(
        np.ascontiguousarray(pixels), height, width, spec.interpolation, "keras"
    )
    return out


def centre_crop(have: tuple[int, int], want: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the largest centred part of size `have` with the shape of `want`."""
    height = max(min(have[0], int(float(have[1] * want[0]) / want[1])), 1)
    width = max(min(have[1], int(float(have[0] * want[1]) / want[0])), 1)
    top, left = int((have[0] - height) / 2), int((have[1] - width) / 2)
    return slice(top, top + height), slice(left, left + width)
