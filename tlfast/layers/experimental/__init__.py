"""Where TensorFlow 2.3 to 2.5 kept the preprocessing layers; scripts of that time import them."""

from tlfast.layers.experimental import preprocessing

__all__ = ["preprocessing"]
