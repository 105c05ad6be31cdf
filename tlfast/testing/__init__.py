"""For your own tests: a tiny network with fixed weights, folders of images, comparing models.

A regression test with these trains a model in about a second, without a network connection.
docs/testing.md shows a whole test file.
"""

from tlfast.testing._backbone import TinyBackbone
from tlfast.testing._compare import assert_model_close
from tlfast.testing._images import image_folder

__all__ = ["TinyBackbone", "assert_model_close", "image_folder"]
