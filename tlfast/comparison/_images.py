"""Batches of the three parts from one table, so that pixels and features are shared by all arms."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from tlfast._features import memory_budget
from tlfast.comparison._parts import NAMES, Parts
from tlfast.data import _nodes
from tlfast.data._pixels import PixelSpec
from tlfast.data._tables import FileTable
from tlfast.data.dataset import Dataset
from tlfast.data.directory import _BUFFER_BATCHES

_log = logging.getLogger("tlfast")


class _Chosen(_nodes.Rows):
    """Some rows of a table, in a given order."""

    def __init__(self, table: FileTable, rows: np.ndarray) -> None:
        super().__init__(table)
        self._rows = rows

    def open(self, quiet: bool = False) -> Iterator[Any]:
        return iter(self._rows.tolist())

    def count(self) -> int:
        return len(self._rows)


class Images:
    """Datasets of the parts.

    A training dataset has the order that `image_dataset_from_directory(part, seed=seed)` gives for
    a folder that holds the part; validation and test keep the order of their files.

    Args:
        parts: the images.
        size: (height, width) in pixels.
        batch_size: images per batch.
    """

    def __init__(self, parts: Parts, size: tuple[int, int], batch_size: int) -> None:
        listed = [image for name in NAMES for image in parts.images[name]]
        spec = PixelSpec(*size, 3, "bilinear", "keras")
        labels = np.array([image.label for image in listed], np.int32)
        paths = [image.path for image in listed]
        table = FileTable(paths, labels, "int", parts.class_names, spec)
        bytes_needed = 4 * len(paths) * int(np.prod(spec.shape))
        # Decoded once for all arms, where that leaves room for the training.
        self.keeps_pixels = bytes_needed <= memory_budget()
        if not self.keeps_pixels:
            _log.info(
                "%d MB of decoded pixels do not fit; files are read in every epoch",
                bytes_needed >> 20,
            )
        self._table = table.remembering() if self.keeps_pixels else table
        self._batch_size = batch_size
        self._labels = labels
        test = parts.images["test"]
        self._test_alone = FileTable(
            [image.path for image in test], np.array([image.label for image in test], np.int32),
            "int", parts.class_names, spec,
        )  # fmt: skip
        ends = np.cumsum([0, *(len(parts.images[name]) for name in NAMES)])
        self._rows = {name: np.arange(ends[i], ends[i + 1]) for i, name in enumerate(NAMES)}

    def train(self, seed: int) -> Dataset:
        """The training part in a new order in each pass.

        Args:
            seed: of the order.
        """
        rows = self._rows["train"].copy()
        np.random.RandomState(seed).shuffle(rows)
        node: Any = _Chosen(self._table, rows)
        node = _nodes.Shuffled(node, _BUFFER_BATCHES * self._batch_size, seed, True)
        return Dataset(_nodes.Batched(node, self._batch_size, False))

    def fixed(self, name: str) -> Dataset:
        """A part in the order of its files.

        Args:
            name: "validation" or "test".
        """
        return Dataset(
            _nodes.Batched(_Chosen(self._table, self._rows[name]), self._batch_size, False)
        )

    def test_alone(self) -> Dataset:
        """The test part from a table of its own: no features are kept of it.

        `predict` on kept features equals `predict` on pixels to the last bit only where all layers
        but the head are frozen: elsewhere a convolution may be parted from its batch norm.
        """
        return Dataset(_nodes.Batched(_nodes.Rows(self._test_alone), self._batch_size, False))

    def labels(self, name: str) -> np.ndarray:
        """Class numbers of a part in the order of its files."""
        return self._labels[self._rows[name]]

    def count(self, name: str) -> int:
        """Number of images of a part."""
        return len(self._rows[name])
