"""Fork after fit, spawned and forked pools that predict, two threads that train."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tlfast
from tlfast import layers, utils


def model_of(seed: int):
    """A small convolutional model with weights by seed, compiled."""
    rng = np.random.default_rng(seed)
    model = tlfast.Sequential([
        tlfast.Input((16, 16, 3)), layers.Conv2D(8, 3, activation="relu"),
        layers.BatchNormalization(), layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    weights = [rng.normal(0, 0.1, w.shape).astype("f4") for w in model.get_weights()]
    weights[5] = np.abs(weights[5]) + 1  # the moving variance
    model.set_weights(weights)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def data_of(seed: int):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(48, 16, 16, 3)).astype("f4"), rng.integers(0, 3, 48)


def train(seed: int) -> list[np.ndarray]:
    """Weights after two epochs, and the predictions."""
    model = model_of(seed)
    x, y = data_of(seed)
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return [*model.get_weights(), model.predict(x, verbose=0)]


def predict(seed: int) -> np.ndarray:
    return model_of(seed).predict(data_of(seed)[0], verbose=0)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def in_child(action) -> bytes:
    """What a forked child returns, as bytes; fails after a while instead of hanging."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(receive)
            os.write(send, action())
            code = 0
        finally:
            os._exit(code)
    os.close(send)
    killer = threading.Timer(60, os.kill, (child, 9))
    killer.start()
    try:
        parts = []
        while part := os.read(receive, 65536):
            parts.append(part)
        _, status = os.waitpid(child, 0)
    finally:
        killer.cancel()
        os.close(receive)
    assert status == 0, f"the child ended with {status}"
    return b"".join(parts)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_after_fit_predicts_and_trains():
    model, (x, y) = model_of(1), data_of(1)
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    want = model.predict(x, verbose=0)
    assert in_child(lambda: model.predict(x, verbose=0).tobytes()) == want.tobytes()

    def goes_on() -> bytes:
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        return model.predict(x, verbose=0).tobytes()

    trained = in_child(goes_on)
    # What the child does is the child's; the parent goes on from where it was, to the same bits.
    assert np.array_equal(model.predict(x, verbose=0), want)
    assert goes_on() == trained


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_predict_and_train(method):
    want, trained = predict(2), train(3)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        answers = [pool.submit(predict, 2) for _ in range(3)]
        trainings = [pool.submit(train, 3) for _ in range(2)]
        for answer in answers:
            assert np.array_equal(answer.result(timeout=120), want)
        for training in trainings:
            assert same(training.result(timeout=120), trained)


def train_with_chance(seed: int) -> list[np.ndarray]:
    """Weights after two epochs with drawn weights, flips, dropout and order; two threads."""
    tlfast.set_num_threads(2)
    utils.set_random_seed(seed)
    model = tlfast.Sequential([
        tlfast.Input((16, 16, 3)), layers.RandomFlip("horizontal"), layers.RandomZoom(0.2),
        layers.Conv2D(8, 3, activation="relu"), layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(), layers.Dropout(0.3),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = data_of(7)
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history["loss"]
    tlfast.set_num_threads(0)
    return [*model.get_weights(), np.array(history)]


def test_the_same_seed_gives_the_same_bits():
    """In this process again, and in a new one."""
    first = train_with_chance(8)
    assert same(train_with_chance(8), first)
    assert not same(train_with_chance(9), first)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert same(pool.submit(train_with_chance, 8).result(timeout=120), first)


def test_two_threads_train_two_models():
    want = [train(seed) for seed in (4, 5)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for got, serial in zip(pool.map(train, (4, 5)), want, strict=True):
            assert same(got, serial)


LOSSES = """
import numpy as np, test_processes
model, (x, y) = test_processes.model_of(6), test_processes.data_of(6)
history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
print(*map(float, history.history["loss"]))
"""


@pytest.mark.parametrize(
    "variable", ["OMP_NUM_THREADS=1", "OMP_DYNAMIC=true", "OMP_THREAD_LIMIT=1"]
)
def test_variables_of_openmp(variable):
    """The same losses, or one clear error that names the variable."""
    model, (x, y) = model_of(6), data_of(6)
    want = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"]
    name, value = variable.split("=")
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", LOSSES], capture_output=True, text=True, timeout=120,
        env={**os.environ, name: value, "PYTHONPATH": path},
    )  # fmt: skip
    if done.returncode:
        assert name in done.stderr.strip().splitlines()[-1]
    else:
        assert [float(v) for v in done.stdout.split()] == pytest.approx(want, rel=1e-6)
