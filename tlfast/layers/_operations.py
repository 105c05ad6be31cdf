"""Operations without weights that arithmetic on symbolic tensors creates: x / 127.5 - 1.

They make `preprocess_input` usable inside a model. Class names, module and stored arguments are
those of `keras.ops`, so the files of such models are read by Keras and the other way round.
"""

from typing import Any

import numpy as np

from tlfast import activations
from tlfast._tensor import KerasTensor, Node, Shape
from tlfast.layers._base import Operation


def broadcast_shapes(first: Shape, second: Shape) -> Shape:
    """Return the shape of an elementwise result, None where unknown.

    Raises:
        ValueError: if the shapes do not fit.
    """
    rank = max(len(first), len(second))
    a = (1,) * (rank - len(first)) + tuple(first)
    b = (1,) * (rank - len(second)) + tuple(second)
    result: list[int | None] = []
    for x, y in zip(a, b, strict=True):
        if x == 1:
            result.append(y)
        elif x is None:
            result.append(None if y == 1 else y)
        elif y in (1, None, x):
            result.append(x)
        else:
            raise ValueError(
                f"Inputs have incompatible shapes. Received shapes {first} and {second}"
            )
    return tuple(result)


def _channel_constant(value: Any, operation: str) -> float | tuple[float, ...]:
    """Return a constant as one number or one number per channel.

    Raises:
        NotImplementedError: if it varies over height, width or batch.
    """
    array = np.asarray(value, np.float32)
    if array.size == 1:
        return float(array.reshape(()))
    if array.ndim == 0 or array.shape[-1] != array.size:
        raise NotImplementedError(
            f"{operation} inside a model takes a number or one number per channel, shape (C,) or "
            f"(1, 1, C). Received an array of shape {array.shape}"
        )
    return tuple(float(x) for x in array.reshape(-1))


class _Arithmetic(Operation):
    """x op y for two tensors, or a tensor and a constant on either side."""

    _core_op: str | None = None

    def compute_output_spec(self, x1: Any, x2: Any) -> KerasTensor:
        shapes = []
        for x in (x1, x2):
            if isinstance(x, KerasTensor):
                shapes.append(x.shape)
            else:
                _channel_constant(x, type(self).__name__)
                shapes.append(np.shape(x))
        if not isinstance(x1, KerasTensor) and not self._swappable(x1):
            raise NotImplementedError(
                f"{type(self).__name__}({x1!r}, tensor) inside a model is not supported"
            )
        if self._core_op is None and isinstance(x2, KerasTensor):
            raise NotImplementedError(
                f"{type(self).__name__} of two tensors inside a model is not supported"
            )
        dtype = next(x.dtype for x in (x1, x2) if isinstance(x, KerasTensor))
        return KerasTensor(broadcast_shapes(*shapes), dtype)

    def _swappable(self, x1: Any) -> bool:
        return True

    def _affine(self, constant: Any, constant_first: bool) -> tuple[Any, Any]:
        """Return (scale, shift) of the operation with a constant."""
        raise NotImplementedError(type(self).__name__)

    def lower_node(self, g: Any, node: Node, inputs: list[int], training: bool) -> list[int]:
        x1, x2 = node.args
        if len(inputs) == 2:
            return [g.add(self._core_op, inputs, [], self.name)]
        first = not isinstance(x1, KerasTensor)
        constant = _channel_constant(x1 if first else x2, self.name)
        scale, shift = self._affine(np.asarray(constant, np.float64), first)
        return [_scale_shift(g, self.name, inputs[0], scale, shift)]


def _scale_shift(g: Any, name: str, x: int, scale: Any, shift: Any, reverse: bool = False) -> int:
    """Write y = x[..., ::-1 if reverse] * scale + shift."""

    def plain(value: Any) -> float | tuple[float, ...]:
        array = np.asarray(value, np.float64)
        return float(array) if array.ndim == 0 else tuple(float(v) for v in array.reshape(-1))

    return g.add(
        "scale_shift",
        [x],
        [],
        name,
        scale=plain(scale),
        shift=plain(shift),
        reverse_channels=reverse,
    )


class Add(_Arithmetic):
    """x1 + x2."""

    _core_op = "add"

    def _affine(self, constant: Any, constant_first: bool) -> tuple[Any, Any]:
        return 1.0, constant


class Subtract(_Arithmetic):
    """x1 - x2."""

    _core_op = "subtract"

    def _affine(self, constant: Any, constant_first: bool) -> tuple[Any, Any]:
        return (-1.0, constant) if constant_first else (1.0, -constant)


class Multiply(_Arithmetic):
    """x1 * x2."""

    _core_op = "multiply"

    def _affine(self, constant: Any, constant_first: bool) -> tuple[Any, Any]:
        return constant, 0.0


class TrueDivide(_Arithmetic):
    """x1 / x2, where x2 is a constant."""

    def _swappable(self, x1: Any) -> bool:
        return False

    def _affine(self, constant: Any, constant_first: bool) -> tuple[Any, Any]:
        if not np.all(constant):
            raise ZeroDivisionError(f"'{self.name}' divides by {constant}")
        return 1.0 / constant, 0.0


Divide = TrueDivide


class Negative(Operation):
    """-x."""

    def compute_output_spec(self, x: KerasTensor) -> KerasTensor:
        return KerasTensor(x.shape, x.dtype)

    def lower_node(self, g: Any, node: Node, inputs: list[int], training: bool) -> list[int]:
        return [_scale_shift(g, self.name, inputs[0], -1.0, 0.0)]


class GetItem(Operation):
    """x[..., ::-1]: the channels in reverse order; no other subscript."""

    def compute_output_spec(self, x: KerasTensor, key: Any) -> KerasTensor:
        if not _reverses_channels(key, x.ndim):
            raise NotImplementedError(
                "Of the subscripts on a KerasTensor tlfast supports x[..., ::-1], which reverses "
                f"the channels. Received: x[{key!r}]. Use Cropping2D to cut images"
            )
        return KerasTensor(x.shape, x.dtype)

    def lower_node(self, g: Any, node: Node, inputs: list[int], training: bool) -> list[int]:
        return [_scale_shift(g, self.name, inputs[0], 1.0, 0.0, reverse=True)]


def _reverses_channels(key: Any, ndim: int) -> bool:
    if not isinstance(key, (tuple, list)) or not key:
        return False
    whole, reverse = slice(None), slice(None, None, -1)
    *before, last = key
    if last != reverse:
        return False
    return before == [Ellipsis] or (len(key) == ndim and all(k == whole for k in before))


class _Activation(Operation):
    """An activation function called on a symbolic tensor."""

    _module = "keras.src.ops.nn"
    _function = ""

    def compute_output_spec(self, x: KerasTensor) -> KerasTensor:
        return KerasTensor(x.shape, x.dtype)

    def lower_node(self, g: Any, node: Node, inputs: list[int], training: bool) -> list[int]:
        return [emit_activation(g, self.name, activations.get(self._function), inputs[0])]


def emit_activation(g: Any, name: str, function: Any, x: int) -> int:
    """Write an activation function; the linear one writes nothing."""
    return emit_kind(g, name, x, *function.core_spec)


def emit_kind(g: Any, name: str, x: int, kind: str, alpha: float | None = None) -> int:
    """Write an activation of the core; alpha is None for kinds with fixed constants."""
    if kind == "linear":
        return x
    return g.add("activation", [x], [], name, kind=kind, alpha=alpha)


# Activation functions whose operation in keras.ops needs no further arguments.
_ACTIVATIONS = {
    "relu": "Relu",
    "relu6": "Relu6",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "silu": "Silu",
    "softplus": "Softplus",
    "tanh": "Tanh",
    "hard_sigmoid": "HardSigmoid",
    "hard_silu": "HardSilu",
    "elu": "Elu",
    "leaky_relu": "LeakyRelu",
    "gelu": "Gelu",
    "exponential": "Exp",
}
CLASSES: dict[str, type[Operation]] = {
    cls.__name__: cls for cls in (Add, Subtract, Multiply, TrueDivide, Negative, GetItem)
}
CLASSES["Divide"] = TrueDivide
for _function, _name in _ACTIVATIONS.items():
    CLASSES[_name] = type(
        _name,
        (_Activation,),
        {
            "_function": _function,
            "__doc__": f"{_function}(x).",
            "__module__": __name__,
            "_module": "keras.src.ops.numpy"
            if _function in ("tanh", "exponential")
            else "keras.src.ops.nn",
        },
    )


def apply_activation(function: str, x: KerasTensor) -> KerasTensor:
    """Record the activation `function` on a symbolic tensor."""
    if function == "linear":
        return x
    return CLASSES[_ACTIVATIONS[function]]()(x)
