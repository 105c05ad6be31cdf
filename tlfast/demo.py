"""`tlfast demo`: the main job from images on disk to a saved model, with public calls only.

The default images are those of the PyPI package `elpv-dataset`: 2,624 photographs of solar cells
in electroluminescence light (Deitsch et al., Solar Energy 185, 2019). The task keeps the cells
that are certainly functional or certainly defective (probability of a defect 0 or 1).
"""

import argparse
import importlib.util
import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlfast.commands import CommandError

FOLDER = Path("tlfast-demo")
LICENCE = (
    "Images: elpv-dataset (Buerhop-Lutz, Deitsch, Maier, Gallwitz, Brabec), "
    "CC BY-NC-SA 4.0, not for commercial use."
)
SIZE = (224, 224)
BATCH = 32
EPOCHS, QUICK_EPOCHS = 20, 3
# The best of five on a validation part of the training images: benchmarks/demo_rate.py.
LEARNING_RATE = 2e-3
QUICK_IMAGES = 24  # per class and part
TEST_SHARE = 0.25
ENDINGS = (".jpg", ".jpeg", ".png")


def run(options: argparse.Namespace) -> int:
    """Run the demo that the command line asks for; returns the exit status."""
    if options.epochs is not None and options.epochs < 1:
        raise CommandError(f"--epochs must be 1 or more, given {options.epochs}")
    if options.data and (options.seeds or options.split != "random"):
        raise CommandError("--split group and --seeds are about the solar cells: leave out --data")
    print(f"Everything is written to {FOLDER.resolve()}")
    started = time.perf_counter()
    if options.data:
        parts = own_images(Path(options.data), options)
    else:
        print(LICENCE)
        parts = solar_cells(options.split, options.seed, options.fold, options.quick)
    FOLDER.mkdir(exist_ok=True)
    same = whole_job(parts, options)
    print(f"The whole demo took {time.perf_counter() - started:.1f} s.")
    if options.seeds:
        print_spread(options)
    return 0 if same else 1


def whole_job(parts: tuple[Path, Path], options: argparse.Namespace) -> bool:
    """Train, evaluate, predict, save, load; True where the loaded model gives the same numbers."""
    from tlfast import keras

    train, test = datasets(parts, options.seed)
    names = train.class_names
    print(f"Classes: {', '.join(names)}")
    keras.utils.set_random_seed(options.seed)
    model = build_model(len(names))
    model.summary()
    epochs = options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS)
    started = time.perf_counter()
    model.fit(train, epochs=epochs)
    print(f"{epochs} epochs took {time.perf_counter() - started:.1f} s.")

    print("\nOn the test part, which the training has not seen:")
    loss, accuracy = model.evaluate(test, verbose=0)
    probabilities = model.predict(test, verbose=0)
    truth = labels_of(test)
    print(f"loss {loss:.4f}  accuracy {accuracy:.4f}  balanced accuracy "
          f"{balanced_accuracy(truth, probabilities):.4f}")  # fmt: skip
    print_table(truth, probabilities, names)

    chosen = some_files(test.file_paths, truth)
    print("\nSingle images:")
    single = predict_files(model, chosen)
    for path, row in zip(chosen, single, strict=True):
        best = int(row.argmax())
        print(f"  {Path(path).parent.name}/{Path(path).name}: {names[best]} {row[best]:.1%}")

    target = FOLDER / "model.keras"
    model.save(target)
    loaded = keras.models.load_model(target)
    same = np.array_equal(loaded.predict(test, verbose=0), probabilities)
    same = same and np.array_equal(predict_files(loaded, chosen), single)
    same = same and loaded.evaluate(test, verbose=0) == [loss, accuracy]
    print(f"\nSaved to {target} and loaded again: "
          f"{'the same numbers, bit for bit' if same else 'OTHER NUMBERS'}.")  # fmt: skip
    return same


def build_model(n_classes: int) -> Any:
    """A frozen EfficientNet-Lite0 with a new softmax head, compiled."""
    from tlfast import keras

    base = keras.applications.EfficientNetLite0(
        include_top=False, weights="imagenet", input_shape=(*SIZE, 3), pooling="avg"
    )
    base.trainable = False
    inputs = keras.Input(shape=(*SIZE, 3))
    x = keras.applications.efficientnet_lite.preprocess_input(inputs)
    # training=False: the random paths of a network that learns nothing would only add noise, and
    # without them the features can be computed once.
    x = base(x, training=False)
    outputs = keras.layers.Dense(n_classes, activation="softmax")(x)
    model = keras.Model(inputs, outputs, name="demo")
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def datasets(parts: tuple[Path, Path], seed: int) -> tuple[Any, Any]:
    """(train, test) datasets; the test part keeps the order of its files."""
    from tlfast import keras

    common: dict[str, Any] = {"image_size": SIZE, "batch_size": BATCH}
    train: Any = keras.utils.image_dataset_from_directory(parts[0], seed=seed, **common)
    test: Any = keras.utils.image_dataset_from_directory(parts[1], shuffle=False, **common)
    if train.class_names != test.class_names:
        raise CommandError(
            f"{parts[0]} has the classes {train.class_names}, {parts[1]} has {test.class_names}: "
            "both need the same folders"
        )
    return train, test


def labels_of(dataset: Any) -> np.ndarray:
    """Class indices of a dataset in its order."""
    return np.concatenate([np.asarray(labels) for _, labels in dataset])


def balanced_accuracy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over the classes present of the share of their images that are found."""
    right = probabilities.argmax(axis=1) == truth
    return float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))


def print_table(truth: np.ndarray, probabilities: np.ndarray, names: list[str]) -> None:
    """Rows: what the images are; columns: what the model says."""
    said = probabilities.argmax(axis=1)
    width = max(10, *(len(name) for name in names))
    print(" " * (width + 10) + "".join(f"{name:>{width + 2}}" for name in names))
    for index, name in enumerate(names):
        counts = [int(np.sum((truth == index) & (said == c))) for c in range(len(names))]
        print(f"  {name:>{width}} is said"[: width + 10].ljust(width + 10)
              + "".join(f"{count:>{width + 2}}" for count in counts))  # fmt: skip


def some_files(paths: list[str], truth: np.ndarray, per_class: int = 2) -> list[str]:
    """The first files of each class."""
    chosen = []
    for index in np.unique(truth):
        chosen += [paths[i] for i in np.flatnonzero(truth == index)[:per_class]]
    return chosen


def predict_files(model: Any, paths: list[str]) -> np.ndarray:
    """Outputs for image files one by one, with the pixels that the dataset would give."""
    from tlfast.data._pixels import PixelReader, PixelSpec

    spec = PixelSpec(*SIZE, 3, "bilinear", "keras")
    reader = PixelReader(list(paths), spec, "error")
    rows = [np.array([index]) for index in range(len(paths))]
    images = [image for image, _, _ in reader.read(rows)]
    return np.concatenate([model.predict(image, verbose=0) for image in images])


# ---- the images ----


def own_images(top: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    """(train, test) folders of the user's own images, split here where DIR does not say how."""
    if not top.is_dir():
        raise CommandError(f"--data {top}: there is no such folder")
    divided = (top / "train").is_dir() and (top / "test").is_dir()
    found = {part: class_files(top / part) for part in (("train", "test") if divided else ("",))}
    for part, classes in found.items():
        counts = {name: len(files) for name, files in classes.items()}
        if len([name for name, count in counts.items() if count >= 2]) < 2:
            raise CommandError(
                f"{top / part} needs two or more class folders with two or more JPEG or PNG "
                f"images each, found {counts or 'no folder'}; expected {top}/<class>/*.jpg, or "
                f"{top}/train/<class>/*.jpg and {top}/test/<class>/*.jpg"
            )
    if divided and not options.quick:
        return top / "train", top / "test"
    if not divided:
        found = split_files(found[""], options.seed)
    target = FOLDER / "images-own"
    shutil.rmtree(target, ignore_errors=True)
    for part, classes in found.items():
        for name, files in classes.items():
            for file in files[: QUICK_IMAGES if options.quick else None]:
                flat = "_".join(file.relative_to(top).parts)
                place(file, target / part / name / flat)
        print(f"{part}: {', '.join(f'{len(f)} {name}' for name, f in classes.items())}")
    return target / "train", target / "test"


def class_files(folder: Path) -> dict[str, list[Path]]:
    """JPEG and PNG files in and below each folder of a folder, sorted."""
    return {
        path.name: sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.resolve() != FOLDER.resolve()
    }


def split_files(classes: dict[str, list[Path]], seed: int) -> dict[str, dict[str, list[Path]]]:
    """A quarter of each class, at least one image, becomes the test part."""
    parts: dict[str, dict[str, list[Path]]] = {"train": {}, "test": {}}
    shuffler = random.Random(seed)
    for name, files in classes.items():
        files = list(files)
        shuffler.shuffle(files)
        n_test = max(1, round(TEST_SHARE * len(files)))
        parts["test"][name], parts["train"][name] = files[:n_test], files[n_test:]
    return parts


def solar_cells(split: str, seed: int, fold: int, quick: bool) -> tuple[Path, Path]:
    """Folders (train, test) of the solar cells, made from the installed package elpv-dataset."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise CommandError(
            "the images of the demo are not installed: pip install 'elpv-dataset==1.0.0.post1' "
            "(90 MB), or use your own with --data DIR"
        )
    source = Path(spec.submodule_search_locations[0]) / "data"
    name = f"random-{seed}" if split == "random" else f"group-{fold}"
    target = FOLDER / f"images-{name}{'-quick' if quick else ''}"
    count: defaultdict[tuple[str, str], int] = defaultdict(int)
    for part, label, file in split_cells(source / "labels.csv", split, seed, fold):
        if quick and count[part, label] >= QUICK_IMAGES:
            continue
        count[part, label] += 1
        place(source / file, target / part / label / Path(file).name)
    for part in ("train", "test"):
        listed = ", ".join(f"{n} {label}" for (p, label), n in sorted(count.items()) if p == part)
        print(f"{part}: {listed}")
    return target / "train", target / "test"


def split_cells(labels: Path, split: str, seed: int, fold: int) -> Iterator[tuple[str, str, str]]:
    """Yield (part, class, file) of every cell that is certainly functional or defective.

    random: a quarter of each kind of module and class, drawn with the seed.
    group: cells in runs of 120 consecutive numbers, every fourth run is the test part;
    neighbouring cells come from one module, so this is the stricter one.
    """
    strata: defaultdict[tuple[str, float], list[str]] = defaultdict(list)
    for line in labels.read_text().splitlines():
        file, probability, kind = line.split()
        if float(probability) in (0.0, 1.0):
            strata[kind, float(probability)].append(file)
    shuffler = random.Random(seed)
    for (_, defect), files in sorted(strata.items()):
        files.sort()
        if split == "random":
            shuffler.shuffle(files)
        first_test = len(files) - round(TEST_SHARE * len(files))
        for index, file in enumerate(files):
            if split == "random":
                is_test = index >= first_test
            else:
                is_test = (int(Path(file).stem[-4:]) - 1) // 120 % 4 == fold
            label = "defective" if defect else "functional"
            yield "test" if is_test else "train", label, file


def place(source: Path, target: Path) -> None:
    """Put a symbolic link to a file, or a copy where the file system has no links."""
    if target.is_symlink():
        target.unlink()  # it may point into an environment that is gone
    elif target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source.resolve())
    except OSError:
        part = target.with_suffix(".part")
        shutil.copyfile(source, part)
        os.replace(part, target)


# ---- several splits ----


def print_spread(options: argparse.Namespace) -> None:
    """Accuracy over three random splits and over the four folds of the group split."""
    from tlfast import keras

    epochs = options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS)
    print(f"\nOther splits, {epochs} epochs each:")
    for split, numbers in (("random", range(3)), ("group", range(4))):
        scores = []
        for number in numbers:
            seed, fold = (number, 0) if split == "random" else (options.seed, number)
            train, test = datasets(solar_cells(split, seed, fold, options.quick), seed)
            keras.utils.set_random_seed(seed)
            model = build_model(len(train.class_names))
            model.fit(train, epochs=epochs, verbose=0)
            probabilities, truth = model.predict(test, verbose=0), labels_of(test)
            accuracy = float(np.mean(probabilities.argmax(axis=1) == truth))
            scores.append((accuracy, balanced_accuracy(truth, probabilities)))
            print(f"  {split} {number}: accuracy {accuracy:.4f}  balanced {scores[-1][1]:.4f}")
        means, spread = np.mean(scores, axis=0), np.std(scores, axis=0)
        print(
            f"  {split}, mean of {len(scores)}: accuracy {means[0]:.4f} +- {spread[0]:.4f}  "
            f"balanced {means[1]:.4f} +- {spread[1]:.4f}"
        )
