"""Writing a file whole or not at all.

The content goes to a temporary file in the same folder, is put on the disk, takes the name in one
step, and the folder is put on the disk too. Whatever happens on the way (an error, a kill, a full
disk, a second writer), the name stands for the old content or for the new one.
"""

import contextlib
import errno
import functools
import hashlib
import io
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

# What a temporary file is called: machine, process, chance.
_TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.part", re.DOTALL)
# One of another machine, whose processes cannot be seen from here, has been left behind after this
# many seconds; no save takes as long.
_ABANDONED = 24 * 3600
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Some file systems (FUSE, network) cannot put a folder on the disk by itself.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EBADF)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str], previous: str | os.PathLike[str] | None = None
) -> Iterator[BinaryIO]:
    """Give a file object whose content replaces `path` when the block ends without an error.

    After an error, a crash or a full disk the old file is still there. Temporary files of
    processes that were killed are removed from the folder.

    Args:
        path: the file; missing folders are made, a link is followed.
        previous: what the old file is called from then on; None: it goes. A kill between the two
            renamings leaves the old file, complete, under this name only.

    Raises:
        OSError: naming `path`; nothing of the new content is left then.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(21, "cannot write a file, there is a folder", os.fspath(path))
    raw: Any = None
    placed = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(target.parent)
        raw = _Temporary(target)
        if target.exists():
            os.fchmod(raw.fileno(), target.stat().st_mode & 0o777)
        file = io.BufferedRandom(raw)
        yield file
        file.flush()
        raw.check()
        os.fsync(raw.fileno())
        file.close()
        if previous is not None and target.exists():
            os.replace(str(target), previous)
        os.replace(raw.name, str(target))
        placed = True
        sync_folder(target.parent)
    except OSError as error:
        own = (None, None if raw is None else raw.name, str(target), str(target.parent))
        if raw is not None and error.filename not in own:
            raise  # of another file, which the block read for example
        raise _explained(error, path, target, raw, placed) from error
    finally:
        if raw is not None and not placed:
            raw.remove()


class _Temporary(io.FileIO):
    """A new file beside `target` that remembers a failed write.

    Libraries that write through callbacks (h5py) may lose the exception; the file must not take
    its name then.
    """

    def __init__(self, target: Path) -> None:
        self.failed: OSError | None = None
        self.most = 0  # bytes that were to be written
        name = f".{_short(target)}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"
        super().__init__(os.path.join(target.parent, name), "x+b", opener=_create)

    def write(self, data: Any) -> int:
        self.most = max(self.most, self.tell() + memoryview(data).nbytes)
        try:
            return os.write(self.fileno(), data)
        except OSError as error:
            self.failed = error
            raise

    def truncate(self, size: int | None = None) -> int:
        try:
            size = self.tell() if size is None else size
            os.ftruncate(self.fileno(), size)
        except OSError as error:
            self.failed = error
            raise
        return size

    def check(self) -> None:
        """Raise the error of a write that failed, if there was one."""
        if self.failed is not None:
            raise self.failed

    def remove(self) -> None:
        """Close and delete the file, whatever state it is in."""
        with contextlib.suppress(OSError):  # what it could not write is not wanted any more
            self.close()
        with contextlib.suppress(OSError):  # with its folder, or by the next save there
            os.unlink(self.name)


def _create(name: str, flags: int) -> int:
    return os.open(name, flags, 0o666)


def _explained(
    error: OSError, path: str | os.PathLike[str], target: Path, raw: Any, placed: bool
) -> OSError:
    """The error with what a user needs: which file, what became of the old one, how much room."""
    reason = error.strerror or str(error)
    name = os.fspath(path)
    if placed:
        return OSError(
            error.errno, f"written, but not known to be on the disk for good: {reason}", name
        )
    text = f"cannot write (an older file is kept): {reason}"
    if error.errno in _NO_ROOM and raw is not None:
        text += f"; at least {raw.most} bytes are needed, {_free(target.parent)} are free"
    elif error.errno == errno.ENOENT:
        text += f"; the folder {os.fspath(target.parent)!r} has gone"
    elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        text += f"; in the folder {os.fspath(target.parent)!r}"
    return OSError(error.errno, text, name)


def _short(target: Path) -> str:
    """The name, cut so that a temporary file's name stays within what a file system allows."""
    return os.fsdecode(os.fsencode(target.name)[:180])


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


@functools.cache
def _machine() -> str:
    """What tells this machine, since its start, and this container from others."""
    parts = []
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            read = os.readlink if source.endswith("ns/pid") else _text
            parts.append(read(source))
        except OSError:
            parts.append(os.uname().nodename)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


def remove_orphans(folder: Path) -> None:
    """Delete the temporary files that killed processes left behind in a folder.

    Args:
        folder: only names that `replacing` makes are looked at.
    """
    with os.scandir(folder) as entries:
        found = [(entry, _TEMPORARY.fullmatch(entry.name)) for entry in entries]
    for entry, match in found:
        # Another process may be quicker, at deleting it as at giving it its name; and in a shared
        # folder, those of other users stay.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if match and _is_orphan(match["machine"], int(match["pid"]), entry.stat().st_mtime):
                os.unlink(entry.path)


def _is_orphan(machine: str, pid: int, written: float) -> bool:
    if machine == _machine() and not _is_alive(pid):
        return True
    return time.time() - written > _ABANDONED


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def default_mode() -> int:
    """Return the permissions that open() would give a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)
