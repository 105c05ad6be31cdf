"""A network of a few thousand weights that stands in for a pretrained one in tests."""

import os
from collections.abc import Callable
from typing import Any

from tlfast import layers
from tlfast._arguments import checked_arguments
from tlfast._backbones import Stem, mark
from tlfast._errors import did_you_mean
from tlfast._tensor import KerasTensor
from tlfast.applications import _registry, imagenet_utils
from tlfast.applications._backbone import source_inputs
from tlfast.models import Model
from tlfast.testing._filters import FEATURES, FILTERS, fixed_weights


@checked_arguments
def TinyBackbone(
    include_top: bool = False,
    weights: str | os.PathLike[str] | None = "fixed",
    input_tensor: KerasTensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str = "tinybackbone",
) -> Model:
    """A backbone of 21 kB whose weights are a formula: edges, lines, corners, colours.

    It is used, frozen, trained and saved like the networks of `tlfast.applications`, and a head on
    it learns classes that differ in colour or shape. It reads pixels 0 to 255 and scales them
    itself; other ranges give a `tlfast.InputRangeWarning`, as for pretrained networks.

    Args:
        include_top: whether a classifier is part of the model. Defaults to False: the fixed
            weights have none.
        weights: "fixed" (default), the path of a weight file, or None for random initial weights.
        input_tensor: a symbolic tensor to build on. Defaults to None: a new input.
        input_shape: (height, width, 3) in pixels, at least 8 a side. Defaults to (32, 32, 3) with
            the classifier, and to (None, None, 3) without it.
        pooling: without the classifier: "avg" or "max" for global pooling (outputs of 2 axes), or
            None (default) for the last feature map (4 axes).
        classes: number of outputs of the classifier. Defaults to 10.
        classifier_activation: activation of the classifier. Defaults to "softmax".
        name: name of the model.

    Returns:
        A `Model`, not compiled, with 32 features.

    Raises:
        ValueError: an argument has another value than listed.
    """
    _check(include_top, weights, input_tensor, input_shape, pooling)
    record = _registry.TEST_BACKBONE
    shape = imagenet_utils.obtain_input_shape(
        input_shape, record.default_size, record.min_size, require_flatten=include_top
    )
    image = layers.Input(shape=shape) if input_tensor is None else input_tensor
    x = _features(image)
    if include_top:
        x = layers.GlobalAveragePooling2D()(x)
        x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    elif pooling is not None:
        pool = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]
        x = pool()(x)
    model = Model(image if input_tensor is None else source_inputs(input_tensor), x, name=name)
    mark(model, image, Stem(record.name, record.preprocessing, weights is not None))
    if weights == "fixed":
        for layer, values in fixed_weights().items():
            model.get_layer(layer).set_weights(values)
    elif weights is not None:
        model.load_weights(weights)
    return model


def _features(image: KerasTensor) -> KerasTensor:
    x = layers.Rescaling(1.0 / 255.0)(image)
    x = layers.Conv2D(FILTERS, 3, padding="same", activation="relu", name="edges")(x)
    x = layers.MaxPooling2D(2, name="edges_pool")(x)
    x = layers.Conv2D(FEATURES, 3, padding="same", use_bias=False, name="parts")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name="parts_bn")(x)
    return layers.ReLU(name="parts_relu")(x)


def _check(
    include_top: bool, weights: Any, input_tensor: Any, input_shape: Any, pooling: Any
) -> None:
    named = isinstance(weights, (str, os.PathLike))
    if weights is not None and not (named and (weights == "fixed" or os.path.exists(weights))):
        hint = (did_you_mean(weights, ["fixed"]) or " There is no such file.") if named else ""
        raise ValueError(
            "`weights` of TinyBackbone is 'fixed', None (random initial weights) or the path of an "
            f"existing weight file. Received: weights={weights!r}.{hint}"
        )
    if include_top and weights == "fixed":
        raise ValueError(
            "The fixed weights of TinyBackbone have no classifier. Received: include_top=True, "
            "weights='fixed'. Use include_top=False and add your own Dense layer, or weights=None."
        )
    if input_tensor is not None and not isinstance(input_tensor, KerasTensor):
        raise ValueError(
            "`input_tensor` must be symbolic, such as tlfast.Input((32, 32, 3)). Received: "
            f"{type(input_tensor).__name__}"
        )
    channels = input_tensor.shape[-1] if input_tensor is not None else (input_shape or (3,))[-1]
    if weights == "fixed" and channels != 3:
        raise ValueError(
            "The fixed weights of TinyBackbone need 3 channels (RGB). Received: "
            f"{channels} channels. Read grey pictures with color_mode='rgb'."
        )
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"`pooling` is None, 'avg' or 'max'. Received: pooling={pooling!r}")
