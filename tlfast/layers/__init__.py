"""Layers, under Keras' names."""

from tlfast import _keras2
from tlfast._errors import did_you_mean
from tlfast.layers._base import Layer
from tlfast.layers.activation import ELU, Activation, LeakyReLU, ReLU, Softmax
from tlfast.layers.convolutional import Conv2D, DepthwiseConv2D, SeparableConv2D
from tlfast.layers.core import Dense, Identity, Input, InputLayer
from tlfast.layers.function import Lambda
from tlfast.layers.merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    multiply,
    subtract,
)
from tlfast.layers.normalization import BatchNormalization
from tlfast.layers.pooling import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from tlfast.layers.preprocessing import (
    Normalization,
    RandomFlip,
    RandomRotation,
    RandomZoom,
    Rescaling,
)
from tlfast.layers.regularization import Dropout, SpatialDropout2D
from tlfast.layers.reshaping import Cropping2D, Flatten, Reshape, ZeroPadding2D

# The shorter and older names Keras keeps.
Convolution2D = Conv2D
SeparableConvolution2D = SeparableConv2D
MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "Average",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Convolution2D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Identity",
    "Input",
    "InputLayer",
    "Lambda",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "Maximum",
    "Multiply",
    "Normalization",
    "RandomFlip",
    "RandomRotation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "SeparableConvolution2D",
    "Softmax",
    "SpatialDropout2D",
    "Subtract",
    "ZeroPadding2D",
    "add",
    "average",
    "concatenate",
    "maximum",
    "multiply",
    "subtract",
]


def __getattr__(name: str) -> object:
    found = _keras2.old_name(__name__, name)
    if found is not None:
        return found
    if name.startswith("_"):
        raise AttributeError(f"module 'tlfast.layers' has no attribute {name!r}")
    raise AttributeError(
        f"module 'tlfast.layers' has no layer {name!r}."
        + (
            did_you_mean(name, __all__, 0.75)
            or " It has the layers of image classifiers; see dir(tlfast.layers)."
        )
    )
