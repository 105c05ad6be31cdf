"""DenseNet with 121, 169 and 201 layers (Huang et al. 2016, arXiv 1608.06993)."""

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
_GROWTH = 32  # channels each block adds


@application
def DenseNet121(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "densenet121",
    include_preprocessing: bool = False,
) -> Model:
    """DenseNet121: 7.0 million weights without classifier, 1,024 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.densenet.preprocess_input` (means and deviations).
    """
    request = Request(
        "DenseNet121", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _densenet(request, (6, 12, 24, 16))


@application
def DenseNet169(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "densenet169",
    include_preprocessing: bool = False,
) -> Model:
    """DenseNet169: 12.6 million weights without classifier, 1,664 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.densenet.preprocess_input` (means and deviations).
    """
    request = Request(
        "DenseNet169", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _densenet(request, (6, 12, 32, 32))


@application
def DenseNet201(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "densenet201",
    include_preprocessing: bool = False,
) -> Model:
    """DenseNet201: 18.3 million weights without classifier, 1,920 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.densenet.preprocess_input` (means and deviations).
    """
    request = Request(
        "DenseNet201", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return _densenet(request, (6, 12, 48, 32))


def _densenet(request: Request, repeats: tuple[int, int, int, int]) -> Model:
    image = request.image()
    x = layers.ZeroPadding2D(((3, 3), (3, 3)))(request.prepared(image))
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = _normalize(x, "conv1_bn")
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(((1, 1), (1, 1)))(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for stage, blocks in enumerate(repeats, start=2):
        for block in range(1, blocks + 1):
            x = _block(x, f"conv{stage}_block{block}")
        if stage < 5:
            x = _transition(x, f"pool{stage}")
    x = _normalize(x, "bn")
    x = layers.Activation("relu", name="relu")(x)
    return request.model(image, request.top(x, ("avg_pool", "max_pool")))


def _block(x: KerasTensor, name: str) -> KerasTensor:
    new = _normalize(x, f"{name}_0_bn")
    new = layers.Activation("relu", name=f"{name}_0_relu")(new)
    new = layers.Conv2D(4 * _GROWTH, 1, use_bias=False, name=f"{name}_1_conv")(new)
    new = _normalize(new, f"{name}_1_bn")
    new = layers.Activation("relu", name=f"{name}_1_relu")(new)
    new = layers.Conv2D(_GROWTH, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(new)
    return layers.Concatenate(axis=3, name=f"{name}_concat")([x, new])


def _transition(x: KerasTensor, name: str) -> KerasTensor:
    """Half the channels, half the height and width."""
    x = _normalize(x, f"{name}_bn")
    x = layers.Activation("relu", name=f"{name}_relu")(x)
    channels: Any = x.shape[3]
    x = layers.Conv2D(channels // 2, 1, use_bias=False, name=f"{name}_conv")(x)
    return layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)


def _normalize(x: KerasTensor, name: str) -> KerasTensor:
    return layers.BatchNormalization(axis=3, epsilon=_EPSILON, name=name)(x)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Pixels 0..255 to 0..1, minus ImageNet means, over deviations; see `imagenet_utils`."""
    return imagenet_utils.preprocess_input(x, data_format, mode="torch")


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
