"""The logs of every epoch as a CSV file."""

import csv
import io
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from tlfast.callbacks._base import Callback, check_state
from tlfast.callbacks._folders import prepare_folder


class CSVLogger(Callback):
    """Writes the logs of every epoch to a CSV file, flushed at once.

    The columns are "epoch" and the sorted keys of the first epoch; if that epoch had no
    validation, columns for it are added and filled with NA where there is none. A training that is
    resumed goes on with the row behind the last epoch that is not trained again.

    Args:
        filename: path of the file. Missing folders are made.
        separator: character between two columns.
        append: go on at the end of an existing file instead of replacing it.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        super().__init__()
        self.filename: str = os.fspath(filename)
        self.sep = separator
        self.append = append
        self.keys: list[str] | None = None
        self.csv_file: Any = None  # the open file
        self._with_header = True
        self._start = 0  # size of the file when this training began
        self._written = ""  # by this training

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be written.
        """
        self._release()
        owner = f"CSVLogger({self.filename!r})"
        prepare_folder(owner, os.path.dirname(self.filename))
        self.csv_file = open(self.filename, "a" if self.append else "w", newline="")
        self._start = os.path.getsize(self.filename)
        self._with_header = self._start == 0
        self._written = ""
        self.keys = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a row."""
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
            if self.keys and not any(key.startswith("val_") for key in self.keys):
                self.keys.extend([f"val_{key}" for key in self.keys])
            if self._with_header:
                self._write(["epoch", *self.keys])
        self._write([epoch, *(_cell(logs.get(key, "NA")) for key in self.keys)])
        self.csv_file.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        self._release()

    def get_state(self) -> dict[str, Any]:
        """Return the columns, what this training wrote, and where in the file that begins."""
        keys = None if self.keys is None else list(self.keys)
        return {"keys": keys, "start": self._start, "written": self._written}

    def _check_state(self, value: Any, where: str) -> None:
        from tlfast.saving.checks import COUNT, MANY, list_of, maybe, object_of, text

        parts = {"keys": maybe(list_of(text())), "start": COUNT, "written": text(MANY)}
        object_of(parts)(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Make the file what it was then: rows of epochs that are trained again are taken out."""
        check_state(self, state, self.get_state())
        self.keys, self._written = state["keys"], state["written"]
        self._release()
        with open(self.filename, "r+b") as file:
            self._start = min(state["start"], os.path.getsize(self.filename))
            file.truncate(self._start)
        self._with_header = self._start == 0
        self.csv_file = open(self.filename, "a", newline="")
        self.csv_file.write(self._written)
        self.csv_file.flush()

    def _write(self, row: list[object]) -> None:
        line = io.StringIO()
        csv.writer(line, delimiter=self.sep).writerow(row)
        self.csv_file.write(line.getvalue())
        self._written += line.getvalue()

    def _release(self) -> None:
        if self.csv_file is not None and not self.csv_file.closed:
            self.csv_file.close()


def _cell(value: object) -> object:
    scalar = isinstance(value, np.ndarray) and value.ndim == 0
    if isinstance(value, Iterable) and not isinstance(value, str) and not scalar:
        return f'"[{", ".join(map(str, value))}]"'
    return value
