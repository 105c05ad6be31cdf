"""BackupAndRestore and the other callbacks: whose state is stored, and what it may be."""

import pytest
from test_resume import SIZE, Seen, arrays, interrupted, small

import tlfast
from tlfast import callbacks, keras, layers
from tlfast.saving import state_file


def test_only_callbacks_of_the_user_are_compared(tmp_path):
    """The warning for other callbacks names none that tlfast adds."""
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, [Seen(stop_after=3)], save_freq=2)
    latest = tmp_path / "b" / "latest.tlfast"
    stored = state_file.read_state(latest)
    seen, history = stored["state"]["callbacks"]
    assert (seen[0], history[0]) == ("Seen", "History")
    stored["state"]["callbacks"] = [history]
    state_file.write_state(latest, stored)
    with pytest.warns(tlfast.ResumeWarning, match="new are Seen; missing are none"):
        small(tmp_path, [Seen()], save_freq=2)


def test_a_state_that_nobody_takes_back(tmp_path):
    class Foreign:
        def on_epoch_end(self, epoch, logs):
            pass

        def get_state(self):
            return {"batches": 3}

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, [Foreign(), Seen(stop_after=3)], save_freq=2)
    with pytest.raises(ValueError, match="Foreign has no `set_state`.*take back batches"):
        small(tmp_path, [Foreign(), Seen()], save_freq=2)


def test_best_weights_that_are_whole_numbers(tmp_path):
    """Normalization counts what it has seen, in an int64 weight."""
    x, y = arrays()

    def fit(*more):
        counting = layers.Normalization()
        counting.adapt(x)
        model = keras.Sequential(
            [layers.Input((SIZE, SIZE, 3)), counting, layers.Flatten(), layers.Dense(1)]
        )
        model.compile(keras.optimizers.SGD(1e-5), "mse")
        stop = callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
        backup = callbacks.BackupAndRestore(tmp_path / "b", save_freq=1)
        model.fit(x, y, batch_size=10, epochs=3, verbose=0, callbacks=[backup, stop, *more])
        return model

    with pytest.raises(KeyboardInterrupt):
        fit(Seen(stop_after=5))
    assert "int64" in [weight.dtype for weight in fit(Seen()).weights]


def test_a_callback_that_stores_more_than_its_base_class(tmp_path):
    class Mine(callbacks.EarlyStopping):
        def get_state(self):
            return {**super().get_state(), "mine": 7}

        def set_state(self, state):
            self.mine = state.pop("mine")
            super().set_state(state)

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, [Mine("loss"), Seen(stop_after=4)], save_freq=1)
    again = Mine("loss")
    small(tmp_path, [again, Seen()], save_freq=1)
    assert again.mine == 7


def test_a_damaged_state_does_not_replace_the_good_one_before_it(tmp_path):
    """A kill between the renamings of the first save would find nothing else."""
    interrupted(tmp_path, double_checkpoint=True)
    latest, previous = (tmp_path / "b" / f"{name}.tlfast" for name in ("latest", "previous"))
    good = previous.read_bytes()
    latest.write_bytes(b"damaged")

    class Look(Seen):
        previous = None  # when the first new state has been written

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if self.previous is None and latest.read_bytes() != b"damaged":
                self.previous = previous.read_bytes()

    Look.__name__ = "Seen"  # the stored callback
    look = Look()
    with pytest.warns(tlfast.ResumeWarning, match="damaged|no training state"):
        small(tmp_path, [look], save_freq=1, double_checkpoint=True, delete_checkpoint=False)
    assert look.previous == good
    assert previous.read_bytes() != good  # later saves take turns again
