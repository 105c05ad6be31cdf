"""A tlfast model as plain data: what its layers write into the core's graph, node by node.

Layers lower themselves by calls on a graph. The one here passes them on to the core, which knows
the shapes, and keeps them: the whole model in some twenty ops. `onnx_graph.py` reads the files.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tlfast import _core


class RecordedGraph:
    """Stands in for a `_core.Graph` while layers lower themselves.

    Args:
        batch: number of rows.

    Attributes:
        nodes: one dictionary per value: op, name, sources, shape (batch included), attributes,
            and keys of its weights.
        weights: arrays in Keras' order, by key; those used twice are there once.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.nodes: list[dict[str, Any]] = []
        self.weights: dict[str, np.ndarray] = {}
        self._graph = _core.Graph(batch)
        self._keys: dict[int, str] = {}

    def shape(self, value: int) -> tuple[int, ...]:
        return self._graph.shape(value)

    def input(self, shape: tuple[int, ...], name: str = "input") -> int:
        value = self._graph.input(shape, name)
        return self._keep(value, "input", name, [], [], {})

    def add(self, op: str, inputs: list[int], weights: list[Any], name: str, **attrs: Any) -> int:
        value = self._graph.add(op, inputs, weights, name, **attrs)
        keys = [None if w is None else self._key(w) for w in weights]
        return self._keep(value, op, name, list(inputs), keys, attrs)

    def _keep(self, value: int, op: str, name: str, inputs: Any, weights: Any, attrs: Any) -> int:
        assert value == len(self.nodes), "values are numbered as they are made"
        self.nodes.append(
            {"op": op, "name": name, "inputs": inputs, "weights": weights, "attrs": attrs,
             "shape": self._graph.shape(value)}
        )  # fmt: skip
        return value

    def _key(self, variable: Any) -> str:
        key = self._keys.setdefault(id(variable), f"w{len(self._keys)}")
        self.weights[key] = variable.numpy()
        return key


def save(model: Any, batch: int, folder: Path) -> None:
    """Writes an inference graph: graph.json with nodes and outputs, weights.npz."""
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    graph = RecordedGraph(batch)
    inputs = [graph.input(tuple(shape[1:]), f"input_{i}") for i, shape in enumerate(shapes)]
    outputs = model.lower(graph, inputs, False)
    outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph.json").write_text(json.dumps({"nodes": graph.nodes, "outputs": outputs}))
    np.savez(folder / "weights.npz", **graph.weights)
