"""A number that optimizers keep beside the weights: step counter and learning rate."""

import operator
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import numpy as np

# An arithmetic operator as a method.
_Method: TypeAlias = Callable[..., Any]


def _binary(op: Callable[..., Any]) -> _Method:
    def method(self: "Scalar", other: object) -> object:
        return op(self.numpy()[()].item(), _plain(other))

    return method


def _reflected(op: Callable[..., Any]) -> _Method:
    def method(self: "Scalar", other: object) -> object:
        return op(_plain(other), self.numpy()[()].item())

    return method


def _plain(value: object) -> object:
    return value.numpy()[()].item() if isinstance(value, Scalar) else value


class Scalar:
    """A mutable number with the face of a variable: `.numpy()`, `.assign()`, arithmetic.

    Args:
        value: start value.
        dtype: "int64" (step counter) or "float32" (learning rate: Keras stores it so, and the
            rounding shows in messages and files).
        name: name in files.
        path: `name` with the optimizer's name in front.
    """

    shape: tuple[()] = ()

    def __init__(self, value: float, dtype: str, name: str, path: str) -> None:
        self._value = np.array(value, dtype=dtype)
        self.name = name
        self.path = path

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return str(self._value.dtype)

    @property
    def value(self) -> np.ndarray:
        """The number as a 0-dimensional array."""
        return self.numpy()

    def numpy(self) -> np.ndarray:
        """Return the number as a 0-dimensional array (a copy)."""
        return self._value.copy()

    def cell(self) -> np.ndarray:
        """Return the number itself, for the core to change; valid until the next `assign`."""
        return self._value

    def assign(self, value: object) -> "Scalar":
        """Set the number."""
        value = np.asarray(_plain(value))
        if value.shape != ():
            raise ValueError(
                f"Cannot assign an array of shape {value.shape} to the number {self.path!r}."
            )
        self._value = value.astype(self._value.dtype)
        return self

    def assign_add(self, value: object) -> "Scalar":
        """Add to the number."""
        return self.assign(self + value)

    def assign_sub(self, value: object) -> "Scalar":
        """Subtract from the number."""
        return self.assign(self - value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._value, dtype=dtype)

    def __float__(self) -> float:
        return float(self._value)

    def __int__(self) -> int:
        return int(self._value)

    def __index__(self) -> int:
        return operator.index(self._value[()])

    def __bool__(self) -> bool:
        return bool(self._value)

    def __round__(self, digits: int | None = None) -> float:
        return round(self._value.item(), digits)

    def __format__(self, spec: str) -> str:
        return format(self._value.item(), spec)

    def __repr__(self) -> str:
        return f"<Scalar {self.path} {self.dtype} {self._value.item()!r}>"

    def __neg__(self) -> float:
        return -self._value.item()

    def __hash__(self) -> int:
        return object.__hash__(self)

    __eq__: ClassVar[_Method] = _binary(operator.eq)
    __ne__: ClassVar[_Method] = _binary(operator.ne)
    __lt__: ClassVar[_Method] = _binary(operator.lt)
    __le__: ClassVar[_Method] = _binary(operator.le)
    __gt__: ClassVar[_Method] = _binary(operator.gt)
    __ge__: ClassVar[_Method] = _binary(operator.ge)
    __add__: ClassVar[_Method] = _binary(operator.add)
    __radd__: ClassVar[_Method] = _reflected(operator.add)
    __sub__: ClassVar[_Method] = _binary(operator.sub)
    __rsub__: ClassVar[_Method] = _reflected(operator.sub)
    __mul__: ClassVar[_Method] = _binary(operator.mul)
    __rmul__: ClassVar[_Method] = _reflected(operator.mul)
    __truediv__: ClassVar[_Method] = _binary(operator.truediv)
    __rtruediv__: ClassVar[_Method] = _reflected(operator.truediv)
    __floordiv__: ClassVar[_Method] = _binary(operator.floordiv)
    __rfloordiv__: ClassVar[_Method] = _reflected(operator.floordiv)
    __mod__: ClassVar[_Method] = _binary(operator.mod)
    __rmod__: ClassVar[_Method] = _reflected(operator.mod)
    __pow__: ClassVar[_Method] = _binary(operator.pow)
    __rpow__: ClassVar[_Method] = _reflected(operator.pow)
