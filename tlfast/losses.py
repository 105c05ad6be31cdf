"""Losses: objects for `compile`, and the same formulas as functions on plain arrays.

In `fit` and `evaluate` the core computes the losses; called on arrays, a loss object computes in
NumPy what Keras computes on arrays. Names, arguments and configurations are Keras'.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tlfast import _registry
from tlfast._loss_base import KnownLoss, Loss, LossFunctionWrapper, check_last_axis, check_share
from tlfast._loss_functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    cosine_similarity,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "Huber",
    "KLD",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "kullback_leibler_divergence",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]


class CategoricalCrossentropy(KnownLoss):
    """Cross-entropy for one-hot labels: -sum(y_true * log(y_pred)).

    Args:
        from_logits: the outputs are logits, not probabilities.
        label_smoothing: share of each label spread evenly over the classes, 0 to 1.
        axis: the class axis; only -1.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: a value out of range.
    """

    _function = staticmethod(categorical_crossentropy)
    _kind = "categorical_crossentropy"
    _arguments = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits: bool = bool(from_logits)
        self.label_smoothing: float = check_share("label_smoothing", label_smoothing)
        self.axis: int = check_last_axis(axis)


class SparseCategoricalCrossentropy(KnownLoss):
    """Cross-entropy for class indices: -log(y_pred[y_true]).

    Args:
        from_logits: the outputs are logits, not probabilities.
        ignore_class: label whose samples count as zero loss, None for none.
        axis: the class axis; only -1.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: a value out of range.
    """

    _function = staticmethod(sparse_categorical_crossentropy)
    _kind = "sparse_categorical_crossentropy"
    _arguments = ("from_logits", "ignore_class")

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        check_last_axis(axis)
        self.from_logits: bool = bool(from_logits)
        self.ignore_class = ignore_class

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to train with this loss."""
        if self.ignore_class is not None:
            raise NotImplementedError(
                f"training with SparseCategoricalCrossentropy(ignore_class={self.ignore_class}): "
                "the core counts every sample; give the samples to ignore a sample_weight of 0."
            )
        spec = super().core_spec()
        del spec["ignore_class"]
        return spec


class BinaryCrossentropy(KnownLoss):
    """Cross-entropy of independent yes/no outputs, averaged over the outputs.

    Args:
        from_logits: the outputs are logits, not probabilities.
        label_smoothing: labels move this far towards 0.5, 0 to 1.
        axis: axis of the mean; only -1.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: a value out of range.
    """

    _function = staticmethod(binary_crossentropy)
    _kind = "binary_crossentropy"
    _arguments = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits: bool = bool(from_logits)
        self.label_smoothing: float = check_share("label_smoothing", label_smoothing)
        self.axis: int = check_last_axis(axis)


class BinaryFocalCrossentropy(KnownLoss):
    """Binary cross-entropy times (1 - p of the true answer) ** gamma.

    Args:
        apply_class_balancing: weight positives by `alpha`, negatives by 1 - alpha.
        alpha: weight of positives.
        gamma: how strongly easy samples are discounted.
        from_logits, label_smoothing, axis: see `BinaryCrossentropy`.
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(binary_focal_crossentropy)
    _kind = "binary_focal_crossentropy"
    _arguments = (
        "from_logits",
        "label_smoothing",
        "axis",
        "apply_class_balancing",
        "alpha",
        "gamma",
    )

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.apply_class_balancing: bool = bool(apply_class_balancing)
        self.alpha = alpha
        self.gamma = gamma
        self.from_logits: bool = bool(from_logits)
        self.label_smoothing: float = check_share("label_smoothing", label_smoothing)
        self.axis: int = check_last_axis(axis)


class CategoricalFocalCrossentropy(KnownLoss):
    """Categorical cross-entropy times alpha * (1 - p) ** gamma.

    Args:
        alpha: overall factor.
        gamma: how strongly easy samples are discounted.
        from_logits, label_smoothing, axis: see `CategoricalCrossentropy`.
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(categorical_focal_crossentropy)
    _kind = "categorical_focal_crossentropy"
    _arguments = ("from_logits", "label_smoothing", "axis", "alpha", "gamma")

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.alpha = alpha
        self.gamma = gamma
        self.from_logits: bool = bool(from_logits)
        self.label_smoothing: float = check_share("label_smoothing", label_smoothing)
        self.axis: int = check_last_axis(axis)


class Huber(KnownLoss):
    """Half the squared difference up to `delta`, linear beyond; mean over the outputs.

    Args:
        delta: where the loss becomes linear, positive.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: `delta` is not positive.
    """

    _function = staticmethod(huber)
    _kind = "huber"
    _arguments = ("delta",)

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if not delta > 0:
            raise ValueError(f"`delta` must be positive, got {delta!r}.")
        self.delta = delta


class CosineSimilarity(KnownLoss):
    """Minus the cosine of the angle between labels and outputs.

    Args:
        axis: axis of the vectors; only -1.
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(cosine_similarity)
    _kind = "cosine_similarity"

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis: int = check_last_axis(axis)


class MeanSquaredError(KnownLoss):
    """Mean of the squared differences.

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(mean_squared_error)
    _kind = "mean_squared_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanAbsoluteError(KnownLoss):
    """Mean of the absolute differences.

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(mean_absolute_error)
    _kind = "mean_absolute_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanAbsolutePercentageError(KnownLoss):
    """Mean of |difference| / |y_true|, in percent.

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(mean_absolute_percentage_error)
    _kind = "mean_absolute_percentage_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanSquaredLogarithmicError(KnownLoss):
    """Mean of the squared differences of log(1 + x).

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(mean_squared_logarithmic_error)
    _kind = "mean_squared_logarithmic_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class LogCosh(KnownLoss):
    """Mean of log(cosh(difference)).

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(log_cosh)
    _kind = "log_cosh"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class KLDivergence(KnownLoss):
    """Sum of y_true * log(y_true / y_pred).

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(kl_divergence)
    _kind = "kl_divergence"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class Poisson(KnownLoss):
    """Mean of y_pred - y_true * log(y_pred).

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(poisson)
    _kind = "poisson"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "poisson",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class Hinge(KnownLoss):
    """Mean of max(1 - y_true * y_pred, 0); labels -1/1 or 0/1.

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(hinge)
    _kind = "hinge"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class SquaredHinge(KnownLoss):
    """Mean of max(1 - y_true * y_pred, 0) ** 2; labels -1/1 or 0/1.

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(squared_hinge)
    _kind = "squared_hinge"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "squared_hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class CategoricalHinge(KnownLoss):
    """max(best wrong output - right output + 1, 0); labels one-hot.

    Args:
        reduction, name, dtype: see `Loss`.
    """

    _function = staticmethod(categorical_hinge)
    _kind = "categorical_hinge"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


_CLASSES = (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
_BY_FUNCTION: dict[Callable[..., Any], type[KnownLoss]] = {cls._function: cls for cls in _CLASSES}
FUNCTIONS = frozenset(_BY_FUNCTION)
_SHORT = {
    "bce": binary_crossentropy,
    "kld": kl_divergence,
    "mae": mean_absolute_error,
    "mape": mean_absolute_percentage_error,
    "mse": mean_squared_error,
    "msle": mean_squared_logarithmic_error,
}
_LOSSES: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in FUNCTIONS},
    **_SHORT,
    # Keras 2 names.
    "kullback_leibler_divergence": kl_divergence,
    "logcosh": log_cosh,
}
_TABLE: dict[str, Any] = {
    **{cls.__name__: cls for cls in (*_CLASSES, LossFunctionWrapper)},
    **_LOSSES,
    **{name.upper(): function for name, function in _SHORT.items()},
}
mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = kl_divergence
KLD = kl_divergence
kullback_leibler_divergence = kl_divergence
logcosh = log_cosh


def serialize(loss: Loss | Callable[..., Any]) -> dict[str, Any]:
    """Store a loss object or function in Keras' layout."""
    return _registry.serialize(loss, "keras.losses")


def deserialize(
    name: Mapping[str, Any] | str, custom_objects: Mapping[str, Any] | None = None
) -> Loss | Callable[..., Any]:
    """Make a loss from `serialize()` or from its name.

    Args:
        name: the stored dictionary, or a name.
        custom_objects: further losses by name.

    Raises:
        ValueError: the loss is not known.
    """
    if isinstance(name, str):
        return _registry.look_up(name, {**_TABLE, **(custom_objects or {})}, "loss")
    if name.get("class_name") == "LossFunctionWrapper":
        config = dict(name["config"])
        config["fn"] = deserialize(config["fn"], custom_objects)
        return LossFunctionWrapper(**config)
    return _registry.deserialize(name, _TABLE, "loss", custom_objects)


def get(
    identifier: str | Mapping[str, Any] | Loss | Callable[..., Any] | None,
) -> Loss | Callable[..., Any] | None:
    """Return a loss object or function for a name, a stored form, a class or an object.

    Args:
        identifier: "categorical_crossentropy", "mse", a dictionary of `serialize`, ...; None
            gives None.

    Raises:
        ValueError: it is none of these, or not known.
    """
    if identifier is None:
        return None
    found = deserialize(identifier) if isinstance(identifier, (str, Mapping)) else identifier
    if isinstance(found, type) and issubclass(found, Loss):
        return found()
    if isinstance(found, Loss) or callable(found):
        return found
    raise ValueError(f"Could not interpret loss identifier: {identifier!r}")


def as_loss(identifier: str | Mapping[str, Any] | Loss | Callable[..., Any]) -> Loss:
    """Return a `Loss` object for anything `get` understands.

    Args:
        identifier: see `get`; a function of this module becomes the loss class of that function,
            under the name the user gave.

    Raises:
        ValueError: not a loss.
    """
    found: Any = get(identifier)
    if isinstance(found, Loss):
        return found
    name = identifier if isinstance(identifier, str) else getattr(found, "__name__", "loss")
    if found in _BY_FUNCTION:
        return _BY_FUNCTION[found](name=name)
    return LossFunctionWrapper(found, name=name)


def __getattr__(name: str) -> Any:
    raise _registry.no_attribute(__name__, name, _TABLE)
