"""Weights and pictures by formula, the same numbers on both sides of a comparison.

The makers of the reference files run this with Keras, the tests run it with tlfast, so no weight
file has to be stored. Nothing here imports either of them. Every array comes from the legacy
Mersenne Twister stream of NumPy (frozen for good), seeded by the names and the shape, computed in
float64 and rounded once.

The recipe keeps every value of order 1 through the whole depth, with batch-norm statistics that
are not those of the data (variance 0.5 to 2, mean +-0.1, gamma 0.5 to 1.5), so a wrong epsilon, a
swapped pair of statistics or a misplaced pad shows far above the tolerances.
"""

import hashlib
import math

import numpy as np

# Per application: size of the input after its preprocess_input (the first convolution divides by
# it), and a factor on the last convolution of a residual branch, without which sixteen additions
# would multiply the values by 2^8. Both were chosen so that features come out of order 1.
SCALES = {
    "ResNet50": (128.0, 0.125),
    "VGG16": (64.0, 1.0),
    "MobileNetV2": (0.25, 0.65),
    "InceptionV3": (0.0625, 1.0),
    "Xception": (2.0, 0.125),
    "EfficientNetLite0": (0.25, 0.65),
    "EfficientNetB0": (1.0, 1.3),  # each squeeze and excitation halves the values
}
RESIDUAL_ENDS = ("_3_conv", "_project", "_project_conv", "_sepconv3")


def weight(
    layer: str, name: str, shape: tuple[int, ...], scales: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """The float32 array of one weight.

    Args:
        layer: name of the layer.
        name: name of the weight inside it, as Keras calls it: kernel, gamma, moving_mean, ...
        shape: its shape, Keras' order.
        scales: the application's entry of SCALES.
    """
    shape = tuple(int(side) for side in shape)
    digest = hashlib.sha256(f"{layer}/{name}/{shape}".encode()).digest()
    stream = np.random.RandomState(int.from_bytes(digest[:4], "little"))
    unit = stream.random_sample(shape)  # [0, 1)
    if name in ("kernel", "depthwise_kernel", "pointwise_kernel"):
        values = (2.0 * unit - 1.0) * math.sqrt(3.0) * kernel_std(layer, name, shape, scales)
    elif name == "gamma":
        values = 0.5 + unit
    elif name == "moving_variance":
        values = 0.5 + 1.5 * unit
    elif name in ("beta", "moving_mean", "bias"):
        values = 0.2 * unit - 0.1
    elif name == "mean":  # Normalization
        values = 0.4 + 0.1 * unit
    elif name == "variance":
        values = 0.04 + 0.04 * unit
    elif name == "count":
        values = np.zeros(shape)
    else:
        raise ValueError(f"no formula for the weight {name!r} of layer {layer!r}")
    return values.astype(np.float32)


def kernel_std(layer: str, name: str, shape: tuple[int, ...], scales: tuple[float, float]) -> float:
    """He's standard deviation for the inputs of one output value, with the exceptions above."""
    depthwise = len(shape) == 4 and (name == "depthwise_kernel" or shape[3] == 1)
    fan_in = shape[0] * shape[1] if depthwise else math.prod(shape[:-1])
    input_scale, residual_gain = scales
    # No activation follows a classifier's kernel or the depthwise half of a separable convolution.
    gain = 1.0 if len(shape) == 2 or name == "depthwise_kernel" else math.sqrt(2.0)
    if layer.endswith(RESIDUAL_ENDS):
        gain *= residual_gain
    if len(shape) == 4 and shape[2] == 3 and not depthwise:
        gain /= input_scale
    return gain / math.sqrt(fan_in)


def fill(model: object, application: str) -> None:
    """Sets every weight of a Keras or tlfast model by formula (nested models are left alone)."""
    scales = SCALES.get(application, (1.0, 1.0))
    for layer in model.layers:
        if layer.weights and not hasattr(layer, "layers"):
            layer.set_weights(
                [weight(layer.name, w.name, tuple(w.shape), scales) for w in layer.weights]
            )


def head_weights(features: int, classes: int) -> list[np.ndarray]:
    """Kernel and bias of the Dense head that the frozen-head steps start from."""
    return [
        weight("head", "kernel", (features, classes)),
        weight("head", "bias", (classes,)),
    ]


def photos(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Float32 pictures (count, height, width, 3) of whole numbers 0 to 255.

    Smooth colour gradients and waves of a few scales plus a little noise: neighbouring pixels
    agree as in a photograph, and no two pictures look alike.
    """
    y = np.linspace(0.0, 1.0, height)[:, None, None]
    x = np.linspace(0.0, 1.0, width)[None, :, None]
    pictures = np.empty((count, height, width, 3), np.float32)
    for index in range(count):
        stream = np.random.RandomState((seed * 1000003 + index) % 2**32)
        picture = 128.0 + 70.0 * (2.0 * stream.random_sample((1, 1, 3)) - 1.0)
        for frequency in (1.0, 3.0, 8.0, 21.0, 50.0):
            angle, phase, size = stream.random_sample((3, 1, 1, 3))
            direction = x * np.cos(6.0 * angle) + y * np.sin(6.0 * angle)
            picture = picture + 60.0 * size * np.sin(6.2831853 * (frequency * direction + phase))
        picture = picture + 16.0 * (stream.random_sample((height, width, 3)) - 0.5)
        pictures[index] = np.clip(np.rint(picture), 0.0, 255.0)
    return pictures


def labels(count: int, classes: int, seed: int = 0) -> np.ndarray:
    """One-hot float32 labels (count, classes), every class about equally often, in mixed order."""
    order = np.random.RandomState(seed).permutation(count)
    return np.eye(classes, dtype=np.float32)[order % classes]


def sample(values: np.ndarray, count: int = 512) -> np.ndarray:
    """About `count` entries of an array of any size, spread over all its axes."""
    flat = np.asarray(values).reshape(-1)
    step = max(1, flat.size // count)
    while step > 1 and math.gcd(step, values.shape[-1]) > 1:
        step += 1  # a step that shares a factor with the channels would visit few of them
    return flat[::step]
