"""VGG with 19 layers (Simonyan and Zisserman 2014, arXiv 1409.1556), no normalization."""

import os
from collections.abc import Callable
from typing import Any

from tlfast._tensor import KerasTensor
from tlfast.applications._backbone import Request, application
from tlfast.applications.vgg16 import decode_predictions, preprocess_input, vgg
from tlfast.models import Model

__all__ = ["VGG19", "decode_predictions", "preprocess_input"]


@application
def VGG19(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "vgg19",
    include_preprocessing: bool = False,
) -> Model:
    """VGG19: 20.0 million weights without classifier, 512 features, 224x224 pixels.

    Prepare pixels with `tlfast.applications.vgg19.preprocess_input` (BGR minus means).
    """
    request = Request(
        "VGG19", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return vgg(request, (2, 2, 4, 4, 4))
