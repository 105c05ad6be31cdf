"""Listing image files in folders: order as Keras, leftovers and loops left out and named."""

import difflib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tlfast._warnings import DataWarning

# Left by file managers and notebooks, never meant as data.
_LEFTOVERS = {"thumbs.db", "desktop.ini"}


@dataclass
class Listing:
    """What was found: (folder, file name) pairs, and file names with other endings."""

    files: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def check_directory(directory: str | os.PathLike[str]) -> str:
    """`directory` as str, or an error that says what is there instead."""
    if not isinstance(directory, (str, os.PathLike)):
        raise TypeError(f"directory must be a path, got {directory!r}")
    directory = os.fspath(directory)
    if not os.path.exists(directory):
        raise FileNotFoundError(
            f"The folder {directory!r} does not exist (looked from {os.getcwd()!r})."
        )
    if not os.path.isdir(directory):
        raise NotADirectoryError(f"{directory!r} is a file; give the folder that holds the images.")
    return directory


def class_folders(directory: str) -> list[str]:
    """Names of the sub-folders, sorted, without hidden ones."""
    return [
        name
        for name in sorted(os.listdir(directory))
        if not name.startswith(".") and os.path.isdir(os.path.join(directory, name))
    ]


def check_names(given: list[str], folders: list[str], argument: str, directory: str) -> list[str]:
    """`given` if each is a sub-folder; else an error that names the others and the nearest."""
    given = list(given)
    unknown = [name for name in given if name not in folders]
    if unknown:
        close = difflib.get_close_matches(str(unknown[0]), folders, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"{argument}={given!r} names {', '.join(map(repr, unknown))}, but the sub-folders of "
            f"{directory!r} are {folders}.{hint} Give these names or a part of them."
        )
    twice = [name for name, count in Counter(given).items() if count > 1]
    if twice:
        raise ValueError(f"{argument} has {', '.join(map(repr, twice))} more than once.")
    return given


def list_files(directory: str, endings: tuple[str, ...], follow_links: bool) -> Listing:
    """All files below `directory` whose names end in `endings` (any case).

    Folders come in the order of their paths and files sorted inside each, as in Keras. Hidden files
    and folders (`._a.jpg`, `.ipynb_checkpoints`) and Thumbs.db are left out, which Keras does not.
    """
    found = Listing()
    for folder, names in sorted(_walk(directory, follow_links), key=lambda entry: entry[0]):
        for name in sorted(names):
            if name.startswith(".") or name.lower() in _LEFTOVERS:
                continue
            if name.lower().endswith(endings):
                found.files.append((folder, name))
            else:
                found.ignored.append(os.path.join(folder, name))
    return found


def _walk(directory: str, follow_links: bool) -> Iterator[tuple[str, list[str]]]:
    """(folder, file names) of every folder; a link back to a folder it lies in is not entered."""
    above: dict[str, set[tuple[int, int]]] = {directory: {_folder_key(directory)}}
    for folder, subfolders, names in os.walk(directory, followlinks=follow_links, onerror=_raise):
        yield folder, names
        entered = above.pop(folder, set())
        keep = []
        for name in subfolders:
            path = os.path.join(folder, name)
            if name.startswith(".") or (os.path.islink(path) and not follow_links):
                continue
            key = _folder_key(path)
            if key in entered:
                warnings.warn(
                    f"The link {path!r} leads back to a folder that contains it; it is not "
                    "followed.",
                    DataWarning,
                    stacklevel=2,
                )
                continue
            above[path] = entered | {key}
            keep.append(name)
        subfolders[:] = keep


def _folder_key(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino


def _raise(error: OSError) -> None:
    raise error


def ignored_sentence(ignored: list[str], endings: tuple[str, ...]) -> str:
    """One line about files with other endings: how many of each kind, and an example."""
    kinds = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in ignored)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6))
    return (
        f"Ignored {len(ignored)} file{'s' if len(ignored) > 1 else ''} with other endings "
        f"({counts}; for example {ignored[0]}); read are {' '.join(endings)}."
    )


def no_images(
    directory: str,
    folders: list[str] | None,
    ignored: list[str],
    endings: tuple[str, ...],
    here: Callable[[], list[str]],
) -> str:
    """The sentences of the error for a folder without images.

    Args:
        folders: class folders looked into, or None if `directory` itself was.
        here: lists the images that lie directly in `directory`.
    """
    text = f"No images found in directory {directory!r}. Allowed endings: {' '.join(endings)}."
    if ignored:
        text += " " + ignored_sentence(ignored, endings)
    if folders is None:
        return text
    loose = here()
    if loose:
        text += (
            f" {len(loose)} images lie directly in it ({loose[0]!r}, ...); images are expected in "
            "one sub-folder per class."
        )
    elif not folders:
        text += " It has no sub-folders; images are expected in one sub-folder per class."
    else:
        text += f" Its sub-folders are {folders}."
    return text


def loose_images(directory: str, endings: tuple[str, ...]) -> list[str]:
    """Images directly in `directory`, sorted."""
    return sorted(
        name
        for name in os.listdir(directory)
        if name.lower().endswith(endings) and not name.startswith(".")
    )
