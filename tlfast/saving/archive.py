"""The `.keras` archive: three members, read by name into bounded memory, never unpacked."""

import datetime
import errno
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_write import on_their_way
from tlfast.saving.source import Source

SIGNATURE = b"PK\x03\x04"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# Keras stores without compression; a few times is a file re-packed by another tool.
_MAX_EXPANSION = 100
_SMALL = 1 << 20
_LIMITS = {CONFIG: 16 << 20, METADATA: 16 << 20, WEIGHTS: 8 << 30}
_MAX_MEMBERS = 1000
_MAX_NAME = 1024
_MAX_DIRECTORY = 1 << 20
# What zipfile raises for damaged archives.
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, NotImplementedError,
    ValueError, OverflowError,
)  # fmt: skip


def write_archive(
    file: BinaryIO,
    config: dict[str, Any],
    metadata: dict[str, Any],
    size: int,
    weights: Iterable[bytes | memoryview],
) -> None:
    """Write a `.keras` archive.

    Args:
        file: where to.
        config: the serialized model.
        metadata: content of metadata.json; `date_saved` is added.
        size: bytes of model.weights.h5.
        weights: its content in pieces.
    """
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(METADATA, json.dumps({**metadata, "date_saved": now}))
        archive.writestr(CONFIG, json.dumps(config))
        with archive.open(WEIGHTS, "w", force_zip64=size > 1 << 31) as member:
            for piece in on_their_way(file, weights):
                member.write(piece)


def read_archive(source: Source) -> dict[str, bytes]:
    """Return the content of config.json, metadata.json and model.weights.h5.

    Args:
        source: an open file.

    Raises:
        FormatError: not such an archive, or one with duplicate, encrypted or oversized members
            or names that lead outside.
    """
    try:
        with source.file() as file:
            guard = _DirectoryGuard(file, source.name)
            archive = zipfile.ZipFile(guard)
            guard.limit = None
            members = _checked_members(archive, source.name)
            found = {}
            for name, info in members.items():
                found[name] = _read_member(archive.open, info, source.name)
            return found
    except FormatError:
        raise
    except OSError as exc:
        # zipfile seeks where a damaged directory points to; other errors are the disk's.
        if exc.errno != errno.EINVAL:
            raise
        raise FormatError(f"{source.name}: a truncated or damaged zip archive ({exc})") from exc
    except ZIP_ERRORS as exc:
        raise FormatError(f"{source.name}: a truncated or damaged zip archive ({exc})") from exc


class _DirectoryGuard:
    """A file as `ZipFile` needs it, that refuses to read a directory of a million members."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable
        self.limit: int | None = _MAX_DIRECTORY  # of one read; None for none
        self._file = file
        self._where = where

    def read(self, size: int = -1) -> bytes:
        if self.limit is not None and size > self.limit:
            raise FormatError(f"{self._where}: a zip directory of {size} bytes; refused")
        return self._file.read(size)


def _checked_members(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > _MAX_MEMBERS:
        raise FormatError(f"{where}: {len(infos)} members, more than {_MAX_MEMBERS}")
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if len(name) > _MAX_NAME:
            raise FormatError(f"{where}: a member name of {len(name)} characters: {name[:40]!r}")
        if name in seen:
            raise FormatError(f"{where}: the member {name!r} stands twice in the archive")
        seen.add(name)
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise FormatError(f"{where}: the member name {name!r} leads outside of the archive")
    if CONFIG not in seen or WEIGHTS not in seen:
        hint = " (weights in npz form are not read)" if "model.weights.npz" in seen else ""
        raise FormatError(
            f"{where}: a zip archive without {CONFIG} and {WEIGHTS}, so not a Keras model{hint}"
        )
    chosen = {info.filename: info for info in infos if info.filename in _LIMITS}
    for name, info in chosen.items():
        if info.flag_bits & 1:
            raise FormatError(f"{where}: the member {name!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{where}: the member {name!r} is packed neither stored nor deflated")
        size = info.file_size
        if size > _LIMITS[name] or (size > _SMALL and size > _MAX_EXPANSION * info.compress_size):
            raise FormatError(
                f"{where}: the member {name!r} declares {size} bytes, packed in "
                f"{info.compress_size}; refused"
            )
    return chosen


def _read_member(open_member: Callable[..., Any], info: zipfile.ZipInfo, where: str) -> bytes:
    with open_member(info) as member:
        data: bytes = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise FormatError(
            f"{where}: the member {info.filename!r} has {len(data)} bytes instead of "
            f"{info.file_size}; the file is truncated or damaged"
        )
    return data
