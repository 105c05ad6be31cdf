"""The epochs and batches of one `fit`, from the start or from where an interrupted one was."""

import logging
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from tlfast._recipe._recorder import Recorder
from tlfast._steps import Steps
from tlfast._warnings import ResumeWarning, user_level
from tlfast.callbacks._backup import BackupAndRestore
from tlfast.callbacks._base import CallbackList, no_set_state
from tlfast.saving.checks import (
    COUNT,
    Check,
    anything,
    array,
    flag,
    list_of,
    map_of,
    maybe,
    object_of,
    one_of,
    row,
    text,
    weights_of,
    whole,
)

_log = logging.getLogger("tlfast")


class FitLoop:
    """Runs the epochs of a `fit`.

    Args:
        model: ready to be trained.
        train, test: batches of training and validation; `test` may be None.
        callbacks: all callbacks.
        recorder: the one of them that writes the recipe.
        epochs: the numbers of the epochs.
        validation_freq: see `fit`.
        made_of: gives the fingerprint of this fit.
    """

    def __init__(
        self,
        model: Any,
        train: Steps,
        test: Steps | None,
        callbacks: CallbackList,
        recorder: Recorder,
        epochs: range,
        validation_freq: int | Sequence[int],
        made_of: Any,
    ) -> None:
        self._model = model
        self._train, self._test = train, test
        self._callbacks, self._recorder = callbacks, recorder
        self._epoch, self._end = epochs.start, epochs.stop
        self._in_epoch = False
        self._ended = False  # a callback said so before the interruption
        self._validation_freq = validation_freq
        self._logs: dict[str, Any] = {}
        self._backup = _only_backup(callbacks)
        if self._backup is not None:
            train.keeps_place = True
            self._backup._prepare(self.get_state, made_of())

    def run(self) -> None:
        """Train."""
        with self._callbacks._releasing():
            self._run()

    def _run(self) -> None:
        # Looked at before callbacks begin and, for example, empty the files they write.
        state = None if self._backup is None else self._backup._load(self._check_state)
        self._callbacks.on_train_begin()
        if state is not None:
            self._go_on(state)
        while self._epoch < self._end and not (self._ended and not self._in_epoch):
            self._run_epoch()
            if self._model.stop_training:
                break
        self._callbacks.on_train_end(self._logs)

    def _run_epoch(self) -> None:
        epoch, model = self._epoch, self._model
        if not self._in_epoch:
            model.reset_metrics()
            self._callbacks.on_epoch_begin(epoch)
            self._in_epoch = True
        if not self._ended:
            self._run_batches(epoch)
        self._train.close()
        logs = dict(model.get_metrics_result())
        if self._test is not None and is_due(epoch, self._validation_freq):
            results = model._run_evaluation(self._test, self._callbacks)
            logs.update({f"val_{name}": value for name, value in results.items()})
        # What is stored from here on goes on with the next epoch.
        self._epoch, self._in_epoch, self._logs = epoch + 1, False, logs
        self._callbacks.on_epoch_end(epoch, logs)

    def _run_batches(self, epoch: int) -> None:
        model = self._model
        for step, batch in self._train.epoch(epoch):
            self._callbacks.on_train_batch_begin(step)
            model._train_step(batch)
            self._callbacks.on_train_batch_end(step, model.get_metrics_result())
            if model.stop_training:
                break

    # ---- interrupted and resumed -----------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Everything that the rest of the fit depends on; weights as the variables themselves."""
        from tlfast._random_state import get_random_state

        model = self._model
        return {
            "epoch": self._epoch,
            "in_epoch": self._in_epoch,
            "stop_training": bool(model.stop_training),
            "logs": self._logs,
            "weights": list(model.weights),
            "seeds": [layer._seed for layer in _random_layers(model)],
            "optimizer": model.optimizer.get_state(model.weights),
            "metrics": _metrics_state(model) if self._in_epoch else None,
            "training": self._train.get_state(),
            "validation": None if self._test is None else self._test.get_state(),
            "random": get_random_state(),
            "recipe": self._recorder.get_state(),
            "callbacks": [[_kind(one), _state(one)] for one in self._others()],
        }

    def _check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns in this fit."""
        from tlfast._random_state import check_random_state

        model = self._model
        seed = whole(-(1 << 63), 1 << 63)
        inside = isinstance(value, dict) and value.get("in_epoch") is True
        object_of({
            "epoch": COUNT, "in_epoch": flag, "stop_training": flag, "logs": map_of(anything),
            "weights": weights_of(model),
            "seeds": row(*[seed] * len(_random_layers(model))),
            "optimizer": partial(model.optimizer._check_state, weights=model.weights),
            "metrics": self._check_metrics if inside else one_of(None),
            "training": self._train.check_state,
            "validation": anything if self._test is None else maybe(self._test.check_state),
            "random": check_random_state,
            "recipe": self._recorder._check_state,
            "callbacks": list_of(row(text(), maybe(map_of(anything)))),
        })(value, where)  # fmt: skip
        paired, _ = self._paired(value["callbacks"])
        for callback, found in paired:
            if found is not None and found[1] is not None:
                _check_of(callback)(found[1], f"{where}.callbacks.{found[0]}")

    def _check_metrics(self, value: Any, where: str) -> None:
        model = self._model
        sums = [[array(tuple(v.shape)) for v in one.variables] for one in _trackers(model)]
        outputs = [output.shape for output in model.outputs]
        compiled = partial(model._compile_metrics.check_state, outputs=outputs)
        row(row(*(row(*one) for one in sums)), compiled)(value, where)

    def _go_on(self, state: dict[str, Any]) -> None:
        """Go to where `get_state` was called."""
        self._epoch, self._in_epoch = state["epoch"], state["in_epoch"]
        _log.info(
            "training goes on in epoch %d after %d batches",
            self._epoch + 1, state["training"]["done"] if self._in_epoch else 0,
        )  # fmt: skip
        if self._in_epoch:  # what callbacks do in it is replaced by what was stored
            self._model.reset_metrics()
            self._callbacks.on_epoch_begin(self._epoch)
        self._restore_model(state)
        self._recorder.set_state(state["recipe"])
        self._restore_callbacks(state["callbacks"])
        self._restore_data(state)
        self._logs = state["logs"]
        self._ended = self._model.stop_training = state["stop_training"]

    def _restore_model(self, state: dict[str, Any]) -> None:
        model = self._model
        for variable, value in zip(model.weights, state["weights"], strict=True):
            variable.assign(value)
        layers = _random_layers(model)
        if [layer._seed for layer in layers] != state["seeds"]:
            for layer, seed in zip(layers, state["seeds"], strict=True):
                layer._seed = seed
            model._engine.forget_graphs()
        model.optimizer.set_state(state["optimizer"], model.weights)
        if state["metrics"] is not None:
            trackers, metrics = state["metrics"]
            for tracker, sums in zip(_trackers(model), trackers, strict=True):
                for variable, value in zip(tracker.variables, sums, strict=True):
                    variable.assign(value)
            model._compile_metrics.set_state(metrics, model._output_names_or_default())

    def _restore_callbacks(self, states: list[Any]) -> None:
        paired, left = self._paired(states)
        new = []
        for callback, found in paired:
            if found is None:
                new += [_kind(callback)] * bool(_state(callback))
            elif found[1] is not None:
                _take_state(callback, found[1])
        gone = [kind for kind, value in left if value]
        if new or gone:
            warnings.warn(
                "other callbacks than in the training that is resumed: new are "
                f"{', '.join(new) or 'none'}; missing are {', '.join(gone) or 'none'}. New ones "
                "start from here.",
                ResumeWarning,
                stacklevel=user_level(),
            )

    def _paired(self, states: list[Any]) -> tuple[list[tuple[Any, Any]], list[Any]]:
        """Callbacks, each with its (kind, state) or None; and the states that are left."""
        left, paired = list(states), []
        for callback in self._others():
            place = next((i for i, one in enumerate(left) if one[0] == _kind(callback)), None)
            paired.append((callback, None if place is None else left.pop(place)))
        return paired, left

    def _restore_data(self, state: dict[str, Any]) -> None:
        from tlfast._random_state import set_random_state

        if self._test is not None and state["validation"] is not None:
            self._test.set_state(state["validation"], 0)
        self._train.set_state(state["training"], self._epoch)
        set_random_state(state["random"])

    def _others(self) -> list[Any]:
        """The callbacks that the user gave, or could have given."""
        own = {id(self._backup), id(self._recorder)}
        return [one for one in self._callbacks.callbacks if id(one) not in own]


def _only_backup(callbacks: CallbackList) -> BackupAndRestore | None:
    found = [one for one in callbacks.callbacks if isinstance(one, BackupAndRestore)]
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} BackupAndRestore callbacks, but a training has one place to go on from"
        )
    return found[0] if found else None


def _kind(callback: Any) -> str:
    return type(callback).__name__


def _state(callback: Any) -> dict[str, Any] | None:
    """What a callback counts; None for one that does not say."""
    return callback.get_state() if hasattr(callback, "get_state") else None


def _take_state(callback: Any, state: dict[str, Any]) -> None:
    if hasattr(callback, "set_state"):
        callback.set_state(state)
    elif state:
        raise no_set_state(callback, state)


def _check_of(callback: Any) -> Check:
    """The check of a callback's state; a class with a `get_state` of its own knows best."""
    for kind in type(callback).__mro__:
        if "get_state" in vars(kind):
            return callback._check_state if "_check_state" in vars(kind) else anything
    return anything


def _random_layers(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if hasattr(layer, "_seed")]


def _trackers(model: Any) -> list[Any]:
    return [model._loss_tracker, *model._losses.trackers]


def _metrics_state(model: Any) -> list[Any]:
    trackers = [[v.numpy() for v in tracker.variables] for tracker in _trackers(model)]
    return [trackers, model._compile_metrics.get_state()]


def is_due(epoch: int, validation_freq: int | Sequence[int]) -> bool:
    """Say whether an epoch is followed by a validation."""
    if isinstance(validation_freq, int):
        return (epoch + 1) % validation_freq == 0
    return epoch + 1 in validation_freq
