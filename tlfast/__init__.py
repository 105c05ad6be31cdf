"""tlfast: transfer learning for image classifiers, fast on CPUs.

Scripts written for Keras run with `import tlfast as tf` or `from tlfast import keras`; names are
found where Keras has them. Everything is imported on first use.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from tlfast._version import __version__

try:
    from tlfast import _core
except ImportError as _reason:
    from tlfast._core_missing import why_not_imported

    raise ImportError(why_not_imported(_reason)) from _reason

_onednn = os.environ.get("TLFAST_DNNL") or f"{os.path.dirname(_core.__file__)}/libdnnl.so.3"
try:
    _core.load(_onednn)
except RuntimeError as _reason:
    from tlfast._core_missing import why_no_onednn

    raise ImportError(why_no_onednn(_reason, _onednn)) from _reason

# Public sub-modules, as in Keras, and names that live in one of the modules behind them.
_MODULES = (
    "activations",
    "applications",
    "backend",
    "callbacks",
    "config",
    "data",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "optimizers",
    "preprocessing",
    "regularizers",
    "saving",
    "testing",
    "utils",
    "weights",
)
_NAMES = {
    "compare": "comparison",
    "Input": "models",
    "Model": "models",
    "Sequential": "models",
    "Layer": "layers",
    "DTypePolicy": "_dtype_policy",
    "Variable": "_variable",
    "KerasTensor": "_tensor",
    "Loss": "losses",
    "Metric": "metrics",
    "Optimizer": "optimizers",
    "DataWarning": "_warnings",
    "FrozenWarning": "_warnings",
    "InputRangeWarning": "_warnings",
    "LossWarning": "_warnings",
    "ResumeWarning": "_warnings",
    "TlfastWarning": "_warnings",
}

__all__ = [
    "__version__",
    "keras",
    "num_threads",
    "set_exact",
    "set_num_threads",
    *_MODULES,
    *_NAMES,
]


if TYPE_CHECKING:  # The same names for type checkers; tests/test_api.py holds both together.
    import tlfast as keras
    from tlfast import activations as activations
    from tlfast import applications as applications
    from tlfast import backend as backend
    from tlfast import callbacks as callbacks
    from tlfast import config as config
    from tlfast import data as data
    from tlfast import initializers as initializers
    from tlfast import layers as layers
    from tlfast import losses as losses
    from tlfast import metrics as metrics
    from tlfast import mixed_precision as mixed_precision
    from tlfast import models as models
    from tlfast import optimizers as optimizers
    from tlfast import preprocessing as preprocessing
    from tlfast import regularizers as regularizers
    from tlfast import saving as saving
    from tlfast import testing as testing
    from tlfast import utils as utils
    from tlfast import weights as weights
    from tlfast._dtype_policy import DTypePolicy as DTypePolicy
    from tlfast._tensor import KerasTensor as KerasTensor
    from tlfast._variable import Variable as Variable
    from tlfast._warnings import DataWarning as DataWarning
    from tlfast._warnings import FrozenWarning as FrozenWarning
    from tlfast._warnings import InputRangeWarning as InputRangeWarning
    from tlfast._warnings import LossWarning as LossWarning
    from tlfast._warnings import ResumeWarning as ResumeWarning
    from tlfast._warnings import TlfastWarning as TlfastWarning
    from tlfast.comparison import compare as compare
    from tlfast.layers import Layer as Layer
    from tlfast.losses import Loss as Loss
    from tlfast.metrics import Metric as Metric
    from tlfast.models import Input as Input
    from tlfast.models import Model as Model
    from tlfast.models import Sequential as Sequential
    from tlfast.optimizers import Optimizer as Optimizer


def num_threads() -> int:
    """Number of threads that compute: by default the processors this process may use (affinity
    and container limits), or `OMP_NUM_THREADS`."""
    return _core.num_threads()


def set_num_threads(n: int) -> None:
    """Choose how many threads compute.

    Args:
        n: 1 to 4096; 0 for the default.

    Raises:
        ValueError: another number.
    """
    _core.set_num_threads(n)


def set_exact(exact: bool) -> None:
    """Choose between direct 3x3 convolutions and Winograd's algorithm.

    Winograd's F(4x4, 3x3) is the default where it is faster, forward and on the way back to a
    layer's input; it differs from the direct sum by about 1e-5 of a layer's largest value (arXiv
    1509.09308).

    Args:
        exact: True for direct convolutions only.
    """
    _core.set_winograd(not exact)


def __getattr__(name: str) -> Any:
    if name == "keras":
        return sys.modules[__name__]
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    if name in _OLD_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in ("load_ipython_extension", "unload_ipython_extension"):  # %load_ext tlfast
        return getattr(importlib.import_module(f"{__name__}._run_notebook"), name)
    # Private names are modules that the import system looks for here before it loads them.
    if name.startswith("_"):
        raise AttributeError(f"module 'tlfast' has no attribute {name!r}")
    tf = importlib.import_module(f"{__name__}._tf")
    return tf.lookup(name, [*_MODULES, *_NAMES])


def __dir__() -> list[str]:
    return sorted(__all__)


from tlfast._alias import install as _install_alias  # noqa: E402
from tlfast._keras2 import MODULES as _OLD_MODULES  # noqa: E402

_install_alias(sys.modules[__name__])
