"""The few names outside Keras that transfer-learning notebooks take from `tf`, on NumPy.

`import tlfast as tf` finds them through `lookup`. They take arrays and give arrays that also
answer `.numpy()`.
"""

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tlfast._recipe._maps import Traced
from tlfast._tensor import KerasTensor
from tlfast.data.batch import BatchArray, batch_array

_DTYPES = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}


def argmax(input: Any, axis: int | None = None, output_type: Any = np.int64) -> BatchArray:
    """Index of the largest value along `axis`; without one, along the first axis, as tf.argmax."""
    return batch_array(np.argmax(input, axis=0 if axis is None else axis).astype(output_type))


def expand_dims(input: Any, axis: int) -> BatchArray:
    """`input` with a new axis of length 1."""
    return batch_array(np.expand_dims(input, axis))


def squeeze(input: Any, axis: Any = None) -> BatchArray:
    """`input` without its axes of length 1."""
    return batch_array(np.squeeze(input, axis))


def cast(x: Any, dtype: Any) -> Any:
    """`x` in another type, such as tf.float32 or "float32"; fractions are cut off for integers.

    The tensors of a model are float32 and stay as they are.
    """
    if isinstance(x, KerasTensor) and np.dtype(dtype) == np.float32:
        return x
    if isinstance(x, Traced):
        return x.astype(dtype)
    return batch_array(np.asarray(x).astype(dtype))


def convert_to_tensor(value: Any, dtype: Any = None) -> BatchArray:
    """`value` as an array; Python numbers become float32 or int32."""
    from tlfast.data._structure import as_leaf

    return batch_array(as_leaf(value) if dtype is None else np.asarray(value, dtype))


def where(condition: Any, x: Any = None, y: Any = None) -> BatchArray:
    """`x` where `condition` holds, else `y`; without both, the places where it holds, as rows."""
    if (x is None) != (y is None):
        raise ValueError("where needs both x and y, or neither")
    if x is None:
        return batch_array(np.argwhere(condition))
    x, y = convert_to_tensor(x), convert_to_tensor(y)
    return batch_array(np.where(condition, x, y))


def reduce_mean(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> BatchArray:
    """Mean along `axis` (all axes without one), in the type of the input."""
    x = convert_to_tensor(input_tensor)
    return batch_array(np.asarray(np.mean(x, axis=axis, keepdims=keepdims)).astype(x.dtype))


def reduce_sum(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> BatchArray:
    """Sum along `axis` (all axes without one), in the type of the input."""
    x = convert_to_tensor(input_tensor)
    return batch_array(np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def reduce_max(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> BatchArray:
    """Largest value along `axis` (of all without one)."""
    return batch_array(np.max(convert_to_tensor(input_tensor), axis=axis, keepdims=keepdims))


def softmax(logits: Any, axis: int = -1) -> BatchArray:
    """exp(x) / sum(exp(x)) along `axis`."""
    x = _floating(logits, "softmax")
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return batch_array(e / e.sum(axis=axis, keepdims=True))


def sigmoid(x: Any) -> BatchArray:
    """1 / (1 + exp(-x)), without overflow."""
    x = _floating(x, "sigmoid")
    e = np.exp(-np.abs(x))
    return batch_array(np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype))


def _floating(x: Any, name: str) -> np.ndarray:
    x = np.asarray(convert_to_tensor(x))
    if x.dtype.kind != "f":
        raise TypeError(f"{name} needs floating-point numbers, got {x.dtype}; use tf.cast")
    return x


def _set_seed(seed: int) -> None:
    """Fix the order of later `shuffle` steps without a seed; set_random_seed fixes everything."""
    from tlfast.data._random import set_global_seed

    set_global_seed(int(seed))


class PhysicalDevice(NamedTuple):
    """A device, as tf.config names it."""

    name: str
    device_type: str


def _list_physical_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """The CPU; an empty list for any other type, since tlfast computes on CPUs only."""
    if device_type in (None, "CPU"):
        return [PhysicalDevice("/physical_device:CPU:0", "CPU")]
    return []


class Namespace:
    """A few functions under a name such as tf.nn."""

    def __init__(self, name: str, **members: Any) -> None:
        self.__dict__.update(members)
        self._name, self._members = name, members
        self.__name__ = f"tlfast.{name}"

    def __dir__(self) -> list[str]:
        return list(self._members)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(_sentence(f"{self._name}.{name}", name, list(self._members)))


_NAMES: dict[str, Any] = {
    "argmax": argmax,
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "cast": cast,
    "convert_to_tensor": convert_to_tensor,
    "constant": convert_to_tensor,
    "where": where,
    "reduce_mean": reduce_mean,
    "reduce_sum": reduce_sum,
    "reduce_max": reduce_max,
    "newaxis": None,
    "sigmoid": sigmoid,
    "nn": Namespace("nn", softmax=softmax, sigmoid=sigmoid),
    "random": Namespace("random", set_seed=_set_seed),
    "config": Namespace("config", list_physical_devices=_list_physical_devices),
    **_DTYPES,
}


def lookup(name: str, others: Iterable[str] = ()) -> Any:
    """The object that `tf.<name>` stands for; `others` are further names worth suggesting.

    Raises:
        AttributeError: for a name that is not there, with a sentence that says so.
    """
    if name in _NAMES:
        return _NAMES[name]
    raise AttributeError(_sentence(name, name, [*_NAMES, *others]))


def _sentence(shown: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"tlfast has no {shown!r}: it covers Keras and the few TensorFlow names that fine-tuning "
        f"scripts use.{hint} For anything else, NumPy works on its arrays."
    )
