"""Single images: Pillow images and arrays, as Keras' image utilities make them."""

import io
import os
import pathlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfast._arguments import checked_arguments
from tlfast._packages import needed
from tlfast.data._pillow import centre_crop
from tlfast.data.directory import check_choice, check_data_format, check_size

if TYPE_CHECKING:
    from PIL import Image

PIL_METHODS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
_SMART_METHODS = ("bilinear", "nearest", "bicubic")
_GRAY_MODES = ("L", "I;16", "I")


@checked_arguments
def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> "Image.Image":
    """Read an image file as a Pillow image.

    Args:
        path: file name, or io.BytesIO.
        color_mode: "rgb", "rgba" or "grayscale" (16- and 32-bit gray images keep their mode).
        target_size: (height, width) in pixels; None keeps the size.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: cut the longer side, centred, before resizing.

    Returns:
        A Pillow image. The EXIF orientation is not applied, as in Keras.

    Raises:
        FileNotFoundError: if there is no such file.
        DecodeError: (a ValueError) if the file is not a readable image; names the file.
    """
    with needed("load_img", "pillow"):
        from PIL import Image, UnidentifiedImageError

    check_choice("color_mode", color_mode, ("rgb", "rgba", "grayscale"))
    size = None if target_size is None else check_size("target_size", target_size)
    data, name = _bytes_of(path)
    try:
        image: Image.Image = Image.open(data)
        image.load()
    except UnidentifiedImageError:
        what = "the file is empty" if not data.getbuffer().nbytes else "not a known image format"
        raise _decode_error(f"cannot decode '{name}': {what}") from None
    except Image.DecompressionBombError as error:
        raise _decode_error(f"cannot decode '{name}': {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _decode_error(f"cannot decode '{name}': {error} (damaged or truncated)") from error
    if color_mode == "grayscale":
        if image.mode not in _GRAY_MODES:
            image = image.convert("L")
    elif image.mode != color_mode.upper():
        image = image.convert(color_mode.upper())
    check_choice("interpolation", interpolation, PIL_METHODS)
    return image if size is None else resize_pil(image, size, interpolation, keep_aspect_ratio)


def resize_pil(
    image: "Image.Image", size: tuple[int, int], interpolation: str, keep_aspect_ratio: bool
) -> "Image.Image":
    """A Pillow image in another (height, width); unchanged if it has that size already."""
    from PIL import Image

    if image.size == size[::-1]:
        return image
    method = Image.Resampling[interpolation.upper()]
    box = _crop_box(image.size, size) if keep_aspect_ratio else None
    return image.resize(size[::-1], method, box=box)


def _bytes_of(path: Any) -> tuple[io.BytesIO, str]:
    if isinstance(path, io.BytesIO):
        return path, "<BytesIO>"
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"path must be a file name or io.BytesIO, got {type(path).__name__}")
    name = os.fsdecode(path)
    with open(path, "rb") as file:
        return io.BytesIO(file.read()), name


def _decode_error(text: str) -> ValueError:
    from tlfast import _core

    return _core.DecodeError(text)


def _crop_box(have: tuple[int, int], want: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred part of (width, height) with the shape of (height, width) `want`."""
    width, height = have
    crop_height = min(height, (width * want[0]) // want[1])
    crop_width = min(width, (height * want[1]) // want[0])
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


@checked_arguments
def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image as an array of shape (height, width, channels).

    Args:
        img: Pillow image, or an array of rank 2 or 3.
        data_format: None or "channels_last".
        dtype: NumPy type; None: float32.

    Raises:
        ValueError: if the image has neither two nor three axes.
    """
    check_data_format(data_format)
    array = np.asarray(img, dtype=dtype or np.float32)
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise ValueError(f"an image has 2 or 3 axes, got an array of shape {array.shape}")
    return array


@checked_arguments
def array_to_img(
    x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None
) -> "Image.Image":
    """An array (height, width, channels) as a Pillow image.

    Args:
        x: array with 1, 3 or 4 channels.
        data_format: None or "channels_last".
        scale: stretch smallest to largest value to 0 to 255; False casts the values as they are.
        dtype: type to compute in; None: float32.
    """
    with needed("array_to_img", "pillow"):
        from PIL import Image

    check_data_format(data_format)
    x = np.asarray(x, dtype=dtype or np.float32)
    if x.ndim != 3 or x.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"array_to_img needs shape (height, width, 1, 3 or 4), got {x.shape}; take one image "
            "out of a batch, for example x[0]"
        )
    if scale:
        x = x - x.min()
        largest = x.max()
        if largest != 0:
            x /= largest
        x *= 255
    if x.shape[2] > 1:
        return Image.fromarray(x.astype(np.uint8))
    return Image.fromarray(x[..., 0].astype(np.int32 if x.max() > 255 else np.uint8))


@checked_arguments
def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array as an image file.

    Args:
        path: file name or file object.
        x: array (height, width, channels).
        data_format: None or "channels_last".
        file_format: for example "png"; None: from the ending of `path`.
        scale: stretch smallest to largest value to 0 to 255.
        **kwargs: go to Pillow's `Image.save` (such as quality=95).
    """
    if file_format is None and isinstance(path, (str, os.PathLike)):
        file_format = pathlib.Path(path).suffix[1:].lower()
    if file_format and file_format.lower() == "jpg":
        file_format = "jpeg"
    image = array_to_img(x, data_format=data_format, scale=scale)
    if image.mode == "RGBA" and file_format == "jpeg":
        warnings.warn(
            "The JPEG format does not support RGBA images, converting to RGB.", stacklevel=2
        )
        image = image.convert("RGB")
    image.save(path, format=file_format, **kwargs)


@checked_arguments
def smart_resize(
    x: Any,
    size: tuple[int, int],
    interpolation: str = "bilinear",
    data_format: str | None = "channels_last",
) -> np.ndarray:
    """Resize without distortion: cut the longer side, centred, then resize.

    Args:
        x: image (height, width, channels) or batch of images.
        size: (height, width) in pixels.
        interpolation: "bilinear", "nearest" or "bicubic", as tf.image does them (not antialiased).
        data_format: None or "channels_last".

    Returns:
        float32 array; with "nearest" the type of `x`.
    """
    from tlfast import _core

    check_data_format(data_format)
    check_choice("interpolation", interpolation, _SMART_METHODS)
    height, width = check_size("size", size)
    x = np.asarray(x)
    if x.ndim not in (3, 4):
        raise ValueError(
            "smart_resize needs an image (height, width, channels) or a batch of them, got shape "
            f"{x.shape}"
        )
    rows, columns = centre_crop(x.shape[-3:-1], (height, width))
    part = x[..., rows, columns, :]
    if part.dtype != np.uint8:
        part = part.astype(np.float32)
    images = part if x.ndim == 4 else part[None]
    resized = np.stack(
        [
            _core.resize_image(np.ascontiguousarray(image), height, width, interpolation, "keras")
            for image in images
        ]
    )
    if interpolation == "nearest":
        resized = resized.astype(x.dtype)
    return resized if x.ndim == 4 else resized[0]
