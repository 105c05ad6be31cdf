"""Datasets: what `tf.data` is to a Keras script."""

from typing import Any

from tlfast import _registry
from tlfast.data import experimental
from tlfast.data.batch import BatchArray
from tlfast.data.dataset import (
    AUTOTUNE,
    INFINITE_CARDINALITY,
    UNKNOWN_CARDINALITY,
    Dataset,
    TensorSpec,
)

__all__ = [
    "AUTOTUNE",
    "INFINITE_CARDINALITY",
    "UNKNOWN_CARDINALITY",
    "BatchArray",
    "Dataset",
    "TensorSpec",
    "experimental",
]


def __getattr__(name: str) -> Any:
    raise _registry.no_attribute(__name__, name, __all__)
