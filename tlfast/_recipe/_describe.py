"""What `fit` is given as data, as plain values and hashes; `_rebuild` makes data of them again."""

import json
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tlfast._recipe import _hashes, _maps
from tlfast.data import _nodes
from tlfast.data._structure import map_leaves
from tlfast.data._tables import ArrayTable, FileTable
from tlfast.data.dataset import Dataset
from tlfast.preprocessing._iterators import DirectoryIterator, NumpyArrayIterator

MAX_FILES = 200_000

Job = tuple[Callable[[], Any], Callable[[dict[str, Any], Any], None]]
_RANGES = (
    "rotation_range", "width_shift_range", "height_shift_range", "brightness_range", "shear_range",
    "zoom_range", "channel_shift_range", "fill_mode", "cval", "horizontal_flip", "vertical_flip",
    "rescale",
)  # fmt: skip
_COMMON = ("batch_size", "shuffle", "seed")
_OF_FOLDERS = ("class_mode", "color_mode", "target_size", "interpolation", "keep_aspect_ratio")
# (state of the files, hashes) of tables hashed before.
_hashed: "weakref.WeakKeyDictionary[Any, tuple[Any, list[bytes]]]" = weakref.WeakKeyDictionary()


@dataclass
class Description:
    """The data of one fit.

    Attributes:
        nodes: the steps of all chains, each after those it reads from.
        reasons: why they cannot be made again; empty if they can.
        jobs: hashes still to be computed, and where they go.
        generators: whether Python's and NumPy's generators are drawn from.
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    generators: bool = False
    # Value caches that are full, by the chain's node: where the recipe has them already.
    caches: Any = field(default_factory=weakref.WeakKeyDictionary)
    _places: dict[int, int] = field(default_factory=dict)
    _objects: list[Any] = field(default_factory=list)  # those of `nodes`

    def data(self, x: Any, y: Any, sample_weight: Any, what: str) -> dict[str, Any]:
        """Describe (x, y, sample_weight) as `fit` takes them.

        Args:
            x, y, sample_weight: the data.
            what: "training data" or "validation data", for the reasons.
        """
        if isinstance(x, Dataset):
            return {"kind": "dataset", "node": self.node(x._node, what)}
        if type(x) is DirectoryIterator:
            return self._folders(x, what)
        if type(x) is NumpyArrayIterator:
            return self._flow(x, what)
        if hasattr(x, "__next__") or hasattr(x, "__getitem__") and not hasattr(x, "__len__"):
            return self._unknown(what, type(x).__name__)
        if not isinstance(x, (np.ndarray, list, tuple, dict)):
            return self._unknown(what, type(x).__name__)
        named = {"x": x, "y": y, "sample_weight": sample_weight}
        return {
            "kind": "arrays",
            **{key: self._arrays(value) for key, value in named.items() if value is not None},
        }

    def _unknown(self, what: str, kind: str) -> dict[str, Any]:
        self.reasons.append(
            f"the {what} are a {kind}, whose code is no part of the file; folders of images, "
            "arrays and datasets made of them can be recorded"
        )
        return {"kind": "unknown"}

    # ---- arrays ------------------------------------------------------------------------------

    def _arrays(self, value: Any) -> Any:
        """Arrays in tuples, lists and dicts, each replaced by a place for its hash."""
        if isinstance(value, dict):
            return {"dict": {str(key): self._arrays(item) for key, item in value.items()}}
        if isinstance(value, tuple) or (
            isinstance(value, list) and any(hasattr(item, "shape") for item in value)
        ):
            name = "tuple" if isinstance(value, tuple) else "list"
            return {name: [self._arrays(item) for item in value]}
        return self._array(np.asarray(value))

    def _array(self, array: np.ndarray) -> dict[str, Any]:
        entry = {"shape": list(array.shape), "type": array.dtype.str, "hash": ""}

        def take(recipe: dict[str, Any], found: str) -> None:
            entry["hash"] = found

        self.jobs.append((lambda: _hashes.array_hash(array), take))
        return entry

    # ---- files -------------------------------------------------------------------------------

    def _files(self, table: FileTable, what: str) -> dict[str, Any]:
        """A place for the hash of the files' list; the list itself goes to the recipe's "data"."""
        entry = {"files": table.count, "list": ""}
        if table.count > MAX_FILES:
            self.reasons.append(
                f"the {what} are {table.count} files; hashes of {MAX_FILES} are kept at most"
            )

        def take(recipe: dict[str, Any], hashes: list[bytes]) -> None:
            made = _file_list(table, hashes)
            entry["list"] = made.pop("hash")
            recipe["data"].setdefault(entry["list"], made)

        self.jobs.append((lambda: _hashes_of(table), take))
        return entry

    # ---- ImageDataGenerator ------------------------------------------------------------------

    def _iterator(self, it: Any, what: str) -> dict[str, Any]:
        self.generators = True
        if it.save_to_dir:
            self.reasons.append(
                f"the {what} save images (save_to_dir), which draws random numbers for their names"
            )
        generator = it.image_data_generator
        settings = {name: plain(getattr(generator, name)) for name in _RANGES}
        function = generator.preprocessing_function
        name = None if function is None else _maps.preprocessing_name(function)
        if function is not None and name is None:
            self.reasons.append(
                f"the {what} have a preprocessing_function of yours, which is no part of the file; "
                "those of tlfast.applications can be recorded"
            )
        return {
            **{name: plain(getattr(it, name)) for name in _COMMON},
            "type": it.dtype.str,
            "generator": settings | {"preprocessing_function": name},
            "seen": it.total_batches_seen,
            "started": it.index_array is not None,
        }

    def _folders(self, it: DirectoryIterator, what: str) -> dict[str, Any]:
        return {
            "kind": "flow_from_directory",
            "table": self._files(it.table, what),
            **{name: plain(getattr(it, name)) for name in _OF_FOLDERS},
            **self._iterator(it, what),
        }

    def _flow(self, it: NumpyArrayIterator, what: str) -> dict[str, Any]:
        named = {"x": it.x, "y": it.y, "sample_weight": it.sample_weight}
        if it.x_misc:
            self.reasons.append(f"the {what} have further inputs beside the images (flow)")
        return {
            "kind": "flow",
            **{name: self._array(array) for name, array in named.items() if array is not None},
            **self._iterator(it, what),
        }

    # ---- datasets ----------------------------------------------------------------------------

    def node(self, node: Any, what: str) -> int:
        """Describe a step of a chain and those before; returns its place in `nodes`."""
        if id(node) not in self._places:
            made = self._step(node, what)
            self._places[id(node)] = len(self.nodes)
            self.nodes.append(made)
            self._objects.append(node)
        return self._places[id(node)]

    def _step(self, node: Any, what: str) -> dict[str, Any]:
        kind = type(node)
        if kind is _nodes.Rows:
            return self._rows(node, what)
        if kind is _nodes.Concatenated:
            both = [self.node(part, what) for part in (node._first, node._second)]
            return {"step": "concatenate", "of": both[0], "and": both[1]}
        if kind not in _STEPS:
            self.reasons.append(_no_step(kind, what))
            return {"step": "unknown"}
        name, describe = _STEPS[kind]
        settings = {key: plain(value) for key, value in describe(node).items()}
        made = {"step": name, "of": self.node(node.source, what), **settings}
        if kind is _nodes.Cached:
            made["kept"] = self._kept(node, what)
        if kind is _nodes.Map:
            made["function"] = self._function(node, what)
        return made

    def _rows(self, node: Any, what: str) -> dict[str, Any]:
        if type(node.table) is FileTable:
            return {"step": "files", "table": self._files(node.table, what)}
        return {"step": "arrays", "arrays": self._arrays(node.table.structure)}

    def _kept(self, node: Any, what: str) -> Any:
        """What a cache holds: row numbers, or the place of the same cache in an earlier fit."""
        if node._kept is None:
            return None
        if node.table is not None:
            groups = [np.atleast_1d(np.asarray(rows, np.int64)) for rows in node._kept]
            rows = np.concatenate([np.empty(0, np.int64), *groups]).astype("<i4")
            single = node.batch_size is None
            return {
                "rows": _hashes.to_text(rows),
                "sizes": None if single else [len(group) for group in groups],
            }
        if node in self.caches:
            return dict(zip(("fit", "node"), self.caches[node], strict=True))
        self.reasons.append(
            f"the {what} were read into cache() before any fit, in an order that is not known"
        )
        return None

    def _function(self, node: Any, what: str) -> Any:
        steps = _maps.traced(node._function, _structure(node.source))
        if steps is None:
            name = getattr(node._function, "__name__", type(node._function).__name__)
            self.reasons.append(
                f"the {what} go through map({name}), whose code is no part of the file; arithmetic "
                "with numbers, tf.cast, Rescaling and preprocess_input of tlfast.applications can "
                "be recorded"
            )
        return steps

    def placed_caches(self) -> list[tuple[Any, int]]:
        """The caches in the chains, and their places in `nodes`."""
        pairs = enumerate(self._objects)
        return [(node, place) for place, node in pairs if type(node) is _nodes.Cached]


# What is to be said of a step beside its name.
_STEPS: dict[type, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    _nodes.Step: ("same", lambda node: {}),
    _nodes.Cached: ("cache", lambda node: {}),
    _nodes.Map: ("map", lambda node: {}),
    _nodes.Unbatched: ("unbatch", lambda node: {}),
    _nodes.Batched: ("batch", lambda node: {"size": node.size, "drop": node.drop}),
    _nodes.Taken: ("take", lambda node: {"count": node._number}),
    _nodes.Skipped: ("skip", lambda node: {"count": node._number}),
    _nodes.Repeated: ("repeat", lambda node: {"count": node._times}),
    _nodes.Shuffled: ("shuffle", lambda node: {
        "buffer": node._buffer, "anew": node._reshuffle, "seeds": list(node._seeds),
        "drawn": drawn_numbers(node._parent),
    }),
}  # fmt: skip


def drawn_numbers(stream: Any) -> int:
    """How many numbers were taken from a Philox stream."""
    return 4 * stream._counter - len(stream._ready)


def _structure(node: Any) -> Any:
    """Tuples and dicts of an element of a chain, None for each array."""
    while type(node) in _STEPS and type(node) is not _nodes.Map:
        node = node.source
    if type(node) is _nodes.Map:
        made = _maps.traced(node._function, _structure(node.source))
        return None if made is None else _maps.structure_of(made)
    if type(node) is _nodes.Concatenated:
        return _structure(node._first)
    if type(node) is not _nodes.Rows:
        return None
    if type(node.table) is ArrayTable:
        return map_leaves(lambda array: None, node.table.structure)
    assert isinstance(node.table, FileTable)
    return None if node.table.label_mode is None else (None, None)


def _no_step(kind: type, what: str) -> str:
    names = {_nodes.Values: "from_generator, from_tensors or enumerate", _nodes.Zipped: "zip",
             _nodes.Filter: "filter"}  # fmt: skip
    return f"the {what} go through {names.get(kind, kind.__name__)}, which cannot be recorded"


def _hashes_of(table: FileTable) -> list[bytes]:
    state = FileTable.identity(table)
    known = _hashed.get(table)
    if known is None or known[0] != state:
        known = _hashed[table] = (state, _hashes.file_hashes(table.paths))
    return known[1]


def _file_list(table: FileTable, hashes: list[bytes]) -> dict[str, Any]:
    """The entry of the recipe's "data" for a table, with its "hash"."""
    labels = None if table.labels is None else np.asarray(table.labels, "<i4")
    made: dict[str, Any] = {
        "count": table.count,
        "pixels": asdict(table.pixel_spec),
        "label_mode": table.label_mode,
        "class_names": None if table.class_names is None else list(map(str, table.class_names)),
        "on_bad_image": table.on_bad_image,
        "labels": None if labels is None else _hashes.to_text(labels),
        "files": _hashes.to_text(b"".join(full[: _hashes.SHORT] for full in hashes)),
    }
    settings = json.dumps(made, sort_keys=True).encode()
    made["hash"] = _hashes.joined([*hashes, settings])
    if table.count > MAX_FILES:
        made |= {"labels": None, "files": "", "classes": _per_class(table, hashes)}
    return made


def _per_class(table: FileTable, hashes: list[bytes]) -> list[list[Any]]:
    """Number of files and one hash for each class."""
    labels = np.zeros(table.count, int) if table.labels is None else np.asarray(table.labels)
    groups = [np.flatnonzero(labels == number).tolist() for number in np.unique(labels)]
    return [[len(rows), _hashes.joined(sorted(hashes[i] for i in rows))] for rows in groups]


def plain(value: Any) -> Any:
    """Numbers, texts and lists of them, without NumPy's types."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value
