"""JSON from model files, under limits, and checked for code before anything is built."""

import json
from typing import Any

from tlfast._shown import MAX_NAME, is_name, shown
from tlfast.saving.errors import FormatError

# Keras' largest application (EfficientNetV2L) has 1.3 MB of config, nested 12 deep.
MAX_BYTES = 16 << 20
MAX_DEPTH = 200
MAX_VALUES = 1_000_000
# NASNetLarge has 1,041 layers, each called once; building one takes about a millisecond.
MAX_LAYERS = 5_000
MAX_CALLS = 20_000

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
        text = text if isinstance(text, str) else text.decode("utf-8")
        # Before the values are made: an empty list is two bytes of text and 64 of memory.
        if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
            raise FormatError(f"{where}: more than {MAX_VALUES} values")
        found = json.loads(text)
    except FormatError:
        raise
    except RecursionError as exc:
        raise FormatError(f"{where}: JSON nested too deep") from exc
    except ValueError as exc:
        raise FormatError(f"{where}: not JSON ({exc})") from exc
    if not isinstance(found, dict):
        raise FormatError(f"{where}: expected a JSON object, got {type(found).__name__}")
    _check_depth(found, where)
    return found


def _check_depth(found: dict[str, Any], where: str) -> None:
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return
        level = below
    raise FormatError(f"{where}: JSON nested deeper than {MAX_DEPTH} levels")


def check_config(config: dict[str, Any], where: str) -> None:
    """Raise FormatError, naming the layer, for a config that is not to be built.

    Args:
        config: a parsed config of the depth `parse_json` allows: of a model, or of `compile`.
        where: text that names the file in error messages.

    Raises:
        FormatError: Python code, a name that is none, or more layers and calls than any model.
    """
    _check_objects(config, where)
    layers = _count_layers(config)
    if layers > MAX_LAYERS:
        raise FormatError(f"{where}: {layers} layers, more than {MAX_LAYERS}")
    if _count_calls(config) > MAX_CALLS:
        raise FormatError(f"{where}: the model makes more than {MAX_CALLS} calls of layers")


def _check_objects(config: Any, where: str) -> None:
    if isinstance(config, dict):
        for key in ("name", "class_name"):
            given = config.get(key)
            if isinstance(given, str) and not is_name(given):
                raise FormatError(
                    f"{where}: the {key} '{shown(given)}' holds characters that cannot be seen, "
                    f"or more than {MAX_NAME}"
                )
        name = config.get("class_name")
        if isinstance(name, str) and name.rsplit(">", 1)[-1] in _CODE:
            inner = config.get("config")
            layer = inner.get("name") if isinstance(inner, dict) else None
            raise FormatError(
                f"{where}: layer {shown(layer or config.get('name'))!r} is a {shown(name)}, that "
                "is Python code inside a file; tlfast never runs code from files. Rebuild the "
                "model in Python and load only the weights with load_weights"
            )
        for value in config.values():
            _check_objects(value, where)
    elif isinstance(config, list):
        for value in config:
            _check_objects(value, where)


def _count_layers(config: Any) -> int:
    """The lengths of all lists of layers, at any depth."""
    if isinstance(config, dict):
        layers = config.get("layers")
        own = len(layers) if isinstance(layers, list) else 0
        return own + sum(map(_count_layers, config.values()))
    if isinstance(config, list):
        return sum(map(_count_layers, config))
    return 0


def _count_calls(config: Any) -> int:
    """The calls of layers that one call of an object makes, those of models inside included.

    A model that calls a model twice, which calls another one twice, and so on, is short to write
    down and takes for ever to run.
    """
    if isinstance(config, list):
        return sum(map(_count_calls, config))
    if not isinstance(config, dict):
        return 0
    layers = config.get("layers")
    calls = 0
    for layer in layers if isinstance(layers, list) else ():
        nodes = layer.get("inbound_nodes") if isinstance(layer, dict) else None
        times = len(nodes) if isinstance(nodes, list) and nodes else 1
        calls += times * (1 + _count_calls(layer))
    others = (value for key, value in config.items() if key not in ("layers", "inbound_nodes"))
    return calls + sum(map(_count_calls, others))
