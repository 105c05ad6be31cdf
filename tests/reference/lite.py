"""EfficientNet-Lite in Keras, which has no such application: its EfficientNet with three changes.

The changes are those of the Lite paper's code: ReLU6 for swish, no squeeze and excitation, and a
stem, first stage, last stage and head that are not scaled with depth or width. Keras' own builder
also puts a Rescaling and a Normalization in front; they are taken out here.
"""

import copy

LITE_VERSIONS = {0: (1.0, 1.0, 224, 0.2), 1: (1.0, 1.1, 240, 0.2), 2: (1.1, 1.2, 260, 0.3)}


def keras_efficientnet_lite(version: int, include_top: bool, **arguments: object) -> object:
    """EfficientNetLite0 to 2 as a Keras model without weights."""
    import math
    import types
    from unittest import mock

    from keras.src.applications import efficientnet

    width, depth, size, dropout = LITE_VERSIONS[version]
    blocks = copy.deepcopy(efficientnet.DEFAULT_BLOCKS_ARGS)
    for block in blocks:
        block["se_ratio"] = 0
    # Depth: the builder applies ceil(depth * repeats) to every stage; a first or last stage of a
    # fraction just small enough to round up to 1 stays unscaled.
    for block in (blocks[0], blocks[-1]):
        block["repeats"] = math.floor(block["repeats"] / depth * 1e6) / 1e6
    # Width: the stem and the head are recognised by their names, their filters put back.
    real = efficientnet.layers.Conv2D

    def conv2d(filters: int, *args: object, **kwargs: object) -> object:
        fixed = {"stem_conv": 32, "top_conv": 1280}.get(kwargs.get("name"), filters)
        return real(fixed, *args, **kwargs)

    names = {name: getattr(efficientnet.layers, name) for name in dir(efficientnet.layers)}
    names.update(Conv2D=conv2d, Rescaling=lambda *_: _same, Normalization=lambda **_: _same)
    with mock.patch.object(efficientnet, "layers", types.SimpleNamespace(**names)):
        return efficientnet.EfficientNet(
            width, depth, size, dropout, activation="relu6", blocks_args=blocks,
            name=f"efficientnetlite{version}", include_top=include_top, weights=None, **arguments,
        )  # fmt: skip


def _same(x: object) -> object:
    return x
