"""The end of a training whose loss is no number any more, with the place where it began."""

import math
from typing import Any

import numpy as np

from tlfast._progress import print_text
from tlfast.callbacks._base import Callback


class TerminateOnNaN(Callback):
    """Ends the training when the loss is not a finite number, and says where that came from.

    Behind Keras' message stand epoch and batch, the first thing with values that are not finite
    (pixels, labels, the weights or the outputs of a layer), and the files of the batch where the
    data come from folders. To find it, the weights before each step are kept: as much memory again
    as the trained weights take.

    Args:
        raise_error: raise RuntimeError instead of ending quietly.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error
        self._epoch = 0
        self._trained: list[Any] = []
        self._before: list[np.ndarray] | None = None  # the trained weights before the step

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the weights that this training changes."""
        self._trained = list(getattr(self.model, "trainable_weights", ()))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights."""
        self._before = None  # never two copies
        self._before = [variable.numpy() for variable in self._trained]

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss.

        Raises:
            RuntimeError: the loss is not finite and `raise_error` is set.
        """
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        where = self._where(batch, loss)
        if self.raise_error:
            text = (
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating "
                "training immediately."
            )
            raise RuntimeError("\n".join([text, *where]))
        print_text("\n".join([f"Batch {batch}: Invalid loss, terminating training", *where]))
        self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Let the kept weights go."""
        self._release()

    def _release(self) -> None:
        self._trained, self._before = [], None

    def _where(self, batch: int, loss: float) -> list[str]:
        steps = getattr(self.model, "_training_steps", None)
        if steps is None or self._before is None:  # hooks called by hand, outside of `fit`
            return []
        from tlfast._non_finite import explain

        return [
            f"Epoch {self._epoch + 1}, batch {batch + 1}: the loss is {loss}.",
            *explain(self.model, steps, self._before),
        ]
