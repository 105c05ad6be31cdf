"""Memory known before training, and a MemoryError that says what fits."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import tlfast as tf
from tlfast import layers
from tlfast._memory_plan import ALLOWANCE, MB

# Of the peak that is measured: Python's objects and kernel code are no part of the plan.
PREDICTED_WITHIN = 0.08
# Activations of a step through a whole network, of its convolutions' outputs once.
ACTIVATIONS = 1.25
SEVEN = (
    "DenseNet121", "EfficientNetB0", "InceptionV3", "MobileNetV2", "ResNet50", "VGG16", "Xception",
)  # fmt: skip


def network(filters: int = 32, size: int = 64, depth: int = 4) -> tf.Model:
    inputs = tf.Input((size, size, 3))
    x = inputs
    for _ in range(depth):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = tf.Model(inputs, layers.Dense(2, activation="softmax")(x), name="small")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_the_table(capsys):
    plan = network().plan(batch_size=8)
    text = capsys.readouterr().out
    assert text.startswith("Memory to train 'small' on (64, 64, 3) with batch_size=8:")
    assert [line.split("  ")[1] for line in text.splitlines()[1:]] == [
        "activations and scratch", "gradients of weights", "weights",
        "weights as the kernels read them", "optimizer slots", "images read ahead",
        "code and objects", "peak", "lower bound",
    ]  # fmt: skip
    assert repr(plan) == f"<MemoryPlan of 'small': {plan.peak / MB:,.0f} MB with batch_size=8>"
    assert "\n" not in repr(plan)


def test_the_parts():
    model = network()
    plan = model.plan(batch_size=8)
    n_weights = model.count_params()
    n_trained = sum(v.size for v in model.trainable_weights)
    assert plan.weights == 4 * n_weights
    assert 4 * n_trained <= plan.gradients <= 4 * n_trained + 64 * len(model.trainable_weights)
    assert 8 * n_trained <= plan.slots <= 8 * n_trained + 16  # two averages, and the counters
    assert plan.convolutions == 4 * 8 * 64 * 64 * 32 * 4  # layers, images, pixels, filters, bytes
    assert plan.activations > plan.convolutions
    assert plan.peak == (
        plan.activations + plan.gradients + plan.weights + plan.packed_weights + plan.slots
        + plan.pixels + plan.runtime
    )  # fmt: skip
    assert plan.lower_bound == (
        plan.convolutions + plan.gradients + plan.weights + plan.slots + ALLOWANCE
    )


def test_it_grows_with_the_batch_and_shrinks_with_what_is_frozen():
    model = network()
    small, large = model.plan(batch_size=4), model.plan(batch_size=16)
    assert large.convolutions == 4 * small.convolutions
    assert 3 < large.activations / small.activations <= 4.2
    for layer in model.layers[:-3]:
        layer.trainable = False
    frozen = model.plan(batch_size=16)
    assert frozen.activations < large.activations / 3
    assert frozen.gradients < large.gradients / 2


def test_planning_changes_nothing():
    tf.utils.set_random_seed(1)
    planned = network()
    tf.utils.set_random_seed(1)
    other = network()
    planned.plan(batch_size=5)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 64, 64, 3)).astype(np.float32), np.arange(10) % 2
    for model in (planned, other):
        model.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(planned.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.unsanitized
def test_the_peak_is_the_one_measured():
    code = f"""
import numpy as np, tlfast as tf
from tlfast import layers
{inspect.getsource(network)}
def memory(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) << 10
x, y = np.zeros((32, 64, 64, 3), np.float32), np.arange(32) % 2
model = network()
tf.Model(model.inputs, model.outputs).predict(x[:1], verbose=0)  # loads the library
before = memory("VmRSS")
plan = model.plan(batch_size=32)
model.train_on_batch(x, y)
print(memory("VmHWM") - before, plan.peak - plan.weights - plan.pixels - plan.runtime)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    measured, planned = map(int, out.stdout.splitlines()[-1].split())
    assert abs(measured - planned) < PREDICTED_WITHIN * measured


@pytest.mark.parametrize("name", SEVEN)
def test_backward_keeps_little_more_than_the_convolutions(name):
    base = getattr(tf.applications, name)(
        include_top=False, weights=None, input_shape=(224, 224, 3), pooling="avg"
    )
    model = tf.Sequential([base, layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    plan = model.plan(batch_size=16)
    assert plan.packed_weights < MB  # biases: kernels are packed in the arena
    assert plan.activations < ACTIVATIONS * plan.convolutions


@pytest.mark.unsanitized
def test_training_gives_back_what_prediction_packed():
    code = f"""
import numpy as np, tlfast as tf
from tlfast import layers
{inspect.getsource(network)}
def memory():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
x, y = np.zeros((4, 16, 16, 3), np.float32), np.arange(4) % 2
model = network(filters=512, size=16, depth=4)  # three kernels of 9 MB, 38 MB for Winograd
model.train_on_batch(x, y)
before = memory()
model.predict(x, verbose=0)
predicted = memory()
model.train_on_batch(x, y)
print(predicted - before, memory() - before)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packed, left = map(int, out.stdout.splitlines()[-1].split())
    assert packed > 20 * MB
    assert left < packed / 4


@pytest.mark.unsanitized
def test_models_share_the_addresses_that_a_limit_leaves():
    """Under `ulimit -v` the first model does not take all of them."""
    script = """
import resource
import numpy as np
from tlfast import keras

def predicting():
    x = inputs = keras.Input((64, 64, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(64, 3)(x))
    model = keras.Model(inputs, keras.layers.Dense(50_000)(x))
    assert np.isfinite(model.predict(np.ones((1, 64, 64, 3), "f4"), verbose=0)).all()
    return model

kept = [predicting()]
for megabytes in (300, 1030, 4100):
    size = next(int(s.split()[1]) for s in open("/proc/self/status") if s.startswith("VmSize"))
    limit = (size << 10) + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    kept += [predicting() for _ in range(3)]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_too_large_a_batch_is_refused_with_one_that_fits():
    model = network(filters=32, size=16, depth=60)
    rows = 1 << 17  # 258 GB of convolution outputs
    x = np.zeros((rows, 16, 16, 3), np.float32)  # touched by nobody: costs addresses only
    before = model.get_weights()
    with pytest.raises(MemoryError) as caught:
        model.train_on_batch(x, np.zeros(rows))
    text = str(caught.value)
    assert "MB more memory" in text and "MB are available" in text
    fits = int(text.split("batch_size=")[1].split()[0])
    assert 1 <= fits < rows
    from tlfast import _core

    plan = model.plan(batch_size=fits)
    assert plan.activations + plan.gradients <= 1.05 * _core.memory_available()
    for a, b in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    model.train_on_batch(x[:2], np.zeros(2))  # the model is as good as before


def test_wrong_arguments():
    model = network()
    with pytest.raises(ValueError, match="1 or more, got 0"):
        model.plan(batch_size=0)
    with pytest.raises(TypeError, match="whole number, got 2.5"):
        model.plan(batch_size=2.5)
    any_size = tf.Sequential(
        [tf.Input((None, None, 3)), layers.GlobalAveragePooling2D(), layers.Dense(1)]
    )
    with pytest.raises(ValueError, match="compile"):
        any_size.plan()
    any_size.compile("sgd", "mse")
    with pytest.raises(ValueError, match="input_shape="):
        any_size.plan()
    assert any_size.plan(input_shape=(32, 32, 3)).input_shapes == ((32, 32, 3),)
