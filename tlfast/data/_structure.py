"""Elements of datasets are arrays in nested tuples and dicts; the few helpers to walk them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

# Python numbers become 32-bit, as tensors do; arrays keep their type.
_NARROW = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}


def as_leaf(value: Any) -> np.ndarray:
    """`value` as an array: arrays unchanged, Python numbers and lists in 32 bits."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    array = np.asarray(value)
    return array.astype(_NARROW.get(array.dtype, array.dtype), copy=False)


def map_leaves(function: Callable[..., Any], value: Any) -> Any:
    """Apply `function` to every leaf, keeping tuples and dicts."""
    if isinstance(value, tuple):
        return tuple(map_leaves(function, item) for item in value)
    if isinstance(value, dict):
        return {key: map_leaves(function, item) for key, item in value.items()}
    return function(value)


def leaves(value: Any) -> list[Any]:
    """All leaves, in order."""
    found: list[Any] = []
    map_leaves(found.append, value)
    return found


def zip_leaves(function: Callable[[list[Any]], Any], values: Iterable[Any]) -> Any:
    """Combine equal structures leaf by leaf: `function` gets the list of one leaf of each."""
    values = list(values)
    first = values[0]
    if isinstance(first, tuple):
        return tuple(zip_leaves(function, [v[i] for v in values]) for i in range(len(first)))
    if isinstance(first, dict):
        return {key: zip_leaves(function, [v[key] for v in values]) for key in first}
    return function(values)
