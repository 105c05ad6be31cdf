"""Symbolic tensors and the nodes that record which layer made them from what."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tlfast._naming import auto_name

Shape = tuple[int | None, ...]


class KerasHistory(NamedTuple):
    """The call that made a tensor: which operation, its how-manieth call, which output."""

    operation: Any
    node_index: int
    tensor_index: int


class KerasTensor:
    """A value of a model that is being built: a shape, a type and a history, but no numbers.

    Args:
        shape: sizes with None for unknown ones, the batch first.
        dtype: element type.
        name: name, or None for the next automatic one.
    """

    # NumPy must not try to take a symbolic tensor apart: np.float32(2) * x calls x.__rmul__.
    __array_ufunc__ = None

    def __init__(self, shape: Shape, dtype: str = "float32", name: str | None = None) -> None:
        self._shape = standardize_shape(shape)
        self.dtype = dtype
        self.name: str = name or auto_name("KerasTensor")
        self.sparse = False
        self.ragged = False
        self._keras_history: Any = None  # KerasHistory, once made

    def __hash__(self) -> int:
        return object.__hash__(self)

    @property
    def shape(self) -> Shape:
        """The sizes, None where unknown; the first is the batch."""
        return self._shape

    @property
    def ndim(self) -> int:
        """The number of axes, the batch included."""
        return len(self._shape)

    def __repr__(self) -> str:
        return (
            f"<KerasTensor shape={self.shape}, dtype={self.dtype}, sparse=False, ragged=False, "
            f"name={self.name}>"
        )

    def _no_value(self, wanted: str) -> TypeError:
        return TypeError(
            f"A KerasTensor has no numbers yet, so it cannot be used as {wanted}. It stands for "
            "a value inside a model being built: use tlfast.layers on it, make a Model, and call "
            f"predict() on arrays. Received: {self!r}"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise self._no_value("a NumPy array")

    def __iter__(self) -> Iterator[Any]:
        raise self._no_value("something to iterate over")

    def __bool__(self) -> bool:
        raise self._no_value("a truth value")

    def __float__(self) -> float:
        raise self._no_value("a float")

    def __int__(self) -> int:
        raise self._no_value("an int")

    def __len__(self) -> int:
        raise self._no_value("something with a length; use .shape")

    def __add__(self, other: Any) -> "KerasTensor":
        return _apply("Add", self, other)

    def __radd__(self, other: Any) -> "KerasTensor":
        return _apply("Add", other, self)

    def __sub__(self, other: Any) -> "KerasTensor":
        return _apply("Subtract", self, other)

    def __rsub__(self, other: Any) -> "KerasTensor":
        return _apply("Subtract", other, self)

    def __mul__(self, other: Any) -> "KerasTensor":
        return _apply("Multiply", self, other)

    def __rmul__(self, other: Any) -> "KerasTensor":
        return _apply("Multiply", other, self)

    def __truediv__(self, other: Any) -> "KerasTensor":
        return _apply("TrueDivide", self, other)

    def __rtruediv__(self, other: Any) -> "KerasTensor":
        return _apply("TrueDivide", other, self)

    def __neg__(self) -> "KerasTensor":
        return _apply("Negative", self)

    def __getitem__(self, key: Any) -> "KerasTensor":
        return _apply("GetItem", self, key)


def _apply(operation: str, *args: Any) -> KerasTensor:
    from tlfast.layers import _operations

    return getattr(_operations, operation)()(*args)


class Node:
    """One call of an operation on symbolic tensors.

    Args:
        operation: the layer or operation called.
        args: positional arguments of the call.
        kwargs: keyword arguments of the call, as the user gave them.
        outputs: the tensors the call returned.
    """

    def __init__(
        self,
        operation: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[KerasTensor],
    ) -> None:
        self.operation = operation
        self.args = args
        self.kwargs = kwargs
        self.input_tensors: list[Any] = flatten((list(args), kwargs), KerasTensor)
        self.output_tensors = outputs
        operation._inbound_nodes.append(self)
        index = len(operation._inbound_nodes) - 1
        for i, tensor in enumerate(outputs):
            tensor._keras_history = KerasHistory(operation, index, i)
        for tensor in self.input_tensors:
            if tensor._keras_history is not None:
                tensor._keras_history.operation._outbound_nodes.append(self)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The tensors the call returned."""
        return self.output_tensors

    @property
    def is_input(self) -> bool:
        """Whether the node has no inputs, as that of an InputLayer."""
        return not self.input_tensors

    @property
    def parent_nodes(self) -> list["Node"]:
        """The nodes that made the inputs, in the order of the inputs."""
        parents = []
        for tensor in self.input_tensors:
            if tensor._keras_history is not None:
                operation, index, _ = tensor._keras_history
                parents.append(operation._inbound_nodes[index])
        return parents

    def __repr__(self) -> str:
        return f"<Node operation={self.operation.name}>"


def standardize_shape(shape: Any) -> Shape:
    """Return `shape` as a tuple of positive ints and None.

    Raises:
        ValueError: if it is not a sequence of sizes.
    """
    if isinstance(shape, (str, bytes, dict)) or not hasattr(shape, "__iter__"):
        raise ValueError(
            "A shape is a tuple of sizes such as (224, 224, 3); one size n is written (n,). "
            f"Received: shape={shape!r}"
        )
    sizes: list[int | None] = []
    for size in shape:
        if size is None:
            sizes.append(None)
            continue
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise ValueError(
                "A shape holds integers, or None where the size is not known. Received: "
                f"shape={tuple(shape)!r} with {size!r} of type {type(size).__name__}"
            )
        if int(size) < 0:
            raise ValueError(f"A shape holds no negative sizes. Received: shape={tuple(shape)!r}")
        sizes.append(int(size))
    return tuple(sizes)


def is_shape(value: Any) -> bool:
    """Return whether `value` is one shape and not a list of shapes."""
    return isinstance(value, (list, tuple)) and all(
        size is None or isinstance(size, (int, np.integer)) for size in value
    )


def flatten(structure: Any, kind: type | None = None) -> list[Any]:
    """Return the leaves of nested lists, tuples and dicts (by sorted key), only of `kind`."""
    if isinstance(structure, dict):
        return [x for key in sorted(structure) for x in flatten(structure[key], kind)]
    if isinstance(structure, (list, tuple)) and not hasattr(structure, "_fields"):
        return [x for item in structure for x in flatten(item, kind)]
    return [structure] if kind is None or isinstance(structure, kind) else []


def map_structure(function: Any, structure: Any) -> Any:
    """Apply `function` to the leaves of nested lists, tuples and dicts."""
    if isinstance(structure, dict):
        return {key: map_structure(function, value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)) and not hasattr(structure, "_fields"):
        return type(structure)(map_structure(function, item) for item in structure)
    return function(structure)


def pack_like(structure: Any, leaves: list[Any]) -> Any:
    """Put flat `leaves` into the shape of `structure`, the inverse of `flatten`."""
    remaining = iter(leaves)

    def pack(part: Any) -> Any:
        if isinstance(part, dict):
            packed = {key: pack(part[key]) for key in sorted(part)}
            return {key: packed[key] for key in part}
        if isinstance(part, (list, tuple)) and not hasattr(part, "_fields"):
            return type(part)(pack(item) for item in part)
        return next(remaining)

    return pack(structure)
