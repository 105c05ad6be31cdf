"""One warning where dropout keeps a frozen network from being computed once."""

import numpy as np
import pytest

from tlfast import FrozenWarning, applications, keras

PIXELS = np.random.default_rng(3).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1])


def lite():
    options = {"include_top": False, "weights": None, "input_shape": (32, 32, 3)}
    return applications.EfficientNetLite0(**options, pooling="avg")


def compiled(inputs, features):
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features), name="mine")
    model.compile("adam", loss="sparse_categorical_crossentropy")
    return model


def on(base, **arguments):
    inputs = keras.Input((32, 32, 3))
    return compiled(inputs, base(inputs, **arguments))


def fit(model, epochs=1):
    return model.fit(PIXELS, LABELS, epochs=epochs, verbose=0)


def test_a_frozen_network_called_without_training_false():
    base = lite()
    base.trainable = False
    model = on(base)
    with pytest.warns(FrozenWarning, match="'mine'.*'efficientnetlite0' are frozen") as seen:
        fit(model, epochs=2)
        fit(model)
    assert len(seen) == 1 and seen[0].filename == __file__
    text = str(seen[0].message)
    assert "as in Keras" in text and "whole pass over 'efficientnetlite0'" in text
    assert "x = base(x, training=False)" in text


def test_training_false_and_trained_networks_are_silent():
    base = lite()
    base.trainable = False
    fit(on(base, training=False))
    fit(on(lite()))
    base.get_layer("top_conv").trainable = True  # trained in part: the dropout is wanted
    fit(on(base))


def test_layers_frozen_one_by_one_under_a_head():
    base = lite()
    for layer in base.layers:
        layer.trainable = False
    model = compiled(base.input, base.output)
    with pytest.warns(FrozenWarning, match="layers of 'mine' are frozen"):
        fit(model)


def test_dropout_behind_the_last_convolution_costs_nothing():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    base = keras.Model(inputs, keras.layers.Dropout(0.5)(x))
    base.trainable = False
    fit(on(base))
    head = keras.layers.Dropout(0.5)
    inputs = keras.Input((32, 32, 3))
    fit(compiled(inputs, head(base(inputs, training=False))))
