"""The weights that a training began with, found again by their hashes."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tlfast._recipe import _hashes
from tlfast._recipe._errors import CannotReproduce
from tlfast.saving import archive
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import SIGNATURE, Dataset, File, Group
from tlfast.saving.source import open_source


class Starts:
    """Where start values come from: seeds, pretrained files, files given by the user.

    Args:
        paths: model and weight files given with --start.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)

    def give(self, model: Any, start: dict[str, Any], number: int) -> None:
        """Set all weights of a model to the recorded start values.

        Args:
            model: the model, whose weights stay where they have the right hash already.
            start: the entry "start" of a fit.
            number: number of the fit, from 1.

        Raises:
            CannotReproduce: some are nowhere.
        """
        variables = model.weights
        raw = _hashes.from_text(start["weights"], np.uint8).tobytes()
        wanted = [raw[at : at + _hashes.SHORT] for at in range(0, len(raw), _hashes.SHORT)]
        if len(wanted) != len(variables) or len(start["seeds"]) != len(variables):
            raise CannotReproduce(
                f"recipe.fits[{number - 1}].start is of a model with {len(wanted)} variables; this "
                f"one has {len(variables)}"
            )
        missing: dict[bytes, list[Any]] = {}
        for variable, key, seed in zip(variables, wanted, start["seeds"], strict=True):
            if _hashes.variable_hash(variable) == key:
                continue
            values = _initial(variable, seed)
            if _hashes.short(_hashes.array_bytes(values)) == key:
                variable.assign(values)
            else:
                missing.setdefault(key, []).append(variable)
        if missing:
            self._search(missing, start["files"])
        if missing:
            left = [variable.path for group in missing.values() for variable in group]
            raise CannotReproduce(_not_found(left, number))

    def _search(self, missing: dict[bytes, list[Any]], names: Sequence[str]) -> None:
        """Assign what is found in files, and take it out of `missing`."""
        paths = [*self._paths, *(path for name in names for path in _pretrained(name))]
        for array in (array for path in paths for array in arrays_of(path)):
            for variable in missing.pop(_hashes.short(_hashes.array_bytes(array)), []):
                variable.assign(array.reshape(variable.shape))
            if not missing:
                return


def _not_found(paths: list[str], number: int) -> str:
    some = ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")
    return (
        f"fit {number}: the start values of {len(paths)} variables ({some}) are neither what their "
        "initializers draw from the recorded seeds nor in a pretrained file here. If they were "
        "loaded from a model or weight file, name it with --start FILE"
    )


def _initial(variable: Any, seed: int | None) -> np.ndarray:
    """What a variable's initializer gives with a seed."""
    if seed is not None and hasattr(variable._initializer, "seed"):
        variable._initializer.seed = seed
    values: np.ndarray = variable._initial()
    return values


def _pretrained(name: str) -> list[str]:
    """Copies of a file of the catalogue on this machine; other names are not looked for."""
    from tlfast.weights.catalog import every_file
    from tlfast.weights.locate import copies

    files = [file for file in every_file() if file.name == name]
    return [os.fspath(path) for file in files for _, path in copies(file)]


def arrays_of(path: str) -> Iterator[np.ndarray]:
    """All arrays in a model or weight file, in every layout that a layer may have made of them.

    Args:
        path: a `.keras` or HDF5 file, or a file of PyTorch weights in its older form.

    Raises:
        FormatError: none of these, or damaged.
    """
    with open_source(path) as source:
        head = source.head
        if head.startswith(archive.SIGNATURE):
            members = archive.read_archive(source)
            with File(members[archive.WEIGHTS], f"{path}: {archive.WEIGHTS}") as file:
                yield from _datasets(file.root)
            return
        if head == SIGNATURE:
            with File(source) as file:
                yield from _datasets(file.root)
            return
    if head[:4] != b"\x80\x02\x8a\x0a":
        raise FormatError(f"{path}: not a model or weight file (it starts with {head!r})")
    from tlfast.weights.torch_file import read_torch_file

    for array in read_torch_file(path).values():
        yield array
        if array.ndim == 4:
            yield array.transpose(2, 3, 1, 0)
            yield array.transpose(2, 3, 0, 1)
        if array.ndim == 2:
            yield array.T


def _datasets(group: Group) -> Iterator[np.ndarray]:
    for name in group.keys():
        found = group.get(name)
        if isinstance(found, Group):
            yield from _datasets(found)
        elif isinstance(found, Dataset):
            yield found.read()
