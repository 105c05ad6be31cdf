"""What training reads from: every kind of data behind two small interfaces.

An IndexedSource names its samples by number: the order of an epoch is numbers, pixels are asked
for by number, so what the frozen layers made of a sample can be kept. A StreamSource only yields.
`adapt` chooses. Passes are opened as often as Keras opens them, so that seeds give Keras' order.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tlfast import _keras2
from tlfast._arguments import check_batch_size
from tlfast.data import _nodes
from tlfast.data._passes import Chain, Generator, Passes, Rows
from tlfast.data._tables import ArrayTable, Bad, Table
from tlfast.data.dataset import Dataset

_DEFAULT_BATCH = 32


class Source:
    """What all sources know of themselves.

    Attributes:
        batch_size: rows per batch, or None if they vary.
        num_batches: batches per epoch, or None if unknown before the first pass.
        num_samples: rows per pass, or None.
        class_names: names of the classes, or None.
        file_paths: image file of each sample number, or None.
        maps_labels: whether a function of the user's may have changed the labels.
        bad: (path, reason) of the images left out so far.
    """

    batch_size: int | None = None
    num_batches: int | None = None
    num_samples: int | None = None
    class_names: list[str] | None = None
    file_paths: list[str] | None = None
    maps_labels = False
    bad: Bad = []

    @property
    def element_shapes(self) -> list[tuple[Any, ...]]:
        """Shape of one sample of each input, without the batch axis."""
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """Where the data stand between two epochs, as plain values."""
        raise NotImplementedError

    def check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns."""
        raise NotImplementedError

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to where `get_state` was called; the random generators are disturbed."""
        raise NotImplementedError

    def fingerprint(self) -> Any:
        """Plain values that differ where the data do; None if unknown."""
        return None


class IndexedSource(Source):
    """Samples by number. `class_weight` maps class numbers to weights; classes left out get 1."""

    class_weight: dict[int, float] | None = None

    @property
    def identity(self) -> Any:
        """Hashable: same key and number, same pixels. None if pixels are no function of it."""
        raise NotImplementedError

    def order(self, epoch: int, training: bool) -> list[np.ndarray]:
        """Sample numbers (int64) of the batches of the next epoch, in Keras' order."""
        raise NotImplementedError

    def pixels(self, batches: list[np.ndarray]) -> Iterator[tuple[list[Any], np.ndarray, Bad]]:
        """For each batch: inputs, numbers of the rows kept, (path, reason) of those left out."""
        raise NotImplementedError

    def targets(self, ids: np.ndarray) -> list[np.ndarray] | None:
        """Targets of the samples, or None."""
        raise NotImplementedError

    def weights(self, ids: np.ndarray) -> np.ndarray | None:
        """Sample weights (class weights included), or None."""
        if self.class_weight is None:
            return None
        return class_weights(self.targets(ids), self.class_weight)


class StreamSource(Source):
    """Batches in the order in which they come.

    Attributes:
        ids: sample numbers of the batch that was yielded last, or None.
    """

    ids: np.ndarray | None = None

    def batches(
        self, epoch: int, training: bool, skip: int = 0
    ) -> Iterator[tuple[list[Any], list[Any] | None, Any] | None]:
        """(inputs, targets or None, sample weights or None) of the next epoch.

        None stands for a batch none of whose images can be read. The epoch begins, and its first
        `skip` batches are left out, with the call and not with the first batch.
        """
        raise NotImplementedError


def class_weights(targets: list[np.ndarray] | None, weight: dict[int, float]) -> np.ndarray:
    """One weight per sample from its class number or one-hot row."""
    if targets is None:
        raise ValueError("class_weight needs data with labels; this data has inputs only.")
    if len(targets) != 1:
        raise ValueError("class_weight is only supported for models with a single output.")
    labels = np.asarray(targets[0])
    if labels.ndim > 1:
        labels = labels[..., 0] if labels.shape[-1] == 1 else labels.argmax(-1)
    numbers = np.round(labels).astype(np.int64)
    return np.array([weight.get(int(n), 1.0) for n in numbers.ravel()], np.float32)


class TableSource(IndexedSource):
    """Rows of a table, in batches of row numbers that `passes` yields."""

    def __init__(self, table: Table, passes: Passes) -> None:
        self.table, self._passes = table, passes
        self.num_samples = table.count
        self.class_names, self.file_paths = table.class_names, table.file_paths
        self.bad = []

    @functools.cached_property
    def identity(self) -> Any:
        return self.table.identity()

    @property
    def element_shapes(self) -> list[tuple[Any, ...]]:
        spec = self.table.spec()
        inputs = spec[0] if _is_pair(spec) else spec
        return [shape for shape, _ in _spec_leaves(inputs)]

    def order(self, epoch: int, training: bool) -> list[np.ndarray]:
        return list(self._passes.epoch())

    def get_state(self) -> dict[str, Any]:
        return self._passes.get_state()

    def check_state(self, value: Any, where: str) -> None:
        self._passes.check_state(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        self._passes.set_state(state)

    def fingerprint(self) -> Any:
        return self.table.fingerprint()

    def pixels(self, batches: list[np.ndarray]) -> Iterator[tuple[list[Any], np.ndarray, Bad]]:
        for inputs, ids, bad in self.table.pixels(batches):
            self.bad += bad
            yield inputs, ids, bad

    def targets(self, ids: np.ndarray) -> list[np.ndarray] | None:
        return self.table.targets(ids)

    def weights(self, ids: np.ndarray) -> np.ndarray | None:
        given = self.table.weights(ids)
        return super().weights(ids) if given is None else given


def _is_pair(spec: Any) -> bool:
    """Whether a row has several parts (x, y, ...) rather than being one leaf (shape, dtype)."""
    return isinstance(spec, tuple) and not (len(spec) == 2 and isinstance(spec[1], np.dtype))


def _spec_leaves(spec: Any) -> list[tuple[Any, ...]]:
    if isinstance(spec, dict):
        return [leaf for item in spec.values() for leaf in _spec_leaves(item)]
    if _is_pair(spec):
        return [leaf for item in spec for leaf in _spec_leaves(item)]
    return [spec]


class ValueSource(StreamSource):
    """Batches of values from passes over a dataset, a generator or a PyDataset."""

    def __init__(
        self,
        passes: Passes,
        class_weight: dict[int, float] | None,
        peek: Callable[[], Any] | None = None,
        names: tuple[Any, ...] | None = None,
    ) -> None:
        self._passes, self._class_weight = passes, class_weight
        self._peek, self._names = peek, names
        self.bad = []

    def batches(
        self, epoch: int, training: bool, skip: int = 0
    ) -> Iterator[tuple[list[Any], list[Any] | None, Any] | None]:
        return self._split(self._values(self._passes.epoch(skip)))

    def _values(self, elements: Iterator[Any]) -> Iterator[Any]:
        return elements

    def _split(self, values: Iterator[Any]) -> Iterator[tuple[list[Any], list[Any] | None, Any]]:
        for value in values:
            yield split_batch(value, self._class_weight, self._names)

    def get_state(self) -> dict[str, Any]:
        return self._passes.get_state()

    def check_state(self, value: Any, where: str) -> None:
        self._passes.check_state(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        self._passes.set_state(state)

    @property
    def element_shapes(self) -> list[tuple[Any, ...]]:
        if self._peek is None:
            raise ValueError("the shapes of this data are unknown before its first batch")
        inputs, _, _ = split_batch(self._peek(), None, self._names)
        return [a.shape[1:] for a in inputs]


def split_batch(
    value: Any, class_weight: dict[int, float] | None, names: tuple[Any, ...] | None = None
) -> tuple[list[Any], list[Any] | None, Any]:
    """A batch as users yield it, as (inputs, targets or None, weights or None)."""
    parts = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(parts) not in (1, 2, 3):
        raise ValueError(
            "A batch must be (inputs,), (inputs, targets) or (inputs, targets, sample_weights); "
            f"got {len(parts)} parts."
        )
    inputs = as_list(parts[0], names[0] if names else None, "inputs")
    target = parts[1] if len(parts) > 1 else None
    targets = None if target is None else as_list(target, names[1] if names else None, "targets")
    weights = parts[2] if len(parts) > 2 else None
    if weights is not None and class_weight is not None:
        raise ValueError("class_weight and sample_weight cannot be given at the same time.")
    if weights is not None:
        weights = (
            [np.asarray(w, np.float32) for w in weights]
            if isinstance(weights, (list, tuple))
            else np.asarray(weights, np.float32)
        )
    elif class_weight is not None:
        weights = class_weights(targets, class_weight)
    return inputs, targets, weights


def as_list(value: Any, names: list[str] | None, what: str) -> list[np.ndarray]:
    """An array, or a list, tuple or dict of arrays, as a list in the order of `names`."""
    if isinstance(value, dict):
        if names and set(value) != set(names):
            raise ValueError(f"The {what} have the names {sorted(value)}, the model {names}.")
        return [np.asarray(value[key]) for key in (names or value)]
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "__array__"):
        return [np.asarray(item) for item in value]
    return [np.asarray(value)]


def adapt(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    steps: int | None = None,
    class_weight: dict[int, float] | None = None,
    purpose: str = "fit",
    input_names: list[str] | None = None,
    output_names: list[str] | None = None,
) -> Source:
    """Make a source of whatever `fit`, `evaluate` or `predict` was given.

    Args:
        x: arrays (one, or a list or dict of them), a Dataset, an iterator of ImageDataGenerator,
            a PyDataset, or a Python generator of batches.
        y, sample_weight: arrays that go with `x` if that is arrays.
        batch_size: rows per batch of arrays; None: 32, or rows / steps.
        shuffle: True, False, or "batch" (inside each batch); of arrays and PyDatasets.
        steps: batches per epoch; None: a whole pass.
        class_weight: weight of each class number in the loss.
        purpose: "fit", "evaluate" or "predict"; the last two never shuffle.
        input_names, output_names: order of the entries where data comes as dicts.

    Returns:
        An IndexedSource where samples have numbers, else a StreamSource.

    Raises:
        ValueError: for arguments that do not go together, lengths that differ, and a `batch_size`
            that is no number of rows.
        TypeError: for data of an unknown kind.
    """
    from tlfast.data._iterator_source import iterator_source
    from tlfast.data._py_source import py_dataset_source
    from tlfast.preprocessing._iterators import Iterator as ImageIterator
    from tlfast.utils._py_dataset import PyDataset

    if purpose not in ("fit", "evaluate", "predict"):
        raise ValueError(f"purpose must be fit, evaluate or predict, got {purpose!r}")
    if steps is not None:
        if isinstance(steps, bool) or not 1 <= steps < math.inf:
            raise ValueError(f"The number of steps must be at least 1, got {steps!r}")
        if steps != int(steps):
            _keras2.say("steps=samples / batch_size", "math.ceil(samples / batch_size)", 4)
        steps = math.ceil(steps)
    check_batch_size(batch_size)
    names = (input_names, output_names)
    shuffle = shuffle if purpose == "fit" else False
    restart = purpose != "fit"
    if isinstance(x, Dataset):
        _refuse(y, sample_weight, "tlfast.data.Dataset")
        return _dataset_source(x, steps, class_weight, restart, names)
    if isinstance(x, PyDataset):
        _refuse(y, sample_weight, "PyDataset")
        if isinstance(x, ImageIterator):
            source = iterator_source(x, shuffle, steps, class_weight, purpose)
            if source is not None:
                return source
        return py_dataset_source(x, shuffle, steps, class_weight, names, purpose)
    if hasattr(x, "__next__"):
        _refuse(y, sample_weight, "Python generator")
        stream = ValueSource(Passes(Generator(x), None, steps, False), class_weight, names=names)
        stream.num_batches = steps
        return stream
    return _array_source(
        x, y, sample_weight, batch_size, shuffle, steps, class_weight, names, restart
    )


def _refuse(y: Any, sample_weight: Any, kind: str) -> None:
    for name, value, what in (
        ("y", y, "the targets"),
        ("sample_weight", sample_weight, "the sample weights"),
    ):
        if value is not None:
            raise ValueError(
                f"When providing `x` as a {kind}, `{name}` should not be passed. Instead, {what} "
                f"should be included as part of the {kind}."
            )


def _dataset_source(
    dataset: Dataset, steps: int | None, class_weight: Any, restart: bool, names: tuple[Any, ...]
) -> Source:
    node = dataset._node
    count = node.count()
    if count == _nodes.INFINITE and steps is None:
        raise ValueError(
            "The dataset is infinite (repeat()); give steps_per_epoch or steps, or leave out "
            "repeat(): every epoch makes a whole pass by itself."
        )
    total = count if count >= 0 else None
    if node.table is not None and not _has_dicts(node.table):
        if node.batch_size is None:
            raise ValueError(
                "The dataset yields single samples, but a model takes batches; add .batch(32)."
            )
        source: Any = TableSource(node.table, Passes(Chain(node, False), total, steps, restart))
        source.batch_size = node.batch_size
        source.class_weight = class_weight
        if class_weight is not None and node.table.weights(np.zeros(1, np.int64)) is not None:
            raise ValueError("class_weight and sample_weight cannot be given at the same time.")
    else:
        source = ValueSource(
            Passes(Chain(node, True), total, steps, restart),
            class_weight,
            peek=lambda: next(node.values(quiet=True)),
            names=names,
        )
        origin = dataset._origin
        source.class_names = None if origin is None else origin.class_names
        source.maps_labels = True
    source.num_batches = steps or total
    return source


def _has_dicts(table: Table) -> bool:
    """Whether inputs are named, so that only a model knows their order."""
    parts = table.structure if isinstance(table, ArrayTable) else ()
    found = [isinstance(p, dict) for p in (parts if isinstance(parts, tuple) else (parts,))]
    return any(found)


def _array_source(
    x: Any,
    y: Any,
    sample_weight: Any,
    batch_size: int | None,
    shuffle: bool | str,
    steps: int | None,
    class_weight: Any,
    names: tuple[Any, ...],
    restart: bool,
) -> TableSource:
    inputs = _arrays(x, names[0], "x")
    targets = None if y is None else _arrays(y, names[1], "y")
    weights = None if sample_weight is None else _arrays(sample_weight, names[1], "sample_weight")
    if class_weight is not None and weights is not None:
        raise ValueError("class_weight and sample_weight cannot be given at the same time.")
    sizes = {"x": inputs, "y": targets or [], "sample_weight": weights or []}
    rows = {len(a) for group in sizes.values() for a in group}
    if len(rows) != 1:
        listed = "; ".join(
            f"{name}: {', '.join(str(len(a)) for a in group)}"
            for name, group in sizes.items()
            if group
        )
        raise ValueError(
            "Data cardinality is ambiguous. Make sure all arrays contain the same number of "
            f"samples ({listed})."
        )
    count = rows.pop()
    if count == 0:
        raise ValueError("The arrays have no rows; there is nothing to compute.")
    if shuffle not in (True, False, "batch"):
        raise ValueError(f'shuffle must be True, False or "batch", got {shuffle!r}')
    if not batch_size:
        batch_size = -(-count // steps) if steps else _DEFAULT_BATCH
    parts = (
        tuple(inputs),
        None if targets is None else tuple(targets),
        None if weights is None else tuple(weights),
    )
    table = _FitTable(parts)
    total = -(-count // batch_size)
    opener = Rows(count, batch_size, shuffle)
    source = TableSource(table, Passes(opener, total, steps, restart))
    source.batch_size, source.num_batches = batch_size, steps or total
    source.class_weight = class_weight
    return source


class _FitTable(ArrayTable):
    """Arrays as `fit` takes them: tuples of inputs, targets, weights; the last two may be None."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        super().__init__(tuple(part for part in parts if part is not None))
        self._parts = parts

    def _part(self, place: int) -> Any:
        return self._parts[place]

    def spec(self) -> Any:
        return tuple((a.shape[1:], a.dtype) for a in self._parts[0]), None

    def weights(self, ids: np.ndarray) -> Any:
        part = self._parts[2]
        if part is None:
            return None
        return part[0][ids] if len(part) == 1 else [a[ids] for a in part]


def _arrays(value: Any, names: list[str] | None, what: str) -> list[np.ndarray]:
    arrays = as_list(value, names, what)
    for array in arrays:
        if array.dtype.kind in "SU" and array.ndim:
            raise TypeError(
                f"{what} must be numbers, got texts such as {str(array.flat[0])!r}; turn class "
                "names into indices: [class_names.index(name) for name in ...]"
            )
        if array.dtype == object or array.dtype.kind in "SUV":
            folder = "; images in a folder: image_dataset_from_directory(folder)"
            raise TypeError(
                f"{what} must be numeric arrays, a Dataset, an iterator of ImageDataGenerator, a "
                f"PyDataset or a generator; got {type(value).__name__}"
                + folder
                * isinstance(value, (str, bytes))
            )
        if array.ndim == 0:
            raise ValueError(f"{what} must have a first axis of samples, got a single number")
    return arrays
