"""Metrics made of counts of right and wrong yes/no answers: precision, recall, AUC, F-scores.

Formulas and edge cases: keras/src/metrics/confusion_metrics.py, metrics_utils.py and
f_score_metrics.py. Unless `class_id` is given, all elements of the outputs are pooled.
"""

from typing import Any

import numpy as np

from tlfast._loss_functions import EPSILON, as_float, same_rank, sigmoid
from tlfast._metric_base import Metric, Number, Numbers, as_result, divide

_LOWEST = -1e10  # Keras' NEG_INF: the score of outputs outside the top k


def _threshold_list(thresholds: float | list[Any] | None, default: float) -> list[float]:
    given = default if thresholds is None else thresholds
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    wrong = [t for t in listed if t is None or t < 0 or t > 1]
    if thresholds is not None and wrong:
        raise ValueError(f"Threshold values must be in [0, 1]. Received: {wrong}")
    return listed


def _evenly_spread(thresholds: np.ndarray) -> bool:
    count = len(thresholds)
    if count < 3:
        return False
    return np.allclose(thresholds, np.arange(count) / (count - 1), atol=float(EPSILON))


def _keep_top_k(y_pred: np.ndarray, k: int) -> np.ndarray:
    kept = np.argsort(-y_pred, axis=-1, kind="stable")[..., :k]
    mask = np.zeros(y_pred.shape, bool)
    np.put_along_axis(mask, kept, True, axis=-1)
    return np.where(mask, y_pred, np.float32(_LOWEST))


def _counts(
    y_true: Any,
    y_pred: Any,
    thresholds: np.ndarray,
    sample_weight: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    multi_label: bool = False,
    label_weights: object | None = None,
) -> dict[str, np.ndarray]:
    """Count true/false positives/negatives for each threshold.

    Returns:
        Arrays of shape (thresholds,), or (thresholds, labels) with `multi_label`, under the keys
        "tp", "fp", "tn", "fn".
    """
    y_pred, y_true = same_rank(as_float(y_pred), as_float(y_true))
    if y_pred.shape != y_true.shape:
        raise ValueError(
            f"Labels and outputs must have the same shape, got {y_true.shape} and {y_pred.shape}. "
            "Class-index labels have to be made one-hot for this metric "
            "(tlfast.utils.to_categorical)."
        )
    weights = np.ones(y_true.shape)
    if sample_weight is not None:
        given = as_float(sample_weight)
        weights = weights * given.reshape(given.shape + (1,) * (y_true.ndim - given.ndim))
    if top_k is not None:
        y_pred = _keep_top_k(y_pred, top_k)
    if class_id is not None:
        if y_pred.ndim == 1:
            raise ValueError(
                "When class_id is provided, y_pred must be a 2D array with shape "
                f"(num_samples, num_classes), found shape: {y_pred.shape}"
            )
        y_true, y_pred, weights = (a[..., class_id, None] for a in (y_true, y_pred, weights))
    if label_weights is not None:
        weights = weights * np.asarray(label_weights)
    labels = y_true.shape[-1] if multi_label else 1
    y_true, y_pred, weights = (a.reshape(-1, labels) for a in (y_true != 0, y_pred, weights))
    return _cumulated(y_true, y_pred, weights, thresholds, multi_label)


def _cumulated(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    weights: np.ndarray,
    thresholds: np.ndarray,
    multi_label: bool,
) -> dict[str, np.ndarray]:
    """Count for (samples, labels) arrays by sorting each output into the gap it falls into."""
    count, labels = len(thresholds), y_pred.shape[1]
    if _evenly_spread(thresholds):
        # Keras' single-precision bucket formula, so that values on a threshold fall alike.
        y_pred = np.clip(y_pred, np.float32(0), np.float32(1))
        above = np.ceil(y_pred * np.float32(count - 1)).astype(np.int64)
        if thresholds[0] < 0:
            above = np.maximum(above, 1)
        order = np.arange(count)
    else:
        order = np.argsort(thresholds, kind="stable")
        above = np.searchsorted(np.asarray(thresholds, np.float32)[order], y_pred, side="left")
    counts = {key: np.zeros((count, labels)) for key in ("tp", "fp", "tn", "fn")}
    for label in range(labels):
        for hit, miss, chosen in (("tp", "fn", y_true), ("fp", "tn", ~y_true)):
            part = weights[:, label] * chosen[:, label]
            # `above` is the number of thresholds strictly below the output.
            bins = np.bincount(above[:, label], weights=part, minlength=count + 1)
            passed = bins[::-1].cumsum()[::-1][1:]
            counts[hit][order, label] = passed
            counts[miss][order, label] = part.sum() - passed
    return counts if multi_label else {key: value[:, 0] for key, value in counts.items()}


class _CountMetric(Metric):
    """One of the four counts, per threshold."""

    _key = ""

    def __init__(
        self,
        thresholds: float | list[Any] | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype, name)
        self.init_thresholds = thresholds
        self.thresholds: list[float] = _threshold_list(thresholds, 0.5)
        self.accumulator: Any = self.add_variable((len(self.thresholds),), name="accumulator")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch into account."""
        counts = _counts(y_true, y_pred, np.asarray(self.thresholds), sample_weight)
        self.accumulator.assign_add(counts[self._key])

    def result(self) -> Number | Numbers:
        """Return the count (an array for several thresholds)."""
        single = len(self.thresholds) == 1
        return as_result(self.accumulator[0] if single else self.accumulator)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        return {**super().get_config(), "thresholds": self.init_thresholds}


class TruePositives(_CountMetric):
    """Number of positives found.

    Args:
        thresholds: an output above it counts as yes; a number or a list, 0.5 by default.
        name, dtype: see `Metric`.
    """

    _key = "tp"


class FalsePositives(_CountMetric):
    """Number of negatives taken for positives; arguments as `TruePositives`."""

    _key = "fp"


class TrueNegatives(_CountMetric):
    """Number of negatives recognised; arguments as `TruePositives`."""

    _key = "tn"


class FalseNegatives(_CountMetric):
    """Number of positives missed; arguments as `TruePositives`."""

    _key = "fn"


class _Ratio(Metric):
    """true positives / (true positives + another count)."""

    _direction = "up"
    _other = ""
    _other_name = ""

    def __init__(
        self,
        thresholds: float | list[Any] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype, name)
        self.init_thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        self.thresholds: list[float] = _threshold_list(
            thresholds, 0.5 if top_k is None else _LOWEST
        )
        shape = (len(self.thresholds),)
        self.true_positives: Any = self.add_variable(shape, name="true_positives")
        self._others = self.add_variable(shape, name=self._other_name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch into account."""
        counts = _counts(
            y_true,
            y_pred,
            np.asarray(self.thresholds),
            sample_weight,
            top_k=self.top_k,
            class_id=self.class_id,
        )
        self.true_positives.assign_add(counts["tp"])
        self._others.assign_add(counts[self._other])

    def result(self) -> Number | Numbers:
        """Return the ratio (an array for several thresholds), 0 where nothing was counted."""
        ratio = divide(self.true_positives, self.true_positives + self._others)
        return as_result(ratio[0] if len(self.thresholds) == 1 else ratio)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        own = {
            "thresholds": self.init_thresholds,
            "top_k": self.top_k,
            "class_id": self.class_id,
        }
        return {**super().get_config(), **own}


class Precision(_Ratio):
    """Share of the yes answers that are right.

    Args:
        thresholds: an output above it counts as yes; a number or a list, 0.5 by default.
        top_k: count the k largest outputs of a sample as yes instead.
        class_id: look at this output only; by default all are pooled.
        name, dtype: see `Metric`.
    """

    _other = "fp"
    _other_name = "false_positives"


class Recall(_Ratio):
    """Share of the positives that are found; arguments as `Precision`."""

    _other = "fn"
    _other_name = "false_negatives"


class AUC(Metric):
    """Area under the ROC or precision-recall curve, from counts at fixed thresholds.

    Args:
        num_thresholds: number of thresholds, evenly spread from 0 to 1.
        curve: "ROC" or "PR".
        summation_method: "interpolation", "majoring" or "minoring".
        name, dtype: see `Metric`.
        thresholds: use these thresholds between 0 and 1 instead.
        multi_label: one curve per output, then the mean of the areas.
        num_labels: number of outputs, with `multi_label`.
        label_weights: weight of each output.
        from_logits: apply the sigmoid to the outputs first.

    Raises:
        ValueError: an unknown curve or method, or fewer than two thresholds.
    """

    _direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: str | None = None,
        thresholds: list[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: list[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        if str(curve).upper() not in ("ROC", "PR"):
            raise ValueError(f"Invalid AUC curve value: {curve!r}. Expected 'ROC' or 'PR'.")
        if str(summation_method).lower() not in ("interpolation", "majoring", "minoring"):
            raise ValueError(
                f"Invalid AUC summation method value: {summation_method!r}. Expected values are "
                "['interpolation', 'majoring', 'minoring']"
            )
        if thresholds is None and num_thresholds <= 1:
            raise ValueError(
                "Argument `num_thresholds` must be an integer > 1. Received: "
                f"num_thresholds={num_thresholds}"
            )
        if num_labels and not multi_label:
            raise ValueError("`num_labels` is needed only when `multi_label` is True.")
        super().__init__(dtype, name)
        self._given_thresholds = thresholds
        inner = (
            sorted(thresholds)
            if thresholds is not None
            else [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        )
        epsilon = float(EPSILON)
        self._thresholds = np.array([-epsilon, *inner, 1.0 + epsilon])
        self.num_thresholds: int = len(self._thresholds)
        self.curve: str = str(curve).upper()
        self.summation_method: str = str(summation_method).lower()
        self.multi_label: bool = bool(multi_label)
        self.num_labels = num_labels
        self.label_weights: np.ndarray | None = (
            None if label_weights is None else np.asarray(label_weights, float)
        )
        self.from_logits: bool = bool(from_logits)
        self._counted: dict[str, Any] = {}
        if not multi_label or num_labels:
            self._build(num_labels)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, with one just below 0 and one just above 1."""
        return list(self._thresholds)

    def _build(self, labels: int | None) -> None:
        shape: Any = (self.num_thresholds, labels) if self.multi_label else (self.num_thresholds,)
        names = {
            "tp": "true_positives",
            "fp": "false_positives",
            "tn": "true_negatives",
            "fn": "false_negatives",
        }
        self._counted = {key: self.add_variable(shape, name=name) for key, name in names.items()}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch into account."""
        y_pred = as_float(y_pred)
        if self.from_logits:
            y_pred = sigmoid(y_pred)
        if not self._counted:
            self._build(y_pred.shape[-1])
        counts = _counts(
            y_true,
            y_pred,
            self._thresholds,
            sample_weight,
            multi_label=self.multi_label,
            label_weights=None if self.multi_label else self.label_weights,
        )
        for key, variable in self._counted.items():
            variable.assign_add(counts[key])

    def result(self) -> Number:
        """Return the area, 0 before the first batch."""
        if not self._counted:
            return Number(0.0)
        tp, fp, tn, fn = (self._counted[key].numpy() for key in ("tp", "fp", "tn", "fn"))
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._over_labels(_interpolated_pr(tp, fp, fn))
        recall = divide(tp, tp + fn)
        if self.curve == "ROC":
            x, y = divide(fp, fp + tn), recall
        else:
            x, y = recall, divide(tp, tp + fp)
        combine: Any = {
            "interpolation": lambda a, b: (a + b) / 2,
            "minoring": np.minimum,
            "majoring": np.maximum,
        }[self.summation_method]
        return self._over_labels((x[:-1] - x[1:]) * combine(y[:-1], y[1:]))

    def _over_labels(self, areas: np.ndarray) -> Number:
        area = areas.sum(axis=0)
        if not self.multi_label:
            return as_result(area)
        return as_result(np.average(area, weights=self.label_weights))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        weights = None if self.label_weights is None else self.label_weights.tolist()
        own = {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": weights,
            "from_logits": self.from_logits,
        }
        if self._given_thresholds is not None:
            own["thresholds"] = self.thresholds[1:-1]
        return {**super().get_config(), **own}


def _interpolated_pr(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Areas between thresholds under the precision-recall curve (Davis and Goadrich 2006)."""
    positives = tp + fp
    d_tp = tp[:-1] - tp[1:]
    slope = divide(d_tp, np.maximum(positives[:-1] - positives[1:], 0))
    intercept = tp[1:] - slope * positives[1:]
    both = (positives[:-1] > 0) & (positives[1:] > 0)
    ratio = np.where(both, divide(positives[:-1], np.maximum(positives[1:], 0)), 1.0)
    return divide(slope * (d_tp + intercept * np.log(ratio)), np.maximum(tp[1:] + fn[1:], 0))


class FBetaScore(Metric):
    """Weighted harmonic mean of precision and recall, per class.

    Args:
        average: None (one value per class), "micro" (counts pooled), "macro" (mean over the
            classes) or "weighted" (mean weighted by the number of samples).
        beta: weight of recall against precision, positive.
        threshold: an output above it counts as yes; None: the largest output of a sample does.
        name, dtype: see `Metric`.

    Raises:
        ValueError: a value out of range.
    """

    _direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype, name)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                "Invalid `average` argument value. Expected one of: {None, 'micro', 'macro', "
                f"'weighted'}}. Received: average={average!r}"
            )
        if not beta > 0:
            raise ValueError(
                f"Invalid `beta` argument value. It should be > 0. Received: beta={beta}"
            )
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(
                "Invalid `threshold` argument value. It should verify 0 < threshold <= 1. "
                f"Received: threshold={threshold}"
            )
        self.average = average
        self.beta: float = float(beta)
        self.threshold = threshold
        self._counted: dict[str, Any] = {}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch into account (labels one-hot, (N, classes))."""
        y_true, y_pred = as_float(y_true), as_float(y_pred)
        if y_true.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"{type(self).__name__} expects 2D inputs with shape (batch_size, output_dim). "
                f"Received input shapes: y_pred.shape={y_pred.shape} and "
                f"y_true.shape={y_true.shape}."
            )
        if not self._counted:
            shape = () if self.average == "micro" else (y_pred.shape[1],)
            self._counted = {
                key: self.add_variable(shape, name=key) for key in ("tp", "fp", "fn", "support")
            }
        if self.threshold is None:
            # The second condition keeps a row of zeros from counting as "all classes".
            chosen = (y_pred >= y_pred.max(axis=-1, keepdims=True)) & (np.abs(y_pred) > 1e-9)
        else:
            chosen = y_pred > self.threshold
        chosen = chosen.astype(np.float64)
        weight = 1.0 if sample_weight is None else as_float(sample_weight).reshape(-1, 1)
        axis = None if self.average == "micro" else 0
        for key, value in (
            ("tp", chosen * y_true),
            ("fp", chosen * (1 - y_true)),
            ("fn", (1 - chosen) * y_true),
            ("support", y_true),
        ):
            self._counted[key].assign_add((value * weight).sum(axis=axis))

    def result(self) -> Number | Numbers:
        """Return the score (an array with `average=None`)."""
        if not self._counted:
            return Number(0.0)
        tp, fp, fn, support = (self._counted[k].numpy() for k in ("tp", "fp", "fn", "support"))
        epsilon = float(EPSILON)
        precision = tp / (tp + fp + epsilon)
        recall = tp / (tp + fn + epsilon)
        score = precision * recall / (self.beta**2 * precision + recall + epsilon)
        score = score * (1 + self.beta**2)
        if self.average == "weighted":
            return as_result((score * (support / (support.sum() + epsilon))).sum())
        return as_result(score if self.average is None else score.mean())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        own = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return {**super().get_config(), **own}


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall, per class.

    Args:
        average, threshold, name, dtype: see `FBetaScore`.
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        config = super().get_config()
        del config["beta"]
        return config
