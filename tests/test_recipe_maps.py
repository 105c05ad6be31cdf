"""Functions given to map(): written down, repeated bit by bit, and never called for nothing."""

import json

import numpy as np
import pytest

import tlfast as tf
from tlfast import keras
from tlfast._recipe import _maps, _schema
from tlfast.applications import efficientnet_lite, mobilenet_v2, resnet50

_scale = 1 / 255
_mean = np.array([103.9, 116.8, 123.7], np.float32)
_rescale = keras.layers.Rescaling(1 / 127.5, offset=-1)
_seen: list[object] = []


def _two_steps(images, labels):
    images = tf.cast(images, tf.float32)
    return images * _scale - _mean, labels


FUNCTIONS = {
    "divide": lambda x, y: (x / 255.0, y),
    "swap": lambda x, y: (y, 1 - x),
    "network": lambda x, y: (mobilenet_v2.preprocess_input(x), y),
    "lite": lambda x, y: (efficientnet_lite.preprocess_input(x), y),
    "unchanged": lambda x, y: (keras.applications.efficientnet.preprocess_input(x), y),
    "attributes": lambda x, y: (keras.applications.resnet50.preprocess_input(x), y),
    "layer": lambda x, y: (_rescale(x), y),
    "cast": lambda x, y: (tf.cast(x, "uint8") + 1, y),
    "def": _two_steps,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_known_operations_are_repeated_bit_by_bit(name, rng):
    function = FUNCTIONS[name]
    steps = json.loads(json.dumps(_maps.traced(function, (None, None))))
    _schema._expression(steps, "function")
    x, y = rng.uniform(0, 255, (3, 4, 5, 3)).astype(np.float32), np.arange(3, dtype=np.int32)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    wanted = list(data.map(function))
    found = list(data.map(_maps.repeated(steps)))
    for pair, other in zip(wanted, found, strict=True):
        for a, b in zip(pair, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_one_array_and_dicts(rng):
    x = rng.random((4, 3)).astype(np.float32)
    steps = _maps.traced(lambda a: {"in": a * 2.0}, None)
    np.testing.assert_array_equal(_maps.repeated(steps)(x)["in"], x * 2)
    steps = _maps.traced(lambda d: d["in"] + 1, {"in": None})
    np.testing.assert_array_equal(_maps.repeated(steps)({"in": x}), x + 1)
    steps = _maps.traced(resnet50.preprocess_input, None)
    assert steps == {"do": "preprocess", "on": {"input": 0}, "mode": "caffe"}


def _noting(x, y):
    _seen.append(x)
    return x, y


def _printing(x, y):
    print("called")
    return x, y


UNKNOWN = {
    "changes a list": _noting,
    "prints": _printing,
    "chance": lambda x, y: (x + np.random.rand(), y),
    "numpy": lambda x, y: (np.sqrt(x), y),
    "constant": lambda x, y: (x, np.zeros(3)),
    "another layer": lambda x, y: (keras.layers.Dense(2)(x), y),
    "inner function": lambda x, y: (x, (lambda v: v)(y)),
    "index": lambda x, y: (x[0], y),
    "condition": lambda x, y: (x if x else y, y),
    "object": print,
    "large array": lambda x, y: (x - np.arange(100), y),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_functions_are_not_recorded(name, capsys):
    state = np.random.get_state()[1].tolist()
    assert _maps.traced(UNKNOWN[name], (None, None)) is None
    assert not _seen and capsys.readouterr().out == ""
    assert np.random.get_state()[1].tolist() == state
