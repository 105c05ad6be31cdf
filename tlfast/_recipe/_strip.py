"""Taking what a model file tells of its training out of it; the model itself stays as it is."""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast.saving import archive, interrupts
from tlfast.saving.atomic import replacing
from tlfast.saving.config_json import parse_json
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import SIGNATURE, Dataset, File, Group
from tlfast.saving.record import KEY
from tlfast.saving.source import Source, open_source

# What predictions need: names for the classes, and the range of numbers a network reads.
_NEEDED = ("class_names", "backbones")


def strip(
    path: str | os.PathLike[str], target: str | os.PathLike[str], class_names: bool = False
) -> dict[str, int]:
    """Write a model or weight file without recipe, hashes, history and all else of its record.

    Names of classes and the kinds of the pretrained networks inside stay: predictions need them.

    Args:
        path: a `.keras` or HDF5 file.
        target: where to; the same path replaces the file, whole or not at all.
        class_names: whether to take the names of the classes out, too.

    Returns:
        The entries taken out, with their sizes in characters of JSON. Without any, nothing is
        written unless `target` is another file.

    Raises:
        FormatError: neither such a file, or a damaged one.
        OSError: it cannot be read or written; an older file is kept.
    """
    keep = [name for name in _NEEDED if name != "class_names" or not class_names]
    with open_source(path) as source:
        if source.head.startswith(archive.SIGNATURE):
            removed, write = _archive(source, keep)
        elif source.head == SIGNATURE:
            removed, write = _hdf5(source, keep)
        else:
            raise FormatError(
                f"{source.name}: neither a `.keras` nor an HDF5 file (it starts with "
                f"{source.head!r})"
            )
        if removed or os.path.realpath(path) != os.path.realpath(target):
            with replacing(target) as file:
                write(file)
    return removed


def _parted(record: Any, keep: list[str], where: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The record's entries that stay, and the sizes of the others."""
    if not isinstance(record, dict):
        raise FormatError(f"{where}: the entry {KEY!r} is not an object")
    stays = {key: value for key, value in record.items() if key in keep}
    goes = {key: len(json.dumps(value)) for key, value in record.items() if key not in keep}
    return stays, goes


def _archive(source: Source, keep: list[str]) -> tuple[dict[str, int], Callable[[Any], None]]:
    members = archive.read_archive(source)
    config = parse_json(members[archive.CONFIG], f"{source.name}: {archive.CONFIG}")
    raw = members.get(archive.METADATA, b"{}")
    metadata = parse_json(raw, f"{source.name}: {archive.METADATA}")
    stays, goes = _parted(metadata.pop(KEY, {}), keep, source.name)
    metadata |= {KEY: stays} if stays else {}
    weights = members[archive.WEIGHTS]
    return goes, lambda file: archive.write_archive(file, config, metadata, len(weights), [weights])


def _hdf5(source: Source, keep: list[str]) -> tuple[dict[str, int], Callable[[Any], None]]:
    import h5py

    options = {"driver": "core", "backing_store": False, "libver": "earliest"}
    with interrupts.deferred(), File(source) as file, h5py.File("memory", "w", **options) as copy:
        text = file.root.attrs.get(KEY)
        record = parse_json(text, f"{source.name}: {KEY}") if isinstance(text, str) else {}
        stays, goes = _parted(record, keep, source.name)
        _copy(file.root, copy)
        if stays:
            copy.attrs[KEY] = json.dumps(stays)
        copy.flush()
        image: bytes = copy.id.get_file_image()
    return goes, lambda target: target.write(image)


def _copy(group: Group, copy: Any) -> None:
    """Copy attributes, datasets and groups, read by our own reader; h5py only writes."""
    _copy_attributes(group, copy)
    for name in group.keys():
        interrupts.check()
        found = group.get(name)
        if isinstance(found, Group):
            _copy(found, copy.create_group(name))
        elif isinstance(found, Dataset):
            _copy_attributes(found, copy.create_dataset(name, data=found.read()))


def _copy_attributes(found: Group | Dataset, copy: Any) -> None:
    import h5py

    for name in found.attrs:
        if name == KEY:
            continue  # never written: libhdf5 would leave the bytes of a deleted one in the file
        value = found.attrs.get(name)
        if name == "dtype" and value == "bfloat16" and isinstance(found, Dataset):
            continue  # it was read, and is written, as float32
        if isinstance(value, list):
            value = np.asarray([text.encode() for text in value])
        copy.attrs[name] = h5py.Empty("f4") if value is None else value  # of no type in particular
