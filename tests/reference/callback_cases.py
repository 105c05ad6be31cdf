"""What callbacks do in two trainings one after the other, in `fit`, and when told to stop.

Like training_cases.py: run under Keras to be stored, under tlfast to be compared.
"""

import os
import tempfile

from tensorboard_files import summaries
from training_cases import StubModel, captured, drive
from training_models import data, head

FIRST = [0.9, 0.7, 0.72, 0.6]
SECOND = [0.65, 0.66, 0.5, 0.51, 0.52]


def _epochs(losses):
    return [{"loss": v, "val_loss": v, "val_accuracy": 1 - v, "accuracy": v} for v in losses]


def two_trainings(k):
    """Every callback with counters, used for two trainings: what it says and does in both."""
    c = k.callbacks
    found = {}

    def twice(name, make, batches=0):
        with tempfile.TemporaryDirectory() as folder:
            callback, model, runs = make(folder), StubModel(k), []
            for losses in (FIRST, SECOND):
                model.stop_training = False
                run = drive(model, callback, _epochs(losses), batches)
                run["out"] = run["out"].replace(folder, "DIR")
                run["calls"] = list(run["calls"])
                runs.append(run)
            files = {}
            for file in sorted(os.listdir(folder)):
                with open(os.path.join(folder, file), newline="") as f:
                    files[file] = f.read()
            found[name] = {"runs": runs, "files": files}

    twice("stop", lambda d: c.EarlyStopping(patience=2, verbose=1, restore_best_weights=True))
    twice("plateau", lambda d: c.ReduceLROnPlateau(patience=1, cooldown=1, verbose=1))
    twice("schedule", lambda d: c.LearningRateScheduler(lambda epoch, lr: lr * 0.5, verbose=1))
    twice("best", lambda d: c.ModelCheckpoint(d + "/m.keras", verbose=1, save_best_only=True))
    twice("every", lambda d: c.ModelCheckpoint(d + "/m{batch}.h5", save_freq=5, verbose=1), 3)
    twice("csv", lambda d: c.CSVLogger(d + "/log.csv"))
    twice("csv_append", lambda d: c.CSVLogger(d + "/log.csv", separator=";", append=True))
    twice("nan", lambda d: c.TerminateOnNaN(), 2)
    return found


HOOKS = [
    f"on_{phase}{part}_{edge}"
    for phase in ("train", "test", "predict")
    for part in ("", "_batch")
    for edge in ("begin", "end")
] + ["on_epoch_begin", "on_epoch_end"]


def _recorder(k, stop_in, flag):
    """A callback that notes its calls and sets model.<flag> in one hook."""

    class Recorder(k.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

    def hook(name):
        def call(self, *args, logs=None):
            *numbers, given = args if logs is None and args else (*args, logs)
            keys = sorted(given) if isinstance(given, dict) else []
            self.calls.append(" ".join([name, *map(str, numbers), *keys]))
            if name == stop_in:
                setattr(self.model, flag, True)

        return call

    for name in HOOKS:
        setattr(Recorder, name, hook(name))
    return Recorder()


def stops(k):
    """The hooks of `fit`, `evaluate` and `predict`, in order, when one of them says stop."""
    x, y = data(16)
    found = {}
    model = head(k)
    model.compile(k.optimizers.SGD(0.01), "categorical_crossentropy", metrics=["accuracy"])
    for stop_in in [None, *HOOKS]:
        calls = {}
        for method, flag in [
            ("fit", "stop_training"),
            ("evaluate", "stop_evaluating"),
            ("predict", "stop_predicting"),
        ]:
            recorder = _recorder(k, stop_in, flag)
            kwargs = {"batch_size": 8, "verbose": 0, "callbacks": [recorder]}
            if method == "fit":
                model.fit(x, y, epochs=2, validation_data=(x[:8], y[:8]), **kwargs)
            elif method == "evaluate":
                model.evaluate(x, y, **kwargs)
            else:
                model.predict(x, **kwargs)
            whole = stop_in is None  # the keys of the logs are the same every time
            calls[method] = "; ".join(
                call if whole else " ".join(call.split()[:2]) for call in recorder.calls
            )
        found[str(stop_in)] = calls
    return found


def logged(k):
    """Two trainings with a history and a progress line that are handed in."""
    x, y = data(16)
    history, line = k.callbacks.History(), k.callbacks.ProgbarLogger()
    model = head(k)
    model.compile(k.optimizers.SGD(0.01), "categorical_crossentropy")
    with captured() as out:
        for first in (0, 2):
            model.fit(x, y, batch_size=8, epochs=first + 2, initial_epoch=first, shuffle=False,
                      verbose=2, callbacks=[history, line])  # fmt: skip
    lines = [text for text in out.getvalue().splitlines() if text.startswith("Epoch")]
    return {"history": history.history, "epoch": history.epoch, "lines": lines,
            "same": model.history is history}  # fmt: skip


def tensorboard(k):
    """Plugin, steps and shapes of everything in the event files, by folder and tag."""
    x, y = data(16)
    found = {}
    for name, options in {
        "plain": {},
        "batches": {"update_freq": "batch", "write_steps_per_second": True},
        "weights": {"histogram_freq": 2, "write_images": True, "write_graph": False},
    }.items():
        model = head(k, hidden=5)
        model.compile(k.optimizers.SGD(0.01), "categorical_crossentropy", metrics=["accuracy"])
        with tempfile.TemporaryDirectory() as folder:
            board = k.callbacks.TensorBoard(folder, **options)
            for _ in range(2):
                model.fit(x, y, batch_size=8, epochs=3, verbose=0, shuffle=False,
                          validation_data=(x[:8], y[:8]), callbacks=[board])  # fmt: skip
            found[name] = summaries(folder)
        for tags in found[name].values():  # times differ from run to run
            for tag in tags:
                if tag.endswith("steps_per_second"):
                    tags[tag]["values"] = None
    return found


CASES = {f.__name__: f for f in (two_trainings, stops, logged, tensorboard)}
