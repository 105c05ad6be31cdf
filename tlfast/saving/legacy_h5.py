"""Keras' older HDF5 layout: one group per layer with `weight_names`, full models and weights.

Source: keras/src/legacy/saving/legacy_h5_format.py of Keras 3.15.1; read are also the files of
Keras 2, among them the ImageNet weights of keras.applications.
"""

import json
from typing import Any

import numpy as np

from tlfast._serialization import serialize
from tlfast.saving import hdf5_write
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import Dataset, Group
from tlfast.saving.plan import Plan

# Attributes longer than this do not fit into an object header and are split.
_ATTRIBUTE_BYTES = 64512
# The version whose layout is written; Keras takes a file without one for Keras 1.
FORMAT_VERSION = "3.15.1"
_FULL_ONLY = ("module", "registered_name", "build_config", "compile_config")


# ---- writing


def write_model(
    root: hdf5_write.Group, model: Any, config: dict[str, Any], include_optimizer: bool
) -> None:
    """Write a full model into an empty file.

    Args:
        root: its root group.
        model: a built model.
        config: the model as `tlfast._serialization.serialize` gives it.
        include_optimizer: also write the compile arguments and the optimizer's variables.
    """
    root.attrs["backend"] = "tensorflow"
    root.attrs["keras_version"] = FORMAT_VERSION
    shape = {"class_name": config["class_name"], "config": _old_config(config["config"])}
    root.attrs["model_config"] = json.dumps(shape)
    compiled = config.get("compile_config")
    if include_optimizer and compiled:
        root.attrs["training_config"] = json.dumps(_training_config(compiled))
    write_weights(root.create_group("model_weights"), model)
    optimizer = getattr(model, "optimizer", None)
    if include_optimizer and optimizer is not None and optimizer.built:
        _write_named(root.create_group("optimizer_weights"), optimizer.variables)


def _old_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a model's config without the keys that only `.keras` files have per layer.

    An operation (x / 127.5) keeps them: Keras leaves them out and then finds no layer of that
    name, but reads an entry that has a module as it reads those of `.keras` files.
    """
    layers = []
    for layer in config.get("layers", ()):
        if str(layer.get("module")).startswith("keras.src.ops"):
            nodes = [_without_ellipsis(node) for node in layer["inbound_nodes"]]
            layers.append({**layer, "inbound_nodes": nodes})
            continue
        entry = {key: value for key, value in layer.items() if key not in _FULL_ONLY}
        if "layers" in entry["config"]:
            entry["config"] = _old_config(entry["config"])
        layers.append(entry)
    return {**config, "layers": layers}


def _without_ellipsis(node: dict[str, Any]) -> dict[str, Any]:
    """Return a call with x[:, :, :, ::-1] for x[..., ::-1], which Keras cannot read in `.h5`."""
    x, *rest = node["args"]
    if not rest or not isinstance(rest[0], (list, tuple)):
        return node
    whole = serialize(slice(None))
    key: list[Any] = []
    for part in rest[0]:
        ellipsis = isinstance(part, dict) and part["class_name"] == "__ellipsis__"
        missing = len(x["config"]["shape"]) - len(rest[0]) + 1
        key += [whole] * missing if ellipsis else [part]
    return {**node, "args": [x, key]}


def _training_config(compiled: dict[str, Any]) -> dict[str, Any]:
    known = ("loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly",
             "steps_per_execution", "jit_compile")  # fmt: skip
    optimizer = compiled.get("optimizer") or {}
    found = {key: compiled.get(key) for key in known}
    found["optimizer_config"] = {
        "class_name": optimizer.get("class_name"),
        "config": optimizer.get("config"),
    }
    return found


def write_weights(group: hdf5_write.Group, model: Any) -> None:
    """Write the weights of all layers into an empty group."""
    _write_names(group, "layer_names", [layer.name for layer in model.layers])
    group.attrs["backend"] = "tensorflow"
    group.attrs["keras_version"] = FORMAT_VERSION
    # By name, so that no group is made below the dataset of another ("a" and "a/b").
    for layer in sorted(model.layers, key=lambda layer: layer.name):
        _write_named(group.create_group(layer.name), _current_order(layer))
    _write_named(group.create_group("top_level_model_weights"), [])


def _write_named(group: hdf5_write.Group, variables: list[Any]) -> None:
    names: list[str] = []
    for variable in variables:
        name = variable.path
        while name in names:
            name += "_1"
        names.append(name)
    _write_names(group, "weight_names", names)
    for name, variable in zip(names, variables, strict=True):
        group.write(name, variable)


def _write_names(group: hdf5_write.Group, name: str, texts: list[str]) -> None:
    raw = [text.encode("utf-8") for text in texts]
    n_parts = 1
    parts = [np.asarray(raw)]
    while any(part.nbytes > _ATTRIBUTE_BYTES for part in parts):
        n_parts += 1
        parts = np.array_split(np.asarray(raw), n_parts)
        if n_parts > len(raw):
            raise ValueError(f"the name {max(texts, key=len)!r} is too long for an HDF5 file")
    if n_parts == 1:
        group.attrs[name] = raw
        return
    for index, part in enumerate(parts):
        group.attrs[f"{name}{index}"] = part


# ---- reading


def weights_group(root: Group) -> Group | None:
    """Return the group with `layer_names`: the root or `model_weights`; None if neither."""
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return root
    if "model_weights" in root:
        return root.group("model_weights")
    return None


def read_names(group: Group, name: str) -> list[str]:
    """Return an attribute of names that may be split into parts with numbers."""
    found = group.attrs.get(name)
    if found is None:
        texts: list[str] = []
        index = 0
        while (part := group.attrs.get(f"{name}{index}")) is not None:
            texts += _as_names(part, group)
            index += 1
        return texts
    return _as_names(found, group)


def _as_names(found: object, group: Group) -> list[str]:
    if isinstance(found, str):
        return [found]
    if isinstance(found, np.ndarray) and found.size == 0:  # Keras' empty list
        return []
    if isinstance(found, list):
        return [str(text) for text in found]
    raise FormatError(f"{group.file.name}: {group.path!r} has names that are not text")


def read_weights(
    group: Group, model: Any, where: str, by_name: bool = False, skip_mismatch: bool = False
) -> None:
    """Load a model's weights from a file in this layout.

    Layers are paired by their names when the file and the model have the same ones, else in
    order. Inside a layer, weights are paired by their names when both have the same ones, else
    in the first of three orders whose shapes all fit: as the `trainable` flags stand now, as
    created, and all trainable weights first (a file written frozen can be loaded unfrozen).

    Args:
        group: what `weights_group` returns.
        model: a built model.
        where: text that names the file in error messages.
        by_name: load only layers whose name is in the file.
        skip_mismatch: leave out layers that do not fit, with a warning.

    Raises:
        FormatError: the weights do not fit, or the file is damaged; nothing is changed.
    """
    plan = Plan(where, skip_mismatch)
    stored = _stored_layers(group)
    layers = [layer for layer in model.layers if layer.weights]
    if by_name:
        pairs = [(layer, stored[layer.name]) for layer in layers if layer.name in stored]
        if not pairs:
            raise FormatError(
                f"{where}: none of its layers {list(stored)[:5]} has the name of a layer of the "
                f"model {[layer.name for layer in layers][:5]}, so by_name=True would load nothing"
            )
    elif {layer.name for layer in layers} == set(stored):
        pairs = [(layer, stored[layer.name]) for layer in layers]
    elif len(layers) == len(stored):
        pairs = list(zip(layers, stored.values(), strict=True))
    else:
        raise FormatError(_other_layers(layers, stored, where))
    for layer, datasets in pairs:
        plan.add(layer.name, _ordered(layer, datasets), list(datasets.values()))
    plan.apply()


def _other_layers(layers: list[Any], stored: dict[str, dict[str, Dataset]], where: str) -> str:
    """The message for a file with another number of layers: which ones the other side lacks."""
    ours = {layer.name: [tuple(v.shape) for v in layer.weights] for layer in layers}
    theirs = {name: [d.shape for d in datasets.values()] for name, datasets in stored.items()}

    def only(some: dict[str, Any], others: dict[str, Any]) -> str:
        names = [name for name in some if name not in others]
        listed = ", ".join(f"{name!r} {some[name][:4]}" for name in names[:5])
        return (listed or "none") + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    return (
        f"{where}: Layer count mismatch when loading weights from file. Model expected "
        f"{len(ours)} layers, found {len(theirs)} saved layers. Only in the model: "
        f"{only(ours, theirs)}; only in the file: {only(theirs, ours)}. Were the weights made with "
        "another include_top, or for another network?"
    )


def _stored_layers(group: Group) -> dict[str, dict[str, Dataset]]:
    """Return {layer: {weight: dataset}} for the layers of a file that have weights."""
    stored: dict[str, dict[str, Dataset]] = {}
    for name in read_names(group, "layer_names"):
        below = group.group(name)
        if below is None:
            raise FormatError(f"{group.file.name}: layer {name!r} is listed but not there")
        datasets = {}
        for weight in read_names(below, "weight_names"):
            dataset = below.dataset(weight)
            if dataset is None:
                raise FormatError(
                    f"{group.file.name}: weight {weight!r} of layer {name!r} is listed but not "
                    "there"
                )
            datasets[weight] = dataset
        if datasets:
            stored[name] = datasets
    return stored


def _current_order(layer: Any) -> list[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _ordered(layer: Any, datasets: dict[str, Dataset]) -> list[Any]:
    """Return the layer's variables in the order of the datasets."""
    by_name = _by_name(layer.weights, datasets)
    if by_name is not None:
        return by_name
    inner = layer._flatten_layers()
    unfrozen = [v for part in inner for v in part._own_trainable]
    unfrozen += [v for part in inner for v in part._own_non_trainable]
    shapes = [dataset.shape for dataset in datasets.values()]
    orders = (_current_order(layer), list(layer.weights), unfrozen)
    for order in orders:
        if [tuple(v.shape) for v in order] == shapes:
            return order
    return orders[0]


def _by_name(variables: list[Any], datasets: dict[str, Dataset]) -> list[Any] | None:
    """Return the variables in the order of the datasets if names and shapes tell it, else None."""
    shapes = [dataset.shape for dataset in datasets.values()]
    for parts in (None, 2, 1):  # of the path: a file may name less of it, or other models around
        ours = [_label(variable.path, parts) for variable in variables]
        theirs = [_label(name.split(":")[0], parts) for name in datasets]
        found = _paired(ours, theirs)
        if found is not None:
            order = [variables[place] for place in found]
            return order if [tuple(v.shape) for v in order] == shapes else None
    return None


_Label = tuple[tuple[str, ...], tuple[int, ...]]


def _label(path: str, parts: int | None) -> _Label:
    """The last parts of a path, and the numbers at their ends apart: "conv2d_5/kernel"."""
    names, numbers = [], []
    for part in path.split("/")[-parts if parts else 0 :]:
        stem, _, number = part.rpartition("_")
        counted = bool(stem) and number.isdecimal()
        names.append(stem if counted else part)
        numbers.append(int(number) if counted else 0)
    return tuple(names), tuple(numbers)


def _paired(ours: list[_Label], theirs: list[_Label]) -> list[int] | None:
    """Return for each label of a file the place of the model's label that is the same, or None.

    Automatic numbers go on counting in a process, so that the first convolution of the second
    model is conv2d_1: of the labels with the same names, the order of the numbers decides.
    """
    if len(set(ours)) < len(ours) or len(set(theirs)) < len(theirs):
        return None
    left = sorted(range(len(ours)), key=ours.__getitem__)
    right = sorted(range(len(theirs)), key=theirs.__getitem__)
    if [ours[i][0] for i in left] != [theirs[i][0] for i in right]:
        return None
    pairs = dict(zip(right, left, strict=True))
    return [pairs[i] for i in range(len(theirs))]


def read_optimizer_datasets(root: Group) -> list[Dataset]:
    """Return the datasets of `optimizer_weights`, in order; empty when there are none."""
    group = root.group("optimizer_weights")
    if group is None:
        return []
    found = []
    for name in read_names(group, "weight_names"):
        dataset = group.dataset(name)
        if dataset is None:
            raise FormatError(f"{group.file.name}: optimizer weight {name!r} is not there")
        found.append(dataset)
    return found


def compile_config(training: dict[str, Any]) -> dict[str, Any]:
    """Return the `training_config` of a file as the arguments of `compile_from_config`."""
    config = {key: value for key, value in training.items() if key != "optimizer_config"}
    config["optimizer"] = training.get("optimizer_config")
    # Keras 2 wrote these; they have no counterpart.
    for key in ("sample_weight_mode",):
        config.pop(key, None)
    return config
