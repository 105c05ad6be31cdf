"""A Keras configuration as a PyTorch module, channels first: the layers of the seven networks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Weight = Callable[[str, tuple[int, ...]], np.ndarray]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding "same" along one axis: the odd row goes behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Padded(nn.Module):
    """A windowed operation behind explicit padding."""

    def __init__(self, inner: nn.Module, config: dict, kernel: Any, value: float = 0.0) -> None:
        super().__init__()
        self.inner, self.value = inner, value
        self.same = config["padding"] == "same"
        self.kernel, self.strides = pair(kernel), pair(config["strides"] or kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.same:
            top, bottom = same_padding(x.shape[2], self.kernel[0], self.strides[0])
            left, right = same_padding(x.shape[3], self.kernel[1], self.strides[1])
            if top + bottom + left + right:
                x = functional.pad(x, (left, right, top, bottom), value=self.value)
        return self.inner(x)


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def parameter(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.ascontiguousarray(values)))


def conv(
    n_in: int, n_out: int, config: dict, kernel: np.ndarray, bias: np.ndarray | None, groups: int
) -> nn.Module:
    size, strides = kernel.shape[:2], pair(config["strides"])
    made = nn.Conv2d(n_in, n_out, size, strides, groups=groups, bias=bias is not None)
    made.weight = parameter(kernel.transpose(3, 2, 0, 1))
    if bias is not None:
        made.bias = parameter(bias)
    return Padded(made, config, size)


def activation(name: str | None) -> nn.Module:
    known = {
        None: nn.Identity, "linear": nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6,
        "swish": nn.SiLU, "silu": nn.SiLU, "sigmoid": nn.Sigmoid,
    }  # fmt: skip
    return known[name]()


class DropPath(nn.Module):
    """Whole pictures of a branch are dropped at random."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        return functional.dropout(torch.ones_like(x[:, :1, :1, :1]), self.rate) * x


class Affine(nn.Module):
    """x * scale + shift by channel."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray) -> None:
        super().__init__()
        for name, values in (("scale", scale), ("shift", shift)):
            values = np.broadcast_to(np.asarray(values, np.float32).reshape(-1), (3,)).copy()
            self.register_buffer(name, torch.from_numpy(values).reshape(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift


def make(layer: dict, n_in: int, weight: Weight) -> tuple[nn.Module | None, int]:
    """(module, channels behind it); None for layers that `Network.forward` does itself."""
    kind, config = layer["class_name"], layer["config"]

    def w(name: str, *shape: int) -> np.ndarray:
        return weight(f"{config['name']}/{name}", shape)

    if kind == "Conv2D":
        n_out = config["filters"]
        kernel = w("kernel", *pair(config["kernel_size"]), n_in, n_out)
        bias = w("bias", n_out) if config["use_bias"] else None
        made = conv(n_in, n_out, config, kernel, bias, 1)
        return nn.Sequential(made, activation(config["activation"])), n_out
    if kind in ("DepthwiseConv2D", "SeparableConv2D"):
        name = "kernel" if kind == "DepthwiseConv2D" else "depthwise_kernel"
        kernel = w(name, *pair(config["kernel_size"]), n_in, 1).transpose(0, 1, 3, 2)
        made = conv(n_in, n_in, config, kernel, None, n_in)
        if kind == "DepthwiseConv2D":
            return made, n_in
        n_out = config["filters"]
        pointwise = w("pointwise_kernel", 1, 1, n_in, n_out)
        behind = conv(n_in, n_out, {"strides": 1, "padding": "valid"}, pointwise, None, 1)
        return nn.Sequential(made, behind), n_out
    if kind == "BatchNormalization":
        norm = nn.BatchNorm2d(n_in, config["epsilon"], 1 - config["momentum"])
        if config["scale"]:
            norm.weight = parameter(w("gamma", n_in))
        norm.bias = parameter(w("beta", n_in))
        norm.running_mean.copy_(torch.from_numpy(w("moving_mean", n_in)))
        norm.running_var.copy_(torch.from_numpy(w("moving_variance", n_in)))
        return norm, n_in
    if kind == "Dense":
        dense = nn.Linear(n_in, config["units"])  # its softmax is part of the loss
        dense.weight = parameter(w("kernel", n_in, config["units"]).T)
        dense.bias = parameter(w("bias", config["units"]))
        return dense, config["units"]
    if kind == "Activation":
        return activation(config["activation"]), n_in
    if kind == "ReLU":
        return (nn.ReLU6() if config["max_value"] == 6 else nn.ReLU()), n_in
    if kind == "MaxPooling2D":
        pool = nn.MaxPool2d(pair(config["pool_size"]), pair(config["strides"]))
        return Padded(pool, config, config["pool_size"], -torch.inf), n_in
    if kind == "AveragePooling2D":
        size = pair(config["pool_size"])
        padding = size[0] // 2 if config["padding"] == "same" else 0
        return nn.AvgPool2d(size, pair(config["strides"]), padding, count_include_pad=False), n_in
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = config["padding"]
        return nn.ZeroPad2d((left, right, top, bottom)), n_in
    if kind == "Dropout":
        return DropPath(config["rate"]), n_in
    if kind == "Rescaling":
        return Affine(np.array(config["scale"]), np.array(config["offset"])), n_in
    if kind == "Normalization":
        mean, variance = w("mean", n_in), w("variance", n_in)
        scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
        return Affine(scale, -mean * scale), n_in
    return None, n_in


def sources(layer: dict) -> list[str]:
    """Names of the layers that a layer reads."""
    found: list[str] = []

    def search(value: Any) -> None:
        if isinstance(value, dict) and "keras_history" in value:
            found.append(value["keras_history"][0])
        elif isinstance(value, dict):
            for item in value.values():
                search(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                search(item)

    search(layer["inbound_nodes"])
    return found


class Network(nn.Module):
    """A functional Keras model; the result are logits.

    Args:
        config: `config` of the model's JSON.
        weight: function from "layer/weight" and a shape, Keras' order, to values.
    """

    def __init__(self, config: dict, weight: Weight) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.plan: list[tuple[str, str, list[str]]] = []
        channels: dict[str, int] = {}
        for layer in config["layers"]:
            name, kind, read = layer["config"]["name"], layer["class_name"], sources(layer)
            n_in = channels[read[0]] if read else 3
            module, channels[name] = make(layer, n_in, weight)
            if kind == "Concatenate":
                channels[name] = sum(channels[source] for source in read)
            if module is not None:
                self.layers[name] = module
            self.plan.append((name, kind, read))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: dict[str, torch.Tensor] = {}
        for name, kind, read in self.plan:
            given = [values[source] for source in read]
            if kind == "InputLayer":
                values[name] = x
            elif kind == "Add":
                values[name] = given[0] + given[1]
            elif kind == "Multiply":
                values[name] = given[0] * given[1]
            elif kind == "Concatenate":
                values[name] = torch.cat(given, 1)
            elif kind == "GlobalAveragePooling2D":
                values[name] = given[0].mean((2, 3))
            elif kind == "Reshape":  # (1, 1, channels) of squeeze and excitation
                values[name] = given[0][:, :, None, None]
            else:
                values[name] = self.layers[name](given[0])
        return values[name]
