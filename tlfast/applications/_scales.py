"""The number ranges in which ImageNet networks were trained, as functions of pixels 0 to 255.

Constants are those of keras.applications.imagenet_utils (caffe, tf, torch), and MEAN_RGB and
STDDEV_RGB of EfficientNet-Lite's builder (efficientnet_lite_builder.py of tensorflow/tpu).
"""

from dataclasses import dataclass
from typing import Any

# Channel means of ImageNet in BGR order, pixels 0 to 255 (the Caffe models), and means and standard
# deviations in RGB order, pixels 0 to 1 (the Torch models).
CAFFE_MEAN = (103.939, 116.779, 123.68)
TORCH_MEAN = (0.485, 0.456, 0.406)
TORCH_STD = (0.229, 0.224, 0.225)
LITE_MEAN = 127.0
LITE_STD = 128.0


@dataclass(frozen=True)
class Scale:
    """value = (pixel - mean) / std, for each of the three channels.

    Attributes:
        mean: of the channels in the order of the values, in pixels 0 to 255.
        std: divisor of each channel.
        bgr: whether the values are in the order blue, green, red.
        text: the values in words, for messages.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    text: str

    @property
    def uniform(self) -> bool:
        """Whether all channels are treated alike."""
        return len({*zip(self.mean, self.std, strict=True)}) == 1

    @property
    def factor(self) -> Any:
        """value = pixel * factor + offset; a number where the channels have the same."""
        return _short([1.0 / s for s in self.std])

    @property
    def offset(self) -> Any:
        """See `factor`."""
        return _short([-m / s for m, s in zip(self.mean, self.std, strict=True)])

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value of pixels 0 to 255, over the three channels."""
        pairs = list(zip(self.mean, self.std, strict=True))
        return min(-m / s for m, s in pairs), max((255.0 - m) / s for m, s in pairs)


def _short(numbers: list[float]) -> float | list[float]:
    return numbers[0] if len({*numbers}) == 1 else numbers


def _same(mean: float, std: float, text: str) -> Scale:
    return Scale((mean,) * 3, (std,) * 3, False, text)


SCALES: dict[str, Scale] = {
    "none": _same(0.0, 1.0, "pixels 0 to 255"),
    "unit": _same(0.0, 255.0, "pixels divided by 255, 0 to 1"),
    "tf": _same(127.5, 127.5, "pixels scaled to -1 to 1"),
    "lite": _same(LITE_MEAN, LITE_STD, "(pixels - 127) / 128, about -1 to 1"),
    "torch": Scale(
        tuple(255.0 * m for m in TORCH_MEAN),
        tuple(255.0 * s for s in TORCH_STD),
        False,
        "pixels divided by 255, minus mean, divided by standard deviation, about -2.1 to 2.6",
    ),
    "caffe": Scale(
        CAFFE_MEAN, (1.0, 1.0, 1.0), True, "BGR pixels minus the channel means, about -124 to 151"
    ),
}
