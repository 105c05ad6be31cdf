"""Serves `tensorflow`, `tensorflow.keras` and `keras` from tlfast, for one process.

`tlfast run` and `%load_ext tlfast` install it. Every served module passes names on to the module
of tlfast it stands for, so that classes are the same whatever path they came by. A name that
tlfast lacks raises with the name, the line of the script, and what there is instead.
"""

import importlib
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tlfast._tf import Namespace
from tlfast._version import __version__

# The releases whose names and numbers tlfast follows; scripts compare `tf.__version__` with them.
FOLLOWED = {"tensorflow": "2.21.0", "keras": "3.15.1", "tensorflow.keras": "3.15.1"}
ROOTS = ("tensorflow", "keras")
_PRIVATE = ("src", "python", "_api", "_tf_keras")


class ServedModule(ModuleType):
    """A module under its name in TensorFlow or Keras.

    Args:
        name: such as "tensorflow.keras.layers".
        target: the module or namespace of tlfast that has its names.
    """

    def __init__(self, name: str, target: Any) -> None:
        super().__init__(name, f"Names of {target.__name__}, served as {name} by tlfast.")
        self._target = target
        if name in FOLLOWED:
            self.__version__ = f"{FOLLOWED[name]}+tlfast.{__version__}"

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self.__dir__()
        if name.startswith("__"):  # the import system and inspect ask for these
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        try:
            found = getattr(self._target, name)
        except AttributeError as error:
            text = _not_there(f"{self.__name__}.{name}", error)
            raise AttributeError(text) from None
        if isinstance(found, (ModuleType, Namespace)):
            return importlib.import_module(f"{self.__name__}.{name}")
        return found

    def __dir__(self) -> list[str]:
        names = getattr(self._target, "__all__", None) or dir(self._target)
        return [name for name in names if not name.startswith("_")]


class _Finder:
    """Finds the served modules; first of all finders, so that no installed one is imported."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ROOTS:
            return None
        return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        # ImportError itself: of ModuleNotFoundError `from a import b` would lose the sentence.
        try:
            target = resolve(spec.name)
        except AttributeError as error:
            raise ImportError(_not_there(spec.name, error), name=spec.name) from None
        if not isinstance(target, (ModuleType, Namespace)):
            kind = "class" if isinstance(target, type) else "function or value"
            text = f"{spec.name} is a {kind} and not a module ({_place()})"
            raise ImportError(text, name=spec.name)
        return ServedModule(spec.name, target)

    def exec_module(self, module: ModuleType) -> None:
        """The module is whole when it is made."""


def resolve(path: str) -> Any:
    """Return what a dotted name of TensorFlow or Keras is in tlfast.

    Args:
        path: such as "tensorflow.keras.layers.Dense" or "keras.Model".

    Raises:
        AttributeError: tlfast does not have it; the message says what it has.
    """
    found: Any = importlib.import_module("tlfast")
    root, *names = path.split(".")
    for place, name in enumerate(names):
        if name in _PRIVATE:
            public = ".".join([root, *names[:place]])
            raise AttributeError(
                f"{public}.{name} is private code of the library; import from {public} itself"
            )
        found = getattr(found, name)
    return found


def install() -> str:
    """Serve the modules from now on; a second call changes nothing.

    Returns:
        The line that says so.

    Raises:
        RuntimeError: TensorFlow or Keras itself was imported before.
    """
    for root in ROOTS:
        if not isinstance(sys.modules.get(root), (ServedModule, type(None))):
            raise RuntimeError(
                f"{root} was imported in this process before tlfast could stand in for it: start "
                "a new one (in a notebook: restart the kernel) and load tlfast first"
            )
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return f"tlfast {__version__} serves tensorflow, tensorflow.keras and keras in this process"


def uninstall() -> None:
    """Serve no more: the next import of `tensorflow` or `keras` finds what is installed."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for name, module in list(sys.modules.items()):
        if isinstance(module, ServedModule):
            del sys.modules[name]


def _not_there(path: str, error: AttributeError) -> str:
    return f"tlfast does not have {path} ({_place()}). {error}"


def _place() -> str:
    """File and line of the first caller outside of this package and the import system."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("tlfast.", "importlib.")
    ):
        frame = frame.f_back
    file = frame.f_code.co_filename
    where = os.path.basename(file) if os.path.exists(file) else "this cell"
    return f"{where}, line {frame.f_lineno}"
