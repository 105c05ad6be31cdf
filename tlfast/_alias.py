"""`tlfast.keras` is the package itself, also for `from tlfast.keras.layers import Dense`.

Modules of Keras 2 (`tlfast.keras.optimizers.adam_v2`) are served beside, see `tlfast._keras2`.
"""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tlfast._keras2 import MODULES, OldModule

_OWN, _PREFIX = "tlfast.", "tlfast.keras."


class _KerasNames:
    """Serves `tlfast.keras.x.y` with the one module `tlfast.x.y`, and the modules of Keras 2.

    A finder and loader without their base classes: importing importlib.abc takes as long as the
    rest of tlfast.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.startswith(_PREFIX):
            return ModuleSpec(fullname, self)  # type: ignore[arg-type]
        if fullname.startswith(_OWN) and fullname[len(_OWN) :] in MODULES:
            return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if not spec.name.startswith(_PREFIX):
            return OldModule(spec.name[len(_OWN) :])
        module = importlib.import_module(_OWN + spec.name[len(_PREFIX) :])
        spec.loader_state = module.__spec__  # the import system is about to replace it
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None and module.__spec__.loader_state is not None:
            module.__spec__ = module.__spec__.loader_state


def install(package: ModuleType) -> None:
    """Make `package` known as `tlfast.keras`; a second call changes nothing."""
    sys.modules["tlfast.keras"] = package
    if not any(isinstance(finder, _KerasNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasNames())
