"""Logs, learning rate and weights for TensorBoard."""

import os
import time
import warnings
from typing import Any

import numpy as np

from tlfast.callbacks._base import Callback, check_state
from tlfast.callbacks._events import EventFile, require_writer
from tlfast.callbacks._folders import prepare_folder


class TensorBoard(Callback):
    """Writes event files for TensorBoard: `tensorboard --logdir LOG_DIR` shows them.

    The folder `train` in `log_dir` gets `epoch_<name>` for every logged value and the learning
    rate, the folder `validation` gets `epoch_<name>` and `evaluation_<name>_vs_iterations`; the
    latter is written by `evaluate`, too. A training that is resumed goes on in a new file beside
    the first; steps that are trained again are written again.

    Needs the package tensorboardX: `pip install 'tlfast[tensorboard]'`.

    Args:
        log_dir: folder; made where there is none.
        histogram_freq: epochs from one histogram of all weights to the next, 0 for none.
        write_graph: write the model's layers, which TensorBoard draws as conceptual graph.
        write_images: write the weights as images, too, with the histograms.
        write_steps_per_second: write the speed of the training.
        update_freq: "epoch"; "batch" or a number of batches for `batch_<name>` after that many.
        profile_batch: only 0: there is no profiler.
        embeddings_freq: only 0: there are no embedding layers.
        embeddings_metadata: only None.

    Raises:
        ImportError: tensorboardX is not installed.
        ValueError: a number below 0, an unknown `update_freq`.
        NotImplementedError: an option of Keras that tlfast does not have.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int | str | tuple[int, int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: dict[str, str] | str | None = None,
    ) -> None:
        super().__init__()
        _refuse_missing_options(profile_batch, embeddings_freq, embeddings_metadata)
        _check_number("histogram_freq", histogram_freq, 0)
        if update_freq != "epoch":
            update_freq = 1 if update_freq == "batch" else update_freq
            _check_number("update_freq", update_freq, 1, ', "batch" or "epoch"')
        if write_images and not histogram_freq:
            warnings.warn(
                "TensorBoard(write_images=True) has no effect without `histogram_freq`: weights "
                "are written as images in the epochs of the histograms.",
                stacklevel=3,
            )
        require_writer()
        self.log_dir: str = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq: Any = update_freq
        self._files: dict[str, EventFile] = {}
        self._in_fit = False
        self._train_batches = 0  # of this fit
        self._test_batches = 0  # of all validations
        self._epoch_start = (0.0, 0)  # time and steps of the optimizer
        self._batch_start = 0.0

    # ---- hooks ---------------------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the files, and write the graph.

        Raises:
            OSError: nothing can be written to `log_dir`.
        """
        self._release()
        self._in_fit = True
        self._train_batches = 0
        self._mark_epoch()
        train = self._file("train")
        if self.write_graph:
            self._write_graph(train)
        train.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files."""
        self._release()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock of the epoch."""
        self._mark_epoch()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count, and start the clock of the batch."""
        self._train_batches += 1
        self._batch_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the running means, if it is time."""
        if self.update_freq == "epoch" or self._train_batches % self.update_freq:
            return
        values = dict(logs or {})
        if self.write_steps_per_second:
            values["steps_per_second"] = 1 / (time.perf_counter() - self._batch_start)
        self._scalars("train", "batch_{}", values, self._train_batches)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count."""
        self._test_batches += 1

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the results over the steps of the optimizer."""
        if self.model.optimizer is not None:
            step = int(self.model.optimizer.iterations)
            self._scalars("validation", "evaluation_{}_vs_iterations", logs or {}, step)
        self._flush()
        if not self._in_fit:
            self._release()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the logs, and the weights if it is time."""
        if logs:
            self._write_epoch(epoch, logs)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        self._flush()

    # ---- resuming ------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return the counts of batches; what was written before is in the files from here on."""
        self._flush()
        return {"train_batches": self._train_batches, "test_batches": self._test_batches}

    def _check_state(self, value: Any, where: str) -> None:
        from tlfast.saving.checks import COUNT, object_of

        object_of({"train_batches": COUNT, "test_batches": COUNT})(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back the counts of batches."""
        check_state(self, state, self.get_state())
        self._train_batches = state["train_batches"]
        self._test_batches = state["test_batches"]
        self._mark_epoch()

    # ---- files ---------------------------------------------------------------------------------

    def _file(self, name: str) -> EventFile:
        if name not in self._files:
            folder = os.path.join(self.log_dir, name)
            prepare_folder(f"TensorBoard({self.log_dir!r})", folder)
            self._files[name] = EventFile(folder)
        return self._files[name]

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def _release(self) -> None:
        self._in_fit = False
        for file in self._files.values():
            file.close()
        self._files = {}

    # ---- what is written -----------------------------------------------------------------------

    def _mark_epoch(self) -> None:
        self._epoch_start = time.perf_counter(), int(self.model.optimizer.iterations)

    def _scalars(self, name: str, form: str, values: dict[str, Any], step: int) -> None:
        for key, value in values.items():
            self._file(name).scalar(form.format(key), value, step)

    def _write_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        train = {key: value for key, value in logs.items() if not key.startswith("val_")}
        train["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            since, steps = self._epoch_start
            done = int(self.model.optimizer.iterations) - steps
            train["steps_per_second"] = done / (time.perf_counter() - since)
        values = {key[4:]: value for key, value in logs.items() if key.startswith("val_")}
        self._scalars("train", "epoch_{}", train, epoch)
        self._scalars("validation", "epoch_{}", values, epoch)

    def _write_graph(self, file: EventFile) -> None:
        try:
            text = self.model.to_json()
        except (NotImplementedError, TypeError, ValueError) as error:
            warnings.warn(
                f"TensorBoard: the graph is not written, the model has no JSON form ({error}).",
                stacklevel=2,
            )
        else:
            file.keras_model("keras", text, 0)

    def _write_weights(self, epoch: int) -> None:
        file = self._file("train")
        for layer in self.model.layers:
            for variable in layer.weights:
                name, values = variable.path.replace(":", "_"), variable.numpy()
                file.histogram(f"{name}/histogram", values, epoch)
                pixels = _as_images(values) if self.write_images else None
                if pixels is not None:
                    file.images(f"{name}/image", pixels, epoch)


def _as_images(weight: np.ndarray) -> np.ndarray | None:
    """A weight as images (n, height, width, channels), as Keras arranges it; None: not possible."""
    image = weight.squeeze()
    if image.ndim == 1:
        image = image[None, :, None, None]
    elif image.ndim == 2:
        image = (image.T if image.shape[0] > image.shape[1] else image)[None, :, :, None]
    elif image.ndim == 3:
        image = image.transpose(2, 0, 1)[..., None]
    return image if image.ndim == 4 and image.shape[-1] in (1, 3, 4) else None


def _refuse_missing_options(
    profile_batch: Any, embeddings_freq: Any, embeddings_metadata: Any
) -> None:
    if profile_batch not in (0, "0", (0, 0), [0, 0]):
        raise NotImplementedError(
            f"TensorBoard(profile_batch={profile_batch!r}): there is no profiler whose result "
            "TensorBoard shows; leave `profile_batch` out."
        )
    if embeddings_freq or embeddings_metadata:
        raise NotImplementedError(
            f"TensorBoard(embeddings_freq={embeddings_freq!r}, embeddings_metadata="
            f"{embeddings_metadata!r}): there are no embedding layers; leave both out."
        )


def _check_number(name: str, value: Any, least: int, others: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(
            f"TensorBoard({name}={value!r}): expected a whole number, {least} or more{others}."
        )
