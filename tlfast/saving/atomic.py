"""Writing a file whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file object whose content replaces `path` when the block ends without an error.

    The content goes to a temporary file in the same folder, is put on the disk, and takes the
    name in one step; after an error, a crash or a full disk the old file is still there.

    Args:
        path: the file; missing folders are made, a link is followed.

    Raises:
        OSError: naming `path`; nothing of the new content is left then.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(21, "cannot write a file, there is a folder", os.fspath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(".part", f".{target.name[:200]}.", target.parent)
    except OSError as exc:
        raise OSError(exc.errno, f"cannot write: {exc.strerror}", os.fspath(path)) from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(target))
        os.replace(name, target)
        sync_folder(target.parent)
    except OSError as exc:
        raise OSError(
            exc.errno, f"cannot write (an older file is kept): {exc.strerror}", os.fspath(path)
        ) from exc
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def default_mode() -> int:
    """Return the permissions that open() would give a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _mode(target: Path) -> int:
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        return default_mode()


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
