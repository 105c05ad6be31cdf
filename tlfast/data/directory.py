"""image_dataset_from_directory: files, labels, split and order as Keras gives them."""

import difflib
import os
from typing import Any

import numpy as np

from tlfast._arguments import checked_arguments
from tlfast.data import _files, _nodes
from tlfast.data._pixels import PixelSpec
from tlfast.data._tables import FileTable
from tlfast.data.dataset import Dataset

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}
INTERPOLATIONS = ("bilinear", "nearest", "bicubic")
_NOT_BUILT = ("area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")
# Keras' shuffle buffer: this many batches of file names, or 1024 names without batches.
_BUFFER_BATCHES, _BUFFER_ROWS = 8, 1024


@checked_arguments
def image_dataset_from_directory(
    directory: str | os.PathLike[str],
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: list[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: int | tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
    on_bad_image: str = "error",
) -> Dataset | list[Dataset]:
    """Make a dataset of images from a folder with one sub-folder per class.

    Files, their order, the split and the order of each pass are those of Keras for the same
    arguments and seed, except that hidden files and folders and Thumbs.db are left out. Images are
    read when they are needed and never all held in memory.

    Args:
        directory: the folder.
        labels: "inferred" from sub-folders, None, or a list of integers, one for each file in
            order of the paths.
        label_mode: "int" (int32, (batch,)), "categorical" (float32 one-hot, (batch, classes)),
            "binary" (float32, (batch, 1), exactly two classes) or None.
        class_names: sub-folders to use, in the order of their labels. None: all, sorted.
        color_mode: "rgb", "rgba" or "grayscale".
        batch_size: images per batch; None yields single images.
        image_size: (height, width) in pixels, or one number for both.
        shuffle: draw a new order in each pass; False: sorted by path.
        seed: for the order and the split. None: from NumPy's global generator.
        validation_split: fraction between 0 and 1 kept for validation.
        subset: "training", "validation" or "both" (returns two datasets), with
            `validation_split`.
        interpolation: "bilinear", "nearest" or "bicubic", none of them antialiased.
        follow_links: enter links to folders inside a class.
        crop_to_aspect_ratio: cut the longer side instead of distorting.
        pad_to_aspect_ratio: add black borders instead of distorting.
        data_format: None or "channels_last".
        format: "tf", the only one.
        verbose: print the number of files.
        on_bad_image: "error" raises at an unreadable file and names it; "skip" leaves it out and
            lists it at the end of the pass.

    Returns:
        A Dataset of float32 images from 0 to 255 (uint8 for "nearest"), with labels unless
        `label_mode` is None, and the attributes `class_names` and `file_paths`.

    Raises:
        ValueError: for arguments that do not fit together and for folders without images.
    """
    label_mode = _check_labels(labels, label_mode, class_names)
    spec = _pixel_spec(
        color_mode, image_size, interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio
    )
    _check_choices(data_format, format, on_bad_image)
    _check_split(validation_split, subset, shuffle, seed)
    if batch_size is not None and (isinstance(batch_size, bool) or int(batch_size) < 1):
        raise ValueError(f"batch_size must be at least 1 or None, got {batch_size!r}")
    by_chance = bool(shuffle) and seed is None
    if seed is None:
        seed = int(np.random.randint(1_000_000))

    directory = _files.check_directory(directory)
    paths, numbers, names = _index(
        directory, labels if label_mode else None, class_names, follow_links, verbose
    )
    if label_mode == "binary" and len(names) != 2:
        raise ValueError(
            f'label_mode="binary" needs exactly two classes; {directory!r} has '
            f'{len(names)}: {names}. Use label_mode="int" or "categorical", or give two names in '
            "class_names."
        )
    if shuffle:
        paths, numbers = _shuffle_together(paths, numbers, seed)

    def dataset(part: slice, shuffled: bool) -> Dataset:
        table = FileTable(
            paths[part],
            None if numbers is None else numbers[part],
            label_mode,
            names,
            spec,
            on_bad_image,
            by_chance,
        )
        return _chain(table, batch_size, shuffled, seed)

    n = len(paths)
    if not validation_split:
        return dataset(slice(None), shuffle)
    n_validation = _count_validation(n, validation_split, subset, directory)
    training, validation = slice(0, n - n_validation), slice(n - n_validation, None)
    if subset == "training":
        return dataset(training, shuffle)
    if subset == "validation":
        return dataset(validation, shuffle)
    return [dataset(training, shuffle), dataset(validation, False)]


def _chain(table: FileTable, batch_size: int | None, shuffle: bool, seed: int) -> Dataset:
    node: _nodes.Node = _nodes.Rows(table)
    if shuffle:
        buffer = _BUFFER_BATCHES * batch_size if batch_size is not None else _BUFFER_ROWS
        node = _nodes.Shuffled(node, buffer, seed, True)
    if batch_size is not None:
        node = _nodes.Batched(node, int(batch_size), False)
    return Dataset(node)


def _check_labels(labels: Any, label_mode: str | None, class_names: Any) -> str | None:
    """The label mode that applies, or an error for labels that cannot be used."""
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        raise TypeError("labels must be a list or tuple of integers; call labels.tolist().")
    if not (labels is None or (isinstance(labels, str) and labels == "inferred")):
        if not isinstance(labels, (list, tuple)):
            raise ValueError(
                'labels must be "inferred" (from sub-folders), None (images only), or a list of '
                f"integers, one for each image file; got labels={labels!r}"
            )
        if class_names:
            raise ValueError(
                f'class_names goes with labels="inferred" only; got class_names={class_names!r} '
                "with a list of labels. Leave one of them out."
            )
    if labels is None and class_names is not None:
        raise ValueError(
            "class_names cannot be given with labels=None (images only); leave one of them out."
        )
    check_choice("label_mode", label_mode, ("int", "categorical", "binary", None))
    return None if labels is None else label_mode


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise a ValueError that lists what is allowed, with the nearest name."""
    if value in allowed:
        return
    close = difflib.get_close_matches(str(value), [a for a in allowed if a], 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.{hint}")


def _check_choices(data_format: str | None, format: str, on_bad_image: str) -> None:
    check_choice("on_bad_image", on_bad_image, ("error", "skip"))
    check_data_format(data_format)
    if format != "tf":
        raise NotImplementedError(
            f'format={format!r} is not supported; leave it out ("tf"): the result is a '
            "tlfast.data.Dataset."
        )


def check_data_format(data_format: str | None) -> None:
    """Only channels last is built."""
    if data_format == "channels_first":
        raise NotImplementedError(
            'data_format="channels_first" is not supported; use "channels_last" and '
            "np.transpose(images, (0, 3, 1, 2)) where another library needs it."
        )
    check_choice("data_format", data_format, (None, "channels_last"))


def _pixel_spec(
    color_mode: str, image_size: Any, interpolation: str, crop: bool, pad: bool
) -> PixelSpec:
    check_choice("color_mode", color_mode, tuple(CHANNELS))
    if not isinstance(interpolation, str):
        raise TypeError(f"interpolation must be a name, got {interpolation!r}")
    if interpolation.lower() in _NOT_BUILT:
        raise NotImplementedError(
            f"interpolation={interpolation!r} is not built; use one of {', '.join(INTERPOLATIONS)}."
        )
    check_choice("interpolation", interpolation.lower(), INTERPOLATIONS)
    if crop and pad:
        raise ValueError(
            "Only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True; got both."
        )
    height, width = check_size("image_size", image_size)
    return PixelSpec(
        height,
        width,
        CHANNELS[color_mode],
        interpolation.lower(),
        "keras",
        "crop" if crop else "pad" if pad else "stretch",
    )


def check_size(name: str, size: Any) -> tuple[int, int]:
    """(height, width) from a pair or one number."""
    if isinstance(size, (int, np.integer)) and not isinstance(size, bool):
        size = (size, size)
    ok = (
        isinstance(size, (tuple, list))
        and len(size) == 2
        and all(
            isinstance(side, (int, np.integer)) and not isinstance(side, bool) and side > 0
            for side in size
        )
    )
    if not ok:
        raise ValueError(f"{name} must be (height, width) in pixels, got {size!r}")
    return int(size[0]), int(size[1])


def _check_split(split: float | None, subset: str | None, shuffle: bool, seed: Any) -> None:
    if split is not None and (
        isinstance(split, bool) or not isinstance(split, (int, float)) or not 0 < split < 1
    ):
        if not (isinstance(split, (int, float)) and split == 0 and subset is None):
            raise ValueError(
                f"validation_split must be a fraction between 0 and 1, got {split!r}; 0.2 keeps "
                "every fifth image for validation."
            )
    if (split or subset) and not (split and subset):
        raise ValueError(
            "validation_split and subset go together: give both, for example "
            f'validation_split=0.2, subset="training"; got validation_split={split!r}, '
            f"subset={subset!r}."
        )
    check_choice("subset", subset, ("training", "validation", "both", None))
    if split and shuffle and seed is None:
        raise ValueError(
            "validation_split with shuffle=True needs a seed, so that training and validation "
            "images do not overlap; add seed=42 (the same number in both calls)."
        )


def _index(
    directory: str, labels: Any, class_names: list[str] | None, follow_links: bool, verbose: bool
) -> tuple[list[str], np.ndarray | None, Any]:
    """Paths, class numbers and class names in sorted order, counted and printed as Keras does."""
    inferred = isinstance(labels, str)
    folders: Any = None
    class_folders: Any = None
    if inferred:
        class_folders = _files.class_folders(directory)
        folders = (
            class_folders
            if class_names is None
            else _files.check_names(class_names, class_folders, "class_names", directory)
        )
    paths, numbers, ignored, empty = [], [], [], []
    for number, folder in enumerate(folders if inferred else [""]):
        top = os.path.join(directory, folder) if folder else directory
        listing = _files.list_files(top, ENDINGS, follow_links)
        paths += [os.path.join(root, name) for root, name in listing.files]
        numbers += [number] * len(listing.files)
        ignored += listing.ignored
        if not listing.files:
            empty.append(folder)
    if not inferred and labels is not None:
        folders = _names_of(labels, len(paths), directory)
        numbers = list(labels)
    if verbose:
        print(
            f"Found {len(paths)} files"
            + ("." if labels is None else f" belonging to {len(folders)} classes.")
        )
        if ignored:
            print(_files.ignored_sentence(ignored, ENDINGS))
        if inferred and empty and paths:
            print(f"No images in class folder{'s' if len(empty) > 1 else ''} {', '.join(empty)}.")
    if not paths:
        raise ValueError(
            _files.no_images(
                directory,
                class_folders,
                ignored,
                ENDINGS,
                lambda: _files.loose_images(directory, ENDINGS),
            )
        )
    if labels is None:
        return paths, None, None
    return paths, np.array(numbers, np.int32), folders


def _names_of(labels: list[Any], count: int, directory: str) -> list[str]:
    if len(labels) != count:
        raise ValueError(
            f"labels has {len(labels)} entries, but {directory!r} holds {count} image files; give "
            "one label for each, in the order of the paths."
        )
    wrong = next((v for v in labels if not hasattr(v, "__index__")), None)
    if wrong is not None:
        raise TypeError(f"labels must be integers, got {wrong!r}")
    return [str(label) for label in sorted(set(labels))]


def _shuffle_together(
    paths: list[str], numbers: np.ndarray | None, seed: int
) -> tuple[list[str], np.ndarray | None]:
    # RandomState.shuffle moves by position only, so one permutation serves both lists.
    order = np.arange(len(paths))
    np.random.RandomState(seed).shuffle(order)
    return [paths[i] for i in order], None if numbers is None else numbers[order]


def _count_validation(n: int, split: float, subset: str | None, directory: str) -> int:
    """Number of validation images; prints Keras' lines."""
    count = int(split * n)
    if count == 0:
        raise ValueError(
            f"validation_split={split} of the {n} images in {directory!r} is less than one image, "
            f"so there are none for validation; use at least {1 / n:.3g}."
        )
    if subset in ("training", "both"):
        print(f"Using {n - count} files for training.")
    if subset in ("validation", "both"):
        print(f"Using {count} files for validation.")
    return count
