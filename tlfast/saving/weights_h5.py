"""Keras 3's weight layout: `layers/<class>[_k]/vars/<i>`, in `.weights.h5` and inside `.keras`.

Layer names play no part: the k-th layer of a class in the order of `model.layers` has the
suffix `_k`. Source: keras/src/saving/saving_lib.py of Keras 3.15.1, `_save_state` and
`_save_container_state`.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tlfast._naming import to_snake_case
from tlfast._warnings import user_level
from tlfast.saving import hdf5_write
from tlfast.saving.hdf5_read import Dataset, Group
from tlfast.saving.plan import Plan, is_integer

# What the container of layers was called in files of Keras 2.13.
_OLD_CONTAINER = "_layer_checkpoint_dependencies"


def own_variables(layer: Any) -> list[Any]:
    """Return a layer's own variables in file order: trainable ones first, as created."""
    return [*layer._own_trainable, *layer._own_non_trainable]


def walk(
    model: Any, as_stored: Callable[[str], bool] = lambda path: False
) -> Iterator[tuple[str, Any]]:
    """Yield (path, layer) for the model and every layer inside; shared layers once.

    Args:
        model: a built model.
        as_stored: whether the layers at a path go by the classes of a model file's config, where
            a Lambda is a Functional, and not by their own.
    """
    seen: set[int] = set()

    def visit(path: str, layer: Any) -> Iterator[tuple[str, Any]]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        yield path, layer
        used: defaultdict[str, int] = defaultdict(int)
        stored = as_stored(f"{path}layers")
        for inner in getattr(layer, "layers", ()):
            own = type(inner).__name__
            name = to_snake_case(getattr(inner, "_class_name", own) if stored else own)
            number = used[name]
            used[name] += 1
            yield from visit(f"{path}layers/{name}{f'_{number}' if number else ''}/", inner)

    yield from visit("", model)


def write_weights(
    root: hdf5_write.Group, model: Any, optimizer: Any = None, as_stored: bool = False
) -> None:
    """Write a model's weights, and an optimizer's variables, into an empty group.

    Args:
        root: the group.
        model: a built model.
        optimizer: a built optimizer, or None.
        as_stored: for the weights beside a config; see `walk`.
    """
    for path, layer in walk(model, lambda path: as_stored):
        _write_vars(root, path, layer.name, own_variables(layer))
    if optimizer is not None and optimizer.built:
        _write_vars(root, "optimizer/", optimizer.name, optimizer.variables)


def _write_vars(root: hdf5_write.Group, path: str, name: str, variables: list[Any]) -> None:
    group = root.create_group(f"{path}vars")
    group.attrs["name"] = name
    for index, variable in enumerate(variables):
        group.write(str(index), variable)


def read_weights(root: Group, model: Any, where: str, skip_mismatch: bool = False) -> None:
    """Load a model's weights from a file in this layout.

    Args:
        root: root group of the file.
        model: a built model.
        where: text that names the file in error messages.
        skip_mismatch: leave out layers that do not fit, with a warning.

    Raises:
        FormatError: a layer does not fit, or the file is damaged; nothing is changed.
    """
    plan = Plan(where, skip_mismatch)
    old = "layers" not in root and _OLD_CONTAINER in root
    for path, layer in walk(model, lambda path: f"{path}/lambda" not in root):
        variables = own_variables(layer)
        if not variables:
            continue
        group = root.group(f"{path.replace('layers/', _OLD_CONTAINER + '/') if old else path}vars")
        if group is None:
            plan.problem(
                layer.name, f"Layer '{layer.name}' has no weights in the file (no {path}vars)"
            )
            continue
        plan.add(layer.name, variables, read_vars(group))
    plan.apply()


def read_vars(group: Group) -> list[Dataset]:
    """Return the datasets "0", "1", ... of a `vars` group, as many as there are."""
    found = []
    for index in range(len(group.keys())):
        dataset = group.dataset(str(index))
        if dataset is None:
            break
        found.append(dataset)
    return found


def read_optimizer(datasets: list[Dataset], model: Any, where: str) -> None:
    """Load the optimizer's variables of a compiled model, where they fit.

    Args:
        datasets, model, where: see `optimizer_values`.
    """
    set_optimizer(model, optimizer_values(datasets, model, where))


def optimizer_values(datasets: list[Dataset], model: Any, where: str) -> list[np.ndarray] | None:
    """Read the values for the optimizer's variables of a compiled model; nothing is changed yet.

    Args:
        datasets: step counter, learning rate, slots, as in the file.
        model: a compiled model; its optimizer is built for its trainable weights.
        where: text that names the file.

    Returns:
        The values; None where they do not fit, with a warning (without one when the file's
        optimizer has made no step).

    Raises:
        FormatError: the data are damaged.
    """
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_weights)
    wanted = [
        (tuple(v.shape), is_integer(getattr(v, "dtype", "float32"))) for v in optimizer.variables
    ]
    if wanted != [(dataset.shape, is_integer(dataset.dtype)) for dataset in datasets]:
        untouched = len(datasets) <= 2 and all(d.shape == () for d in datasets)
        if untouched and not (datasets and datasets[0].read(())):
            return None  # compiled but never trained: there is no state to lose
        warnings.warn(
            f"{where}: the state of the optimizer '{optimizer.name}' is not restored: the file "
            f"has {len(datasets)} variables of it, this model's has {len(wanted)}"
            + (" of other shapes or types" if len(datasets) == len(wanted) else "")
            + ". Training goes on with a fresh state (were other layers frozen when the file was "
            "written?)",
            stacklevel=user_level(),
        )
        return None
    return [dataset.read(dataset.shape) for dataset in datasets]


def set_optimizer(model: Any, values: list[np.ndarray] | None) -> None:
    """Give the optimizer of a model what `optimizer_values` returned."""
    if values is None:
        return
    for variable, value in zip(model.optimizer.variables, values, strict=True):
        variable.assign(value if value.shape else value.item())
