"""Writes layers.json.gz: every layer of every application as Keras builds it.

Run with a Python that has Keras: `python tests/reference/make_layers.py`. For each application,
with the classifier and without weights: layer names in model.layers order, classes, the settings
that matter, names of the layers each one reads, weight names and shapes, parameter counts.
"""

import gzip
import json
import os
import pathlib

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from lite import LITE_VERSIONS, keras_efficientnet_lite

APPLICATIONS = [
    "ResNet50", "ResNet101", "ResNet152", "MobileNetV2", "VGG16", "VGG19", "InceptionV3",
    "Xception", "DenseNet121", "DenseNet169", "DenseNet201",
    *(f"EfficientNetB{version}" for version in range(8)),
    *(f"EfficientNetLite{version}" for version in LITE_VERSIONS),
]  # fmt: skip
SETTINGS = (
    "activation", "axis", "center", "depth_multiplier", "dilation_rate", "epsilon",
    "filters", "groups", "kernel_size", "max_value", "momentum", "noise_shape", "offset",
    "padding", "pool_size", "rate", "scale", "strides", "target_shape", "units", "use_bias",
)  # fmt: skip


def describe(model: keras.Model) -> dict:
    rows = []
    for layer in model.layers:
        config = layer.get_config()
        inbound = [
            tensor._keras_history.operation.name
            for node in layer._inbound_nodes
            for tensor in node.input_tensors
        ]
        rows.append(
            {
                "name": layer.name,
                "class": type(layer).__name__,
                "settings": {key: config[key] for key in SETTINGS if key in config},
                "inbound": inbound,
                "weights": [[w.name, list(w.shape)] for w in layer.weights],
            }
        )
    return {
        "name": model.name,
        "layers": rows,
        "output_shape": model.output_shape,
        "parameters": model.count_params(),
        "trainable": sum(keras.ops.size(w) for w in model.trainable_weights),
    }


def main() -> None:
    result = {}
    for name in APPLICATIONS:
        result[name] = {}
        for part, include_top in (("top", True), ("notop", False)):
            keras.backend.clear_session()
            if name.startswith("EfficientNetLite"):
                model = keras_efficientnet_lite(int(name[-1]), include_top=include_top)
            else:
                build = getattr(keras.applications, name)
                model = build(weights=None, include_top=include_top)
            full = describe(model)
            if part == "notop":  # without the classifier the list is the same, only shorter
                full["layers"] = [row["name"] for row in full["layers"]]
            result[name][part] = full
    text = json.dumps(result, separators=(",", ":"), default=int)
    target = pathlib.Path(__file__).with_name("layers.json.gz")
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(target, len(text), target.stat().st_size)


if __name__ == "__main__":
    main()
