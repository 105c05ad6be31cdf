"""Looks at what arrives at the pretrained networks of a model, in the first batches of a call.

Only what stands in front of such a network is computed, for a few pictures: `Rescaling` layers,
`preprocess_input` inside the model, and all that was done to the data before.
"""

import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlfast import _core
from tlfast._backbones import OTHER, Stem
from tlfast._graph import Graph
from tlfast._input_range import Statistics, judge, measure, sample
from tlfast._tensor import Node
from tlfast._warnings import InputRangeWarning, user_level
from tlfast.applications._registry import WATCHED
from tlfast.applications._scales import SCALES
from tlfast.layers._base import Layer

_ROWS = 8  # pictures of a batch
_BATCHES = 3
_IMAGES = 8  # batches of one picture are looked at until there are so many


@dataclass
class _Look:
    """What was seen in one call: samples of pictures by stem."""

    batches: int = 0
    images: int = 0
    found: dict[str, list[np.ndarray]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.batches >= _BATCHES and self.images >= _IMAGES


class InputWatch:
    """Warns once when a pretrained network receives another range than its weights expect.

    Args:
        model: the model whose `fit`, `evaluate` and `predict` are watched.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._looks: weakref.WeakKeyDictionary[Any, _Look] = weakref.WeakKeyDictionary()
        self._said: set[tuple[str, str]] = set()

    def look(self, source: Any, x: list[np.ndarray], training: bool) -> None:
        """Look at a batch, if it is one of the first that a call took from its source.

        Args:
            source: where the batches of this call come from.
            x: the model's inputs, batch axis first.
            training: whether the batch is for a training step.
        """
        look = self._looks.setdefault(source, _Look())
        if look.done:
            return
        look.batches += 1
        look.images += len(x[0])
        for path, stem, images in _arriving(self._model, [np.asarray(a)[:_ROWS] for a in x]):
            seen = look.found.setdefault(path, [])
            seen.append(sample(images))
            self._compare(path, stem, measure(np.concatenate(seen)), training)

    def _compare(self, path: str, stem: Stem, stats: Statistics, training: bool) -> None:
        # What the last fit was given, right or wrong, is right for evaluate and predict.
        expected = stem.expects if training else stem.trained_on or stem.expects
        if expected == OTHER:
            return
        verdict = judge(stats, expected)
        if training:
            stem.trained_on = expected if verdict.right else verdict.arrives or OTHER
        if verdict.right or (path, expected) in self._said:
            return
        self._said.add((path, expected))
        arrives = f"values from {min(stats.minimum):.4g} to {max(stats.maximum):.4g}"
        if verdict.arrives not in (None, "none"):
            arrives += f" ({SCALES[verdict.arrives].text})"
        sentence = _for_its_weights if expected == stem.expects else _for_its_training
        warnings.warn(
            f"model '{self._model.name}': {sentence(stem, arrives, verdict.arrives)}",
            InputRangeWarning,
            stacklevel=user_level(),
        )


# ---- the words -----------------------------------------------------------------------------------


def _for_its_weights(stem: Stem, arrives: str, kind: str | None) -> str:
    record = WATCHED[stem.application]
    text = (
        f"{arrives} arrive at {stem.application}, whose weights were made for "
        f"{SCALES[record.preprocessing].text}"
    )
    if stem.expects != record.preprocessing:
        text += ", and which makes these itself from pixels 0 to 255 (include_preprocessing=True)"
    if stem.expects == "none":
        undo = f" or undo it with the line\n    {_undoing(kind)}\nbefore it" if kind else ""
        return f"{text}. Take away the scaling in front of it,{undo}".rstrip(",") + "."
    away = "" if kind == "none" else "take away the scaling in front of it and "
    return (
        f"{text}. To get features like those of ImageNet, {away}pass pixels 0 to 255 through\n"
        f"    x = tlfast.applications.{record.module}.preprocess_input(x)\n"
        f"before it, or build it with {stem.application}(..., include_preprocessing=True)."
    )


def _for_its_training(stem: Stem, arrives: str, kind: str | None) -> str:
    return (
        f"{arrives} arrive at {stem.application}, which was trained on "
        f"{SCALES[stem.trained_on].text}. Prepare these pictures as those of `fit`."
    )


def _undoing(kind: str) -> str:
    """The line that makes pixels 0 to 255 again."""
    scale = SCALES[kind]
    factor: Any
    offset: Any
    if scale.uniform:
        factor, offset = scale.std[0], scale.mean[0]
    else:
        factor, offset = list(scale.std), list(scale.mean)
    shifted = f", offset={offset}" if offset else ""
    order = "[..., ::-1]" if scale.bgr else ""
    return f"x = tlfast.layers.Rescaling({factor}{shifted})(x){order}"


# ---- what arrives --------------------------------------------------------------------------------


def _arriving(model: Any, x: list[np.ndarray]) -> Iterator[tuple[str, Stem, np.ndarray]]:
    """(path, stem, values) for every pretrained network that reads three channels."""
    graph = model._require_graph()
    g = _core.Graph(len(x[0]))
    inputs = [g.input(tuple(a.shape[1:]), f"input_{i}") for i, a in enumerate(x)]
    found: list[tuple[str, Stem, int]] = []
    _lower_to_stems(graph, g, inputs, "", found)
    computed = sorted({value for *_, value in found} - set(inputs))
    arrays = dict(zip(inputs, x, strict=True))
    if computed:
        plan = _core.Plan(g, tuple(inputs), tuple(computed), _core.Pool())
        results = plan.forward([np.ascontiguousarray(a, np.float32) for a in x])
        arrays.update(zip(computed, results, strict=True))
    for path, stem, value in found:
        if arrays[value].ndim == 4 and arrays[value].shape[-1] == 3:
            yield path, stem, arrays[value]


def _lower_to_stems(
    graph: Graph, g: Any, inputs: list[int], prefix: str, found: list[tuple[str, Stem, int]]
) -> None:
    """Write what stands in front of the stems of a graph into a core graph.

    Args:
        graph: of a model or of a model inside.
        g: the `_core.Graph`.
        inputs: core values of the graph's inputs.
        prefix: path of the names that lead to this graph.
        found: gets (path, stem, core value of its input).
    """
    stems = [n for n in graph.nodes if _leads_to_stems(n.operation)]
    if not stems:
        return
    values = {id(t): v for t, v in zip(graph.inputs, inputs, strict=True)}
    needed = _in_front_of(stems, graph)
    wanted = needed.union(stems)
    for node in graph.nodes:
        if node not in wanted:
            continue
        operation = node.operation
        if node.is_input or not all(id(t) in values for t in node.input_tensors):
            continue
        sources = [values[id(t)] for t in node.input_tensors]
        if _is_stem(operation):
            found.append((prefix + operation.name, operation._stem, sources[0]))
        elif _holds_stems(operation):
            _lower_to_stems(operation._graph, g, sources, f"{prefix}{operation.name}/", found)
        elif node in needed:
            results = operation.lower_node(g, node, sources, False)
            values.update(zip(map(id, node.output_tensors), results, strict=True))


def _in_front_of(stems: list[Node], graph: Graph) -> set[Node]:
    """The calls that the input of a stem is computed by, unless one of them learns."""
    needed: set[Node] = set()
    waiting = list(stems)
    while waiting:
        for tensor in waiting.pop().input_tensors:
            operation, index, _ = tensor._keras_history
            node = operation._inbound_nodes[index]
            # Behind a layer that learns, or another network, values are no pictures.
            learns = isinstance(operation, Layer) and any(
                layer._own_trainable for layer in operation._flatten_layers()
            )
            if node in graph.node_set and node not in needed and not (node.is_input or learns):
                needed.add(node)
                waiting.append(node)
    return needed


def _is_stem(operation: Any) -> bool:
    return operation._stem is not None and operation._stem.pretrained


def _holds_stems(operation: Any) -> bool:
    graph = getattr(operation, "_graph", None)
    return graph is not None and any(_leads_to_stems(inner) for inner in graph.operations)


def _leads_to_stems(operation: Any) -> bool:
    return _is_stem(operation) or _holds_stems(operation)
