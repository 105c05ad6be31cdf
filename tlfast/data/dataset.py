"""Dataset: chains of map, cache, shuffle, batch and so on, with NumPy arrays as elements."""

import difflib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tlfast.data import _nodes
from tlfast.data._structure import as_leaf, leaves, map_leaves
from tlfast.data._tables import ArrayTable, FileTable, Table
from tlfast.data.batch import BatchArray, batch_array

AUTOTUNE = -1
INFINITE_CARDINALITY = _nodes.INFINITE
UNKNOWN_CARDINALITY = _nodes.UNKNOWN


class TensorSpec:
    """Shape and dtype of one array of an element; None stands for a size that varies."""

    def __init__(
        self, shape: tuple[Any, ...], dtype: Any = np.float32, name: str | None = None
    ) -> None:
        self.shape: tuple[Any, ...] = tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.name = name

    def __repr__(self) -> str:
        dtype = "string" if self.dtype.kind in "OSU" else self.dtype.name
        return f"TensorSpec(shape={self.shape}, dtype=tf.{dtype}, name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and (self.shape, self.dtype) == (
            other.shape,
            other.dtype,
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))


class Dataset:
    """A sequence of elements (arrays, or tuples and dicts of arrays) made anew in each pass.

    Functions given to `map` and `filter` get and return NumPy arrays. `shuffle` draws the order
    that tf.data draws for the same seed.

    Example:
        >>> ds = Dataset.range(5).map(lambda x: x * x).batch(2)
        >>> [batch.tolist() for batch in ds]
        [[0, 1], [4, 9], [16]]
    """

    def __init__(self, node: _nodes.Node, origin: "Table | None" = None) -> None:
        self._node = node
        # Class names and file paths stay readable after map and the like.
        self._origin = origin if origin is not None else node.table

    def __getattr__(self, name: str) -> Any:
        if name in ("class_names", "file_paths"):
            origin = self.__dict__.get("_origin")
            if isinstance(origin, FileTable):
                return getattr(origin, name)
        known = [n for n in dir(type(self)) if not n.startswith("_")]
        close = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else f" It has: {', '.join(known)}."
        raise AttributeError(f"Dataset has no attribute {name!r}.{hint}")

    def _then(self, node: _nodes.Node) -> "Dataset":
        return Dataset(node, self._origin)

    # Where elements come from

    @staticmethod
    def from_tensor_slices(tensors: Any, name: str | None = None) -> "Dataset":
        """The rows of arrays of equal length.

        Args:
            tensors: an array, or a tuple or dict of arrays; a list is one array.
            name: not used by any step; kept by tf.data only for its own graph, here too.

        Returns:
            A Dataset of single rows.

        Raises:
            ValueError: if the arrays differ in length or have no first axis.
        """
        structure = map_leaves(as_leaf, tensors)
        shapes = [array.shape for array in leaves(structure)]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ValueError(
                f"from_tensor_slices needs arrays with the same number of rows, got shapes {shapes}"
            )
        return Dataset(_nodes.Rows(ArrayTable(structure)))

    @staticmethod
    def from_tensors(tensors: Any) -> "Dataset":
        """A dataset of one element."""
        value = map_leaves(as_leaf, tensors)
        return Dataset(_nodes.Values(lambda: iter([value]), 1))

    @staticmethod
    def from_generator(generator: Callable[[], Any], output_signature: Any = None) -> "Dataset":
        """Elements yielded by `generator()`, which is called anew for each pass.

        Args:
            generator: function without arguments that returns an iterable.
            output_signature: TensorSpec of the elements (tuple or dict of them); arrays are cast
                to their dtypes. None keeps the dtypes.
        """
        if not callable(generator):
            raise TypeError(
                f"from_generator needs a function that returns an iterable, got {generator!r}; "
                "pass the generator function itself, without calling it"
            )

        def values() -> Iterator[Any]:
            for value in generator():
                value = map_leaves(as_leaf, value)
                if output_signature is not None:
                    specs = iter(leaves(output_signature))
                    value = map_leaves(lambda a, specs=specs: a.astype(next(specs).dtype), value)
                yield value

        return Dataset(_nodes.Values(values, _nodes.UNKNOWN))

    @staticmethod
    def range(*args: int) -> "Dataset":
        """Integers (int64) from start to stop by step, as Python's range."""
        return Dataset(_nodes.Rows(ArrayTable(np.arange(*args, dtype=np.int64))))

    @staticmethod
    def zip(*datasets: Any) -> "Dataset":
        """Tuples of one element of each dataset; ends with the shortest."""
        sources = datasets[0] if len(datasets) == 1 else datasets
        return Dataset(_nodes.Zipped(map_leaves(lambda d: d._node, sources)))

    # Steps

    def map(
        self,
        map_func: Callable[..., Any],
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
    ) -> "Dataset":
        """Apply `map_func` to every element; a tuple is spread over its arguments.

        Args:
            map_func: function of NumPy arrays that returns an array, tuple or dict.
            num_parallel_calls: how many calls tf.data may run side by side. Calls run one after
                another here, which gives the same elements.
            deterministic: False would allow any order; the order is always kept.
        """
        return self._then(_nodes.Map(self._node, map_func))

    def filter(self, predicate: Callable[..., Any]) -> "Dataset":
        """Keep the elements for which `predicate` is true."""
        return self._then(_nodes.Filter(self._node, predicate))

    def batch(
        self,
        batch_size: int,
        drop_remainder: bool = False,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
    ) -> "Dataset":
        """Put `batch_size` elements together; `drop_remainder` drops a short last batch."""
        size = _whole("batch_size", batch_size, 1)
        return self._then(_nodes.Batched(self._node, size, bool(drop_remainder)))

    def unbatch(self) -> "Dataset":
        """Take batches apart along the first axis."""
        return self._then(_nodes.Unbatched(self._node))

    def cache(self, filename: str = "") -> "Dataset":
        """Keep the elements of the first whole pass in memory and give them in every later one.

        Raises:
            NotImplementedError: with a file name; the cache is in memory only.
        """
        if filename:
            raise NotImplementedError(
                f"cache({filename!r}): a cache file is not supported; call cache() to keep the "
                "elements in memory, or leave it out: features of frozen layers are kept anyway"
            )
        return self._then(_nodes.Cached(self._node))

    def prefetch(self, buffer_size: int) -> "Dataset":
        """The same elements. Image files are always decoded ahead, in threads of the loader."""
        _whole("buffer_size", buffer_size, -1)
        return self._then(_nodes.Step(self._node))

    def take(self, count: int) -> "Dataset":
        """The first `count` elements; -1 for all."""
        return self._then(_nodes.Taken(self._node, _whole("count", count, -1)))

    def skip(self, count: int) -> "Dataset":
        """All but the first `count` elements; -1 for none."""
        return self._then(_nodes.Skipped(self._node, _whole("count", count, -1)))

    def repeat(self, count: int | None = None) -> "Dataset":
        """The whole dataset `count` times; None or -1 for ever."""
        times = None if count is None else _whole("count", count, -1)
        return self._then(_nodes.Repeated(self._node, times))

    def shuffle(
        self, buffer_size: int, seed: int | None = None, reshuffle_each_iteration: bool = True
    ) -> "Dataset":
        """Draw elements at random from a buffer of the next `buffer_size`.

        Args:
            buffer_size: elements held; the whole dataset is shuffled evenly only if it fits.
            seed: same seed, same order, as in tf.data. None: from `set_random_seed` if it was
                called, else a new order each time.
            reshuffle_each_iteration: False repeats the order of the first pass.
        """
        if reshuffle_each_iteration is None:
            reshuffle_each_iteration = True
        size = _whole("buffer_size", buffer_size, 1)
        seed = None if seed is None else _whole("seed", seed, None)
        return self._then(_nodes.Shuffled(self._node, size, seed, bool(reshuffle_each_iteration)))

    def enumerate(self, start: int = 0) -> "Dataset":
        """Tuples (number, element), counting from `start`."""
        first = _whole("start", start, None)

        def numbers() -> Iterator[Any]:
            number = first
            while True:
                yield np.asarray(number, np.int64)
                number += 1

        counter = _nodes.Values(numbers, _nodes.INFINITE)
        return self._then(_nodes.Zipped((counter, self._node)))

    def concatenate(self, dataset: "Dataset") -> "Dataset":
        """The elements of this dataset, then those of `dataset`."""
        return self._then(_nodes.Concatenated(self._node, dataset._node))

    def apply(self, transformation_func: Callable[["Dataset"], "Dataset"]) -> "Dataset":
        """`transformation_func(self)`."""
        return transformation_func(self)

    # Reading

    def __iter__(self) -> Iterator[Any]:
        return (map_leaves(batch_array, value) for value in self._node.values())

    def as_numpy_iterator(self) -> Iterator[Any]:
        """Iterate over plain ndarrays and NumPy scalars; it also has `.next()`, as in tf.data."""
        return _NumpyIterator(self._node.values())

    def cardinality(self) -> BatchArray:
        """Number of elements as int64; -1 if infinite, -2 if unknown."""
        return batch_array(np.int64(self._node.count()))

    def __len__(self) -> int:
        count = self._node.count()
        if count == _nodes.INFINITE:
            raise TypeError("The dataset is infinite; take(n) makes a part with a length.")
        if count == _nodes.UNKNOWN:
            raise TypeError(
                "The dataset length is unknown before a pass (after filter, from_generator or "
                "unbatch); count with sum(1 for _ in dataset)."
            )
        return count

    def __bool__(self) -> bool:
        return True  # as tf.data; without it, `if dataset:` would ask for the length

    @property
    def element_spec(self) -> Any:
        """TensorSpec of the arrays of an element; the first axis of a batch is None."""
        node = self._node
        if node.table is not None:
            lead = () if node.batch_size is None else (None,)
            return _specs(node.table.spec(), lead)
        first = next(node.values(quiet=True), None)
        if first is None:
            raise ValueError("element_spec of an empty dataset is unknown")
        varies = _varies(node)
        return map_leaves(
            lambda a: TensorSpec((None, *a.shape[1:]) if varies and a.ndim else a.shape, a.dtype),
            map_leaves(np.asarray, first),
        )

    def __repr__(self) -> str:
        return f"<Dataset of {self._node.count()} elements>"


def _specs(spec: Any, lead: tuple[Any, ...]) -> Any:
    """TensorSpecs of a table's row description, where a leaf is a pair (shape, dtype)."""
    if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[1], np.dtype):
        return TensorSpec((*lead, *spec[0]), spec[1])
    if isinstance(spec, dict):
        return {key: _specs(item, lead) for key, item in spec.items()}
    return tuple(_specs(item, lead) for item in spec)


def _varies(node: _nodes.Node) -> bool:
    """Whether the first axis is a batch whose last may be short."""
    while not isinstance(node, _nodes.Batched):
        if not isinstance(node, _nodes.Step) or isinstance(node, _nodes.Unbatched):
            return False
        node = node.source
    return not node.drop


class _NumpyIterator(Iterator[Any]):
    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values

    def __next__(self) -> Any:
        return map_leaves(_plain, next(self._values))

    next = __next__


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return array[()] if array.ndim == 0 else array


def _whole(name: str, value: Any, least: int | None) -> int:
    """`value` as an int that is at least `least`, or an error that names the argument."""
    try:
        number = value.__index__() if hasattr(value, "__index__") else None
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
