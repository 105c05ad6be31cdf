"""Weight files by formula, in the layout and under the names of the official ones."""

import h5py
import numpy as np


def official_file(path, model) -> None:
    """A weights file as keras.applications offers it: Keras 2's legacy layout, names `name:0`."""
    with h5py.File(path, "w") as f:
        f.attrs["layer_names"] = np.array([layer.name.encode() for layer in model.layers])
        f.attrs["backend"] = np.bytes_("tensorflow")
        f.attrs["keras_version"] = np.bytes_("2.2.4")
        for layer in model.layers:
            group = f.create_group(layer.name)
            names = [f"{layer.name}/{w.name}:0" for w in layer.weights]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.numpy()
