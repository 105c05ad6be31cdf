"""Frozen weights whose values live in a file: the same numbers, in less memory."""

import os
import threading

import numpy as np
import pytest

import tlfast as tf
from tlfast import _core, _features

SHAPE = (3, 3, 512, 512)  # 9.4 MB
STEP = 1 << 18  # offsets in the file are multiples of it


def values(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def resident() -> int:
    """Bytes of memory this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def variable(tmp_path):
    variable = _core.Variable(SHAPE)
    variable.assign(values(0))
    with open(tmp_path / "weights", "w+b") as file:
        assert variable.page_out(file.fileno(), 0) == variable_bytes()
    (tmp_path / "weights").unlink()
    return variable


def variable_bytes() -> int:
    return -(-4 * int(np.prod(SHAPE)) // STEP) * STEP


def test_values_stay(variable):
    assert np.array_equal(variable.numpy(), values(0))
    assert np.array_equal(variable.numpy(), values(0))


def test_memory_is_given_back(tmp_path):
    with open(tmp_path / "weights", "w+b") as file:
        variables = [_core.Variable(SHAPE) for _ in range(8)]
        for variable in variables:
            variable.assign(values(1))
        before = resident()
        at = 0
        for variable in variables:
            at += variable.page_out(file.fileno(), at)
        given = before - resident()
        for variable in variables:
            variable.numpy()
        given_after_reading = before - resident()
    whole = 8 * variable_bytes()
    assert given > 0.9 * whole
    assert given_after_reading > 0.8 * whole


def test_assigned_values_win(variable):
    variable.assign(values(2))
    assert np.array_equal(variable.numpy(), values(2))
    assert np.array_equal(variable.numpy(), values(2))  # reading did not drop them


def test_small_variables_and_second_calls_stay_where_they_are(variable, tmp_path):
    small = _core.Variable((64,))
    small.assign(values(3, (64,)))
    with open(tmp_path / "more", "w+b") as file:
        assert small.page_out(file.fileno(), 0) == 0
        assert variable.page_out(file.fileno(), 0) == 0
        with pytest.raises(ValueError, match="multiple of 262144"):
            variable.page_out(file.fileno(), 17)
    assert np.array_equal(small.numpy(), values(3, (64,)))


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path):
    variable = _core.Variable(SHAPE)
    variable.assign(values(4))
    (tmp_path / "weights").write_bytes(b"")
    with open(tmp_path / "weights", "rb") as file, pytest.raises(OSError, match="weights"):
        variable.page_out(file.fileno(), 0)
    assert np.array_equal(variable.numpy(), values(4))


def test_assigning_and_reading_in_threads_loses_nothing(variable, tmp_path):
    """Readers drop pages; none of them may drop what a writer has just written."""
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            variable.numpy()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with open(tmp_path / "again", "w+b") as file:
            for number in range(10):
                wanted = np.full(SHAPE, number, np.float32)
                variable.assign(wanted)
                assert np.array_equal(variable.numpy(), wanted)
                variable.page_out(file.fileno(), 0)
                assert np.array_equal(variable.numpy(), wanted)
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def frozen_model() -> tf.Model:
    """A frozen convolution of 9 MB and a head."""
    tf.keras.utils.set_random_seed(3)
    inputs = tf.keras.Input((8, 8, 512))
    conv = tf.keras.layers.Conv2D(512, 3, name="frozen")
    x = conv(inputs)
    conv.trainable = False
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(2, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    return values(5, (12, 8, 8, 512)), np.arange(12) % 2


def fitted(model: tf.Model) -> list[np.ndarray]:
    model.fit(*data(), batch_size=4, epochs=2, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.fixture
def pages_out_everything(monkeypatch):
    monkeypatch.setattr(_features, "_WORTH_A_FILE", 0)


def test_fit_gives_the_same_weights(pages_out_everything, monkeypatch, tmp_path):
    monkeypatch.setenv("TLFAST_CACHE_DIR", str(tmp_path / "cache"))
    paged = fitted(frozen_model())
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["CACHEDIR.TAG"]  # nameless
    monkeypatch.setattr(_features, "_WORTH_A_FILE", 1 << 60)
    for ours, plain in zip(paged, fitted(frozen_model()), strict=True):
        assert np.array_equal(ours, plain)


def test_frozen_weights_can_be_trained_later(pages_out_everything):
    model = frozen_model()
    fitted(model)
    before = model.get_layer("frozen").get_weights()[0]
    model.trainable = True
    model.get_layer("frozen").trainable = True
    model.compile(tf.keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    fitted(model)
    after = model.get_layer("frozen").get_weights()[0]
    assert np.abs(after - before).max() > 0
    fitted(model)
    assert np.abs(model.get_layer("frozen").get_weights()[0] - after).max() > 0


def test_without_room_weights_stay_in_memory(pages_out_everything, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("TLFAST_CACHE_DIR", str(blocked))
    model = frozen_model()
    before = model.get_layer("frozen").get_weights()[0]
    fitted(model)
    assert np.array_equal(model.get_layer("frozen").get_weights()[0], before)
