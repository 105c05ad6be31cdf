"""From a layer or model to a graph of the core, and where its frozen part ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlfast import _core
from tlfast._direct_calls import next_seed

# Ops that make a frozen part worth keeping; without one of them recomputing is as cheap.
_WORK = frozenset({"conv2d", "depthwise_conv2d", "dense"})


@dataclass(frozen=True)
class Lowered:
    """A graph with the numbers of its input and output values."""

    graph: Any  # _core.Graph
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _values(result: Any) -> tuple[int, ...]:
    return tuple(result) if isinstance(result, (list, tuple)) else (result,)


def lower(
    layer: Any, shapes: Sequence[tuple[int, ...]], batch: int, training: bool | None
) -> Lowered:
    """Write a layer or model into a new core graph.

    Args:
        layer: anything with `lower(graph, inputs, training)`.
        shapes: shape of one sample of each input.
        batch: number of rows.
        training: whether dropout and augmentation are active; None: augmentation only.
    """
    graph = _core.Graph(batch)
    graph.dtype = layer.compute_dtype
    inputs = [graph.input(tuple(shape), f"input_{i}") for i, shape in enumerate(shapes)]
    outputs = _values(layer.lower(graph, inputs, training))
    return Lowered(graph, tuple(inputs), outputs)


def eager(layer: Any, arrays: Sequence[np.ndarray], training: bool | None) -> Any:
    """Compute a layer or model on arrays at once.

    Args:
        layer: a built layer or a model.
        arrays: inputs, batch axis first.
        training: None means: augmentation layers act, dropout and batch norm as in prediction
            (Keras' defaults of a direct call).

    Returns:
        An array, or a list of them.
    """
    arrays = [as_input(a) for a in arrays]
    made = lower(layer, [a.shape[1:] for a in arrays], len(arrays[0]), training)
    plan = _core.Plan(made.graph, made.inputs, made.outputs, _core.Pool())
    results = plan.forward(arrays, seed=next_seed())
    return results[0] if len(results) == 1 else results


def as_input(array: np.ndarray) -> np.ndarray:
    """Contiguous uint8 or float32, what the core reads."""
    wanted = np.uint8 if array.dtype == np.uint8 else np.float32
    return np.ascontiguousarray(array, dtype=wanted)


def _read_by_losses(graph: Any, output: int) -> int:
    # Cross-entropies of probabilities are computed from the logits.
    sources, activation = graph.node(output)[2:4]
    return int(sources[0]) if activation in ("softmax", "sigmoid") else output


class Cut:
    """Where the frozen part of a model ends, for one set of input shapes.

    Attributes:
        values: the values behind which training starts; numbers are the same in every graph
            lowered with the same arguments.
        shapes: shape of one sample of each.
        works: whether computing them is worth avoiding.
        is_whole: nothing is trained: behind them is no more than the activation of an output.
        signature: equal signatures compute the same function of the inputs and the weights.
    """

    def __init__(self, made: Lowered, trainable: tuple[Any, ...]) -> None:
        graph = made.graph
        frozen = graph.prefix(trainable)
        _, needed = graph.version(made.outputs)
        cut = {_read_by_losses(graph, v) for v in made.outputs if frozen[v]}
        for value in needed:
            if not frozen[value]:
                cut.update(s for s in graph.node(value)[2] if frozen[s])
        self.values = tuple(sorted(cut))
        self.is_whole = all(frozen[v] for v in made.outputs)
        self._graph = graph
        _, before = graph.version(self.values)
        nodes = [graph.node(v) for v in before]
        self.works = any(op in _WORK for op, *_ in nodes)
        if not self.works:
            self.values = tuple(made.inputs)
        self.shapes = [graph.shape(v)[1:] for v in self.values]
        place = {v: i for i, v in enumerate(before)}
        self.signature = (
            tuple((n[0], n[1], tuple(place[s] for s in n[2]), *n[3:]) for n in nodes),
            tuple(place.get(v) for v in self.values),
        )

    def version(self) -> int:
        """Grows when a weight of the frozen part is written."""
        return self._graph.version(self.values)[0]
