"""Functions given to `map`, written down as operations where they consist of known ones.

The function's names are looked at first: it may use numbers, NumPy and tlfast, so calling it
changes nothing. It is then called once with `Traced` values, which note what is done to them.
Repeating it does the same operations on arrays in the same order, which gives the same bits.
"""

import builtins
import importlib
import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_CONSTANT = 64  # numbers in an array that a function multiplies with, adds, ...
MAX_OPERATIONS = 200
_TWO = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv,
}  # fmt: skip
# Modules of tlfast.applications with a preprocess_input; no other name is looked up.
_NETWORKS = (
    "densenet", "efficientnet", "efficientnet_lite", "imagenet_utils", "inception_v3",
    "mobilenet_v2", "resnet", "resnet50", "vgg16", "vgg19", "xception",
)  # fmt: skip
_TYPES = ("uint8", "int32", "int64", "float16", "float32", "float64")


class Traced:
    """Stands for an array and remembers what is done to it."""

    __array_ufunc__ = None  # NumPy leaves arithmetic with arrays to the methods below

    def __init__(self, expression: dict[str, Any]) -> None:
        self.expression = expression

    def then(self, name: str, **settings: Any) -> "Traced":
        """The result of an operation on this value alone."""
        return Traced({"do": name, "on": self.expression, **settings})

    def astype(self, dtype: Any) -> "Traced":
        """The value in another type."""
        return self.then("cast", type=np.dtype(dtype).name)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("a traced value has no numbers")

    def __bool__(self) -> bool:
        raise TypeError("a traced value has no truth")


def _binary(name: str, swapped: bool) -> Callable[[Traced, Any], Traced]:
    def method(self: Traced, other: Any) -> Traced:
        sides = [self.expression, _constant(other)]
        return Traced({"do": name, "sides": sides[::-1] if swapped else sides})

    return method


for _name, _method in (("add", "add"), ("subtract", "sub"), ("multiply", "mul"),
                       ("divide", "truediv")):  # fmt: skip
    setattr(Traced, f"__{_method}__", _binary(_name, False))
    setattr(Traced, f"__r{_method}__", _binary(_name, True))


def _constant(value: Any) -> Any:
    if isinstance(value, Traced):
        return value.expression
    if isinstance(value, (int, float)) and not isinstance(value, (bool, np.generic)):
        return {"number": value}
    array = np.asarray(value)
    if array.dtype.name not in _TYPES or array.size > MAX_CONSTANT:
        raise TypeError(f"no constant: {value!r:.40}")
    return {"array": array.tolist(), "type": array.dtype.name}


def preprocessing_name(function: Any) -> str | None:
    """The module of tlfast.applications whose preprocess_input this is, or None."""
    module = str(getattr(function, "__module__", ""))
    name = module.removeprefix("tlfast.applications.")
    own = getattr(function, "__name__", "") == "preprocess_input" and name != module
    return name if own and name in _NETWORKS else None


def preprocessing(name: str) -> Callable[..., Any]:
    """The function that `preprocessing_name` named; the name is one of a fixed list."""
    if name not in _NETWORKS:
        raise ValueError(f"no network {name!r}")
    found: Callable[..., Any] = importlib.import_module(
        f"tlfast.applications.{name}"
    ).preprocess_input
    return found


# ---- writing down --------------------------------------------------------------------------------


def traced(function: Any, arguments: Any) -> Any:
    """What a function does to the parts of an element, as plain values; None if it is not known.

    Args:
        function: the function given to `map`.
        arguments: structure of the element: tuples, dicts, and None for each array.
    """
    if not _uses_known_names(function):
        return None
    count = 0

    def leaf() -> Traced:
        nonlocal count
        count += 1
        return Traced({"input": count - 1})

    given = _filled(arguments, leaf)
    try:
        result = function(*given) if isinstance(given, tuple) else function(given)
        made = written(result)
    except Exception:  # whatever a function of the user's raises at values that are no arrays
        return None
    return made if _size(made) <= MAX_OPERATIONS else None


def _filled(structure: Any, leaf: Callable[[], Any]) -> Any:
    if isinstance(structure, tuple):
        return tuple(_filled(item, leaf) for item in structure)
    if isinstance(structure, dict):
        return {key: _filled(item, leaf) for key, item in structure.items()}
    return leaf()


def written(result: Any) -> Any:
    """A structure of traced values as plain values."""
    if isinstance(result, tuple):
        return {"tuple": [written(item) for item in result]}
    if isinstance(result, dict):
        return {"dict": {str(key): written(item) for key, item in result.items()}}
    if not isinstance(result, Traced):
        raise TypeError(f"not computed from the element: {result!r:.40}")
    return result.expression


def structure_of(made: Any) -> Any:
    """The structure of a traced function's result, as `traced` takes it."""
    if "tuple" in made:
        return tuple(structure_of(item) for item in made["tuple"])
    if "dict" in made:
        return {key: structure_of(item) for key, item in made["dict"].items()}
    return None


def _size(made: Any) -> int:
    if isinstance(made, dict):
        return 1 + sum(map(_size, made.values()))
    return sum(map(_size, made)) if isinstance(made, list) else 0


def _uses_known_names(function: Any) -> bool:
    """Whether a function can be called without changing anything but what it returns."""
    code = getattr(function, "__code__", None)
    if preprocessing_name(function) is not None:
        return True
    if not isinstance(function, types.FunctionType) or code is None or function.__defaults__:
        return False
    if any(isinstance(constant, types.CodeType) for constant in code.co_consts):
        return False
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    used = [cell.cell_contents for cell in cells.values()]
    for name in code.co_names:
        if name in function.__globals__:
            used.append(function.__globals__[name])
        elif hasattr(builtins, name) or name == "random":
            return False  # print, open, ...; np.random
    return all(map(_is_known, used))


def _is_known(value: Any) -> bool:
    from tlfast import _tf
    from tlfast.layers import Rescaling

    if isinstance(value, types.ModuleType):
        return value.__name__.split(".")[0] in ("tlfast", "numpy")
    if isinstance(value, (int, float, np.ndarray, np.generic)) or type(value) is Rescaling:
        return True
    return preprocessing_name(value) is not None or value is _tf.cast


# ---- doing it again ------------------------------------------------------------------------------


def repeated(made: Any) -> Callable[..., Any]:
    """The function of what `traced` returned, on arrays."""

    def function(*element: Any) -> Any:
        given = element if len(element) > 1 else element[0]
        leaves: list[Any] = []
        _collect(given, leaves)
        return _computed(made, leaves)

    return function


def _collect(value: Any, leaves: list[Any]) -> None:
    if isinstance(value, (tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, leaves)
    else:
        leaves.append(value)


def _computed(made: Any, leaves: list[Any]) -> Any:
    if "tuple" in made:
        return tuple(_computed(item, leaves) for item in made["tuple"])
    if "dict" in made:
        return {key: _computed(item, leaves) for key, item in made["dict"].items()}
    if "input" in made:
        return leaves[made["input"]]
    if "number" in made:
        return made["number"]
    if "array" in made:
        return np.asarray(made["array"], made["type"])
    if made["do"] in _TWO:
        left, right = (_computed(side, leaves) for side in made["sides"])
        return _TWO[made["do"]](left, right)
    value = _computed(made["on"], leaves)
    if made["do"] == "cast":
        return np.asarray(value).astype(made["type"])
    if made["do"] == "rescaling":
        from tlfast.layers import Rescaling

        return Rescaling(made["scale"], made["offset"])(np.asarray(value))
    if made["mode"] == "lite":
        return preprocessing("efficientnet_lite")(value)
    return preprocessing("imagenet_utils")(value, mode=made["mode"])
