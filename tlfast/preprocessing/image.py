"""ImageDataGenerator and the image utilities, at the path where Keras scripts import them."""

import hashlib
import os
from typing import Any

import numpy as np

from tlfast._arguments import checked_arguments
from tlfast.data.directory import check_choice, check_data_format
from tlfast.preprocessing import _augment
from tlfast.preprocessing._augment import FILL_MODES
from tlfast.preprocessing._images import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)
from tlfast.preprocessing._iterators import DirectoryIterator, Iterator, NumpyArrayIterator

__all__ = [
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "array_to_img",
    "img_to_array",
    "load_img",
    "save_img",
    "smart_resize",
]

# Arguments of Keras that are not built, with the value that switches them off.
_NOT_BUILT = {
    "featurewise_center": False,
    "samplewise_center": False,
    "featurewise_std_normalization": False,
    "samplewise_std_normalization": False,
    "zca_whitening": False,
}


# The parameters of `apply_transform` at which nothing happens.
_UNCHANGED = {
    "theta": 0,
    "tx": 0,
    "ty": 0,
    "shear": 0,
    "zx": 1,
    "zy": 1,
    "flip_horizontal": False,
    "flip_vertical": False,
    "channel_shift_intensity": None,
    "brightness": None,
}


class ImageDataGenerator:
    """Makes batches of images, rescaled, preprocessed and randomly changed.

    Args:
        zca_epsilon: belongs to zca_whitening, which is not built.
        rotation_range: turn by up to this many degrees either way.
        width_shift_range, height_shift_range: move by up to this fraction of the size (a float
            below 1), this many pixels, or one of a list. As in Keras the two are exchanged.
        brightness_range: (lowest, highest) factor of the brightness; None: unchanged.
        shear_range: shear by up to this many degrees either way.
        zoom_range: z for (1 - z, 1 + z), or (lowest, highest); below 1 magnifies.
        channel_shift_range: add up to this number either way.
        fill_mode: "nearest", "constant", "reflect" or "wrap", for places outside the image.
        cval: value outside for fill_mode="constant".
        horizontal_flip, vertical_flip: flip each image with probability 1/2.
        rescale: factor for the pixel values, after `preprocessing_function`; None: none.
        preprocessing_function: function of one image (height, width, channels), float32, that
            returns an array of the same shape.
        data_format: None or "channels_last".
        validation_split: fraction between 0 and 1 that subset="validation" takes.
        interpolation_order: 1, linear.
        dtype: type of the batches; None: float32.

    The other arguments, statistics of the data, must keep their default.

    Raises:
        NotImplementedError: for an argument that is not built; names it.
        TypeError: for a function given by position, where Keras expects featurewise_center.
    """

    @checked_arguments
    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Any = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Any = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: Any = None,
    ) -> None:
        given = dict(locals())
        if callable(featurewise_center):
            name = getattr(featurewise_center, "__name__", "f")
            raise TypeError(
                f"ImageDataGenerator({name}) would set featurewise_center; write "
                f"ImageDataGenerator(preprocessing_function={name})."
            )
        for name, off in _NOT_BUILT.items():
            if given[name] is not None and given[name] != off:
                raise NotImplementedError(_not_built_sentence(name, given[name]))
            setattr(self, name, given[name])
        check_data_format(data_format)
        if preprocessing_function is not None and not callable(preprocessing_function):
            raise TypeError(
                f"preprocessing_function must be a function, got {preprocessing_function!r}"
            )
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(
                f"`validation_split` must be strictly between 0 and 1. Received: {validation_split}"
            )
        if interpolation_order != 1:
            raise NotImplementedError(
                f"ImageDataGenerator(interpolation_order={interpolation_order!r}) is not built; "
                "leave it at 1, linear."
            )
        self.zca_epsilon: float = zca_epsilon
        self.interpolation_order: int = 1
        check_choice("fill_mode", fill_mode, FILL_MODES)
        self.fill_mode: str = fill_mode
        self.cval: float = cval
        self.rotation_range: float = rotation_range
        self.shear_range: float = shear_range
        self.width_shift_range = width_shift_range
        self.height_shift_range = height_shift_range
        self.channel_shift_range = channel_shift_range
        if isinstance(zoom_range, (int, float)):
            zoom_range = (1 - zoom_range, 1 + zoom_range)
        self.zoom_range: tuple[float, float] = _pair("zoom_range", zoom_range)
        self.brightness_range: tuple[float, float] | None = None
        if brightness_range is not None:
            self.brightness_range = _pair("brightness_range", brightness_range)
        self.horizontal_flip: bool = bool(horizontal_flip)
        self.vertical_flip: bool = bool(vertical_flip)
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        self.data_format = "channels_last"
        self.dtype: np.dtype[Any] = np.dtype(dtype or np.float32)
        self._validation_split = validation_split or 0.0

    @property
    def augments(self) -> bool:
        """Whether a batch depends on random numbers."""
        return self.horizontal_flip or self.vertical_flip or self._changes

    @property
    def _changes(self) -> bool:
        """Whether more than flips is asked for."""
        return (
            any(map(np.any, (
                self.rotation_range, self.width_shift_range, self.height_shift_range,
                self.shear_range, self.channel_shift_range)))
            or self.zoom_range != (1, 1) or self.brightness_range is not None
        )  # fmt: skip

    @property
    def elementwise(self) -> bool:
        """Whether standardize may take a whole batch, and always gives the same."""
        function = self.preprocessing_function
        return function is None or _is_own(function)

    def identity(self) -> str | None:
        """Key of what happens to pixels; None where a user's function or chance has a part."""
        if self.augments or not self.elementwise:
            return None
        function = self.preprocessing_function
        name = None if function is None else f"{function.__module__}.{function.__qualname__}"
        key = f"{name} {self.rescale!r} {self.dtype.str}"
        return hashlib.sha256(key.encode()).hexdigest()

    @checked_arguments
    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> NumpyArrayIterator:
        """Batches from arrays.

        Args:
            x: images (samples, height, width, channels), or (images, further inputs).
            y: targets; None yields images only.
            batch_size: images per batch.
            shuffle: a new order in each pass.
            sample_weight: weight of each sample in the loss.
            seed: for order and flips; None: NumPy's global generator as it stands.
            save_to_dir, save_prefix, save_format: write each finished image there.
            ignore_class_split: allow subsets with different classes.
            subset: "training" or "validation" (the first rows), with `validation_split`.

        Returns:
            An endless NumpyArrayIterator.
        """
        return NumpyArrayIterator(
            x,
            y,
            self,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            ignore_class_split=ignore_class_split,
            subset=subset,
            dtype=self.dtype,
        )

    @checked_arguments
    def flow_from_directory(
        self,
        directory: str | os.PathLike[str],
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: list[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        on_bad_image: str = "error",
    ) -> DirectoryIterator:
        """Batches from a folder with one sub-folder per class.

        Args:
            directory: the folder.
            target_size: (height, width) in pixels.
            color_mode: "rgb", "rgba" or "grayscale".
            classes: sub-folders to use, in the order of their numbers; None: all, sorted.
            class_mode: "categorical" (one-hot), "binary", "sparse", "input" (the images
                themselves) or None (images only); targets are float32.
            batch_size: images per batch.
            shuffle: a new order in each pass; False: sorted.
            seed: for order and flips; None: NumPy's global generator as it stands.
            save_to_dir, save_prefix, save_format: write each finished image there.
            follow_links: enter links to folders inside a class.
            subset: "training" or "validation" (the first files of each class), with
                `validation_split`.
            interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos", as
                Pillow does them.
            keep_aspect_ratio: cut the longer side instead of distorting.
            on_bad_image: "error" raises at an unreadable file and names it; "skip" leaves it out.

        Returns:
            An endless DirectoryIterator.

        Raises:
            ValueError: for arguments that do not fit together and for folders without images.
        """
        return DirectoryIterator(
            directory,
            self,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            follow_links=follow_links,
            subset=subset,
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
            dtype=self.dtype,
            on_bad_image=on_bad_image,
        )

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """Apply `preprocessing_function`, then `rescale`; float arrays may be changed in place."""
        if self.preprocessing_function is not None:
            x = self.preprocessing_function(x)
        if self.rescale:
            x *= self.rescale
        return x

    def get_random_transform(
        self, img_shape: tuple[Any, ...], seed: int | None = None
    ) -> dict[str, Any]:
        """Draw what happens to one image.

        Args:
            img_shape: (height, width, channels).
            seed: for NumPy's global generator; None: as it stands.

        Returns:
            The parameters of `apply_transform`.
        """
        if seed is not None:
            np.random.seed(seed)
        return _augment.draw(self, img_shape)

    def apply_transform(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """Change one image.

        Args:
            x: (height, width, channels).
            transform_parameters: any of theta, tx, ty, shear, zx, zy, flip_horizontal,
                flip_vertical, channel_shift_intensity and brightness, as in Keras.

        Raises:
            ValueError: for another parameter.
        """
        given = {**_UNCHANGED, **transform_parameters}
        if unknown := given.keys() - _UNCHANGED.keys():
            raise ValueError(
                f"apply_transform has no parameter {min(unknown)!r}; it has {list(_UNCHANGED)}"
            )
        theta, tx, ty, shear, zx, zy = (
            given[name] for name in ("theta", "tx", "ty", "shear", "zx", "zy")
        )
        made = _augment.matrix(theta, tx, ty, shear, zx, zy, x.shape)
        if made is not None:
            x = _augment.affine(x, made, self.fill_mode, self.cval)
        if given["channel_shift_intensity"] is not None:
            x = _augment.shift_channels(x, given["channel_shift_intensity"])
        if given["flip_horizontal"]:
            x = x[:, ::-1]
        if given["flip_vertical"]:
            x = x[::-1]
        if given["brightness"] is not None:
            x = _augment.brighten(x, given["brightness"])
        return x

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Change one image at random."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    @checked_arguments
    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Check the shape of `x`. Keras computes statistics here for its featurewise arguments.

        Those arguments are refused by the constructor, so there is nothing to compute.
        """
        if np.ndim(x) != 4:
            raise ValueError(
                f"Input to `.fit()` should have rank 4. Got array with shape: {np.shape(x)}"
            )

    def flow_from_dataframe(self, *args: Any, **kwargs: Any) -> None:
        """Not built.

        Raises:
            NotImplementedError: always; the message says what to do.
        """
        raise NotImplementedError(
            "flow_from_dataframe is not built. Sort the images into one folder per class and use "
            "flow_from_directory, or image_dataset_from_directory(labels=[...]) with one label for "
            "each file."
        )


def _not_built_sentence(name: str, value: Any) -> str:
    return (
        f"ImageDataGenerator({name}={value!r}) is not built; leave it out. Scaling is done by "
        "rescale, preprocessing_function or layers.Normalization."
    )


def _pair(name: str, value: Any) -> tuple[float, float]:
    if not (isinstance(value, (tuple, list)) and len(value) == 2 and
            all(isinstance(v, (int, float)) for v in value)):  # fmt: skip
        raise ValueError(f"`{name}` should be a pair of numbers. Received: {value!r}")
    return tuple(value)


def _is_own(function: Any) -> bool:
    """Whether this is one of the package's preprocess_input functions: pure, and elementwise."""
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__name__", "")
    return module.startswith("tlfast.applications") and name == "preprocess_input"
