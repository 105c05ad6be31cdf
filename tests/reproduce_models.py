"""Trainings of different kinds that `tlfast reproduce` has to repeat; small, for tests.

`python tests/reproduce_models.py NAME FOLDER` makes FOLDER/NAME.keras, images and arrays beside it.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from tlfast.keras import layers
from tlfast.keras.applications.mobilenet_v2 import preprocess_input

from tlfast import keras


def make_images(folder: Path, per_class: int = 12, size: int = 20) -> Path:
    """DIR/<class>/*.png, two classes; the same pictures every time."""
    from PIL import Image

    rng = np.random.default_rng(5)
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            pixels = rng.integers(0, 120, (size, size, 3)) + 90 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"picture-{i:02d}.png")
    return folder


def _head(x, classes=2):
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(classes, activation="softmax")(x)


def tiny_backbone():
    """A small network with batch norm, named as one that was trained before."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(6, 3, activation="relu")(x)
    return keras.Model(inputs, x, name="backbone")


def scratch(folder: Path):
    """A Sequential network on arrays: dropout, augmentation, early stopping, class weights."""
    keras.utils.set_random_seed(11)
    rng = np.random.default_rng(2)
    x = rng.random((48, 16, 16, 3)).astype(np.float32)
    y = rng.integers(0, 2, 48)
    np.savez(folder / "arrays.npz", pictures=x, labels=y)
    model = keras.Sequential([
        keras.Input((16, 16, 3)), layers.RandomFlip("horizontal"), layers.RandomRotation(0.1),
        layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dropout(0.4), layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile(
        keras.optimizers.AdamW(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    stopping = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    model.fit(x, y, batch_size=10, epochs=6, validation_split=0.25, callbacks=[stopping],
              class_weight={0: 1.0, 1: 1.5}, verbose=0)  # fmt: skip
    return model


def frozen(folder: Path):
    """A head on a frozen network, from a folder, without any seed; the data are cached."""
    images = make_images(folder / "images")
    train, test = keras.utils.image_dataset_from_directory(
        images, image_size=(16, 16), batch_size=5, validation_split=0.25, subset="both", seed=3,
        verbose=False,
    )  # fmt: skip
    train = train.map(lambda x, y: (preprocess_input(x), y)).cache().shuffle(3).prefetch(1)
    test = test.map(lambda x, y: (x / 127.5 - 1, y))
    base = tiny_backbone()
    base.trainable = False
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, _head(base(inputs)))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, validation_data=test, epochs=2, verbose=0)
    model.fit(train, validation_data=test, epochs=4, initial_epoch=2, verbose=0)
    return model


def two_phases(folder: Path):
    """`fine_tune`: the head, then all layers at rates that fall with depth."""
    images = make_images(folder / "images")
    keras.utils.set_random_seed(4)
    base = tiny_backbone()
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    model = keras.Model(inputs, _head(layers.Dropout(0.2)(base(x))))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    model.fine_tune(images, epochs=2, freeze_epochs=1, batch_size=6, verbose=0)
    return model


def generator(folder: Path):
    """ImageDataGenerator from a folder: every augmentation, a schedule, a scheduler's function."""
    images = make_images(folder / "images")
    keras.utils.set_random_seed(9)
    made = keras.preprocessing.image.ImageDataGenerator(
        rotation_range=20, width_shift_range=0.1, zoom_range=0.2, brightness_range=(0.8, 1.2),
        horizontal_flip=True, preprocessing_function=preprocess_input, validation_split=0.25,
    )  # fmt: skip
    common = {"target_size": (16, 16), "batch_size": 5, "class_mode": "sparse"}
    train = made.flow_from_directory(images, subset="training", **common)
    test = made.flow_from_directory(images, subset="validation", **common)
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, _head(tiny_backbone()(inputs)))
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(train, validation_data=test, epochs=2, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=9)
    halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7)
    model.fit(train, epochs=3, callbacks=[halving, plateau], verbose=0)
    return model


def resumed(folder: Path):
    """The same fit as one that may have been killed: it goes on from what is in `folder`."""
    images = make_images(folder / "images")
    data = keras.utils.image_dataset_from_directory(
        images, image_size=(16, 16), batch_size=5, seed=3, verbose=False
    )
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(layers.RandomFlip()(inputs))
    model = keras.Model(inputs, _head(layers.Dropout(0.3)(tiny_backbone()(x))))
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    backup = keras.callbacks.BackupAndRestore(folder / "backup", save_freq=1)
    killer = _Killer(folder / "kills")
    model.fit(data, epochs=4, callbacks=[backup, killer], verbose=0)
    return model


class _Killer(keras.callbacks.Callback):
    """Kills the process at the steps (over all processes) that lines of a file name, each once."""

    def __init__(self, file: Path):
        super().__init__()
        self._file = file

    def on_train_batch_end(self, batch, logs=None):
        left = self._file.read_text().split() if self._file.exists() else []
        if str(int(self.model.optimizer.iterations)) in left:
            left.remove(str(int(self.model.optimizer.iterations)))
            self._file.write_text(" ".join(left))
            os.kill(os.getpid(), signal.SIGKILL)


MODELS = {made.__name__: made for made in (scratch, frozen, two_phases, generator)}

if __name__ == "__main__":
    name, place = sys.argv[1], Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    (MODELS | {"resumed": resumed})[name](place).save(place / f"{name}.keras")
