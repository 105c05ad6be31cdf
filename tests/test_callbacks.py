"""Callbacks: Keras' decisions and messages, hook order, what is refused."""

import numpy as np
import pytest
from reference_compare import differences, stored
from training_cases import StubModel, callback_runs, captured, csv_text, drive

import tlfast
from tlfast import _keras2, callbacks

EPOCHS = [{"loss": 0.5}, {"loss": 0.25}]


def test_runs_equal_keras():
    assert differences(callback_runs(tlfast), stored()["callback_runs"]) == []


def test_csv_equals_keras():
    assert csv_text(tlfast) == stored()["csv_text"]


def test_history_collects_what_earlier_callbacks_add():
    model = StubModel(tlfast)
    add = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=epoch * 2.0))
    made = callbacks.CallbackList(
        [add], add_history=True, model=model, epochs=2, verbose=0, steps=1
    )
    made.on_train_begin()
    for epoch, logs in enumerate(EPOCHS):
        made.on_epoch_end(epoch, logs)
    assert model.history.history == {"loss": [0.5, 0.25], "mine": [0.0, 2.0]}
    assert model.history.epoch == [0, 1]
    made.on_train_begin()
    made.on_epoch_end(5, EPOCHS[0])
    assert model.history.epoch == [5]
    assert len(model.history.history["loss"]) == 3


def test_list_order_and_defaults():
    first, second = callbacks.Callback(), callbacks.Callback()
    made = callbacks.CallbackList(
        [first, [second]],
        add_history=True,
        add_progbar=True,
        model=StubModel(tlfast),
        epochs=1,
        verbose=1,
        steps=1,
    )
    assert made.callbacks[:2] == [first, second]
    assert [type(cb).__name__ for cb in made.callbacks[2:]] == ["History", "ProgbarLogger"]
    assert first.params == {"epochs": 1, "verbose": 1, "steps": 1}
    own = callbacks.History()
    made = callbacks.CallbackList(own, add_history=True)
    assert made.callbacks == [own]


def test_old_hook_names_are_called():
    seen = []

    class Old(callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            seen.append(("end", batch, logs))

    made = callbacks.CallbackList([Old()])
    made.on_train_batch_begin(3)
    made.on_train_batch_end(3, {"b": np.float32(2), "a": 1})
    assert seen == [("begin", 3), ("end", 3, {"a": 1.0, "b": 2.0})]


def test_logs_are_sorted_floats():
    seen = []
    made = callbacks.CallbackList(
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
    )
    made.on_epoch_end(0, {"z": np.float32(0.5), "a": np.array(2), "m": np.arange(2)})
    assert list(seen[0]) == ["a", "m", "z"]
    assert type(seen[0]["z"]) is float
    assert seen[0]["m"].tolist() == [0, 1]


def test_lambda_hooks_by_name():
    seen = []
    callback = callbacks.LambdaCallback(on_test_end=lambda logs: seen.append(logs))
    callback.on_test_end({"loss": 1})
    assert seen == [{"loss": 1}]
    with pytest.raises(TypeError, match="Did you mean 'on_epoch_end'"):
        callbacks.LambdaCallback(on_epoc_end=print)


def test_classes_instead_of_objects():
    with pytest.raises(TypeError, match=r"Did you mean EarlyStopping\(...\)"):
        callbacks.CallbackList([callbacks.EarlyStopping])
    with pytest.raises(TypeError, match="Expected callback objects"):
        callbacks.CallbackList(["early"])


@pytest.mark.parametrize(
    ("monitor", "names", "found"),
    [
        ("val_acc", ["loss", "accuracy", "val_loss", "val_accuracy"], "val_accuracy"),
        ("val_accuracy", ["acc", "val_acc"], "val_acc"),
        ("acc", ["accuracy"], "accuracy"),
        ("acc", ["acc", "accuracy"], "acc"),
        ("lr", ["learning_rate"], "learning_rate"),
        ("val_auc", ["val_accuracy"], None),
    ],
)
def test_monitor_synonyms(monitor, names, found):
    assert _keras2.logged_name(monitor, names) == found


def test_monitor_that_is_never_logged():
    callback = callbacks.EarlyStopping("val_los")
    with pytest.raises(ValueError, match=r"Did you mean 'val_loss'.*Logged values: loss, val_loss"):
        callback.check_monitor(["loss", "val_loss"])
    with pytest.raises(ValueError, match="There is no validation"):
        callbacks.EarlyStopping().check_monitor(["loss", "accuracy"])
    checkpoint = callbacks.ModelCheckpoint("m-{val_auc}.keras")
    with pytest.raises(KeyError, match="val_auc"):
        checkpoint.check_monitor(["loss", "val_loss"])
    checkpoint = callbacks.ModelCheckpoint("m-{val_acc:.2f}.keras", "val_acc", save_best_only=True)
    checkpoint.check_monitor(["loss", "val_accuracy"])
    assert checkpoint.monitor == "val_accuracy"


def test_missing_value_at_run_time_warns_as_keras():
    model = StubModel(tlfast)
    with pytest.warns(UserWarning, match="Early stopping conditioned on metric `val_loss`"):
        drive(model, callbacks.EarlyStopping(), EPOCHS)
    with pytest.warns(UserWarning, match="Learning rate reduction is conditioned on metric"):
        drive(model, callbacks.ReduceLROnPlateau(), EPOCHS)
    with pytest.warns(UserWarning, match="Can save best model only with val_loss available"):
        run = drive(model, callbacks.ModelCheckpoint("m.keras", save_best_only=True), EPOCHS)
    assert run["calls"] == ["save m.keras"] * 2


def test_unknown_direction():
    with pytest.raises(ValueError, match="mode='max'"):
        drive(StubModel(tlfast), callbacks.EarlyStopping("mine"), [{"mine": 1.0}])
    with pytest.warns(UserWarning, match="mode 'up' is unknown"):
        assert callbacks.EarlyStopping(mode="up").mode == "auto"


def test_checkpoint_keeps_its_best_over_fits():
    model = StubModel(tlfast)
    checkpoint = callbacks.ModelCheckpoint("m.keras", "loss", save_best_only=True)
    drive(model, checkpoint, EPOCHS)
    drive(model, checkpoint, EPOCHS)
    assert model.calls == ["save m.keras"] * 2
    assert checkpoint.best == 0.25


def test_checkpoint_on_a_folder(tmp_path):
    folder = tmp_path / "m.keras"
    folder.mkdir()
    with pytest.raises(OSError, match="non-directory filepath"):
        drive(StubModel(tlfast), callbacks.ModelCheckpoint(folder), EPOCHS)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: callbacks.ModelCheckpoint("m.pb"), ValueError, "must end in `.keras`"),
        (
            lambda: callbacks.ModelCheckpoint("m.h5", save_weights_only=True),
            ValueError,
            r"\.weights\.h5",
        ),
        (lambda: callbacks.ModelCheckpoint("m.h5", save_freq="batch"), ValueError, "save_freq"),
        (lambda: callbacks.ReduceLROnPlateau(factor=1.0), ValueError, "factor"),
        (lambda: callbacks.LearningRateScheduler(0.1), TypeError, "function of the epoch"),
    ],
)
def test_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_scheduler_errors_are_not_mistaken_for_the_old_form():
    def schedule(epoch, lr):
        return "a" + lr

    scheduler = callbacks.LearningRateScheduler(schedule)
    with pytest.raises(TypeError, match="str"):
        drive(StubModel(tlfast), scheduler, EPOCHS)
    scheduler = callbacks.LearningRateScheduler(lambda epoch: 1)
    with pytest.raises(ValueError, match="should be a float"):
        drive(StubModel(tlfast), scheduler, EPOCHS)


def test_nan_can_raise():
    callback = callbacks.TerminateOnNaN(raise_error=True)
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 0"):
        drive(StubModel(tlfast), callback, [{"loss": float("inf")}], batches=1)


def test_messages_go_to_the_current_stdout():
    with captured() as out:
        drive(StubModel(tlfast), callbacks.TerminateOnNaN(), EPOCHS, batches=1)
    assert out.getvalue() == ""


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="Did you mean 'EarlyStopping'"):
        callbacks.EarlyStoping  # noqa: B018
    with pytest.raises(AttributeError, match="Keras has it, tlfast does not"):
        callbacks.SwapEMAWeights  # noqa: B018
