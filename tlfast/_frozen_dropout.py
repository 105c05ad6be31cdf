"""Finds dropout that keeps the features of a frozen network from staying the same."""

import warnings
from collections.abc import Iterator
from typing import Any

from tlfast._graph import Graph
from tlfast._warnings import FrozenWarning, user_level
from tlfast.layers.convolutional import Conv2D, DepthwiseConv2D, SeparableConv2D
from tlfast.layers.regularization import Dropout, SpatialDropout2D

_CONVOLUTIONS = (Conv2D, DepthwiseConv2D, SeparableConv2D)
_DROPOUTS = (Dropout, SpatialDropout2D)


def warn_about_dropout(model: Any, said: set[str]) -> None:
    """Warn of frozen networks whose features cannot be kept.

    Args:
        model: the model about to be trained.
        said: texts given before, which are not repeated; the new ones are added.
    """
    for name in restless_networks(model):
        text = (
            f"model '{model.name}': the layers of '{name}' are frozen, but its dropout "
            "(drop-connect: whole branches left out at random) stays active while `fit` runs, as "
            "in Keras. Its features change from epoch to epoch, so none can be kept, and every "
            f"epoch costs a whole pass over '{name}'. Call a frozen network as\n"
            "    x = base(x, training=False)\n"
            "and its features are computed once."
        )
        if text not in said:
            said.add(text)
            warnings.warn(text, FrozenWarning, stacklevel=user_level())


def restless_networks(model: Any) -> Iterator[str]:
    """Names of frozen networks in a model whose own dropout acts while `fit` runs.

    Dropout behind their last convolution costs nothing and is left out, as are networks that
    train in part, and calls with an explicit `training=`.

    Args:
        model: a model, with its `trainable` flags as they are now.
    """
    graph = model._require_graph()
    convolutions = [op for op in graph.operations if isinstance(op, _CONVOLUTIONS)]
    if not any(layer.trainable_weights for layer in convolutions) and _drops_before_work(graph):
        yield model.name
    for node in graph.nodes:
        inner = node.operation
        if getattr(inner, "_graph", None) is not None and node.kwargs.get("training") is None:
            yield from restless_networks(inner)


def _drops_before_work(graph: Graph) -> bool:
    """Whether a convolution of a graph follows active dropout of the same graph."""
    dropped: set[int] = set()
    for node in graph.nodes:
        operation = node.operation
        behind = any(id(tensor) in dropped for tensor in node.input_tensors)
        if behind and isinstance(operation, _CONVOLUTIONS):
            return True
        active = isinstance(operation, _DROPOUTS) and operation.rate > 0
        if behind or (active and node.kwargs.get("training") is not False):
            dropped.update(id(tensor) for tensor in node.output_tensors)
    return False
