"""Every application has Keras' layers: names, order, settings, connections, shapes, counts.

tests/reference/layers.json.gz holds Keras' side; tests/reference/make_layers.py writes it.
"""

import gzip
import json
import pathlib

import pytest

from tlfast import applications, backend

REFERENCE = pathlib.Path(__file__).parent / "reference" / "layers.json.gz"
KERAS = json.loads(gzip.decompress(REFERENCE.read_bytes()))


def describe(layer, keys) -> dict:
    """A layer in the form of the reference file."""
    config = layer.get_config()
    row = {
        "name": layer.name,
        "class": type(layer).__name__,
        "settings": {key: config.get(key, "missing from get_config()") for key in keys},
        "inbound": [
            tensor._keras_history.operation.name
            for node in layer.inbound_nodes
            for tensor in node.input_tensors
        ],
        "weights": [[w.name, list(w.shape)] for w in layer.weights],
    }
    return json.loads(json.dumps(row))


def build(name, **arguments):
    backend.clear_session()
    return getattr(applications, name)(weights=None, **arguments)


def count(weights) -> int:
    return sum(weight.size for weight in weights)


@pytest.mark.parametrize("name", sorted(KERAS))
def test_layers_are_those_of_keras(name):
    want = KERAS[name]["top"]
    model = build(name)
    assert model.name == want["name"]
    assert [layer.name for layer in model.layers] == [row["name"] for row in want["layers"]]
    for layer, row in zip(model.layers, want["layers"], strict=True):
        assert describe(layer, row["settings"]) == row
    assert list(model.output_shape) == want["output_shape"]
    assert model.count_params() == want["parameters"]
    assert count(model.trainable_weights) == want["trainable"]


@pytest.mark.parametrize("name", sorted(KERAS))
def test_without_the_classifier_only_the_end_is_missing(name):
    want = KERAS[name]["notop"]
    model = build(name, include_top=False)
    assert [layer.name for layer in model.layers] == want["layers"]
    assert list(model.output_shape) == want["output_shape"]
    assert model.count_params() == want["parameters"]
    assert count(model.trainable_weights) == want["trainable"]


@pytest.mark.parametrize(
    ("name", "avg", "max_"),
    [
        ("ResNet50", "avg_pool", "max_pool"),
        ("DenseNet121", "avg_pool", "max_pool"),
        ("EfficientNetB0", "avg_pool", "max_pool"),
        ("MobileNetV2", "global_average_pooling2d", "global_max_pooling2d"),
        ("VGG16", "global_average_pooling2d", "global_max_pooling2d"),
        ("InceptionV3", "global_average_pooling2d", "global_max_pooling2d"),
        ("Xception", "global_average_pooling2d", "global_max_pooling2d"),
    ],
)
def test_pooling_layers_have_the_names_keras_gives_them(name, avg, max_):
    for pooling, layer_name in (("avg", avg), ("max", max_)):
        model = build(name, include_top=False, pooling=pooling)
        assert model.layers[-1].name == layer_name
        assert len(model.output_shape) == 2


def test_narrow_and_wide_mobilenets_have_the_filters_of_keras():
    # keras.applications.MobileNetV2(alpha=..., include_top=False, weights=None).count_params()
    for alpha, parameters in ((0.35, 410208), (0.5, 706224), (0.75, 1382064), (1.4, 4363712)):
        assert build("MobileNetV2", alpha=alpha, include_top=False).count_params() == parameters
