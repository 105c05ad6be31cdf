"""Per-sample losses on plain arrays, in single precision as Keras computes them.

Every function takes `(y_true, y_pred, ...)` and returns one number per sample (the last axis is
reduced). Formulas, clipping at 1e-7 and order of operations: keras/src/losses/losses.py and
keras/src/backend/tensorflow/nn.py. During `fit` and `evaluate` the core computes the
cross-entropies from the logits behind a final softmax or sigmoid instead, as Keras does.
"""

from typing import Any

import numpy as np

EPSILON = np.float32(1e-7)  # keras.config.epsilon()


def as_float(array: object) -> np.ndarray:
    """Return the array in single precision."""
    return np.asarray(array, dtype=np.float32)


def same_rank(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squeeze or expand a last axis of length 1 where the ranks differ by one."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[..., None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[..., None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b


def _pair(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    return same_rank(as_float(y_true), as_float(y_pred))


def _check_same_shape(target: np.ndarray, output: np.ndarray) -> None:
    problem = "rank (ndim)" if target.ndim != output.ndim else "shape"
    if target.shape != output.shape:
        raise ValueError(
            f"Arguments `target` and `output` must have the same {problem}. Received: "
            f"target.shape={target.shape}, output.shape={output.shape}"
        )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    return np.exp(_log_softmax(logits))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(logits.dtype)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _smooth(y_true: np.ndarray, label_smoothing: float, floor: float) -> np.ndarray:
    if not label_smoothing:
        return y_true
    return y_true * np.float32(1.0 - label_smoothing) + np.float32(label_smoothing * floor)


def _check_axis(axis: int, rank: int) -> None:
    if isinstance(axis, bool) or axis not in (-1, rank - 1):
        raise ValueError(f"Only axis=-1 (the last axis) is supported. Received: axis={axis!r}")


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> np.ndarray:
    """Cross-entropy for one-hot (or soft) labels.

    Args:
        y_true: labels, (N, ..., classes).
        y_pred: probabilities or logits, same shape.
        from_logits: `y_pred` are logits.
        label_smoothing: share of each label spread evenly over the classes, 0 to 1.
        axis: the class axis; only the last one.

    Returns:
        Array of shape (N, ...).

    Raises:
        ValueError: the shapes differ.
    """
    y_pred, y_true = as_float(y_pred), as_float(y_true)
    _check_axis(axis, y_pred.ndim)
    y_true = _smooth(y_true, label_smoothing, 1.0 / y_true.shape[-1])
    _check_same_shape(y_true, y_pred)
    if from_logits:
        return -(y_true * _log_softmax(y_pred)).sum(axis=-1)
    y_pred = y_pred / y_pred.sum(axis=-1, keepdims=True)
    y_pred = np.clip(y_pred, EPSILON, np.float32(1) - EPSILON)
    return -(y_true * np.log(y_pred)).sum(axis=-1)


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> np.ndarray:
    """Cross-entropy for class indices.

    Args:
        y_true: class indices, (N, ...) or (N, ..., 1).
        y_pred: probabilities or logits, (N, ..., classes).
        from_logits: `y_pred` are logits.
        ignore_class: label whose samples count as zero loss, None for none.
        axis: the class axis; only the last one.

    Returns:
        Array of shape (N, ...).

    Raises:
        ValueError: the shapes do not fit, or a label is not a class index.
    """
    labels, y_pred = np.asarray(y_true), as_float(y_pred)
    _check_axis(axis, y_pred.ndim)
    if labels.ndim == y_pred.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.shape != y_pred.shape[:-1]:
        raise ValueError(
            "Class-index labels must have the shape of `output` without its last axis. Received: "
            f"target.shape={np.shape(y_true)}, output.shape={y_pred.shape}. For one-hot labels "
            "use categorical_crossentropy."
        )
    labels = labels.astype(np.int64)
    valid = np.ones(labels.shape, bool) if ignore_class is None else labels != ignore_class
    labels = np.where(valid, labels, 0)
    check_class_indices(labels, y_pred.shape[-1])
    if not from_logits:
        y_pred = np.log(np.clip(y_pred, EPSILON, np.float32(1) - EPSILON))
    chosen = np.take_along_axis(_log_softmax(y_pred), labels[..., None], axis=-1)[..., 0]
    return np.where(valid, -chosen, np.float32(0))


def check_class_indices(labels: np.ndarray, classes: int) -> None:
    """Raise ValueError if a label is not in 0 ... classes - 1."""
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)].flat[0]
        raise ValueError(
            f"The label {wrong} is not a class index of an output with {classes} units "
            f"(allowed: 0 to {classes - 1}). Give the output layer one unit per class."
        )


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> np.ndarray:
    """Cross-entropy of independent yes/no outputs, averaged over the last axis.

    Args:
        y_true: 0 or 1 (or shares between), same shape as `y_pred`.
        y_pred: probabilities or logits, (N, ..., outputs).
        from_logits: `y_pred` are logits.
        label_smoothing: labels move this far towards 0.5, 0 to 1.
        axis: axis of the mean.

    Returns:
        Array of shape (N, ...).

    Raises:
        ValueError: the shapes differ.
    """
    y_pred, y_true = as_float(y_pred), as_float(y_true)
    y_true = _smooth(y_true, label_smoothing, 0.5)
    return _binary_elements(y_true, y_pred, from_logits).mean(axis=axis)


def _binary_elements(y_true: np.ndarray, y_pred: np.ndarray, from_logits: bool) -> np.ndarray:
    _check_same_shape(y_true, y_pred)
    if from_logits:
        return np.maximum(y_pred, 0) - y_pred * y_true + np.log1p(np.exp(-np.abs(y_pred)))
    y_pred = np.clip(y_pred, EPSILON, np.float32(1) - EPSILON)
    return -(y_true * np.log(y_pred) + (1 - y_true) * np.log(1 - y_pred))


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> np.ndarray:
    """Binary cross-entropy times (1 - p of the true answer) ** gamma.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: see `binary_crossentropy`.
        apply_class_balancing: weight positives by `alpha`, negatives by 1 - alpha.
        alpha: weight of positives.
        gamma: how strongly easy samples are discounted.

    Returns:
        Array of shape (N, ...).
    """
    y_pred, y_true = as_float(y_pred), as_float(y_true)
    y_true = _smooth(y_true, label_smoothing, 0.5)
    if from_logits:
        y_pred = sigmoid(y_pred)
    losses = _binary_elements(y_true, y_pred, False)
    p_t = y_true * y_pred + (1 - y_true) * (1 - y_pred)
    losses = np.power(1 - p_t, np.float32(gamma)) * losses
    if apply_class_balancing:
        losses = (y_true * np.float32(alpha) + (1 - y_true) * np.float32(1 - alpha)) * losses
    return losses.mean(axis=axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> np.ndarray:
    """Categorical cross-entropy times alpha * (1 - p) ** gamma.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: see `categorical_crossentropy`.
        alpha: overall factor.
        gamma: how strongly easy samples are discounted.

    Returns:
        Array of shape (N, ...).
    """
    y_pred, y_true = as_float(y_pred), as_float(y_true)
    _check_axis(axis, y_pred.ndim)
    y_true = _smooth(y_true, label_smoothing, 1.0 / y_true.shape[-1])
    _check_same_shape(y_true, y_pred)
    if from_logits:
        y_pred = softmax(y_pred)
    y_pred = y_pred / y_pred.sum(axis=-1, keepdims=True)
    y_pred = np.clip(y_pred, EPSILON, np.float32(1) - EPSILON)
    factor = np.power(1 - y_pred, np.float32(gamma)) * np.float32(alpha)
    return (factor * (-y_true * np.log(y_pred))).sum(axis=-1)


def mean_squared_error(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of the squared differences over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return np.square(y_true - y_pred).mean(axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of the absolute differences over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return np.abs(y_true - y_pred).mean(axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of |difference| / |y_true| over the last axis, in percent."""
    y_true, y_pred = _pair(y_true, y_pred)
    ratio = np.abs((y_true - y_pred) / np.maximum(np.abs(y_true), EPSILON))
    return np.float32(100) * ratio.mean(axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of the squared differences of log(1 + x) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    first = np.log(np.maximum(y_pred, EPSILON) + 1)
    second = np.log(np.maximum(y_true, EPSILON) + 1)
    return np.square(first - second).mean(axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> np.ndarray:
    """Minus the cosine of the angle between labels and outputs along `axis`."""
    y_true, y_pred = _pair(y_true, y_pred)

    def normalized(x: np.ndarray) -> np.ndarray:
        # keras.ops.normalize bounds the norm, not its square, by epsilon.
        norm = np.sqrt(np.square(x).sum(axis=axis, keepdims=True))
        return x / np.maximum(norm, EPSILON)

    return -(normalized(y_true) * normalized(y_pred)).sum(axis=axis)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> np.ndarray:
    """Half the squared difference up to `delta`, linear beyond; mean over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    limit = np.float32(delta)
    error = y_pred - y_true
    size = np.abs(error)
    half = np.float32(0.5)
    return np.where(
        size <= limit, half * np.square(error), limit * size - half * np.square(limit)
    ).mean(axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of log(cosh(difference)) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = y_pred - y_true
    return (error + _softplus(error * -2) - np.float32(np.log(2.0))).mean(axis=-1)


def kl_divergence(y_true: Any, y_pred: Any) -> np.ndarray:
    """Sum of y_true * log(y_true / y_pred) over the last axis, both clipped to [1e-7, 1]."""
    y_pred, y_true = as_float(y_pred), as_float(y_true)
    y_true = np.clip(y_true, EPSILON, np.float32(1))
    y_pred = np.clip(y_pred, EPSILON, np.float32(1))
    return (y_true * np.log(y_true / y_pred)).sum(axis=-1)


def poisson(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of y_pred - y_true * log(y_pred) over the last axis."""
    y_pred, y_true = as_float(y_pred), as_float(y_true)
    return (y_pred - y_true * np.log(y_pred + EPSILON)).mean(axis=-1)


def _hinge_labels(y_true: np.ndarray) -> np.ndarray:
    """Turn labels 0 and 1 into -1 and 1, leave others alone."""
    binary = np.all((y_true == 0) | (y_true == 1))
    return 2 * y_true - 1 if binary else y_true


def hinge(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of max(1 - y_true * y_pred, 0) over the last axis; labels -1/1 or 0/1."""
    y_pred, y_true = as_float(y_pred), _hinge_labels(as_float(y_true))
    return np.maximum(1 - y_true * y_pred, 0).mean(axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean of max(1 - y_true * y_pred, 0) ** 2 over the last axis; labels -1/1 or 0/1."""
    y_pred, y_true = as_float(y_pred), _hinge_labels(as_float(y_true))
    return np.square(np.maximum(1 - y_true * y_pred, 0)).mean(axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> np.ndarray:
    """max(best wrong output - right output + 1, 0); labels one-hot."""
    y_pred, y_true = as_float(y_pred), as_float(y_true)
    right = (y_true * y_pred).sum(axis=-1)
    wrong = ((1 - y_true) * y_pred).max(axis=-1)
    return np.maximum(wrong - right + 1, np.float32(0))
