"""What all losses share: reduction, configuration, what the core is told."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast import _naming, _registry
from tlfast._arguments import CheckedInit
from tlfast._loss_functions import as_float, same_rank

_REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)


class Loss(CheckedInit):
    """Base class: `call(y_true, y_pred)` gives one number per sample, `__call__` reduces them.

    Args:
        name: name in files and messages; the class name in snake case by default.
        reduction: "sum_over_batch_size" (or "mean": sum of weight * loss over all samples,
            divided by the number of samples), "sum", "mean_with_sample_weight" (divided by the
            sum of the weights), "none" or None (no reduction).
        dtype: only None or "float32".

    Raises:
        ValueError: an unknown reduction or type.
    """

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(
                f"Invalid value for argument `reduction`. Expected one of {_REDUCTIONS}. "
                f"Received: reduction={reduction!r}"
            )
        if dtype not in (None, "float32"):
            raise ValueError(f"Losses are computed in float32. Received: dtype={dtype!r}")
        self.name: str = name or _naming.auto_name(type(self).__name__)
        self.reduction = reduction

    def call(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Return the loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__} must define `call(y_true, y_pred)`.")

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> np.ndarray | np.floating:
        """Return the reduced loss of arrays (labels, outputs, weights per sample)."""
        values = as_float(self.call(as_float(y_true), as_float(y_pred)))
        weights = None
        if sample_weight is not None:
            values, weights = same_rank(values, as_float(sample_weight))
            values = values * weights
        if self.reduction in (None, "none") or values.ndim == 0 or values.size == 0:
            return values
        total = values.sum(dtype=np.float64)
        if self.reduction == "sum":
            return np.float32(total)
        divisor = float(values.size)
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            divisor = float(weights.sum(dtype=np.float64))
        return np.float32(total / divisor if divisor else 0.0)

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to train with this loss."""
        raise NotImplementedError(
            f"The loss {self.name!r} is a Python function; the core trains with "
            "the losses of `tlfast.losses` only."
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Loss":
        """Make a loss from `get_config()`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class LossFunctionWrapper(Loss):
    """A loss made of a function `fn(y_true, y_pred, **kwargs)`; for `evaluate` on arrays only.

    Args:
        fn: the function, one number per sample.
        reduction, name, dtype: see `Loss`.
        **kwargs: further arguments of `fn`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn = fn
        self._options = kwargs

    def call(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Return the loss of each sample."""
        return self.fn(*same_rank(y_true, y_pred), **self._options)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        return {**super().get_config(), "fn": _registry.serialize(self.fn, "keras.losses")} | dict(
            self._options
        )


class KnownLoss(Loss):
    """A loss of the list below: a function of `_loss_functions`, and a kind the core knows."""

    _function: Callable[..., Any]
    _kind: str
    _arguments: tuple[str, ...] = ()
    _stored: tuple[str, ...] | None = None

    def call(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Return the loss of each sample."""
        options = {name: getattr(self, name) for name in self._arguments}
        return type(self)._function(*same_rank(y_true, y_pred), **options)

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to train with this loss."""
        options = {name: getattr(self, name) for name in self._arguments if name != "axis"}
        return {
            "kind": self._kind,
            "reduction": self.reduction,
            "from_logits": False,
            "label_smoothing": 0.0,
            **options,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        stored = self._arguments if self._stored is None else self._stored
        return {**super().get_config(), **{name: getattr(self, name) for name in stored}}


def check_share(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a number from 0 to 1, got {value!r}.")
    return value


def check_last_axis(axis: int) -> int:
    if isinstance(axis, bool) or axis != -1:
        raise ValueError(f"Only axis=-1 (the last axis) is supported. Received: axis={axis!r}")
    return axis
