"""Rows of arrays: counting them, splitting them, taking (x, y, weights) apart."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def unpacked(data: Any) -> tuple[Any, Any, Any]:
    """Return (x, y, weights) of a tuple or list of that form, (data, None, None) otherwise."""
    if isinstance(data, (tuple, list)):
        if not 1 <= len(data) <= 3:
            raise ValueError(
                "`validation_data` must be (x,), (x, y), (x, y, sample_weight) or a dataset, got "
                f"{len(data)} elements."
            )
        return (*data, *([None] * (3 - len(data))))
    return data, None, None


def row_count(x: Any) -> int:
    """Return the number of rows of an array, or of the first of several."""
    first = next(iter(x.values())) if isinstance(x, Mapping) else x
    if isinstance(first, (list, tuple)) and first and hasattr(first[0], "shape"):
        first = first[0]
    return len(first)


def split_rows(
    arrays: tuple[Any, ...], validation_split: float
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split rows into (all but the last ones, the last ones).

    Args:
        arrays: (x, y, weights); each an array, None, or a list or dictionary of arrays.
        validation_split: share of the second part, between 0 and 1.

    Raises:
        ValueError: not arrays, a share out of range, or an empty part.
    """
    if not 0 <= validation_split < 1:
        raise ValueError(f"`validation_split` must be from 0 to below 1, got {validation_split!r}.")
    flat = _leaves(arrays)
    wrong = [type(a) for a in flat if not isinstance(a, (np.ndarray, list, tuple))]
    if wrong or not flat:
        raise ValueError(
            "Argument `validation_split` is only supported for tensors or NumPy arrays. Found "
            f"incompatible type in the input: {wrong}. For folders of images split when reading "
            "them: image_dataset_from_directory(..., validation_split=, subset=), or "
            "ImageDataGenerator(validation_split=)."
        )
    rows = len(flat[0])
    split_at = math.floor(rows * (1.0 - validation_split))
    if split_at in (0, rows):
        raise ValueError(
            f"Training data contains {rows} samples, which is not sufficient to split it into a "
            f"validation and training set as specified by `validation_split={validation_split}`. "
            "Either provide more data, or a different value for the `validation_split` argument."
        )
    return _map(arrays, lambda a: a[:split_at]), _map(arrays, lambda a: a[split_at:])


def _is_group(value: Any) -> bool:
    """Say whether this is several arrays, rather than one given as a list of numbers."""
    if not isinstance(value, (list, tuple)):
        return False
    return any(one is None or isinstance(one, Mapping) or hasattr(one, "shape") for one in value)


def _leaves(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [leaf for one in value.values() for leaf in _leaves(one)]
    if _is_group(value):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]


def _map(value: Any, function: Callable[..., Any]) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _map(one, function) for key, one in value.items()}
    if _is_group(value):
        return tuple(_map(one, function) for one in value)
    return function(value)
