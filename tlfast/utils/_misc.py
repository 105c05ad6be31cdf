"""Small helpers of keras.utils: labels, seeds."""

import random
from typing import Any

import numpy as np

from tlfast._arguments import checked_arguments
from tlfast.data._random import set_global_seed


@checked_arguments
def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers as one-hot rows.

    Args:
        x: integers from 0 to num_classes - 1, any shape; a last axis of 1 is dropped.
        num_classes: number of columns; None: largest number + 1.

    Returns:
        float64 array with a new last axis, as in Keras.

    Raises:
        ValueError: if a number lies outside 0 to num_classes - 1.

    Example:
        >>> to_categorical([0, 2]).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    numbers = np.array(x, dtype=np.int64)
    shape = numbers.shape
    if len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    numbers = numbers.reshape(-1)
    if not num_classes:
        num_classes = int(numbers.max()) + 1 if numbers.size else 0
    outside = numbers[(numbers < 0) | (numbers >= num_classes)]
    if outside.size:
        raise ValueError(
            f"to_categorical: class number {outside[0]} lies outside 0 to {num_classes - 1} "
            f"(num_classes={num_classes})"
        )
    rows = np.zeros((numbers.size, num_classes))
    rows[np.arange(numbers.size), numbers] = 1
    return rows.reshape(*shape, num_classes)


@checked_arguments
def set_random_seed(seed: int) -> None:
    """Seed Python's `random`, NumPy and the dataset operations, so that a script repeats itself.

    Args:
        seed: integer from 0 to 2**32 - 1.
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise ValueError(f"set_random_seed needs an integer, got {seed!r}")
    seed = seed.__index__()
    if not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed needs a number from 0 to 2**32 - 1, got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    set_global_seed(seed)


@checked_arguments
def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """`x` divided by its norm of the given order along `axis`; zero rows stay zero."""
    x = np.asarray(x)
    norm = np.atleast_1d(np.linalg.norm(x, order, axis))
    norm[norm == 0] = 1
    return x / np.expand_dims(norm, axis)
