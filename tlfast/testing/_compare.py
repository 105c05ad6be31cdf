"""`assert_model_close`: are two models the same, and where not, which layers and by how much?"""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlfast._arguments import checked_arguments
from tlfast._naming import to_snake_case
from tlfast.models import Model, clone_model
from tlfast.saving.weights_h5 import own_variables

_LISTED = 20  # lines of a message


@dataclass(frozen=True)
class _Tolerance:
    rtol: float
    atol: float

    def difference(self, actual: Any, desired: Any) -> str:
        """What differs between two arrays in words; "" where they are close."""
        actual, desired = np.asarray(actual), np.asarray(desired)
        if actual.shape != desired.shape:
            return f"shape {actual.shape} instead of {desired.shape}"
        with np.errstate(invalid="ignore"):
            error = np.abs(actual.astype(np.float64) - desired)
            limit = self.atol + self.rtol * np.abs(desired.astype(np.float64))
            # Equal covers infinities; a NaN is only close to a NaN.
            close = (error <= limit) | (actual == desired)
        close |= np.isnan(actual) & np.isnan(desired)
        if close.all():
            return ""
        excess = np.where(close, -np.inf, np.nan_to_num(error - limit, nan=np.inf))
        place = np.unravel_index(np.argmax(excess), excess.shape)
        where = f" at [{', '.join(map(str, place))}]" if place else ""
        return (
            f"{np.size(close) - np.count_nonzero(close)} of {np.size(close)} values differ, most"
            f"{where}: {actual[place]:.7g} instead of {desired[place]:.7g}, "
            f"off by {error[place]:.3g}"
        )


@checked_arguments
def assert_model_close(
    actual: Model,
    desired: Any,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    inputs: Any = None,
) -> None:
    """Raise AssertionError unless a model is the desired one up to rounding.

    Two models are compared layer by layer: names (automatic ones, such as "dense_3", by class
    only), classes, shapes and values of the weights, then input and output shapes, class names
    where both have some, and with `inputs` the predictions. Numbers are close where
    |actual - desired| <= atol + rtol * |desired|, as in NumPy. Training on another machine or with
    another number of threads changes the last bits of every step: leave room for that.

    Args:
        actual: a built model.
        desired: a model; the path of a model or weight file; a list of arrays as `get_weights()`
            returns; or, with `inputs`, the predictions stored for these (an array, or a list or
            dict of them as `predict` returns).
        rtol: allowed difference relative to the desired number. Defaults to 1e-4.
        atol: allowed absolute difference. Defaults to 1e-5.
        inputs: what both models are to predict: anything `predict` takes that is the same in
            each pass (no shuffling). Defaults to None: nothing is predicted.

    Raises:
        AssertionError: naming the layers that differ and by how much.
        ValueError: an argument has another value than listed.
    """
    __tracebackhide__ = True
    _check_model(actual, "actual")
    if not (rtol >= 0 and atol >= 0):
        raise ValueError(f"rtol and atol are 0 or more. Received: rtol={rtol!r}, atol={atol!r}")
    tolerance = _Tolerance(float(rtol), float(atol))
    if isinstance(desired, (str, os.PathLike)):
        desired = _read(actual, desired)
    if isinstance(desired, Model):
        _check_model(desired, "desired")
        lines = list(_model_differences(actual, desired, tolerance))
        if inputs is not None and actual.input_shape == desired.input_shape:
            wanted = desired.predict(inputs, verbose=0)
            lines += _prediction_differences(actual, wanted, inputs, tolerance)
    elif inputs is not None:
        lines = list(_prediction_differences(actual, desired, inputs, tolerance))
    else:
        lines = list(_stored_weight_differences(actual, desired, tolerance))
    if lines:
        raise AssertionError(_message(actual, lines, tolerance))


def _check_model(model: Any, argument: str) -> None:
    if not isinstance(model, Model):
        raise ValueError(f"`{argument}` is a model. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(
            f"`{argument}` is not built and has no weights yet: give model '{model.name}' an Input "
            "as the first layer, or call it on data"
        )


def _read(actual: Model, path: str | os.PathLike[str]) -> Model:
    """The model of a file; of a weight file a copy of `actual` with the weights of the file."""
    from tlfast import saving

    if os.fspath(path).endswith(".weights.h5"):
        model = clone_model(actual)
        model.load_weights(path)
        return model
    return saving.load_model(path, compile=False)


def _message(model: Model, lines: list[str], tolerance: _Tolerance) -> str:
    shown = lines[:_LISTED]
    if len(lines) > _LISTED:
        shown.append(f"... and {len(lines) - _LISTED} more")
    head = f"model '{model.name}' differs (rtol={tolerance.rtol:g}, atol={tolerance.atol:g}):"
    return "\n  ".join([head, *shown])


# ---- two models ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """A layer of a model: the names that lead to it, and the layer."""

    path: str
    layer: Any

    @property
    def key(self) -> tuple[str, str]:
        """What makes two layers the same; automatic names depend on what was built before."""
        kind = type(self.layer).__name__
        automatic = rf"{re.escape(to_snake_case(kind))}(_\d+)?"
        name = "" if re.fullmatch(automatic, self.layer.name) else self.layer.name
        return kind, name

    def __str__(self) -> str:
        return f"{self.path} ({type(self.layer).__name__})"


def _entries(model: Model) -> list[_Entry]:
    """All layers, those of models inside behind these; shared layers once."""
    found: dict[int, _Entry] = {}

    def visit(model: Model, prefix: str) -> None:
        for layer in model.layers:
            if id(layer) not in found:
                found[id(layer)] = _Entry(prefix + layer.name, layer)
                if isinstance(layer, Model):
                    visit(layer, f"{prefix}{layer.name}/")

    visit(model, "")
    return list(found.values())


def _model_differences(actual: Model, desired: Model, tolerance: _Tolerance) -> Iterator[str]:
    for attribute, name in (("input_shape", "input shape"), ("output_shape", "output shape")):
        shapes = getattr(actual, attribute), getattr(desired, attribute)
        if shapes[0] != shapes[1]:
            yield f"{name}: {shapes[0]} instead of {shapes[1]}"
    names = actual.class_names, desired.class_names
    if None not in names and names[0] != names[1]:
        yield f"class names: {names[0]} instead of {names[1]}"
    first, second = _entries(actual), _entries(desired)
    keys = [entry.key for entry in first], [entry.key for entry in second]
    matcher = difflib.SequenceMatcher(None, *keys, autojunk=False)
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            for a, b in zip(first[i:i_end], second[j:j_end], strict=True):
                yield from _weight_differences(a, b, tolerance)
        elif i_end - i == j_end - j:
            for a, b in zip(first[i:i_end], second[j:j_end], strict=True):
                yield f"{a}: instead of {b}"
        else:
            yield from (f"{entry}: not in the desired model" for entry in first[i:i_end])
            yield from (f"{entry}: missing" for entry in second[j:j_end])


def _weight_differences(a: _Entry, b: _Entry, tolerance: _Tolerance) -> Iterator[str]:
    mine, theirs = own_variables(a.layer), own_variables(b.layer)
    names = [v.name for v in mine], [v.name for v in theirs]
    if names[0] != names[1]:
        yield f"{a}: weights {names[0]} instead of {names[1]}"
        return
    for v, w in zip(mine, theirs, strict=True):
        if text := tolerance.difference(v.numpy(), w.numpy()):
            yield f"{a} {v.name}: {text}"


# ---- stored arrays -------------------------------------------------------------------------------


def _stored_weight_differences(
    model: Model, stored: Sequence[np.ndarray], tolerance: _Tolerance
) -> Iterator[str]:
    if not isinstance(stored, (list, tuple)):
        raise ValueError(
            "`desired` is a model, the path of a file, or a list of weights as get_weights() "
            "returns; predictions need the `inputs` they belong to. Received: "
            f"{type(stored).__name__} without inputs"
        )
    owners = {id(v): entry for entry in _entries(model) for v in own_variables(entry.layer)}
    if len(stored) != len(model.weights):
        yield f"{len(model.weights)} weights instead of {len(stored)}"
        return
    for variable, values in zip(model.weights, stored, strict=True):
        if text := tolerance.difference(variable.numpy(), values):
            yield f"{owners[id(variable)]} {variable.name}: {text}"


def _prediction_differences(
    model: Model, desired: Any, inputs: Any, tolerance: _Tolerance
) -> Iterator[str]:
    mine, theirs = _by_output(model.predict(inputs, verbose=0)), _by_output(desired)
    if list(mine) != list(theirs):
        yield f"predictions: outputs {list(mine)} instead of {list(theirs)}"
        return
    for name, values in mine.items():
        if text := tolerance.difference(values, theirs[name]):
            yield f"{' '.join(['predictions', name]).strip()}: {text}"


def _by_output(predictions: Any) -> dict[str, Any]:
    """Predictions by the name or number of the output; "" for the only one."""
    if isinstance(predictions, dict):
        return dict(sorted(predictions.items()))
    if isinstance(predictions, (list, tuple)):
        return {str(number): values for number, values in enumerate(predictions)}
    return {"": predictions}
