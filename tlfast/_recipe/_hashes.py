"""Short hashes of weights, arrays and files."""

import base64
import contextlib
import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

SHORT = 8  # bytes
UNREADABLE = bytes(SHORT)
# (count of changes, hash) of variables; one that did not change is not read again.
_known: "weakref.WeakKeyDictionary[Any, tuple[int, bytes]]" = weakref.WeakKeyDictionary()


def short(data: Any) -> bytes:
    """The first bytes of the SHA-256 of a bytes-like object."""
    return hashlib.sha256(data).digest()[:SHORT]


def joined(hashes: Iterable[bytes], size: int = 16) -> str:
    """One hash over many, as hexadecimal digits.

    Args:
        hashes: the hashes, in order.
        size: bytes of the result.
    """
    return hashlib.sha256(b"".join(hashes)).hexdigest()[: 2 * size]


def array_bytes(array: np.ndarray) -> memoryview:
    """The numbers of an array, in the order of its indices."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def variable_hash(variable: Any) -> bytes:
    """Hash of the numbers of a layer's variable."""
    if variable.dtype != "float32":
        return short(array_bytes(variable.numpy()))
    version: int = variable.core.version
    known = _known.get(variable)
    if known is None or known[0] != version:
        known = _known[variable] = (version, short(array_bytes(variable.numpy())))
    return known[1]


def weight_hashes(variables: Iterable[Any]) -> list[bytes]:
    """The hash of each variable."""
    return [variable_hash(variable) for variable in variables]


def moved_weights(model: Any) -> list[Any]:
    """The variables that training may change: of layers that are trainable, statistics too."""
    found: dict[int, Any] = {}
    for layer in model._flatten_layers():
        if layer.trainable and not layer._sublayers():
            found.update((id(variable), variable) for variable in layer.weights)
    return list(found.values())


def mark(model: Any) -> str:
    """The hash of all weights that training moves."""
    return joined(weight_hashes(moved_weights(model)), SHORT)


def all_weights(model: Any) -> str:
    """The hash of all weights."""
    return joined(weight_hashes(model.weights))


def array_hash(array: np.ndarray) -> str:
    """Hash of an array's shape, type and numbers."""
    digest = hashlib.sha256(f"{array.shape} {array.dtype.str};".encode())
    digest.update(array_bytes(array))
    return digest.hexdigest()[:32]


def file_hash(path: str | os.PathLike[str]) -> bytes:
    """The SHA-256 of a file, in full."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def file_hashes(paths: Sequence[str], stopped: Callable[[], bool] = bool) -> list[bytes]:
    """The hash of each file in full; zeros for one that cannot be read.

    Args:
        paths: the files.
        stopped: asked before each file; True ends it early.
    """
    found = []
    for path in paths:
        if stopped():
            break
        try:
            found.append(file_hash(path))
        except OSError:  # the loader says what is wrong with it, or leaves it out
            found.append(UNREADABLE * 4)
    return found


def to_text(data: Any) -> str:
    """Bytes, or an array's bytes, for JSON."""
    return base64.b64encode(data).decode("ascii")


def from_text(text: str, dtype: Any) -> np.ndarray:
    """The array of a text made by `to_text`."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype)


class Background:
    """Jobs done one after the other in a thread of lowest priority.

    Args:
        jobs: pairs (compute, take): `compute()` runs in the thread, and `take` gets its result in
            the thread that calls `finish`.
    """

    def __init__(self, jobs: Sequence[tuple[Callable[[], Any], Callable[[Any], None]]]) -> None:
        self._jobs = list(jobs)
        self._results: list[Any] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tlfast recipe", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # where threads have no priority of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            for compute, _ in self._jobs:
                self._results.append(compute())
        except BaseException as error:  # raised again where the results are wanted
            self._error = error

    def finish(self) -> None:
        """Wait, and hand the results over; nothing happens the second time."""
        self._thread.join()
        jobs, self._jobs = self._jobs, []
        if self._error is not None and jobs:
            raise self._error
        for compute, _ in jobs[len(self._results) :]:  # a forked process has no such thread
            self._results.append(compute())
        for (_, take), result in zip(jobs, self._results, strict=True):
            take(result)
        self._results = []
