"""Which learning rate the demo uses: python benchmarks/demo_rate.py

A fifth of the demo's training images (stratified) is set aside for validation; heads are trained
with each rate on the features of the rest, for the demo's epochs and batch size. The demo's test
parts are not looked at. Prints, for each rate, the means over the three random splits.
"""

import argparse
import os
import sys
import tempfile

import numpy as np

from tlfast import demo, keras

RATES = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
SEEDS = (0, 1, 2)
VALIDATION_SHARE = 0.2


def features_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(features, labels) of the training part of a random split, in the order of the files."""
    parts = demo.solar_cells("random", seed, 0, False)
    images = keras.utils.image_dataset_from_directory(
        parts[0], image_size=demo.SIZE, batch_size=demo.BATCH, shuffle=False
    )
    model = demo.build_model(2)
    features = keras.Model(model.input, model.layers[-1].input)
    return features.predict(images, verbose=0), demo.labels_of(images)


def split(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (fitted, validation)."""
    rng = np.random.default_rng(seed)
    validation = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        size = round(VALIDATION_SHARE * len(of_class))
        validation[rng.choice(of_class, size, replace=False)] = True
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def score(x: np.ndarray, y: np.ndarray, rate: float, seed: int) -> tuple[float, float, float]:
    """(loss, accuracy, balanced accuracy) on the validation images."""
    fitted, validation = split(y, seed)
    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(2, activation="softmax")])
    head.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    head.fit(x[fitted], y[fitted], batch_size=demo.BATCH, epochs=demo.EPOCHS, verbose=0)
    found = head.predict(x[validation], verbose=0)
    truth = y[validation]
    loss = float(-np.mean(np.log(np.maximum(found[np.arange(len(truth)), truth], 1e-7))))
    accuracy = float(np.mean(found.argmax(axis=1) == truth))
    return loss, accuracy, demo.balanced_accuracy(truth, found)


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the demo links its images into the current folder
        data = {seed: features_of(seed) for seed in SEEDS}
        os.chdir(sys.path[0])
    for rate in RATES:
        means = np.mean([score(*data[seed], rate, seed) for seed in SEEDS], axis=0)
        print(f"{rate:.0e}  loss {means[0]:.4f}  accuracy {means[1]:.4f}  balanced {means[2]:.4f}")


if __name__ == "__main__":
    main()
