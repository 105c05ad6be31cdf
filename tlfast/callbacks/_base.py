"""The callback interface, the list that drives it, and the two smallest callbacks."""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tlfast import _keras2, _registry
from tlfast._arguments import CheckedInit

_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
    "on_predict_begin",
    "on_predict_end",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_train_begin",
    "on_train_end",
)


def plain_logs(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the logs with sorted keys and Python floats; values that are no numbers stay."""
    plain: dict[str, Any] = {}
    for key, value in sorted((logs or {}).items()):
        if isinstance(value, Mapping):
            plain.update(plain_logs(value))
            continue
        try:
            plain[key] = float(value)
        except (TypeError, ValueError):
            plain[key] = value
    return plain


class Callback(CheckedInit):
    """Base class: override the hooks you need.

    `self.model` is the model, `self.params` a dictionary with "verbose", "epochs" and "steps".
    `logs` are running means of loss and metrics; in `on_epoch_end` those of the validation too
    (keys with "val_"). A callback may add keys to the `logs` of `on_epoch_end`; they appear in
    the history and on the progress line. `self.model.stop_training = True` ends the training.
    """

    _logs_learning_rate = False  # whether "learning_rate" is in the logs of later callbacks

    def __init__(self) -> None:
        self.params: Any = None  # what `set_params` was given
        self._model: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Take the parameters of the run."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Take the model."""
        self._model = model

    def get_state(self) -> dict[str, Any]:
        """Return what has to be kept for an interrupted training to go on exactly: {} here."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned; called after `on_train_begin`.

        Raises:
            ValueError: there is something to take back, and the class does not say how.
        """
        if state:
            raise no_set_state(self, state)

    def _release(self) -> None:
        """Let go of open files and of copies; called when `fit` has ended, by an error too."""

    @property
    def model(self) -> Any:
        """The model being trained."""
        return self._model

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Older name of `on_train_batch_end`."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called before an epoch (counted from 0)."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called after an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called before a training step (counted from 0 in each epoch)."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called after a training step."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called before a batch of `evaluate` or of the validation."""

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called after a batch of `evaluate` or of the validation."""

    def on_predict_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called after a batch of `predict`; `logs["outputs"]` are its outputs."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called at the start of `fit`."""

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called at the end of `fit`, with the logs of the last epoch."""

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called at the start of `evaluate` or of the validation."""

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called at the end of `evaluate` or of the validation."""

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called at the start of `predict`."""

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called at the end of `predict`."""


def no_set_state(callback: object, state: Mapping[str, Any]) -> ValueError:
    """The error for a callback that tells its state and does not take it back."""
    return ValueError(
        f"{type(callback).__name__} has no `set_state`, so it cannot take back "
        f"{', '.join(state)}: define both, `get_state` and `set_state`."
    )


def check_state(callback: Callback, state: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse a state that has other names.

    Raises:
        ValueError: see above.
    """
    if set(state) != set(names):
        raise ValueError(
            f"This is no state of {type(callback).__name__}: it has {', '.join(sorted(state))}, "
            f"expected are {', '.join(sorted(names))}."
        )


def take_state(callback: Callback, state: Mapping[str, Any], names: Collection[str]) -> None:
    """Set attributes of a callback from a state that has these names and no other.

    Raises:
        ValueError: the state has other names.
    """
    check_state(callback, state, names)
    for name in names:
        setattr(callback, name, state[name])


class Logs(dict[str, Any]):
    """Lists of values by name; understands the names of Keras 2, `history["acc"]`."""

    def __missing__(self, key: str) -> list[Any]:
        name = _keras2.logged_name(str(key), self)
        if name is None:
            raise KeyError(f"{key!r} was not logged; logged are: {', '.join(self)}")
        _keras2.say_logged(str(key), name)
        return self[name]


class History(Callback):
    """Records the logs of every epoch in `history` (a list per key) and `epoch`.

    `backbones` lists the networks of `tlfast.applications` that the model contains.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = Logs()
        self.epoch: list[int] = []
        self.backbones: list[str] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start a new list of epochs."""
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record an epoch."""
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)
        self.model.history = self

    def get_state(self) -> dict[str, Any]:
        """Return the epochs and values recorded so far."""
        history = {key: list(values) for key, values in self.history.items()}
        return {"epoch": list(self.epoch), "history": history}

    def _check_state(self, value: Any, where: str) -> None:
        from tlfast.saving.checks import COUNT, anything, list_of, map_of, object_of

        history = map_of(list_of(anything))
        object_of({"epoch": list_of(COUNT), "history": history})(value, where)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back the epochs and values recorded so far."""
        take_state(self, state, ("epoch", "history"))
        self.epoch = list(self.epoch)
        self.history = Logs({key: list(values) for key, values in self.history.items()})

    def __repr__(self) -> str:
        networks = f" of {', '.join(self.backbones)}" if self.backbones else ""
        return f"<History{networks}: {len(self.epoch)} epochs of {', '.join(self.history)}>"


class LambdaCallback(Callback):
    """A callback made of functions.

    Args:
        on_epoch_begin, on_epoch_end: functions of (epoch, logs).
        on_train_begin, on_train_end: functions of (logs).
        on_train_batch_begin, on_train_batch_end: functions of (batch, logs).
        **kwargs: functions for the other hooks of `Callback`, by name.

    Raises:
        TypeError: a name that is no hook, with the closest one.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any],
    ) -> None:
        super().__init__()
        unknown = {name: value for name, value in kwargs.items() if name not in _HOOKS}
        _registry.refuse_unknown("LambdaCallback", unknown, _HOOKS)
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        self.__dict__.update({name: hook for name, hook in given.items() if hook is not None})


class CallbackList(Callback):
    """Calls the hooks of several callbacks in order; History and the progress line come last.

    A callback need not be a `Callback`: of any other object the hooks that it has are called, and
    `set_model` and `set_params` where it has them.

    Args:
        callbacks: callbacks, nested lists allowed.
        add_history: append a `History` unless there is one.
        add_progbar: append a `ProgbarLogger` unless there is one.
        model: the model.
        **params: given to the callbacks' `set_params`.

    Raises:
        TypeError: something in the list is not a callback.
    """

    def __init__(
        self,
        callbacks: object = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        from tlfast.callbacks._backup import BackupAndRestore
        from tlfast.callbacks._progbar import ProgbarLogger

        super().__init__()
        self.callbacks: list[Any] = _flat(callbacks)
        for callback in self.callbacks:
            _check_kind(callback)
        self._history = next((cb for cb in self.callbacks if isinstance(cb, History)), None)
        if add_history and self._history is None:
            self._history = History()
            self.callbacks.append(self._history)
        if add_progbar and not any(isinstance(cb, ProgbarLogger) for cb in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        # What it stores is what the others have become, so they come first.
        self.callbacks.sort(key=lambda one: isinstance(one, BackupAndRestore))
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def append(self, callback: Callback) -> None:
        """Add a callback at the end."""
        self.callbacks.append(callback)

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass the parameters of the run on."""
        self.params = params
        if params:
            for callback in self.callbacks:
                if hasattr(callback, "set_params"):
                    callback.set_params(params)

    def set_model(self, model: Any) -> None:
        """Pass the model on."""
        super().set_model(model)
        if self._history is not None:
            model.history = self._history
        for callback in self.callbacks:
            if hasattr(callback, "set_model"):
                callback.set_model(model)

    def check_monitors(self, names: Sequence[str], sometimes: Sequence[str] = ()) -> None:
        """Let callbacks refuse values that are never logged, before the first epoch.

        Args:
            names: the values that will be logged after every epoch.
            sometimes: those of a validation that does not take place after every epoch.

        Raises:
            ValueError: a callback watches a value that is never logged.
            KeyError: a file name asks for one.
        """
        from tlfast.callbacks._monitor import MonitorCallback

        names, complete = list(names), True
        for callback in self.callbacks:
            if isinstance(callback, MonitorCallback):
                given = callback.monitor
                callback.check_monitor(names, sometimes, complete)
                if callback.monitor != given:
                    _keras2.say_logged(given, callback.monitor)
            if getattr(callback, "_logs_learning_rate", False):
                names.append("learning_rate")
            complete = complete and not _may_add_values(callback)

    def _releasing(self) -> contextlib.ExitStack:
        """A context at whose end all let go of files and copies, also where one of them raises."""
        everyone = contextlib.ExitStack()
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                everyone.callback(callback._release)
        return everyone

    def _each(
        self, hook: str, *args: int, logs: Mapping[str, Any] | None, keyword: bool = False
    ) -> None:
        # One dictionary for all, so that what one callback adds the next ones see.
        logs = plain_logs(logs)
        for callback in self.callbacks:
            function = _hook(callback, hook)
            if function is not None and keyword:
                function(*args, logs=logs)
            elif function is not None:
                function(*args, logs)

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_batch_begin", batch, logs=logs, keyword=True)

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_batch_end", batch, logs=logs, keyword=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_epoch_begin", epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_epoch_end", epoch, logs=logs)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_train_batch_begin", batch, logs=logs, keyword=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_train_batch_end", batch, logs=logs, keyword=True)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_test_batch_begin", batch, logs=logs, keyword=True)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_test_batch_end", batch, logs=logs, keyword=True)

    def on_predict_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_predict_batch_begin", batch, logs=logs, keyword=True)

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_predict_batch_end", batch, logs=logs, keyword=True)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_train_begin", logs=logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_train_end", logs=logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_test_begin", logs=logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_test_end", logs=logs)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_predict_begin", logs=logs)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Call the hook of all."""
        self._each("on_predict_end", logs=logs)


def _check_kind(callback: Any) -> None:
    if isinstance(callback, type):
        hint = f" Did you mean {callback.__name__}(...)?" if _has_hooks(callback) else ""
        raise TypeError(f"Expected callback objects, got {callback!r}.{hint}")
    if not _has_hooks(callback):
        raise TypeError(
            f"Expected callback objects, got {callback!r}. It has none of the hooks "
            f"{', '.join(_HOOKS)}."
        )


def _has_hooks(callback: object) -> bool:
    return any(hasattr(callback, hook) for hook in _HOOKS)


def _hook(callback: Any, name: str) -> Callable[..., Any] | None:
    """Return a hook of any object: under its older name too, None where it has none."""
    found = getattr(callback, name, None)
    if found is None and name in ("on_train_batch_begin", "on_train_batch_end"):
        found = getattr(callback, name.replace("train_", ""), None)
    return found


def _may_add_values(callback: Any) -> bool:
    """Say whether a callback may add values of its own to the logs of an epoch."""
    hook = getattr(callback, "on_epoch_end", None)
    own = __name__.split(".")[0]
    return hook is not None and (hook.__module__ or "").split(".")[0] != own


def _flat(callbacks: object) -> list[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, (list, tuple)):
        return [one for group in callbacks for one in _flat(group)]
    return [callbacks]
