"""The images of a comparison: found, hashed, and divided into three parts that share no image."""

import hashlib
import json
import os
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tlfast.data import _files
from tlfast.data.directory import ENDINGS

NAMES = ("train", "validation", "test")
_GIVEN_NAMES = {"validation": ("validation", "val", "valid")}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Image:
    """One file: its path, the number of its class, the hash of its bytes."""

    path: str
    label: int
    digest: str


@dataclass
class Parts:
    """Train, validation and test images.

    Attributes:
        class_names: names in the order of the class numbers.
        images: the images of each part, sorted by class and path.
        notes: sentences about what was left out, and where the parts come from.
    """

    class_names: list[str]
    images: dict[str, list[Image]]
    notes: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Changes when an image, a label, a part or the order of the files changes."""
        listed = [[(i.digest, i.label) for i in self.images[name]] for name in NAMES]
        text = json.dumps([self.class_names, listed])
        return hashlib.sha256(text.encode()).hexdigest()

    def counts(self) -> dict[str, list[int]]:
        """Images of each class in each part."""
        n = len(self.class_names)
        return {
            name: np.bincount([i.label for i in images], minlength=n).tolist()
            for name, images in self.images.items()
        }

    def describe(self) -> list[str]:
        """One line per part, then the notes."""
        lines = []
        for name, counts in self.counts().items():
            listed = ", ".join(
                f"{count} {c}" for count, c in zip(counts, self.class_names, strict=True)
            )
            lines.append(f"{name}: {sum(counts)} images ({listed})")
        return lines + self.notes


def divide(
    folder: str | os.PathLike[str],
    validation: float = 0.2,
    test: float = 0.25,
    seed: int = 0,
) -> Parts:
    """Divide the images of a folder into train, validation and test.

    DIR/train/<class> and DIR/test/<class> are taken as they are, DIR/validation (or val, valid)
    too where there is one; else images of DIR/train, or of DIR/<class>, are drawn class by class.
    Files with the same bytes count once; where parts are given, test wins over validation and
    both over train.

    Args:
        folder: the folder.
        validation: share of each class's training images that becomes the validation part.
        test: share of each class that becomes the test part, where no test folder is given.
        seed: of the draw.

    Raises:
        ValueError: a class has too few images, the parts have other classes, or files with the
            same bytes stand in two classes.
        OSError: the folder or a file cannot be read.
    """
    for name, share in (("validation", validation), ("test", test)):
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
            raise ValueError(f"`{name}` is a share between 0 and 1, for example 0.2, got {share!r}")
    top = _files.check_directory(folder)
    given = _given_parts(top)
    if "train" not in given:
        given = {"train": top}
    class_names = _class_names(given)
    found = {name: _images(path, class_names) for name, path in given.items()}
    notes = _drop_repeated(found, class_names)
    if "test" in given:
        notes.append("the test part is the folder given")
    else:
        found["train"], found["test"] = _drawn(found["train"], test, seed)
    if "validation" in given:
        notes.append("the validation part is the folder given")
    else:
        found["train"], found["validation"] = _drawn(found["train"], validation, seed + 1)
    parts = Parts(class_names, {name: found[name] for name in NAMES}, notes)
    _check_sizes(parts, top)
    return parts


def _given_parts(top: str) -> dict[str, str]:
    """Folders of the parts that the user has divided already."""
    given = {}
    for name in NAMES:
        for spelling in _GIVEN_NAMES.get(name, (name,)):
            path = os.path.join(top, spelling)
            if name not in given and os.path.isdir(path):
                given[name] = path
    return given


def _class_names(given: dict[str, str]) -> list[str]:
    names = {part: _files.class_folders(path) for part, path in given.items()}
    for part, found in names.items():
        if found != names["train"]:
            raise ValueError(
                f"{given['train']!r} has the class folders {names['train']}, {given[part]!r} has "
                f"{found}: all parts need the same."
            )
    if len(names["train"]) < 2:
        raise ValueError(
            f"{given['train']!r} needs two or more class folders, found {names['train'] or 'none'};"
            " expected DIR/<class>/*.jpg, or DIR/train/<class> and DIR/test/<class>."
        )
    return names["train"]


def _images(folder: str, class_names: list[str]) -> list[Image]:
    """The images of a folder, sorted by class, then by path as image_dataset_from_directory."""
    images = []
    for label, name in enumerate(class_names):
        listing = _files.list_files(os.path.join(folder, name), ENDINGS, follow_links=False)
        for where, file in listing.files:
            path = os.path.join(where, file)
            images.append(Image(path, label, file_digest(path)))
    return images


def file_digest(path: str) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _drop_repeated(found: dict[str, list[Image]], class_names: list[str]) -> list[str]:
    """Keep one of the files with the same bytes: the one whose part wins, then the first path."""
    labels: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for images in found.values():
        for image in images:
            labels[image.digest].setdefault(image.label, image.path)
    for paths in labels.values():
        if len(paths) > 1:
            first, second = list(paths.items())[:2]
            raise ValueError(
                f"The same image stands in two classes: {first[1]!r} ({class_names[first[0]]}) and "
                f"{second[1]!r} ({class_names[second[0]]}). Remove the wrong one."
            )
    seen: set[str] = set()
    notes = []
    for part in ("test", "validation", "train"):
        kept = []
        for image in found.get(part, []):
            if image.digest not in seen:
                kept.append(image)
            seen.add(image.digest)
        if part in found and len(kept) < len(found[part]):
            notes.append(
                f"{len(found[part]) - len(kept)} files of the {part} folder left out: another file "
                "has the same bytes"
            )
            found[part] = kept
    return notes


def _drawn(images: Sequence[Image], share: float, seed: int) -> tuple[list[Image], list[Image]]:
    """(rest, drawn): the same share of each class, at least one image."""
    draw = random.Random(seed)
    by_class: defaultdict[int, list[Image]] = defaultdict(list)
    for image in images:
        by_class[image.label].append(image)
    rest: list[Image] = []
    drawn: list[Image] = []
    for _, members in sorted(by_class.items()):
        # By content, so that renaming or moving files does not change the parts.
        chosen = sorted(members, key=lambda image: image.digest)
        draw.shuffle(chosen)
        taken = {image.digest for image in chosen[: max(1, round(share * len(members)))]}
        rest += [image for image in members if image.digest not in taken]
        drawn += [image for image in members if image.digest in taken]
    return rest, drawn


def _check_sizes(parts: Parts, top: str) -> None:
    for name, counts in parts.counts().items():
        for count, class_name in zip(counts, parts.class_names, strict=True):
            if count == 0:
                raise ValueError(
                    f"{top!r}: the {name} part would have no image of the class {class_name!r}; "
                    "every class needs at least 3 different images, or one in each folder given."
                )


def relative(paths: Sequence[str], top: str | os.PathLike[str]) -> list[str]:
    """Paths as they stand below a folder, for a record that can be moved with it."""
    return [Path(os.path.relpath(path, top)).as_posix() for path in paths]
