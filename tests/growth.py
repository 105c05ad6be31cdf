"""Does memory grow over many models or many predictions? Prints MB per part; exit status 1 if it
grows by more than the limit.

    python tests/growth.py --cycles 200 --predictions 10000

Each cycle builds ResNet50 with a head, fits it on a few images, predicts and drops it. The first
cycles and predictions are not counted: allocators and thread pools reach their size there.
"""

import argparse
import gc
import sys

import numpy as np

import tlfast as tf
from tlfast import layers

LIMIT_MB = 5.0
WARM_UP = 5


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def build(network: str, size: int) -> tf.Model:
    base = getattr(tf.applications, network)(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    )
    base.trainable = False
    inputs = tf.Input((size, size, 3))
    outputs = layers.Dense(2, activation="softmax")(base(inputs, training=False))
    return tf.Model(inputs, outputs)


def cycle(network: str, size: int) -> None:
    x = np.random.default_rng(0).uniform(0, 255, (4, size, size, 3)).astype(np.float32)
    model = build(network, size)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, np.array([0, 1, 0, 1]), batch_size=2, epochs=1, verbose=0)
    model.predict(x, verbose=0)
    tf.backend.clear_session()


def growth_of_cycles(network: str, size: int, n: int) -> float:
    """MB grown over n cycles."""
    for _ in range(WARM_UP):
        cycle(network, size)
    gc.collect()
    start = resident_mb()
    for _ in range(n):
        cycle(network, size)
    gc.collect()
    return resident_mb() - start


def growth_of_predictions(network: str, size: int, n: int) -> float:
    """MB grown over n predictions of one image."""
    model = build(network, size)
    image = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    for _ in range(WARM_UP):
        model.predict(image, verbose=0)
    gc.collect()
    start = resident_mb()
    for _ in range(n):
        model.predict(image, verbose=0)
    gc.collect()
    return resident_mb() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=10000)
    parser.add_argument("--network", default="ResNet50")
    parser.add_argument("--size", type=int, default=32)
    args = parser.parse_args()
    grown = {
        f"{args.cycles} build-fit-drop cycles": growth_of_cycles(
            args.network, args.size, args.cycles
        ),
        f"{args.predictions} single predictions": growth_of_predictions(
            args.network, args.size, args.predictions
        ),
    }
    for what, mb in grown.items():
        print(f"{args.network} at {args.size} px, {what}: {mb:+.1f} MB (limit {LIMIT_MB})")
    return int(max(grown.values()) > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
