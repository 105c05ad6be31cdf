"""What bad input gets: every text as a golden file in tests/errors, for reading and reviewing.

Each text must say what was given, where, what is allowed, and what to do. After a change,
TLFAST_WRITE_ERRORS=1 writes the files anew; read the difference before committing it.
"""

import os
import re
import shutil
import struct
import warnings
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from tlfast import keras
from tlfast._warnings import TlfastWarning

GOLDEN = Path(__file__).parent / "errors"
FOLDERS = [
    "good", "truncated", "empty", "corrupt", "text", "gone", "loop", "huge", "no_images", "flat",
    "one_class", "three_classes", "webp_only",
]  # fmt: skip


# ---- what the snippets work on -------------------------------------------------------------------


def huge_png() -> bytes:
    """A whole PNG of a few bytes whose header promises 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def write_folders(top: Path) -> None:
    x, y = np.meshgrid(np.arange(40), np.arange(32))
    pixels = np.stack([x * 6, y * 7, (x + y) * 3], -1).astype(np.uint8)
    for name in FOLDERS:
        for label in ("cat", "dog"):
            (top / name / label).mkdir(parents=True)
            for number in range(2):
                path = top / name / label / f"{number}.jpg"
                Image.fromarray(pixels).save(path, quality=90, subsampling=0)
    jpeg = (top / "good" / "cat" / "0.jpg").read_bytes()
    (top / "truncated" / "dog" / "0.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (top / "empty" / "dog" / "0.jpg").write_bytes(b"")
    (top / "corrupt" / "dog" / "0.jpg").write_bytes(jpeg[:20] + bytes(100) + jpeg[120:])
    (top / "text" / "dog" / "0.jpg").write_text("<html>404 Not Found</html>")
    (top / "huge" / "dog" / "0.png").write_bytes(huge_png())
    for name in ("no_images", "webp_only"):
        for path in (top / name).glob("*/*.jpg"):
            path.unlink()
    (top / "webp_only" / "cat" / "0.webp").write_bytes(b"RIFF")
    for path in list((top / "flat").glob("*/*.jpg")):
        path.rename(top / "flat" / f"{path.parent.name}{path.name}")
    for label in ("cat", "dog"):
        (top / "flat" / label).rmdir()
    shutil.rmtree(top / "one_class" / "dog")
    shutil.copytree(top / "three_classes" / "cat", top / "three_classes" / "fox")
    (top / "loop" / "dog" / "0.jpg").unlink()
    (top / "loop" / "dog" / "0.jpg").symlink_to("0.jpg")


def folder(name: str, **arguments):
    arguments = {"image_size": (8, 8), "shuffle": False, "verbose": False, **arguments}
    return keras.utils.image_dataset_from_directory(name, **arguments)


def flow(name: str, **arguments):
    arguments = {"target_size": (8, 8), "shuffle": False, **arguments}
    return keras.preprocessing.image.ImageDataGenerator().flow_from_directory(name, **arguments)


def head(units: int = 2, activation: str | None = "softmax", loss: str | None = None, **arguments):
    """A small model for images of 8 x 8 pixels, compiled if a loss is given."""
    dense = keras.layers.Dense(units, activation=activation, name="head")
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), dense], name="model")
    if loss:
        model.compile("sgd", loss, **arguments)
    return model


def remove(path: str) -> None:
    os.unlink(path)


def write_weights(top: Path) -> None:
    mobile = keras.applications.MobileNetV2(alpha=0.35, input_shape=(32, 32, 3), weights=None)
    mobile.save_weights(top / "mobilenet.weights.h5")
    head(2).save_weights(top / "two_classes.weights.h5")
    head(2).save(top / "model.keras")
    content = (top / "two_classes.weights.h5").read_bytes()
    (top / "cut.weights.h5").write_bytes(content[: len(content) // 2])
    (top / "page.weights.h5").write_text("<html>404 Not Found</html>")
    (top / "cut.keras").write_bytes((top / "model.keras").read_bytes()[:500])
    with h5py.File(top / "legacy.h5", "w") as f:
        f.attrs["layer_names"] = np.array([b"conv"])
        f.attrs["backend"], f.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        group = f.create_group("conv")
        group.attrs["weight_names"] = np.array([b"conv/kernel:0"])
        group["conv/kernel:0"] = np.zeros((3, 3, 3, 8), "f4")
    (top / "cache" / "models").mkdir(parents=True)
    name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (top / "cache" / "models" / name).write_bytes(b"damaged")


# ---- the snippets --------------------------------------------------------------------------------

ONE_HOT = {"label_mode": "categorical"}
IMAGES = """
head(loss="sparse_categorical_crossentropy").fit(folder("truncated"), verbose=0)
head(loss="sparse_categorical_crossentropy").fit(folder("empty"), verbose=0)
head(loss="sparse_categorical_crossentropy").fit(folder("corrupt"), verbose=0)
head(loss="sparse_categorical_crossentropy").fit(folder("text"), verbose=0)
head(loss="sparse_categorical_crossentropy").fit(folder("huge"), verbose=0)
head(loss="sparse_categorical_crossentropy").fit(folder("loop"), verbose=0)
data = folder("gone"); remove("gone/dog/0.jpg"); head().predict(data, verbose=0)
head().predict(flow("truncated"), verbose=0)
head().predict(flow("empty"), verbose=0)
head().predict(flow("corrupt"), verbose=0)
head().predict(flow("text"), verbose=0)
head().predict(flow("huge"), verbose=0)
head().predict(folder("truncated", on_bad_image="skip"), verbose=0)
head().predict(folder("huge", on_bad_image="skip"), verbose=0)
head().predict(flow("text", on_bad_image="skip"), verbose=0)
head().predict(folder("truncated").map(lambda x, y: (x / 255, y)), verbose=0)
keras.utils.load_img("truncated/dog/0.jpg")
keras.utils.load_img("empty/dog/0.jpg")
keras.utils.load_img("corrupt/dog/0.jpg")
keras.utils.load_img("text/dog/0.jpg")
keras.utils.load_img("huge/dog/0.png")
keras.utils.load_img("nowhere.jpg")
keras.utils.load_img("good")
folder("good", on_bad_image="ignore")
"""

DATA = """
folder("nowhere")
folder("good/cat/0.jpg")
folder("no_images")
folder("flat")
folder("webp_only")
folder("one_class", label_mode="binary")
folder("three_classes", label_mode="binary")
folder("good", class_names=["cat", "dogs"])
folder("good", color_mode="bgr")
folder("good", imagesize=(8, 8))
folder("good", label_mode="categoricl")
folder("good", validation_split=0.2, subset="train", seed=1)
flow("nowhere")
flow("no_images")
flow("flat")
flow("one_class", class_mode="binary")
flow("three_classes", class_mode="binary")
flow("good", target=(8, 8))
flow("good", class_mode="categoricl")
keras.preprocessing.image.ImageDataGenerator(rescal=1 / 255)
keras.preprocessing.image.ImageDataGenerator(keras.applications.resnet50.preprocess_input)
"""

LABELS = """
head(2, loss="categorical_crossentropy").fit(folder("one_class", **ONE_HOT), verbose=0)
head(2, loss="categorical_crossentropy").fit(flow("one_class"), verbose=0)
head(2, loss="categorical_crossentropy").evaluate(flow("one_class"), verbose=0)
head(2, loss="sparse_categorical_crossentropy").fit(folder("one_class"), verbose=0)
head(1, "sigmoid", "binary_crossentropy").fit(folder("one_class"), verbose=0)
head(1, "sigmoid", "binary_crossentropy").fit(flow("one_class", class_mode="sparse"), verbose=0)
head(2, loss="categorical_crossentropy").fit(folder("good"), verbose=0)
head(2, loss="sparse_categorical_crossentropy").fit(flow("good"), verbose=0)
head(2, loss="sparse_categorical_crossentropy").fit(folder("three_classes"), verbose=0)
head(2, loss="categorical_crossentropy").fit(flow("three_classes"), verbose=0)
head(1, "sigmoid", "binary_crossentropy").fit(flow("good"), verbose=0)
head(1, "sigmoid", "binary_crossentropy").fit(folder("three_classes"), verbose=0)
head(1, "softmax", "categorical_crossentropy").fit(folder("good"), verbose=0)
head(2, loss="categorical_crossentropy").fit(np.zeros((4, 8, 8, 3)), np.zeros(4), verbose=0)
head(2, loss="categorical_crossentropy").fit(np.zeros((4, 8, 8, 3)), np.zeros((3, 2)), verbose=0)
head(2, loss="categorical_crossentropy").fit(np.zeros((4, 8, 8, 3)), ["cat", "dog"] * 2, verbose=0)
head(2, loss="categorical_crossentropy").fit(np.zeros((4, 8, 8, 3)), verbose=0)
head(2, loss="categorical_crossentropy").fit("good", verbose=0)
head(2, loss="categorical_crossentropy").fit(flow("good"), y=[0, 0, 1, 1], verbose=0)
head(2, loss="binary_crossentropy")
head(1, "softmax", "categorical_crossentropy")
"""

SHAPES = """
head().predict(np.zeros((2, 8, 8, 1)), verbose=0)
head().predict(np.zeros((2, 8, 8, 4)), verbose=0)
head().predict(np.zeros((8, 8, 3)), verbose=0)
head().predict(np.zeros((2, 9, 8, 3)), verbose=0)
head().predict(np.zeros((2, 3, 8, 8)), verbose=0)
head(loss="sparse_categorical_crossentropy").fit(folder("good", color_mode="grayscale"), verbose=0)
head(loss="categorical_crossentropy").fit(flow("good", color_mode="rgba"), verbose=0)
head(loss="categorical_crossentropy").fit(flow("good", target_size=(16, 8)), verbose=0)
keras.applications.ResNet50(weights=None, include_top=False)(keras.Input((64, 64, 1)))
keras.applications.ResNet50(weights="imagenet", include_top=False, input_shape=(64, 64, 1))
keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 64))
keras.applications.ResNet50(weights=None, include_top=False, input_shape=(16, 16, 3))
"""

WEIGHTS = """
keras.applications.ResNet50(include_top=False, weights="imagenet")
keras.applications.EfficientNetLite1(weights="imagenet")
keras.applications.ResNet50(weights="imagenets")
keras.applications.ResNet50(weights="nowhere.h5")
keras.applications.ResNet50(weights="mobilenet.weights.h5")
keras.applications.ResNet50(weights="legacy.h5", include_top=False)
head(2).load_weights("nowhere.weights.h5")
head(3).load_weights("two_classes.weights.h5")
head(2).load_weights("mobilenet.weights.h5")
head(2).load_weights("cut.weights.h5")
head(2).load_weights("page.weights.h5")
head(2).load_weights("model.pth")
head(2).load_weights("legacy.h5")
head(2).save_weights("model.hdf")
head(2).save("model.kears")
keras.models.load_model("nowhere.keras")
keras.models.load_model("cut.keras")
keras.models.load_model("two_classes.weights.h5")
keras.models.load_model("good")
"""

NAMES = """
keras.applications.Resnet50()
keras.applications.resnet50.ResNet50(include_tops=False)
keras.applications.resnet5
head().compile("adm", "mse")
head().compile("adam", "categorical_crosentropy")
head().compile("adam", "mse", metrics=["acuracy"])
head().compile("adam", "mse", metric=["accuracy"])
head().compile("adam", losses="mse")
keras.optimizers.Adam(learningrate=0.1)
keras.losses.CategoricalCrossentropy(from_logit=True)
keras.metrics.BinaryAccuracy(treshold=0.5)
keras.optimizers.Adm()
keras.losses.CategoricalCrosentropy()
keras.callbacks.EarlyStoping()
keras.layers.GlobalAveragePooling2d()
keras.layers.Dense(2, activaton="softmax")
keras.utils.image_dataset_from_dir("good")
setattr(head(), "training", False)
setattr(head(), "trainabel", False)
setattr(head(), "trainable", "no")
setattr(head().layers[0], "training", False)
head().get_layer("hed")
head().get_layer(index=9)
head().fit(np.zeros((4, 8, 8, 3)), np.zeros(4))
head(loss="mse").fit(np.zeros((4, 8, 8, 3)), np.zeros((4, 2)), epoch=3)
head(loss="mse").fit(np.zeros((4, 8, 8, 3)), np.zeros((4, 2)), batchsize=3)
head(loss="mse").fit(np.zeros((4, 8, 8, 3)), np.zeros((4, 2)), on_bad_image="skip")
head(loss="mse").evaluate(np.zeros((4, 8, 8, 3)), np.zeros((4, 2)), verbos=0)
head().predict(np.zeros((4, 8, 8, 3)), batchsize=1)
keras.callbacks.EarlyStopping(moniter="loss")
head(loss="mse").fit(np.zeros((4, 8, 8, 3)), np.zeros((4, 2)), verbose=0, callbacks=[keras.callbacks.EarlyStopping("val_los")])
keras.callbacks.ModelCheckpoint("best.kears")
keras.callbacks.ModelCheckpoint("best.keras", save_weights_only=True)
tf.data.AUTOTUN
tf.arg_max
tf.GradientTape
keras.Modle
keras.Model(keras.Input((3,)))
"""  # noqa: E501

TOPICS = {
    "images": IMAGES, "data": DATA, "labels": LABELS, "shapes": SHAPES, "weights": WEIGHTS,
    "names": NAMES,
}  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with folders of images and weight files to go wrong with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLFAST_OFFLINE", "1")
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    write_folders(tmp_path)
    return tmp_path


def outcome(code: str, place: Path) -> str:
    """Type and text of what a snippet raises, or of what it warns of."""
    keras.backend.clear_session()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", TlfastWarning)
        try:
            names = dict(globals())
            exec(compile(code, "snippet.py", "exec"), names)
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        else:
            assert seen, f"{code} raises nothing and warns of nothing"
            result = "\n".join(f"{w.category.__name__}: {w.message}" for w in seen)
    result = result.replace(str(place) + "/", "").replace(str(place), "DIR")
    # What there is changes with every new network, loss or metric.
    result = re.sub(r"(It has|Known names|It takes|Known arguments): [\w, ]+\.", r"\1: ...", result)
    # Pillow's own words differ from version to version.
    result = re.sub(r"': [^']*( \(damaged or truncated\))", r"': ...\1", result)
    return re.sub(r" at 0x[0-9a-f]+", "", result)


@pytest.mark.parametrize("topic", TOPICS)
def test_texts(topic, place, capsys):
    if topic == "weights":
        write_weights(place)
    snippets = TOPICS[topic].strip().split("\n")
    got = "\n".join(f">>> {code}\n{outcome(code, place)}\n" for code in snippets)
    path = GOLDEN / f"{topic}.txt"
    if os.environ.get("TLFAST_WRITE_ERRORS"):
        path.write_text(got, "utf-8")
    assert got == path.read_text("utf-8")
