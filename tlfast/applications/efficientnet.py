"""EfficientNet B0 to B7 (Tan and Le 2019, arXiv 1905.11946).

The network reads pixels 0 to 255: scaling and normalization are its first layers.

While `fit` runs, whole branches are dropped at random, as in Keras also where `trainable` is False:
call a frozen network as `base(x, training=False)`. Its features are then the same in every epoch
and are computed once.

The functions here and those of `efficientnet_lite` share one builder.
"""

import copy
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlfast import layers
from tlfast._tensor import KerasTensor
from tlfast.applications import imagenet_utils
from tlfast.applications._backbone import Request, application
from tlfast.models import Model

__all__ = [
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "decode_predictions",
    "preprocess_input",
]

# Stages: kernel size, repeats, filters in, filters out, expansion, stride.
_STAGES = (
    (3, 1, 32, 16, 1, 1), (3, 2, 16, 24, 6, 2), (5, 2, 24, 40, 6, 2), (3, 3, 40, 80, 6, 2),
    (5, 3, 80, 112, 6, 1), (5, 4, 112, 192, 6, 2), (3, 1, 192, 320, 6, 1),
)  # fmt: skip
_SKIP_DROPOUT = 0.2  # at the last block, growing linearly from the first
_IMAGENET_STD = (0.229, 0.224, 0.225)
_KERNEL = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"},
}
_CLASSIFIER_KERNEL = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0 / 3.0, "mode": "fan_out", "distribution": "uniform"},
}


@application
def EfficientNetB0(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb0",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB0: 4.0 million weights without classifier, 1,280 features, 224x224 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB0", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.0, depth=1.0, dropout=0.2))


@application
def EfficientNetB1(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb1",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB1: 6.6 million weights without classifier, 1,280 features, 240x240 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB1", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.0, depth=1.1, dropout=0.2))


@application
def EfficientNetB2(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb2",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB2: 7.8 million weights without classifier, 1,408 features, 260x260 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB2", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.1, depth=1.2, dropout=0.3))


@application
def EfficientNetB3(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb3",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB3: 10.8 million weights without classifier, 1,536 features, 300x300 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB3", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.2, depth=1.4, dropout=0.3))


@application
def EfficientNetB4(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb4",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB4: 17.7 million weights without classifier, 1,792 features, 380x380 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB4", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.4, depth=1.8, dropout=0.4))


@application
def EfficientNetB5(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb5",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB5: 28.5 million weights without classifier, 2,048 features, 456x456 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB5", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.6, depth=2.2, dropout=0.4))


@application
def EfficientNetB6(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb6",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB6: 41.0 million weights without classifier, 2,304 features, 528x528 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB6", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=1.8, depth=2.6, dropout=0.5))


@application
def EfficientNetB7(
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "efficientnetb7",
    include_preprocessing: bool = True,
) -> Model:
    """EfficientNetB7: 64.1 million weights without classifier, 2,560 features, 600x600 pixels.

    Takes pixels 0 to 255 as they are; `preprocess_input` is there for scripts and changes nothing.
    """
    request = Request(
        "EfficientNetB7", include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, name, include_preprocessing,
    )  # fmt: skip
    return build(request, Scaling(width=2.0, depth=3.1, dropout=0.5))


@dataclass(frozen=True)
class Scaling:
    """How a member of the family differs from B0.

    Attributes:
        width: factor on the number of filters.
        depth: factor on the number of blocks of a stage.
        dropout: rate before the classifier.
        lite: ReLU6, no squeeze and excitation, no normalization in the network, and stem, first
            stage, last stage and head as in B0.
    """

    width: float
    depth: float
    dropout: float
    lite: bool = False

    @property
    def activation(self) -> str:
        """Activation of every layer."""
        return "relu6" if self.lite else "swish"

    def filters(self, filters: int) -> int:
        """The number of filters, scaled, as a multiple of 8 and at least nine tenths of it."""
        scaled = filters * self.width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded

    def repeats(self, repeats: int, fixed: bool) -> int:
        """The number of blocks of a stage."""
        return repeats if fixed and self.lite else math.ceil(self.depth * repeats)


def build(request: Request, scaling: Scaling) -> Model:
    """The network of a request at a scaling."""
    image = request.image()
    x = request.prepared(image)
    if not scaling.lite:
        x = _normalize_pixels(x, request.weights)
    x = layers.ZeroPadding2D(imagenet_utils.correct_pad(x.shape, 3), name="stem_conv_pad")(x)
    stem = 32 if scaling.lite else scaling.filters(32)
    x = _conv(x, stem, "stem_conv", size=3, strides=2, padding="valid")
    x = layers.BatchNormalization(axis=3, name="stem_bn")(x)
    x = layers.Activation(scaling.activation, name="stem_activation")(x)

    ends = (0, len(_STAGES) - 1)
    counts = [scaling.repeats(s[1], i in ends) for i, s in enumerate(_STAGES)]
    done = 0
    for index, (size, _, filters_in, filters_out, expansion, stride) in enumerate(_STAGES):
        for repeat in range(counts[index]):
            x = _block(
                x, scaling,
                name=f"block{index + 1}{chr(ord('a') + repeat)}_",
                size=size,
                filters_in=scaling.filters(filters_out if repeat else filters_in),
                filters_out=scaling.filters(filters_out),
                expansion=expansion,
                stride=1 if repeat else stride,
                skip_dropout=_SKIP_DROPOUT * done / float(sum(counts)),
            )  # fmt: skip
            done += 1

    x = _conv(x, 1280 if scaling.lite else scaling.filters(1280), "top_conv")
    x = layers.BatchNormalization(axis=3, name="top_bn")(x)
    x = layers.Activation(scaling.activation, name="top_activation")(x)
    if request.include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(scaling.dropout, name="top_dropout")(x)
        x = request.classifier(x, kernel_initializer=copy.deepcopy(_CLASSIFIER_KERNEL))
    else:
        x = request.pool(x, ("avg_pool", "max_pool"))
    model = request.model(image, x)
    if request.weights not in (None, "imagenet") and not scaling.lite:
        _warn_of_published_file(model, request)
    return model


def _warn_of_published_file(model: Model, request: Request) -> None:
    normalization = next(x for x in model.layers if isinstance(x, layers.Normalization))
    if np.allclose(normalization.get_weights()[1], _IMAGENET_STD):
        warnings.warn(
            f"{request.weights} holds standard deviations where the network expects variances, as "
            "the published ImageNet files do. Only weights='imagenet' corrects that; with a path "
            "the features come out wrong, here as in Keras. Put the file into ~/.keras/models (or "
            f"the folder TLFAST_WEIGHTS_DIR) and build {request.application}(weights='imagenet').",
            stacklevel=4,
        )


def _normalize_pixels(x: KerasTensor, weights: str | os.PathLike[str] | None) -> KerasTensor:
    x = layers.Rescaling(1.0 / 255.0)(x)
    x = layers.Normalization(axis=3)(x)
    if isinstance(weights, str) and weights == "imagenet":
        # The published files hold standard deviations where the layer expects variances, and the
        # layer takes their root: this factor divides by the other root (TensorFlow issue 49930).
        x = layers.Rescaling([1.0 / math.sqrt(std) for std in _IMAGENET_STD])(x)
    return x


def _block(
    inputs: KerasTensor, scaling: Scaling, name: str, size: int, filters_in: int, filters_out: int,
    expansion: int, stride: int, skip_dropout: float,
) -> KerasTensor:  # fmt: skip
    """An inverted residual block: widen, depthwise convolution, squeeze and excite, narrow."""
    x = inputs
    filters = filters_in * expansion
    if expansion != 1:
        x = _conv(x, filters, f"{name}expand_conv")
        x = layers.BatchNormalization(axis=3, name=f"{name}expand_bn")(x)
        x = layers.Activation(scaling.activation, name=f"{name}expand_activation")(x)
    if stride == 2:
        padding = imagenet_utils.correct_pad(x.shape, size)
        x = layers.ZeroPadding2D(padding, name=f"{name}dwconv_pad")(x)
    x = layers.DepthwiseConv2D(
        size,
        strides=stride,
        padding="valid" if stride == 2 else "same",
        use_bias=False,
        depthwise_initializer=copy.deepcopy(_KERNEL),
        name=f"{name}dwconv",
    )(x)
    x = layers.BatchNormalization(axis=3, name=f"{name}bn")(x)
    x = layers.Activation(scaling.activation, name=f"{name}activation")(x)
    if not scaling.lite:
        x = _squeeze_and_excite(x, max(1, filters_in // 4), scaling.activation, name)
    x = _conv(x, filters_out, f"{name}project_conv")
    x = layers.BatchNormalization(axis=3, name=f"{name}project_bn")(x)
    if stride == 1 and filters_in == filters_out:
        if skip_dropout > 0:  # whole pictures are dropped from the branch
            shape = (None, 1, 1, 1)
            x = layers.Dropout(skip_dropout, noise_shape=shape, name=f"{name}drop")(x)
        x = layers.add([x, inputs], name=f"{name}add")
    return x


def _squeeze_and_excite(x: KerasTensor, narrow: int, activation: str, name: str) -> KerasTensor:
    filters: Any = x.shape[-1]
    scale = layers.GlobalAveragePooling2D(name=f"{name}se_squeeze")(x)
    scale = layers.Reshape((1, 1, filters), name=f"{name}se_reshape")(scale)
    scale = _conv(scale, narrow, f"{name}se_reduce", activation=activation, use_bias=True)
    scale = _conv(scale, filters, f"{name}se_expand", activation="sigmoid", use_bias=True)
    return layers.multiply([x, scale], name=f"{name}se_excite")


def _conv(
    x: KerasTensor, filters: int, name: str, size: int = 1, strides: int = 1,
    padding: str = "same", activation: str | None = None, use_bias: bool = False,
) -> KerasTensor:  # fmt: skip
    return layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=copy.deepcopy(_KERNEL),
        name=name,
    )(x)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Returns `x`, pixels 0..255: the network normalizes them itself.

    Args:
        x: pixels, an array or a symbolic tensor.
        data_format: for scripts; there is nothing to do in either format.
    """
    return x


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, np.floating]]]:
    """Names the most probable ImageNet classes; see `imagenet_utils.decode_predictions`."""
    return imagenet_utils.decode_predictions(preds, top)
