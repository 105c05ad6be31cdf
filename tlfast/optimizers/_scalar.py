"""A number that optimizers keep beside the weights: step counter and learning rate."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np


def _binary(op: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: "Scalar", other: object) -> object:
        return op(self.numpy()[()].item(), _plain(other))

    return method


def _reflected(op: Callable[..., Any]) -> Callable[..., Any]:
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

    shape = ()

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

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
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

    __hash__ = object.__hash__
    __eq__ = _binary(operator.eq)
    __ne__ = _binary(operator.ne)
    __lt__ = _binary(operator.lt)
    __le__ = _binary(operator.le)
    __gt__ = _binary(operator.gt)
    __ge__ = _binary(operator.ge)
    __add__, __radd__ = _binary(operator.add), _reflected(operator.add)
    __sub__, __rsub__ = _binary(operator.sub), _reflected(operator.sub)
    __mul__, __rmul__ = _binary(operator.mul), _reflected(operator.mul)
    __truediv__, __rtruediv__ = _binary(operator.truediv), _reflected(operator.truediv)
    __floordiv__, __rfloordiv__ = _binary(operator.floordiv), _reflected(operator.floordiv)
    __mod__, __rmod__ = _binary(operator.mod), _reflected(operator.mod)
    __pow__, __rpow__ = _binary(operator.pow), _reflected(operator.pow)
