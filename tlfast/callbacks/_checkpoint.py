"""Saving the model during training."""

import os
import re
import string
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tlfast import _keras2
from tlfast._progress import print_text
from tlfast.callbacks._base import check_state
from tlfast.callbacks._folders import fixed_folder, prepare_folder
from tlfast.callbacks._monitor import MonitorCallback

_FORM = "A field is a name and a format for numbers, as in {epoch:02d} or {val_loss:.2f}."


class ModelCheckpoint(MonitorCallback):
    """Saves the model or its weights after epochs or batches.

    Args:
        filepath: path of the file; may contain "{epoch:02d}", "{batch}" and the logged values, as
            in "m-{epoch:02d}-{val_loss:.2f}.keras". It ends in ".keras" or ".h5", or in
            ".weights.h5" with `save_weights_only`. Missing folders are made.
        monitor, mode: see `MonitorCallback`; used with `save_best_only`.
        verbose: 1 prints what happens.
        save_best_only: save only when the watched value improves. The best value is kept over
            several fits with the same object.
        save_weights_only: save the weights only.
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: best value to start from.
        period: epochs from one saving to the next; an argument of Keras 2.

    Raises:
        ValueError: a file name that does not say what is saved, an unknown `save_freq`, a
            `period` below 1 or beside a number of batches.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        period: int | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath: str = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq: Any = save_freq
        self.period: int = 1
        if period is not None:
            self._set_period(period)
        self._epochs_since_saving = 0
        self._batches_since_saving = 0
        self._last_batch: int | None = None
        self._current_epoch = 0
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int)):
            raise ValueError(
                f"Unrecognized save_freq: {save_freq}. Expected save_freq are 'epoch' or integer "
                "values"
            )
        if save_weights_only and not self.filepath.endswith(".weights.h5"):
            raise ValueError(
                "When using `save_weights_only=True` in `ModelCheckpoint`, the filepath provided "
                "must end in `.weights.h5` (Keras weights format). Received: "
                f"filepath={self.filepath}"
            )
        if not save_weights_only and not self.filepath.endswith((".keras", ".h5", ".hdf5")):
            raise ValueError(
                "The filepath provided must end in `.keras` (Keras model format) or `.h5`. "
                f"Received: filepath={self.filepath}"
            )

    def check_monitor(
        self, names: Sequence[str], sometimes: Sequence[str] = (), complete: bool = True
    ) -> None:
        """Check the watched value, and the file name where it asks for one that is not logged.

        Args:
            names, sometimes, complete: see `MonitorCallback.check_monitor`.

        Raises:
            ValueError: `save_best_only` watches a value that is never logged.
            KeyError: the file name contains such a value, or one that is not always there.
            ValueError: the file name is no format.
        """
        if self.save_freq != "epoch":  # in the middle of an epoch nothing is validated
            names, sometimes = _of_batches(names), ()
        if self.save_best_only:
            super().check_monitor(names, sometimes, complete)
        if self.period > 1:  # perhaps the epochs that have a validation
            names, sometimes = [*names, *sometimes], ()
        values: dict[str, Any] = dict.fromkeys(names, 0.0)
        if complete or self._fields() <= {"epoch", "batch", *values}:
            batch = None if self.save_freq == "epoch" else 0
            self._path(0, batch, values, set(sometimes))

    def _fields(self) -> set[str]:
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(self.filepath)]
        except ValueError as error:
            raise ValueError(self._cannot_format(error, _FORM)) from error
        return {re.split(r"[.\[]", field)[0] for field in fields if field is not None}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the folder, and try whether it takes files, before the first epoch."""
        self._refuse_folder(self.filepath)
        owner = f"ModelCheckpoint({self.filepath!r})"
        prepare_folder(owner, fixed_folder(self.filepath))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if it is time."""
        if self._is_due(batch):
            self._save(self._current_epoch, batch, logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch."""
        self._current_epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, unless it is done by batches."""
        self._find_monitor(logs or {})
        if self.monitor_op is None and self.save_best_only:
            self._set_monitor_op()
        if self.save_freq == "epoch":
            self._epochs_since_saving += 1
            if self._epochs_since_saving >= self.period:
                self._epochs_since_saving = 0
                self._save(epoch, None, logs)

    def get_state(self) -> dict[str, Any]:
        """Return the best value and the counts of epochs and batches."""
        return {
            "best": self.best,
            "current_epoch": self._current_epoch,
            "epochs_since_saving": self._epochs_since_saving,
            "batches_since_saving": self._batches_since_saving,
            "last_batch": self._last_batch,
        }

    def _check_state(self, value: Any, where: str) -> None:
        from tlfast.saving.checks import COUNT, logged, maybe, object_of

        counts = ("current_epoch", "epochs_since_saving", "batches_since_saving")
        parts = {"best": maybe(logged), "last_batch": maybe(COUNT), **dict.fromkeys(counts, COUNT)}
        object_of(parts)(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned."""
        check_state(self, state, self.get_state())
        self.best = state["best"]
        self._current_epoch = state["current_epoch"]
        self._epochs_since_saving = state["epochs_since_saving"]
        self._batches_since_saving = state["batches_since_saving"]
        self._last_batch = state["last_batch"]

    def _set_period(self, period: int) -> None:
        _keras2.say("ModelCheckpoint(period=)", 'ModelCheckpoint(save_freq="epoch")', 4)
        if isinstance(period, bool) or not isinstance(period, int) or period < 1:
            raise ValueError(f"`period` is a number of epochs, 1 or more. Received: {period!r}")
        if self.save_freq != "epoch":
            raise ValueError(
                f"period={period} counts epochs and save_freq={self.save_freq!r} batches: give one"
            )
        self.period = period

    def _is_due(self, batch: int) -> bool:
        if self.save_freq == "epoch":
            return False
        if self._last_batch is None or batch <= self._last_batch:
            done = batch + 1  # a new epoch
        else:
            done = batch - self._last_batch
        self._batches_since_saving += done
        self._last_batch = batch
        if self._batches_since_saving < self.save_freq:
            return False
        self._batches_since_saving = 0
        return True

    def _should_save(self, epoch: int, logs: Mapping[str, Any], path: str) -> bool:
        if not self.save_best_only:
            if self.verbose > 0:
                print_text(f"\nEpoch {epoch + 1}: saving model to {path}")
            return True
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(f"Can save best model only with {self.monitor} available.", stacklevel=4)
            return True
        if np.ndim(current) > 0:
            warnings.warn(
                "Can save best model only when `monitor` is a scalar value. Received: "
                f"{current}. Falling back to `save_best_only=False`.",
                stacklevel=4,
            )
            return True
        if self.monitor_op is None:
            self._set_monitor_op()
        best = "None" if self.best is None else f"{self.best:.5f}"
        if not self._is_improvement(current, self.best):
            if self.verbose > 0:
                print_text(f"\nEpoch {epoch + 1}: {self.monitor} did not improve from {best}")
            return False
        if self.verbose > 0:
            print_text(
                f"\nEpoch {epoch + 1}: {self.monitor} improved from {best} to {current:.5f}, "
                f"saving model to {path}"
            )
        self.best = current
        return True

    def _save(self, epoch: int, batch: int | None, logs: dict[str, Any] | None) -> None:
        logs = logs or {}
        path = self._path(epoch, batch, logs)
        if not self._should_save(epoch, logs, path):
            return
        self._refuse_folder(path)
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)
        if self.verbose > 0:
            print_text(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    @staticmethod
    def _refuse_folder(path: str) -> None:
        if os.path.isdir(path):
            raise IsADirectoryError(
                "Please specify a non-directory filepath for ModelCheckpoint. Filepath used is an "
                f"existing directory: {path}"
            )

    def _path(
        self,
        epoch: int,
        batch: int | None,
        logs: Mapping[str, Any],
        sometimes: Collection[str] = (),
    ) -> str:
        values = dict(logs)
        if batch is not None and "batch" not in values:
            values["batch"] = batch + 1
        # "{val_acc}" and "{val_accuracy}" mean the same value.
        for short, long in (("acc", "accuracy"), ("val_acc", "val_accuracy")):
            if (short in values) != (long in values):
                values.setdefault(short, values.get(long))
                values.setdefault(long, values.get(short))
        try:
            return self.filepath.format(epoch=epoch + 1, **values)
        except KeyError as error:
            reason = str(error)
            if error.args[0] in sometimes:
                reason += " is not logged after every epoch (`validation_freq`)"
            logged = f"Logged values: {', '.join(sorted(logs))}."
            raise KeyError(self._cannot_format(reason, logged)) from error
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(self._cannot_format(error, _FORM)) from error

    def _cannot_format(self, reason: object, advice: str) -> str:
        path = self.filepath
        return f'Failed to format this callback filepath: "{path}". Reason: {reason}. {advice}'


def _of_batches(names: Iterable[str]) -> list[str]:
    return [n for n in names if not n.startswith("val_") and n != "learning_rate"]
