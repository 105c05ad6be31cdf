"""The preprocessing layers, under their old path."""

from tlfast.layers.preprocessing import (
    Normalization,
    RandomFlip,
    RandomRotation,
    RandomZoom,
    Rescaling,
)

__all__ = ["Normalization", "RandomFlip", "RandomRotation", "RandomZoom", "Rescaling"]
