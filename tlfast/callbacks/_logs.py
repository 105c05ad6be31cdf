"""Callbacks that write or watch the logs: progress line, CSV file, NaN guard."""

import csv
import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from tlfast._progress import Progbar, print_text
from tlfast.callbacks._base import Callback


class ProgbarLogger(Callback):
    """Prints the progress line."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: int = 0
        self.progbar: Any = None  # Progbar, once started
        self.target: int | None = None
        self.verbose: int = 1
        self.epochs: int = 1
        self._called_in_fit = False

    def set_params(self, params: dict[str, Any]) -> None:
        """Take verbosity, number of epochs and steps."""
        self.params = params
        verbose = params["verbose"]
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs = params["epochs"]
        self.target = params["steps"]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keep the validation inside `fit` silent."""
        self._called_in_fit = True

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print "Epoch i/n" and start a new line."""
        self._start()
        if self.verbose and self.epochs > 1:
            print_text(f"Epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Redraw."""
        self._update(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw for the last time, with the validation's values."""
        self._finish(logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start a new line, unless in `fit`."""
        if not self._called_in_fit:
            self._start()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Redraw, unless in `fit`."""
        if not self._called_in_fit:
            self._update(batch, logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draw for the last time, unless in `fit`."""
        if not self._called_in_fit:
            self._finish(logs)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start a new line."""
        self._start()

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Redraw, without the outputs."""
        self._update(batch, None)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draw for the last time."""
        self._finish(logs)

    def _start(self) -> None:
        self.seen = 0
        # No name is averaged: the logs are running means already.
        self.progbar = Progbar(target=self.target, verbose=self.verbose, stateless_metrics=())

    def _update(self, batch: int, logs: dict[str, Any] | None) -> None:
        self.seen = batch + 1
        if self.verbose == 1:
            self.progbar.update(self.seen, list((logs or {}).items()), finalize=False)

    def _finish(self, logs: dict[str, Any] | None) -> None:
        if self.target is None:
            self.target = self.seen
            self.progbar.target = self.target
        self.progbar.update(self.target, list((logs or {}).items()), finalize=True)


class CSVLogger(Callback):
    """Writes the logs of every epoch to a CSV file, flushed at once.

    The columns are "epoch" and the sorted keys of the first epoch; if that epoch had no
    validation, columns for it are added and filled with NA where there is none.

    Args:
        filename: path of the file.
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
        self.writer: Any = None
        self._with_header = True

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the file."""
        self._close()
        self._with_header = True
        if self.append and os.path.exists(self.filename):
            self._with_header = os.path.getsize(self.filename) == 0
        mode = "a" if self.append else "w"
        self.csv_file = open(self.filename, mode, newline="")
        self.writer = None
        self.keys = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a row."""
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
            if self.keys and not any(key.startswith("val_") for key in self.keys):
                self.keys.extend([f"val_{key}" for key in self.keys])
        if self.writer is None:
            names = ["epoch", *self.keys]
            self.writer = csv.DictWriter(self.csv_file, fieldnames=names, delimiter=self.sep)
            if self._with_header:
                self.writer.writeheader()
        row = {key: _cell(logs.get(key, "NA")) for key in self.keys}
        self.writer.writerow({"epoch": epoch, **row})
        self.csv_file.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self.csv_file is not None and not self.csv_file.closed:
            self.csv_file.close()
        self.writer = None


def _cell(value: object) -> object:
    scalar = isinstance(value, np.ndarray) and value.ndim == 0
    if isinstance(value, Iterable) and not isinstance(value, str) and not scalar:
        return f'"[{", ".join(map(str, value))}]"'
    return value


class TerminateOnNaN(Callback):
    """Ends the training when the loss is not a finite number.

    Args:
        raise_error: raise RuntimeError instead of ending quietly.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss.

        Raises:
            RuntimeError: the loss is not finite and `raise_error` is set.
        """
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating "
                "training immediately."
            )
        print_text(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
