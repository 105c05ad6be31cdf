"""Writing a file whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def write_file(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Replace a file's content; after a crash or a full disk the old content is still there.

    Args:
        path: the file; missing folders are made, a link is followed.
        parts: the content, piece by piece.

    Raises:
        OSError: naming `path`; nothing of the new content is left then.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
    except OSError as exc:
        raise OSError(exc.errno, f"cannot write: {exc.strerror}", os.fspath(path)) from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(target))
        os.replace(name, target)
        sync_folder(target.parent)
    except OSError as exc:
        raise OSError(
            exc.errno, f"cannot write (the old file, if any, is kept): {exc.strerror}",
            os.fspath(path),
        ) from exc  # fmt: skip
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
