"""Does `tlfast.compare` claim differences that are not there, and find those that are?

    python tests/calibrate_verdict.py [--comparisons 200] [--seeds 5] [--size 160]

200 comparisons of two identical arms: a softmax layer on the features of a frozen
EfficientNet-Lite0 of the solar cells (package elpv-dataset), each arm with seeds of its own and its
learning rate chosen from the grid on validation, as `compare` does it. Every twentieth comparison
has another draw of the train, validation and test parts. A difference may be claimed in at most
8 %. Then 6 points are planted: of the test images that one arm mostly gets right 9 % become wrong,
and 3 % the other way round. They must be found in at least 80 %. Exit status 1 otherwise.

On 23 November 2026: claimed in 4.5 %, found in 97.5 %. In the draw of the parts that was looked at
closely, false claims came where the two arms had chosen different rates, and none where every seed
chose its own: the noise of that choice is not in the intervals.

Trainings are shared: the seeds of a comparison are drawn from 16 per draw of the parts.
"""

import argparse
import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlfast import keras
from tlfast._statistics import ALPHA, compare_pairs
from tlfast.comparison._compare import LEARNING_RATES

MOST_CLAIMS, LEAST_FOUND = 0.08, 0.80
LOST, WON = 0.09, 0.03  # shares of the test images: 6 points worse
POOL = 16
PER_DRAW = 20


@dataclass
class Training:
    """What one training gave: validation (accuracy, -loss), class numbers of the test images."""

    quality: tuple[float, float]
    said: np.ndarray


def draw_parts(labels, rng, validation=0.2, test=0.25):
    """Row numbers (train, validation, test), drawn class by class."""
    parts = [], [], []
    for c in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == c))
        n_test = round(test * len(rows))
        n_validation = round(validation * (len(rows) - n_test))
        cuts = np.split(rows, [n_test, n_test + n_validation])
        for part, chosen in zip(parts, (cuts[2], cuts[1], cuts[0]), strict=True):
            part.extend(chosen.tolist())
    return [np.array(part) for part in parts]


def train(features, labels, parts, seed, rate, epochs):
    """A new softmax layer, the epoch with the best validation accuracy."""
    rows, held_out, test = parts
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input(features.shape[1:]),
            keras.layers.Dense(labels.max() + 1, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    stop = keras.callbacks.EarlyStopping(
        "val_accuracy", patience=epochs, restore_best_weights=True, mode="max"
    )
    validation = features[held_out], labels[held_out]
    logs = model.fit(
        features[rows], labels[rows], validation_data=validation, epochs=epochs, verbose=0,
        callbacks=[stop],
    ).history  # fmt: skip
    best = int(np.argmax(logs["val_accuracy"]))
    said = model.predict(features[test], verbose=0, batch_size=256).argmax(axis=1)
    return Training((logs["val_accuracy"][best], -logs["val_loss"][best]), said)


def arm(pool, seeds):
    """Class numbers (seeds, images) at the rate that is best with the first seed."""
    rate = max(pool, key=lambda rate: (*pool[rate][seeds[0]].quality, -rate))
    return np.array([pool[rate][seed].said for seed in seeds])


def plant(said, truth, rng, lost=LOST, won=WON):
    """The same arm with other answers for some images, in all seeds: lost - won points worse."""
    right = np.mean(said == truth, axis=0) >= 0.5
    good, bad = rng.permutation(np.flatnonzero(right)), rng.permutation(np.flatnonzero(~right))
    n_lost = round(lost * len(truth))
    n_won = min(round(won * len(truth)), len(bad))
    n_lost -= round(won * len(truth)) - n_won
    changed = said.copy()
    changed[:, good[:n_lost]] = truth[good[:n_lost]] + 1  # no class, or a wrong one
    changed[:, bad[:n_won]] = truth[bad[:n_won]]
    return changed


def calibrate(
    features,
    labels,
    comparisons,
    seeds,
    epochs,
    rng,
    rates=LEARNING_RATES,
    pool_size=POOL,
    say=None,
):
    """(share of claims between identical arms, share of planted differences found)."""
    claims = found = 0
    for number in range(comparisons):
        if number % PER_DRAW == 0:
            parts = draw_parts(labels, rng)
            pool = {
                rate: [
                    train(features, labels, parts, 1000 * number + seed, rate, epochs)
                    for seed in range(pool_size)
                ]
                for rate in rates
            }
            truth = labels[parts[2]]
        chosen = rng.permutation(pool_size)[: 2 * seeds]
        one, two = arm(pool, chosen[:seeds]), arm(pool, chosen[seeds:])
        (same,) = compare_pairs([(one, two)], truth)
        (other,) = compare_pairs([(one, plant(two, truth, rng))], truth)
        claims += same.found
        found += other.found and other.value < 0
        if say and number % PER_DRAW == PER_DRAW - 1:
            say(f"{number + 1}: {claims} claimed, {found} found; last: {same.verdict}")
    return claims / comparisons, found / comparisons


def solar_cells(size):
    """(features, labels) of the certain cells from a frozen EfficientNet-Lite0."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None:
        sys.exit("elpv-dataset is not installed: pip install 'elpv-dataset==1.0.0.post1'")
    top = Path(spec.submodule_search_locations[0]) / "data"
    rows = [line.split() for line in (top / "labels.csv").read_text().splitlines()]
    certain = [(top / file, int(float(p))) for file, p, _ in rows if float(p) in (0.0, 1.0)]
    base = keras.applications.EfficientNetLite0(
        include_top=False, input_shape=(size, size, 3), pooling="avg"
    )
    features = []
    for at in range(0, len(certain), 64):
        images = [
            keras.utils.img_to_array(
                keras.utils.load_img(file, target_size=(size, size), interpolation="bilinear")
            )
            for file, _ in certain[at : at + 64]
        ]
        prepared = keras.applications.efficientnet_lite.preprocess_input(np.stack(images))
        features.append(base.predict(prepared, verbose=0))
    return np.concatenate(features), np.array([label for _, label in certain])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=160, help="pixels")
    options = parser.parse_args()
    began = time.monotonic()
    features, labels = solar_cells(options.size)
    print(f"features {features.shape} after {time.monotonic() - began:.0f} s", flush=True)
    claims, found = calibrate(
        features, labels, options.comparisons, options.seeds, options.epochs,
        np.random.default_rng(0), say=lambda line: print(line, flush=True),
    )  # fmt: skip
    print(
        f"{options.comparisons} comparisons with {options.seeds} seeds: a difference of identical "
        f"arms claimed in {claims:.1%} (level {ALPHA:.0%}, at most {MOST_CLAIMS:.0%}), planted "
        f"6 points found in {found:.1%} (at least {LEAST_FOUND:.0%}); "
        f"{time.monotonic() - began:.0f} s"
    )
    return 0 if claims <= MOST_CLAIMS and found >= LEAST_FOUND else 1


if __name__ == "__main__":
    sys.exit(main())
