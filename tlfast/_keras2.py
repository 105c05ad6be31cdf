"""What Keras 2 called differently: its modules, names and arguments, in one place.

Every old spelling works and gives one DeprecationWarning per process that says the new one.
"""

import importlib
import warnings
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from tlfast._warnings import user_level

# Modules that are gone, and the module that has their names now ("" is tlfast itself).
MODULES = {
    "applications.mobilenetv2": "applications.mobilenet_v2",
    "callbacks.callbacks": "callbacks",
    "engine": "",
    "engine.input_layer": "",
    "engine.sequential": "",
    "engine.topology": "",
    "engine.training": "",
    "layers.advanced_activations": "layers",
    "layers.experimental": "layers",
    "layers.experimental.preprocessing": "layers",
    "layers.merge": "layers",
    "optimizer_v2": "optimizers",
    "optimizer_v2.adam": "optimizers",
    "optimizer_v2.gradient_descent": "optimizers",
    "optimizer_v2.rmsprop": "optimizers",
    "optimizers.adam_v2": "optimizers",
    "optimizers.experimental": "optimizers",
    "optimizers.gradient_descent_v2": "optimizers",
    "optimizers.legacy": "optimizers",
    "optimizers.rmsprop_v2": "optimizers",
    "utils.data_utils": "utils",
    "utils.generic_utils": "utils",
    "utils.image_utils": "utils",
    "utils.np_utils": "utils",
}

# Old names by the module they were in: where each is now. "*": every name the module lacks.
NAMES = {
    "layers.convolutional": {"*": "layers"},
    "layers.core": {"*": "layers"},
    "layers.normalization": {"*": "layers"},
    "layers.pooling": {"*": "layers"},
    "optimizers": {
        "adam": "optimizers.Adam", "rmsprop": "optimizers.RMSprop", "sgd": "optimizers.SGD",
    },
}  # fmt: skip

# Old arguments by the callable that took them.
ARGUMENTS = {
    "Model": {"input": "inputs", "output": "outputs"},
    "Optimizer": {"lr": "learning_rate"},
    "ReduceLROnPlateau": {"epsilon": "min_delta"},
}

# Methods: the new name, and the arguments after the data that had a place of their own.
METHODS = {
    "fit_generator": (
        "fit",
        ("steps_per_epoch", "epochs", "verbose", "callbacks", "validation_data",
         "validation_steps", "class_weight"),
    ),
    "evaluate_generator": ("evaluate", ("steps", "callbacks")),
    "predict_generator": ("predict", ("steps", "callbacks")),
    "predict_proba": ("predict", ("batch_size", "verbose")),
}  # fmt: skip

# Logged values.
LOGGED = {"acc": "accuracy", "lr": "learning_rate"}

_said: set[str] = set()


def say(old: str, new: str, stacklevel: int = 2) -> None:
    """Give the DeprecationWarning of an old spelling, once per process.

    Args:
        old: what the script says.
        new: what to write instead.
        stacklevel: 2 names the line that called the caller of `say`, as for `warnings.warn`.
    """
    if old not in _said:
        text = f"`{old}` is the spelling of Keras 2 and deprecated, use `{new}`."
        # The modules that `tlfast run` serves stand between the script and the name.
        warnings.warn(text, DeprecationWarning, max(stacklevel + 1, user_level()))
        _said.add(old)


def are_names(value: Any) -> bool:
    """Say whether the third argument of `compile` is a list of metrics, as its place once was."""
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], str)


def renamed(owner: str, arguments: Mapping[str, Any], stacklevel: int = 2) -> dict[str, Any]:
    """Return keyword arguments under their present names.

    Args:
        owner: a key of `ARGUMENTS`.
        arguments: the arguments as given.
        stacklevel: see `say`.

    Raises:
        TypeError: an argument is given under both names.
    """
    table = ARGUMENTS[owner]
    result = dict(arguments)
    for old in table.keys() & arguments.keys():
        new = table[old]
        if new in arguments:
            raise TypeError(f"{owner}() got both {new!r} and its older name {old!r}; leave out one")
        say(f"{owner}({old}=)", f"{owner}({new}=)", stacklevel + 1)
        result[new] = result.pop(old)
    return result


def logged_name(name: str, names: Iterable[str]) -> str | None:
    """Return the logged value a name means, or None if there is none.

    Args:
        name: the name the user gave; "val_acc" is understood as "val_accuracy" and back.
        names: the names that are logged.
    """
    if name in names:
        return name
    prefix = "val_" if name.startswith("val_") else ""
    rest = name.removeprefix(prefix)
    other = LOGGED.get(rest) or {new: old for old, new in LOGGED.items()}.get(rest)
    return prefix + other if other and prefix + other in names else None


def say_logged(given: str, meant: str, stacklevel: int = 2) -> None:
    """Say that a logged value has another name, where the one given is that of Keras 2.

    Args:
        given: the name in the script.
        meant: the name in the logs.
        stacklevel: see `say`.
    """
    if given.removeprefix("val_") in LOGGED:
        say(given, meant, stacklevel + 1)


def old_name(module: str, name: str, stacklevel: int = 2) -> Any:
    """Return what an old name of a module stands for, or None if it is none.

    Args:
        module: the module's `__name__`.
        name: the name looked up in it.
        stacklevel: see `say`.
    """
    module = module.removeprefix("tlfast.").removeprefix("tlfast")
    path = f"{module}.{name}".lstrip(".")
    if path in MODULES:
        return importlib.import_module(f"tlfast.{path}")
    table = NAMES.get(module, {})
    if name.startswith("_") or not (name in table or "*" in table):
        return None
    target = table.get(name) or f"{table['*']}.{name}"
    new_module, _, new_name = target.rpartition(".")
    found = getattr(importlib.import_module(f"tlfast.{new_module}"), new_name)
    say(path, target, stacklevel + 1)
    return found


def moved(module: str, name: str) -> Any:
    """Return a name that a module had in Keras 2, for the `__getattr__` of a module that stays.

    Raises:
        AttributeError: there is no such name at the new place either.
    """
    found = old_name(module, name, 3)
    if found is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return found


class OldModule(ModuleType):
    """A module of Keras 2: its names are those of the module in `MODULES`.

    Args:
        path: key of `MODULES`.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"tlfast.{path}", f"Names now in tlfast.{MODULES[path]}".rstrip("."))
        self._path = path

    def _target(self) -> ModuleType:
        return importlib.import_module(f"tlfast.{MODULES[self._path]}".rstrip("."))

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            target = self._target()
            return getattr(target, "__all__", None) or [n for n in vars(target) if n[0] != "_"]
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if f"{self._path}.{name}" in MODULES:
            return importlib.import_module(f"tlfast.{self._path}.{name}")
        found = getattr(self._target(), name)
        say(self._path, MODULES[self._path] or "tlfast")
        return found

    def __dir__(self) -> list[str]:
        return self.__all__
