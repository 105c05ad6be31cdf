"""Folders that callbacks write to, tried before the first epoch."""

import os


def prepare_folder(owner: str, folder: str) -> None:
    """Make a folder and write a file that leaves no trace there.

    Args:
        owner: the callback and its argument, for the message.
        folder: the path; "" is the current folder.

    Raises:
        OSError: nothing can be written there.
    """
    import tempfile

    folder = folder or os.curdir
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(
            error.errno,
            f"{owner}: nothing can be written to the folder {folder!r} ({error.strerror}). Name "
            "another one, or change its permissions",
        ) from error


def fixed_folder(template: str) -> str:
    """Return the folder of a path up to its first field: "runs" of "runs/{epoch}/m.keras"."""
    return os.path.dirname(template.split("{")[0])
