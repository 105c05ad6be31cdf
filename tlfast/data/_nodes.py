"""The steps of a dataset chain. Each opens an iterator over elements and knows its length.

An element is a row number, or an array of row numbers, as long as the chain still draws from a
table (`node.table`); after `map`, `filter` or `zip` it is the value itself. Opening draws the
random seeds of a pass at once, as tf.data does, even if nothing is read afterwards.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tlfast.data._random import Philox, op_seeds
from tlfast.data._structure import as_leaf, map_leaves, zip_leaves
from tlfast.data._tables import Table
from tlfast.data.batch import batch_array
from tlfast.saving.checks import maybe, one_of, permutation, row, whole

INFINITE = -1
UNKNOWN = -2


class Node:
    """A step of a chain; `table` is None once elements are values."""

    table: Table | None = None
    # Row numbers come one by one (None), or in arrays of this many (the last may be shorter).
    batch_size: int | None = None

    def open(self, quiet: bool = False) -> Iterator[Any]:
        """Start a pass. `quiet` leaves every random state and cache as it was."""
        raise NotImplementedError

    def count(self) -> int:
        """Number of elements, INFINITE or UNKNOWN."""
        raise NotImplementedError

    def values(self, quiet: bool = False) -> Iterator[Any]:
        """Start a pass over values, fetched from the table where there is one."""
        opened = self.open(quiet)
        return opened if self.table is None else self.table.values(opened)

    def before(self) -> list["Node"]:
        """The steps this one reads from."""
        return []

    def get_state(self) -> Any:
        """What, of this step alone, decides what the next pass gives, as plain values."""
        return None

    def check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns."""
        one_of(None)(value, where)

    def set_state(self, state: Any) -> None:
        """Go back to what `get_state` returned."""


def get_chain_state(node: Node) -> list[Any]:
    """What decides what the next pass over a chain gives, as plain values."""
    return [step.get_state() for step in _steps(node)]


def check_chain_state(node: Node, value: Any, where: str) -> None:
    """Raise FormatError for what `get_chain_state` never returns for this chain."""
    row(*(step.check_state for step in _steps(node)))(value, where)


def set_chain_state(node: Node, states: list[Any]) -> None:
    """Go back to what `get_chain_state` returned."""
    for step, state in zip(_steps(node), states, strict=True):
        step.set_state(state)


def _steps(node: Node) -> list[Node]:
    """All steps of a chain, each in front of those it reads from."""
    return [node, *(step for source in node.before() for step in _steps(source))]


class Rows(Node):
    """All rows of a table, in order."""

    table: Table

    def __init__(self, table: Table) -> None:
        self.table = table
        self._order: Any = None  # row numbers, where another process had the rows in another order

    def open(self, quiet: bool = False) -> Iterator[Any]:
        return iter(range(self.table.count) if self._order is None else self._order)

    def get_state(self) -> Any:
        ranks = self.table.ranks()
        return ranks if self._order is None or ranks is None else ranks[self._order]

    def check_state(self, value: Any, where: str) -> None:
        maybe(permutation(self.count()))(value, where)

    def set_state(self, state: Any) -> None:
        ranks = self.table.ranks()
        if state is None or ranks is None:
            return
        places = np.empty(len(ranks), np.int64)
        places[ranks] = np.arange(len(ranks))
        self._order = places[state].tolist()

    def count(self) -> int:
        return self.table.count


class Values(Node):
    """Values made by calling `make` for each pass."""

    def __init__(self, make: Callable[[], Iterator[Any]], count: int) -> None:
        self._make, self._count = make, count

    def open(self, quiet: bool = False) -> Iterator[Any]:
        return self._make()

    def count(self) -> int:
        return self._count


class Step(Node):
    """A step over one other; by default it changes neither elements nor number."""

    def __init__(self, source: Node) -> None:
        self.source = source
        self.table, self.batch_size = source.table, source.batch_size

    def count(self) -> int:
        return self.source.count()

    def before(self) -> list[Node]:
        return [self.source]

    def open(self, quiet: bool = False) -> Iterator[Any]:
        return self.source.open(quiet)


class Map(Step):
    def __init__(self, source: Node, function: Callable[..., Any]) -> None:
        super().__init__(source)
        self.table = self.batch_size = None
        self._function = function

    def open(self, quiet: bool = False) -> Iterator[Any]:
        opened = self.source.values(quiet)
        return (map_leaves(as_leaf, call(self._function, value)) for value in opened)


class Filter(Map):
    def open(self, quiet: bool = False) -> Iterator[Any]:
        opened = self.source.values(quiet)
        return (value for value in opened if bool(call(self._function, value)))

    def count(self) -> int:
        return UNKNOWN


def call(function: Callable[..., Any], value: Any) -> Any:
    """Call a user's function as tf.data does: a tuple is spread over the arguments."""
    value = map_leaves(batch_array, value)
    return function(*value) if isinstance(value, tuple) else function(value)


class Batched(Step):
    def __init__(self, source: Node, size: int, drop_remainder: bool) -> None:
        super().__init__(source)
        self.size, self.drop = size, drop_remainder
        if source.batch_size is not None:  # batches of batches are values
            self.table = None
        self.batch_size = size if self.table is not None else None

    def open(self, quiet: bool = False) -> Iterator[Any]:
        by_number = self.table is not None
        return self._groups(self.source.open(quiet) if by_number else self.source.values(quiet))

    def _groups(self, opened: Iterator[Any]) -> Iterator[Any]:
        while group := list(itertools.islice(opened, self.size)):
            if self.drop and len(group) < self.size:
                return
            yield np.array(group, np.int64) if self.table is not None else stack(group)

    def count(self) -> int:
        count = self.source.count()
        if count < 0:
            return count
        return count // self.size if self.drop else -(-count // self.size)


def stack(values: list[Any]) -> Any:
    """Elements of equal structure put on a new first axis."""
    try:
        return zip_leaves(lambda column: np.stack([np.asarray(v) for v in column]), values)
    except ValueError:
        shapes = sorted({str(map_leaves(np.shape, value)) for value in values})
        raise ValueError(
            f"batch() needs elements of one shape; this batch has {', '.join(shapes)}. "
            "Resize them to one shape in a map() before."
        ) from None


class Unbatched(Step):
    def __init__(self, source: Node) -> None:
        super().__init__(source)
        self.batch_size = None
        if source.batch_size is None:  # rows of a table are taken apart as values
            self.table = None

    def open(self, quiet: bool = False) -> Iterator[Any]:
        if self.table is not None:
            return itertools.chain.from_iterable(b.tolist() for b in self.source.open(quiet))
        return self._rows(self.source.values(quiet))

    def _rows(self, opened: Iterator[Any]) -> Iterator[Any]:
        for value in opened:
            sizes: list[int] = []
            map_leaves(lambda a, sizes=sizes: sizes.append(len(a)), value)
            for i in range(min(sizes)):
                yield map_leaves(lambda a, i=i: a[i], value)

    def count(self) -> int:
        count = self.source.count()
        if count == INFINITE or not isinstance(self.source, Batched) or not self.source.drop:
            return INFINITE if count == INFINITE else UNKNOWN
        return count if count < 0 else count * self.source.size


class Taken(Step):
    def __init__(self, source: Node, number: int) -> None:
        super().__init__(source)
        self._number = number

    def open(self, quiet: bool = False) -> Iterator[Any]:
        if self._number == 0:
            return iter(())
        opened = self.source.open(quiet)
        return opened if self._number < 0 else itertools.islice(opened, self._number)

    def count(self) -> int:
        count = self.source.count()
        if self._number < 0 or count == UNKNOWN:
            return count
        return self._number if count == INFINITE else min(count, self._number)


class Skipped(Step):
    def __init__(self, source: Node, number: int) -> None:
        super().__init__(source)
        self._number = number

    def open(self, quiet: bool = False) -> Iterator[Any]:
        if self._number < 0:
            return iter(())
        return itertools.islice(self.source.open(quiet), self._number, None)

    def count(self) -> int:
        count = self.source.count()
        if self._number < 0 and count != UNKNOWN:
            return 0
        return count if count < 0 else max(count - self._number, 0)


class Repeated(Step):
    def __init__(self, source: Node, times: int | None) -> None:
        super().__init__(source)
        self._times = INFINITE if times is None or times < 0 else times

    def open(self, quiet: bool = False) -> Iterator[Any]:
        if self._times == 0:
            return iter(())
        if self._times == 1:
            return self.source.open(quiet)
        return self._passes(self.source.open(quiet), quiet)

    def _passes(self, opened: Iterator[Any], quiet: bool) -> Iterator[Any]:
        done = 0
        while True:
            empty = True
            for element in opened:
                empty = False
                yield element
            done += 1
            if empty and self._times < 0:
                return  # nothing to repeat for ever
            # tf.data opens the next pass also after the last one, which draws its seeds, except
            # where it fuses shuffle().repeat() into one step.
            last = done == self._times
            if last and isinstance(self.source, Shuffled):
                return
            opened = self.source.open(quiet)
            if last:
                return

    def count(self) -> int:
        count = self.source.count()
        if self._times == 0 or count == 0:
            return 0
        if count < 0:
            return count if count == INFINITE or self._times > 0 else INFINITE
        return INFINITE if self._times < 0 else count * self._times


class Cached(Step):
    """Keeps the elements of the first whole pass; with a table also the rows it read."""

    def __init__(self, source: Node) -> None:
        super().__init__(source)
        if self.table is not None:
            self.table = self.table.remembering()
        self._kept: list[Any] | None = None
        self._origin: Any = None  # the state of the steps before, from which `_kept` follows

    def open(self, quiet: bool = False) -> Iterator[Any]:
        if self._kept is not None:
            return iter(self._kept)
        origin = get_chain_state(self.source)
        return self._fill(self.source.open(quiet), quiet, origin)

    def _fill(self, opened: Iterator[Any], quiet: bool, origin: Any) -> Iterator[Any]:
        kept = []
        for element in opened:
            kept.append(element)
            yield element
        if not quiet:
            self._kept, self._origin = kept, origin

    def get_state(self) -> Any:
        return None if self._kept is None else self._origin

    def check_state(self, value: Any, where: str) -> None:
        if value is not None:
            check_chain_state(self.source, value, where)

    def set_state(self, state: Any) -> None:
        self._kept = None
        if state is not None:
            set_chain_state(self.source, state)
            for _ in self.open():
                pass


class Shuffled(Step):
    """tf.data's shuffle: a ring of `buffer` elements, one drawn and replaced at a time."""

    def __init__(self, source: Node, buffer: int, seed: int | None, reshuffle: bool) -> None:
        super().__init__(source)
        self._buffer = buffer
        self._reshuffle = reshuffle
        self._seeds: tuple[int, ...] = op_seeds(seed)
        self._parent = Philox(*self._seeds)

    def get_state(self) -> Any:
        return [list(self._seeds), self._parent.get_state()]

    def check_state(self, value: Any, where: str) -> None:
        seed = whole(0, 2**64 - 1)
        row(row(seed, seed), self._parent.check_state)(value, where)

    def set_state(self, state: Any) -> None:
        self._seeds = tuple(state[0])
        self._parent.set_state(state[1])

    def open(self, quiet: bool = False) -> Iterator[Any]:
        if not self._reshuffle:
            return self._draw(Philox(*self._seeds), quiet)
        parent = self._parent.copy() if quiet else self._parent
        seed, seed2 = parent(), parent()
        return self._draw(Philox(seed, seed2), quiet)

    def _draw(self, draw: Philox, quiet: bool) -> Iterator[Any]:
        # The source is opened at the first element, not with this iterator, as in tf.data.
        opened = self.source.open(quiet)
        ring: list[Any] = list(itertools.islice(opened, self._buffer))
        start, capacity = 0, len(ring)
        filled = capacity
        while filled:
            chosen = (start + draw() % filled) % capacity
            yield ring[chosen]
            first = start % capacity
            ring[chosen], ring[first] = ring[first], None
            start += 1
            filled -= 1
            for element in itertools.islice(opened, 1):
                ring[(start + filled) % capacity] = element
                filled += 1


class Zipped(Node):
    def __init__(self, sources: Any) -> None:
        self._sources = sources

    def before(self) -> list[Node]:
        found: list[Node] = []
        map_leaves(found.append, self._sources)
        return found

    def open(self, quiet: bool = False) -> Iterator[Any]:
        opened: list[Iterator[Any]] = []
        map_leaves(lambda node: opened.append(node.values(quiet)), self._sources)
        return self._rows(opened)

    def _rows(self, opened: list[Iterator[Any]]) -> Iterator[Any]:
        for pair in zip(*opened, strict=False):
            items = iter(pair)
            yield map_leaves(lambda _, items=items: next(items), self._sources)

    def count(self) -> int:
        counts: list[int] = []
        map_leaves(lambda node: counts.append(node.count()), self._sources)
        if UNKNOWN in counts:
            return UNKNOWN
        return min((c for c in counts if c >= 0), default=INFINITE)


class Concatenated(Node):
    def __init__(self, first: Node, second: Node) -> None:
        self._first, self._second = first, second

    def before(self) -> list[Node]:
        return [self._first, self._second]

    def open(self, quiet: bool = False) -> Iterator[Any]:
        return self._both(self._first.values(quiet), quiet)

    def _both(self, opened: Iterator[Any], quiet: bool) -> Iterator[Any]:
        yield from opened
        yield from self._second.values(quiet)

    def count(self) -> int:
        counts = self._first.count(), self._second.count()
        if INFINITE in counts:
            return INFINITE
        return UNKNOWN if UNKNOWN in counts else sum(counts)
