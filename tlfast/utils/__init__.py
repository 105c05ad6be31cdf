"""keras.utils: data sets, images, labels and seeds."""

from tlfast._progress import Progbar
from tlfast.data.directory import image_dataset_from_directory
from tlfast.preprocessing._images import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)
from tlfast.utils._misc import normalize, set_random_seed, to_categorical
from tlfast.utils._py_dataset import PyDataset

Sequence = PyDataset

__all__ = [
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "normalize",
    "save_img",
    "set_random_seed",
    "smart_resize",
    "to_categorical",
]
