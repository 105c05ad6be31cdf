"""Which dataset goes into which variable: decided and checked first, then done as a whole."""

import warnings
from typing import Any

import numpy as np

from tlfast._shown import shown
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import Dataset


class Plan:
    """Assignments of stored arrays to variables.

    Args:
        where: text that names the file in error messages.
        skip_mismatch: leave out what does not fit, with one warning, instead of raising.
    """

    def __init__(self, where: str, skip_mismatch: bool = False) -> None:
        self.where = where
        self.skip_mismatch = skip_mismatch
        self.problems: list[tuple[str, str]] = []
        self._pairs: list[tuple[Any, Dataset]] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, owner: str, variables: list[Any], datasets: list[Dataset]) -> None:
        """Pair the variables of one layer with datasets; all or none.

        Args:
            owner: name of the layer, for messages.
            variables: objects with `shape`, `path` and `assign`.
            datasets: as many datasets, of the same shapes.
        """
        if len(variables) != len(datasets):
            names = [variable.path for variable in variables]
            self.problem(
                owner,
                f"Layer '{owner}' expected {len(variables)} variables {names}, but the file has "
                f"{len(datasets)}",
            )
            return
        for variable, dataset in zip(variables, datasets, strict=True):
            if tuple(variable.shape) != dataset.shape:
                self.problem(
                    owner,
                    f"Layer '{owner}': {variable.path} has shape {tuple(variable.shape)}, but the "
                    f"file has {dataset.shape} at {dataset.path!r}",
                )
                return
            if _is_integer(variable.dtype) != _is_integer(dataset.dtype):
                # Numbers of a quantized model, or of another variable.
                self.problem(
                    owner,
                    f"Layer '{owner}': {variable.path} is of type {variable.dtype}, but the file "
                    f"has {dataset.dtype} at {dataset.path!r}",
                )
                return
        self._pairs += zip(variables, datasets, strict=True)

    def problem(self, owner: str, text: str) -> None:
        """Note that a layer cannot be loaded."""
        self.problems.append((owner, text))

    def apply(self) -> None:
        """Read every array, then assign all; nothing is assigned when one cannot be read.

        Raises:
            FormatError: there are problems and they are not to be skipped, or damaged data.
        """
        if self.problems:
            names = [owner for owner, _ in self.problems]
            listed = ", ".join(map(repr, names[:5]))
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            text = (
                f"{self.where}: a total of {len(names)} objects could not be loaded: {listed}"
                f"{more}. The first: {self.problems[0][1]}"
            )
            if not self.skip_mismatch:
                raise FormatError(
                    f"{text}. No weight was changed. Was the file made by another network, or "
                    "with another number of classes? load_weights(path, skip_mismatch=True) loads "
                    "what fits"
                )
            warnings.warn(shown(text, 2000) + ". They keep their values", stacklevel=4)
        arrays = [dataset.read(tuple(variable.shape)) for variable, dataset in self._pairs]
        for (variable, _), array in zip(self._pairs, arrays, strict=True):
            variable.assign(array)


def _is_integer(dtype: str | np.dtype) -> bool:
    return np.dtype(dtype).kind in "iu"
