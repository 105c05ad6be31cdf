"""Activations as layers."""

import warnings
from collections.abc import Callable
from typing import Any

from tlfast import activations
from tlfast.layers._base import Layer
from tlfast.layers._operations import emit_activation, emit_kind


class Activation(Layer):
    """Applies an activation function.

    Args:
        activation: name of an activation function.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _records_build = False

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation: Callable[..., Any] = activations.get(activation)

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        return emit_activation(g, self.name, self.activation, inputs[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


def _number(layer: Layer, name: str, value: Any) -> float:
    """Return a factor as a float; older Keras files hold it as an array of one value.

    Raises:
        ValueError: unless it is a number of at least 0.
    """
    if isinstance(value, dict):  # Keras 2: {"class_name": "__numpy__"/"ndarray", "value": ...}
        value = value.get("value", value.get("config", {}).get("value"))
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number < 0:
        raise ValueError(
            f"layer '{layer.name}' ({type(layer).__name__}): `{name}` is a number >= 0. "
            f"Received: {name}={value!r}"
        )
    return number


class ReLU(Layer):
    """max(x, 0), or min(max(x, 0), 6) with max_value=6, or a leaky one with negative_slope.

    Args:
        max_value: None or 6.
        negative_slope: factor for negative values, without max_value.
        threshold: 0; other values are not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _records_build = False

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_value: float | None = (
            None if max_value is None else _number(self, "max_value", max_value)
        )
        self.negative_slope: float = _number(self, "negative_slope", negative_slope or 0.0)
        self.threshold: float = _number(self, "threshold", threshold or 0.0)
        if (
            self.threshold
            or self.max_value not in (None, 6.0)
            or (self.max_value is not None and self.negative_slope)
        ):
            raise NotImplementedError(
                f"layer '{self.name}' (ReLU): supported are max_value=None or 6 with "
                "threshold=0, and negative_slope with max_value=None. Received: "
                f"max_value={max_value}, negative_slope={negative_slope}, threshold={threshold}"
            )

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        if self.negative_slope:
            kind, alpha = "leaky_relu", self.negative_slope
        else:
            kind, alpha = ("relu" if self.max_value is None else "relu6"), None
        return emit_kind(g, self.name, inputs[0], kind, alpha)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class LeakyReLU(Layer):
    """x where positive, else negative_slope * x.

    Args:
        negative_slope: factor for negative values.
        alpha: the name of `negative_slope` in Keras 2; warns.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _records_build = False

    def __init__(
        self, negative_slope: float = 0.3, *, alpha: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if alpha is not None:
            warnings.warn(
                "Argument `alpha` is deprecated. Use `negative_slope` instead.", stacklevel=2
            )
            negative_slope = alpha
        self.negative_slope: float = _number(self, "negative_slope", negative_slope)

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        return emit_kind(g, self.name, inputs[0], "leaky_relu", self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LeakyReLU":
        config = dict(config)
        if "alpha" in config:  # the name in Keras 2
            config["negative_slope"] = config.pop("alpha")
        return super().from_config(config)


class ELU(Layer):
    """x where positive, else alpha * (exp(x) - 1).

    Args:
        alpha: factor for negative values.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _records_build = False

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha: float = _number(self, "alpha", alpha)

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        return emit_kind(g, self.name, inputs[0], "elu", self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class Softmax(Layer):
    """exp(x) / sum(exp(x)) over the last axis.

    Args:
        axis: -1, the last axis.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _records_build = False
    _has_mask = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if axis != -1:
            raise NotImplementedError(
                f"layer '{self.name}' (Softmax): only the last axis, axis=-1, is supported. "
                f"Received: axis={axis!r}"
            )
        self.axis = axis

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        return emit_kind(g, self.name, inputs[0], "softmax")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
