"""tlfast and Keras in the benchmark `predict`: python predict_keras.py tlfast | keras"""

import os
import sys
from pathlib import Path
from typing import Any

import networks
import numpy as np
from serving import serve, timed


class Contender:
    """`Model.predict` of one network."""

    def __init__(self, kind: str) -> None:
        if kind == "tlfast":
            import tlfast as tf
        else:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            import tensorflow as tf
        self.tf = tf

    def versions(self) -> dict[str, str]:
        return {"framework": self.tf.__version__, "numpy": np.__version__}

    def describe(self, network: str, folder: str, batch: int) -> None:
        """Writes the network for the runtimes that read ONNX."""
        import recorded_graph

        recorded_graph.save(networks.classifier(self.tf.keras, network), batch, Path(folder))

    def load(self, network: str, folder: str, pixels: str, batch: int) -> list[list[float]]:
        """Predictions of the images, which are those that are timed."""
        self.network = networks.classifier(self.tf.keras, network)
        self.x, self.batch = np.load(pixels)[:batch], batch
        return np.asarray(self.predict()).tolist()

    def predict(self) -> Any:
        return self.network.predict(self.x, batch_size=self.batch, verbose=0)

    def time(self, calls: int) -> list[float]:
        return timed(self.predict, calls)


if __name__ == "__main__":
    serve(Contender(sys.argv[1]))
