"""Xception (Chollet 2016, arXiv 1610.02357): separable convolutions with residual connections."""

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
def Xception(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "xception",
    include_preprocessing: bool = False,
) -> Model:
    """Xception: 20.9 million weights without classifier, 2,048 features, 299x299 pixels.

    Prepare pixels with `tlfast.applications.xception.preprocess_input` (-1 to 1).
    """
    request = Request(
        "Xception", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _xception(request)


def _xception(request: Request) -> Model:
    image = request.image()
    x = request.prepared(image)
    x = layers.Conv2D(32, (3, 3), strides=(2, 2), use_bias=False, name="block1_conv1")(x)
    x = _normalize(x, "block1_conv1_bn")
    x = layers.Activation("relu", name="block1_conv1_act")(x)
    x = layers.Conv2D(64, (3, 3), use_bias=False, name="block1_conv2")(x)
    x = _normalize(x, "block1_conv2_bn")
    x = layers.Activation("relu", name="block1_conv2_act")(x)
    x = _down(x, 128, 128, "block2", first_relu=False)
    x = _down(x, 256, 256, "block3")
    x = _down(x, 728, 728, "block4")
    for block in range(5, 13):
        residual = x
        for repeat in range(1, 4):
            x = layers.Activation("relu", name=f"block{block}_sepconv{repeat}_act")(x)
            x = _separable(x, 728, f"block{block}_sepconv{repeat}")
        x = layers.add([x, residual])
    x = _down(x, 728, 1024, "block13")
    x = _separable(x, 1536, "block14_sepconv1")
    x = layers.Activation("relu", name="block14_sepconv1_act")(x)
    x = _separable(x, 2048, "block14_sepconv2")
    x = layers.Activation("relu", name="block14_sepconv2_act")(x)
    avg_name = "avg_pool" if request.include_top else None
    return request.model(image, request.top(x, (avg_name, None)))


def _down(
    x: KerasTensor, middle: int, filters: int, name: str, first_relu: bool = True
) -> KerasTensor:
    """Two separable convolutions and a pooling beside a 1x1 convolution of stride 2."""
    residual = layers.Conv2D(filters, (1, 1), strides=(2, 2), padding="same", use_bias=False)(x)
    residual = _normalize(residual, None)
    if first_relu:
        x = layers.Activation("relu", name=f"{name}_sepconv1_act")(x)
    x = _separable(x, middle, f"{name}_sepconv1")
    x = layers.Activation("relu", name=f"{name}_sepconv2_act")(x)
    x = _separable(x, filters, f"{name}_sepconv2")
    x = layers.MaxPooling2D((3, 3), strides=(2, 2), padding="same", name=f"{name}_pool")(x)
    return layers.add([x, residual])


def _separable(x: KerasTensor, filters: int, name: str) -> KerasTensor:
    x = layers.SeparableConv2D(filters, (3, 3), padding="same", use_bias=False, name=name)(x)
    return _normalize(x, f"{name}_bn")


def _normalize(x: KerasTensor, name: str | None) -> KerasTensor:
    return layers.BatchNormalization(axis=-1, name=name)(x)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Pixels 0..255 to -1..1; see `imagenet_utils`."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf")


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
