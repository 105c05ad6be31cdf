"""Bounded random access to a model or weight file: the only way file bytes are opened."""

import io
import math
import os
import stat
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from tlfast.saving.errors import FormatError

# Larger than any file Keras' applications need (NASNetLarge is 0.4 GB, VGG19 0.6 GB).
MAX_FILE_BYTES = 16 << 30


class Source:
    """Bytes at offsets of a regular file or of a buffer in memory.

    Args:
        name: text that stands for the file in error messages.
        data: the whole content, or None when `descriptor` is given.
        descriptor: an open file descriptor, owned and closed by this object.

    Raises:
        FormatError: from `read` and `read_into` when a range lies outside the file.
    """

    def __init__(self, name: str, data: bytes | None = None, descriptor: int = -1) -> None:
        self.name = name
        self._data = None if data is None else memoryview(data)
        self._descriptor = descriptor
        self.size: int = os.fstat(descriptor).st_size if data is None else len(data)

    @property
    def head(self) -> bytes:
        """The first bytes, which say of what kind the file is."""
        return self.read(0, min(8, self.size))

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes starting at `offset`."""
        self.check(offset, size)
        if self._data is not None:
            return bytes(self._data[offset : offset + size])
        parts = []
        while size:
            part = os.pread(self._descriptor, size, offset)
            if not part:
                raise FormatError(f"{self.name}: the file was shortened while it was read")
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, offset: int, array: np.ndarray) -> None:
        """Fill the C-contiguous `array` with the bytes that start at `offset`."""
        if array.nbytes == 0:
            return
        self.check(offset, array.nbytes)
        view = array.reshape(-1).view(np.uint8).data
        if self._data is not None:
            view[:] = self._data[offset : offset + array.nbytes]
            return
        done = 0
        while done < array.nbytes:
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if not count:
                raise FormatError(f"{self.name}: the file was shortened while it was read")
            done += count

    def read_variable(self, offset: int, shape: tuple[int, ...]) -> Any:
        """Return a new `_core.Variable` with the float32 values that start at `offset`."""
        from tlfast import _core

        count = math.prod(shape)
        self.check(offset, 4 * count)
        if self._data is not None:
            made = _core.Variable(shape)
            made.assign(np.frombuffer(self._data, np.float32, count, offset).reshape(shape))
            return made
        try:
            return _core.Variable.from_file(shape, self._descriptor, offset)
        except ValueError as exc:
            raise FormatError(f"{self.name}: the file was shortened while it was read") from exc

    def file(self) -> BinaryIO:
        """Return a new file object on the same content, to be closed by the caller."""
        if self._data is not None:
            return io.BytesIO(self._data)
        return os.fdopen(os.dup(self._descriptor), "rb")

    def close(self) -> None:
        """Close the file; reading afterwards raises OSError or ValueError."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._data is not None:
            self._data.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check(self, offset: int, size: int) -> None:
        """Raise FormatError unless the range lies inside the file."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise FormatError(
                f"{self.name}: bytes {offset} to {offset + size} are needed, but the file has "
                f"{self.size}; it is truncated or damaged"
            )


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a model or weight file for reading, refusing what is not a plain file.

    Args:
        path: path of the file.

    Returns:
        A `Source`; use it as a context manager.

    Raises:
        FileNotFoundError, PermissionError: as the operating system says.
        FormatError: the path is not a regular file (a pipe or device could block for ever),
            is empty, or is larger than 16 GiB.
    """
    name = os.fspath(path)
    # O_NONBLOCK: opening a FIFO without a writer would otherwise wait for ever.
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            kind = "a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file"
            raise FormatError(f"{name}: expected a model or weight file, but this is {kind}")
        if info.st_size == 0:
            raise FormatError(f"{name}: the file is empty")
        if info.st_size > MAX_FILE_BYTES:
            raise FormatError(
                f"{name}: {info.st_size} bytes, but at most {MAX_FILE_BYTES} are allowed"
            )
        return Source(name, descriptor=descriptor)
    except BaseException:
        os.close(descriptor)
        raise
