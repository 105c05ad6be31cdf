"""The accuracies: share of right answers, by several ideas of what an answer is."""

from typing import Any

import numpy as np

from tlfast._loss_functions import as_float, check_class_indices, same_rank
from tlfast._metric_base import FunctionMetric


def accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where an output equals its label, else 0; per element."""
    y_true, y_pred = same_rank(as_float(y_true), as_float(y_pred))
    return (y_true == y_pred).astype(np.float32)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """1 where (output > threshold) equals the label, else 0; per element.

    Args:
        y_true: labels 0 or 1.
        y_pred: outputs.
        threshold: an output above it counts as 1.
    """
    y_true, y_pred = same_rank(np.asarray(y_true), as_float(y_pred))
    answers = (y_pred > np.float32(threshold)).astype(np.float32)
    return (y_true == answers).astype(np.float32)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the largest output is the one-hot label's class, else 0; per sample."""
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    return (y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)).astype(np.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the largest output is the class index's class, else 0; per sample."""
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            "Class-index labels must have the shape of the outputs without the last axis, got "
            f"{y_true.shape} and {y_pred.shape}."
        )
    return (y_true == y_pred.argmax(axis=-1)).astype(np.float32)


def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> np.ndarray:
    """1 where the class index is among the k largest outputs, else 0; per sample.

    Args:
        y_true: class indices.
        y_pred: outputs, or with `from_sorted_ids` class indices in falling order of score.
        k: how many.
        from_sorted_ids: see `y_pred`.
    """
    labels = np.asarray(y_true)
    outputs = np.asarray(y_pred).reshape(-1, np.shape(y_pred)[-1])
    flat = labels.reshape(-1)
    if from_sorted_ids:
        hits = (flat[:, None] == outputs[:, :k]).any(axis=1)
    else:
        flat = flat.astype(np.int64)
        check_class_indices(flat, outputs.shape[1])
        target = np.take_along_axis(outputs, flat[:, None], axis=1)
        # TensorFlow's in_top_k: ties with the k-th value are hits, a row with an output that is
        # not finite is a miss.
        hits = ((outputs > target).sum(axis=1) < k) & np.isfinite(outputs).all(axis=1)
    return hits.astype(np.float32).reshape(labels.shape)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the one-hot label's class is among the k largest outputs, else 0; per sample."""
    return sparse_top_k_categorical_accuracy(np.asarray(y_true).argmax(axis=-1), y_pred, k)


class Accuracy(FunctionMetric):
    """Share of outputs equal to their labels.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "accuracy", dtype: str | None = None) -> None:
        super().__init__(accuracy, name, dtype, "up")


class BinaryAccuracy(FunctionMetric):
    """Share of yes/no answers that are right.

    Args:
        name, dtype: see `Metric`.
        threshold: an output above it counts as yes.
    """

    _options = ("threshold",)

    def __init__(
        self, name: str = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5
    ) -> None:
        super().__init__(binary_accuracy, name, dtype, "up", threshold=threshold)


class CategoricalAccuracy(FunctionMetric):
    """Share of samples whose largest output is the one-hot label's class.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(categorical_accuracy, name, dtype, "up")


class SparseCategoricalAccuracy(FunctionMetric):
    """Share of samples whose largest output is the class index's class.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype, "up")


class TopKCategoricalAccuracy(FunctionMetric):
    """Share of samples whose one-hot label's class is among the k largest outputs.

    Args:
        k: how many.
        name, dtype: see `Metric`.
    """

    _options = ("k",)

    def __init__(
        self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: str | None = None
    ) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, "up", k=k)


class SparseTopKCategoricalAccuracy(FunctionMetric):
    """Share of samples whose class index is among the k largest outputs.

    Args:
        k: how many.
        name, dtype: see `Metric`.
        from_sorted_ids: the outputs are class indices in falling order of score.
    """

    from_sorted_ids: bool  # set from the arguments by `FunctionMetric`

    _options = ("k", "from_sorted_ids")

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: str | None = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(
            sparse_top_k_categorical_accuracy,
            name,
            dtype,
            "up",
            k=k,
            from_sorted_ids=from_sorted_ids,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        config = super().get_config()
        if not self.from_sorted_ids:
            del config["from_sorted_ids"]
        return config
