"""One measurement of model files in a process of its own; the answer is a line of JSON.

python files_contender.py tlfast|keras make NETWORK FOLDER    models by formula, `.h5` and `.keras`
python files_contender.py tlfast|keras load FILE IMAGE        load_model, then one image
python files_contender.py tlfast|keras save NETWORK FILE      after one step with Adam
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from serving import memory

CLASSES = 8
SIZES = {"InceptionV3": 299, "ResNet50": 224, "MobileNetV2": 224}


def keras_of(contender: str) -> Any:
    if contender == "tlfast":
        from tlfast import keras
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras
    return keras


def build(keras: Any, network: str, optimizer: Any) -> Any:
    """The first article's model: the network, global average pooling, a dense head."""
    shape = (SIZES[network], SIZES[network], 3)
    base = getattr(keras.applications, network)(include_top=False, weights=None, input_shape=shape)
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    outputs = keras.layers.Dense(CLASSES, activation="softmax")(x)
    model = keras.Model(inputs=base.inputs, outputs=outputs)
    model.compile(loss="categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


def make(contender: str, network: str, folder: str) -> dict[str, Any]:
    import networks

    keras = keras_of(contender)
    model = build(keras, network, keras.optimizers.SGD(learning_rate=0.01))
    networks.fill(model)
    for ending in ("h5", "keras"):
        model.save(Path(folder) / f"{network}-{contender}.{ending}")
    return {}


def load(contender: str, file: str, image: str) -> dict[str, Any]:
    """Seconds of the import, of load_model, and of predict on one image; of both once more, as in
    the first article, which loads its model for every image."""
    pixels = np.load(image)[0]
    times = [time.perf_counter()]
    keras = keras_of(contender)
    # The article's imports; tlfast's names are imported when they are first used.
    load_model, prepare = keras.models.load_model, keras.preprocessing.image.img_to_array
    times.append(time.perf_counter())
    model = load_model(file)
    times.append(time.perf_counter())
    batch = np.expand_dims(prepare(pixels), axis=0)
    first = model.predict(batch, verbose=0)
    times.append(time.perf_counter())
    model = load_model(file)
    model.predict(batch, verbose=0)
    times.append(time.perf_counter())
    names = ("import", "load", "predict", "next")
    seconds = dict(zip(names, np.diff(times).tolist(), strict=True))
    return {**seconds, "peak": memory("VmHWM"), "output": first[0].tolist()}


def save(contender: str, network: str, file: str) -> dict[str, Any]:
    """Seconds and megabytes of the second save of a trained model, and those of the first."""
    keras = keras_of(contender)
    model = build(keras, network, "adam")
    size = SIZES[network]
    model.train_on_batch(
        np.zeros((2, size, size, 3), np.float32), np.eye(CLASSES, dtype=np.float32)[:2]
    )
    values = [v.numpy() for v in (*model.weights, *model.optimizer.variables)]
    answer: dict[str, Any] = {"model": sum(v.nbytes for v in values) / 2**20}
    del values
    for name in ("first", "second"):  # the first one imports h5py
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        before, start = memory("VmRSS"), time.perf_counter()
        model.save(file)
        answer[name] = {
            "seconds": time.perf_counter() - start,
            "before": before,
            "added": memory("VmHWM") - before,
        }
    return {**answer, "megabytes": os.path.getsize(file) / 2**20}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a framework prints goes to stderr
    contender, what, *arguments = sys.argv[1:]
    answer = {"make": make, "load": load, "save": save}[what](contender, *arguments)
    module = sys.modules["tlfast" if contender == "tlfast" else "keras"]
    answer["version"] = module.__version__
    print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
