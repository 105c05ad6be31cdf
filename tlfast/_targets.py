"""Labels and class weights: do they fit the loss and the outputs?"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlfast import _loss_functions
from tlfast._loss_base import Loss
from tlfast._warnings import LossWarning

_ONE_HOT_LOSSES = ("categorical_crossentropy", "categorical_focal_crossentropy")
_YES_NO_LOSSES = ("binary_crossentropy", "binary_focal_crossentropy")
_CLASS_LOSSES = (*_ONE_HOT_LOSSES, *_YES_NO_LOSSES, "sparse_categorical_crossentropy")
_told: set[str] = set()  # warnings about losses that this process has given


def check_class_weight(class_weight: object, outputs: int) -> None:
    """Raise for class weights that are no dictionary of numbers by class index.

    Args:
        class_weight: the argument of `fit`.
        outputs: number of outputs of the model.
    """
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "`class_weight` must be a dictionary from class index to weight, for example "
            f"{{0: 1.0, 1: 5.0}}. Received: {class_weight!r}"
        )
    if outputs > 1:
        raise ValueError("`class_weight` is only supported for Models with a single output.")
    for label, weight in class_weight.items():
        if isinstance(label, str) or int(label) != label or label < 0:
            raise ValueError(
                f"The keys of `class_weight` must be class indices (0, 1, ...), got {label!r}. "
                "The order of the classes is in `data.class_names` or `data.class_indices`."
            )
        if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)):
            raise ValueError(f"The weight of class {label} must be a number, got {weight!r}.")


def check_class_names(
    class_names: list[Any], losses: list[Any], shapes: list[tuple[Any, ...]]
) -> None:
    """Raise where a loss is to tell classes apart and all images are of one.

    Args:
        class_names: the classes of the training data.
        losses: the model's losses.
        shapes: the shapes of its outputs; an output that is an image needs no classes.
    """
    named = [
        loss.name
        for loss, shape in zip(losses, shapes, strict=True)
        if getattr(loss, "_kind", None) in _CLASS_LOSSES and len(shape) == 2
    ]
    if len(class_names) == 1 and named:
        raise ValueError(
            f"All training images are of one class, {str(class_names[0])!r}, and {named[0]} is to "
            "tell classes apart: put the images of each class into a sub-folder of their own, "
            "DIR/<class>, and give DIR."
        )


def check_target(loss: Loss, y: np.ndarray, shape: tuple[Any, ...], name: str) -> None:
    """Raise if labels cannot belong to an output with this loss, saying what to change.

    Args:
        loss: the loss of the output.
        y: a batch of labels.
        shape: shape of the output's batch.
        name: name of the output.

    Raises:
        ValueError: shapes do not fit, or a label is not a class index.
    """
    kind = getattr(loss, "_kind", None)
    received = f"Received: target.shape={y.shape}, output.shape={shape} (output {name!r})."
    if len(y) != shape[0]:
        raise ValueError(f"Labels and outputs have different numbers of samples. {received}")
    if kind == "sparse_categorical_crossentropy":
        _check_sparse(loss, y, shape, received)
        return
    if kind in _YES_NO_LOSSES and y.size and not (0 <= y.min() and y.max() <= 1):
        wrong = y[(y < 0) | (y > 1) | (y != y)].flat[0]
        raise ValueError(
            f"The label {wrong} does not belong to {loss.name}, which takes 0 (no) to 1 (yes) "
            f"(output {name!r}). For more than two classes use Dense(classes, "
            'activation="softmax") with loss="sparse_categorical_crossentropy".'
        )
    if y.shape == shape or kind is None:
        return
    rank = "rank (ndim)" if y.ndim != len(shape) else "shape"
    start = f"Arguments `target` and `output` must have the same {rank}. {received}"
    if y.ndim == 1 and len(shape) == 2 and shape[1] == 1:
        return  # (N,) belongs to (N, 1)
    if kind in _ONE_HOT_LOSSES and y.ndim == len(shape) and y.shape[-1] == 1:
        raise ValueError(
            f"{start} The labels have one column. If it holds class indices, use "
            'loss="sparse_categorical_crossentropy"; if they are one-hot labels, the data have '
            "images of one class only: add a sub-folder with images of each other class."
        )
    if kind in _ONE_HOT_LOSSES and y.ndim == len(shape) - 1:
        raise ValueError(
            f"{start} The labels are class indices, but {loss.name} wants one-hot labels: use "
            'loss="sparse_categorical_crossentropy", or make the labels one-hot '
            '(label_mode="categorical", class_mode="categorical" or '
            "tlfast.utils.to_categorical)."
        )
    if shape[-1] == 1 and y.ndim == len(shape) and y.shape[-1] > 1:
        raise ValueError(
            f"{start} The labels are one-hot over {y.shape[-1]} classes, but the model has one "
            'output unit: use label_mode="binary" (class_mode="binary"), or '
            f'Dense({y.shape[-1]}, activation="softmax") with loss="categorical_crossentropy".'
        )
    if y.ndim == len(shape) and y.shape[-1] != shape[-1]:
        raise ValueError(
            f"{start} The labels have {y.shape[-1]} classes, the output has {shape[-1]} units; "
            "both numbers must be the same."
        )
    raise ValueError(f"{start} Make the labels match the output, or choose another loss.")


def _check_sparse(loss: Loss, y: np.ndarray, shape: tuple[Any, ...], received: str) -> None:
    flat = y[..., 0] if y.ndim == len(shape) and y.shape[-1] == 1 else y
    if flat.shape != shape[:-1]:
        hint = "Make the labels class indices."
        if y.shape == shape:
            hint = (
                'The labels are one-hot: use loss="categorical_crossentropy", or class indices '
                '(label_mode="int", class_mode="sparse").'
            )
        raise ValueError(
            "Argument `output` must have rank (ndim) `target.ndim - 1` for "
            f"{loss.name}. {received} {hint}"
        )
    labels = np.asarray(flat)
    ignored = getattr(loss, "ignore_class", None)
    if ignored is not None:
        labels = labels[labels != ignored]
    _loss_functions.check_class_indices(labels, shape[-1])


def warn_about_loss(loss: Loss, units: int, activation: str | None, again: bool = True) -> None:
    """Warn where a loss is legal but seldom meant.

    Args:
        loss: the loss of an output.
        units: number of units of the output.
        activation: name of the output's activation, None if not known.
        again: whether to say what this process has been told before.
    """
    text = _doubt(loss, units, activation)
    if text is not None and (again or text not in _told):
        warnings.warn(text, LossWarning, stacklevel=4)
        _told.add(text)


def _doubt(loss: Loss, units: int, activation: str | None) -> str | None:
    kind = getattr(loss, "_kind", None)
    if kind == "binary_crossentropy" and activation == "softmax" and units > 1:
        return (
            f'loss="binary_crossentropy" on a softmax over {units} units: as in Keras, each unit '
            "is treated as its own yes/no question on the softmax's inputs, which is not the "
            'likelihood of the classes. Use loss="categorical_crossentropy" for a softmax '
            '(or Dense(1, activation="sigmoid") with binary_crossentropy). The numbers are '
            "Keras' numbers."
        )
    if kind in _ONE_HOT_LOSSES and units == 1:
        return (
            f"loss={loss.name!r} on one output unit is always zero: expected y_pred.shape to be "
            "(batch_size, num_classes) with num_classes > 1. Use 'binary_crossentropy' with "
            'Dense(1, activation="sigmoid") if you only have 2 classes.'
        )
    return None


def output_activation(model: Any, index: int) -> str | None:
    """Return the name of the activation behind an output, looking into nested models.

    Args:
        model: a built model.
        index: which output.
    """
    history = model.outputs[index]._keras_history
    while getattr(history.operation, "outputs", None):
        history = history.operation.outputs[history.tensor_index]._keras_history
    last = history.operation
    if type(last).__name__ == "Softmax":
        return "softmax"
    return getattr(getattr(last, "activation", None), "__name__", None)
