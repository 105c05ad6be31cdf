"""PyDataset: the base class of data sets written in Python, batch by batch."""

from collections.abc import Iterator
from typing import Any


class PyDataset:
    """Base class: `__getitem__(i)` returns batch number i, `__len__` the number of batches.

    Args:
        workers: threads that fetch batches ahead during fit; 1 fetches them one by one.
        use_multiprocessing: must be False.
        max_queue_size: batches fetched ahead at most, with several workers.

    Raises:
        NotImplementedError: with `use_multiprocessing=True`.

    Example:
        >>> import numpy as np
        >>> class Ones(PyDataset):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, index):
        ...         return np.ones((4, 2)), np.full(4, index)
        >>> len(Ones())
        3
    """

    # Class attributes, so that a subclass that forgets super().__init__() still works.
    workers: int = 1
    use_multiprocessing: bool = False
    max_queue_size: int = 10

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ) -> None:
        if use_multiprocessing:
            raise NotImplementedError(
                "use_multiprocessing=True is not supported: a forked process cannot use the "
                "compute threads. Use workers=N, which fetches batches in N threads."
            )
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(self, index)")

    @property
    def num_batches(self) -> int | None:
        """Number of batches; None for a data set without end."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(
            f"{type(self).__name__} must define __len__(self) or the property num_batches"
        )

    def __iter__(self) -> Iterator[Any]:
        count = self.num_batches
        index = 0
        while count is None or index < count:
            yield self[index]
            index += 1

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch, and once before the first."""
