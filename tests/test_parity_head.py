"""Ten steps of a new head on a frozen network give Keras' losses and Keras' head.

tests/reference/make_outputs.py wrote the numbers; weights, pictures and labels come from
formula.py on both sides.
"""

import functools
import pathlib

import numpy as np
import pytest
from reference import formula

from tlfast import applications, backend, layers, optimizers
from tlfast.applications import _registry
from tlfast.models import Model

KERAS = np.load(pathlib.Path(__file__).parent / "reference" / "head.npz")
LOSS_TOLERANCE = 1e-4  # relative, every one of the ten losses
HEAD_TOLERANCE = 1e-4  # of the largest weight, after the tenth step
STEPS, BATCH, SIZE, CLASSES = 10, 4, 96, 2
CATEGORICAL, BINARY = "categorical_crossentropy", "binary_crossentropy"
# As in make_outputs.py.
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(learning_rate=1e-4),
    "momentum": lambda: optimizers.SGD(learning_rate=5e-5, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(learning_rate=5e-5, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(learning_rate=1e-4),
}
# Every optimizer on the quickest network; binary_crossentropy on the logits of a softmax, as Keras.
CASES = {
    "ResNet50": [("momentum", CATEGORICAL), ("adam", CATEGORICAL)],
    "MobileNetV2": [*((name, CATEGORICAL) for name in OPTIMIZERS), ("adam", BINARY)],
    "EfficientNetLite0": [("momentum", CATEGORICAL), ("adam", CATEGORICAL)],
}


@functools.cache
def frozen(name: str):
    """Frozen network, pixels, labels."""
    backend.clear_session()
    base = getattr(applications, name)(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    formula.fill(base, name)
    base.trainable = False
    module = getattr(applications, _registry.lookup(name).module)
    pixels = module.preprocess_input(formula.photos(STEPS * BATCH, SIZE, SIZE, seed=2))
    return base, pixels, formula.labels(STEPS * BATCH, CLASSES)


def with_head(base, optimizer: str, loss: str):
    inputs = layers.Input((SIZE, SIZE, 3))
    # training=False: EfficientNet drops whole branches while fit runs, frozen or not.
    features = layers.GlobalAveragePooling2D()(base(inputs, training=False))
    outputs = layers.Dense(CLASSES, activation="softmax", name="head")(features)
    model = Model(inputs, outputs)
    model.get_layer("head").set_weights(formula.head_weights(features.shape[-1], CLASSES))
    model.compile(optimizer=OPTIMIZERS[optimizer](), loss=loss)
    return model


def check_head(model, key: str) -> None:
    kernel, bias = model.get_layer("head").get_weights()
    for got, want in (
        (formula.sample(kernel), KERAS[f"{key}/kernel"]),
        (bias, KERAS[f"{key}/bias"]),
    ):
        assert np.abs(got - want).max() <= HEAD_TOLERANCE * np.abs(want).max()


@pytest.mark.filterwarnings("ignore:.*binary_crossentropy.*:UserWarning")
@pytest.mark.parametrize(
    ("name", "optimizer", "loss"), [(name, *case) for name in CASES for case in CASES[name]]
)
def test_ten_steps(name, optimizer, loss):
    base, x, y = frozen(name)
    key = f"{name}/{optimizer}/{loss}"
    model = with_head(base, optimizer, loss)
    losses = []
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        model.reset_metrics()
        losses.append(model.train_on_batch(x[rows], y[rows]))
    np.testing.assert_allclose(np.array(losses).reshape(-1), KERAS[f"{key}/losses"],
                               rtol=LOSS_TOLERANCE)  # fmt: skip
    check_head(model, key)


@pytest.mark.parametrize("name", CASES)
def test_fit_takes_the_same_steps(name):
    base, x, y = frozen(name)
    key = f"{name}/momentum/categorical_crossentropy"
    model = with_head(base, "momentum", CATEGORICAL)
    history = model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    want = KERAS[f"{key}/losses"].mean()
    assert history.history["loss"][0] == pytest.approx(want, rel=LOSS_TOLERANCE)
    check_head(model, key)
