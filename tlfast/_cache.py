"""The one folder for what tlfast keeps on disk.

It holds unnamed files while a process needs them, so nearly always it is empty but for the tag by
which backup programs, and `tlfast cache clear`, know a cache folder (bford.info/cachedir).
Pretrained weights are not in it: they are in Keras' folder and shared with Keras.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

TAG = "CACHEDIR.TAG"
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
_TAG_TEXT = f"{_SIGNATURE}\n# Made by tlfast; `tlfast cache clear` empties this folder.\n"
# What a process that was killed in the middle of making an unnamed file may leave.
_OUR_PREFIXES = ("features-", "weights-")


class ForeignFolderError(OSError):
    """A folder that does not look like a cache of tlfast is not emptied."""


def cache_folder() -> Path:
    """Folder for everything tlfast keeps on disk: `$TLFAST_CACHE_DIR` or the XDG cache folder.

    Raises:
        OSError: neither is set and the system knows no home folder.
    """
    named = os.environ.get("TLFAST_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules: a relative path counts as not set.
    if os.path.isabs(base):
        return Path(base) / "tlfast"
    return home_folder("TLFAST_CACHE_DIR") / ".cache" / "tlfast"


def home_folder(instead: str) -> Path:
    """The user's home folder.

    Args:
        instead: the environment variable that makes it unnecessary.

    Raises:
        OSError: a user without an entry in the system's list, and HOME is not set.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise OSError(
            f"this user has no home folder and HOME is not set; set {instead} to a folder that "
            "can be written"
        ) from error


def unnamed_file(prefix: str) -> IO[bytes]:
    """A new file in the cache folder that the system removes with the process.

    The folder is made and tagged where it is new.

    Args:
        prefix: of the name that the file has for a moment on systems without unnamed files.

    Raises:
        OSError: the folder cannot be made or written; the message says what to do.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            with contextlib.suppress(FileExistsError), open(folder / TAG, "x") as tag:
                tag.write(_TAG_TEXT)
        return tempfile.TemporaryFile(dir=folder, prefix=prefix)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the cache folder cannot be written ({error.strerror}); set TLFAST_CACHE_DIR to "
            "another folder",
            str(folder),
        ) from error


def folder_bytes(folder: Path) -> int:
    """Bytes on disk of all files below a folder; 0 where there is none. Links are not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # removed by its process meanwhile
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total


def entries(folder: Path) -> list[Path]:
    """What a cache folder holds beside its tag; nothing where there is no folder."""
    if not folder.exists():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.name != TAG)


def removable(folder: Path) -> list[Path]:
    """The entries of a cache folder, all of which `clear` removes.

    Raises:
        ForeignFolderError: the folder has no tag and holds files that tlfast does not make.
        OSError: it is no folder or cannot be read.
    """
    found = entries(folder)
    if folder.is_symlink() or not _is_tagged(folder):
        foreign = [entry.name for entry in found if not entry.name.startswith(_OUR_PREFIXES)]
        if foreign:
            shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
            raise ForeignFolderError(
                f"{folder} does not look like a cache of tlfast: it has no {TAG} of its own and "
                f"holds {shown}; nothing was removed. Remove by hand what you do not need, or set "
                "TLFAST_CACHE_DIR to a folder for tlfast alone"
            )
    return found


def clear(found: list[Path]) -> None:
    """Remove what `removable` listed; links are removed, not followed.

    Raises:
        OSError: one of them cannot be removed.
    """
    for entry in found:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _is_tagged(folder: Path) -> bool:
    try:
        text = (folder / TAG).read_text(errors="replace")
    except FileNotFoundError:
        return False
    # The signature alone is in every program's cache folder.
    return text == _TAG_TEXT
