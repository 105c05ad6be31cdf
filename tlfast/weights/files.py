"""`get_file`: a file or an archive from the network into Keras' cache folder."""

import os
import shutil
import stat
import tarfile
import tempfile
import urllib.parse
import zipfile
from pathlib import Path

from tlfast.weights.download import download
from tlfast.weights.locate import keras_home

# Of the archive, unpacked. Data sets are large, but not a thousand times their archive.
_MAX_EXPANSION = 1000
_MAX_MEMBERS = 5_000_000
_ALGORITHMS = {"auto": (32, 64), "md5": (32,), "sha256": (64,)}


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | list[str] | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """Download a file unless it is in the cache, and unpack it when asked to.

    Args:
        fname: name in the cache; default the last part of the address.
        origin: http or https address.
        untar: old form of `extract` for tar archives.
        md5_hash: old form of `file_hash`.
        file_hash: expected md5 or sha256 in hex.
        cache_subdir: folder below the cache folder, or an absolute path.
        hash_algorithm: "auto" (by length), "md5" or "sha256".
        extract: unpack a tar or zip archive.
        archive_format: "auto", "tar", "zip", a list of these, or None.
        cache_dir: cache folder; default `$KERAS_HOME` or `~/.keras`.
        force_download: download even when the file is there.

    Returns:
        Path of the file, or of the folder it was unpacked into (`NAME_extracted` for a name
        with an ending, as in Keras).

    Raises:
        DownloadError: the file could not be had whole.
        ValueError: a bad argument, or an archive with members outside of its folder.
    """
    if origin is None:
        raise ValueError("get_file needs `origin`, the address of the file to download")
    if hash_algorithm not in _ALGORITHMS:
        raise ValueError(
            f"hash_algorithm is 'auto', 'md5' or 'sha256'. Received: {hash_algorithm!r}"
        )
    digest = file_hash if file_hash is not None else md5_hash
    if digest is not None and len(digest) not in _ALGORITHMS[hash_algorithm]:
        raise ValueError(f"{digest!r} is not a hash of the kind {hash_algorithm!r}")
    given = None if fname is None else os.fspath(fname)
    name = given or os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name or os.sep in name or name in (".", ".."):
        raise ValueError(
            f"`fname` is the name of a file without folders. Received: fname={fname!r}, "
            f"origin={origin!r}; `cache_dir` and `cache_subdir` choose the folder"
        )
    folder = Path(cache_dir or keras_home()).expanduser() / cache_subdir
    target, unpacked = folder / name, None
    if extract or untar:
        if given and "." in given:
            unpacked = folder / f"{name[: name.find('.')]}_extracted"
        else:
            target, unpacked = folder / f"{name}_archive", folder / name
    download(origin, target, digest, replace=force_download)
    if unpacked is None:
        return str(target)
    _unpack(target, unpacked, "tar" if untar else archive_format)
    return str(unpacked)


def _unpack(archive: Path, folder: Path, formats: str | list[str] | None) -> None:
    """Unpack beside the final folder, then rename, so that a half one is never there."""
    allowed = ["tar", "zip"] if formats == "auto" else formats
    allowed = [allowed] if isinstance(allowed, str) else allowed or []
    for kind in allowed:
        if kind not in ("tar", "zip"):
            raise ValueError(f"archive_format is 'auto', 'tar' or 'zip'. Received: {kind!r}")
    stamp = folder / ".tlfast-unpacked"
    info = archive.stat()
    mark = f"{info.st_size} {info.st_mtime_ns}"
    if stamp.is_file() and stamp.read_text() == mark:
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        made = Path(name) / "content"
        made.mkdir()
        if "tar" in allowed and tarfile.is_tarfile(archive):
            _untar(archive, made)
        elif "zip" in allowed and zipfile.is_zipfile(archive):
            _unzip(archive, made)
        else:
            raise ValueError(f"{archive} is not an archive of the kind {', '.join(allowed)}")
        (made / stamp.name).write_text(mark)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def _untar(archive: Path, folder: Path) -> None:
    limit = archive.stat().st_size * _MAX_EXPANSION
    with tarfile.open(archive) as tar:
        total = count = 0
        for member in tar:
            count += 1
            total += member.size
            if total > limit or count > _MAX_MEMBERS:
                raise ValueError(f"{archive}: unpacks to more than {limit} bytes; refused")
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise ValueError(f"{archive}: refused: member {member.name!r}")
            # By hand: tarfile's data filter is missing from Debian 12's Python 3.11.2.
            if member.isdir():
                (folder / member.name).mkdir(parents=True, exist_ok=True)
                continue
            content = tar.extractfile(member) if member.isfile() else None
            if content is None:
                raise ValueError(f"{archive}: refused: {member.name!r} is a link or a device")
            (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
            with content, open(folder / member.name, "wb") as file:
                shutil.copyfileobj(content, file)


def _unzip(archive: Path, folder: Path) -> None:
    limit = archive.stat().st_size * _MAX_EXPANSION
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        if sum(m.file_size for m in members) > limit or len(members) > _MAX_MEMBERS:
            raise ValueError(f"{archive}: unpacks to more than {limit} bytes; refused")
        for member in members:
            parts = member.filename.replace("\\", "/").split("/")
            outside = member.filename.startswith("/") or ".." in parts or ":" in parts[0]
            if outside or stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError(f"{archive}: refused: member {member.filename!r}")
            zipped.extract(member, folder)
