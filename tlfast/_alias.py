"""`tlfast.keras` is the package itself, also for `from tlfast.keras.layers import Dense`."""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PREFIX = "tlfast.keras."


class _KerasNames:
    """Serves `tlfast.keras.x.y` with the one module `tlfast.x.y`.

    A finder and loader without their base classes: importing importlib.abc takes as long as the
    rest of tlfast.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module("tlfast." + spec.name[len(_PREFIX) :])
        spec.loader_state = module.__spec__  # the import system is about to replace it
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = module.__spec__.loader_state


def install(package: ModuleType) -> None:
    """Make `package` known as `tlfast.keras`; a second call changes nothing."""
    sys.modules["tlfast.keras"] = package
    if not any(isinstance(finder, _KerasNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasNames())
