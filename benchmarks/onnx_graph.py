"""ONNX from a recorded graph, as an exporter would write it: pictures are NCHW, batch norms stay
nodes of their own, so that every runtime folds and fuses in its own way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
_PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


class Writer:
    """Writes one node of the record after the other. A value has the name v<number>."""

    def __init__(self, nodes: list[dict[str, Any]], weights: dict[str, np.ndarray]) -> None:
        self.nodes, self.weights = nodes, weights
        self.written: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def emit(self, op: str, inputs: list[str], output: str, **attrs: Any) -> str:
        self.written.append(helper.make_node(op, inputs, [output], name=output, **attrs))
        return output

    def constant(self, name: str, array: Any) -> str:
        array = np.ascontiguousarray(array)
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def rank(self, value: int) -> int:
        return len(self.nodes[value]["shape"])

    def write(self, value: int) -> None:
        node = self.nodes[value]
        if node["op"] == "input":
            return
        make: Callable[..., None] | None = getattr(self, f"_{node['op']}", None)
        if make is None:
            raise NotImplementedError(f"layer '{node['name']}': {node['op']} as ONNX")
        make(node, [f"v{i}" for i in node["inputs"]], f"v{value}", node["attrs"])

    # ---- one method per op: (node, names of the inputs, name of the result, attributes) ------

    def _conv2d(self, node: Any, x: list[str], y: str, attrs: Any, groups: int = 0) -> None:
        kernel, bias = node["weights"]
        turned = self.weights[kernel]  # Keras: height, width, in, out; depthwise: ..., in, times
        if groups:
            turned = turned.reshape(*turned.shape[:2], 1, -1)
        names = [*x, self.constant(kernel, turned.transpose(3, 2, 0, 1))]
        if bias is not None:
            names.append(self.constant(bias, self.weights[bias]))
        self.emit(
            "Conv", names, y, kernel_shape=list(turned.shape[:2]),
            strides=attrs.get("strides", (1, 1)), dilations=attrs.get("dilation", (1, 1)),
            pads=_pads(attrs.get("pads", (0, 0, 0, 0))), group=groups or attrs.get("groups", 1),
        )  # fmt: skip

    def _depthwise_conv2d(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self._conv2d(node, x, y, attrs, groups=self.nodes[node["inputs"][0]]["shape"][3])

    def _batch_norm(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        gamma, beta, mean, variance = node["weights"]
        n = len(self.weights[mean])
        names = [
            self.constant(key or f"{y}_{default}", self.weights.get(key, np.full(n, default, "f4")))
            for key, default in ((gamma, 1.0), (beta, 0.0), (mean, 0.0), (variance, 1.0))
        ]
        self.emit("BatchNormalization", [*x, *names], y, epsilon=attrs["epsilon"])

    def _dense(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        kernel, bias = node["weights"]
        if self.rank(node["inputs"][0]) != 2:
            raise NotImplementedError(f"layer '{node['name']}': dense on more than rows as ONNX")
        names = [*x, self.constant(kernel, self.weights[kernel])]
        if bias is not None:
            names.append(self.constant(bias, self.weights[bias]))
        self.emit("Gemm", names, y)

    def _activation(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        kind, alpha = attrs["kind"], attrs.get("alpha")
        if kind == "softmax":
            self.emit("Softmax", x, y, axis=1 if self.rank(node["inputs"][0]) == 4 else -1)
        elif kind == "swish":
            self.emit("Mul", [*x, self.emit("Sigmoid", x, f"{y}_sigmoid")], y)
        elif kind == "relu6":
            limits = [self.constant(n, np.float32(v)) for n, v in (("zero", 0), ("six", 6))]
            self.emit("Clip", [*x, *limits], y)
        elif kind in _PLAIN and not alpha:
            self.emit(_PLAIN[kind], x, y)
        else:
            raise NotImplementedError(f"layer '{node['name']}': activation {kind} as ONNX")

    def _max_pool2d(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self._pool("MaxPool", x, y, attrs)

    def _avg_pool2d(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self._pool("AveragePool", x, y, attrs, count_include_pad=0)

    def _pool(self, op: str, x: list[str], y: str, attrs: Any, **more: Any) -> None:
        self.emit(
            op, x, y, kernel_shape=attrs["pool"], strides=attrs["strides"],
            pads=_pads(attrs["pads"]), **more,
        )  # fmt: skip

    def _global_avg_pool(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self.emit("Flatten", [self.emit("GlobalAveragePool", x, f"{y}_means")], y)

    def _global_max_pool(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self.emit("Flatten", [self.emit("GlobalMaxPool", x, f"{y}_tops")], y)

    def _add(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self._pairs("Add", x, y)

    def _multiply(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self._pairs("Mul", x, y)

    def _pairs(self, op: str, x: list[str], y: str) -> None:
        left = x[0]
        for i, right in enumerate(x[1:], 1):
            left = self.emit(op, [left, right], y if i == len(x) - 1 else f"{y}_{i}")

    def _concat(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        self.emit("Concat", x, y, axis=1 if self.rank(node["inputs"][0]) == 4 else -1)

    def _zero_pad2d(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        top, left, bottom, right = _pads(attrs["pads"])
        pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        self.emit("Pad", [*x, self.constant(f"{y}_pads", pads)], y)

    def _crop2d(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        top, left, bottom, right = _pads(attrs["pads"])
        height, width = self.nodes[node["inputs"][0]]["shape"][1:3]
        ends = [height - bottom, width - right]
        names = [
            self.constant(f"{y}_{what}", np.array(values, np.int64))
            for what, values in (("starts", [top, left]), ("ends", ends), ("axes", [2, 3]))
        ]
        self.emit("Slice", [*x, *names], y)

    def _reshape(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        before, after = self.nodes[node["inputs"][0]]["shape"], node["shape"]
        if len(before) == 4 and tuple(before[1:3]) != (1, 1):
            x = [self.emit("Transpose", x, f"{y}_rows", perm=[0, 2, 3, 1])]  # Keras' order
        if len(after) == 4 and tuple(after[1:3]) == (1, 1):
            self._to_shape(x, y, (-1, after[3], 1, 1))
        elif len(after) == 4:
            self.emit("Transpose", [self._to_shape(x, f"{y}_nhwc", (-1, *after[1:]))], y,
                      perm=[0, 3, 1, 2])  # fmt: skip
        else:
            self._to_shape(x, y, (-1, *after[1:]))

    def _to_shape(self, x: list[str], y: str, shape: tuple[int, ...]) -> str:
        return self.emit("Reshape", [*x, self.constant(f"{y}_shape", np.array(shape, np.int64))], y)

    def _scale_shift(self, node: Any, x: list[str], y: str, attrs: Any) -> None:
        if attrs["reverse_channels"]:
            backwards = self.constant("backwards", np.array([2, 1, 0], np.int64))
            x = [self.emit("Gather", [*x, backwards], f"{y}_turned", axis=1)]
        scale, shift = (
            self.constant(f"{y}_{what}", _per_channel(attrs[what], self.rank(node["inputs"][0])))
            for what in ("scale", "shift")
        )
        self.emit("Add", [self.emit("Mul", [*x, scale], f"{y}_scaled"), shift], y)


def _pads(pads: Any) -> list[int]:
    """Keras: top, bottom, left, right; ONNX: all begins, all ends."""
    top, bottom, left, right = pads
    return [top, left, bottom, right]


def _per_channel(values: Any, rank: int) -> np.ndarray:
    array = np.asarray(values, np.float32).reshape(-1)
    return array.reshape(1, -1, 1, 1) if rank == 4 else array


def _described(name: str, shape: list[int]) -> onnx.ValueInfoProto:
    if len(shape) == 4:
        shape = [shape[0], shape[3], shape[1], shape[2]]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def load(folder: Path) -> onnx.ModelProto:
    """The ONNX model of what `recorded_graph.save` wrote. Pictures go in and out as NCHW."""
    record = json.loads((folder / "graph.json").read_text())
    nodes = record["nodes"]
    with np.load(folder / "weights.npz") as weights:
        writer = Writer(nodes, dict(weights))
    for value in range(len(nodes)):
        writer.write(value)
    inputs = [v for v, node in enumerate(nodes) if node["op"] == "input"]
    graph = helper.make_graph(
        writer.written,
        "tlfast",
        [_described(f"v{v}", nodes[v]["shape"]) for v in inputs],
        [_described(f"v{v}", nodes[v]["shape"]) for v in record["outputs"]],
        list(writer.constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model
