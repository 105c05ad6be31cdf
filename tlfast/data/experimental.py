"""Names that scripts look for under tf.data.experimental."""

from tlfast.data.batch import BatchArray
from tlfast.data.dataset import AUTOTUNE, INFINITE_CARDINALITY, UNKNOWN_CARDINALITY, Dataset

__all__ = ["AUTOTUNE", "INFINITE_CARDINALITY", "UNKNOWN_CARDINALITY", "cardinality"]


def cardinality(dataset: Dataset) -> BatchArray:
    """Number of elements of `dataset` as int64; -1 if infinite, -2 if unknown."""
    return dataset.cardinality()
