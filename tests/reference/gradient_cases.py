"""What make_gradients.py and test_parity_gradients.py must agree on: networks, data, sketches.

Nothing here imports Keras or tlfast.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

# Steps of every data seed, and of the first one in float32.
STEPS, LONG = 3, 10
SEEDS = (0, 1, 2)
CLASSES = 2
# Signed sums per array, and entries kept of it. A prime, so that the sums mix all channels.
SUMS, ENTRIES = 23, 12
STATISTIC_SUMS, STATISTIC_ENTRIES = 1, 5


@dataclasses.dataclass(frozen=True)
class Case:
    """A network with its data; weights and pictures come from formula.py.

    Attributes:
        network: name of the application.
        rate: learning rate of the steps; about 0.05 / |gradient|^2, so that a step lowers the loss
            by some hundredths. At 0.01 the second loss of most is Keras' own noise.
        size: height and width of the pictures. InceptionV3 at 96 would end in maps of one point.
        batch: pictures per step.
        shift: subtracted from the pixels.
        scale: divides them then.
        frozen: part of the network's layers, from the first, that are not trainable.
    """

    network: str
    rate: float
    size: int = 96
    batch: int = 8
    shift: float = 127.5
    scale: float = 127.5
    frozen: float = 0.0

    @property
    def name(self) -> str:
        return self.network + ("/half frozen" if self.frozen else "")


WHOLE = (
    Case("MobileNetV2", rate=2.5e-5),
    Case("ResNet50", shift=120.0, scale=1.0, rate=1.5e-10),  # conv1 sees pixels of +-128
    Case("VGG16", batch=4, shift=120.0, scale=1.0, rate=3.5e-5),
    Case("EfficientNetB0", shift=0.0, scale=1.0, rate=7e-4),
    Case("DenseNet121", rate=1.5e-4),
    Case("Xception", rate=2.5e-4),
    Case("InceptionV3", size=107, rate=4e-7),
)
HALF_FROZEN_RATES = {
    "MobileNetV2": 3e-4,
    "ResNet50": 4e-6,
    "VGG16": 1.5e-4,
    "EfficientNetB0": 1.5e-3,
    "DenseNet121": 1e-3,
    "Xception": 3e-4,
    "InceptionV3": 4.5e-5,
}
HALF_FROZEN = tuple(
    dataclasses.replace(case, frozen=0.5, rate=HALF_FROZEN_RATES[case.network]) for case in WHOLE
)
CASES = WHOLE + HALF_FROZEN


# As in formula.SCALES, but kept for good: another factor needs other references.
SCALES = {
    "MobileNetV2": (0.125, 0.8),
    "EfficientNetB0": (1.0, 2.0),
    "ResNet50": (128.0, 0.125),
    "VGG16": (64.0, 1.0),
    "InceptionV3": (0.0625, 1.0),
    "Xception": (2.0, 0.125),
}


def fill(model: object, case: Case, weight: Callable) -> None:
    """Sets every weight by `weight`, which is formula.weight."""
    scales = SCALES.get(case.network, (1.0, 1.0))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(
                [weight(layer.name, w.name, tuple(w.shape), scales) for w in layer.weights]
            )


def prepared(case: Case, pictures: np.ndarray) -> np.ndarray:
    """Pixels in the range the network's weights were made for."""
    return ((pictures - np.float32(case.shift)) / np.float32(case.scale)).astype(np.float32)


def without_dropout(layers: list) -> None:
    """Sets the rate of every Dropout of Keras or tlfast to 0."""
    for layer in layers:
        if type(layer).__name__ == "Dropout":
            layer.rate = 0.0


def freeze(layers: list, part: float) -> None:
    for layer in layers[: int(len(layers) * part)]:
        layer.trainable = False


def signed_sums(values: np.ndarray, index: int, count: int = SUMS) -> np.ndarray:
    """Projections of an array on `count` directions of signs.

    Entry i belongs to direction i modulo `count`, with a sign drawn from a stream seeded by
    `index`. For any array the expected sum of the squares is the square of its length, and the
    sums are linear, so those of a difference are the difference of the sums.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    signs = np.random.RandomState(index).randint(0, 2, flat.size, dtype=np.int8)
    signed = np.zeros(-(-flat.size // count) * count)
    signed[: flat.size] = flat * (2.0 * signs - 1.0)
    return signed.reshape(-1, count).sum(0)


def entries(values: np.ndarray, count: int = ENTRIES) -> np.ndarray:
    """Up to `count` entries, evenly spread (all of a smaller array)."""
    flat = np.asarray(values).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(count, flat.size)).astype(np.int64)]
