"""Objects to and from the dicts of Keras' files.

Reading uses a fixed table of class names; the `module` entry of a file chooses at most between
two tables, and nothing is ever imported or evaluated because a file names it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tlfast._errors import did_you_mean
from tlfast._tensor import KerasTensor

_PLAIN = (str, int, float, bool)
# Of arrays in configs; a type given in another way could be of any size.
_ARRAY_TYPES = frozenset(
    [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64", "bool"]
)
_KERAS_2_OPERATIONS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "TensorFlowOpLayer")


def serialize(obj: Any) -> Any:
    """Return the plain form of an object, as Keras 3 writes it.

    Args:
        obj: layer, model, initializer, regularizer, tensor, number, text, or a container of such.

    Returns:
        Numbers, texts, None, lists, tuples and dicts only.

    Raises:
        TypeError: if the object has no such form.
    """
    if obj is None or isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, (list, tuple)):
        items = [serialize(x) for x in obj]
        return tuple(items) if isinstance(obj, tuple) else items
    if isinstance(obj, dict):
        return {key: serialize(value) for key, value in obj.items()}
    if isinstance(obj, np.generic):
        return obj.item()
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, slice):
        parts = {"start": obj.start, "stop": obj.stop, "step": obj.step}
        return {"class_name": "__slice__", "config": parts}
    if isinstance(obj, np.ndarray):
        return {
            "class_name": "__numpy__",
            "config": {"value": obj.tolist(), "dtype": obj.dtype.name},
        }
    if isinstance(obj, KerasTensor):
        history = obj._keras_history
        return {
            "class_name": "__keras_tensor__",
            "config": {
                "shape": obj.shape,
                "dtype": obj.dtype,
                "keras_history": [history.operation.name, *history[1:]] if history else None,
            },
        }
    if not hasattr(obj, "get_config"):
        raise TypeError(
            f"{obj!r} of type {type(obj).__name__} cannot be stored in a model file: it has no "
            "get_config(). Use an object of tlfast or its name"
        )
    return _serialize_object(obj)


def _serialize_object(obj: Any) -> dict[str, Any]:
    cls = type(obj)
    own = cls.__module__.startswith("tlfast.")
    result = {
        "module": getattr(obj, "_module", cls.__module__) if own else cls.__module__,
        "class_name": getattr(obj, "_class_name", cls.__name__) if own else cls.__name__,
        "config": serialize(obj.get_config()),
        "registered_name": getattr(obj, "_registered_name", None) if own else cls.__name__,
    }
    for key in ("build_config", "compile_config"):
        get = getattr(obj, f"get_{key}", None)
        if get is None:
            continue
        # Keras writes an empty compile_config for a model that was not compiled.
        not_compiled = key == "compile_config" and not obj.compiled
        value = {} if not_compiled else get()
        if value is not None:
            result[key] = serialize(value)
    return result


@cache
def _tables() -> dict[str, dict[str, Any]]:
    from tlfast import initializers, layers, models, regularizers
    from tlfast.layers import _operations

    named_layers = {
        name: cls
        for name in layers.__all__
        if isinstance(cls := getattr(layers, name), type) and name != "Layer"
    }
    return {
        "layers": {
            **named_layers,
            "Functional": models.Functional,
            "Model": models.Functional,
            "Sequential": models.Sequential,
        },
        "operations": _operations.CLASSES,
        "initializers": initializers._NAMES,
        "regularizers": regularizers._NAMES,
    }


def _plain_value(name: str, config: Any) -> Any:
    """Return a value that Keras writes as an object."""
    if name == "__ellipsis__":
        return Ellipsis
    if name == "__slice__":
        return slice(*(config.get(part) for part in ("start", "stop", "step")))
    if name == "__numpy__":
        if config.get("dtype") not in (None, *_ARRAY_TYPES):
            raise ValueError(
                f"A model file holds an array of type {config['dtype']!r}; numbers "
                f"are {', '.join(sorted(_ARRAY_TYPES))}"
            )
        return np.asarray(config["value"], config.get("dtype"))
    if name == "__tuple__":
        return tuple(config)
    raise ValueError(f"A model file holds {name}, which cannot be read here")


def refuse_code(name: str) -> None:
    """Raise for objects that would run code hidden in a file.

    Raises:
        ValueError: naming the object.
    """
    if name in ("Lambda", "__lambda__", "TFSMLayer", "function"):
        raise ValueError(
            f"The model file holds a {name}, that is Python code inside a file; tlfast never runs "
            "code from files. Rebuild the model in Python and load only its weights"
        )


def deserialize(
    config: Any, custom_objects: dict[str, Any] | None = None, kind: str | None = None
) -> Any:
    """Return the object of a config.

    Args:
        config: dict with "class_name" and "config", as in files of Keras 2 and 3.
        custom_objects: classes of one's own by name.
        kind: "layers", "operations", "initializers" or "regularizers" if only one of them may
            come; None to look in all.

    Returns:
        The object; plain values are returned as they are.

    Raises:
        ValueError: if the class is not known or would run code.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        if isinstance(config, dict) and "config" not in config:
            return {k: deserialize(v, custom_objects) for k, v in config.items()}
        if isinstance(config, (list, tuple)):
            return type(config)(deserialize(v, custom_objects) for v in config)
        return config
    name = config["class_name"]
    if not isinstance(name, str):
        raise ValueError(f"class_name in a model file is a text. Received: {name!r}")
    try:
        return _made(name, config, custom_objects, kind)
    except Exception as exc:
        inner = config.get("config")
        own = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(own, str):
            exc.add_note(f"{name} {own!r}")
        raise


def _made(
    name: str, config: dict[str, Any], custom_objects: dict[str, Any] | None, kind: str | None
) -> Any:
    """Return the object of a config that has a class name."""
    refuse_code(name)
    if name.startswith("__"):
        return _plain_value(name, config.get("config", config.get("items", {})))
    inner = config.get("config", {})
    if not isinstance(inner, dict):
        raise ValueError(f"The config of {name} in a model file is a dict. Received: {inner!r}")
    cls = _find_class(name, {**config, "config": inner}, custom_objects or {}, kind)
    from_config: Callable[..., Any] = cls.from_config
    if getattr(cls, "_takes_custom_objects", False):
        obj = from_config(inner, custom_objects=custom_objects)
    else:
        obj = from_config(inner)
    build_config = config.get("build_config")
    if build_config and hasattr(obj, "build_from_config") and not obj.built:
        obj.build_from_config(build_config)
    return obj


def _find_class(
    name: str, config: dict[str, Any], custom_objects: dict[str, Any], kind: str | None
) -> Any:
    short = name.rsplit(">", 1)[-1]
    for key in (config.get("registered_name"), name, short):
        if key in custom_objects:
            return custom_objects[key]
    tables = _tables()
    module = str(config.get("module") or "")
    # A .h5 file has no modules, and Add is a layer and an operation; a layer's config says more
    # than its name. (Keras writes such files and cannot read them.)
    bare = not module and name in tables["operations"] and not set(config["config"]) - {"name"}
    if kind is None and (module.startswith("keras.src.ops") or bare):
        kind = "operations"
    order = [kind] if kind else ["layers", "initializers", "regularizers"]
    for table in order:
        if name in tables[table]:
            return tables[table][name]
    if short in _KERAS_2_OPERATIONS:
        inner = config["config"]
        raise ValueError(
            f"The model file holds {inner.get('name')!r}, a {short}: a TensorFlow operation "
            f"({inner.get('function', 'a part of a tensor')}) on a tensor, which Keras 2 wrote and "
            "Keras 3 does not read either. Build the model again in Python, with Rescaling or "
            "preprocess_input in its place, and load only the weights with load_weights"
        )
    known = [k for table in order for k in tables[table]]
    raise ValueError(
        f"The model file holds an object of class {name!r} (module {module or 'not given'}), "
        f"which tlfast does not have.{did_you_mean(name, known, 0.8)} If it is a class of your "
        f"own, pass custom_objects={{'{name}': {short}}}"
    )
