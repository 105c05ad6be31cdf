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
from typing import Any

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
