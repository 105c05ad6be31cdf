"""Image files and arrays on their way into a model."""

from tlfast.data.directory import image_dataset_from_directory
from tlfast.preprocessing import image

__all__ = ["image", "image_dataset_from_directory"]
