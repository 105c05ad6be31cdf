"""Names to objects and back: look-up with suggestions, and Keras' layout of stored objects.

A stored object is `{"module", "class_name", "config", "registered_name"}`, a stored function
`{"module": "builtins", "class_name": "function", "config": name, "registered_name": name}`
(keras/src/saving/serialization_lib.py). Only classes and functions of a given table are made:
a file can never name code to import.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tlfast._errors import did_you_mean


def refuse_unknown(where: str, given: Mapping[str, object], allowed: Iterable[str]) -> None:
    """Raise TypeError for leftover keyword arguments, naming the closest known one.

    Args:
        where: the callable, as the user writes it ("Model.fit").
        given: the leftover `**kwargs`.
        allowed: names of the known arguments.
    """
    if not given:
        return
    allowed = list(allowed)
    name = next(iter(given))
    raise TypeError(
        f"{where}() got an unexpected argument {name!r} (value {given[name]!r})."
        f"{did_you_mean(name, allowed)} Known arguments: {', '.join(allowed)}."
    )


def no_attribute(
    module: str, name: str, names: Iterable[str], missing: Iterable[str] = ()
) -> AttributeError:
    """Return the error for a name a module does not have.

    Args:
        module: the module's name.
        name: the name asked for.
        names: the public names of the module.
        missing: names Keras has there and tlfast does not.
    """
    names = list(names)
    if name in set(missing):
        text = f"Keras has it, tlfast does not. Available: {', '.join(sorted(names))}."
        return AttributeError(f"module {module!r} has no attribute {name!r}: {text}")
    return AttributeError(
        f"module {module!r} has no attribute {name!r}.{did_you_mean(name, names)}"
    )


def look_up(name: str, table: Mapping[str, Any], what: str) -> Any:
    """Return `table[name]`, or raise ValueError listing close names.

    Args:
        name: the name given by the user or the file.
        table: allowed names and what they stand for.
        what: the kind of thing, for the message ("loss", "metric", ...).
    """
    if name in table:
        return table[name]
    raise ValueError(
        f"Unknown {what} {name!r}.{did_you_mean(name, table)} Known names: "
        f"{', '.join(sorted({key for key in table if key == key.lower()} or set(table)))}."
    )


def serialize(obj: object, module: str) -> dict[str, Any]:
    """Store an object or a function of the package in Keras' layout.

    Args:
        obj: an instance with `get_config()`, or a function.
        module: the Keras module path written beside the class name ("keras.losses").
    """
    if hasattr(obj, "get_config"):
        kind = type(obj)
        own = kind.__module__.split(".")[0] == __name__.split(".")[0]
        return {
            "module": module if own else None,
            "class_name": kind.__name__,
            "config": obj.get_config(),
            "registered_name": None if own else kind.__name__,
        }
    if callable(obj) and hasattr(obj, "__name__"):
        name = obj.__name__
        return {
            "module": "builtins",
            "class_name": "function",
            "config": name,
            "registered_name": name,
        }
    raise TypeError(
        f"Cannot store {obj!r}: it is neither a function nor an object with `get_config()`."
    )


def deserialize(
    config: Mapping[str, Any],
    table: Mapping[str, Any],
    what: str,
    custom: Mapping[str, Any] | None = None,
) -> Any:
    """Make the object that `serialize` stored; only names of `table` and `custom` are accepted.

    Args:
        config: the stored dictionary.
        table: classes and functions by name.
        what: the kind of thing, for messages.
        custom: further classes and functions given by the caller.
    """
    names = {**table, **(custom or {})}
    if "class_name" not in config:
        raise ValueError(
            f"Expected a stored {what} with the keys 'class_name' and 'config', "
            f"got a dictionary with the keys {sorted(map(str, config))}."
        )
    class_name = config["class_name"]
    if class_name == "function":
        return look_up(config["config"], names, what)
    made = look_up(class_name, names, what)
    inner = config.get("config")
    if not isinstance(inner, Mapping):
        raise ValueError(
            f"The stored {what} {class_name!r} has no configuration dictionary (got {inner!r})."
        )
    return _from_config(made, dict(inner))


def _from_config(made: Any, config: dict[str, Any]) -> Any:
    if hasattr(made, "from_config"):
        return made.from_config(config)
    return made(**config)
