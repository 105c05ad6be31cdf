"""Files of trained models: a damaged optimizer, warnings, whatever was logged."""

import h5py
import numpy as np
import pytest

from tlfast import callbacks, layers, saving
from tlfast.models import Sequential
from tlfast.saving.errors import FormatError


def trained():
    model = Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 3)), np.ones(8), verbose=0)
    return model


def with_optimizer_variable(path, name, data):
    """A weights file in which a variable of the optimizer is another one."""
    trained().save_weights(path)
    with h5py.File(path, "a") as file:
        del file[f"optimizer/vars/{name}"]
        file[f"optimizer/vars/{name}"] = data
    return path


def test_a_damaged_optimizer_leaves_the_weights_alone(tmp_path):
    path = with_optimizer_variable(tmp_path / "m.weights.h5", "2", np.zeros((3, 1), "S4"))
    model = trained()
    before = model.get_weights()
    with pytest.raises(FormatError, match="optimizer/vars/2': holds string data"):
        model.load_weights(path)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_a_step_counter_is_a_whole_number(tmp_path):
    path = with_optimizer_variable(tmp_path / "m.weights.h5", "0", np.float32("nan"))
    model = trained()
    with pytest.warns(UserWarning, match="is not restored.* of other shapes or types") as said:
        model.load_weights(path)
    assert int(model.optimizer.iterations) == 1 and said[0].filename == __file__


def test_the_warning_about_a_mismatch_names_the_callers_line(tmp_path):
    other = Sequential([layers.Input((3,)), layers.Dense(2)])
    for ending in (".weights.h5", ".h5"):
        trained().save_weights(tmp_path / f"m{ending}")
        with pytest.warns(UserWarning, match="They keep their values") as said:
            other.load_weights(tmp_path / f"m{ending}", skip_mismatch=True)
        assert said[0].filename == __file__


def test_whatever_was_logged_can_be_saved(tmp_path):
    class Logs(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs.update(note="so far so good", each=np.arange(3), rate=np.float32(0.5))

    model = Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 3)), np.ones(8), epochs=2, verbose=0, callbacks=[Logs()])
    model.save(tmp_path / "m.keras")
    record = saving.get_record(saving.load_model(tmp_path / "m.keras"))
    assert record["history"] == {"loss": model.history.history["loss"], "rate": [0.5, 0.5]}
    model.history.history["loss"] *= 200_000  # longer than a record may be
    model.save(tmp_path / "m.keras")
    record = saving.get_record(saving.load_model(tmp_path / "m.keras"))
    assert "history" not in record and record["recipe"]["fits"]
