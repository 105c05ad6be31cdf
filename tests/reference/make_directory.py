"""Record what Keras makes of a small folder of images: files, split, order, labels, pixels.

Run with TensorFlow and Keras 3.15 installed: `python tests/reference/make_directory.py`. Writes
directory_files.npz (the image files themselves, so that no encoder matters), directory_order.json
and directory_pixels.npz beside this script.
"""

import copy
import io
import json
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras._tf_keras.keras.preprocessing.image import ImageDataGenerator
from PIL import Image

HERE = Path(__file__).parent
SIZE = (12, 10)
# Class folder, number of files; odd names on purpose.
CLASSES = (("cat", 13), ("Dog", 17), ("hot dog", 10))


def make_files(rng):
    """Relative path -> bytes."""
    files = {}
    for name, count in CLASSES:
        for i in range(count):
            height, width = rng.integers(6, 25, 2)
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            jpeg, gray = i % 3 == 1, i % 5 == 4
            if jpeg:  # smooth, as photographs are
                pixels = np.asarray(Image.fromarray(pixels).resize((3, 3)).resize(
                    (int(width), int(height)), Image.Resampling.BICUBIC))
            image = Image.fromarray(pixels)
            image = image.convert("L") if gray else image
            buffer = io.BytesIO()
            image.save(buffer, "JPEG" if jpeg else "PNG", **({"quality": 90} if jpeg else {}))
            ending = ("JPG" if i % 2 else "jpeg") if jpeg else "png"
            folder = f"{name}/more" if i in (2, 7) else name
            files[f"{folder}/im{i}.{ending}"] = buffer.getvalue()
    return files


def write(files, root):
    for name, data in files.items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Names:
    """Finds the file that pixels came from."""

    def __init__(self):
        self.known = {}

    def learn(self, images, paths, root):
        for image, path in zip(images, paths, strict=True):
            self.known[np.asarray(image).tobytes()] = os.path.relpath(path, root)

    def of(self, images):
        images = np.asarray(images)
        images = images if images.ndim == 4 else images[None]
        return [self.known[image.tobytes()] for image in images]


def passes(dataset, names, number=3):
    """File names and labels of each batch, for several passes."""
    found = []
    for _ in range(number):
        batches = []
        for element in dataset:
            images, labels = element if isinstance(element, tuple) else (element, None)
            batches.append({"files": names.of(images),
                            "labels": None if labels is None else np.asarray(labels).tolist()})
        found.append(batches)
    return found


class Recorder(keras.Model):
    """A model that notes the files of the batches it is given."""

    def __init__(self, names):
        super().__init__()
        self.names, self.seen = names, []
        self.out = keras.layers.Dense(3)

    def call(self, x):
        return self.out(keras.ops.mean(x, axis=(1, 2)))

    def train_step(self, data):
        self.seen.append(self.names.of(data[0]))
        return {"loss": 0.0}

    def test_step(self, data):
        self.seen.append(self.names.of(data[0]))
        return {"loss": 0.0}

    def predict_step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        self.seen.append(self.names.of(x))
        return self(x)

    def take(self):
        seen, self.seen = self.seen, []
        return seen


FOLDER_CASES = {
    "plain": dict(seed=42, batch_size=4),
    "training": dict(seed=42, batch_size=4, validation_split=0.2, subset="training"),
    "validation": dict(seed=42, batch_size=4, validation_split=0.2, subset="validation"),
    "both": dict(seed=42, batch_size=3, validation_split=0.3, subset="both"),
    "sorted": dict(shuffle=False, batch_size=7, validation_split=0.25, subset="training"),
    "one_hot": dict(seed=1, batch_size=32, label_mode="categorical"),
    "two": dict(seed=7, batch_size=2, label_mode="binary", class_names=["hot dog", "cat"]),
    "images": dict(seed=3, batch_size=5, labels=None),
    "no_mode": dict(seed=3, batch_size=5, label_mode=None, shuffle=False),
    "listed": dict(seed=3, batch_size=5, labels=[i % 4 for i in range(40)]),
    "single": dict(seed=9, batch_size=None),
    "small_buffer": dict(seed=2**31 + 5, batch_size=1),
}

CHAINS = {
    "cache_shuffle": lambda d: d.cache().shuffle(4, seed=1).prefetch(1),
    "take": lambda d: d.take(3),
    "skip": lambda d: d.skip(7),
    "rebatch": lambda d: d.unbatch().batch(6, drop_remainder=True),
    "repeat": lambda d: d.repeat(2),
}


def folder_orders(root, names):
    cases = {}
    for name, arguments in FOLDER_CASES.items():
        # A copy, because Keras shuffles a list of labels in place.
        made = keras.utils.image_dataset_from_directory(
            root, image_size=SIZE, **copy.deepcopy(arguments))
        made = made if isinstance(made, list) else [made]
        cases[name] = {"arguments": arguments, "datasets": [{
            "class_names": d.class_names,
            "file_paths": [os.path.relpath(p, root) for p in d.file_paths],
            "passes": passes(d, names),
        } for d in made]}
    chains = {}
    for name, chain in CHAINS.items():
        dataset = chain(keras.utils.image_dataset_from_directory(
            root, image_size=SIZE, seed=42, batch_size=4))
        chains[name] = {"count": int(dataset.cardinality()), "passes": passes(dataset, names)}
    return cases, chains


def folder_fit(root, names):
    """Order of batches in fit with validation, evaluate, predict."""
    model = Recorder(names)
    model.compile(run_eagerly=True)
    train, test = keras.utils.image_dataset_from_directory(
        root, image_size=SIZE, **FOLDER_CASES["both"])
    result = {}
    model.fit(train, epochs=3, verbose=0, shuffle=False)
    result["fit"] = model.take()
    model.fit(train, validation_data=test, epochs=2, verbose=0, shuffle=False)
    result["fit_again"] = model.take()
    model.evaluate(train, verbose=0)
    result["evaluate"] = model.take()
    model.predict(train, verbose=0)
    result["predict"] = model.take()
    model.fit(train, epochs=3, steps_per_epoch=4, verbose=0, shuffle=False)
    result["steps"] = model.take()
    return result


GENERATOR_CASES = {
    "plain": (dict(), dict(batch_size=4, seed=42)),
    "sorted": (dict(), dict(batch_size=4, shuffle=False, class_mode="sparse")),
    "training": (dict(validation_split=0.3), dict(batch_size=4, seed=5, subset="training")),
    "validation": (dict(validation_split=0.3), dict(
        batch_size=4, seed=5, subset="validation", class_mode=None)),
    "two": (dict(), dict(batch_size=6, seed=1, classes=["hot dog", "cat"], class_mode="binary")),
}


def generator_orders(root, names):
    cases = {}
    for name, (options, arguments) in GENERATOR_CASES.items():
        it = ImageDataGenerator(**options).flow_from_directory(
            root, target_size=SIZE, **arguments)
        batches = []
        for _ in range(2 * len(it) + 1):
            batch = next(it)
            images, labels = batch if isinstance(batch, tuple) else (batch, None)
            batches.append({"files": names.of(images),
                            "labels": None if labels is None else labels.tolist()})
        cases[name] = {
            "options": options, "arguments": arguments, "batches": batches,
            "filenames": it.filenames, "classes": it.classes.tolist(),
            "class_indices": it.class_indices, "samples": it.samples, "length": len(it),
            "items": [names.of(np.asarray(b[0] if isinstance(b, tuple) else b))
                      for b in (it[1], it[0])],
        }
    return cases


def generator_fit(root, names):
    train = ImageDataGenerator().flow_from_directory(root, target_size=SIZE, batch_size=6, seed=3)
    test = ImageDataGenerator().flow_from_directory(root, target_size=SIZE, batch_size=9, seed=4)
    model = Recorder(names)
    model.compile(run_eagerly=True)
    result = {}
    random.seed(11)  # the layers' initializers have drawn from it
    model.fit(train, validation_data=test, epochs=3, verbose=0)
    result["fit"] = model.take()
    model.fit(train, epochs=2, initial_epoch=1, shuffle=False, verbose=0)
    result["fit_again"] = model.take()
    model.evaluate(test, verbose=0)
    result["evaluate"] = model.take()
    model.predict(test, verbose=0)
    result["predict"] = model.take()
    return result


def array_fit():
    """Order of rows in fit on arrays after set_random_seed."""
    result = {}
    for shuffle in (True, "batch", False):
        keras.utils.set_random_seed(5)
        x = np.arange(11, dtype=np.float32)[:, None]
        seen = []

        class Rows(keras.Model):
            def call(self, x):
                return x

            def train_step(self, data, seen=seen):
                seen.append(np.asarray(data[0])[:, 0].astype(int).tolist())
                return {"loss": 0.0}

        model = Rows()
        model.compile(run_eagerly=True)
        model.fit(x, x, batch_size=4, epochs=2, verbose=0, shuffle=shuffle)
        result[str(shuffle)] = seen
    keras.utils.set_random_seed(5)
    unseeded = [tf.data.Dataset.range(9).shuffle(5) for _ in range(2)]
    result["unseeded_shuffle"] = [[[int(i) for i in d] for _ in range(2)] for d in unseeded]
    return result


PIXEL_CASES = {
    "bilinear": dict(), "nearest": dict(interpolation="nearest"),
    "bicubic": dict(interpolation="bicubic"),
    "crop": dict(crop_to_aspect_ratio=True), "pad": dict(pad_to_aspect_ratio=True),
    "gray": dict(color_mode="grayscale"),
}
GENERATOR_PIXEL_CASES = {
    "nearest": ({}, {}), "bilinear": ({}, dict(interpolation="bilinear")),
    "keep": ({}, dict(interpolation="bicubic", keep_aspect_ratio=True)),
    "gray": ({}, dict(color_mode="grayscale")), "rgba": ({}, dict(color_mode="rgba")),
    "rescale": (dict(rescale=1 / 255), {}),
    "flips": (dict(horizontal_flip=True, vertical_flip=True), {}),
}


def pixels(root):
    arrays = {}
    for name, arguments in PIXEL_CASES.items():
        dataset = keras.utils.image_dataset_from_directory(
            root, image_size=SIZE, shuffle=False, batch_size=8, verbose=False, **arguments)
        arrays[f"folder_{name}"] = np.asarray(next(iter(dataset))[0])
    for name, (options, arguments) in GENERATOR_PIXEL_CASES.items():
        it = ImageDataGenerator(**options).flow_from_directory(
            root, target_size=SIZE, batch_size=8, seed=8, **arguments)
        arrays[f"generator_{name}"] = next(it)[0]
    x = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3)).astype(np.float32)
    it = ImageDataGenerator(horizontal_flip=True).flow(x, np.arange(6), batch_size=4, seed=2)
    batches = [next(it) for _ in range(3)]
    arrays["flow_x"] = np.concatenate([b[0] for b in batches])
    arrays["flow_y"] = np.concatenate([b[1] for b in batches])
    image = np.random.default_rng(1).integers(0, 256, (9, 14, 3)).astype(np.uint8)
    arrays["smart_resize"] = keras.preprocessing.image.smart_resize(image, (8, 8))
    arrays["array_to_img"] = np.asarray(keras.utils.array_to_img(image.astype("float32") / 3))
    return arrays


def main():
    files = make_files(np.random.default_rng(7))
    with tempfile.TemporaryDirectory() as root:
        write(files, root)
        names = Names()
        dataset = keras.utils.image_dataset_from_directory(
            root, image_size=SIZE, shuffle=False, batch_size=None)
        names.learn([x for x, _ in dataset], dataset.file_paths, root)
        for folder_it in (ImageDataGenerator().flow_from_directory(
                root, target_size=SIZE, shuffle=False, batch_size=40),):
            names.learn(folder_it[0][0], folder_it.filepaths, root)
        folder, chains = folder_orders(root, names)
        order = {
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__,
                         "numpy": np.__version__},
            "folder": folder, "chains": chains, "folder_fit": folder_fit(root, names),
            "generator": generator_orders(root, names),
            "generator_fit": generator_fit(root, names), "arrays": array_fit(),
        }
        np.savez_compressed(HERE / "directory_pixels.npz", **pixels(root))
    np.savez_compressed(HERE / "directory_files.npz", **{
        name: np.frombuffer(data, np.uint8) for name, data in files.items()})
    (HERE / "directory_order.json").write_text(json.dumps(order, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    sys.exit(main())
