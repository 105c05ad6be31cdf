"""tlfast in the benchmark `growth`: one fit, and this process' memory."""

import time
from typing import Any

import numpy as np
from serving import memory, serve

import tlfast
from tlfast import keras

MB = 1 << 20
BATCH = 16


class EpochTimes(keras.callbacks.Callback):
    """Seconds of every epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds = time.perf_counter() - self.start


class Contender:
    def versions(self) -> dict[str, str]:
        return {"framework": tlfast.__version__, "numpy": np.__version__}

    def fit(self, folder: str, frozen: bool, epochs: int) -> dict[str, float]:
        """Frozen: every epoch computes the features (none are kept), so that it is a pass."""
        data = keras.utils.image_dataset_from_directory(
            folder, image_size=(160, 160), batch_size=BATCH, verbose=False
        )
        base = keras.applications.MobileNetV2(
            include_top=False, weights=None, input_shape=(160, 160, 3), pooling="avg"
        )
        base.trainable = not frozen
        inputs = keras.Input((160, 160, 3))
        x = base(keras.layers.Rescaling(1 / 127.5, -1)(inputs), training=False if frozen else None)
        model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
        model.compile("sgd", "sparse_categorical_crossentropy")
        times = EpochTimes()
        options: dict[str, Any] = {"cache_features": False} if frozen else {}
        model.fit(data, epochs=epochs, verbose=0, callbacks=[times], **options)
        images = len(data.file_paths)
        return {"ms_per_image": times.seconds / images * 1e3, "peak": memory("VmHWM")}

    def step(self, network: str, batch: int, size: int, folder: str) -> dict[str, float]:
        """MB that a model and an epoch of training add to the process, and what the plan says."""
        data = keras.utils.image_dataset_from_directory(
            folder, image_size=(size, size), batch_size=batch, verbose=False
        )
        next(iter(data))
        held = memory("VmRSS")
        base = getattr(keras.applications, network)(
            include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
        )
        x = keras.layers.Dense(2, activation="softmax")(base.output)
        model = keras.Model(base.input, x)
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy")
        model.fit(data, epochs=1, verbose=0)
        planned = model.plan(batch_size=batch).peak / MB
        return {"grown": memory("VmHWM") - held, "planned": planned}


if __name__ == "__main__":
    serve(Contender())
