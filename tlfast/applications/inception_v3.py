"""InceptionV3 (Szegedy et al. 2015, arXiv 1512.00567). Batch normalization without gamma."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast import layers
from tlfast._tensor import KerasTensor
from tlfast.applications import imagenet_utils
from tlfast.applications._backbone import Request, application
from tlfast.models import Model


@application
def InceptionV3(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "inception_v3",
    include_preprocessing: bool = False,
) -> Model:
    """InceptionV3: 21.8 million weights without classifier, 2,048 features, 299x299 pixels.

    Prepare pixels with `tlfast.applications.inception_v3.preprocess_input` (-1 to 1).
    """
    request = Request(
        "InceptionV3", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _inception(request)


def _inception(request: Request) -> Model:
    image = request.image()
    x = _conv(request.prepared(image), 32, 3, 3, stride=2, padding="valid")
    x = _conv(x, 32, 3, 3, padding="valid")
    x = _conv(x, 64, 3, 3)
    x = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)
    x = _conv(x, 80, 1, 1, padding="valid")
    x = _conv(x, 192, 3, 3, padding="valid")
    x = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)
    for index, pooled in enumerate((32, 64, 64)):
        x = _mixed_5x5(x, pooled, f"mixed{index}")
    x = _reduce_to_17(x)
    for index, narrow in enumerate((128, 160, 160, 192), start=4):
        x = _mixed_7x7(x, narrow, f"mixed{index}")
    x = _reduce_to_8(x)
    for index in range(2):
        x = _mixed_split(x, index)
    avg_name = "avg_pool" if request.include_top else None
    return request.model(image, request.top(x, (avg_name, None)))


def _mixed_5x5(x: KerasTensor, pooled: int, name: str) -> KerasTensor:
    one = _conv(x, 64, 1, 1)
    five = _conv(x, 48, 1, 1)
    five = _conv(five, 64, 5, 5)
    double = _conv(x, 64, 1, 1)
    double = _conv(double, 96, 3, 3)
    double = _conv(double, 96, 3, 3)
    pool = _conv(_average(x), pooled, 1, 1)
    return layers.concatenate([one, five, double, pool], axis=3, name=name)


def _reduce_to_17(x: KerasTensor) -> KerasTensor:
    three = _conv(x, 384, 3, 3, stride=2, padding="valid")
    double = _conv(x, 64, 1, 1)
    double = _conv(double, 96, 3, 3)
    double = _conv(double, 96, 3, 3, stride=2, padding="valid")
    pool = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)
    return layers.concatenate([three, double, pool], axis=3, name="mixed3")


def _mixed_7x7(x: KerasTensor, narrow: int, name: str) -> KerasTensor:
    one = _conv(x, 192, 1, 1)
    seven = _conv(x, narrow, 1, 1)
    seven = _conv(seven, narrow, 1, 7)
    seven = _conv(seven, 192, 7, 1)
    double = _conv(x, narrow, 1, 1)
    double = _conv(double, narrow, 7, 1)
    double = _conv(double, narrow, 1, 7)
    double = _conv(double, narrow, 7, 1)
    double = _conv(double, 192, 1, 7)
    pool = _conv(_average(x), 192, 1, 1)
    return layers.concatenate([one, seven, double, pool], axis=3, name=name)


def _reduce_to_8(x: KerasTensor) -> KerasTensor:
    three = _conv(x, 192, 1, 1)
    three = _conv(three, 320, 3, 3, stride=2, padding="valid")
    seven = _conv(x, 192, 1, 1)
    seven = _conv(seven, 192, 1, 7)
    seven = _conv(seven, 192, 7, 1)
    seven = _conv(seven, 192, 3, 3, stride=2, padding="valid")
    pool = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)
    return layers.concatenate([three, seven, pool], axis=3, name="mixed8")


def _mixed_split(x: KerasTensor, index: int) -> KerasTensor:
    one = _conv(x, 320, 1, 1)
    three = _conv(x, 384, 1, 1)
    wide, tall = _conv(three, 384, 1, 3), _conv(three, 384, 3, 1)
    three = layers.concatenate([wide, tall], axis=3, name=f"mixed9_{index}")
    double = _conv(x, 448, 1, 1)
    double = _conv(double, 384, 3, 3)
    wide, tall = _conv(double, 384, 1, 3), _conv(double, 384, 3, 1)
    double = layers.concatenate([wide, tall], axis=3)
    pool = _conv(_average(x), 192, 1, 1)
    return layers.concatenate([one, three, double, pool], axis=3, name=f"mixed{9 + index}")


def _average(x: KerasTensor) -> KerasTensor:
    return layers.AveragePooling2D((3, 3), strides=(1, 1), padding="same")(x)


def _conv(
    x: KerasTensor, filters: int, height: int, width: int, stride: int = 1, padding: str = "same"
) -> KerasTensor:
    x = layers.Conv2D(
        filters, (height, width), strides=(stride, stride), padding=padding, use_bias=False
    )(x)
    x = layers.BatchNormalization(axis=3, scale=False)(x)
    return layers.Activation("relu")(x)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Pixels 0..255 to -1..1; see `imagenet_utils`."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf")


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
