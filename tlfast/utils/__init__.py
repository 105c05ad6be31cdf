"""keras.utils: data sets, images, labels and seeds."""

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from tlfast import _keras2
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

if TYPE_CHECKING:
    from tlfast.weights.files import get_file as get_file

# Imported on first use: it brings in the network.
_ELSEWHERE = {"get_file": "tlfast.weights.files"}

__all__ = [
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "get_file",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "normalize",
    "save_img",
    "set_random_seed",
    "smart_resize",
    "to_categorical",
]


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    found = _keras2.old_name(__name__, name)
    if found is not None:
        return found
    if name.startswith("_"):
        raise AttributeError(f"module 'tlfast.utils' has no attribute {name!r}")
    close = difflib.get_close_matches(name, __all__, 1)
    hint = f" Did you mean {close[0]!r}?" if close else f" It has: {', '.join(__all__)}."
    raise AttributeError(f"tlfast.utils has no {name!r}.{hint}")
