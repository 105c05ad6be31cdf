"""The arguments of `compile` to and from the layout of Keras' files."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tlfast import losses, metrics, optimizers
from tlfast._loss_base import Loss
from tlfast._metric_base import Metric
from tlfast._warnings import user_level
from tlfast.optimizers._optimizer import Optimizer

_KEYS = (
    "optimizer",
    "loss",
    "loss_weights",
    "metrics",
    "weighted_metrics",
    "run_eagerly",
    "steps_per_execution",
    "jit_compile",
)


def serialize(config: Mapping[str, Any]) -> dict[str, Any]:
    """Store the arguments of `compile`.

    Args:
        config: the arguments by name; objects are replaced by their configurations.
    """
    return {key: _stored(config[key], key) for key in _KEYS}


def _stored(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _stored(one, key) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stored(one, key) for one in value]
    if isinstance(value, Optimizer):
        return optimizers.serialize(value)
    if isinstance(value, type):
        value = value()
    if isinstance(value, Loss):
        return losses.serialize(value)
    if isinstance(value, Metric):
        return metrics.serialize(value)
    if callable(value):
        return (losses if key == "loss" else metrics).serialize(value)
    return value


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments of `compile` that were stored.

    Args:
        config: the stored dictionary; keys of other Keras versions that change nothing here are
            left out.
        custom_objects: further losses and metrics by name.

    Raises:
        ValueError: an object that is not known.
    """
    makers = {
        "optimizer": optimizers.deserialize,
        "loss": losses.deserialize,
        "metrics": metrics.deserialize,
        "weighted_metrics": metrics.deserialize,
    }
    arguments: dict[str, Any] = {}
    for key in ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics"):
        value = config.get(key)
        if value is not None:
            arguments[key] = _made(value, makers.get(key), custom_objects)
    if "optimizer" not in arguments:
        # Keras takes the optimizer out of a model's arguments when it writes an .h5 file of it.
        arguments["optimizer"] = "rmsprop"
        warnings.warn(
            "The stored compile arguments have no optimizer (Keras loses it from what it writes "
            "after an .h5 file); 'rmsprop' is taken, as Keras does. Call compile(...) with the "
            "right one before training on",
            stacklevel=user_level(),
        )
    return arguments


def _made(
    value: Any, make: Callable[..., Any] | None, custom_objects: Mapping[str, Any] | None
) -> Any:
    if isinstance(value, Mapping):
        if make is not None and "class_name" in value:
            return make(dict(value), custom_objects)
        return {key: _made(one, make, custom_objects) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_made(one, make, custom_objects) for one in value]
    if isinstance(value, str) and custom_objects and value in custom_objects:
        return custom_objects[value]
    return value
