"""Callbacks: objects with hooks that `fit`, `evaluate` and `predict` call."""

from tlfast.callbacks._base import Callback, CallbackList, History, LambdaCallback
from tlfast.callbacks._checkpoint import ModelCheckpoint
from tlfast.callbacks._logs import CSVLogger, ProgbarLogger, TerminateOnNaN
from tlfast.callbacks._monitor import EarlyStopping, MonitorCallback, ReduceLROnPlateau
from tlfast.callbacks._rate import LearningRateScheduler

__all__ = [
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
    "TerminateOnNaN",
]
