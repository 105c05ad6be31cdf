"""One record per backbone: what its input is and how small an image may be.

Sizes and preprocessing are those of keras.applications 3.15; for EfficientNet-Lite those of its
original builder. Weight files are in `tlfast.weights.catalog`.
"""

from dataclasses import dataclass

from tlfast._errors import did_you_mean
from tlfast.applications._scales import SCALES


@dataclass(frozen=True)
class Backbone:
    """What the rest of the package needs to know about one application.

    Attributes:
        name: name of the function.
        module: module of tlfast.applications with the function and its preprocess_input.
        preprocessing: "caffe", "tf", "torch", "lite" or "none" (the network takes 0 to 255).
        default_size: height and width, in pixels, that the ImageNet weights were made for.
        min_size: least height and width, in pixels.
    """

    name: str
    module: str
    preprocessing: str
    default_size: int
    min_size: int

    @property
    def input_range(self) -> tuple[float, float]:
        """Lowest and highest value the network expects."""
        return SCALES[self.preprocessing].bounds


BACKBONES: dict[str, Backbone] = {
    record.name: record
    for record in (
        Backbone("VGG16", "vgg16", "caffe", 224, 32),
        Backbone("VGG19", "vgg19", "caffe", 224, 32),
        Backbone("ResNet50", "resnet50", "caffe", 224, 32),
        Backbone("ResNet101", "resnet", "caffe", 224, 32),
        Backbone("ResNet152", "resnet", "caffe", 224, 32),
        Backbone("InceptionV3", "inception_v3", "tf", 299, 75),
        Backbone("Xception", "xception", "tf", 299, 71),
        Backbone("DenseNet121", "densenet", "torch", 224, 32),
        Backbone("DenseNet169", "densenet", "torch", 224, 32),
        Backbone("DenseNet201", "densenet", "torch", 224, 32),
        Backbone("MobileNetV2", "mobilenet_v2", "tf", 224, 32),
        Backbone("EfficientNetB0", "efficientnet", "none", 224, 32),
        Backbone("EfficientNetB1", "efficientnet", "none", 240, 32),
        Backbone("EfficientNetB2", "efficientnet", "none", 260, 32),
        Backbone("EfficientNetB3", "efficientnet", "none", 300, 32),
        Backbone("EfficientNetB4", "efficientnet", "none", 380, 32),
        Backbone("EfficientNetB5", "efficientnet", "none", 456, 32),
        Backbone("EfficientNetB6", "efficientnet", "none", 528, 32),
        Backbone("EfficientNetB7", "efficientnet", "none", 600, 32),
        Backbone("EfficientNetLite0", "efficientnet_lite", "lite", 224, 32),
        Backbone("EfficientNetLite1", "efficientnet_lite", "lite", 240, 32),
        Backbone("EfficientNetLite2", "efficientnet_lite", "lite", 260, 32),
    )
}

# The network of tlfast.testing is no application, but its input is watched like theirs.
TEST_BACKBONE = Backbone("TinyBackbone", "testing", "none", 32, 8)
WATCHED = {**BACKBONES, TEST_BACKBONE.name: TEST_BACKBONE}


def lookup(name: str) -> Backbone:
    """The record of a backbone.

    Args:
        name: "ResNet50", "EfficientNetLite0", ...

    Raises:
        ValueError: no such backbone.
    """
    if name not in BACKBONES:
        raise ValueError(
            f"There is no application {name!r}.{did_you_mean(name, BACKBONES)} "
            f"Known: {', '.join(sorted(BACKBONES))}."
        )
    return BACKBONES[name]
