"""Functional models to and from the config that Keras stores: layers, calls, inputs, outputs."""

from collections import deque
from typing import Any

from tlfast._serialization import deserialize, serialize
from tlfast._tensor import KerasTensor, Node, flatten, map_structure
from tlfast.layers._base import Layer, Operation


def _is_functional(operation: Any) -> bool:
    from tlfast.models import Model, Sequential

    return isinstance(operation, Model) and not isinstance(operation, Sequential)


def _kept_index(node_set: set[Node], operation: Any, index: int) -> int:
    """The number of a call among those of its operation that belong to the model."""
    return sum(node in node_set for node in operation._inbound_nodes[:index])


def _node_config(node: Node, node_set: set[Node]) -> dict[str, Any]:
    def convert(x: Any) -> Any:
        if not isinstance(x, KerasTensor):
            return serialize(x)
        operation, index, tensor_index = x._keras_history
        history = [operation.name, _kept_index(node_set, operation, index), tensor_index]
        config = {"shape": x.shape, "dtype": x.dtype, "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": config}

    kwargs = dict(node.kwargs)
    operation = node.operation
    if isinstance(operation, Layer):
        # Keras stores the default of `training` and an empty mask where a layer takes them.
        if operation._captured_training is not None:
            kwargs.setdefault("training", operation._captured_training)
        elif operation._has_mask and (not kwargs or _is_functional(operation)):
            kwargs["mask"] = None
    return {
        "args": [map_structure(convert, x) for x in node.args],
        "kwargs": map_structure(convert, kwargs),
    }


def functional_config(model: Any) -> dict[str, Any]:
    """Return the config of a functional model in Keras 3's layout."""
    graph = model._require_graph()
    node_set = graph.node_set
    layers = []
    for operation in graph.operations:
        config = serialize(operation)
        config["name"] = operation.name
        config["inbound_nodes"] = [
            _node_config(node, node_set)
            for node in operation._inbound_nodes
            if node in node_set and not node.is_input
        ]
        layers.append(config)

    def place(tensor: KerasTensor) -> list[Any]:
        operation, index, tensor_index = tensor._keras_history
        kept = _kept_index(node_set, operation, index)
        # Keras counts the call inside a functional model itself as its first one, here only.
        return [operation.name, kept + _is_functional(operation), tensor_index]

    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "input_layers": map_structure(place, model.input),
        "output_layers": map_structure(place, model.output),
    }


class _NotYet(Exception):
    """A call needs a tensor that is not made yet: that of call `index` of layer `name`."""

    def __init__(self, name: str, index: int) -> None:
        super().__init__(f"{name}[{index}]")
        self.call = (name, index)


class _Rebuild:
    """The layers of a config and the calls still to make."""

    def __init__(self, config: dict[str, Any], custom_objects: dict[str, Any] | None) -> None:
        self.layers: dict[str, Operation] = {}
        self.waiting: dict[str, list[Any]] = {}
        self.custom_objects = custom_objects
        for entry in config["layers"]:
            name = entry.get("name") or entry.get("config", {}).get("name")
            if name in self.layers:
                raise ValueError(f"The model config holds two layers named {name!r}")
            self.layers[name] = deserialize(entry, custom_objects)
            if not isinstance(self.layers[name], Operation):
                raise ValueError(
                    f"The model config holds {entry.get('class_name')!r} as layer "
                    f"{name!r}, which is not a layer"
                )
            self.waiting[name] = list(entry.get("inbound_nodes") or [])

    def tensor(self, name: Any, index: Any, tensor_index: Any, counts_itself: bool) -> KerasTensor:
        """Return an output tensor by layer name, number of the call, and number of the output."""
        if name not in self.layers:
            raise ValueError(f"The model config refers to layer {name!r}, which it does not hold")
        nodes = self.layers[name]._inbound_nodes
        if counts_itself and index > 0:
            index -= 1
        if index >= len(nodes):
            raise _NotYet(name, index)
        return nodes[index].output_tensors[tensor_index]

    def _revive(self, x: Any) -> Any:
        if isinstance(x, dict) and x.get("class_name") == "__keras_tensor__":
            name, index, place = x["config"]["keras_history"]
            return self.tensor(name, index, place, counts_itself=False)
        if isinstance(x, dict) and "class_name" not in x:
            return {key: self._revive(value) for key, value in x.items()}
        if isinstance(x, (list, tuple)):
            return type(x)(self._revive(item) for item in x)
        return deserialize(x, self.custom_objects)

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        if isinstance(node, dict):
            return self._revive(list(node.get("args", []))), self._revive(node.get("kwargs", {}))
        # Keras 2: [[layer, call, output, kwargs], ...]; a nested model's calls count from 1.
        tensors: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, index, tensor_index, *rest in node:
            from tlfast.models import Model

            nested = isinstance(self.layers.get(name), Model)
            tensors.append(self.tensor(name, index, tensor_index, counts_itself=nested))
            kwargs = rest[0] if rest else kwargs
        return [tensors[0] if len(tensors) == 1 else tensors], dict(kwargs)

    def _call(self, operation: Operation, node: Any) -> None:
        args, kwargs = self._arguments(node)
        if not any(isinstance(x, KerasTensor) for x in flatten([args, kwargs])):
            # A call on plain values would be computed here and now.
            raise ValueError(
                f"The model config calls layer {operation.name!r} on something else than the "
                "outputs of layers"
            )
        if isinstance(operation, Layer):
            if kwargs.get("mask", 0) is None:
                del kwargs["mask"]
            # A default that Keras recorded without anyone asking for it.
            recorded = kwargs.get("training")
            if recorded is None or recorded == operation._captured_training:
                kwargs.pop("training", None)
        operation(*args, **kwargs)

    def run(self) -> None:
        """Make all calls, each as soon as its inputs exist."""
        ready = deque(self.waiting)
        # Calls that wait for another one; the order in the file must not cost time.
        blocked: dict[tuple[str, int], list[str]] = {}
        while ready:
            name = ready.popleft()
            operation, nodes = self.layers[name], self.waiting[name]
            done = 0
            for node in nodes:
                try:
                    self._call(operation, node)
                except _NotYet as missing:
                    blocked.setdefault(missing.call, []).append(name)
                    break
                except Exception as exc:
                    exc.add_note(f"{type(operation).__name__} {operation.name!r}")
                    raise
                done += 1
                ready.extend(blocked.pop((name, len(operation._inbound_nodes) - 1), ()))
            del nodes[:done]
        left = [name for name, nodes in self.waiting.items() if nodes]
        if left:
            raise ValueError(
                "The calls in the model config form a loop or refer to calls that do not exist; "
                f"these layers cannot be connected: {left[:10]}"
            )


def functional_from_config(
    cls: type, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
) -> Any:
    """Return the functional model of a config of Keras 2 or 3.

    Args:
        cls: class of the model.
        config: dict with "layers", "input_layers" and "output_layers".
        custom_objects: classes of one's own by name.

    Raises:
        ValueError: if the config is not consistent.
    """
    from tlfast.models import Functional, Model

    missing = [k for k in ("layers", "input_layers", "output_layers") if k not in config]
    if missing:
        raise ValueError(f"The config of a functional model lacks {missing}")
    rebuild = _Rebuild(config, custom_objects)
    rebuild.run()

    def tensors(structure: Any) -> Any:
        if (
            isinstance(structure, (list, tuple))
            and len(structure) == 3
            and isinstance(structure[0], str)
        ):
            name, index, tensor_index = structure
            operation = rebuild.layers.get(name)
            counts = _is_functional(operation)
            if operation is not None and not counts and isinstance(operation, Model):
                counts = index >= len(operation._inbound_nodes)  # Sequential in Keras 2
            try:
                return rebuild.tensor(name, index, tensor_index, counts)
            except _NotYet as error:
                raise ValueError(
                    f"The model config names an output that does not exist: {error}"
                ) from None
        if isinstance(structure, dict):
            return {key: tensors(value) for key, value in structure.items()}
        return [tensors(item) for item in structure]

    def unpack(structure: Any) -> Any:
        # Keras 2 wrote a list even for a single tensor.
        return structure[0] if isinstance(structure, list) and len(structure) == 1 else structure

    target = Functional if cls is Model else cls
    model = target(
        unpack(tensors(config["input_layers"])),
        unpack(tensors(config["output_layers"])),
        name=config.get("name"),
    )
    if config.get("trainable") is False:
        # The flag alone: layers inside carry their own flags in their configs.
        model._trainable = False
    return model
