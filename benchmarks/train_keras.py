"""tlfast, Keras in the benchmark `train`: train_keras.py tlfast | keras [jit] [frozen] [bf16]"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import networks
import numpy as np
from serving import memory, serve

MB = 1 << 20


class Contender:
    """One network in one framework."""

    def __init__(self, kind: str, jit: bool, frozen: bool, bf16: bool) -> None:
        if kind == "tlfast":
            import tlfast as tf
        else:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            import tensorflow as tf
        self.tf, self.keras = tf, tf.keras
        self.options = {"jit_compile": True} if jit else {}
        if kind == "keras" and not jit:
            self.options = {"jit_compile": False}
        self.frozen = frozen
        if bf16:
            self.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        self.network: Any = None

    def versions(self) -> dict[str, str]:
        return {"framework": self.tf.__version__, "numpy": np.__version__}

    def build(self, network: str) -> Any:
        """Frozen: as Keras' guide to transfer learning has it."""
        if self.network is None:
            keras = self.keras
            if self.frozen:
                self.network = networks.frozen_classifier(keras, network, classes=2)
            else:
                self.network = networks.classifier(keras, network, classes=2)
            self.network.compile(
                keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy",
                **self.options,
            )  # fmt: skip
        return self.network

    def describe(self, network: str, target: str) -> None:
        """Writes the network's configuration for those who build it from that."""
        Path(target).write_text(networks.classifier(self.keras, network, classes=2).to_json())

    def predict(self, network: str, model: str, pixels: str) -> list[list[float]]:
        """Predictions of two of the images; the images are those of the steps."""
        self.x = np.load(pixels)
        self.y = np.arange(len(self.x)) % 2
        found = self.build(network).predict(self.x[:2], verbose=0)
        return np.asarray(found).tolist()

    def step(self) -> float:
        """Seconds of one training step."""
        start = time.perf_counter()
        float(self.network.train_on_batch(self.x, self.y))
        return time.perf_counter() - start

    def inference(self) -> float:
        """Seconds of predicting the batch."""
        start = time.perf_counter()
        self.network.predict(self.x, batch_size=len(self.x), verbose=0)
        return time.perf_counter() - start

    def memory(self) -> float:
        """Peak of this process in MB."""
        return memory("VmHWM")

    def lower_bound(self) -> float:
        """What tlfast's plan says training cannot do without, in MB."""
        return self.network.plan(batch_size=len(self.x)).lower_bound / MB


if __name__ == "__main__":
    options = sys.argv[2:]
    serve(Contender(sys.argv[1], "jit" in options, "frozen" in options, "bf16" in options))
