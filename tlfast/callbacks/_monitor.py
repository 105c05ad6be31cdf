"""Callbacks that watch one logged value: early stopping, lower learning rate on a plateau."""

import operator
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tlfast import _keras2
from tlfast._errors import did_you_mean
from tlfast._progress import print_text
from tlfast.callbacks._base import Callback, take_state


class MonitorCallback(Callback):
    """Base of callbacks that compare one logged value with the best so far.

    Args:
        monitor: the logged value, "val_loss" for example.
        mode: "min", "max" or "auto" (by the name: losses down, accuracies up).
        baseline: best value to start from, None for none.
        min_delta: a change must be larger than this to count as an improvement.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__} mode '{mode}' is unknown, fallback to auto mode.",
                stacklevel=3,
            )
            mode = "auto"
        self.monitor: str = monitor
        self.mode = mode
        self.best: float | None = baseline
        self.min_delta: float = abs(min_delta)
        self.monitor_op: Any = None  # operator.lt or gt, once the metrics are known

    def check_monitor(
        self, names: Sequence[str], sometimes: Sequence[str] = (), complete: bool = True
    ) -> None:
        """Raise before the first epoch if the monitored value will never be logged.

        Args:
            names: the values that will be logged after every epoch.
            sometimes: those that will be logged after some epochs.
            complete: False if callbacks of the user may add further ones.

        Raises:
            ValueError: the name is not among them, with the closest and all valid names.
        """
        known = [*names, *sometimes]
        self._find_monitor(known)
        if self.monitor in known or not complete:
            return
        hint = ""
        if self.monitor.startswith("val_") and not any(n.startswith("val_") for n in known):
            hint = " There is no validation: pass `validation_data` or `validation_split`."
        raise ValueError(
            f"{type(self).__name__}(monitor={self.monitor!r}): this value is never logged."
            f"{did_you_mean(self.monitor, known)}{hint} Logged values: {', '.join(known)}."
        )

    def _find_monitor(self, names: Iterable[str]) -> None:
        """Take the logged name for the one given: "val_accuracy" for "val_acc"."""
        self.monitor = _keras2.logged_name(self.monitor, names) or self.monitor

    def _set_monitor_op(self) -> None:
        if self.mode == "auto":
            down = self._goes_down(self.monitor.removeprefix("val_"))
        else:
            down = self.mode == "min"
        self.monitor_op = operator.lt if down else operator.gt
        if down:
            self.min_delta *= -1

    def _goes_down(self, name: str) -> bool:
        directions = {"loss": "down"}
        for metric in _all_metrics(self.model):
            if getattr(metric, "_direction", None) is not None:
                directions[metric.name] = metric._direction
        direction = directions.get(name) or ("down" if name.endswith("_loss") else None)
        if direction is None:
            raise ValueError(
                f"{type(self).__name__} callback received monitor={self.monitor}, but tlfast "
                "isn't able to automatically determine whether that metric should be maximized "
                "or minimized. Pass `mode='max'` in order to monitor based on the highest metric "
                "value, or pass `mode='min'` in order to use the lowest value."
            )
        return direction == "down"

    def _is_improvement(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return True
        return bool(self.monitor_op(value - self.min_delta, reference))


def _all_metrics(model: Any) -> list[Any]:
    found: list[Any] = []
    for metric in getattr(model, "metrics", []):
        found.extend(getattr(metric, "metrics", None) or [metric])
    return found


_STOPPING_STATE = ("best", "best_epoch", "best_weights", "stopped_epoch", "wait")
_PLATEAU_STATE = ("best", "cooldown_counter", "wait")


class EarlyStopping(MonitorCallback):
    """Ends the training when a value has stopped improving.

    Args:
        monitor, mode, min_delta: see `MonitorCallback`.
        patience: number of epochs without improvement after which to stop.
        verbose: 1 prints what happens.
        baseline: the value must also beat this to restart the patience.
        restore_best_weights: give the model the weights of the best epoch at the end.
        start_from_epoch: number of epochs to wait before watching.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.wait: int = 0
        self.stopped_epoch: int = 0
        self.best_epoch: int = 0
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start anew, so that one object can serve several fits."""
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare with the best epoch."""
        self._find_monitor(logs or {})
        if self.monitor_op is None:
            self._set_monitor_op()
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        self.wait += 1
        if self._is_improvement(current, self.best):
            self.best = current
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Say what happened and restore the weights."""
        if self.stopped_epoch > 0 and self.verbose > 0:
            print_text(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                print_text(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}."
                )
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        """Return the best value, its epoch and weights, and how long the wait has been."""
        state = {name: getattr(self, name) for name in _STOPPING_STATE}
        if self.best_weights is not None:
            state["best_weights"] = [np.array(weight) for weight in self.best_weights]
        return state

    def _check_state(self, value: Any, where: str) -> None:
        from tlfast.saving.checks import COUNT, logged, maybe, object_of, weights_of

        counts = dict.fromkeys(("best_epoch", "stopped_epoch", "wait"), COUNT)
        best = {"best": maybe(logged), "best_weights": maybe(weights_of(self.model))}
        object_of(best | counts)(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned."""
        take_state(self, state, _STOPPING_STATE)

    def get_monitor_value(self, logs: dict[str, Any] | None) -> float | None:
        """Return the watched value, or warn and return None where it is missing."""
        logs = logs or {}
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}",
                stacklevel=2,
            )
        return value


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a value has stopped improving.

    Args:
        monitor, mode, min_delta: see `MonitorCallback`.
        factor: new rate = old rate * factor, below 1.
        patience: number of epochs without improvement after which to lower the rate.
        verbose: 1 prints what happens.
        cooldown: number of epochs to wait after lowering the rate.
        min_lr: the rate never goes below this.

    Raises:
        ValueError: `factor` is 1 or more.
    """

    _logs_learning_rate = True

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(
                f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}"
            )
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.cooldown_counter: int = 0
        self.wait: int = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start anew."""
        self.best = None
        self.cooldown_counter = 0
        self.wait = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare with the best epoch; log the learning rate."""
        logs = logs if logs is not None else {}
        self._find_monitor(logs)
        if self.monitor_op is None:
            self._set_monitor_op()
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not "
                f"available. Available metrics are: {','.join(logs)}.",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def get_state(self) -> dict[str, Any]:
        """Return the best value and how long the waits have been."""
        return {name: getattr(self, name) for name in _PLATEAU_STATE}

    def _check_state(self, value: Any, where: str) -> None:
        from tlfast.saving.checks import COUNT, logged, maybe, object_of

        parts = {"best": maybe(logged), "cooldown_counter": COUNT, "wait": COUNT}
        object_of(parts)(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned."""
        take_state(self, state, _PLATEAU_STATE)

    def _reduce(self, epoch: int) -> bool:
        optimizer = self.model.optimizer
        old = float(optimizer.learning_rate)
        if old <= np.float32(self.min_lr):
            return False
        new = max(old * self.factor, self.min_lr)
        optimizer.learning_rate = new
        if self.verbose > 0:
            print_text(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.")
        return True

    def in_cooldown(self) -> bool:
        """Say whether the wait after a reduction is still on."""
        return self.cooldown_counter > 0
