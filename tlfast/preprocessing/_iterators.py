"""Iterators of ImageDataGenerator: batches of images from folders or arrays.

Order and random draws are those of Keras: NumPy's global generator, reseeded before each batch with
seed + number of batches so far, where a seed is given. All draws of a batch are made before any of
its files is read, which gives the same numbers and lets files be decoded ahead.
"""

import os
import threading
import warnings
from collections.abc import Iterator as AnyIterator
from typing import Any

import numpy as np

from tlfast._warnings import DataWarning
from tlfast.data import _files
from tlfast.data._pixels import PixelSpec
from tlfast.data._tables import Bad, FileTable, bad_image_sentence, content_hash
from tlfast.data.directory import CHANNELS, check_choice, check_data_format, check_size
from tlfast.preprocessing._images import PIL_METHODS, array_to_img
from tlfast.utils._py_dataset import PyDataset

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff")
_CLASS_MODES = ("categorical", "binary", "sparse", "input", None)


class Iterator(PyDataset):
    """Endless batches over `n` samples, a new order after each pass.

    Attributes:
        n, batch_size, shuffle, seed: as given.
        batch_index: number of the next batch in the pass.
        total_batches_seen: batches drawn so far, which moves the seed.
        index_array: order of the samples in this pass, or None before the first batch.
    """

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None) -> None:
        super().__init__()
        if isinstance(batch_size, bool) or int(batch_size) < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
        self.n = n
        self.batch_size: int = int(batch_size)
        self.seed = seed
        self.shuffle = shuffle
        self.batch_index: int = 0
        self.total_batches_seen: int = 0
        self.lock: threading.Lock = threading.Lock()
        self.index_array: Any = None  # drawn at the first use

    def _set_index_array(self) -> None:
        self.index_array = np.random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _reseed(self) -> None:
        if self.seed is not None:
            np.random.seed(self.seed + self.total_batches_seen)
        self.total_batches_seen += 1

    def draw(self, index: int) -> tuple[np.ndarray, list[Any]]:
        """Sample numbers of batch `index` and the random transformation of each."""
        self._reseed()
        if self.index_array is None:
            self._set_index_array()
        start = self.batch_size * index
        return self._with_transforms(self.index_array[start : start + self.batch_size])

    def _with_transforms(self, ids: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        generator, shape = self.image_data_generator, self.image_shape
        return ids, [generator.get_random_transform(shape) for _ in ids]

    def __getitem__(self, idx: int) -> Any:
        if not 0 <= idx < len(self):
            raise ValueError(
                f"Asked to retrieve element {idx}, but the iterator has {len(self)} batches."
            )
        return self._load(*self.draw(idx))

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def on_epoch_end(self) -> None:
        """Draw the order of the next pass."""
        self._set_index_array()

    def reset(self) -> None:
        """Start the next pass of `next()` at its first batch."""
        self.batch_index = 0

    def __iter__(self) -> "Iterator":
        return self

    def __next__(self) -> Any:
        with self.lock:
            self._reseed()
            if self.batch_index == 0:
                self._set_index_array()
            start = self.batch_index * self.batch_size
            self.batch_index = self.batch_index + 1 if self.n > start + self.batch_size else 0
            drawn = self._with_transforms(self.index_array[start : start + self.batch_size])
        return self._load(*drawn)

    def next(self) -> Any:
        """The next batch, as `next(iterator)`."""
        return self.__next__()

    def _load(self, ids: np.ndarray, transforms: list[Any]) -> Any:
        for images, kept, bad in self.images([(ids, transforms)]):
            if bad:
                warnings.warn(bad_image_sentence(bad), DataWarning, stacklevel=3)
            return self.assemble(images, kept)

    def images(
        self, drawn: list[tuple[np.ndarray, list[Any]]]
    ) -> AnyIterator[tuple[np.ndarray, np.ndarray, Bad]]:
        """Finished images of drawn batches, the samples they are, and files left out."""
        raise NotImplementedError

    def assemble(self, images: np.ndarray, ids: np.ndarray) -> Any:
        """Images with their targets and weights, as batches are yielded."""
        raise NotImplementedError

    def _finish(self, rows: np.ndarray, transforms: list[Any]) -> np.ndarray:
        """Augment and standardize images."""
        generator = self.image_data_generator
        rows = np.array(rows, dtype=self.dtype)  # a copy: what follows works in place
        if not generator.augments and generator.elementwise:
            return np.asarray(generator.standardize(rows), dtype=self.dtype)
        for i, transform in enumerate(transforms):
            row = generator.apply_transform(rows[i], transform)
            rows[i] = generator.standardize(row)
        return rows

    def _save(self, images: np.ndarray, ids: np.ndarray, most: int) -> None:
        """Write finished images for a look at them, if `save_to_dir` was given."""
        if not self.save_to_dir:
            return
        for image, number in zip(images, ids, strict=True):
            name = f"{self.save_prefix}_{number}_{np.random.randint(most)}.{self.save_format}"
            array_to_img(image, scale=True).save(os.path.join(self.save_to_dir, name))


class DirectoryIterator(Iterator):
    """Batches of images from a folder with one sub-folder per class.

    Made by `ImageDataGenerator.flow_from_directory`, which describes the arguments.

    Attributes:
        samples, n: number of images.
        class_indices: class name to number.
        classes, labels: class number of each image, int32.
        filenames: paths relative to `directory`; filepaths: whole paths.
        num_classes, target_size, image_shape, color_mode, class_mode: as named.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        image_data_generator: Any,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: list[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: Any = None,
        on_bad_image: str = "error",
    ) -> None:
        check_data_format(data_format)
        check_choice("color_mode", color_mode, tuple(CHANNELS))
        check_choice("class_mode", class_mode, _CLASS_MODES)
        check_choice("interpolation", interpolation, PIL_METHODS)
        check_choice("on_bad_image", on_bad_image, ("error", "skip"))
        self.image_data_generator = image_data_generator
        self.target_size: tuple[int, int] = check_size("target_size", target_size)
        self.color_mode = color_mode
        self.class_mode = class_mode
        self.image_shape: tuple[int, int, int] = (*self.target_size, CHANNELS[color_mode])
        self.data_format = "channels_last"
        self.interpolation = interpolation
        self.keep_aspect_ratio = keep_aspect_ratio
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        self.dtype: np.dtype[Any] = np.dtype(dtype or np.float32)
        self.subset = subset
        self.split: tuple[float, float] | None = _split_of(
            subset, image_data_generator._validation_split
        )
        self.directory: str = _files.check_directory(directory)
        self._list(classes, follow_links)
        super().__init__(self.samples, batch_size, shuffle, seed)
        spec = PixelSpec(
            *self.image_shape, interpolation, "pil", "crop" if keep_aspect_ratio else "stretch"
        )
        self.table: _IteratorTable = _IteratorTable(self, spec, on_bad_image)

    def _list(self, classes: list[str] | None, follow_links: bool) -> None:
        folders = _files.class_folders(self.directory)
        names = (
            _files.check_names(classes, folders, "classes", self.directory) if classes else folders
        )
        self.num_classes: int = len(names)
        self.class_indices: dict[str, int] = {name: number for number, name in enumerate(names)}
        self.filenames: list[str] = []
        numbers, ignored = [], []
        for number, name in enumerate(names):
            listing = _files.list_files(os.path.join(self.directory, name), ENDINGS, follow_links)
            files = listing.files
            if self.split is not None:
                files = files[int(self.split[0] * len(files)) : int(self.split[1] * len(files))]
            self.filenames += [
                os.path.relpath(os.path.join(root, file), self.directory) for root, file in files
            ]
            numbers += [number] * len(files)
            ignored += listing.ignored
        self.samples: int = len(self.filenames)
        self.classes: np.ndarray = np.array(numbers, dtype=np.int32)
        self.filepaths: list[str] = [os.path.join(self.directory, name) for name in self.filenames]
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        if ignored:
            print(_files.ignored_sentence(ignored, ENDINGS))
        self._check_found(names, folders, ignored)

    def _check_found(self, names: list[str], folders: list[str], ignored: list[str]) -> None:
        if not self.samples:
            text = _files.no_images(
                self.directory,
                folders,
                ignored,
                ENDINGS,
                lambda: _files.loose_images(self.directory, ENDINGS),
            )
            if self.split is not None:
                text += (
                    f" With validation_split={self.image_data_generator._validation_split}, "
                    f'subset="{self.subset}" takes int(split * images) files of each class.'
                )
            raise ValueError(text)
        if self.class_mode == "binary" and self.num_classes != 2:
            raise ValueError(
                f'class_mode="binary" needs exactly two classes; {self.directory!r} has '
                f'{self.num_classes}: {names}. Use class_mode="categorical" or "sparse", or give '
                "two names in classes."
            )

    @property
    def labels(self) -> np.ndarray:
        """Class number of each image."""
        return self.classes

    @property
    def sample_weight(self) -> None:
        """None: images from folders have no weights."""
        return None

    def images(
        self, drawn: list[tuple[np.ndarray, list[Any]]]
    ) -> AnyIterator[tuple[np.ndarray, np.ndarray, Bad]]:
        """Finished images of drawn batches, the samples they are, and files left out."""
        batches = [np.asarray(ids, np.int64) for ids, _ in drawn]
        read = self.table.raw(batches)
        for (ids, transforms), (rows, kept, bad) in zip(drawn, read, strict=True):
            if len(kept) < len(ids):
                place = {number: i for i, number in enumerate(ids.tolist())}
                transforms = [transforms[place[number]] for number in kept.tolist()]
            images = self._finish(rows, transforms)
            self._save(images, kept, 10**7)
            yield images, kept, bad

    def targets(self, ids: np.ndarray) -> np.ndarray | None:
        """Targets for class_mode categorical, binary or sparse; None for the others."""
        if self.class_mode == "categorical":
            return np.eye(self.num_classes, dtype=self.dtype)[self.classes[ids]]
        if self.class_mode in ("binary", "sparse"):
            return self.classes[ids].astype(self.dtype)
        return None

    def assemble(self, images: np.ndarray, ids: np.ndarray) -> Any:
        """Images with their targets, as batches are yielded."""
        if self.class_mode is None:
            return images
        if self.class_mode == "input":
            return images, images.copy()
        return images, self.targets(ids)


def _split_of(subset: str | None, fraction: float) -> tuple[float, float] | None:
    """The part of each class that `subset` takes: validation comes first, as in Keras."""
    check_choice("subset", subset, ("training", "validation", None))
    if subset is None:
        return None
    if subset == "validation" and not fraction:
        raise ValueError(
            'subset="validation" needs ImageDataGenerator(validation_split=...), for example 0.2; '
            f"this generator has validation_split={fraction}."
        )
    return (0, fraction) if subset == "validation" else (fraction, 1)


class _IteratorTable(FileTable):
    """Images of a DirectoryIterator as its generator finishes them, for training by number."""

    def __init__(self, iterator: DirectoryIterator, spec: PixelSpec, on_bad_image: str) -> None:
        super().__init__(
            iterator.filepaths,
            iterator.classes,
            None,
            list(iterator.class_indices),
            spec,
            on_bad_image,
        )
        self._iterator = iterator

    def raw(self, batches: list[np.ndarray]) -> AnyIterator[tuple[np.ndarray, np.ndarray, Bad]]:
        """Images as they are in the files, resized."""
        return self._read(batches)

    def spec(self) -> Any:
        image = (self._iterator.image_shape, self._iterator.dtype)
        target = self._iterator.targets(np.zeros(1, np.int64))
        return image if target is None else (image, (target.shape[1:], target.dtype))

    def identity(self) -> Any:
        return (*super().identity(), self._iterator.image_data_generator.identity())

    def targets(self, ids: np.ndarray) -> list[np.ndarray] | None:
        target = self._iterator.targets(ids)
        return None if target is None else [target]

    def pixels(self, batches: list[np.ndarray]) -> AnyIterator[tuple[list[Any], np.ndarray, Bad]]:
        drawn = [(ids, [None] * len(ids)) for ids in batches]
        for images, kept, bad in self._iterator.images(drawn):
            yield [images], kept, bad


class NumpyArrayIterator(Iterator):
    """Batches from arrays in memory. Made by `ImageDataGenerator.flow`.

    Attributes:
        x: images as float32; y: targets or None; sample_weight: weights or None.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        image_data_generator: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        ignore_class_split: bool = False,
        dtype: Any = None,
    ) -> None:
        check_data_format(data_format)
        self.dtype: np.dtype[Any] = np.dtype(dtype or np.float32)
        others = []
        if isinstance(x, (tuple, list)):
            given = x[1] if isinstance(x[1], list) else [x[1]]
            x, others = x[0], [np.asarray(a) for a in given]
        _check_lengths(x, y, sample_weight, others)
        split = _split_of(subset, image_data_generator._validation_split)
        if split is not None:
            at = int(len(x) * image_data_generator._validation_split)
            if y is not None and not ignore_class_split:
                _check_classes_in_both(np.asarray(y), at)
            part = slice(None, at) if subset == "validation" else slice(at, None)
            x, others = x[part], [a[part] for a in others]
            y = None if y is None else y[part]
            # Keras leaves the weights whole here, so that they belong to other rows.
            sample_weight = None if sample_weight is None else sample_weight[part]
        self.x: np.ndarray = np.asarray(x, dtype=self.dtype)
        self.x_misc: list[Any] = others
        if self.x.ndim != 4:
            raise ValueError(
                "flow() needs images of shape (samples, height, width, channels), got "
                f"{self.x.shape}; a single image needs x[None]"
            )
        if self.x.shape[3] not in (1, 3, 4):
            raise ValueError(
                f"flow() needs 1, 3 or 4 channels on the last axis, got {self.x.shape}"
            )
        self.y: np.ndarray | None = None if y is None else np.asarray(y)
        self.sample_weight: np.ndarray | None = (
            None if sample_weight is None else np.asarray(sample_weight)
        )
        self.image_data_generator = image_data_generator
        self.image_shape: tuple[int, ...] = self.x.shape[1:]
        self.data_format = "channels_last"
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def images(
        self, drawn: list[tuple[np.ndarray, list[Any]]]
    ) -> AnyIterator[tuple[np.ndarray, np.ndarray, Bad]]:
        """Finished images of drawn batches and the samples they are."""
        for ids, transforms in drawn:
            images = self._finish(self.x[ids], transforms)
            self._save(images, ids, 10**4)
            yield images, ids, []

    def assemble(self, images: np.ndarray, ids: np.ndarray) -> Any:
        """Images with further inputs, targets and weights, as batches are yielded."""
        inputs = [images, *(a[ids] for a in self.x_misc)] if self.x_misc else images
        if self.y is None:
            return inputs
        if self.sample_weight is None:
            return inputs, self.y[ids]
        return inputs, self.y[ids], self.sample_weight[ids]

    def identity(self) -> Any:
        """Same key, same pixels for a sample number."""
        return ("flow", content_hash([self.x]), self.image_data_generator.identity())


# The classes whose batches may be loaded by their numbers; a subclass of a user's may load its own.
LOADED_HERE: set[type] = {DirectoryIterator, NumpyArrayIterator}


def _check_lengths(x: Any, y: Any, sample_weight: Any, others: list[np.ndarray]) -> None:
    named = [("y", y), ("sample_weight", sample_weight), *(("x[1]", a) for a in others)]
    for name, value in named:
        if value is not None and len(value) != len(x):
            raise ValueError(
                f"x and {name} must have the same length; got {len(x)} and {len(value)}"
            )


def _check_classes_in_both(y: np.ndarray, at: int) -> None:
    if not np.array_equal(np.unique(y[:at]), np.unique(y[at:])):
        raise ValueError(
            "Training and validation subsets have different classes after the split. If your "
            "arrays are sorted by label, shuffle them first; or pass ignore_class_split=True."
        )
