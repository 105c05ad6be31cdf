"""The arrays that datasets yield: ndarrays that also answer `.numpy()`, as tensors do."""

from typing import Any

import numpy as np


class BatchArray(np.ndarray):
    """An ndarray with the method `numpy()`; items taken out of it have it too.

    Example:
        >>> labels = batch_array([3, 1])
        >>> int(labels[0].numpy())
        3
    """

    def numpy(self) -> np.ndarray:
        """The same data as a plain ndarray, or as a NumPy scalar for a single number."""
        plain = self.view(np.ndarray)
        return plain[()] if plain.ndim == 0 else plain

    def __getitem__(self, key: Any) -> "BatchArray":
        item = super().__getitem__(key)
        # Indexing a number out of an array gives a NumPy scalar, which has no `.numpy()`.
        if isinstance(item, np.ndarray):
            return item  # type: ignore[return-value] # NumPy keeps the class
        return np.asarray(item).view(BatchArray)

    def __hash__(self) -> int:  # type: ignore[override] # arrays have none
        """That of the number, for single numbers: labels serve as keys and go into sets."""
        if self.ndim:
            raise TypeError(f"an array of shape {self.shape} is not hashable; single numbers are")
        return hash(self.item())


def batch_array(value: Any) -> BatchArray:
    """`value` as a BatchArray; an array is shared, not copied."""
    return np.asarray(value).view(BatchArray)
