"""VGG with 16 layers (Simonyan and Zisserman 2014, arXiv 1409.1556), no normalization."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast import layers
from tlfast._tensor import KerasTensor
from tlfast.applications import imagenet_utils
from tlfast.applications._backbone import Request, application
from tlfast.models import Model

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]


@application
def VGG16(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "vgg16",
    include_preprocessing: bool = False,
) -> Model:
    """VGG16: 14.7 million weights without classifier, 512 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.vgg16.preprocess_input` (BGR minus means).
    """
    request = Request(
        "VGG16", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return vgg(request, (2, 2, 3, 3, 3))


def vgg(request: Request, convolutions: tuple[int, ...]) -> Model:
    """The network of a request, with so many 3x3 convolutions in each of its five blocks."""
    image = request.image()
    x = request.prepared(image)
    for block, (repeats, filters) in enumerate(
        zip(convolutions, (64, 128, 256, 512, 512), strict=True), start=1
    ):
        for repeat in range(1, repeats + 1):
            name = f"block{block}_conv{repeat}"
            x = layers.Conv2D(filters, (3, 3), activation="relu", padding="same", name=name)(x)
        x = layers.MaxPooling2D((2, 2), strides=(2, 2), name=f"block{block}_pool")(x)
    if request.include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(4096, activation="relu", name="fc1")(x)
        x = layers.Dense(4096, activation="relu", name="fc2")(x)
        x = request.classifier(x)
    else:
        x = request.pool(x, (None, None))
    return request.model(image, x)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """RGB pixels 0..255 to BGR minus the ImageNet means; see `imagenet_utils`."""
    return imagenet_utils.preprocess_input(x, data_format, mode="caffe")


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
