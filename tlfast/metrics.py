"""Metrics: objects and names for `compile(metrics=...)`, usable on plain arrays too.

Names, arguments, configurations and edge cases are Keras'. "accuracy" and "acc" become binary,
categorical or sparse categorical accuracy by the shapes of labels and outputs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tlfast import _naming, _registry, losses
from tlfast._accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from tlfast._confusion import (
    AUC,
    F1Score,
    FalseNegatives,
    FalsePositives,
    FBetaScore,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from tlfast._loss_functions import as_float, same_rank
from tlfast._metric_base import (
    FunctionMetric,
    Mean,
    MeanMetricWrapper,
    Metric,
    MetricVariable,
    Number,
    Sum,
    as_result,
)
from tlfast.losses import (
    MAE,
    MAPE,
    MSE,
    MSLE,
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    cosine_similarity,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mae,
    mape,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    mse,
    msle,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)

__all__ = [
    "AUC",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "MetricVariable",
    "Poisson",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
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
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]


class BinaryCrossentropy(FunctionMetric):
    """Mean binary cross-entropy.

    Args:
        name, dtype: see `Metric`.
        from_logits: the outputs are logits.
        label_smoothing: labels move this far towards 0.5.
    """

    _options = ("from_logits", "label_smoothing")

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            name,
            dtype,
            "down",
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class CategoricalCrossentropy(FunctionMetric):
    """Mean categorical cross-entropy for one-hot labels.

    Args:
        name, dtype: see `Metric`.
        from_logits: the outputs are logits.
        label_smoothing: share of each label spread evenly over the classes.
        axis: the class axis; only -1.
    """

    _options = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            name,
            dtype,
            "down",
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(FunctionMetric):
    """Mean categorical cross-entropy for class indices.

    Args:
        name, dtype: see `Metric`.
        from_logits: the outputs are logits.
        ignore_class: label whose samples count as zero, None for none.
        axis: the class axis; only -1.
    """

    _options = ("from_logits", "ignore_class", "axis")

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            name,
            dtype,
            "down",
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )


class KLDivergence(FunctionMetric):
    """Mean Kullback-Leibler divergence.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "kl_divergence", dtype: str | None = None) -> None:
        super().__init__(kl_divergence, name, dtype, None)


class Poisson(FunctionMetric):
    """Mean Poisson loss.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "poisson", dtype: str | None = None) -> None:
        super().__init__(poisson, name, dtype, None)


class MeanSquaredError(FunctionMetric):
    """Mean squared difference.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(mean_squared_error, name, dtype, "down")


class MeanAbsoluteError(FunctionMetric):
    """Mean absolute difference.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "mean_absolute_error", dtype: str | None = None) -> None:
        super().__init__(mean_absolute_error, name, dtype, "down")


class MeanAbsolutePercentageError(FunctionMetric):
    """Mean absolute difference in percent of the label.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(
        self, name: str = "mean_absolute_percentage_error", dtype: str | None = None
    ) -> None:
        super().__init__(mean_absolute_percentage_error, name, dtype, "down")


class MeanSquaredLogarithmicError(FunctionMetric):
    """Mean squared difference of log(1 + x).

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(
        self, name: str = "mean_squared_logarithmic_error", dtype: str | None = None
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, name, dtype, "down")


class LogCoshError(FunctionMetric):
    """Mean of log(cosh(difference)).

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "logcosh", dtype: str | None = None) -> None:
        super().__init__(log_cosh, name, dtype, "down")


class Hinge(FunctionMetric):
    """Mean hinge loss.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "hinge", dtype: str | None = None) -> None:
        super().__init__(hinge, name, dtype, "down")


class SquaredHinge(FunctionMetric):
    """Mean squared hinge loss.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "squared_hinge", dtype: str | None = None) -> None:
        super().__init__(squared_hinge, name, dtype, "down")


class CategoricalHinge(FunctionMetric):
    """Mean categorical hinge loss.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "categorical_hinge", dtype: str | None = None) -> None:
        super().__init__(categorical_hinge, name, dtype, "down")


def _cosine(y_true: Any, y_pred: Any, axis: int = -1) -> np.ndarray:
    # The metric is the similarity itself, the loss its negative.
    return -cosine_similarity(y_true, y_pred, axis)


class CosineSimilarity(FunctionMetric):
    """Mean cosine of the angle between labels and outputs.

    Args:
        name, dtype: see `Metric`.
        axis: axis of the vectors.
    """

    def __init__(
        self, name: str = "cosine_similarity", dtype: str | None = None, axis: int = -1
    ) -> None:
        super().__init__(_cosine, name, dtype, "up", axis=axis)


class RootMeanSquaredError(Mean):
    """Root of the mean squared difference.

    Args:
        name, dtype: see `Metric`.
    """

    _direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)

    def update_state(  # type: ignore[override] # as in Keras, from values to pairs
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Take a batch into account."""
        y_true, y_pred = same_rank(as_float(y_true), as_float(y_pred))
        super().update_state(np.square(y_pred - y_true), sample_weight)

    def result(self) -> Number:
        """Return the root of the mean."""
        return as_result(np.sqrt(super().result()))


_CLASSES = tuple(
    thing
    for name, thing in sorted(globals().items())
    if name in __all__ and isinstance(thing, type) and issubclass(thing, Metric)
)
_SHORT = {
    "bce": BinaryCrossentropy,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
}
_TABLE: dict[str, Any] = {
    **{cls.__name__: cls for cls in _CLASSES},
    **{_naming.to_snake_case(cls.__name__): cls for cls in _CLASSES},
    **_SHORT,
    **{name.upper(): cls for name, cls in _SHORT.items()},
}


def serialize(metric: Metric | Callable[..., Any]) -> dict[str, Any]:
    """Store a metric object or function in Keras' layout."""
    return _registry.serialize(metric, "keras.metrics")


def deserialize(
    config: Mapping[str, Any] | str, custom_objects: Mapping[str, Any] | None = None
) -> Metric | Callable[..., Any]:
    """Make a metric from `serialize()` or from its name.

    Args:
        config: the stored dictionary, or a name.
        custom_objects: further metrics by name.

    Raises:
        ValueError: the metric is not known.
    """
    names = {**_TABLE, **(custom_objects or {})}
    if isinstance(config, str):
        return _registry.look_up(config, names, "metric")
    if config.get("class_name") == "function":
        functions = {name: globals()[name] for name in __all__ if name == name.lower()}
        return _registry.deserialize(config, functions, "metric", custom_objects)
    if config.get("class_name") == "MeanMetricWrapper":
        inner = dict(config["config"])
        if isinstance(inner["fn"], str):  # Keras 2 names the function, and not a metric
            inner["fn"] = {"class_name": "function", "config": inner["fn"]}
        inner["fn"] = deserialize(inner["fn"], custom_objects)
        return MeanMetricWrapper(**inner)
    return _registry.deserialize(config, names, "metric")


def get(
    identifier: str | Mapping[str, Any] | Metric | Callable[..., Any] | None,
) -> Metric | Callable[..., Any] | None:
    """Return a metric object or function for a name, a stored form, a class or an object.

    Args:
        identifier: "AUC", "mse", a dictionary of `serialize`, ...; None gives None.

    Raises:
        ValueError: it is none of these, or not known.
    """
    if identifier is None:
        return None
    found = deserialize(identifier) if isinstance(identifier, (str, Mapping)) else identifier
    if isinstance(found, type) and issubclass(found, (Metric, losses.Loss)):
        return found()
    if isinstance(found, Metric) or callable(found):
        return found
    raise ValueError(f"Could not interpret metric identifier: {identifier!r}")


def as_metric(
    identifier: str | Mapping[str, Any] | Metric | Callable[..., Any],
    y_true: np.ndarray,
    y_pred: np.ndarray,
) -> Metric:
    """Return the `Metric` object that `compile(metrics=[identifier])` means.

    Args:
        identifier: see `get`; "accuracy" and "acc" are decided by the shapes, as in Keras: one
            output unit: binary; labels of a lower rank, or with a last axis of 1: sparse
            categorical; else categorical.
        y_true, y_pred: a batch of labels and outputs.

    Raises:
        ValueError: not a metric.
    """
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc"):
        if y_pred.shape[-1] == 1:
            return BinaryAccuracy(name=identifier)
        if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
            return SparseCategoricalAccuracy(name=identifier)
        return CategoricalAccuracy(name=identifier)
    metric: Any = get(identifier)
    if not isinstance(metric, Metric):
        named = isinstance(metric, losses.Loss)
        wrapped = MeanMetricWrapper(metric, metric.name if named else metric.__name__)
        if named or metric in losses.FUNCTIONS:
            wrapped._direction = "down"
        metric = wrapped
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


def __getattr__(name: str) -> Any:
    raise _registry.no_attribute(__name__, name, __all__)
