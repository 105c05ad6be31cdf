"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381)."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast import layers
from tlfast._tensor import KerasTensor
from tlfast.applications import imagenet_utils
from tlfast.applications._backbone import Request, application
from tlfast.models import Model

# Stages of the paper's table 2: expansion, channels, repeats, stride of the first block.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
# There are ImageNet weights for these.
_WEIGHT_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_WEIGHT_SIZES = (96, 128, 160, 192, 224)


@application
def MobileNetV2(
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    include_preprocessing: bool = False,
) -> Model:
    """MobileNetV2: 2.3 million weights without classifier, 1,280 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.mobilenet_v2.preprocess_input` (-1 to 1).
    `alpha` multiplies the number of channels of every layer (default 1.0); ImageNet weights exist
    for 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4, for square pictures of 96, 128, 160, 192 and 224 pixels;
    other sizes take those of 224 and warn when no size or a non-square one is given.
    """
    request = Request(
        "MobileNetV2", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    image = request.image(_default_size(input_shape, input_tensor))
    shape: Any = request.input_shape
    rows, columns = shape[:2]
    if weights == "imagenet":
        rows = _weight_size(alpha, rows, columns)
        request.weight_options = {"alpha": float(alpha), "size": rows}
    if name is None:
        request.name = f"mobilenetv2_{alpha:0.2f}_{rows}"

    x = request.prepared(image)
    x = layers.Conv2D(
        _divisible(32 * alpha), 3, strides=(2, 2), padding="same", use_bias=False, name="Conv1"
    )(x)
    x = _normalize(x, "bn_Conv1")
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    block = 0
    for expansion, filters, repeats, stride in _STAGES:
        for repeat in range(repeats):
            x = _block(x, expansion, int(filters * alpha), stride if repeat == 0 else 1, block)
            block += 1
    # The paper does not narrow the last convolution; a wider network widens it.
    last = _divisible(1280 * alpha) if alpha > 1.0 else 1280
    x = layers.Conv2D(last, 1, use_bias=False, name="Conv_1")(x)
    x = _normalize(x, "Conv_1_bn")
    x = layers.ReLU(6.0, name="out_relu")(x)
    return request.model(image, request.top(x, (None, None)))


def _default_size(
    input_shape: tuple[int | None, ...] | None, input_tensor: KerasTensor | None
) -> int:
    """The size a classifier is built for where none is given."""
    if input_shape is not None and input_tensor is not None:
        if input_tensor.shape[2] != input_shape[1]:
            raise ValueError(
                "`input_shape` and `input_tensor` differ in width: "
                f"input_shape={tuple(input_shape)}, input_tensor.shape={input_tensor.shape}. "
                "Give one of the two."
            )
    given = input_shape
    if given is None and input_tensor is not None:
        given = input_tensor.shape[1:]
    if given is not None and given[0] == given[1] and given[0] in _WEIGHT_SIZES:
        return given[0]
    return 224


def _weight_size(alpha: float, rows: int | None, columns: int | None) -> int:
    """The picture size whose ImageNet weights are taken."""
    if alpha not in _WEIGHT_ALPHAS:
        raise ValueError(
            "ImageNet weights exist for alpha 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4. "
            f"Received: alpha={alpha!r}"
        )
    if rows == columns and rows in _WEIGHT_SIZES:
        return rows
    warnings.warn(
        "There are no MobileNetV2 weights made for this picture size "
        f"({rows}x{columns}; there are for squares of 96, 128, 160, 192 and 224): "
        "those for 224x224 are loaded.",
        stacklevel=4,
    )
    return 224


def _block(
    inputs: KerasTensor, expansion: int, filters: int, stride: int, block: int
) -> KerasTensor:
    channels: Any = inputs.shape[-1]
    filters = _divisible(filters)
    prefix = f"block_{block}_" if block else "expanded_conv_"
    x = inputs
    if block:
        x = layers.Conv2D(
            expansion * channels, 1, padding="same", use_bias=False, name=f"{prefix}expand"
        )(x)
        x = _normalize(x, f"{prefix}expand_BN")
        x = layers.ReLU(6.0, name=f"{prefix}expand_relu")(x)
    if stride == 2:
        padding = imagenet_utils.correct_pad(x.shape, 3)
        x = layers.ZeroPadding2D(padding, name=f"{prefix}pad")(x)
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        name=f"{prefix}depthwise",
    )(x)
    x = _normalize(x, f"{prefix}depthwise_BN")
    x = layers.ReLU(6.0, name=f"{prefix}depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{prefix}project")(x)
    x = _normalize(x, f"{prefix}project_BN")
    if channels == filters and stride == 1:
        return layers.Add(name=f"{prefix}add")([inputs, x])
    return x


def _normalize(x: KerasTensor, name: str) -> KerasTensor:
    return layers.BatchNormalization(axis=-1, epsilon=1e-3, momentum=0.999, name=name)(x)


def _divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, but at least nine tenths of it."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Pixels 0..255 to -1..1; see `imagenet_utils.preprocess_input`."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf")


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
