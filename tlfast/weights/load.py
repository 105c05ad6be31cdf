"""Loading pretrained weights into an application's model."""

import os
from typing import Any

from tlfast.saving.errors import FormatError
from tlfast.saving.source import open_source
from tlfast.weights.catalog import weight_file
from tlfast.weights.locate import locate


def load_pretrained(
    model: Any,
    application: str,
    weights: str | os.PathLike[str] | None,
    include_top: bool,
    *,
    alpha: float = 1.0,
    size: int = 224,
    progress: bool = True,
) -> str | None:
    """Load the weights that an application was asked for.

    Args:
        model: the model just built, with or without its classifier.
        application: class name, such as "ResNet50".
        weights: None (nothing to do), "imagenet", or the path of a file.
        include_top: whether the model has the classifier.
        alpha: width multiplier of MobileNet and MobileNetV2.
        size: input height and width of MobileNet and MobileNetV2.
        progress: print a progress line while downloading.

    Returns:
        The name of the catalogue's file for "imagenet", else None.

    Raises:
        ValueError: neither None, "imagenet" nor an existing file.
        FormatError: the file does not fit the model; nothing is changed.
        OSError: the ImageNet file is nowhere and cannot be downloaded.
    """
    name = None
    if weights is None:
        return name
    if weights == "imagenet":
        file = weight_file(application, include_top, alpha, size)
        name, path = file.name, locate(file, progress=progress)
    else:
        path = os.fspath(weights)
        if not os.path.exists(path):
            raise ValueError(
                f"The `weights` argument of {application} is None, 'imagenet' or the path of a "
                f"weights file. Received: weights={path!r}, and there is no such file"
            )
    if application.startswith("EfficientNetLite") and _is_torch(path):
        from tlfast.weights.lite import load_lite
        from tlfast.weights.torch_file import read_torch_file

        load_lite(model, read_torch_file(path), path)
        return name
    from tlfast.saving import load_weights

    load_weights(model, path)
    return name


def _is_torch(path: str) -> bool:
    """Whether a file starts with the magic number pickle of old torch files."""
    with open_source(path) as source:
        head = source.read(0, min(4, source.size))
    if head == b"PK\x03\x04" and path.endswith((".pt", ".pth")):
        raise FormatError(
            f"{path}: a torch file in the zip form of torch 1.6 and later, which is not read"
        )
    return head == b"\x80\x02\x8a\x0a"
