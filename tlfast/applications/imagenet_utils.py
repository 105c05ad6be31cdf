"""Preparing pixels for ImageNet networks and reading their predictions."""

import functools
import pathlib
import warnings
from typing import Any

import numpy as np

from tlfast._recipe._maps import Traced
from tlfast._tensor import KerasTensor
from tlfast.applications._scales import CAFFE_MEAN, TORCH_MEAN, TORCH_STD

__all__ = ["decode_predictions", "preprocess_input"]

_MODES = ("caffe", "tf", "torch")


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Turns RGB pixels 0 to 255 into the values a network was trained on.

    Unlike Keras the given array is never written to.

    Args:
        x: pixels (height, width, 3) or (batch, height, width, 3), an array or a symbolic tensor.
        data_format: "channels_last", "channels_first" (arrays only) or None for "channels_last".
        mode: "caffe": RGB to BGR, minus the channel means 103.939, 116.779, 123.68 (B, G, R);
            "tf": to -1..1; "torch": to 0..1, minus (0.485, 0.456, 0.406), divided by
            (0.229, 0.224, 0.225). Defaults to "caffe".

    Returns:
        For an array a new array, float32 unless `x` has another floating type; for a symbolic
        tensor a symbolic tensor.

    Raises:
        ValueError: unknown mode or data_format, or not 3 colour channels.
    """
    if mode not in _MODES:
        raise ValueError(f"`mode` is 'caffe', 'tf' or 'torch'. Received: mode={mode!r}")
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            "`data_format` is 'channels_last', 'channels_first' or None. "
            f"Received: data_format={data_format!r}"
        )
    if isinstance(x, KerasTensor):
        if data_format == "channels_first":
            raise ValueError(
                "Networks here read (height, width, channels): a symbolic tensor cannot be "
                "preprocessed with data_format='channels_first'."
            )
        return _preprocess_symbolic(x, mode)
    if isinstance(x, Traced) and data_format != "channels_first":
        return x.then("preprocess", mode=mode)
    return _preprocess_array(x, data_format == "channels_first", mode)


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable of the 1,000 ImageNet classes.

    Args:
        preds: outputs (batch, 1000) of a network with the ImageNet classifier.
        top: how many classes to name per image, 1 to 1000. Defaults to 5.

    Returns:
        One list per image of (WordNet id, name, score), highest score first.

    Raises:
        ValueError: not (batch, 1000), or top outside 1 to 1000.
    """
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != 1000:
        raise ValueError(
            "`decode_predictions` reads outputs of the ImageNet classifier, shape (batch, 1000). "
            f"Received: shape {preds.shape}. For your own classes take preds.argmax(axis=-1) and "
            "your class names."
        )
    if not 1 <= top <= 1000:
        raise ValueError(f"`top` is a whole number from 1 to 1000. Received: top={top!r}")
    names = class_names()
    results = []
    for row in preds:
        best = row.argsort()[-top:][::-1]
        found = [(*names[index], row[index]) for index in best]
        results.append(sorted(found, key=lambda entry: entry[2], reverse=True))
    return results


@functools.cache
def class_names() -> tuple[tuple[str, str], ...]:
    """(WordNet id, name) of the 1,000 ImageNet classes in the order of the outputs."""
    text = pathlib.Path(__file__).with_name("imagenet_classes.txt").read_text("ascii")
    rows = (line.split(" ") for line in text.splitlines() if not line.startswith("#"))
    return tuple((wnid, name) for wnid, name in rows)


def _preprocess_array(x: Any, channels_first: bool, mode: str) -> np.ndarray:
    x = np.asarray(x)
    x = x.astype(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float32)  # always a copy
    if mode == "tf":
        x /= 127.5
        x -= 1.0
        return x
    axis = x.ndim - 3 if channels_first else x.ndim - 1
    _check_channels(x.shape, axis)
    x = np.moveaxis(x, axis, -1)
    if mode == "caffe":
        x = x[..., ::-1]
        mean, std = CAFFE_MEAN, None
    else:
        x /= 255.0
        mean, std = TORCH_MEAN, TORCH_STD
    x = x - np.asarray(mean, x.dtype)
    if std is not None:
        x /= np.asarray(std, x.dtype)
    return np.ascontiguousarray(np.moveaxis(x, -1, axis))


def _preprocess_symbolic(x: KerasTensor, mode: str) -> KerasTensor:
    if mode == "tf":
        return x / 127.5 - 1.0
    _check_channels(x.shape, len(x.shape) - 1)
    if mode == "caffe":
        return x[..., ::-1] + -np.asarray(CAFFE_MEAN, np.float32)
    x = x / 255.0 + -np.asarray(TORCH_MEAN, np.float32)
    return x / np.asarray(TORCH_STD, np.float32)


def _check_channels(shape: tuple[int | None, ...], axis: int) -> None:
    if len(shape) not in (3, 4) or shape[axis] != 3:
        raise ValueError(
            "This preprocessing reads RGB pictures, (height, width, 3) or (batch, height, width, "
            f"3). Received: shape {shape}. Read grey pictures with color_mode='rgb'."
        )


def obtain_input_shape(
    input_shape: tuple[int | None, ...] | None,
    default_size: int,
    min_size: int,
    require_flatten: bool,
    weights: Any = None,
) -> tuple[int | None, ...]:
    """The input shape (height, width, channels) of an application, checked by Keras' rules.

    Args:
        input_shape: what the user gave, or None.
        default_size: height and width, in pixels, where none are given and the classifier is there.
        min_size: least height and width in pixels.
        require_flatten: whether the classifier is part of the model.
        weights: as given to the application.

    Raises:
        ValueError: a shape that the network or its weights do not allow.
    """
    channels: int | None = 3
    if input_shape is not None:
        input_shape = tuple(input_shape)
        if len(input_shape) != 3:
            raise ValueError(
                "`input_shape` is (height, width, channels) without the batch. "
                f"Received: input_shape={input_shape}"
            )
        channels = input_shape[2]
        if weights == "imagenet" and channels != 3:
            raise ValueError(
                "ImageNet weights need 3 channels (RGB). "
                f"Received: input_shape={input_shape}. Read grey pictures with color_mode='rgb'."
            )
        if channels not in (1, 3):
            warnings.warn(
                f"This network usually reads 1 or 3 channels. Received: input_shape={input_shape}",
                stacklevel=5,
            )
    default_shape = (default_size, default_size, channels)
    if weights == "imagenet" and require_flatten:
        if input_shape not in (None, default_shape):
            raise ValueError(
                "With include_top=True and weights='imagenet' `input_shape` must be "
                f"{default_shape}. Received: input_shape={input_shape}. For another size use "
                "include_top=False."
            )
        return default_shape
    if input_shape is None:
        return default_shape if require_flatten else (None, None, 3)
    for side in input_shape[:2]:
        if side is not None and side < min_size:
            raise ValueError(
                f"The picture must be at least {min_size}x{min_size} pixels for this network. "
                f"Received: input_shape={input_shape}"
            )
    if require_flatten and None in input_shape:
        raise ValueError(
            "With include_top=True `input_shape` must be complete. "
            f"Received: input_shape={input_shape}"
        )
    return input_shape


def correct_pad(shape: tuple[Any, ...], kernel_size: int) -> tuple[tuple[int, int], ...]:
    """Zero padding before a valid convolution of stride 2 that makes it TensorFlow's "same".

    Args:
        shape: (batch, height, width, channels) of the tensor; a size not known counts as even.
        kernel_size: height and width of the kernel.

    Returns:
        ((top, bottom), (left, right)).
    """
    half = kernel_size // 2
    if shape[1] is None:  # Keras looks at the height only
        return ((half - 1, half), (half - 1, half))
    return tuple((half - 1 + side % 2, half) for side in shape[1:3])
