"""What a model file tells beside the network: class names, how the training went.

Keras ignores it: it lies under the key "tlfast" of metadata.json in `.keras` files, and in the
attribute "tlfast" of the root in HDF5 files.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tlfast import _backbones
from tlfast._version import __version__
from tlfast._warnings import TlfastWarning, user_level
from tlfast.saving.config_json import parse_json
from tlfast.saving.errors import FormatError

KEY = "tlfast"
MAX_BYTES = 4 << 20
# What files tell beside a model's own record.
_OF_FILES = ("backbones", "version")


def get_record(model: Any) -> dict[str, Any]:
    """Return a model's record; changes to it are written by the next save.

    Args:
        model: any model.

    Returns:
        A dict of plain values. `fit` sets "class_names" (list of text) where the data have
        some, and "recipe" (see `tlfast._recipe`); saving adds "history" (dict of lists), the
        numbers in the logs of the last `fit`, and "backbones" (see `tlfast._backbones`).
    """
    if "_recipe_hashing" in model.__dict__:
        from tlfast._recipe import _recorder

        _recorder.complete(model)
    record: dict[str, Any] | None = getattr(model, "_file_record", None)
    if record is None:
        record = model._file_record = {}
    return record


def update_record(model: Any, **values: Any) -> None:
    """Put values into a model's record; None removes a key.

    Args:
        model: any model.
        **values: plain values (numbers, text, lists and dicts of these).

    Raises:
        ValueError: a value that JSON cannot hold.
    """
    for key, value in values.items():
        _dump({key: value})
        if value is None:
            get_record(model).pop(key, None)
        else:
            get_record(model)[key] = value


def dump_record(model: Any) -> str:
    """Return the record as JSON, with this version, the logs of the last `fit`, the backbones.

    History and recipe are left out, in this order, where the record would become too long.
    """
    record = {**get_record(model), "version": __version__}
    if "recipe" in record:
        from tlfast._recipe import _recorder

        record["recipe"] = _recorder.sealed(model)
    logs = getattr(getattr(model, "history", None), "history", None)
    if logs:
        record["history"] = {key: row for key in logs if (row := _numbers_logged(logs[key]))}
    if backbones := _backbones.as_record(model):
        record["backbones"] = backbones
    for key in ("history", "recipe"):
        if key in record and len(_json(record)) > MAX_BYTES:
            del record[key]
    return _dump(record)


def _numbers_logged(values: list[Any]) -> list[float] | None:
    """The values as Python's numbers; None where a callback logged something else."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return None


def restore_record(model: Any, found: object, where: str) -> None:
    """Set a model's record from what a file holds.

    Args:
        model: the model just loaded.
        found: None, JSON text, or a parsed dict.
        where: text that names the file in error messages.
    """
    record = _parsed(found, where)
    if record is not None:
        _backbones.restore(model, stored_backbones(record, where))
        model._file_record = {k: v for k, v in record.items() if k not in _OF_FILES}


def stored_backbones(found: object, where: str) -> dict[str, _backbones.Stem]:
    """Return what a file's record says of the pretrained networks in it; {} without a record.

    Args:
        found, where: see `restore_record`.
    """
    record = _parsed(found, where) or {}
    try:
        return _backbones.from_record(record.get("backbones", {}))
    except ValueError as exc:
        if _newer_version(record) is not None:
            return {}  # written in another form since; `newer_version_said` tells the user
        raise FormatError(f"{where}: the entry {KEY!r}: {exc}") from exc


@contextmanager
def newer_version_said(found: object, where: str) -> Iterator[None]:
    """Say, in the block's FormatError or else in a warning, that a newer tlfast wrote a file.

    Args:
        found, where: see `restore_record`.
    """
    version = _newer_version(_parsed(found, where) or {})
    if version is None:
        yield
        return
    said = f"written by tlfast {version}, which is newer than this one ({__version__})"
    try:
        yield
    except FormatError as exc:
        raise FormatError(f"{exc}. The file was {said}: install that version to read it") from exc
    warnings.warn(
        f"{where}: {said}; what this version does not know of it is left out",
        TlfastWarning,
        stacklevel=user_level(),
    )


def _newer_version(record: dict[str, Any]) -> str | None:
    version = record.get("version")
    if not isinstance(version, str) or not re.match(r"\d{1,6}(\.\d{1,6}){1,3}", version[:40]):
        return None
    return version[:40] if _numbers(version) > _numbers(__version__) else None


def _numbers(version: str) -> tuple[int, ...]:
    """(0, 2, 0) of "0.2.0.dev1+abc"."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])[:4])


def _parsed(found: object, where: str) -> dict[str, Any] | None:
    if isinstance(found, str):
        if len(found) > MAX_BYTES:
            raise FormatError(f"{where}: a record of {len(found)} bytes, more than {MAX_BYTES}")
        found = parse_json(found, f"{where}: attribute {KEY!r}")
    if found is not None and not isinstance(found, dict):
        raise FormatError(f"{where}: the entry {KEY!r} is not an object")
    return found


def _json(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record)
    except (TypeError, ValueError) as exc:
        raise ValueError(
            f"the record of a model holds numbers, text, lists and dicts of these only ({exc}); "
            f"received the keys {sorted(record)}"
        ) from exc


def _dump(record: dict[str, Any]) -> str:
    text = _json(record)
    if len(text) > MAX_BYTES:
        raise ValueError(f"the record of a model has at most {MAX_BYTES} bytes, not {len(text)}")
    return text
