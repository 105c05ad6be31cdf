"""A learning rate that is a function of the epoch."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast._progress import print_text
from tlfast.callbacks._base import Callback


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of every epoch.

    Args:
        schedule: function of (epoch, current rate), or of (epoch), that returns a float.
        verbose: 1 prints a line per epoch.

    Raises:
        TypeError: `schedule` is not callable.
    """

    _logs_learning_rate = True

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(f"`schedule` must be a function of the epoch, got {schedule!r}.")
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ask the schedule and set the rate.

        Raises:
            ValueError: the schedule did not return a float.
        """
        optimizer = self.model.optimizer
        if self._takes_rate():
            rate = self.schedule(epoch, float(optimizer.learning_rate))
        else:
            rate = self.schedule(epoch)
        if not isinstance(rate, (float, np.floating)):
            raise ValueError(
                f"The output of the `schedule` function should be a float. Got: {rate}"
            )
        optimizer.learning_rate = float(rate)
        if self.verbose > 0:
            print_text(
                f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}."
            )

    def _takes_rate(self) -> bool:
        """Say whether the schedule takes (epoch, rate); Keras tries and catches the TypeError."""
        try:
            inspect.signature(self.schedule).bind(0, 0.0)
        except TypeError:
            return False
        except ValueError:  # no signature (a built-in): the newer form
            return True
        return True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the rate."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)
