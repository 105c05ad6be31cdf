"""Keras' side of test_file_matrix.py: reads requests, one JSON line each, until its input ends.

A request {"call", ...} names a function below; the answer is one line of JSON on the standard
output. Arrays go through .npz files in the folder of the request.
"""

import json
import os
import sys
import traceback
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import file_cases as cases
import h5py
import keras
import numpy as np
from keras.src.legacy.saving import legacy_h5_format


def write(case: str, folder: str) -> None:
    """Train a step and write all four files, and what they hold."""
    top = Path(folder)
    model = cases.trained(keras, case)
    (top / "keras.json").write_text(model.to_json())
    for name in ("keras.keras", "keras.h5"):  # the last one takes the optimizer from the model
        model.save(top / name)
    model.save_weights(top / "keras.weights.h5")
    with h5py.File(top / "keras_legacy.h5", "w") as file:  # Keras 3 has no call for it any more
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    np.savez(top / "keras.npz", **cases.describe(model, case))


def open_model(case: str, folder: str, file: str, stepping: bool) -> None:
    """Open a whole model and describe it."""
    model = keras.models.load_model(Path(folder) / file)
    cases.finalize(model)
    np.savez(Path(folder) / "opened.npz", **cases.describe(model, case, stepping))


def open_weights(case: str, folder: str, file: str, flip: bool) -> None:
    """Load weights into a compiled model of the case; with `flip`, into one whose other layers are
    frozen: its slots are of other weights (as many, in InceptionV3), so it has none yet."""
    model = cases.build(keras, case)
    model.set_weights([w * 0 for w in model.get_weights()])
    if flip:
        cases.flip_frozen(model)
    cases.compile_model(keras, model, case)
    if not flip:
        model.optimizer.build(model.trainable_variables)
    model.load_weights(Path(folder) / file)
    cases.finalize(model)
    np.savez(Path(folder) / "opened.npz", **cases.describe(model, case, stepping=False))


def rebuild(case: str, folder: str, file: str) -> None:
    """Make a model of `to_json`, copy it by `clone_model`, and say what the copy predicts."""
    model = keras.models.model_from_json((Path(folder) / file).read_text())
    model = keras.models.clone_model(model)
    cases.fill(model, case.split()[0])
    cases.finalize(model)
    np.savez(Path(folder) / "opened.npz", predictions=cases.predict(model, case))


CALLS = {call.__name__: call for call in (write, open_model, open_weights, rebuild)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever TensorFlow prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        keras.backend.clear_session()
        error = None
        try:
            CALLS[request.pop("call")](**request)
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"error": error}), file=answers, flush=True)


if __name__ == "__main__":
    main()
