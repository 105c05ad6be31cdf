"""Writes keras_files.zip and keras_networks.json.gz: what Keras writes, for test_file_matrix.py.

Run with a Python that has Keras: `python tests/files/make_keras_files.py`. The first holds the four
files of every small model of file_cases.py, with what Keras says of them. The second holds, for
networks with a head, everything of such files but the numbers: configs, the paths of all weights,
the order in the older layout, and predictions; weights are those of reference/formula.py, found
again by their bytes.
"""

import gzip
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import file_cases as cases
import file_cases_keras as theirs
import h5py
import keras
import numpy as np

HERE = Path(__file__).parent


def small_files() -> None:
    with zipfile.ZipFile(HERE / "keras_files.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for case in cases.SMALL:
            keras.backend.clear_session()
            with tempfile.TemporaryDirectory() as folder:
                theirs.write(case, folder)
                for path in sorted(Path(folder).iterdir()):
                    z.write(path, f"{case}/{path.name}")


def network(case: str) -> dict:
    """The parts of Keras' files of a network that are not numbers, and its predictions."""
    keras.backend.clear_session()
    model = cases.build(keras, case)
    origin = {}

    def note(layers: list) -> None:
        for layer in layers:
            if hasattr(layer, "layers"):
                note(layer.layers)
                continue
            for w in layer.weights:
                origin[np.asarray(w).tobytes()] = [layer.name, w.name, list(w.shape)]

    note(model.layers)
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        model.save(top / "m.keras")
        with h5py.File(top / "legacy.h5", "w") as f:
            theirs.legacy_h5_format.save_weights_to_hdf5_group(f, model)
        with h5py.File(top / "legacy.h5") as f:
            legacy = [
                [
                    name,
                    [[w, *origin[f[name][w][()].tobytes()]] for w in f[name].attrs["weight_names"]],
                ]
                for name in f.attrs["layer_names"]
            ]
        weights = {}
        with zipfile.ZipFile(top / "m.keras") as z:
            config = json.loads(z.read("config.json"))
            with h5py.File(io.BytesIO(z.read("model.weights.h5"))) as f:
                f.visititems(
                    lambda path, x: (
                        weights.__setitem__(path, origin[x[()].tobytes()])
                        if isinstance(x, h5py.Dataset) and x.size
                        else None
                    )
                )
    return {
        "config": without_ids(config),
        "weights": weights,
        "legacy": legacy,
        "predictions": cases.predict(model, case).astype(float).round(9).tolist(),
    }


def without_ids(config: object) -> object:
    """A config without `shared_object_id`s, which are memory addresses."""
    if isinstance(config, dict):
        return {k: without_ids(v) for k, v in config.items() if k != "shared_object_id"}
    return [without_ids(v) for v in config] if isinstance(config, list) else config


def main() -> None:
    small_files()
    found = {case: network(case) for case in cases.CASES if case not in cases.SMALL}
    text = json.dumps({"keras": keras.__version__, "cases": found}, separators=(",", ":"))
    (HERE / "keras_networks.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
