"""HDF5 files as a stream of pieces: h5py lays the file out, the weights follow from where they are.

libhdf5 never opens a real file, so no full disk and no Ctrl-C can meet it half-way. It writes into
memory, which gets everything but the values of large arrays: for those it only sets room aside
and says where. The pieces of the file are then given in order, the values of an array copied out
of the model a few megabytes at a time. A save needs no second copy of the model, and whoever writes
the pieces sees every error where it happens.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from tlfast._packages import needed
from tlfast.saving import interrupts

_LARGE = 1 << 16  # bytes from which an array is not given to h5py
_PIECE = 4 << 20
_PAGE = 1 << 16
_WINDOW = 16 << 20


class _Layout:
    """What all groups of a file share. h5py's own `create_dataset` takes five times as long."""

    def __init__(self) -> None:
        from h5py import h5d, h5p, h5s, h5t

        self.later: list[tuple[int, Any]] = []  # large arrays: place in the file, core variable
        self._h5d, self._h5s, self._h5t = h5d, h5s, h5t
        self._links = []
        for encoding in (h5t.CSET_UTF8, h5t.CSET_ASCII):
            links = h5p.create(h5p.LINK_CREATE)
            links.set_create_intermediate_group(True)
            links.set_char_encoding(encoding)
            self._links.append(links)
        self._room = h5p.create(h5p.DATASET_CREATE)
        self._room.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        self._room.set_fill_time(h5d.FILL_TIME_NEVER)

    def write(self, group: Any, name: str, variable: Any) -> None:
        shape = tuple(variable.shape)
        integers = getattr(variable, "dtype", "float32") != "float32"
        if integers or 4 * math.prod(shape) < _LARGE:
            array = np.ascontiguousarray(variable.numpy()).reshape(shape)
            dataset = self._create(group, name, shape, array.dtype)
            dataset.write(self._h5s.ALL, self._h5s.ALL, array)
        else:
            dataset = self._create(group, name, shape, np.dtype(np.float32), self._room)
            self.later.append((dataset.get_offset(), variable.core))

    def _create(
        self, group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, room: Any = None
    ) -> Any:
        space = self._h5s.create_simple(shape) if shape else self._h5s.create(self._h5s.SCALAR)
        stored = self._h5t.py_create(dtype, logical=True)
        links = self._links[name.isascii()]
        return self._h5d.create(group.id, name.encode(), stored, space, room, links)


class Group:
    """A group of a file that is being laid out.

    Args:
        group: the `h5py.Group`.
        layout: what it shares with the other groups.
    """

    def __init__(self, group: Any, layout: _Layout) -> None:
        self._group = group
        self._layout = layout

    @property
    def attrs(self) -> Any:
        """The attributes, as h5py's."""
        return self._group.attrs

    def create_group(self, name: str) -> "Group":
        """Make a group below this one, and those on the way.

        Args:
            name: names joined by "/".
        """
        return Group(self._group.create_group(name), self._layout)

    def write(self, name: str, variable: Any) -> None:
        """Make a dataset of a variable's values.

        Args:
            name: its name.
            variable: weight, slot or number of an optimizer.
        """
        interrupts.check()
        self._layout.write(self._group, name, variable)


class Image:
    """A file that is laid out.

    Args:
        memory: its bytes without the values of large arrays.
        later: (place, core variable) of those arrays.

    Attributes:
        size: bytes of the file.
    """

    def __init__(self, memory: "_Memory", later: list[tuple[int, Any]]) -> None:
        self._memory = memory
        self._later = sorted(later, key=lambda entry: entry[0])
        self.size: int = memory.size

    def pieces(self) -> Iterator[memoryview]:
        """Yield the content in order; a piece is valid until the next one is asked for."""
        at = 0
        buffer = np.empty(_PIECE // 4, np.float32)
        for place, variable in self._later:
            yield from self._memory.pieces(at, place)
            count = math.prod(variable.shape)
            for start in range(0, count, len(buffer)):
                part = buffer[: count - start]
                variable.copy_to(part, start)
                yield part.view(np.uint8).data
            at = place + 4 * count
        yield from self._memory.pieces(at, self.size)


def lay_out(write: Callable[[Group], None]) -> Image:
    """Return the file that `write` makes.

    Args:
        write: function that gets the root group; the variables it writes are read when the
            pieces of the image are.
    """
    with needed("saving models", "h5py"):
        import h5py

    memory, layout = _Memory(), _Layout()
    with interrupts.deferred(), h5py.File(memory, "w", libver="earliest") as root:
        write(Group(root, layout))
    return Image(memory, layout.later)


def on_their_way(
    file: BinaryIO, pieces: Iterable[bytes | memoryview]
) -> Iterator[bytes | memoryview]:
    """Yield the pieces, and have what was written of them put on the disk in the meantime.

    The fsync behind them has little left to wait for then.

    Args:
        file: where whoever takes the pieces writes them.
        pieces: parts of an `Image`.
    """
    done = file.tell()
    for piece in pieces:
        yield piece
        at = file.tell()
        if at - done >= _WINDOW:
            file.flush()
            # Linux starts writing what is dirty, and keeps it in memory as it is not yet clean.
            os.posix_fadvise(file.fileno(), done, at - done, os.POSIX_FADV_DONTNEED)
            done = at


class _Memory:
    """A file in memory for h5py, of which only the pages that were written exist."""

    def __init__(self) -> None:
        self.size: int = 0
        self._at = 0
        self._pages: dict[int, bytearray] = {}

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int) -> int:
        self.size = size
        return size

    def flush(self) -> None:
        """Do nothing: there is nothing behind the memory."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            number, start = divmod(self._at, _PAGE)
            part = view[done : done + _PAGE - start]
            page = self._pages.setdefault(number, bytearray(_PAGE))
            page[start : start + len(part)] = part
            done += len(part)
            self._at += len(part)
        self.size = max(self.size, self._at)
        return done

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        count = max(0, min(len(view), self.size - self._at))
        done = 0
        for piece in self.pieces(self._at, self._at + count):
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._at += count
        return count

    def read(self, size: int) -> bytes:
        found = bytearray(size)
        return bytes(found[: self.readinto(found)])

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from start to end; what was never written is zero."""
        nothing = bytes(_PAGE)
        while start < end:
            number, first = divmod(start, _PAGE)
            part = memoryview(self._pages.get(number, nothing))[first : first + end - start]
            yield part
            start += len(part)
