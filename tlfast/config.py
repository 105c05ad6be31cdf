"""`keras.config`: the settings of Keras that exist here."""

from tlfast._dtype_policy import dtype_policy, set_dtype_policy
from tlfast.backend import epsilon, floatx, image_data_format, set_image_data_format

__all__ = [
    "dtype_policy",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_dtype_policy",
    "set_image_data_format",
]
