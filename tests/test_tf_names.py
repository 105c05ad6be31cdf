"""The few tf.* names: same results as TensorFlow's, and a sentence for every other name."""

import subprocess
import sys

import numpy as np
import pytest

from tlfast import _tf
from tlfast.data._random import _GlobalSeed
from tlfast.data.batch import BatchArray

tf = type("tf", (), {"__getattr__": lambda self, name: _tf.lookup(name)})()


def test_argmax_takes_the_first_axis_by_default():
    x = np.array([[1, 9, 3], [4, 5, 6]])
    assert tf.argmax(x).numpy().tolist() == [1, 0, 1]
    assert tf.argmax(x, axis=1).tolist() == [1, 2]
    assert tf.argmax(x, axis=-1).dtype == np.int64


def test_shapes_and_types():
    x = np.ones((2, 3), np.float32)
    assert tf.expand_dims(x, 0).shape == (1, 2, 3)
    assert tf.squeeze(tf.expand_dims(x, 0)).shape == (2, 3)
    assert tf.cast([1.7, -1.7], tf.int32).tolist() == [1, -1]
    assert tf.cast(x, "float16").dtype == np.float16
    assert tf.convert_to_tensor([1.5]).dtype == np.float32
    assert tf.constant([1]).dtype == np.int32
    assert isinstance(tf.cast(x, tf.uint8), BatchArray)
    assert x[tf.newaxis].shape == (1, 2, 3)


def test_where():
    assert tf.where(np.array([0.2, 0.7]) < 0.5, 0, 1).numpy().tolist() == [0, 1]
    assert tf.where(np.array([True, False, True])).tolist() == [[0], [2]]
    with pytest.raises(ValueError, match="both x and y"):
        tf.where([True], 1)


def test_reductions_keep_the_type():
    assert float(tf.reduce_mean([1.0, 2.0]).numpy()) == 1.5
    assert tf.reduce_mean(np.array([1, 2], np.int32)).numpy() == 1  # as TensorFlow: integers
    assert tf.reduce_sum(np.ones((2, 3), np.uint8), axis=0).tolist() == [2, 2, 2]
    assert tf.reduce_max([[1.0, 3.0]], axis=-1, keepdims=True).shape == (1, 1)


def test_softmax_and_sigmoid():
    x = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    np.testing.assert_allclose(tf.nn.softmax(x), [[1, 0], [0, 1]])
    np.testing.assert_allclose(tf.nn.sigmoid(x[:, 0]), [1, 0])
    np.testing.assert_allclose(tf.nn.sigmoid([0.5]), 1 / (1 + np.exp(-0.5)), rtol=1e-6)
    assert tf.nn.softmax(np.zeros((1, 2), np.float32)).dtype == np.float32
    with pytest.raises(TypeError, match="tf.cast"):
        tf.nn.softmax([1, 2])


def test_devices_and_seed(monkeypatch):
    assert tf.config.list_physical_devices("GPU") == []
    (device,) = tf.config.list_physical_devices()
    assert device.device_type == "CPU"
    monkeypatch.setattr(_GlobalSeed, "seed", None)
    monkeypatch.setattr(_GlobalSeed, "stream", None)
    tf.random.set_seed(4)
    assert _GlobalSeed.seed == 4


@pytest.mark.parametrize(("look", "text"), [
    (lambda: tf.argmaxx, "no 'argmaxx'.*Did you mean 'argmax'"),
    (lambda: tf.function, "covers Keras and the few TensorFlow names"),
    (lambda: tf.nn.relu, "no 'nn.relu'"),
    (lambda: tf.config.list_physical_device, "Did you mean 'list_physical_devices'"),
])
def test_other_names_raise_a_sentence(look, text):
    with pytest.raises(AttributeError, match=text):
        look()


def test_importing_these_modules_brings_in_nothing_heavy():
    code = (
        "import sys, tlfast._tf, tlfast.data, tlfast.utils, tlfast.preprocessing.image;"
        "print([m for m in ('PIL', 'h5py', 'scipy', 'tensorflow') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
