"""What all metrics share: state variables, running means, configuration."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tlfast import _naming, _registry
from tlfast._arguments import CheckedInit
from tlfast._loss_functions import same_rank


class MetricVariable(NDArrayOperatorsMixin):
    """Numbers a metric accumulates, in double precision; usable like an array.

    Args:
        shape: shape of the numbers; they start at zero.
        name: name, for messages.
    """

    def __init__(self, shape: tuple[int, ...], name: str) -> None:
        self._value = np.zeros(shape)
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the numbers."""
        return self._value.shape

    def numpy(self) -> np.ndarray:
        """Return a copy of the numbers."""
        return self._value.copy()

    def assign(self, value: object) -> "MetricVariable":
        """Replace the numbers."""
        self._value = np.array(np.broadcast_to(np.asarray(value, np.float64), self.shape))
        return self

    def assign_add(self, value: object) -> "MetricVariable":
        """Add to the numbers."""
        return self.assign(self._value + np.asarray(value, np.float64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._value, dtype=dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        arrays = [x._value if isinstance(x, MetricVariable) else x for x in inputs]
        return getattr(ufunc, method)(*arrays, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self._value[key]

    def __float__(self) -> float:
        return float(self._value)

    def __repr__(self) -> str:
        return f"<MetricVariable {self.name} {self._value!r}>"


class Number(float):
    """A metric's result: a float that also answers `.numpy()`."""

    def numpy(self) -> np.float32:
        """Return the number in single precision."""
        return np.float32(self)


class Numbers(np.ndarray):
    """A metric's result with one number per class or threshold."""

    def numpy(self) -> np.ndarray:
        """Return the numbers as a plain array in single precision."""
        return np.array(self, dtype=np.float32)


def as_result(value: object) -> Any:
    """Wrap what `result` computed."""
    array = np.asarray(value, dtype=np.float64)
    return Number(array) if array.ndim == 0 else array.view(Numbers)


def divide(a: object, b: object) -> np.ndarray:
    """Return a / b, 0 where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.zeros(a.shape), where=b != 0)


class Metric(CheckedInit):
    """Base class: `update_state(y_true, y_pred, sample_weight)`, `result()`, `reset_state()`.

    Args:
        dtype: only None or "float32" (kept in the configuration; sums run in double precision).
        name: name in logs; the class name in snake case by default.

    Raises:
        ValueError: an unknown type.
    """

    _direction: str | None = None

    def __init__(self, dtype: str | None = None, name: str | None = None) -> None:
        if dtype not in (None, "float32"):
            raise ValueError(f"Metrics are float32. Received: dtype={dtype!r}")
        self.name: str = name or _naming.auto_name(type(self).__name__)
        self.dtype = "float32"
        self._variables: list[MetricVariable] = []

    def add_variable(
        self,
        shape: tuple[int, ...] = (),
        initializer: str | None = None,
        dtype: str | None = None,
        name: str | None = None,
    ) -> MetricVariable:
        """Make a state variable that `reset_state` sets to zero.

        Args:
            shape: shape of the numbers.
            initializer: None or "zeros".
            dtype: None or "float32".
            name: name, for messages.

        Raises:
            ValueError: another initializer or type.
        """
        kind = initializer if isinstance(initializer, str) else type(initializer).__name__
        if initializer is not None and kind.lower() != "zeros":
            raise ValueError(f"Metric variables start at zero. Received: {initializer!r}")
        if dtype not in (None, "float32"):
            raise ValueError(f"Metrics are float32. Received: dtype={dtype!r}")
        variable = MetricVariable(tuple(shape), name or "variable")
        self._variables.append(variable)
        return variable

    def add_weight(
        self,
        shape: tuple[int, ...] = (),
        initializer: str | None = None,
        dtype: str | None = None,
        name: str | None = None,
    ) -> MetricVariable:
        """The older name of `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name)

    @property
    def variables(self) -> list[MetricVariable]:
        """The state variables, in the order they were made."""
        return list(self._variables)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take a batch into account."""
        raise NotImplementedError(f"{type(self).__name__} must define `update_state`.")

    def result(self) -> float | np.ndarray | dict[str, Any]:
        """Return the value over everything seen since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} must define `result`.")

    def reset_state(self) -> None:
        """Forget everything seen."""
        for variable in self._variables:
            variable.assign(0.0)

    def __call__(self, *args: Any, **kwargs: Any) -> float | np.ndarray | dict[str, Any]:
        """Update, then return the result."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Metric":
        """Make a metric from `get_config()`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def samplewise(
    values: Any, sample_weight: Any, reduce: Callable[..., Any]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reduce values to one per sample and multiply by the weights.

    The order of the steps is that of Keras' `reduce_to_samplewise_values`, which decides what
    weights of a lower rank than the values mean.
    """
    values, weights = np.asarray(values, dtype=np.float64), None
    if sample_weight is not None:
        values, weights = same_rank(values, np.asarray(sample_weight, dtype=np.float64))
        if values.ndim > weights.ndim:
            values = reduce(values, axis=tuple(range(weights.ndim, values.ndim)))
        weights = np.broadcast_to(weights, values.shape)
        values = values * weights
        if weights.ndim > 1:
            weights = reduce(weights, axis=tuple(range(1, weights.ndim)))
    if values.ndim > 1:
        values = reduce(values, axis=tuple(range(1, values.ndim)))
    return values, weights


class Sum(Metric):
    """Sum of the values.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "sum", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total: Any = self.add_variable(name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values, each times its weight."""
        self.total.assign_add(samplewise(values, sample_weight, np.sum)[0].sum())

    def result(self) -> Number:
        """Return the sum."""
        return as_result(self.total)


class Mean(Metric):
    """Weighted mean of the values.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "mean", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total: Any = self.add_variable(name="total")
        self.count: Any = self.add_variable(name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Take values into the mean.

        Args:
            values: a number, or an array whose first axis is the sample.
            sample_weight: weight of each sample, 1 by default.
        """
        values, weights = samplewise(values, sample_weight, np.mean)
        self.total.assign_add(values.sum())
        if weights is not None:
            self.count.assign_add(weights.sum())
        else:
            self.count.assign_add(values.shape[0] if values.ndim else 1)

    def result(self) -> Number:
        """Return the mean, 0 before the first value."""
        return as_result(divide(self.total, self.count))


class MeanMetricWrapper(Mean):
    """Mean of a function of labels and outputs.

    Args:
        fn: `fn(y_true, y_pred, **kwargs)`, one number per sample.
        name, dtype: see `Metric`.
        **kwargs: further arguments of `fn`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        shown: Any = name or getattr(fn, "__name__", None)
        super().__init__(shown, dtype)
        self._fn = fn
        self._fn_kwargs = kwargs

    def update_state(  # type: ignore[override] # as in Keras, from values to pairs
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Take a batch into account."""
        super().update_state(self._fn(y_true, y_pred, **self._fn_kwargs), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        stored = {"fn": _registry.serialize(self._fn, "keras.metrics")}
        return {**super().get_config(), **stored, **self._fn_kwargs}


class FunctionMetric(MeanMetricWrapper):
    """A metric class around a function of this package: stores its own arguments only."""

    _options: tuple[str, ...] = ()

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        dtype: str | None,
        direction: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fn, name, dtype, **kwargs)
        self._direction = direction
        for key in self._options:
            setattr(self, key, kwargs[key])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        options = {key: getattr(self, key) for key in self._options}
        return {"name": self.name, "dtype": self.dtype, **options}
