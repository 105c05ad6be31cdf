"""Models made from models: parts on new inputs, and copies with new weights."""

from typing import Any

from tlfast._graph import tensors_between
from tlfast._tensor import KerasTensor, Node, flatten, map_structure, pack_like
from tlfast.layers._base import Layer
from tlfast.layers.core import Input, InputLayer


def starts_model(x: KerasTensor) -> bool:
    """Return whether a tensor comes from an `Input`."""
    operation, index, _ = x._keras_history
    return operation._inbound_nodes[index].is_input


def clone_between(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """Repeat the calls between tensors on new `Input`s, with the same layers and weights."""
    flat_inputs, flat_outputs = flatten(inputs), flatten(outputs)
    copies: dict[int, KerasTensor] = {}
    for x in flat_inputs:
        copies[id(x)] = x if starts_model(x) else Input(batch_shape=x.shape, name=f"{x.name}CLONE")

    def copy(x: Any) -> Any:
        if not isinstance(x, KerasTensor):
            return x
        if id(x) not in copies:
            copies[id(x)] = KerasTensor(x.shape, x.dtype, name=f"{x.name}_clone")
            copies[id(x)]._keras_history = x._keras_history
        return copies[id(x)]

    for node in tensors_between(flat_inputs, flat_outputs):
        if node.is_input:
            continue
        args, kwargs = map_structure(copy, (node.args, node.kwargs))
        Node(node.operation, args, kwargs, [copy(x) for x in node.output_tensors])
    return (
        pack_like(inputs, [copies[id(x)] for x in flat_inputs]),
        pack_like(outputs, [copy(x) for x in flat_outputs]),
    )


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Any = None,
    call_function: Any = None,
    recursive: bool = False,
) -> Any:
    """Return a copy of a model with new layers and freshly initialised weights.

    Args:
        model: a `Functional` or `Sequential` model.
        input_tensors: tensors to build the copy on; None for new inputs.
        clone_function: function from a layer to its copy; None copies by config.
        call_function: function (layer, *args, **kwargs) that calls a copied layer, for
            functional models only.
        recursive: whether models inside are copied layer by layer as well.

    Returns:
        A model of the same class and name.
    """
    from tlfast.models import Model, Sequential

    if not isinstance(model, Model):
        raise TypeError(
            f"clone_model copies a model. Received: {model!r} of type {type(model).__name__}"
        )
    if call_function is not None and isinstance(model, Sequential):
        raise ValueError(
            "`call_function` argument is not supported with Sequential models: their layers are "
            "listed, not called"
        )
    copies: dict[int, Any] = {}

    def clone(layer: Any) -> Any:
        if id(layer) not in copies:
            if recursive and isinstance(layer, Model):
                inner_call = None if isinstance(layer, Sequential) else call_function
                copies[id(layer)] = clone_model(layer, None, clone_function, inner_call, True)
            elif clone_function is not None and isinstance(layer, Layer):
                copies[id(layer)] = clone_function(layer)
            else:
                copies[id(layer)] = type(layer).from_config(layer.get_config())
        return copies[id(layer)]

    if isinstance(model, Sequential):
        layers = [clone(layer) for layer in model.layers]
        first = model._stack[0] if model._stack else None
        if input_tensors is not None:
            layers.insert(0, flatten(input_tensors)[0])
        elif isinstance(first, InputLayer):
            layers.insert(0, Input(batch_shape=first.batch_shape, name=first.name))
        return Sequential(layers, trainable=model.trainable, name=model.name)
    graph = model._require_graph()
    tensors = (
        flatten(input_tensors)
        if input_tensors is not None
        else [
            Input(batch_shape=x.shape, name=x._keras_history.operation.name) for x in graph.inputs
        ]
    )
    call = call_function or (lambda layer, *args, **kwargs: layer(*args, **kwargs))
    outputs = graph.replay(tensors, lambda op, args, kwargs: call(clone(op), *args, **kwargs))
    return type(model)(
        pack_like(model.input, tensors), pack_like(model.output, outputs), name=model.name
    )
