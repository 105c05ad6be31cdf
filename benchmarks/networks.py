"""The networks that both sides build, and weights by formula so that both compute the same."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

SIZE = 224
NAMES = (
    "VGG16", "ResNet50", "InceptionV3", "Xception", "DenseNet121", "MobileNetV2", "EfficientNetB0",
)  # fmt: skip
DROP_CONNECT = 0.2  # Keras' default for its EfficientNets, and that of tlfast's Lite ones
# EfficientNet-B0's table (Tan and Le, 2019): kernel, repeats, filters, expansion, stride.
LITE0 = (
    (3, 1, 16, 1, 1), (3, 2, 24, 6, 2), (5, 2, 40, 6, 2), (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1), (5, 4, 192, 6, 2), (3, 1, 320, 6, 1),
)  # fmt: skip


def weight(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a weight by its name: non-trivial batch norm, activations that stay of order 1."""
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    kind = path.rsplit("/", 1)[-1]
    if kind in ("moving_variance", "variance"):
        values = rng.uniform(0.5, 2, shape)
    elif kind in ("moving_mean", "mean"):
        values = rng.uniform(-0.1, 0.1, shape)
    elif kind == "gamma":
        values = rng.uniform(0.5, 1.5, shape)
    elif kind == "count":  # of a Normalization
        values = np.ones(shape)
    elif kind in ("beta", "bias"):
        values = rng.uniform(-0.1, 0.1, shape)
    else:
        depthwise = len(shape) == 4 and ("dwconv" in path or "depthwise" in path)
        fan_in = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
        values = rng.normal(0, np.sqrt(1.2 / fan_in), shape)
    return values.astype(np.float32)


def fill(model: Any) -> None:
    """Gives every layer of a model, or one layer, its weights by formula."""
    for layer in getattr(model, "layers", [model]):
        if layer.weights:
            kinds = [w.name.rsplit("/", 1)[-1].split(":")[0] for w in layer.weights]
            shapes = [tuple(w.shape) for w in layer.weights]
            layer.set_weights(
                [weight(f"{layer.name}/{k}", s) for k, s in zip(kinds, shapes, strict=True)]
            )


def classifier(keras: Any, name: str, classes: int = 1000) -> Any:
    """A network of `keras.applications` at 224x224 with a softmax head, weights by formula."""
    keras.backend.clear_session()  # weights go by names, and some names by a running number
    found = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    x = keras.layers.GlobalAveragePooling2D(name="gap")(found.output)
    x = keras.layers.Dense(classes, activation="softmax", name="head")(x)
    model = keras.Model(found.input, x)
    fill(model)
    return model


def frozen_classifier(keras: Any, name: str, classes: int) -> Any:
    """The same with a frozen network, as Keras' guide to transfer learning builds it."""
    keras.backend.clear_session()
    frozen = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    fill(frozen)
    frozen.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D(name="gap")(frozen(inputs, training=False))
    head = keras.layers.Dense(classes, activation="softmax", name="head")
    model = keras.Model(inputs, head(x))
    fill(head)
    return model


def base(keras: Any, name: str) -> Any:
    """ResNet50 or EfficientNet-Lite0 without top at 224x224, weights by formula."""
    if name == "resnet50":
        model = keras.applications.ResNet50(
            include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
        )
    elif hasattr(keras.applications, "EfficientNetLite0"):
        model = keras.applications.EfficientNetLite0(
            include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
        )
    else:
        model = keras_lite0(keras)
    fill(model)
    return model


def prepared(keras: Any, name: str, inputs: Any) -> Any:
    """What the network wants of pixels; the article gives ResNet50 plain pixels."""
    return inputs if name == "resnet50" else keras.layers.Rescaling(1 / 128, -127 / 128)(inputs)


def applied(name: str, network: Any, x: Any) -> Any:
    """The frozen network as scripts call it: plainly where that is deterministic, and with
    `training=False` (Keras' guide to transfer learning) where drop-connect would be active."""
    return network(x) if name == "resnet50" else network(x, training=False)


def keras_lite0(keras: Any) -> Any:
    """EfficientNet-Lite0 with Keras' layers: its EfficientNet without squeeze, swish, scaling."""
    layers = keras.layers

    def unit(x: Any, make: Callable[[], Any], norm: str, activation: str | None) -> Any:
        x = layers.BatchNormalization(name=norm)(make()(x))
        return layers.ReLU(6.0, name=activation)(x) if activation else x

    def conv(name: str, filters: int, kernel: int = 1, strides: int = 1) -> Callable[[], Any]:
        return lambda: layers.Conv2D(
            filters, kernel, strides, padding="same", use_bias=False, name=name
        )

    def depthwise(name: str, kernel: int, strides: int) -> Callable[[], Any]:
        return lambda: layers.DepthwiseConv2D(
            kernel, strides, padding="same", use_bias=False, name=name
        )

    inputs = keras.Input((SIZE, SIZE, 3))
    blocks, block = sum(repeats for _, repeats, *_ in LITE0), 0
    x = unit(inputs, conv("stem_conv", 32, 3, 2), "stem_bn", "stem_activation")
    for stage, (kernel, repeats, filters, expansion, stride) in enumerate(LITE0, 1):
        for repeat in range(repeats):
            n = f"block{stage}{'abcd'[repeat]}_"
            strides, skip = (stride if repeat == 0 else 1), x
            if expansion > 1:
                wide = x.shape[-1] * expansion
                x = unit(x, conv(n + "expand_conv", wide), n + "expand_bn", n + "expand_act")
            x = unit(x, depthwise(n + "dwconv", kernel, strides), n + "bn", n + "act")
            x = unit(x, conv(n + "project_conv", filters), n + "project_bn", None)
            if repeat:
                rate = DROP_CONNECT * block / blocks
                x = layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=n + "drop")(x)
                x = layers.add([x, skip], name=n + "add")
            block += 1
    x = unit(x, conv("top_conv", 1280), "top_bn", "top_activation")
    return keras.Model(inputs, x, name="efficientnetlite0")
