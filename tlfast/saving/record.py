"""What a model file tells beside the network: class names, how the training went.

Keras ignores it: it lies under the key "tlfast" of metadata.json in `.keras` files, and in the
attribute "tlfast" of the root in HDF5 files.
"""

import json
from typing import Any

from tlfast import _backbones
from tlfast.saving.config_json import parse_json
from tlfast.saving.errors import FormatError

KEY = "tlfast"
MAX_BYTES = 4 << 20


def get_record(model: Any) -> dict[str, Any]:
    """Return a model's record; changes to it are written by the next save.

    Args:
        model: any model.

    Returns:
        A dict of plain values. `fit` sets "class_names" (list of text) where the data have
        some, and "recipe" (see `tlfast._recipe`); saving adds "history" (dict of lists), the logs
        of the last `fit`, and "backbones" (see `tlfast._backbones`).
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
    """Return the record as JSON, with the logs of the last `fit` and the backbones inside."""
    record = dict(get_record(model))
    if "recipe" in record:
        from tlfast._recipe import _recorder

        record["recipe"] = _recorder.sealed(model, MAX_BYTES // 2)
    logs = getattr(getattr(model, "history", None), "history", None)
    if logs:
        record["history"] = {key: [float(value) for value in row] for key, row in logs.items()}
    if backbones := _backbones.as_record(model):
        record["backbones"] = backbones
    return _dump(record)


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
        model._file_record = {key: value for key, value in record.items() if key != "backbones"}


def stored_backbones(found: object, where: str) -> dict[str, _backbones.Stem]:
    """Return what a file's record says of the pretrained networks in it; {} without a record.

    Args:
        found, where: see `restore_record`.
    """
    record = _parsed(found, where) or {}
    try:
        return _backbones.from_record(record.get("backbones", {}))
    except ValueError as exc:
        raise FormatError(f"{where}: the entry {KEY!r}: {exc}") from exc


def _parsed(found: object, where: str) -> dict[str, Any] | None:
    if isinstance(found, str):
        if len(found) > MAX_BYTES:
            raise FormatError(f"{where}: a record of {len(found)} bytes, more than {MAX_BYTES}")
        found = parse_json(found, f"{where}: attribute {KEY!r}")
    if found is not None and not isinstance(found, dict):
        raise FormatError(f"{where}: the entry {KEY!r} is not an object")
    return found


def _dump(record: dict[str, Any]) -> str:
    try:
        text = json.dumps(record)
    except (TypeError, ValueError) as exc:
        raise ValueError(
            f"the record of a model holds numbers, text, lists and dicts of these only ({exc}); "
            f"received the keys {sorted(record)}"
        ) from exc
    if len(text) > MAX_BYTES:
        raise ValueError(f"the record of a model has at most {MAX_BYTES} bytes, not {len(text)}")
    return text
