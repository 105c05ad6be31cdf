"""Activation functions: on arrays they compute, on symbolic tensors they add an operation."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast._errors import did_you_mean
from tlfast._tensor import KerasTensor

Array = np.ndarray


def _float(x: Any) -> Array:
    return np.asarray(x, np.float32)


def _kernel(kind: str, alpha: float | None = None) -> Callable[..., Any]:
    """Mark a function as computed by the core's activation `kind`."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        def activation(x: Any) -> Any:
            if isinstance(x, KerasTensor):
                from tlfast.layers import _operations

                return _operations.apply_activation(function.__name__, x)
            return function(_float(x))

        activation.__name__ = activation.__qualname__ = function.__name__
        activation.__doc__ = function.__doc__
        activation.__module__ = __name__
        activation.core_spec = (kind, alpha)  # type: ignore[attr-defined] # read in layers
        return activation

    return mark


@_kernel("linear")
def linear(x: Array) -> Array:
    """Return x."""
    return x


@_kernel("relu")
def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(x, 0)


@_kernel("relu6")
def relu6(x: Array) -> Array:
    """Return min(max(x, 0), 6)."""
    return np.clip(x, 0, 6)


@_kernel("leaky_relu", 0.2)
def leaky_relu(x: Array) -> Array:
    """Return x where positive, else 0.2 x (the slope of Keras' function)."""
    return np.where(x >= 0, x, np.float32(0.2) * x)


@_kernel("elu", 1.0)
def elu(x: Array) -> Array:
    """Return x where positive, else exp(x) - 1."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


@_kernel("sigmoid")
def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


@_kernel("softmax")
def softmax(x: Array) -> Array:
    """Return exp(x) / sum(exp(x)) over the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@_kernel("tanh")
def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    return np.tanh(x)


@_kernel("swish")
def silu(x: Array) -> Array:
    """Return x * sigmoid(x), also called swish."""
    return x * sigmoid(x)


@_kernel("gelu")
def gelu(x: Array) -> Array:
    """Return x * (1 + erf(x / sqrt(2))) / 2."""
    erf = np.vectorize(math.erf, otypes=[np.float32])
    return 0.5 * x * (1 + erf(x / np.float32(math.sqrt(2))))


@_kernel("hard_sigmoid")
def hard_sigmoid(x: Array) -> Array:
    """Return min(max(x + 3, 0), 6) / 6."""
    return np.clip(x + 3, 0, 6) / np.float32(6)


@_kernel("hard_swish")
def hard_silu(x: Array) -> Array:
    """Return x * hard_sigmoid(x), also called hard swish."""
    return x * hard_sigmoid(x)


@_kernel("exponential")
def exponential(x: Array) -> Array:
    """Return exp(x)."""
    return np.exp(x)


@_kernel("softplus")
def softplus(x: Array) -> Array:
    """Return log(1 + exp(x))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


swish = silu
hard_swish = hard_silu
_FUNCTIONS = {
    f.__name__: f
    for f in (
        linear,
        relu,
        relu6,
        leaky_relu,
        elu,
        sigmoid,
        softmax,
        tanh,
        silu,
        gelu,
        hard_sigmoid,
        hard_silu,
        exponential,
        softplus,
    )
}
_NAMES = {**_FUNCTIONS, "swish": silu, "hard_swish": hard_silu}


def get(identifier: Any) -> Callable[..., Any]:
    """Return the activation function for a name, config or function; linear for None.

    Args:
        identifier: for example "relu", `tlfast.activations.relu`, or None.

    Raises:
        ValueError: if the name is not known.
        NotImplementedError: for functions of one's own, which the core cannot run.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, dict):
        identifier = identifier.get("config", identifier.get("class_name"))
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise ValueError(
                f"Could not interpret activation function identifier: {identifier}."
                + did_you_mean(identifier, _NAMES)
            )
        return _NAMES[identifier]
    if hasattr(identifier, "core_spec"):
        return identifier
    raise NotImplementedError(
        f"tlfast runs the activations {', '.join(sorted(_NAMES))}; layers and functions of "
        f"one's own cannot be an activation. Received: {identifier!r}"
    )


def serialize(activation: Callable[..., Any]) -> str:
    """Return the name of an activation function, as stored in model files."""
    return activation.__name__


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Callable[..., Any]:
    """Return the activation function of a name or config."""
    if isinstance(config, str) and custom_objects and config in custom_objects:
        return get(custom_objects[config])
    return get(config)
