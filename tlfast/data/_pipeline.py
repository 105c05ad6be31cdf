"""How image files became the inputs of a model, so that a photo can be read the same way later.

`fit` puts it into the model's record, which travels in model files.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from tlfast.data import _nodes
from tlfast.data._pixels import PixelSpec
from tlfast.data._tables import FileTable
from tlfast.data.dataset import Dataset

KEY = "images"  # in the record
MAX_SIDE = 16_384
_CHOICES = {
    "channels": (1, 3, 4),
    "interpolation": ("bilinear", "nearest", "bicubic", "lanczos", "box", "hamming"),
    "pipeline": ("keras", "pil"),
    "fit": ("stretch", "crop", "pad"),
}


@dataclass(frozen=True)
class Pipeline:
    """From a file to what the model is given.

    Attributes:
        spec: decoding and resizing.
        preprocessing: the module of tlfast.applications whose `preprocess_input` follows, or None.
        rescale: factor after that, or None.
        own: what else happened to the pixels in `fit`, in words: a function that no file can hold.
            None where there is nothing else.
    """

    spec: PixelSpec
    preprocessing: str | None = None
    rescale: float | None = None
    own: str | None = None

    def record(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {**asdict(self.spec), **{k: getattr(self, k) for k in _STEPS}}

    def dataset(self, paths: Sequence[str], batch_size: int) -> Dataset:
        """The files as batches of inputs, in their order."""
        table = FileTable(list(paths), None, None, None, self.spec)
        data = Dataset(_nodes.Batched(_nodes.Rows(table), batch_size, False))
        plain = self.preprocessing is None and self.rescale is None
        return data if plain else data.map(self._prepared)

    def _prepared(self, images: np.ndarray) -> np.ndarray:
        images = np.array(images, np.float32)  # a copy: what follows works in place
        if self.preprocessing is not None:
            images = _preprocess_input(self.preprocessing)(images)
        if self.rescale is not None:
            images *= self.rescale
        return images


_STEPS = tuple(field.name for field in fields(Pipeline) if field.name != "spec")


def _preprocess_input(module: str) -> Any:
    from tlfast import applications

    return getattr(applications, module).preprocess_input


def pipeline_of(data: Any) -> Pipeline | None:
    """Return how the images of `fit`'s argument are made, or None if they come from no files.

    Args:
        data: a Dataset, an iterator of ImageDataGenerator, or anything else.
    """
    from tlfast.preprocessing._iterators import DirectoryIterator

    if isinstance(data, Dataset) and isinstance(data._origin, FileTable):
        mapped = data._node.table is None
        own = "a function given to Dataset.map or filter" if mapped else None
        return Pipeline(data._origin.pixel_spec, own=own)
    if isinstance(data, DirectoryIterator):
        return _of_generator(data.table.pixel_spec, data.image_data_generator)
    return None


def _of_generator(spec: PixelSpec, generator: Any) -> Pipeline:
    function = generator.preprocessing_function
    rescale = float(generator.rescale) if generator.rescale else None
    if function is None:
        return Pipeline(spec, rescale=rescale)
    if generator.elementwise:  # a preprocess_input of tlfast
        return Pipeline(spec, function.__module__.rsplit(".", 1)[-1], rescale)
    return Pipeline(spec, rescale=rescale, own="the preprocessing_function of ImageDataGenerator")


def stored_pipeline(found: object, input_shape: Any) -> Pipeline:
    """Return the pipeline of a record, which may come from a file.

    Args:
        found: what `Pipeline.record` gave, as read.
        input_shape: of the model, batch included.

    Raises:
        ValueError: another form, or pictures of another size than the model takes.
    """
    names = [field.name for field in fields(PixelSpec)]
    if not isinstance(found, dict) or sorted(found) != sorted([*names, *_STEPS]):
        raise ValueError(f"the record's entry {KEY!r} does not have the keys {[*names, *_STEPS]}")
    for side in ("height", "width"):
        if type(found[side]) is not int or not 1 <= found[side] <= MAX_SIDE:
            raise ValueError(f"{side}={found[side]!r:.80} is no number from 1 to {MAX_SIDE}")
    for name, allowed in _CHOICES.items():
        if found[name] not in allowed:
            raise ValueError(f"{name}={found[name]!r:.80} is none of {allowed}")
    module, rescale, own = (found[name] for name in _STEPS)
    if module is not None and module not in _modules():
        raise ValueError(f"preprocessing={module!r:.80} is none of {_modules()}")
    if not (rescale is None or type(rescale) is float and np.isfinite(rescale)):
        raise ValueError(f"rescale={rescale!r:.80} is no number")
    if not (own is None or isinstance(own, str)):
        raise ValueError(f"own={own!r:.80} is no text")
    spec = PixelSpec(**{name: found[name] for name in names})
    wanted = tuple(input_shape[1:]) if isinstance(input_shape, tuple) else input_shape
    fits = len(wanted) == 3 and all(w in (None, s) for w, s in zip(wanted, spec.shape, strict=True))
    if not fits:
        raise ValueError(f"pictures of the shape {spec.shape} are stored, the model takes {wanted}")
    return Pipeline(spec, module, rescale, own)


def _modules() -> list[str]:
    from tlfast.applications._registry import WATCHED

    return sorted({*(record.module for record in WATCHED.values()), "imagenet_utils", "resnet"})


def is_files(x: Any) -> bool:
    """Whether `predict` was given the path of a file, or a list of paths."""
    if isinstance(x, (str, os.PathLike)):
        return True
    several = isinstance(x, (list, tuple)) and len(x) > 0
    return several and all(isinstance(path, (str, os.PathLike)) for path in x)
