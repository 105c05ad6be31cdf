"""Callbacks in `fit`: refused before the first epoch, foreign ones, stopped, remote; as Keras."""

import http.server
import json
import os
import re
import socket
import threading
import urllib.parse

import numpy as np
import pytest
from conftest import ROOT
from reference_compare import callback_cases, cases, differences, stored

import tlfast
from tlfast import callbacks

REFERENCE = ROOT / "tests" / "reference"


@pytest.fixture
def model():
    made = cases.head(tlfast)
    made.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return made


def fit(model, *given, validated=True, epochs=2, **kwargs):
    x, y = cases.data(16)
    if validated:
        kwargs["validation_data"] = (x, y)
    return model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(given), **kwargs)


# ---- stored from Keras, and beside it ------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_trainings", "stops", "logged"])
def test_same_as_keras(name):
    assert differences(callback_cases.CASES[name](tlfast), stored()[name]) == []


@pytest.mark.slow
@pytest.mark.peer("keras")
def test_keras_still_does_what_is_stored(run_peer):
    printed = run_peer(
        "keras",
        f"""
import importlib.util, json, sys
sys.path.insert(0, {str(REFERENCE)!r})
import callback_cases, keras, training_cases
found = {{n: f(keras) for n, f in callback_cases.CASES.items()
         if n != "tensorboard" or importlib.util.find_spec("tensorboard")}}
found["callback_runs"] = training_cases.callback_runs(keras)
found["csv_text"] = training_cases.csv_text(keras)
print("\\n" + json.dumps(found))
""",
    )
    found = json.loads(printed.splitlines()[-1])
    assert len(found) >= 5
    for name, result in found.items():
        assert differences(result, stored()[name]) == [], name


# ---- before the first epoch ----------------------------------------------------------------------


class Trained(callbacks.Callback):
    """Fails the test if a batch is trained."""

    def on_train_batch_begin(self, batch, logs=None):
        pytest.fail("a batch was trained")


MONITORS = [
    lambda name: callbacks.EarlyStopping(name),
    lambda name: callbacks.ReduceLROnPlateau(name),
    lambda name: callbacks.ModelCheckpoint("m.keras", name, save_best_only=True),
]


@pytest.mark.parametrize("make", MONITORS)
def test_monitor_that_is_never_logged(model, make):
    names = "Logged values: loss, accuracy, val_loss, val_accuracy."
    with pytest.raises(ValueError, match=f"Did you mean 'val_accuracy'.*{names}"):
        fit(model, Trained(), make("val_acuracy"))
    with pytest.raises(ValueError, match="no validation: pass `validation_data`"):
        fit(model, Trained(), make("val_loss"), validated=False)


@pytest.mark.parametrize("make", MONITORS)
def test_monitor_by_its_older_name(model, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callback = make("val_acc")
    with pytest.warns(DeprecationWarning, match="val_accuracy"):
        fit(model, callback)
    assert callback.monitor == "val_accuracy" and callback.best is not None


def test_a_users_callback_may_add_the_value(model):
    """Where one may, the name cannot be refused; behind others it can."""

    class Adds(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["mine"] = 1.0 - epoch

    stop = callbacks.EarlyStopping("mine", mode="min")
    fit(model, Adds(), stop)
    assert stop.best == 0.0
    lower = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=epoch))
    fit(model, lower, callbacks.EarlyStopping("mine", mode="max"))
    with pytest.raises(ValueError, match="never logged"):
        fit(model, Trained(), callbacks.EarlyStopping("mine"), Adds())
    watches = callbacks.LambdaCallback(on_train_begin=lambda logs: None)
    with pytest.raises(ValueError, match="never logged"):
        fit(model, watches, Trained(), callbacks.EarlyStopping("mine"))


def test_learning_rate_is_logged_behind_who_logs_it(model):
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: rate)
    fit(model, schedule, callbacks.EarlyStopping("learning_rate", mode="min"))
    with pytest.raises(ValueError, match="never logged"):
        fit(model, Trained(), callbacks.EarlyStopping("learning_rate"), schedule)


@pytest.mark.parametrize(
    ("options", "kwargs", "message"),
    [
        ({"filepath": "{val_auc:.2f}.keras"}, {}, "val_auc.*Logged values: accuracy, loss, val_"),
        ({"filepath": "{val_loss}.keras"}, {"validated": False}, "val_loss.*: accuracy, loss."),
        ({"filepath": "{val_loss}.keras", "save_freq": 1}, {}, "val_loss.*: accuracy, loss."),
        ({"filepath": "{batch}.keras"}, {}, "Reason: .*batch"),
        ({"filepath": "{val_loss}.keras"}, {"validation_freq": 2}, "not logged after every epoch"),
        ({"filepath": "{val_loss}.keras"}, {"validation_freq": [1]}, "validation_freq"),
    ],
)
def test_file_names_that_cannot_be_made(model, options, kwargs, message):
    with pytest.raises(KeyError, match=message):
        fit(model, Trained(), callbacks.ModelCheckpoint(**options), **kwargs)


@pytest.mark.parametrize(
    "name", ["m-{}", "m-{", "m}", "m-{loss:d}", "m-{loss.best}", "m-{loss[0]}"]
)
def test_file_names_that_are_no_format(model, name):
    checkpoint = callbacks.ModelCheckpoint(f"{name}.keras")
    with pytest.raises(ValueError, match=rf"{re.escape(name)}.keras\". Reason: .*{{epoch:02d}}"):
        fit(model, Trained(), checkpoint)


def test_no_format_where_others_may_add_values(model):
    adds = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=1.0))
    with pytest.raises(ValueError, match="m}.keras.. Reason: .*{epoch:02d}"):
        fit(model, adds, Trained(), callbacks.ModelCheckpoint("m}.keras"))


@pytest.mark.parametrize(
    ("name", "options", "kwargs"),
    [
        ("{epoch}-{val_acc:.2f}.keras", {}, {}),
        ("{epoch}-{batch}-{loss:.1f}.keras", {"save_freq": 2}, {"validated": False}),
        ("{epoch}/{{}}.keras", {}, {}),
    ],
)
def test_file_names_that_can_be_made(model, tmp_path, name, options, kwargs):
    fit(model, callbacks.ModelCheckpoint(tmp_path / name, **options), **kwargs)
    assert len(list(tmp_path.rglob("*.keras"))) == 2


def test_monitor_of_a_checkpoint_between_epochs(model, tmp_path):
    path = tmp_path / "m.keras"
    make = callbacks.ModelCheckpoint
    with pytest.raises(ValueError, match="never logged.*Logged values: loss, accuracy"):
        fit(model, Trained(), make(path, "val_loss", save_best_only=True, save_freq=1))
    fit(model, make(path, "loss", save_best_only=True, save_freq=1))
    assert path.exists()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: callbacks.ModelCheckpoint(path / "m.keras"),
        lambda path: callbacks.ModelCheckpoint(path / "deep" / "m-{epoch}.keras"),
        lambda path: callbacks.CSVLogger(path / "log.csv"),
        lambda path: callbacks.TensorBoard(path / "logs"),
        lambda path: callbacks.BackupAndRestore(path / "backup"),
    ],
)
@pytest.mark.parametrize("where", ["a file", "no folder can be made"])
def test_a_folder_that_takes_no_files(model, tmp_path, make, where):
    folder = tmp_path / "file"
    folder.write_text("")
    if where != "a file":
        folder = folder.__class__("/proc/tlfast")
    callback = make(folder)
    name = f"{type(callback).__name__}\\('.*nothing can be written to the folder '{folder}"
    with pytest.raises(OSError, match=name):
        fit(model, Trained(), callback)


def test_a_checkpoint_that_is_a_folder(model, tmp_path):
    (tmp_path / "m.keras").mkdir()
    with pytest.raises(OSError, match="non-directory filepath"):
        fit(model, Trained(), callbacks.ModelCheckpoint(tmp_path / "m.keras"))


def test_the_trial_leaves_nothing_behind(model, tmp_path):
    with pytest.raises(pytest.fail.Exception):
        fit(model, callbacks.ModelCheckpoint(tmp_path / "a" / "{epoch}" / "m.keras"), Trained())
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


# ---- an error in the middle ----------------------------------------------------------------------


class Fails(callbacks.Callback):
    """Raises at the end of the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise RuntimeError("in the second epoch")


def test_files_and_copies_go_after_an_error(model, tmp_path):
    log = callbacks.CSVLogger(tmp_path / "log.csv")
    board = callbacks.TensorBoard(tmp_path / "board", histogram_freq=1)
    nan = callbacks.TerminateOnNaN()
    backup = callbacks.BackupAndRestore(tmp_path / "b")
    with pytest.raises(RuntimeError, match="in the second epoch"):
        fit(model, nan, log, board, backup, Fails())
    assert log.csv_file.closed and len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert not _open_files(tmp_path)
    assert nan._before is None and backup._get_state is None
    model.evaluate(*cases.data(8), verbose=0, callbacks=[board])  # it is in no fit any more
    assert not _open_files(tmp_path)


def _open_files(folder):
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    targets = [os.readlink(link) for link in links if os.path.islink(link)]
    return [path for path in targets if path.startswith(f"{folder}/")]


def test_all_are_told_of_an_error_though_one_fails(model, tmp_path):
    class Full(callbacks.Callback):
        def _release(self):
            raise OSError("the disk is full")

    log = callbacks.CSVLogger(tmp_path / "log.csv")
    with pytest.raises(OSError, match="the disk is full") as caught:
        fit(model, log, Full(), Fails())
    assert log.csv_file.closed and isinstance(caught.value.__context__, RuntimeError)


# ---- callbacks of others -------------------------------------------------------------------------


class Duck:
    """Not a Callback, with two hooks only."""

    def __init__(self):
        self.calls = []

    def on_epoch_end(self, epoch, logs):
        self.calls.append((epoch, sorted(logs)))

    def on_batch_end(self, batch, logs=None):
        self.calls.append(batch)


def test_a_duck(model):
    duck = Duck()
    fit(model, duck, callbacks.CSVLogger("/dev/null", append=True), validated=False)
    keys = ["accuracy", "loss"]
    assert duck.calls == [0, 1, (0, keys), 0, 1, (1, keys)]
    model.evaluate(*cases.data(8), verbose=0, callbacks=[duck])
    assert len(duck.calls) == 6


def test_a_duck_that_stops(model):
    class Stops:
        def set_model(self, model):
            self.model = model

        def set_params(self, params):
            self.params = params

        def on_train_batch_end(self, batch, logs):
            self.model.stop_training = True

    duck = Stops()
    history = fit(model, duck, epochs=5)
    assert history.epoch == [0] and duck.params == {"epochs": 5, "verbose": 0, "steps": 2}


def test_no_callback_at_all(model):
    with pytest.raises(TypeError, match="none of the hooks on_batch_begin, on_batch_end"):
        fit(model, object())
    with pytest.raises(TypeError, match=r"Did you mean Duck\(...\)"):
        fit(model, Duck)


@pytest.mark.slow
@pytest.mark.peer("keras")
def test_callbacks_of_keras_itself(run_peer, tmp_path):
    """Keras' own classes, and a subclass of its Callback, drive a model of tlfast."""
    printed = run_peer(
        "keras",
        f"""
import os, sys
sys.path[:0] = [{str(ROOT)!r}, {str(REFERENCE)!r}]
import keras, tlfast
from training_models import data, head

class Own(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.calls = []
    def on_epoch_end(self, epoch, logs=None):
        self.calls.append((epoch, self.params["epochs"], sorted(logs)))

def train(folder, c):
    model = head(tlfast)
    model.compile(tlfast.optimizers.SGD(0.1), "categorical_crossentropy")
    own, x, y = Own(), *data(16)
    made = [
        own, c.CSVLogger(folder + "/log.csv"), c.EarlyStopping("loss", patience=9, mode="min"),
        c.ReduceLROnPlateau("loss", patience=1, min_delta=9, mode="min", factor=0.5),
        c.LearningRateScheduler(lambda epoch, rate: float(rate)),
        c.ModelCheckpoint(folder + "/m-{{epoch}}.keras", "loss", save_best_only=True, mode="min"),
        c.TerminateOnNaN(), c.LambdaCallback(on_train_end=lambda logs: print("end", sorted(logs))),
    ]
    model.fit(x, y, epochs=4, batch_size=8, shuffle=False, verbose=0, callbacks=made)
    print(own.calls, sorted(os.listdir(folder)))
    with open(folder + "/log.csv") as file:
        print(file.read())

for name, c in (("keras", keras.callbacks), ("tlfast", tlfast.callbacks)):
    print("----")
    os.makedirs({str(tmp_path)!r} + "/" + name)
    train({str(tmp_path)!r} + "/" + name, c)
""",
    )
    _, theirs, ours = printed.split("----")
    assert "(3, 4, ['loss'])" in theirs and "m-4.keras" in theirs
    assert theirs == ours


# ---- a server --------------------------------------------------------------------------------


@pytest.fixture
def server():
    """(address, requests seen, settings); settings["status"] is what the server answers."""
    seen, settings = [], {"status": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            seen.append((self.path, dict(self.headers), body))
            self.send_response(settings["status"])
            self.end_headers()

        def log_message(self, *args):
            pass

    made = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", seen, settings
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.loopback
def test_remote_monitor(model, server):
    root, seen, _ = server
    history = fit(model, callbacks.RemoteMonitor(root, headers={"X-Run": "7"}))
    assert [path for path, _, _ in seen] == ["/publish/epoch/end/"] * 2
    path, headers, body = seen[1]
    assert headers["X-Run"] == "7"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    sent = json.loads(urllib.parse.parse_qs(body)["data"][0])
    assert sent.pop("epoch") == 1
    assert sent == {name: values[1] for name, values in history.history.items()}
    del seen[:]
    as_json = callbacks.RemoteMonitor(root, path="/x", send_as_json=True)
    as_json.on_epoch_end(3, {"loss": np.float32(0.5), "all": np.arange(2)})
    ((path, headers, body),) = seen
    assert (path, headers["Content-Type"]) == ("/x", "application/json")
    assert json.loads(body) == {"epoch": 3, "loss": 0.5, "all": [0, 1]}


@pytest.mark.loopback
def test_remote_monitor_without_a_server(model, server):
    root, _, settings = server
    settings["status"] = 500
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server.*500"):
        fit(model, callbacks.RemoteMonitor(root), epochs=1)
    gone = "http://127.0.0.1:9"
    message = re.escape(f"Could not reach RemoteMonitor root server at {gone}")
    with pytest.warns(UserWarning, match=message):
        fit(model, callbacks.RemoteMonitor(gone), epochs=1)


@pytest.mark.loopback
def test_remote_monitor_and_a_server_that_speaks_something_else(model):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail.example ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        root = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server.*220 mail"):
            fit(model, callbacks.RemoteMonitor(root), epochs=1)
        thread.join()


def test_remote_monitor_takes_addresses_of_the_web_only():
    for root in ("file:///etc", "localhost:9000"):
        with pytest.raises(ValueError, match="begins with http://"):
            callbacks.RemoteMonitor(root)
