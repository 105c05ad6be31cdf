"""Weights of layers: named, initialised on first use, held by the core once it needs them."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

_lock = threading.RLock()
# Models hold their layers in reference cycles, which Python frees late and by number of objects,
# not by size. Once this much has been filled with weights, making a model looks for dropped ones.
_COLLECT_AFTER = 64 << 20
_filled_bytes = 0


def collect_dropped_models() -> None:
    """Free models no longer in use if many weights were made since the last call."""
    global _filled_bytes
    if _filled_bytes > _COLLECT_AFTER:
        _filled_bytes = 0
        gc.collect()


class Variable:
    """A weight of a layer.

    The values are made on first use, so a model whose weights are loaded from a file never
    draws its random start values.

    Args:
        shape: tuple of sizes, all known.
        initializer: function from a shape to an array of that shape.
        name: last part of the path, for example "kernel".
        path: layer names and `name` joined by "/".
        trainable: whether training may change it.
        dtype: "float32", or an integer type for counters that never enter a computation.
        regularizer: penalty on the values, or None.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        initializer: Callable[..., Any],
        name: str = "variable",
        path: str | None = None,
        trainable: bool = True,
        dtype: str = "float32",
        regularizer: Any = None,
    ) -> None:
        path = path or name
        shape = tuple(shape)
        if any(size is None for size in shape):
            raise ValueError(
                "Shapes used to initialize variables must be fully-defined (no `None` "
                f"dimensions). Received: shape={shape} for variable path='{path}'. Give the "
                "model an input shape with known sizes, at least on the last axis"
            )
        self.name = name
        self.path = path
        self.shape: tuple[int, ...] = tuple(int(size) for size in shape)
        self.dtype = dtype
        self.trainable: bool = bool(trainable)
        self.regularizer = regularizer
        self._initializer = initializer
        self._held: Any = None  # _core.Variable, or an array for integers

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        size = 1
        for dim in self.shape:
            size *= dim
        return size

    @property
    def nbytes(self) -> int:
        """The memory of the values in bytes."""
        return self.size * np.dtype(self.dtype).itemsize

    def _initial(self) -> np.ndarray:
        values = np.asarray(self._initializer(self.shape), dtype=self.dtype)
        if values.shape != self.shape:
            raise ValueError(
                f"The initializer of {self.path} returned an array of shape {values.shape}; "
                f"the variable has shape {self.shape}"
            )
        return values

    def _hold(self, values: np.ndarray) -> None:
        """Keep values: float32 ones in the core, without a second copy here."""
        global _filled_bytes
        if self._held is None:
            _filled_bytes += self.nbytes
        if self.dtype != "float32":
            self._held = values.copy()
            return
        from tlfast import _core

        held = _core.Variable(self.shape) if self._held is None else self._held
        held.assign(np.asarray(values, order="C"))
        self._held = held

    def _read(self) -> Any:
        with _lock:
            if self._held is None:
                self._hold(self._initial())
            return self._held

    @property
    def has_values(self) -> bool:
        """Whether values were made or assigned; until then none are in memory."""
        return self._held is not None

    def adopt(self, made: Any) -> None:
        """Replace the values by those of a core variable, without a copy if there are none yet.

        Args:
            made: `_core.Variable` of the same shape, which belongs to this variable from now on.
        """
        global _filled_bytes
        with _lock:
            if self._held is not None:
                self._hold(made.numpy())
                return
            _filled_bytes += self.nbytes
            self._held = made

    @property
    def core(self) -> Any:
        """The `_core.Variable` that computations read and write."""
        if self.dtype != "float32":
            raise TypeError(
                f"{self.path} is of type {self.dtype} and takes no part in "
                "computations; only float32 variables do"
            )
        return self._read()

    def numpy(self) -> np.ndarray:
        """Return a copy of the values."""
        held = self._read()
        return held.numpy() if self.dtype == "float32" else held.copy()

    def assign(self, value: Any) -> "Variable":
        """Replace the values.

        Args:
            value: array of the variable's shape.

        Returns:
            The variable itself.

        Raises:
            ValueError: if the shape differs.
        """
        if isinstance(value, Variable):
            value = value.numpy()
        array = np.asarray(value, dtype=self.dtype)
        if array.shape != self.shape:
            raise ValueError(
                f"{self.path} has shape {self.shape}; cannot assign an array of shape {array.shape}"
            )
        with _lock:
            self._hold(array)
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self.numpy()
        return values if dtype is None else values.astype(dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (
            self.shape,
            self.numpy(),
            self.name,
            self.path,
            self.trainable,
            self.dtype,
            self.regularizer,
        )

    def __repr__(self) -> str:
        return (
            f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}, "
            f"trainable={self.trainable}>"
        )


def _rebuild(shape: tuple[Any, ...], values: np.ndarray, *attributes: Any) -> Variable:
    """Return the variable of a pickle."""
    return Variable(shape, np.zeros, *attributes).assign(values)
