"""Callbacks of a training that is interrupted: state, new object, the rest as if nothing was."""

import pickle
import shutil

import numpy as np
import pytest
from reference_compare import callback_cases  # noqa: F401 - puts reference/ on the path
from tensorboard_files import summaries
from training_cases import LOSSES, StubModel, captured

import tlfast
from tlfast import callbacks

BATCHES = 3


class Run:
    """Hooks of a training by hand, from one point to another; a point is (epoch, batch)."""

    def __init__(self, callback, model=None):
        self.callback, self.model = callback, model or StubModel(tlfast)
        self.seen, self.text = [], ""

    def begin(self):
        self.callback.set_model(self.model)
        self.callback.set_params({"verbose": 1, "epochs": len(LOSSES), "steps": BATCHES})
        self._said(self.callback.on_train_begin)

    def _said(self, hook, *args):
        with captured() as out:
            hook(*args)
        self.text += out.getvalue()

    def go(self, start, stop):
        for epoch in range(start[0], stop[0] + 1):
            if self.model.stop_training:
                return
            first = start[1] if epoch == start[0] else 0
            last = stop[1] if epoch == stop[0] else BATCHES
            if first == 0 and last > 0:
                self._said(self.callback.on_epoch_begin, epoch)
            loss = LOSSES[epoch]
            for batch in range(first, last):
                self.model.optimizer.iterations.assign(epoch * BATCHES + batch + 1)
                self.model.weights = [np.full(2, epoch + batch / BATCHES)]
                self._said(self.callback.on_train_batch_begin, batch)
                self._said(self.callback.on_train_batch_end, batch, {"loss": loss})
            if last == BATCHES and (epoch, BATCHES) != start:
                logs = {"loss": loss, "val_loss": loss, "accuracy": loss}
                self._said(self.callback.on_test_end, {"loss": loss})
                self._said(self.callback.on_epoch_end, epoch, logs)
                rate = float(self.model.optimizer.learning_rate)
                self.seen.append((epoch, sorted(logs), rate, self.model.stop_training))

    def end(self):
        self._said(self.callback.on_train_end)


MAKERS = {
    "stop": lambda d: callbacks.EarlyStopping(patience=3, verbose=1, restore_best_weights=True),
    "stop_plain": lambda d: callbacks.EarlyStopping(patience=3, verbose=1, baseline=0.65),
    "plateau": lambda d: callbacks.ReduceLROnPlateau(patience=2, cooldown=1, verbose=1),
    "schedule": lambda d: callbacks.LearningRateScheduler(lambda e, lr: lr * 0.5, verbose=1),
    "best": lambda d: callbacks.ModelCheckpoint(d / "m.keras", verbose=1, save_best_only=True),
    "batches": lambda d: callbacks.ModelCheckpoint(d / "{batch}.keras", verbose=1, save_freq=4),
    "csv": lambda d: callbacks.CSVLogger(d / "log.csv"),
    "csv_append": lambda d: callbacks.CSVLogger(d / "log.csv", separator=";", append=True),
    "nan": lambda d: callbacks.TerminateOnNaN(),
    "lambda": lambda d: callbacks.LambdaCallback(on_epoch_end=lambda e, logs: print(e)),
    "history": lambda d: callbacks.History(),
}
POINTS = [(0, 2), (0, 3), (2, 1), (4, 3), (7, 2)]
END = (len(LOSSES) - 1, BATCHES)


def texts(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_goes_on_as_if_never_interrupted(name, point, tmp_path):
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
        (folder / "log.csv").write_text("of another\n")
    whole, first = (Run(MAKERS[name](folder)) for folder in folders)
    whole.begin()
    whole.go((0, 0), END)
    whole.end()

    first.begin()
    first.go((0, 0), point)
    state = pickle.loads(pickle.dumps(first.callback.get_state()))
    kept = (list(first.seen), first.text, list(first.model.calls))
    model = StubModel(tlfast, float(first.model.optimizer.learning_rate))
    model.optimizer.iterations.assign(first.model.optimizer.iterations)
    model.weights, model.stop_training = first.model.weights, first.model.stop_training
    first.go(point, (min(point[0] + 1, END[0]), BATCHES))  # what is lost with the process
    first.end()

    second = Run(MAKERS[name](folders[1]), model)
    second.seen, second.text, second.model.calls = kept
    second.begin()
    second.callback.set_state(state)
    second.go(point, END)
    second.end()

    assert second.seen == whole.seen
    assert second.text.replace("parts", "whole") == whole.text
    assert second.model.calls == whole.model.calls
    assert second.model.weights[0].tolist() == whole.model.weights[0].tolist()
    assert texts(folders[1]) == texts(folders[0])
    ours, theirs = second.callback.get_state(), whole.callback.get_state()
    assert pickle.dumps(ours) == pickle.dumps(theirs)


def test_a_state_is_not_changed_by_what_comes_after():
    run = Run(callbacks.EarlyStopping(restore_best_weights=True, patience=9))
    run.begin()
    run.go((0, 0), (1, BATCHES))
    state = run.callback.get_state()
    before = pickle.dumps(state)
    run.callback.best_weights[0][:] = 7
    run.go((1, BATCHES), END)
    assert pickle.dumps(state) == before
    history = callbacks.History()
    run = Run(history)
    run.begin()
    run.go((0, 0), (1, BATCHES))
    state = history.get_state()
    history.set_state(state)
    run.go((1, BATCHES), END)
    assert len(state["history"]["loss"]) == 2 and len(history.history["loss"]) == len(LOSSES)


def test_csv_file_that_is_lost_is_written_again(tmp_path):
    first = Run(callbacks.CSVLogger(tmp_path / "log.csv"))
    first.begin()
    first.go((0, 0), (2, BATCHES))
    state, text = first.callback.get_state(), (tmp_path / "log.csv").read_text()
    first.end()
    (tmp_path / "log.csv").unlink()
    second = Run(callbacks.CSVLogger(tmp_path / "log.csv"))
    second.begin()
    second.callback.set_state(state)
    second.end()
    assert (tmp_path / "log.csv").read_text() == text
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_tensorboard_goes_on_counting(point, tmp_path):
    def run(name):
        board = callbacks.TensorBoard(tmp_path / name, update_freq=2, write_graph=False)
        made = Run(board)
        made.begin()
        return made

    whole, first = run("whole"), run("killed")
    whole.go((0, 0), END)
    whole.end()
    first.go((0, 0), point)
    state = first.callback.get_state()
    shutil.copytree(tmp_path / "killed", tmp_path / "parts")  # what is left of a killed training
    first.end()
    second = run("parts")
    second.callback.set_state(state)
    second.go(point, END)
    second.end()
    assert second.callback.get_state() == whole.callback.get_state()
    assert summaries(tmp_path / "parts") == summaries(tmp_path / "whole")


@pytest.mark.parametrize(
    "make",
    [
        lambda: callbacks.EarlyStopping(),
        lambda: callbacks.ReduceLROnPlateau(),
        lambda: callbacks.ModelCheckpoint("m.keras"),
        lambda: callbacks.CSVLogger("log.csv"),
        lambda: callbacks.History(),
    ],
)
def test_a_state_of_another_kind_is_refused(make):
    callback = make()
    with pytest.raises(ValueError, match=f"no state of {type(callback).__name__}: it has speed"):
        callback.set_state({"speed": 1})


def test_a_callback_without_a_state():
    callback = callbacks.Callback()
    assert callback.get_state() == {}
    callback.set_state({})
    with pytest.raises(ValueError, match="Callback has no `set_state`.*wait, best"):
        callback.set_state({"wait": 1, "best": 2})
