"""Data of a recipe made again from files and arrays found by their hashes."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlfast._recipe import _hashes, _maps
from tlfast._recipe._errors import CannotReproduce, Difference
from tlfast.data import _nodes
from tlfast.data._pixels import PixelSpec
from tlfast.data._random import Philox
from tlfast.data._tables import ArrayTable, FileTable
from tlfast.data.dataset import Dataset
from tlfast.data.directory import ENDINGS
from tlfast.preprocessing import _iterators
from tlfast.preprocessing.image import ImageDataGenerator
from tlfast.saving.archive import ZIP_ERRORS

_ENDINGS = (*ENDINGS, *_iterators.ENDINGS)
_LISTED = 10


class Store:
    """What there is to train on: files and arrays, by hash.

    Args:
        folder: a folder with image files at any depth, or None.
        arrays: `.npz` and `.npy` files.

    Raises:
        CannotReproduce: there is no such folder, or a file holds no plain arrays.
        OSError: a file of arrays cannot be opened.
    """

    def __init__(self, folder: str | None, arrays: Sequence[str]) -> None:
        if folder is not None and not os.path.isdir(folder):
            raise CannotReproduce(f"--data {folder}: there is no such folder")
        self.folder = folder
        self.files: dict[bytes, str] = {} if folder is None else _by_hash(image_files(folder))
        self.arrays: dict[str, np.ndarray] = {}
        self._given = 0
        for path in arrays:
            for array in _arrays_of(path):
                self._given += 1
                for form in (array, array.astype(np.float32)):  # flow() makes float32 of images
                    self.arrays[_hashes.array_hash(form)] = form

    def array(self, entry: dict[str, Any]) -> np.ndarray:
        """The array of an entry with its hash.

        Raises:
            CannotReproduce: it is not there.
        """
        found = self.arrays.get(entry["hash"])
        if found is None:
            what = f"an array of shape {tuple(entry['shape'])}, type {np.dtype(entry['type']).name}"
            raise CannotReproduce(
                f"{what} with hash {entry['hash']} is not among the {self._given} arrays "
                "given; --arrays FILE.npz gives the arrays that the model was trained on"
            )
        return found

    def paths(self, made: dict[str, Any]) -> list[str]:
        """The files of a list of the recipe's "data", in its order.

        Raises:
            CannotReproduce: no folder was given.
            Difference: files are missing.
        """
        if self.folder is None:
            raise CannotReproduce(
                f"the model was trained on {made['count']} image files; --data DIR names the "
                "folder that holds them"
            )
        wanted = _split(made["files"])
        if len(wanted) != made["count"]:
            raise CannotReproduce(f"the recipe has {len(wanted)} hashes for {made['count']} files")
        missing = [row for row, key in enumerate(wanted) if key not in self.files]
        missing = [row for row in missing if wanted[row] != _hashes.UNREADABLE]
        if missing:
            raise Difference("the training images differ", self._missing(made, missing))
        return [self.files.get(key, os.path.join(self.folder, "")) for key in wanted]

    def _missing(self, made: dict[str, Any], missing: list[int]) -> list[str]:
        """How many files of each class are missing."""
        lines = [f"{len(missing)} of {made['count']} are not in {self.folder} (told by content)"]
        if made["labels"] is not None:
            labels = labels_of(made)
            numbers, counts = np.unique(labels[missing], return_counts=True)
            names = made["class_names"] or []
            for number, count in zip(numbers.tolist()[:_LISTED], counts.tolist(), strict=False):
                name = names[number] if 0 <= number < len(names) else str(number)
                total = int((labels == number).sum())
                lines.append(f"class {name}: {count} of {total} are missing")
        return lines


def image_files(folder: str) -> list[str]:
    """All image files below a folder, sorted, so that the same one of two equal files is taken."""
    found: list[str] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(root) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(os.path.realpath(root))
        found += [os.path.join(root, name) for name in names if name.lower().endswith(_ENDINGS)]
    return sorted(found)


def _by_hash(paths: list[str]) -> dict[bytes, str]:
    hashes = _hashes.file_hashes(paths)
    pairs = zip(reversed(hashes), reversed(paths), strict=True)
    return {full[: _hashes.SHORT]: path for full, path in pairs}


def _arrays_of(path: str) -> list[np.ndarray]:
    try:
        with open(path, "rb") as file:  # np.load leaves damaged files open
            loaded = np.load(file, allow_pickle=False)
            single = isinstance(loaded, np.ndarray)
            arrays = [loaded] if single else [loaded[key] for key in loaded]
    except ZIP_ERRORS as error:
        text = f"{path}: not an .npz or .npy file of plain arrays ({error})"
        raise CannotReproduce(text) from error
    return [array for array in arrays if array.dtype.kind in "biuf"]


def _split(text: str) -> list[bytes]:
    raw = _hashes.from_text(text, np.uint8).tobytes()
    return [raw[at : at + _hashes.SHORT] for at in range(0, len(raw), _hashes.SHORT)]


def labels_of(made: dict[str, Any]) -> np.ndarray:
    """The class numbers of a list of files."""
    labels = _hashes.from_text(made["labels"], "<i4").astype(np.int32)
    if len(labels) != made["count"]:
        raise CannotReproduce(f"the recipe has {len(labels)} labels for {made['count']} files")
    return labels


class Rebuilder:
    """Makes the data of fits again.

    Args:
        recipe: a checked recipe.
        store: files and arrays.
    """

    def __init__(self, recipe: dict[str, Any], store: Store) -> None:
        self._lists = recipe["data"]
        self._store = store
        self._chains: list[list[Any]] = []  # of each fit, its steps

    def begin(self, fit: dict[str, Any]) -> None:
        """Make the steps of a fit's chains."""
        made: list[Any] = []
        self._chains.append(made)
        for entry in fit["nodes"]:
            made.append(self._step(entry, made))

    def data(self, described: dict[str, Any]) -> tuple[Any, Any, Any]:
        """(x, y, sample_weight) for `fit`.

        Args:
            described: the entry "data" or "validation" of the fit that was begun last.
        """
        kind = described["kind"]
        if kind == "dataset":
            return Dataset(self._chains[-1][described["node"]]), None, None
        if kind == "flow_from_directory":
            return self._folders(described), None, None
        if kind == "flow":
            return self._flow(described), None, None
        names = ("x", "y", "sample_weight")
        x, y, weight = (self._arrays(described[n]) if n in described else None for n in names)
        return x, y, weight

    def check(self, fit: dict[str, Any]) -> None:
        """Look whether everything is there, before anything is computed.

        Raises:
            CannotReproduce, Difference: as the methods above.
        """
        for described in (fit["data"], fit["validation"] or {}, *fit["nodes"]):
            if "table" in described:
                self._store.paths(self._list(described["table"]))
            for name in ("x", "y", "sample_weight", "arrays"):
                if name in described:
                    self._arrays(described[name])

    # ---- arrays and files --------------------------------------------------------------------

    def _arrays(self, entry: dict[str, Any]) -> Any:
        if "tuple" in entry:
            return tuple(self._arrays(item) for item in entry["tuple"])
        if "list" in entry:
            return [self._arrays(item) for item in entry["list"]]
        if "dict" in entry:
            return {key: self._arrays(item) for key, item in entry["dict"].items()}
        return self._store.array(entry)

    def _list(self, table: dict[str, Any]) -> dict[str, Any]:
        if table["list"] not in self._lists:
            raise CannotReproduce(f"the recipe has no list of files {table['list']!r}")
        found: dict[str, Any] = self._lists[table["list"]]
        return found

    def _table(self, described: dict[str, Any]) -> FileTable:
        made = self._list(described["table"])
        labels = None if made["labels"] is None else labels_of(made)
        return FileTable(
            self._store.paths(made), labels, made["label_mode"], made["class_names"],
            PixelSpec(**made["pixels"]), made["on_bad_image"],
        )  # fmt: skip

    # ---- chains ------------------------------------------------------------------------------

    def _step(self, entry: dict[str, Any], made: list[Any]) -> Any:
        kind = entry["step"]
        if kind == "files":
            return _nodes.Rows(self._table(entry))
        if kind == "arrays":
            return _nodes.Rows(ArrayTable(self._arrays(entry["arrays"])))
        source = made[entry["of"]]
        if kind == "concatenate":
            return _nodes.Concatenated(source, made[entry["and"]])
        if kind == "cache":
            return self._cache(source, entry["kept"])
        if kind == "shuffle":
            return _shuffle(source, entry)
        if kind == "map":
            return _nodes.Map(source, _maps.repeated(entry["function"]))
        simple: dict[str, Callable[[], Any]] = {
            "same": lambda: _nodes.Step(source),
            "unbatch": lambda: _nodes.Unbatched(source),
            "batch": lambda: _nodes.Batched(source, entry["size"], entry["drop"]),
            "take": lambda: _nodes.Taken(source, entry["count"]),
            "skip": lambda: _nodes.Skipped(source, entry["count"]),
            "repeat": lambda: _nodes.Repeated(source, entry["count"]),
        }
        return simple[kind]()

    def _cache(self, source: Any, kept: Any) -> Any:
        node = _nodes.Cached(source)
        if kept is None:
            return node
        if "fit" in kept:
            before = self._chains[kept["fit"]][kept["node"]]
            if type(before) is not _nodes.Cached or before._kept is None:
                raise CannotReproduce(
                    f"cache() of fit {kept['fit'] + 1} was filled outside of that fit"
                )
            node._kept = before._kept
            return node
        rows = _hashes.from_text(kept["rows"], "<i4").astype(np.int64)
        if node.table is None or rows.size and not 0 <= rows.min() <= rows.max() < node.table.count:
            raise CannotReproduce("the rows in the recipe's cache() are not rows of its data")
        if kept["sizes"] is None:
            node._kept = rows.tolist()
        else:
            node._kept = np.split(rows, np.cumsum(kept["sizes"])[:-1])
        return node

    # ---- ImageDataGenerator ------------------------------------------------------------------

    def _generator(self, described: dict[str, Any]) -> ImageDataGenerator:
        settings = dict(described["generator"])
        name = settings.pop("preprocessing_function")
        function = None if name is None else _maps.preprocessing(name)
        return ImageDataGenerator(
            preprocessing_function=function, dtype=described["type"], **settings
        )

    def _folders(self, described: dict[str, Any]) -> Any:
        made = self._list(described["table"])
        keys = ("class_mode", "color_mode", "target_size", "interpolation", "keep_aspect_ratio",
                "batch_size", "shuffle", "seed")  # fmt: skip
        iterator = _ListedIterator(
            self._store.paths(made), labels_of(made), made["class_names"] or [],
            self._generator(described), dtype=described["type"],
            on_bad_image=made["on_bad_image"], **{key: described[key] for key in keys},
        )  # fmt: skip
        return _placed(iterator, described)

    def _flow(self, described: dict[str, Any]) -> Any:
        x, y, weight = (
            self._store.array(described[name]) if name in described else None
            for name in ("x", "y", "sample_weight")
        )
        iterator = _iterators.NumpyArrayIterator(
            x, y, self._generator(described), described["batch_size"], described["shuffle"],
            weight, described["seed"], dtype=described["type"],
        )  # fmt: skip
        return _placed(iterator, described)


class _ListedIterator(_iterators.DirectoryIterator):
    """A DirectoryIterator over a list of files instead of a folder."""

    def __init__(
        self, paths: list[str], labels: np.ndarray, names: list[str], generator: Any, **options: Any
    ) -> None:
        self._listed = paths, labels, names
        super().__init__(os.curdir, generator, **options)

    def _list(self, classes: list[str] | None, follow_links: bool) -> None:
        paths, labels, names = self._listed
        self.num_classes = len(names)
        self.class_indices = {name: number for number, name in enumerate(names)}
        self.filenames, self.filepaths = [os.path.basename(path) for path in paths], paths
        self.samples, self.classes = len(paths), labels


_iterators.LOADED_HERE.add(_ListedIterator)


def _placed(iterator: Any, described: dict[str, Any]) -> Any:
    """An iterator put to where it was when the fit began."""
    iterator.total_batches_seen = described["seen"]
    if described["started"]:
        iterator.index_array = np.arange(iterator.n)  # drawn anew before it is used
    return iterator


def _shuffle(source: Any, entry: dict[str, Any]) -> Any:
    node = _nodes.Shuffled(source, entry["buffer"], None, entry["anew"])
    first, second = entry["seeds"]
    node._seeds = (first, second)
    node._parent = Philox(first, second)
    node._parent._counter = entry["drawn"] // 4
    for _ in range(entry["drawn"] % 4):
        node._parent()
    return node


def set_random_state(stored: dict[str, Any]) -> None:
    """Put Python's and NumPy's generators to a recorded state."""
    version, words, gauss = stored["python"]
    numbers = tuple(_hashes.from_text(words, "<u4").tolist())
    kind, key, *rest = stored["numpy"]
    try:
        random.setstate((version, numbers, gauss))
        np.random.set_state((kind, _hashes.from_text(key, "<u4").astype(np.uint32), *rest))
    except (ValueError, TypeError) as error:
        raise CannotReproduce(f"the recorded random state is damaged: {error}") from error
