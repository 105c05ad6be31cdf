"""Where the values of a training step stopped being finite numbers.

A step changes the weights, so the ones it began with are put back while its batch is computed
again, a few layers at a time, until the first one whose outputs are not finite.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tlfast import _core
from tlfast._steps import Steps

_LAYERS = 8  # computed and looked at together; each of them takes the memory of its outputs
_LISTED = 8  # files or rows named in a sentence


def explain(model: Any, steps: Steps, before: Sequence[np.ndarray]) -> list[str]:
    """Say in a few lines where the first values that are not finite are.

    Args:
        model: the model, after the step.
        steps: the steps of the fit, of which the last one is meant.
        before: values of the trainable weights before the step.

    Returns:
        Sentences, one a line.
    """
    batch = steps.batch
    what, rows = _first(model, steps, before)
    lines = [f"First values that are not finite: {what}."]
    files = steps.files()
    some = rows is not None and 0 < rows.sum() < batch.size
    if some and rows is not None:
        named = [files[i] if files else f"row {i + 1}" for i in np.flatnonzero(rows)]
        lines.append(f"They come from {_listed(named)}.")
    if files:
        lines.append(f"The files of the batch: {_listed(files)}.")
    return lines


def _first(model: Any, steps: Steps, before: Sequence[np.ndarray]) -> tuple[str, np.ndarray | None]:
    """What is not finite, and in which rows of the batch (None: no matter of rows)."""
    batch = steps.batch
    inputs = steps.inputs()
    for name, array in zip(model.input_names, inputs, strict=True):
        if not _is_finite(array):
            return f"the input {name!r}", _bad_rows(array)
    for name, array in zip(model.output_names, batch.y, strict=True):
        if not _is_finite(array):
            return f"the labels of the output {name!r}", _bad_rows(array)
    for weight in batch.sample_weight or ():
        if weight is not None and not _is_finite(weight):
            return "the sample weights", _bad_rows(weight)
    trained = model.trainable_weights
    weight_text = _first_weight(model, trained, before)
    if weight_text:
        return weight_text, None
    after = [variable.numpy() for variable in trained]
    try:
        _assign(trained, before)
        found = _first_output(model, inputs)
    finally:
        _assign(trained, after)
    return found or ("the loss or its penalties; all outputs are finite", None)


def _first_weight(model: Any, trained: Sequence[Any], before: Sequence[np.ndarray]) -> str | None:
    kept = {id(variable): values for variable, values in zip(trained, before, strict=True)}
    for layer in model._flatten_layers():
        for variable in layer._own_trainable + layer._own_non_trainable:
            if id(variable) in kept and not _is_finite(kept[id(variable)]):
                return (
                    f"the weight {variable.path} of the layer {layer.name!r}, before the step "
                    "already; where training made it so, a lower learning rate or clipnorm=1 helps"
                )
            # Running means of a layer in training are none of the step's inputs.
            if not layer.trainable and not _is_finite(variable.numpy()):
                return f"the weight {variable.path} of the layer {layer.name!r}, which is frozen"
    return None


def _first_output(model: Any, inputs: list[np.ndarray]) -> tuple[str, np.ndarray] | None:
    from tlfast._lowering import lower

    made = lower(model, [x.shape[1:] for x in inputs], len(inputs[0]), True)
    _, order = made.graph.version(made.outputs)
    values = [value for value in order if value not in made.inputs]
    # The seed of the step itself, so that dropout draws what it drew.
    seed = int(model.optimizer.iterations) - 1
    feeds = [
        np.ascontiguousarray(x, x.dtype if x.dtype == np.uint8 else np.float32) for x in inputs
    ]
    for group in _groups(values):
        plan = _core.Plan(made.graph, made.inputs, group, _core.Pool())
        for value, array in zip(group, plan.forward(feeds, seed=seed), strict=True):
            if not _is_finite(array):
                return f"the outputs of the layer {made.graph.node(value)[1]!r}", _bad_rows(array)
    return None


def _groups(values: list[int]) -> Iterator[tuple[int, ...]]:
    return (tuple(values[at : at + _LAYERS]) for at in range(0, len(values), _LAYERS))


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _bad_rows(array: np.ndarray) -> np.ndarray:
    return ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
