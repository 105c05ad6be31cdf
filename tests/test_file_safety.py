"""Mutated and hostile files: one kind of error, in bounded time and memory."""

import json
import resource
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_torch_file import GOOD as TORCH

from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import Dataset, File, Group
from tlfast.saving.source import Source
from tlfast.weights.torch_file import read_torch_file

FILES = Path(__file__).parent / "files"
MUTANTS = 1000
SECONDS = 5.0  # of one file; the slowest mutant seen here took 0.1 s
MEMORY = 1 << 30  # bytes the address space may grow by while a mutant is read
INTERESTING = [0, 1, 7, 8, 16, 127, 128, 255]


@pytest.fixture(autouse=True)
def bounded_memory():
    """An allocation of more than MEMORY raises MemoryError, which no test accepts."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


def mutants(data: bytes, rng: np.random.Generator, count: int, first: int = 0):
    """Yield `count` damaged copies: bytes, words, cut, moved, repeated, zeroed."""
    words = [0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(data), len(data) - 8]
    for number in range(count):
        made = bytearray(data)
        for _ in range(int(rng.integers(1, 9))):
            at = int(rng.integers(first, len(made)))
            kind = number % 6
            if kind == 0:
                made[at] = int(rng.integers(0, 256))
            elif kind == 1:
                made[at] = INTERESTING[int(rng.integers(len(INTERESTING)))]
            elif kind == 2:
                word = words[int(rng.integers(len(words)))]
                size = (2, 4, 8)[int(rng.integers(3))]
                made[at : at + size] = (word % (1 << 8 * size)).to_bytes(size, "little")
            elif kind == 3:
                source = int(rng.integers(first, len(made)))
                size = int(rng.integers(1, 65))
                made[at : at + size] = made[source : source + size]
            elif kind == 4:
                made[at : at + 16] = bytes(16)
            elif len(made) > 200:
                del made[at : at + int(rng.integers(1, 64))]
        yield bytes(made)


def timed(action) -> bool:
    """Run one reader; return whether it raised FormatError. Anything else fails the test."""
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            action()
        return False
    except FormatError:
        return True
    finally:
        assert time.monotonic() - start < SECONDS


def read_everything(group: Group, left: int = 12) -> None:
    for name in group.attrs:
        group.attrs.get(name)
    for name in group.keys():
        found = group.get(name)
        if isinstance(found, Dataset):
            assert found.read().shape == found.shape
            for attribute in found.attrs:
                found.attrs.get(attribute)
        elif found is not None and left:
            read_everything(found, left - 1)


@pytest.mark.parametrize("name", ["keras3_legacy.h5", "keras3.weights.h5"])
def test_hdf5_mutants(name, rng):
    data = (FILES / name).read_bytes()
    # Half of the mutants are damaged where the metadata is dense.
    refused = 0
    for part in (data, data[:20_000]):
        for made in mutants(part, rng, MUTANTS // 2):
            made = made + data[len(part) :]

            def read(made: bytes = made) -> None:
                with File(made, "mutant") as file:
                    read_everything(file.root)

            refused += timed(read)
    assert refused > MUTANTS // 10


def test_hdf5_chunked_mutants(rng, tmp_path):
    import h5py

    path = tmp_path / "chunked.h5"
    with h5py.File(path, "w") as f:
        data = np.arange(3000, dtype="f4").reshape(30, 100)
        f.create_dataset("a", data=data, chunks=(7, 30), compression=4, shuffle=True)
        f.create_dataset("b", data=data, chunks=(10, 100), fletcher32=True)
        for i in range(20):
            f.attrs[f"name{i}"] = ["x" * i, "y"]
    refused = 0
    for made in mutants(path.read_bytes(), rng, MUTANTS):

        def read(made: bytes = made) -> None:
            with File(made, "mutant") as file:
                read_everything(file.root)

        refused += timed(read)
    assert refused > MUTANTS // 10


def test_torch_mutants(rng):
    refused = sum(
        timed(lambda made=made: read_torch_file(Source("mutant", data=made)))
        for made in mutants(TORCH, rng, MUTANTS)
    )
    assert refused > MUTANTS // 2
