"""What every application does before and after its own layers."""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tlfast import activations, layers
from tlfast._backbones import Stem, mark
from tlfast._errors import did_you_mean
from tlfast._tensor import KerasTensor, flatten
from tlfast.applications import _registry, imagenet_utils
from tlfast.applications._scales import SCALES
from tlfast.models import Model

_ARGUMENTS = """
Args:
    include_top: whether the classifier is part of the model. Defaults to True.
    weights: "imagenet" (default), the path of a weight file, or None for random initial weights.
    input_tensor: a symbolic tensor to build on, for example `tlfast.Input(...)` or the output of
        augmentation layers. Defaults to None: a new input.
    input_shape: (height, width, 3) in pixels. Defaults to the size the weights were made for
        with the classifier, and to (None, None, 3) without it. At least {least} pixels a side.
    pooling: without the classifier: "avg" or "max" for global pooling (outputs of 2 axes), or
        None (default) for the last feature map (4 axes). With the classifier it has no effect.
    classes: number of outputs of the classifier. Defaults to 1000, which ImageNet weights need.
    classifier_activation: activation of the classifier. Defaults to "softmax"; None gives logits.
        With pretrained weights only these two.
    name: name of the model.
    include_preprocessing: whether the model scales pixels 0 to 255 itself, in layers without
        weights in front of the network; they are saved with it. {preprocessing}

Returns:
    A `Model`, not compiled.

Raises:
    ValueError: an argument has another value than listed.
    OSError: the weights are not on this machine and could not be fetched.
"""


@dataclass
class Request:
    """The arguments of one call, checked, and the steps all applications share."""

    application: str
    include_top: bool
    weights: str | os.PathLike[str] | None
    input_tensor: KerasTensor | None
    input_shape: tuple[int | None, ...] | None
    pooling: str | None
    classes: int
    classifier_activation: str | Callable[..., Any] | None
    name: str | None
    include_preprocessing: bool = False
    weight_options: dict[str, Any] = field(default_factory=dict)  # which of several files

    def __post_init__(self) -> None:
        self.record: _registry.Backbone = _registry.lookup(self.application)
        check_weights(self.weights)
        if self.weights == "imagenet" and self.include_top and self.classes != 1000:
            raise ValueError(
                "The ImageNet classifier has 1000 classes: with weights='imagenet' and "
                f"include_top=True `classes` must be 1000. Received: classes={self.classes!r}. "
                "For your own classes use include_top=False and add your own Dense layer."
            )
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(
                f"`pooling` is None, 'avg' or 'max'. Received: pooling={self.pooling!r}"
            )
        if not isinstance(self.include_preprocessing, bool):
            raise ValueError(
                "`include_preprocessing` is True or False. Received: "
                f"include_preprocessing={self.include_preprocessing!r}"
            )
        if self.record.preprocessing == "none" and not self.include_preprocessing:
            raise ValueError(
                f"{self.application} always scales pixels itself, as in Keras: its first layers "
                "hold numbers of the weight file. Received: include_preprocessing=False. Leave "
                "the argument out and pass pixels 0 to 255."
            )
        if self.input_tensor is not None and not isinstance(self.input_tensor, KerasTensor):
            raise ValueError(
                "`input_tensor` must be symbolic, such as tlfast.Input((224, 224, 3)). Received: "
                f"{type(self.input_tensor).__name__}. To run the model on an array, build it "
                "first and call model.predict(array)."
            )

    def image(self, default_size: int | None = None) -> KerasTensor:
        """The tensor the first layer reads.

        Args:
            default_size: height and width in pixels where none are given. Defaults to the record's.
        """
        self.input_shape = imagenet_utils.obtain_input_shape(
            self.input_shape,
            default_size=default_size or self.record.default_size,
            min_size=self.record.min_size,
            require_flatten=self.include_top,
            weights=self.weights,
        )
        if self.input_tensor is not None:
            return self.input_tensor
        return layers.Input(shape=self.input_shape)

    def prepared(self, image: KerasTensor) -> KerasTensor:
        """The image as the weights expect it: scaled by layers where that was asked for."""
        if not self.include_preprocessing or self.record.preprocessing == "none":
            return image
        scale = SCALES[self.record.preprocessing]
        if not scale.uniform and image.shape[-1] != 3:
            raise ValueError(
                f"include_preprocessing=True of {self.application} needs RGB pictures (3 channels)."
                f" Received: input shape {image.shape}"
            )
        # Layers that Keras has too, and without weights, so that files of weights fit as ever.
        if not scale.bgr:
            return layers.Rescaling(scale.factor, offset=scale.offset)(image)
        x = layers.Rescaling(scale.factor, offset=scale.offset[::-1])(image)
        # Neither x[..., ::-1], which Keras does not read from .h5 files, nor a convolution, which
        # would have weights.
        channels = [
            layers.Cropping2D(((0, 0), (c, 2 - c)), data_format="channels_first")(x)
            for c in (2, 1, 0)
        ]
        return layers.Concatenate()(channels)

    def top(self, x: KerasTensor, pool_names: tuple[str | None, str | None]) -> KerasTensor:
        """The classifier, or the global pooling without it.

        Args:
            x: the last feature map.
            pool_names: names of the average and of the maximum pooling layer; None for automatic
                ones.
        """
        if self.include_top:
            x = layers.GlobalAveragePooling2D(name=pool_names[0])(x)
            return self.classifier(x)
        return self.pool(x, pool_names)

    def classifier(self, x: KerasTensor, **arguments: Any) -> KerasTensor:
        """The last Dense layer, "predictions"."""
        if self.weights is not None:
            known = (activations.get("softmax"), activations.get(None))
            if activations.get(self.classifier_activation) not in known:
                raise ValueError(
                    "With pretrained weights and the classifier, `classifier_activation` is "
                    "'softmax' or None. Received: "
                    f"classifier_activation={self.classifier_activation!r}"
                )
        return layers.Dense(
            self.classes, activation=self.classifier_activation, name="predictions", **arguments
        )(x)

    def pool(self, x: KerasTensor, pool_names: tuple[str | None, str | None]) -> KerasTensor:
        """The global pooling asked for by `pooling`."""
        if self.pooling == "avg":
            return layers.GlobalAveragePooling2D(name=pool_names[0])(x)
        if self.pooling == "max":
            return layers.GlobalMaxPooling2D(name=pool_names[1])(x)
        return x

    def model(self, image: KerasTensor, x: KerasTensor) -> Model:
        """The model from its input to `x`, with its weights loaded."""
        inputs = image if self.input_tensor is None else source_inputs(self.input_tensor)
        model = Model(inputs, x, name=self.name)
        expects = "none" if self.include_preprocessing else self.record.preprocessing
        stem = Stem(self.application, expects, self.weights is not None)
        mark(model, image, stem)
        if self.weights is not None:
            from tlfast.weights import load_pretrained

            stem.weights_file = load_pretrained(
                model, self.application, self.weights, self.include_top, **self.weight_options
            )
        if isinstance(self.weights, str) and self.weights == "imagenet":
            stem.pretrained, stem.trained_on = True, None  # whatever a file of that name says
        return model


def check_weights(weights: Any) -> None:
    """Raises ValueError unless `weights` is None, "imagenet" or the path of an existing file."""
    if weights is None or isinstance(weights, (str, os.PathLike)) and weights == "imagenet":
        return
    if isinstance(weights, (str, os.PathLike)) and os.path.exists(weights):
        return
    hint = ""
    if isinstance(weights, (str, os.PathLike)):
        hint = did_you_mean(weights, ["imagenet"]) or " There is no such file."
    raise ValueError(
        "`weights` is None (random initial weights), 'imagenet' (made on ImageNet) or the path of "
        f"an existing weight file. Received: weights={weights!r}.{hint}"
    )


def source_inputs(tensor: KerasTensor) -> list[KerasTensor]:
    """The inputs, in the order found, that a symbolic tensor is computed from."""
    found: dict[int, KerasTensor] = {}
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        operation, node_index, _ = current._keras_history
        node = operation._inbound_nodes[node_index]
        if node.is_input:
            found.setdefault(id(current), current)
        waiting.extend(reversed(flatten(node.input_tensors, KerasTensor)))
    return list(found.values())


def application(function: Callable[..., Model]) -> Callable[..., Model]:
    """Completes an application function: common docstring, a suggestion for a misspelt argument."""
    known = inspect.signature(function).parameters
    record = _registry.lookup(function.__name__)

    @functools.wraps(function)
    def build(*args: Any, **kwargs: Any) -> Model:
        for key in kwargs:
            if key not in known:
                raise TypeError(
                    f"{function.__name__}() has no argument {key!r}.{did_you_mean(key, known)} "
                    f"It takes: {', '.join(known)}."
                )
        return function(*args, **kwargs)

    text = inspect.cleandoc(function.__doc__ or "")
    scaled = "Always True here." if record.preprocessing == "none" else "Defaults to False."
    arguments = _ARGUMENTS.format(least=record.min_size, preprocessing=scaled)
    build.__doc__ = f"{text}\n{arguments}"
    return build
