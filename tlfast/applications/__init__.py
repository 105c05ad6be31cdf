"""Image classifiers known from ImageNet, with Keras' arguments, layer names and layer order.

Each module holds the functions of one family with their `preprocess_input` and
`decode_predictions`. The functions are reachable here too: `tlfast.applications.ResNet50`.

Weights were made for one range of numbers: prepare pixels with the module's `preprocess_input`, or
build the network with `include_preprocessing=True` and pass pixels 0 to 255. A network with loaded
weights (`weights=`, `load_weights`, a saved model) warns once, as `tlfast.InputRangeWarning`, when
the first batches of `fit`, `evaluate` or `predict` bring another range. One built with
`weights=None`, or a model file that Keras wrote, has no expectations.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tlfast import _keras2
from tlfast._errors import did_you_mean

_MODULES = {
    "densenet": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "efficientnet": tuple(f"EfficientNetB{version}" for version in range(8)),
    "efficientnet_lite": ("EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2"),
    "imagenet_utils": (),
    "inception_v3": ("InceptionV3",),
    "mobilenet_v2": ("MobileNetV2",),
    "resnet": ("ResNet50", "ResNet101", "ResNet152"),
    "resnet50": (),
    "vgg16": ("VGG16",),
    "vgg19": ("VGG19",),
    "xception": ("Xception",),
}
_FUNCTIONS = {name: module for module, names in _MODULES.items() for name in names}

# Functions last: of ResNet50 and resnet50 a suggestion names the function.
_SUGGESTED = [*_MODULES, *_FUNCTIONS]

__all__ = sorted([*_MODULES, *_FUNCTIONS])

if TYPE_CHECKING:  # The same names for type checkers; tests/test_api.py holds both together.
    from tlfast.applications import densenet as densenet
    from tlfast.applications import efficientnet as efficientnet
    from tlfast.applications import efficientnet_lite as efficientnet_lite
    from tlfast.applications import imagenet_utils as imagenet_utils
    from tlfast.applications import inception_v3 as inception_v3
    from tlfast.applications import mobilenet_v2 as mobilenet_v2
    from tlfast.applications import resnet as resnet
    from tlfast.applications import resnet50 as resnet50
    from tlfast.applications import vgg16 as vgg16
    from tlfast.applications import vgg19 as vgg19
    from tlfast.applications import xception as xception
    from tlfast.applications.densenet import DenseNet121 as DenseNet121
    from tlfast.applications.densenet import DenseNet169 as DenseNet169
    from tlfast.applications.densenet import DenseNet201 as DenseNet201
    from tlfast.applications.efficientnet import EfficientNetB0 as EfficientNetB0
    from tlfast.applications.efficientnet import EfficientNetB1 as EfficientNetB1
    from tlfast.applications.efficientnet import EfficientNetB2 as EfficientNetB2
    from tlfast.applications.efficientnet import EfficientNetB3 as EfficientNetB3
    from tlfast.applications.efficientnet import EfficientNetB4 as EfficientNetB4
    from tlfast.applications.efficientnet import EfficientNetB5 as EfficientNetB5
    from tlfast.applications.efficientnet import EfficientNetB6 as EfficientNetB6
    from tlfast.applications.efficientnet import EfficientNetB7 as EfficientNetB7
    from tlfast.applications.efficientnet_lite import EfficientNetLite0 as EfficientNetLite0
    from tlfast.applications.efficientnet_lite import EfficientNetLite1 as EfficientNetLite1
    from tlfast.applications.efficientnet_lite import EfficientNetLite2 as EfficientNetLite2
    from tlfast.applications.inception_v3 import InceptionV3 as InceptionV3
    from tlfast.applications.mobilenet_v2 import MobileNetV2 as MobileNetV2
    from tlfast.applications.resnet import ResNet50 as ResNet50
    from tlfast.applications.resnet import ResNet101 as ResNet101
    from tlfast.applications.resnet import ResNet152 as ResNet152
    from tlfast.applications.vgg16 import VGG16 as VGG16
    from tlfast.applications.vgg19 import VGG19 as VGG19
    from tlfast.applications.xception import Xception as Xception


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    found = _keras2.old_name(__name__, name)
    if found is not None:
        return found
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise AttributeError(
        f"tlfast.applications has no {name!r}.{did_you_mean(name, _SUGGESTED)} "
        f"It has: {', '.join(sorted(_FUNCTIONS))}."
    )


def __dir__() -> list[str]:
    return __all__
