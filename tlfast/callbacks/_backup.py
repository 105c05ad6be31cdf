"""Going on with a training that was interrupted, as if it had not been."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlfast._warnings import ResumeWarning, user_level
from tlfast.callbacks._base import Callback
from tlfast.callbacks._folders import prepare_folder

_log = logging.getLogger("tlfast")
_LISTED = 8  # differences named in a message


class BackupAndRestore(Callback):
    """Stores the state of `fit`, and goes on from there when the same script is run again.

    The resumed training is the uninterrupted one, bit for bit: weights, optimizer, learning rate,
    the other callbacks, order and augmentation of the data, dropout, running metrics and the
    history are in the file, which is replaced in one step. Callbacks of your own are stored through
    `get_state` and `set_state` (see `Callback`); what a callback without them has counted is its
    own business. The file holds no path and no file name.

    Args:
        backup_dir: folder for the file; made if missing.
        save_freq: "epoch", or a number of batches.
        double_checkpoint: keep the state before the last one, too, and take it where the last one
            is damaged.
        delete_checkpoint: delete the file when `fit` has come to its end.

    Raises:
        ValueError: an empty `backup_dir`, another `save_freq`.

    Example:
        >>> import numpy as np, tempfile
        >>> from tlfast import keras
        >>> x, y = np.arange(12.0).reshape(6, 2), np.zeros(6)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     backup = keras.callbacks.BackupAndRestore(folder, save_freq=1)
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     history = model.fit(x, y, batch_size=2, epochs=2, callbacks=[backup], verbose=0)
        >>> len(history.history["loss"])
        2
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed")
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq >= 1
        if save_freq != "epoch" and not whole:
            raise ValueError(
                f"Invalid value for argument `save_freq`. Received: save_freq={save_freq!r}. "
                "Expected either 'epoch' or an integer value, the number of batches."
            )
        self.backup_dir: str = os.fspath(backup_dir)
        self.save_freq: Any = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._latest = Path(self.backup_dir, "latest.tlfast")
        self._previous = Path(self.backup_dir, "previous.tlfast")
        self._get_state: Callable[[], dict[str, Any]] | None = None
        self._made_of: dict[str, Any] = {}
        self._batches_since_saving = 0
        self._latest_is_damaged = False  # it is not to take the place of the good one before it

    def _prepare(self, get_state: Callable[[], dict[str, Any]], made_of: dict[str, Any]) -> None:
        """Take what `fit` knows of itself, before it begins.

        Args:
            get_state: gives the state to store.
            made_of: the fingerprint of the fit.

        Raises:
            OSError: the folder cannot be made, or nothing can be written in it.
        """
        self._get_state, self._made_of = get_state, made_of
        self._batches_since_saving = 0
        from tlfast.saving.atomic import remove_orphans

        prepare_folder(f"BackupAndRestore({self.backup_dir!r})", self.backup_dir)
        remove_orphans(Path(self.backup_dir))

    def _load(self, check_state: Callable[[Any, str], None]) -> dict[str, Any] | None:
        """Return the stored state that fits this training, None where there is none.

        Args:
            check_state: raises FormatError for what is no state of this training.

        Raises:
            ValueError: it is of another model, or of other arguments or data.
            FormatError: it is damaged, and so is the one before it; or it holds something else.
        """
        from tlfast.saving.checks import anything, map_of, object_of, plain

        read = self._read()
        if read is None:
            return None
        found, path = read
        object_of({"made_of": map_of(plain), "state": anything})(found, f"{path}: it")
        self._compare(found["made_of"])
        check_state(found["state"], f"{path}: state")
        return found["state"]

    def _read(self) -> tuple[dict[str, Any], Path] | None:
        from tlfast.saving.errors import FormatError
        from tlfast.saving.state_file import read_state

        damaged: Exception | None = None
        for path in (self._latest, self._previous):
            try:
                found = read_state(path)
            except FileNotFoundError:
                continue
            except (FormatError, OSError) as error:
                damaged = damaged or error
                continue
            if damaged is not None:
                warnings.warn(
                    f"{damaged}; the training goes on from the state before it, {path}",
                    ResumeWarning,
                    stacklevel=user_level(),
                )
                self._latest_is_damaged = True
            return found, path
        if damaged is not None:
            raise FormatError(
                f"{damaged}. To start the training anew, delete the folder {self.backup_dir!r}; "
                "double_checkpoint=True keeps two states."
            ) from damaged
        return None

    def _compare(self, then: dict[str, Any]) -> None:
        from tlfast._fingerprint import DECISIVE, differences

        found = [(text.partition("/")[0], text) for text in differences(then, self._made_of)]
        decisive = [text for part, text in found if part.partition("[")[0] in DECISIVE]
        if decisive:
            raise ValueError(
                f"the training stored in {self.backup_dir!r} is another one, so this one cannot go "
                f"on from it: {_listed(decisive)}. Restore what was changed, or delete the folder "
                "to start anew; two calls of fit need two folders."
            )
        if found:
            warnings.warn(
                "the resumed training may differ from an uninterrupted one, since these differ: "
                f"{_listed([text for _, text in found])}",
                ResumeWarning,
                stacklevel=user_level(),
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Store the state, if it is time."""
        self._batches_since_saving += 1
        if self.save_freq != "epoch" and self._batches_since_saving >= self.save_freq:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Store the state, unless it is done by batches."""
        if self.save_freq == "epoch":
            self._save()

    def _save(self) -> None:
        from tlfast.saving.state_file import write_state

        if self._get_state is None:
            raise ValueError("BackupAndRestore works in `fit` only, which tells it what to store")
        state = {"made_of": self._made_of, "state": self._get_state()}
        keeps = self.double_checkpoint and not self._latest_is_damaged
        write_state(self._latest, state, self._previous if keeps else None)
        self._latest_is_damaged = False
        self._batches_since_saving = 0

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Delete the file, unless it is to be kept; other files in the folder stay."""
        self._release()
        if not self.delete_checkpoint:
            return
        for path in (self._previous, self._latest):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: something of the user's is in it
            os.rmdir(self.backup_dir)

    def _release(self) -> None:
        self._get_state = None


def _listed(texts: list[str]) -> str:
    more = f"; and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return "; ".join(texts[:_LISTED]) + more
