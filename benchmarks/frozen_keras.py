"""One contender in its own process: reads requests as JSON lines, answers with JSON lines.

tlfast    the article's script with tlfast
article   the same script with Keras
by-hand   Keras, features computed once, then a head on them; and scikit-learn's LogisticRegression
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from serving import memory, serve

BATCH = 16


class Contender:
    """A framework and what is measured with it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        if kind == "tlfast":
            import tlfast as tf
        else:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            import tensorflow as tf
        self.tf, self.keras = tf, tf.keras
        self.after_import = memory("VmRSS")

    def versions(self) -> dict[str, str]:
        return {"framework": self.tf.__version__, "numpy": np.__version__}

    def model(self, network: str) -> tuple[Any, Any]:
        """(base, model) as the article builds them."""
        import networks

        keras = self.keras
        base = networks.base(keras, network)
        base.trainable = False
        inputs = keras.Input(shape=(networks.SIZE, networks.SIZE, 3))
        x = networks.applied(network, base, networks.prepared(keras, network, inputs))
        x = keras.layers.GlobalAveragePooling2D()(x)
        features = x
        outputs = keras.layers.Dense(2, activation="softmax")(x)
        model = keras.Model(inputs=inputs, outputs=outputs)
        model.compile(optimizer="Adam", loss="categorical_crossentropy", metrics=["accuracy"])
        return keras.Model(inputs, features), model

    def flow(self, folder: str) -> Any:
        generator = self.tf.keras.preprocessing.image.ImageDataGenerator()
        return generator.flow_from_directory(folder, target_size=(224, 224), batch_size=BATCH)

    def fit(self, network: str, folder: str, epochs: int) -> tuple[float, float]:
        """Seconds of a fit that finds nothing computed before, and of its epochs but the first."""
        _, model = self.model(network)
        flow, ends = self.flow(folder), self.epoch_ends()
        whole = seconds(lambda: model.fit(flow, epochs=epochs, verbose=0, callbacks=[ends]))
        return whole, ends.behind_first()

    def epoch_ends(self) -> Any:
        """A callback that notes when epochs end."""

        class EpochEnds(self.keras.callbacks.Callback):
            def __init__(self) -> None:
                super().__init__()
                self.times: list[float] = []

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                self.times.append(time.perf_counter())

            def behind_first(self) -> float:
                return self.times[-1] - self.times[0]

        return EpochEnds()

    def script(self, network: str, folder: str) -> dict[str, float]:
        """Memory of a process that runs the article's script once, in MB."""
        _, model = self.model(network)
        train, test = self.flow(folder), self.flow(folder)
        model.fit(train, validation_data=test, epochs=5, verbose=0)
        model.evaluate(test, verbose=0)
        model.predict(test, verbose=0)
        peak = memory("VmHWM")
        return {"peak": peak, "over_import": peak - self.after_import}

    def run(self, network: str, folders: list[str], epochs: int) -> dict[str, float]:
        """One round: a fit of one epoch and one of all, on two copies of the images."""
        if self.kind == "by-hand":
            return self.by_hand(network, folders[0], epochs)
        result = {"first": self.fit(network, folders[0], 1)[0]}
        if self.kind == "tlfast":
            result["all"], result["head"] = self.fit(network, folders[1], epochs)
        else:
            # Every epoch of the article computes the base again: one is enough to know the rest.
            result["all"] = result["first"] * epochs
        return result

    def by_hand(self, network: str, folder: str, epochs: int) -> dict[str, float]:
        keras = self.keras
        features, _ = self.model(network)
        dataset = keras.utils.image_dataset_from_directory(
            folder, image_size=(224, 224), batch_size=BATCH, shuffle=False
        )
        got = []
        extract = seconds(lambda: got.append(features.predict(dataset, verbose=0)))
        labels = np.concatenate([y.numpy() for _, y in dataset])
        head = keras.Sequential([keras.layers.Dense(2, activation="softmax")])
        head.compile("Adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        ends = self.epoch_ends()
        train = seconds(
            lambda: head.fit(
                got[0], labels, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[ends]
            )
        )
        from sklearn.linear_model import LogisticRegression

        logistic = seconds(lambda: LogisticRegression(max_iter=1000).fit(got[0], labels))
        return {"first": extract, "all": extract + train, "head": ends.behind_first(),
                "sklearn": extract + logistic}  # fmt: skip

    def features(self, network: str, pixels: str) -> list[list[float]]:
        """Features of stored pixels, for the check that both sides compute the same."""
        model, _ = self.model(network)
        return np.asarray(model.predict(np.load(pixels), batch_size=BATCH, verbose=0)).tolist()


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(Contender(sys.argv[1]))
