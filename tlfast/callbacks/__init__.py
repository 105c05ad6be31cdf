"""Callbacks: objects with hooks that `fit`, `evaluate` and `predict` call."""

from typing import Any

from tlfast import _keras2, _registry
from tlfast.callbacks._backup import BackupAndRestore
from tlfast.callbacks._base import Callback, CallbackList, History, LambdaCallback
from tlfast.callbacks._checkpoint import ModelCheckpoint
from tlfast.callbacks._csv import CSVLogger
from tlfast.callbacks._monitor import EarlyStopping, MonitorCallback, ReduceLROnPlateau
from tlfast.callbacks._nan import TerminateOnNaN
from tlfast.callbacks._progbar import ProgbarLogger
from tlfast.callbacks._rate import LearningRateScheduler
from tlfast.callbacks._remote import RemoteMonitor
from tlfast.callbacks._tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "MonitorCallback",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "TensorBoard",
    "TerminateOnNaN",
]

_MISSING = ("OrbaxCheckpoint", "SwapEMAWeights")


def __getattr__(name: str) -> Any:
    found = _keras2.old_name(__name__, name)
    if found is not None:
        return found
    raise _registry.no_attribute(__name__, name, __all__, _MISSING)
