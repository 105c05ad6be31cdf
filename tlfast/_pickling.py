"""Copies of models and layers for `pickle`, `copy.deepcopy` and other processes.

A pickle is as trustworthy as whoever sent it; for files that travel use `save` and `load_model`.
"""

import os
import tempfile
from typing import Any


def reduce_model(model: Any) -> tuple[Any, ...]:
    """Return what `pickle` stores: a `.keras` file's bytes, or the config of an unbuilt model."""
    classes = {
        type(layer).__name__: type(layer)
        for layer in model._flatten_layers()
        if not type(layer).__module__.startswith("tlfast.")
    }
    if not model.built:
        return rebuild_unbuilt, (type(model), model.get_config())
    with tempfile.TemporaryDirectory(prefix="tlfast-") as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        with open(path, "rb") as file:
            return rebuild_model, (file.read(), classes)


def rebuild_model(content: bytes, classes: dict[str, type]) -> Any:
    """Return the model of a pickle."""
    from tlfast.saving import load_model

    with tempfile.TemporaryDirectory(prefix="tlfast-") as folder:
        path = os.path.join(folder, "model.keras")
        with open(path, "wb") as file:
            file.write(content)
        return load_model(path, custom_objects=classes)


def rebuild_unbuilt(cls: Any, config: dict[str, Any]) -> Any:
    """Return a model or layer that has no weights yet."""
    return cls.from_config(config)


def reduce_layer(layer: Any) -> tuple[Any, ...]:
    """Return what `pickle` stores of a layer: its config and weights, not its calls."""
    shape = layer._build_input_shape
    weights = layer.get_weights() if layer.weights else None
    return rebuild_layer, (type(layer), layer.get_config(), shape, weights)


def rebuild_layer(cls: Any, config: dict[str, Any], shape: Any, weights: list[Any] | None) -> Any:
    """Return the layer of a pickle."""
    layer = cls.from_config(config)
    if shape is not None:
        layer.build(shape)
    if weights is not None:
        layer.set_weights(weights)
    return layer
