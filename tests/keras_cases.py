"""Models that tlfast and Keras both build, for comparing names, configs and summaries.

Run by Keras to write the expectations: `python tests/make_keras_cases.py`.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np


def plain(k: Any) -> Any:
    """A chain of layers with activations, pooling and dropout."""
    layers = k.layers
    x = inputs = layers.Input((32, 24, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D()(x)
    x = layers.DepthwiseConv2D((3, 5), depth_multiplier=2, use_bias=False)(x)
    x = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2)(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(10, kernel_initializer="he_normal", kernel_regularizer="l2")(x)
    outputs = layers.Activation("softmax")(x)
    return k.models.Model(inputs, outputs, name="plain")


def branches(k: Any) -> Any:
    """Branches of different depth, merges, a shared layer, unknown sizes."""
    layers = k.layers
    inputs = layers.Input((None, None, 3), name="image")
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    a = layers.Conv2D(3, 1)(inputs)
    a = layers.BatchNormalization(scale=False)(a)
    b = layers.ZeroPadding2D(((0, 1), (2, 3)))(inputs)
    b = layers.Cropping2D(((0, 1), (2, 3)))(b)
    c = shared(layers.ReLU()(a))
    d = shared(b)
    x = layers.Add()([c, d])
    x = layers.Concatenate()([x, layers.AveragePooling2D(3, 1, "same")(c), d])
    s = layers.GlobalAveragePooling2D()(x)
    s = layers.Reshape((1, 1, 12))(s)
    s = layers.Conv2D(12, 1, activation="sigmoid")(s)
    x = layers.multiply([x, s])
    y = layers.GlobalMaxPooling2D(keepdims=True)(x)
    z = layers.Dense(2)(layers.Flatten()(y))
    return k.models.Model(inputs, [z, x])


def nested(k: Any) -> Any:
    """Augmentation, a frozen base called with training=False, a head."""
    layers, models = k.layers, k.models
    base_in = layers.Input((None, None, 3))
    t = layers.Conv2D(4, 3)(base_in)
    t = layers.BatchNormalization()(t)
    t = layers.Activation("relu")(t)
    base = models.Model(base_in, t, name="base")
    base.trainable = False
    augment = models.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.2)]
    )
    inputs = layers.Input(shape=(16, 16, 3))
    x = augment(inputs)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2, seed=3)(x)
    outputs = layers.Dense(1, activation="sigmoid")(x)
    return models.Model(inputs=inputs, outputs=outputs)


def sequential(k: Any) -> Any:
    """Layers added one by one, one of them a model."""
    layers, models = k.layers, k.models
    inner = models.Sequential([layers.Input((14, 14, 4)), layers.Conv2D(2, 3, name="deep")])
    model = models.Sequential(name="stack")
    model.add(layers.Input((16, 16, 3)))
    model.add(layers.Conv2D(4, 3))
    model.add(layers.LeakyReLU(0.1))
    model.add(inner)
    model.add(layers.SpatialDropout2D(0.1))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(2, name="head"))
    model.add(layers.Softmax())
    return model


def arithmetic(k: Any) -> Any:
    """preprocess_input inside a model: numbers, per-channel numbers, reversed channels."""
    layers = k.layers
    inputs = layers.Input((8, 8, 3))
    x = inputs[..., ::-1]
    x = x / 127.5 - 1
    x = 2 * x + 0.5
    x = 1 - x
    x = -x
    y = layers.Conv2D(3, 1)(x)
    x = x + y
    x = x * y - y
    return k.models.Model(inputs, layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6])(x))


def inside(k: Any) -> Any:
    """A model that ends at a layer inside another one, and one that starts there."""
    layers, models = k.layers, k.models
    whole = plain(k)
    head = models.Model(whole.layers[3].output, whole.output, name="upper")
    features = models.Model(whole.input, whole.get_layer("max_pooling2d").output, name="lower")
    inputs = layers.Input((32, 24, 3))
    return models.Model(inputs, head(features(inputs)))


def mixed_flags(k: Any) -> Any:
    """Flags set in several orders on nested models."""
    model = nested(k)
    model.get_layer("base").layers[1].trainable = True
    model.layers[-1].trainable = False
    return model


CASES: dict[str, Callable] = {
    f.__name__: f
    for f in (plain, branches, nested, sequential, arithmetic, inside, mixed_flags)
}
SUMMARIES: dict[str, dict] = {
    "default": {},
    "expanded": {"expand_nested": True, "show_trainable": True},
    "narrow": {"line_length": 60},
    "wide": {"line_length": 79, "positions": [0.5, 0.7, 0.8, 1.0]},
}


def flags(model: Any) -> list:
    """The names and trainable flags of all layers, models inside as nested lists."""
    return [[x.name, x.trainable, flags(x) if hasattr(x, "layers") else []] for x in model.layers]


def set_numbers(model: Any) -> np.ndarray:
    """Give a model fixed weights and return two fixed images for it."""
    rng = np.random.default_rng(0)
    weights = []
    for variable in model.weights:
        values = rng.normal(size=tuple(variable.shape)).astype("float32") * 0.2
        weights.append(np.abs(values) + 0.5 if "variance" in variable.path else values)
    model.set_weights(weights)
    return rng.normal(size=(2, *(size or 13 for size in model.input_shape[1:]))).astype("float32")


def digest(outputs: Any) -> list:
    """Some numbers of the outputs: shape, mean square, and 10 values spread over each."""
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [[list(y.shape), float(np.square(y, dtype=np.float64).mean()),
             [float(v) for v in y.reshape(-1)[:: max(1, y.size // 10)][:10]]] for y in outputs]


def describe(k: Any, case: str) -> dict:
    """Build a case and return everything that must be equal."""
    k.backend.clear_session(free_memory=False)
    model = CASES[case](k)
    result = {
        "json": json.loads(model.to_json()),
        "layers": [[x.name, type(x).__name__, x.count_params()] for x in model.layers],
        "weights": [[v.path, list(v.shape), bool(v.trainable)] for v in model.weights],
        "trainable": [v.path for v in model.trainable_weights],
        "flags": flags(model),
        "summary": {},
    }
    for name, arguments in SUMMARIES.items():
        if name == "wide" and type(model).__name__ != "Sequential" and case not in (
            "branches", "arithmetic"
        ):
            continue
        if name == "wide" and type(model).__name__ == "Sequential":
            arguments = {"line_length": 79, "positions": [0.5, 0.7, 1.0]}
        parts: list[str] = []
        model.summary(print_fn=parts.append, **arguments)
        result["summary"][name] = "".join(parts)
    return result
