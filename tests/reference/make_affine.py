"""Makes affine.npz: RandomRotation, RandomZoom and RandomFlip of Keras with factors that leave no
choice, for tests/test_ops.py. Run with an interpreter that has Keras and TensorFlow."""

from pathlib import Path

import keras
import numpy as np


def main() -> None:
    x = np.random.default_rng(0).uniform(0, 255, (1, 7, 10, 3)).round(1).astype(np.float32)
    made = {"x": x}
    for mode in ("reflect", "wrap", "constant", "nearest"):
        for how in ("bilinear", "nearest"):
            common = {"fill_mode": mode, "interpolation": how, "fill_value": 7.5}
            for turn in (0.1, -0.05, 0.37):
                layer = keras.layers.RandomRotation((turn, turn), **common)
                made[f"rotation {turn} {mode} {how}"] = np.asarray(layer(x, training=True))
            for height, width in ((0.4, 0.4), (-0.3, 0.75), (-0.5, -0.5), (1.0, 1.0)):
                layer = keras.layers.RandomZoom((height, height), (width, width), **common)
                made[f"zoom {height} {width} {mode} {how}"] = np.asarray(layer(x, training=True))
    np.savez_compressed(Path(__file__).with_name("affine.npz"), **made)


if __name__ == "__main__":
    main()
