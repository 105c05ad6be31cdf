"""Types of the compiled core; `python tests/run_matrix.py types` compares both.

A value of a graph is its number, in the order in which the nodes were added.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self, TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats: TypeAlias = NDArray[np.float32]
_Image: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str]
# What the slots hold and whether the weight decays, L1, L2 and, where it has one, its own rate.
_Update: TypeAlias = (
    tuple[Variable, tuple[Variable | None, ...], bool, float, float]
    | tuple[Variable, tuple[Variable | None, ...], bool, float, float, float]
)

class DecodeError(ValueError): ...

class _OnednnInfo(TypedDict):
    version: tuple[int, int, int]
    hash: str
    cpu_runtime: int
    isa: int

def load(path: str | bytes | os.PathLike[str], /) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def cpu_count() -> int: ...
def memory_available() -> int: ...
def trim_memory() -> None: ...
def onednn_info() -> _OnednnInfo: ...
def winograd() -> bool: ...
def has_bfloat16() -> bool: ...
def set_winograd(allowed: object, /) -> None: ...
def decode_image(
    data_or_path: _Image,
    /,
    *,
    channels: int = 3,
    pipeline: str = "keras",
    max_pixels: int = 178956970,
) -> NDArray[np.uint8]: ...
def image_info(
    data_or_path: _Image, /, *, max_pixels: int = 178956970
) -> tuple[str, int, int, int]: ...
def resize_image(
    array: ArrayLike,
    /,
    height: int,
    width: int,
    interpolation: str = "bilinear",
    pipeline: str = "keras",
    fit: str = "stretch",
) -> _Floats: ...
@final
class Variable:
    def __new__(cls, shape: Iterable[int]) -> Self: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def version(self) -> int: ...
    def numpy(self) -> _Floats: ...
    def assign(self, value: ArrayLike, /) -> None: ...
    def page_out(self, file: int, offset: int, /) -> int: ...

@final
class Pool:
    def __new__(cls) -> Self: ...
    @property
    def bytes(self) -> int: ...

@final
class Graph:
    def __new__(cls, batch: int) -> Self: ...
    @property
    def batch(self) -> int: ...
    @property
    def n_values(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @dtype.setter
    def dtype(self, value: str) -> None: ...
    def input(self, shape: Iterable[int], name: str = "input") -> int: ...
    def add(
        self,
        op: str,
        inputs: Iterable[int],
        weights: Iterable[Variable | None],
        name: str,
        /,
        **attrs: Any,
    ) -> int: ...
    def shape(self, value: int, /) -> tuple[int, ...]: ...
    def node(self, value: int, /) -> tuple[str, str, tuple[int, ...], str | None, str]: ...
    def version(self, values: Iterable[int], /) -> tuple[int, list[int]]: ...
    def prefix(self, trainable: Iterable[Variable], /) -> list[bool]: ...

@final
class Plan:
    def __new__(
        cls,
        graph: Graph,
        feeds: tuple[int, ...],
        outputs: tuple[int, ...],
        pool: Pool,
        trainable: tuple[Variable, ...] = (),
        losses: tuple[dict[str, Any], ...] = (),
        repeat_from: int = 1048576,
    ) -> Self: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def gradient_bytes(self) -> int: ...
    def set_optimizer(self, spec: dict[str, Any], updates: tuple[_Update, ...], /) -> None: ...
    def forward(self, feeds: list[Any], seed: int = 0) -> list[_Floats]: ...
    def evaluate(
        self,
        feeds: list[Any],
        targets: list[Any],
        weights: list[Any] | None = None,
        seed: int = 0,
    ) -> tuple[list[float], list[_Floats]]: ...
    def train(
        self,
        feeds: list[Any],
        targets: list[Any],
        weights: list[Any] | None = None,
        learning_rate: float = 0.0,
        iteration: int = 0,
        seed: int = 0,
        counter: NDArray[np.int64] | None = None,
    ) -> tuple[list[float], list[_Floats]]: ...
    def gradients(self) -> list[_Floats | None]: ...
    def steps(self) -> list[tuple[str, str, int]]: ...

@final
class Loader:
    def __new__(
        cls,
        paths: Sequence[str | bytes | os.PathLike[str]],
        *,
        height: int,
        width: int,
        channels: int = 3,
        interpolation: str = "bilinear",
        pipeline: str = "keras",
        fit: str = "stretch",
        threads: int = 0,
        depth: int = 3,
        max_pixels: int = 178956970,
        on_bad: Literal["error", "skip"] = "error",
    ) -> Self: ...
    @property
    def threads(self) -> int: ...
    def start(self, order: ArrayLike, batch_sizes: ArrayLike) -> None: ...
    def next(
        self,
    ) -> tuple[NDArray[np.float32 | np.uint8], NDArray[np.int64], list[tuple[int, str]]] | None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
