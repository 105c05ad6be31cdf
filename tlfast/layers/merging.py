"""Layers that join several tensors."""

from typing import Any

from tlfast._tensor import KerasTensor, Shape, is_shape
from tlfast.layers._base import Layer
from tlfast.layers._operations import broadcast_shapes


class _Merge(Layer):
    """An elementwise operation on a list of tensors.

    Args:
        **kwargs: name, trainable, dtype; see `Layer`.
    """

    _core_op = ""
    _inputs: tuple[int, int | None] = (1, None)  # fewest and most

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        fewest, most = self._inputs
        if len(inputs) < fewest or (most is not None and len(inputs) > most):
            wanted = f"exactly {fewest}" if most == fewest else f"at least {fewest}"
            raise ValueError(
                f"A `{type(self).__name__}` layer should be called on {wanted} inputs. Received: "
                f"{len(inputs)} inputs for layer '{self.name}'"
            )

    def _check_list(self, input_shape: Any) -> list[Shape]:
        if is_shape(input_shape):
            raise ValueError(
                "A merge layer should be called on a list of inputs. Received: "
                f"input_shape={input_shape} (not a list of shapes) for layer '{self.name}'"
            )
        return list(input_shape)

    def _build(self, input_shape: Any) -> None:
        shapes = self._check_list(input_shape)
        batches = {s[0] for s in shapes} - {None}
        if len(batches) > 1:
            raise ValueError(
                "Cannot merge tensors with different batch sizes. Received tensors with shapes "
                f"{shapes} in layer '{self.name}'"
            )

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = self._check_list(input_shape)
        rank = max(len(s) for s in shapes)
        # Keras puts the missing axes of the shorter ones right behind the batch.
        result = (1,) * (rank - len(shapes[0])) + tuple(shapes[0][1:])
        for shape in shapes[1:]:
            result = broadcast_shapes(result, (1,) * (rank - len(shape)) + tuple(shape[1:]))
        batch = next((s[0] for s in shapes if s[0] is not None), None)
        return (batch, *result[-(rank - 1) :]) if rank > 1 else (batch,)

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        if len(inputs) == 1:
            return inputs[0]
        rank = max(len(g.shape(x)) for x in inputs)
        values = []
        for i, x in enumerate(inputs):
            shape = g.shape(x)
            if len(shape) < rank:
                x = g.add(
                    "reshape",
                    [x],
                    [],
                    f"{self.name}/expand_{i}",
                    shape=(1,) * (rank - len(shape)) + tuple(shape[1:]),
                )
            values.append(x)
        return g.add(self._core_op, values, [], self.name)


class Add(_Merge):
    """The sum of tensors.

    Args:
        **kwargs: name, trainable, dtype; see `Layer`.
    """

    _core_op = "add"


class Subtract(_Merge):
    """The first tensor minus the second.

    Args:
        **kwargs: name, trainable, dtype; see `Layer`.
    """

    _core_op = "subtract"
    _inputs = (2, 2)


class Multiply(_Merge):
    """The product of tensors.

    Args:
        **kwargs: name, trainable, dtype; see `Layer`.
    """

    _core_op = "multiply"


class Average(_Merge):
    """The mean of tensors.

    Args:
        **kwargs: name, trainable, dtype; see `Layer`.
    """

    _core_op = "average"


class Maximum(_Merge):
    """The largest of the values at each place.

    Args:
        **kwargs: name, trainable, dtype; see `Layer`.
    """

    _core_op = "maximum"


class Concatenate(_Merge):
    """Tensors one behind the other along the last axis.

    Args:
        axis: -1 or the number of the last axis.
        **kwargs: name, trainable, dtype; see `Layer`.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def _build(self, input_shape: Any) -> None:
        shapes = self._check_list(input_shape)
        ranks = {len(s) for s in shapes}
        if len(ranks) > 1 or any(
            len({s[axis] for s in shapes} - {None}) > 1 for axis in range(len(shapes[0]) - 1)
        ):
            raise ValueError(
                "A `Concatenate` layer requires inputs with matching shapes except for the "
                f"concatenation axis. Received: input_shape={shapes} in layer '{self.name}'"
            )
        if self.axis not in (-1, len(shapes[0]) - 1):
            raise NotImplementedError(
                f"Layer '{self.name}' (Concatenate): only the last axis, axis=-1, is supported. "
                f"Received: axis={self.axis} for {len(shapes[0])} axes"
            )

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = self._check_list(input_shape)
        sizes: list[Any] = [s[-1] for s in shapes]
        before = tuple(
            next((s[axis] for s in shapes if s[axis] is not None), None)
            for axis in range(len(shapes[0]) - 1)
        )
        return (*before, None if None in sizes else sum(sizes))

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        if len(inputs) == 1:
            return inputs[0]
        return g.add("concat", inputs, [], self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def add(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the sum of a list of tensors; keyword arguments as `Add`."""
    return Add(**kwargs)(inputs)


def subtract(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the first of two tensors minus the second; keyword arguments as `Subtract`."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the product of a list of tensors; keyword arguments as `Multiply`."""
    return Multiply(**kwargs)(inputs)


def average(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the mean of a list of tensors; keyword arguments as `Average`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the elementwise maximum of a list of tensors; keyword arguments as `Maximum`."""
    return Maximum(**kwargs)(inputs)


def concatenate(inputs: list[Any], axis: int = -1, **kwargs: Any) -> Any:
    """Return a list of tensors joined along the last axis; arguments as `Concatenate`."""
    return Concatenate(axis=axis, **kwargs)(inputs)
