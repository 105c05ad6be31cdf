"""Which dataset goes into which variable: decided and checked first, then done as a whole."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tlfast._shown import shown
from tlfast._warnings import user_level
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import Dataset

_SHOWN = 5  # layers told of in full, and further ones by name
_LARGE = 16 << 20


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
            variables: `tlfast._variable.Variable` objects.
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
            if is_integer(variable.dtype) != is_integer(dataset.dtype):
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
            first = "; ".join(text for _, text in self.problems[:_SHOWN])
            others = [owner for owner, _ in self.problems[_SHOWN:]]
            more = f"; and {len(others)} more: {', '.join(others[:_SHOWN])}" if others else ""
            count = len(self.problems)
            text = f"{self.where}: a total of {count} objects could not be loaded: {first}{more}"
            if not self.skip_mismatch:
                raise FormatError(
                    f"{text}. No weight was changed. Was the file made by another network, or "
                    "with another number of classes? load_weights(path, skip_mismatch=True) loads "
                    "what fits"
                )
            said = shown(text, 2000) + ". They keep their values"
            warnings.warn(said, stacklevel=user_level())
        values = _read_all(self._pairs)
        for (variable, _), value in zip(self._pairs, values, strict=True):
            if isinstance(value, np.ndarray):
                variable.assign(value)
            else:
                variable.adopt(value)


def _read_all(pairs: list[tuple[Any, Dataset]]) -> list[Any]:
    """The values for all variables; of large files a second thread reads every other array.

    Most of the time goes to the system, which clears fresh memory and copies into it.
    """
    if sum(variable.nbytes for variable, _ in pairs) < _LARGE:
        return [_read(variable, dataset) for variable, dataset in pairs]
    values: list[Any] = [None] * len(pairs)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: [_read(*pair) for pair in pairs[1::2]])
        values[::2] = [_read(*pair) for pair in pairs[::2]]
        values[1::2] = other.result()
    return values


def _read(variable: Any, dataset: Dataset) -> Any:
    """An array, or a `_core.Variable` for a variable that has no values yet."""
    shape = tuple(variable.shape)
    if variable.dtype == "float32" and not variable.has_values:
        return dataset.read_variable(shape)
    return dataset.read(shape)


def is_integer(dtype: str | np.dtype) -> bool:
    """Whether these are numbers of something counted, and no weights."""
    return np.dtype(dtype).kind in "iu"
