"""BackupAndRestore: a fit that goes on from any stored state is the one that was never ended."""

import contextlib
import hashlib
import json
import random
import re
import shutil
import signal
import warnings

import file_mutators
import fuzz_files
import kill_resume
import numpy as np
import pytest
from conftest import smooth_image

import tlfast
from tlfast import _core, callbacks, keras, layers
from tlfast._fit_loop import FitLoop
from tlfast.data import Dataset
from tlfast.saving import state_file
from tlfast.saving.errors import FormatError

SIZE, ROWS, EPOCHS = 8, 22, 3


class Kept(callbacks.BackupAndRestore):
    """Stores the state after every batch or epoch, and keeps a copy of each file."""

    def __init__(self, folder, **kwargs):
        super().__init__(folder / "backup", delete_checkpoint=False, **kwargs)
        self.copies = []

    def _save(self):
        super()._save()
        copy = self._latest.with_name(f"copy{len(self.copies)}")
        shutil.copy(self._latest, copy)
        self.copies.append(copy)


@pytest.fixture
def tmp_path(memory_path):
    return memory_path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    from PIL import Image

    top, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    for index, name in enumerate(("cat", "dog")):
        (top / name).mkdir()
        for number in range(ROWS // 2):
            pixels = smooth_image(rng, 12, 12) // 2 + 90 * index
            Image.fromarray(pixels.astype(np.uint8)).save(top / name / f"{number}.png")
    return top


def arrays():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 255, (ROWS, SIZE, SIZE, 3)).astype("f4")
    return x, rng.integers(0, 2, ROWS).astype("f4")


def model_of(frozen=False, seed=None):
    """A small network with everything that draws random numbers, none of it seeded."""
    inputs = layers.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    if not frozen:
        x = layers.RandomZoom(0.3)(layers.RandomFlip("horizontal", seed=seed)(x))
    convolution = layers.Conv2D(4, 3, use_bias=False)
    x = layers.BatchNormalization()(convolution(x))
    convolution.trainable = not frozen
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    x = layers.Dropout(0.3)(x)
    outputs = layers.Dense(1, activation="sigmoid")(x)
    model = keras.Model(inputs, outputs)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.9)
    optimizer = keras.optimizers.Adam(schedule)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy", "AUC"])
    return model


def from_folder(images, seed=None, **kwargs):
    return keras.utils.image_dataset_from_directory(
        images, image_size=(SIZE, SIZE), batch_size=4, label_mode="binary", seed=seed,
        verbose=False, **kwargs
    )  # fmt: skip


def split(images):
    kwargs = {"validation_split": 0.3, "subset": "both", "seed": 5}
    train, test = from_folder(images, **kwargs)
    return train, test


def flow(images, augment, seed=None):
    options = {"rotation_range": 20, "horizontal_flip": True} if augment else {}
    generator = keras.preprocessing.image.ImageDataGenerator(**options)
    return generator.flow_from_directory(
        images, (SIZE, SIZE), class_mode="binary", batch_size=4, seed=seed
    )


class Batches(keras.utils.PyDataset):
    """Draws its own order after each epoch, and can say which."""

    def __init__(self):
        super().__init__(workers=2)
        self.x, self.y = arrays()
        self.rows = np.arange(ROWS)

    def __len__(self):
        return 5

    def __getitem__(self, index):
        rows = self.rows[4 * index : 4 * index + 4]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.rows = np.random.permutation(ROWS)

    def get_state(self):
        return {"rows": self.rows}

    def set_state(self, state):
        self.rows = state["rows"]


def generator():
    x, y = arrays()
    rng = np.random.default_rng(8)
    while True:
        rows = rng.integers(0, ROWS, 4)
        yield x[rows], y[rows]


def shuffled_dataset(**shuffle):
    return Dataset.from_tensor_slices(arrays()).shuffle(6, **shuffle)


def noisy(x, y):
    return x + np.random.normal(0, 1, x.shape).astype("f4"), y


def shared():
    """Training and validation draw from one shuffle, whose order changes with every pass."""
    whole = shuffled_dataset()
    return {"x": whole.skip(6).batch(4), "validation_data": whole.take(6).batch(4)}


DATA = {
    "arrays": lambda images: dict(zip("xy", arrays(), strict=True), batch_size=4),
    "arrays, inside batches": lambda images: dict(
        zip("xy", arrays(), strict=True), batch_size=5, shuffle="batch", validation_split=0.2
    ),
    "arrays, steps": lambda images: dict(
        zip("xy", arrays(), strict=True), batch_size=4, steps_per_epoch=3
    ),
    "folder": lambda images: {"x": from_folder(images), "validation_data": from_folder(images)},
    "folder, split": lambda images: dict(
        zip(("x", "validation_data"), split(images), strict=True)
    ),
    "folder, cached": lambda images: {"x": from_folder(images).cache()},
    "folder, steps": lambda images: {"x": from_folder(images).repeat(), "steps_per_epoch": 4},
    "map": lambda images: {"x": shuffled_dataset(seed=2).map(noisy).batch(4)},
    "map, cached": lambda images: {
        "x": shuffled_dataset().map(lambda x, y: (x + 1, y)).cache().batch(4)
    },
    "kept order": lambda images: {"x": shuffled_dataset(reshuffle_each_iteration=False).batch(4)},
    "one shuffle": lambda images: shared(),
    "flow, plain": lambda images: {"x": flow(images, False)},
    "flow, augmented": lambda images: {
        "x": flow(images, True, 3), "validation_data": flow(images, False), "steps_per_epoch": 3,
    },
    "flow, batches in order": lambda images: {"x": flow(images, True), "shuffle": False},
    "PyDataset": lambda images: {"x": Batches()},
    "generator": lambda images: {"x": generator(), "steps_per_epoch": 5},
}  # fmt: skip


class Draws(callbacks.Callback):
    """Draws random numbers between the batches, as a user's callback may."""

    def on_train_batch_end(self, batch, logs=None):
        np.random.random(3)
        random.random()

    def on_epoch_end(self, epoch, logs=None):
        logs["drawn"] = np.random.random() + random.random()


def fit(data, folder, seed, frozen=False, used=False, **kwargs):
    """Train; what the result depends on beside the stored state is other for each `seed`."""
    random.seed(seed)
    np.random.seed(seed)
    model = model_of(frozen)
    if used:
        x, y = arrays()
        model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    backup = Kept(folder, **kwargs)
    model.fit(**data(), epochs=EPOCHS, verbose=0, callbacks=[backup, Draws()])
    return outcome(model), backup.copies


def outcome(model):
    optimizer = model.optimizer
    return {
        "weights": [w.tobytes() for w in model.get_weights()],
        "optimizer": [np.asarray(v.numpy()).tobytes() for v in optimizer.variables],
        "history": json.dumps(model.history.history),
        "epochs": model.history.epoch,
    }


def from_copy(copy, folder):
    folder = folder / "backup"
    folder.mkdir(parents=True)
    shutil.copy(copy, folder / "latest.tlfast")


@pytest.mark.parametrize("kind", DATA)
def test_resumed_is_uninterrupted(kind, images, tmp_path):
    expected, copies = fit(lambda: DATA[kind](images), tmp_path / "first", 1, save_freq=1)
    assert len(copies) >= 3 * EPOCHS
    chosen = [0, 3, len(copies) // 2, len(copies) - 2, len(copies) - 1]
    for number in chosen:
        folder = tmp_path / f"again{number}"
        from_copy(copies[number], folder)
        with warnings.catch_warnings():
            if kind == "generator":
                warnings.filterwarnings("ignore", "the place in a Python generator")
            result, later = fit(lambda: DATA[kind](images), folder, 100 + number, save_freq=1)
        assert result == expected, (kind, number)
        assert len(later) == len(copies) - number - 1


def test_another_seed_is_another_training(images, tmp_path):
    """Or the comparisons above would not show anything."""
    results = [
        fit(lambda: DATA["folder"](images), tmp_path / str(seed), seed)[0] for seed in (1, 2)
    ]
    assert results[0]["weights"] != results[1]["weights"]


@pytest.mark.parametrize("cached", [True, False])
def test_features_kept_or_not(cached, images, tmp_path):
    def data():
        return {**DATA["folder"](images), "cache_features": cached}

    expected, copies = fit(data, tmp_path / "first", 1, frozen=True, save_freq=2)
    from_copy(copies[3], tmp_path / "again")
    other = {**data(), "cache_features": not cached}
    result, _ = fit(lambda: other, tmp_path / "again", 9, frozen=True, save_freq=2)
    assert result == expected


def test_after_epochs_and_after_the_end(images, tmp_path):
    def data():
        return DATA["folder"](images)

    expected, copies = fit(data, tmp_path / "first", 1)
    assert len(copies) == EPOCHS
    for number, copy in enumerate(copies):
        from_copy(copy, tmp_path / f"again{number}")
        result, later = fit(data, tmp_path / f"again{number}", 9)
        assert result == expected and len(later) == EPOCHS - 1 - number


def test_a_model_that_was_trained_before(images, tmp_path):
    """The seeds of its layers and everything else are replaced, plans that were made included."""

    def data():
        return DATA["folder"](images)

    expected, copies = fit(data, tmp_path / "first", 1, save_freq=1)
    from_copy(copies[2], tmp_path / "again")
    assert fit(data, tmp_path / "again", 9, used=True, save_freq=1)[0] == expected


def test_shorter_and_longer_runs(images, tmp_path):
    """More epochs may be asked for later; a stored end is the end of a shorter one."""
    model = model_of()
    backup = callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    model.fit(from_folder(images, seed=1), epochs=2, verbose=0, callbacks=[backup])
    more = model.fit(from_folder(images, seed=1), epochs=3, verbose=0, callbacks=[backup])
    assert more.epoch == [0, 1, 2]
    less = model.fit(from_folder(images, seed=1), epochs=2, verbose=0, callbacks=[backup])
    assert less.epoch == [0, 1, 2]


def head_then_all(folder, images, stop_after=None):
    """The head, then all layers at a lower rate, as a script has it."""
    model = model_of(frozen=True)
    for name, rate in (("head", 0.01), ("all", 0.001)):
        model.layers[2].trainable = name == "all"
        model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
        backup = callbacks.BackupAndRestore(folder / name, save_freq=2, delete_checkpoint=False)
        used = [backup, Seen(stop_after if name == "all" else None)]
        model.fit(from_folder(images, seed=1), epochs=2, verbose=0, callbacks=used)
    return outcome(model), used[1].hooks


def test_two_fits_of_one_script(images, tmp_path):
    keras.utils.set_random_seed(3)
    expected, _ = head_then_all(tmp_path / "straight", images)
    keras.utils.set_random_seed(3)
    with pytest.raises(KeyboardInterrupt):
        head_then_all(tmp_path / "again", images, stop_after=8)
    random.seed(77)
    result, hooks = head_then_all(tmp_path / "again", images)
    assert result == expected and hooks[:3] == ["begin", "epoch 0", "epoch 1"]
    with pytest.raises(ValueError, match="two calls of fit need two folders"):
        (tmp_path / "again" / "all" / "latest.tlfast").replace(
            tmp_path / "again" / "head" / "latest.tlfast"
        )
        head_then_all(tmp_path / "again", images)


def test_skipped_images_are_named_where_they_are_now(images, tmp_path):
    """The state holds no path; the folder may be another one when the training goes on."""

    def fit(folder, stop_after=None):
        data = from_folder(folder, seed=2, on_bad_image="skip")
        backup = callbacks.BackupAndRestore(tmp_path / "b", save_freq=1)
        seen = Seen(stop_after)
        model_of().fit(data, epochs=2, verbose=0, callbacks=[backup, seen])

    for name in ("here", "there"):
        shutil.copytree(images, tmp_path / name)
        (tmp_path / name / "dog" / "3.png").write_bytes(b"no image")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "here", stop_after=7)  # an epoch has six batches
    shutil.move(tmp_path / "here", tmp_path / "gone")
    latest = tmp_path / "b" / "latest.tlfast"
    assert b"3.png" not in latest.read_bytes()
    ((rank, reason),) = state_file.read_state(latest)["state"]["training"]["bad"]
    assert rank == 15 and reason  # of cat/0, cat/1, cat/10, ...
    with pytest.warns(tlfast.DataWarning, match="1 image was skipped") as said:
        fit(tmp_path / "there")
    (text,) = [str(one.message) for one in said if one.category is tlfast.DataWarning]
    assert f"{tmp_path / 'there' / 'dog' / '3.png'}: {reason}" in text


# ---- what callbacks see -------------------------------------------------------------------------


class Seen(callbacks.Callback):
    """Writes down the hooks, and counts batches in a state of its own."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.hooks, self.batches, self.stop_after = [], 0, stop_after

    def on_train_begin(self, logs=None):
        self.hooks.append("begin")
        self.batches = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.hooks.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.hooks.append(f"batch {batch}")
        self.batches += 1
        if self.batches == self.stop_after:
            raise KeyboardInterrupt

    def get_state(self):
        return {"batches": self.batches}

    def set_state(self, state):
        self.batches = state["batches"]


def small(folder, seen, **kwargs):
    x, y = arrays()
    model = keras.Sequential([layers.Input((SIZE, SIZE, 3)), layers.Flatten(), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-7), "mse")
    backup = callbacks.BackupAndRestore(folder / "b", **kwargs)
    model.fit(x, y, batch_size=10, epochs=2, verbose=0, callbacks=[backup, *seen])
    return model


def test_hooks_and_states_of_callbacks(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, [Seen(stop_after=3)], save_freq=2)
    seen = Seen()
    small(tmp_path, [seen], save_freq=2)
    assert seen.hooks == ["begin", "epoch 0", "batch 2", "epoch 1", "batch 0", "batch 1", "batch 2"]
    assert seen.batches == 6
    assert not (tmp_path / "b").exists()  # the training has come to its end


def test_other_callbacks(tmp_path):
    class Other(Seen):
        pass

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, [Seen(stop_after=3)], save_freq=2)
    with pytest.warns(tlfast.ResumeWarning, match="new are Other; missing are Seen"):
        small(tmp_path, [Other()], save_freq=2)


def test_callbacks_without_a_state_may_come_and_go(tmp_path):
    class Foreign:
        """Not a `Callback`: it has the hooks and nothing else."""

        def __init__(self):
            self.batches = 0

        def set_model(self, model):
            self.model = model

        set_params = set_model

        def __getattr__(self, name):
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda *args, **kwargs: None

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, [callbacks.LambdaCallback(), Seen(stop_after=3)], save_freq=2)
    small(tmp_path, [Foreign(), Seen()], save_freq=2)


def test_a_callback_that_ended_the_training_has_ended_it(tmp_path):
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    expected = small(tmp_path, [Stop(), Seen()], save_freq=1, delete_checkpoint=False)
    seen = Seen()
    again = small(tmp_path, [Stop(), seen], save_freq=1, delete_checkpoint=False)
    assert seen.hooks == ["begin", "epoch 0"] and again.history.epoch == [0]
    assert again.history.history == expected.history.history


def test_a_state_that_cannot_be_stored_is_named(tmp_path):
    seen = Seen()
    seen.get_state = lambda: {"batches": [1, {"x": object()}]}
    where = r"\['batches'\]\[1\]\['x'\]"
    with pytest.raises(TypeError, match=f"{where}: an object of type object cannot be stored"):
        small(tmp_path, [seen], save_freq=1)


# ---- what does not fit, what is damaged ----------------------------------------------------------


def interrupted(folder, **kwargs):
    with pytest.raises(KeyboardInterrupt):
        small(folder, [Seen(stop_after=4)], save_freq=1, **kwargs)


def test_another_model_or_other_arguments(tmp_path):
    interrupted(tmp_path)
    x, y = arrays()

    def fit(units=1, optimizer=None, loss="mse", **kwargs):
        flat = [layers.Input((SIZE, SIZE, 3)), layers.Flatten()]
        model = keras.Sequential([*flat, layers.Dense(units)])
        model.compile(optimizer or keras.optimizers.SGD(1e-7), loss)
        backup = callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
        options = {"x": x, "y": y, "batch_size": 10, **kwargs}
        model.fit(**options, epochs=2, verbose=0, callbacks=[backup, Seen()])
        return model

    for kwargs, what in (
        ({"units": 2, "y": np.stack([y, y], 1)}, r"model/.*/units: 1 then, 2 now"),
        ({"optimizer": keras.optimizers.SGD(1e-7, momentum=0.5)}, "momentum: 0.0 then, 0.5 now"),
        ({"loss": "mae"}, 'compile/loss: "mse" then, "mae" now'),
        ({"batch_size": 11}, "data/training/batch_size: 10 then, 11 now"),
        ({"class_weight": {0: 2.0}}, "fit/class_weight/0: null then, 2.0 now"),
    ):
        with pytest.raises(ValueError, match=f"is another one.*{what}.*delete the folder"):
            fit(**kwargs)
    with pytest.warns(tlfast.ResumeWarning, match="content/training: .* then, .* now"):
        fit(x=x + 1)
    resumed = fit(x=x + 1, optimizer=keras.optimizers.SGD(1.0))  # the rate is part of the state
    assert resumed.optimizer.learning_rate == np.float32(1e-7)


@pytest.mark.skipif(not _core.has_bfloat16(), reason="this machine would emulate bfloat16")
@pytest.mark.parametrize("all_layers", [False, True])
def test_bfloat16_is_part_of_the_model(tmp_path, all_layers):
    def fit(folder, policy, epochs):
        x, y = arrays()
        keras.utils.set_random_seed(1)
        head = layers.Dense(1, dtype=policy)
        model = keras.Sequential([layers.Input((SIZE, SIZE, 3)), layers.Flatten(), head])
        model.compile("adam", "mse", precision=policy if all_layers else None)
        backup = callbacks.BackupAndRestore(tmp_path / folder, delete_checkpoint=False)
        model.fit(x, y, batch_size=10, epochs=epochs, verbose=0, callbacks=[backup])
        return model.get_weights()

    whole = fit("whole", "mixed_bfloat16", 3)
    fit("halves", "mixed_bfloat16", 1)
    with pytest.raises(ValueError, match='is another one.*"mixed_bfloat16" then, "float32" now'):
        fit("halves", "float32", 3)
    assert all(map(np.array_equal, whole, fit("halves", "mixed_bfloat16", 3)))


def test_another_machine(tmp_path, monkeypatch):
    interrupted(tmp_path)

    monkeypatch.setattr(_core, "num_threads", lambda: 77)
    with pytest.warns(tlfast.ResumeWarning, match="environment/threads: .* then, 77 now"):
        small(tmp_path, [Seen()])


def test_damage_goes_back_to_the_state_before(tmp_path):
    interrupted(tmp_path, double_checkpoint=True)
    latest = tmp_path / "b" / "latest.tlfast"
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1
    latest.write_bytes(content)
    seen = Seen()
    with pytest.warns(tlfast.ResumeWarning, match="latest.tlfast: damaged.*previous.tlfast"):
        small(tmp_path, [seen], save_freq=1, delete_checkpoint=False)
    assert seen.hooks[:3] == ["begin", "epoch 0", "batch 2"]  # three batches, less one


def test_a_kill_between_the_two_renamings(tmp_path):
    interrupted(tmp_path, double_checkpoint=True)
    (tmp_path / "b" / "latest.tlfast").rename(tmp_path / "b" / "previous.tlfast")
    seen = Seen()
    small(tmp_path, [seen], save_freq=1)
    assert seen.hooks[:4] == ["begin", "epoch 0", "epoch 1", "batch 0"]


def test_damage_without_a_state_before(tmp_path):
    interrupted(tmp_path)
    (tmp_path / "b" / "latest.tlfast").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="no training state.*delete the folder.*double_check"):
        small(tmp_path, [Seen()])


def test_every_cut_and_every_changed_byte_is_found(tmp_path):
    path = tmp_path / "state"
    state = {"a": [1, 2.5, None, "x", True], "b": {"c": np.arange(5, dtype="f4")}, "e": {}}
    state_file.write_state(path, state)
    found = state_file.read_state(path)
    assert found["a"] == state["a"] and found["e"] == {}
    assert np.array_equal(found["b"]["c"], state["b"]["c"]) and found["b"]["c"].dtype == "f4"
    content = path.read_bytes()
    for at in range(len(content)):
        for damaged in (content[:at], content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(FormatError):
                state_file.read_state(path)
    for at in range(len(content) - 32):  # a right hash over whatever stands there
        changed = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 : -32]
        path.write_bytes(changed + hashlib.sha256(changed).digest())
        with contextlib.suppress(FormatError):
            state_file.read_state(path)
    path.write_bytes(content.replace(b"state 1\n", b"state 2\n"))
    with pytest.raises(FormatError, match="newer version"):
        state_file.read_state(path)


def test_what_is_long_is_no_json(tmp_path):
    rng = np.random.default_rng(0)
    state = {
        "order": rng.permutation(2_000_000).tolist(),
        "history": {"loss": rng.normal(size=1_200_000).tolist(), "nan": [float("nan")] * 100},
        "written": "1,2.5,\ud800\n" * 2_000_000,
        "mixed": [1, 2.5] * 100, "large": [2**70] * 100, "flags": [True] * 100,
    }  # fmt: skip
    state_file.write_state(tmp_path / "state", state)
    found = state_file.read_state(tmp_path / "state")
    assert all(np.isnan(found["history"].pop("nan"))) and state["history"].pop("nan")
    assert found == state
    assert all(type(found[key][0]) is type(state[key][0]) for key in ("order", "mixed", "flags"))
    size = (tmp_path / "state").stat().st_size
    with pytest.raises(FormatError, match="more than 1000000 values"):
        state_file.write_state(tmp_path / "state", {"lists": [[1]] * 1_000_000})
    assert (tmp_path / "state").stat().st_size == size


def test_arrays_lie_one_after_the_other_and_are_used_once(tmp_path):
    path = tmp_path / "state"
    state_file.write_state(path, {"x": np.ones(1000, "f4"), "y": np.arange(16, dtype="u1")})
    content = path.read_bytes()

    def change(entries, state=None):
        found, arrays = file_mutators.parts_of_state(content)
        found["arrays"][-len(entries) :] = entries
        found["state"] = state or found["state"]
        path.write_bytes(file_mutators.state_of(content, found, arrays))
        return state_file.read_state(path)

    second = ["|u1", [16], 4032, 16]
    assert change([second])["y"][-1] == 15
    first = ["<f4", [1000], 0, 4000]
    for entries in (
        [first, ["<f4", [1000], 0, 4000]], [first] * 1000, [["|u1", [16], 4031, 16]],
        [["|u1", [1 << 40], 4032, 1 << 40]], [["|u1", [0, 1 << 62], 4032, 0]],
        [["<f8", [0, 1 << 33, 1 << 33], 4032, 0]], [["|u1", [1] * 65, 4032, 1]],
        [["|O8", [2], 4032, 16]], [["f4,f4", [2], 4032, 16]], [["|u1", [-16], 4032, 16]],
        [["|u1", 16, 4032, 16]], [["|u1", [16], 4032]], [7],
    ):  # fmt: skip
        with pytest.raises(FormatError, match="state: the entry .* of an array|are needed"):
            change(entries)
    for entry in ([{"l": 0}] * 2, [{"a": 0}, {"t": 0}], {"t": 0}, {"a": 2}, {"a": 1, "b": 1}, {}):
        with pytest.raises(FormatError, match="state: the entry"):
            change([second], {"d": {"z": entry}})
    state_file.write_state(path, {"x": np.full(2000, 255, "u1")})
    content = path.read_bytes()
    with pytest.raises(FormatError, match="not UTF-8"):
        change([["|u1", [2000], 0, 2000]], {"d": {"x": {"t": 0}}})


def places(value, where="state"):
    """(Path, holder, key) of everything below a stored value."""
    for key, below in value.items() if isinstance(value, dict) else enumerate(value):
        path = f"{where}.{key}"
        yield path, value, key
        if isinstance(below, (dict, list)):
            yield from places(below, path)


# What was logged under any name, columns of a CSV file, callbacks that are others than before.
FREE = re.compile(r"state\.(logs.*|callbacks\.\d+(\.1\.(history.*|epoch\.\d+|keys\.\d+))?)")


@pytest.mark.filterwarnings("ignore::tlfast.ResumeWarning")
def test_odd_content_is_refused_before_anything_is_restored(tmp_path, monkeypatch):
    """Every part of a state left out, and exchanged for another value."""
    restored = []
    go_on = FitLoop._go_on
    monkeypatch.setattr(FitLoop, "_go_on", lambda *args: restored.append(0) or go_on(*args))
    latest = tmp_path / "latest.tlfast"
    for content in fuzz_files._states():
        latest.write_bytes(content)
        for number in range(len([*places(state_file.read_state(latest)["state"])])):
            for leave_out in (True, False):
                latest.write_bytes(content)
                found = state_file.read_state(latest)
                path, holder, key = [*places(found["state"])][number]
                if leave_out:
                    del holder[key]
                else:
                    holder[key] = {"odd": [7]}
                state_file.write_state(latest, found)
                restored.clear()
                try:
                    fuzz_files._training(tmp_path, epochs=2, save_freq=100)
                    assert FREE.fullmatch(path), (path, leave_out)
                except FormatError as error:
                    sums = "the stored sums of metrics" in str(error)  # known with their shapes
                    assert sums or "latest.tlfast: state" in str(error) and not restored, error


def test_arguments(tmp_path):
    make = callbacks.BackupAndRestore
    with pytest.raises(ValueError, match="Empty `backup_dir`"):
        make("")
    for wrong in ("batch", 0, 1.5, False):
        with pytest.raises(ValueError, match=f"Received: save_freq={wrong!r}"):
            make(tmp_path, save_freq=wrong)
    (tmp_path / "b").write_text("")
    with pytest.raises(FileExistsError):
        small(tmp_path, [])
    with pytest.raises(ValueError, match="2 BackupAndRestore callbacks"):
        small(tmp_path / "other", [make(tmp_path / "c")])


def test_files_of_the_user_stay(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    small(tmp_path, [])
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["mine.txt"]


# ---- killed --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_resumed():
    lines = []
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
    fallen = kill_resume.campaign(6, 11, numbers, lines.append)
    assert fallen.total() == 6 and sum("ended equal" in line for line in lines) >= 1
