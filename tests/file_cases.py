"""The models of test_file_matrix.py, built by the same lines in Keras and in tlfast.

`keras` is the package that builds them. Nothing here imports either of them.
"""

from typing import Any

import numpy as np
from reference import formula, gradient_cases

CLASSES = 4
BATCH = 8
# Side of the pictures: the smallest at which the last feature map has several pixels, so that
# the statistics of batch normalization in the step are well conditioned.
SIDES = {
    "VGG16": 48, "ResNet50": 96, "InceptionV3": 107, "Xception": 96, "DenseNet121": 96,
    "MobileNetV2": 96, "EfficientNetB0": 96,
}  # fmt: skip
FORMS = ("nested", "flat")
SMALL = ("sequential", "augmented", "arithmetic")
CASES = (*(f"{network} {form}" for network in SIDES for form in FORMS), *SMALL)


def side(case: str) -> int:
    """Height and width of the pictures of a case."""
    return SIDES.get(case.split()[0], 32)


def data(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures 0 to 255 and one-hot labels."""
    return formula.photos(BATCH, side(case), side(case)), formula.labels(BATCH, CLASSES)


def build(keras: Any, case: str) -> Any:
    """The model of a case, its weights set by formula, not compiled."""
    keras.backend.clear_session()  # the weights of layers without names of their own go by number
    network, _, form = case.partition(" ")
    inputs = keras.Input((side(case), side(case), 3), name="photo")
    if form:
        model = _network(keras, network, form, inputs)
    else:
        model = {"sequential": _sequential, "augmented": _augmented, "arithmetic": _arithmetic}[
            case
        ](keras, inputs)
    fill(model, network)
    finalize(model)
    return model


def _network(keras: Any, network: str, form: str, inputs: Any) -> Any:
    """A backbone with a head: half frozen as a model inside, or in one graph and all trained.

    EfficientNetB0 drops whole blocks at random; without that its steps can be compared.
    """
    make = getattr(keras.applications, network)
    x = inputs
    if network != "EfficientNetB0":  # which scales pixels itself
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    if form == "nested":
        base = make(weights=None, include_top=False, input_shape=tuple(inputs.shape[1:]))
        half_frozen(base)
        x = base(x)
    else:
        x = make(weights=None, include_top=False, input_tensor=x).output
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(CLASSES, activation="softmax", name="head")(x)
    model = keras.Model(inputs, x)
    gradient_cases.without_dropout(base.layers if form == "nested" else model.layers)
    return model


def half_frozen(base: Any) -> None:
    """Freeze the first half of a model's layers."""
    for layer in base.layers[: len(base.layers) // 2]:
        layer.trainable = False


def flip_frozen(model: Any) -> None:
    """Freeze what is trained and train what is frozen, in a model inside if there is one."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            flip_frozen(layer)
        elif layer.weights:
            layer.trainable = not layer.trainable


def _sequential(keras: Any, inputs: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            inputs,
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv"),
            layers.BatchNormalization(momentum=0.9, name="bn"),
            layers.ReLU(),
            layers.SeparableConv2D(12, 3, activation="swish", name="separable"),
            layers.BatchNormalization(scale=False, trainable=False, name="frozen_bn"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="relu", kernel_regularizer="l2", name="hidden"),
            layers.Dense(CLASSES, activation="softmax", name="head"),
        ],
        name="stack",
    )


def _augmented(keras: Any, inputs: Any) -> Any:
    """Augmentation as a model inside, a frozen base, dropout: the script of the tutorials."""
    layers = keras.layers
    augmentation = keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.2),
            layers.RandomZoom(0.1),
        ],
        name="augmentation",
    )
    pixels = keras.Input(tuple(inputs.shape[1:]))
    x = layers.Conv2D(6, 3, strides=2, name="conv")(pixels)
    x = layers.BatchNormalization(name="bn")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    base = keras.Model(pixels, layers.Add(name="sum")([x, y]), name="base")
    base.trainable = False
    x = layers.Rescaling(1 / 127.5, offset=-1)(augmentation(inputs))
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="head")(x))


def _arithmetic(keras: Any, inputs: Any) -> Any:
    """Operations in the graph, two of a class that is also a layer's, and a layer used twice."""
    layers = keras.layers
    x = inputs[..., ::-1] / 127.5 - 1.0
    shared = layers.Conv2D(5, 3, padding="same", activation="relu", name="shared")
    first = layers.Conv2D(5, 1, name="first")(x)
    second = shared(shared(first))
    x = layers.Subtract()([first, second]) * 0.5 + layers.Add()([first, second])
    x = keras.activations.relu(1.0 - x)
    x = layers.GlobalMaxPooling2D()(x * np.array([1, 2, 1, 0.5, 1], np.float32))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="head")(-x))


def fill(model: Any, network: str = "") -> None:
    """Set all weights by formula; names of layers and shapes decide, as in reference/."""
    scales = (1.0, formula.SCALES.get(network, (1.0, 1.0))[1])
    for layer in model.layers:
        if hasattr(layer, "layers"):
            fill(layer, network)
        elif layer.weights:
            layer.set_weights(
                [formula.weight(layer.name, w.name, tuple(w.shape), scales) for w in layer.weights]
            )


def finalize(model: Any) -> None:
    """Make Keras' Normalization layers use their weights, of which they keep a copy.

    Keras forgets it for layers inside models when it reads an .h5 file, its own ones too.
    """
    for layer in model.layers:
        if hasattr(layer, "layers"):
            finalize(layer)
        elif hasattr(layer, "finalize_state"):
            layer.finalize_state()


def compile_model(keras: Any, model: Any, case: str) -> None:
    """Adam where a part is trained, SGD with momentum for whole networks."""
    optimizer: Any
    if case.endswith("flat"):
        optimizer = keras.optimizers.SGD(learning_rate=1e-3, momentum=0.9)
    else:  # the large epsilon keeps rounding in gradients of almost nothing out of the steps
        optimizer = keras.optimizers.Adam(learning_rate=2e-3, epsilon=1e-2, clipnorm=5.0)
    model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"])


def trained(keras: Any, case: str) -> Any:
    """The model of a case after one step, with another learning rate than it was made with."""
    model = build(keras, case)
    compile_model(keras, model, case)
    step(model, case)
    model.optimizer.learning_rate = 5e-4
    return model


def step(model: Any, case: str) -> float:
    """One training step; the loss."""
    model.run_eagerly = True  # in Keras; tracing a network takes longer than a few steps
    return float(np.ravel(model.train_on_batch(*data(case)))[0])


def predict(model: Any, case: str) -> np.ndarray:
    """The outputs for the pictures of a case."""
    return np.asarray(model(data(case)[0], training=False))


def weights(model: Any) -> list[np.ndarray]:
    """All weights in the order of the graph, whatever is frozen."""
    found: list[np.ndarray] = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found += weights(layer)
        else:
            found += layer.get_weights()
    return found


def optimizer_state(model: Any) -> list[np.ndarray]:
    """The optimizer's variables: iteration, learning rate, slots."""
    return [np.array(getattr(v, "numpy", lambda v=v: v)()) for v in model.optimizer.variables]


def describe(model: Any, case: str, stepping: bool = True) -> dict[str, np.ndarray]:
    """What a file must bring back: predictions, weights, optimizer and, by a step, their use."""
    found = {"predictions": predict(model, case)}
    found |= {f"weight {i}": w for i, w in enumerate(weights(model))}
    found |= {f"state {i}": v for i, v in enumerate(optimizer_state(model))}
    if stepping and case != "augmented":  # whose steps are random
        found["loss"] = np.array(step(model, case))
        found |= {f"stepped {i}": w for i, w in enumerate(weights(model))}
    return found
