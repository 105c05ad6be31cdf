"""ResNet50 under the module name scripts use; all of it is in `tlfast.applications.resnet`."""

from tlfast.applications.resnet import ResNet50, decode_predictions, preprocess_input

__all__ = ["ResNet50", "decode_predictions", "preprocess_input"]
