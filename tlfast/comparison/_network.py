"""The network of an arm: backbone with its own preprocessing, and a head that can start again."""

import importlib
import warnings
from typing import Any

import numpy as np

from tlfast import applications, layers, models
from tlfast._warnings import InputRangeWarning
from tlfast.applications import _registry
from tlfast.applications._scales import SCALES
from tlfast.comparison._arms import PIXELS, Freeze, set_flags
from tlfast.utils import set_random_seed

# Random initial weights of a backbone (weights=None) are the same in every arm.
BASE_SEED = 0


class Network:
    """Backbone, global average pooling and one softmax layer, for one freeze level.

    One model serves all trainings of a backbone and freeze level, so that the features of its
    frozen part are computed once: before each training the trained weights go back to their start.

    Args:
        backbone: name of the application.
        freeze: see `tlfast.comparison._arms.check_freeze`.
        weights: as the application takes it.
        size: (height, width) in pixels.
        n_classes: number of classes.
        train_bn: whether trained batch-norm layers use and update the batch's statistics.
        pixels: None for the backbone's own preprocessing, or a key of `_arms.PIXELS`.
    """

    def __init__(
        self,
        backbone: str,
        freeze: Freeze,
        weights: Any,
        size: tuple[int, int],
        n_classes: int,
        train_bn: bool,
        pixels: str | None = None,
    ) -> None:
        set_random_seed(BASE_SEED)
        build = getattr(applications, backbone)
        self.base = build(include_top=False, weights=weights, input_shape=(*size, 3), pooling="avg")
        inputs = layers.Input(shape=(*size, 3))
        x = _own_preprocessing(backbone)(inputs) if pixels is None else _scaled(inputs, pixels)
        # training=False keeps batch-norm statistics and dropout of the backbone as in prediction,
        # also in layers whose weights are trained.
        x = self.base(x) if train_bn and freeze != "all" else self.base(x, training=False)
        self._n_classes = n_classes
        self._head = self._new_head()
        self.model = models.Model(inputs, self._head(x), name=f"{backbone.lower()}_classifier")
        set_flags(self.base, freeze)
        # Everything a training can change: moving statistics are not trainable but written.
        self._start = [
            (variable, variable.numpy())
            for layer in self.base._flatten_layers()
            if layer is not self.base and layer.trainable
            for variable in layer.weights
        ]
        self._changed = False

    def _new_head(self) -> Any:
        return layers.Dense(self._n_classes, activation="softmax", name="head")

    def restart(self, seed: int) -> None:
        """Give the trained weights the values with which a training of this seed starts.

        Equal to `set_random_seed(seed)` and a new head on a backbone just loaded.
        """
        set_random_seed(seed)
        head = self._new_head()
        head.build((None, *self._head.input.shape[1:]))
        self._head.set_weights(head.get_weights())
        if self._changed:
            for variable, value in self._start:
                variable.assign(value)
        self._changed = True

    def written(self) -> list[Any]:
        """The variables that a training writes."""
        return [variable for variable, _ in self._start] + list(self._head.weights)

    @property
    def trained_parameters(self) -> int:
        """Number of weights that are trained."""
        return sum(int(np.prod(v.shape)) for v in self.model.trainable_weights)


def range_is_wrong(backbone: str, pixels: str, weights: Any, images: np.ndarray) -> bool:
    """Whether the guard of the input range fires for a backbone.

    Args:
        backbone, weights, pixels: see `Network`.
        images: some pictures (n, height, width, 3), pixels 0 to 255.
    """
    network = Network(backbone, "all", weights, images.shape[1:3], 2, False, pixels)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        network.model.predict(images, verbose=0)
    return any(issubclass(warning.category, InputRangeWarning) for warning in given)


def _scaled(inputs: Any, pixels: str) -> Any:
    scale = SCALES[PIXELS[pixels]]
    return layers.Rescaling(scale.factor, offset=scale.offset)(inputs)


def _own_preprocessing(backbone: str) -> Any:
    """The backbone's own preprocessing of pixels 0 to 255."""
    module = _registry.lookup(backbone).module
    return importlib.import_module(f"tlfast.applications.{module}").preprocess_input
