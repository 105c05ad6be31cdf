"""ResNet with 50, 101 and 152 layers (He et al. 2015, arXiv 1512.03385), version 1.

As in Keras every convolution has a bias, the stride of a stage sits on the first 1x1 convolution
and on the shortcut of its first block, and batch normalization uses epsilon 1.001e-5.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast import layers
from tlfast._tensor import KerasTensor
from tlfast.applications import imagenet_utils
from tlfast.applications._backbone import Request, application
from tlfast.models import Model

_EPSILON = 1.001e-5


@application
def ResNet50(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "resnet50",
    include_preprocessing: bool = False,
) -> Model:
    """ResNet50: 23.6 million weights without classifier, 2,048 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.resnet50.preprocess_input` (BGR minus means).
    """
    request = Request(
        "ResNet50", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _resnet(request, (3, 4, 6, 3))


@application
def ResNet101(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "resnet101",
    include_preprocessing: bool = False,
) -> Model:
    """ResNet101: 42.7 million weights without classifier, 2,048 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.resnet.preprocess_input` (BGR minus means).
    """
    request = Request(
        "ResNet101", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _resnet(request, (3, 4, 23, 3))


@application
def ResNet152(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "resnet152",
    include_preprocessing: bool = False,
) -> Model:
    """ResNet152: 58.4 million weights without classifier, 2,048 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.resnet.preprocess_input` (BGR minus means).
    """
    request = Request(
        "ResNet152", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _resnet(request, (3, 8, 36, 3))


def _resnet(request: Request, repeats: tuple[int, int, int, int]) -> Model:
    image = request.image()
    x = layers.ZeroPadding2D(((3, 3), (3, 3)), name="conv1_pad")(request.prepared(image))
    x = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(x)
    x = _normalize(x, "conv1_bn")
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(((1, 1), (1, 1)), name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, blocks in enumerate(repeats):
        for block in range(blocks):
            first = block == 0
            x = _block(
                x,
                filters=64 * 2**stage,
                stride=2 if first and stage > 0 else 1,
                shortcut_conv=first,
                name=f"conv{stage + 2}_block{block + 1}",
            )
    return request.model(image, request.top(x, ("avg_pool", "max_pool")))


def _block(
    x: KerasTensor, filters: int, stride: int, shortcut_conv: bool, name: str
) -> KerasTensor:
    shortcut = x
    if shortcut_conv:
        shortcut = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(x)
        shortcut = _normalize(shortcut, f"{name}_0_bn")
    x = layers.Conv2D(filters, 1, strides=stride, name=f"{name}_1_conv")(x)
    x = _normalize(x, f"{name}_1_bn")
    x = layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(x)
    x = _normalize(x, f"{name}_2_bn")
    x = layers.Activation("relu", name=f"{name}_2_relu")(x)
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    x = _normalize(x, f"{name}_3_bn")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _normalize(x: KerasTensor, name: str) -> KerasTensor:
    return layers.BatchNormalization(axis=3, epsilon=_EPSILON, name=name)(x)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """RGB pixels 0..255 to BGR minus the ImageNet means; see `imagenet_utils.preprocess_input`."""
    return imagenet_utils.preprocess_input(x, data_format, mode="caffe")


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
