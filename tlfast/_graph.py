"""The graph between the inputs and the outputs of a model: nodes in Keras' order, and replay."""

from collections import defaultdict
from typing import Any

from tlfast._tensor import KerasTensor, Node


class Graph:
    """The calls that lead from input tensors to output tensors.

    Args:
        inputs: symbolic tensors the graph starts from.
        outputs: symbolic tensors it computes.

    Raises:
        ValueError: if an output does not follow from the inputs, or two layers share a name.
    """

    def __init__(self, inputs: list[KerasTensor], outputs: list[KerasTensor]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        ordered, traversal = sort_nodes(inputs, outputs)
        depths, operation_depths = _depths(ordered, inputs, traversal)
        self.nodes_by_depth: dict[int, list[Node]] = defaultdict(list)
        for node, depth in depths.items():
            self.nodes_by_depth[depth].append(node)
        # Deepest first; equal depth in the order of the first visit (keras/src/ops/function.py).
        self.operations: list[Any] = sorted(
            operation_depths, key=lambda op: (-operation_depths[op], traversal[op])
        )
        self.nodes: list[Node] = [
            node
            for depth in sorted(self.nodes_by_depth, reverse=True)
            for node in self.nodes_by_depth[depth]
        ]
        self.node_set = set(self.nodes)
        self._check_connected()
        self._check_names()

    def _check_connected(self) -> None:
        known = {id(tensor) for tensor in self.inputs}
        for node in self.nodes:
            for tensor in node.input_tensors:
                if id(tensor) not in known:
                    raise ValueError(
                        f"Graph disconnected: cannot find parent for tensor {tensor} at operation "
                        f"'{node.operation.name}'. The model's inputs do not lead to it; pass the "
                        "Input tensors it was computed from as `inputs`"
                    )
            if not node.is_input or id(node.output_tensors[0]) in known:
                known.update(id(tensor) for tensor in node.output_tensors)
        for tensor in self.outputs:
            if id(tensor) not in known:
                raise ValueError(
                    f"Output {tensor} is not connected to `inputs`: it was computed from "
                    "other tensors than the inputs given"
                )

    def _check_names(self) -> None:
        seen: dict[str, Any] = {}
        for operation in self.operations:
            if seen.setdefault(operation.name, operation) is not operation:
                raise ValueError(
                    f'The name "{operation.name}" is used by two layers of the model. All '
                    "operation names should be unique; give one of them another name="
                )

    def lower(self, g: Any, inputs: list[int], training: bool) -> list[int]:
        """Write all calls into a core graph and return the core values of the outputs."""
        values = {id(t): v for t, v in zip(self.inputs, inputs, strict=True)}
        for node in self.nodes:
            if node.is_input:
                continue
            g.dtype = node.operation.compute_dtype
            results = node.operation.lower_node(
                g, node, [values[id(t)] for t in node.input_tensors], training
            )
            for tensor, value in zip(node.output_tensors, results, strict=True):
                values[id(tensor)] = value
        return [values[id(tensor)] for tensor in self.outputs]

    def replay(self, inputs: list[KerasTensor], call: Any) -> list[KerasTensor]:
        """Call the operations again on other symbolic tensors.

        Args:
            inputs: tensors in place of the graph's inputs.
            call: function (operation, args, kwargs) that returns symbolic results.
        """
        from tlfast._tensor import flatten, map_structure

        tensors = {id(t): new for t, new in zip(self.inputs, inputs, strict=True)}
        for node in self.nodes:
            if node.is_input:
                continue
            args, kwargs = map_structure(
                lambda x: tensors[id(x)] if isinstance(x, KerasTensor) else x,
                (node.args, node.kwargs),
            )
            results = flatten(call(node.operation, args, kwargs))
            for tensor, new in zip(node.output_tensors, results, strict=True):
                tensors[id(tensor)] = new
        return [tensors[id(tensor)] for tensor in self.outputs]


def _depths(
    ordered: list[Node], inputs: list[KerasTensor], traversal: dict[Any, int]
) -> tuple[dict[Node, int], dict[Any, int]]:
    """Depth of nodes and operations: the longest way to an output."""
    inside = set(ordered)
    depths: dict[Node, int] = {}
    operation_depths: dict[Any, int] = {}
    for node in reversed(ordered):
        # An operation called several times lies as deep as its deepest call.
        depth = max(depths.setdefault(node, 0), operation_depths.get(node.operation, 0))
        operation_depths[node.operation] = depths[node] = depth
        for parent in node.parent_nodes:
            if parent in inside:
                depths[parent] = max(depth + 1, depths.get(parent, 0))
    for tensor in inputs:  # inputs that lead to no output are kept, at the end
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        if operation not in operation_depths and node.is_input:
            operation_depths[operation] = 0
            traversal[operation] = -1
            depths[node] = 0
    return depths, operation_depths


def sort_nodes(
    inputs: list[KerasTensor], outputs: list[KerasTensor]
) -> tuple[list[Node], dict[Any, int]]:
    """Walk from the outputs to the inputs, depth first.

    Returns:
        The nodes from inputs to outputs, and the number of the first visit of each operation,
        counted before its inputs are visited.
    """
    starts = {id(tensor) for tensor in inputs}
    finished: set[Node] = set()
    ordered: list[Node] = []
    traversal: dict[Any, int] = {}
    for output in outputs:
        # (node, tensors still to visit); recursion would overflow on deep networks.
        stack: list[tuple[Node, list[KerasTensor]]] = []

        def visit(tensor: KerasTensor, stack: list[Any] = stack) -> None:
            if tensor._keras_history is None:
                return
            operation, index, _ = tensor._keras_history
            node = operation._inbound_nodes[index]
            if node in finished:
                return
            if not node.is_input and id(tensor) in starts:
                finished.add(node)
                return
            traversal.setdefault(operation, len(traversal))
            stack.append((node, list(reversed(node.input_tensors))))

        visit(output)
        while stack:
            node, waiting = stack[-1]
            if waiting:
                visit(waiting.pop())
                continue
            stack.pop()
            if node not in finished:
                finished.add(node)
                ordered.append(node)
    return ordered, traversal


def tensors_between(inputs: list[KerasTensor], outputs: list[KerasTensor]) -> list[Node]:
    """Return the nodes between tensors, from inputs to outputs."""
    return sort_nodes(inputs, outputs)[0]
