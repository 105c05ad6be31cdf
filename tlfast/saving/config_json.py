"""JSON from model files, under limits, and checked for code before anything is built."""

import json
from typing import Any

from tlfast.saving.errors import FormatError

# Keras' largest application (EfficientNetV2L) has 1.3 MB of config, nested 12 deep.
MAX_BYTES = 64 << 20
MAX_DEPTH = 200
MAX_VALUES = 5_000_000

_CODE = ("Lambda", "__lambda__", "TFSMLayer")


def parse_json(text: bytes | str, where: str) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Args:
        text: the JSON.
        where: text that names the file and the part in error messages.

    Raises:
        FormatError: not JSON, not an object, too large or too deep.
    """
    if len(text) > MAX_BYTES:
        raise FormatError(f"{where}: {len(text)} bytes of JSON, more than {MAX_BYTES}")
    try:
        found = json.loads(text)
    except RecursionError as exc:
        raise FormatError(f"{where}: JSON nested too deep") from exc
    except ValueError as exc:
        raise FormatError(f"{where}: not JSON ({exc})") from exc
    if not isinstance(found, dict):
        raise FormatError(f"{where}: expected a JSON object, got {type(found).__name__}")
    _check_size(found, where)
    return found


def _check_size(found: dict[str, Any], where: str) -> None:
    level: list[Any] = [found]
    total = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        total += len(below)
        if total > MAX_VALUES:
            raise FormatError(f"{where}: more than {MAX_VALUES} values")
        if not below:
            return
        level = below
    raise FormatError(f"{where}: JSON nested deeper than {MAX_DEPTH} levels")


def refuse_code(config: Any, where: str) -> None:
    """Raise FormatError, naming the layer, if a config holds Python code.

    Args:
        config: a parsed model config of the depth `parse_json` allows.
        where: text that names the file in error messages.
    """
    if isinstance(config, dict):
        name = config.get("class_name")
        if isinstance(name, str) and name.rsplit(">", 1)[-1] in _CODE:
            inner = config.get("config")
            layer = inner.get("name") if isinstance(inner, dict) else None
            raise FormatError(
                f"{where}: layer {str(layer or config.get('name'))!r} is a {name}, that is Python "
                "code inside the file, which is never run; rebuild the model in Python and load "
                "only the weights with load_weights"
            )
        for value in config.values():
            refuse_code(value, where)
    elif isinstance(config, list):
        for value in config:
            refuse_code(value, where)
