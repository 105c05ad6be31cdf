"""`predict` on image files: what the model says of each, in words.

How files become inputs, and what the outputs are called, is in the model's record: `fit` puts it
there, model files carry it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlfast import _class_names, _targets
from tlfast._arguments import check_batch_size
from tlfast.data._pipeline import KEY, Pipeline, stored_pipeline
from tlfast.saving.record import get_record

_BATCH = 32


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of one image file.

    Attributes:
        path: the file, as it was given.
        name: the class: that of the largest output, or for one output the side of the middle it
            lies on. The number as text where the model has no name for it.
        score: of this class: a probability behind softmax and sigmoid, else the output itself.
        scores: all outputs, as `predict` gives them for an array.
    """

    path: str
    name: str
    score: float
    scores: np.ndarray
    _names: tuple[str, ...]
    _each: np.ndarray  # score of each name
    _percent: bool

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the `k` classes with the largest scores, the largest first.

        Args:
            k: how many at most.

        Raises:
            ValueError: `k` is below 0.
        """
        if k < 0:
            raise ValueError(f"top(k={k!r}): `k` is a number of classes, 0 or more")
        order = np.argsort(-self._each, kind="stable")[:k]
        return [(self._names[i], float(self._each[i])) for i in order]

    def __str__(self) -> str:
        score = f"{self.score:.1%}" if self._percent else f"{self.score:.4g}"
        return f"{self.path}: {self.name} ({score})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.scores, dtype, copy=copy)


def _both(scores: np.ndarray, probability: bool) -> np.ndarray:
    """The scores of both classes of a model with one output, which is that of the second."""
    return np.concatenate([1 - scores if probability else -scores, scores])


def predict_files(model: Any, x: Any, batch_size: int | None, **options: Any) -> Any:
    """Return what a model says of image files.

    Args:
        model: a built model with one input and one output.
        x: a path, or a list of paths.
        batch_size: files read at a time; None: 32.
        **options: of `predict`.

    Returns:
        An `Answer`, or a list of them: fewer where a callback ended it early.

    Raises:
        ValueError: the model does not say how to read a file, or is none of image classes.
    """
    check_batch_size(batch_size)
    paths = [os.fspath(path) for path in (x if isinstance(x, (list, tuple)) else [x])]
    _check_files(paths)
    pipeline = _pipeline(model)
    names = _names(model)
    scores = model.predict(pipeline.dataset(paths, batch_size or _BATCH), **options)
    activation = _targets.output_activation(model, 0)
    percent = activation in ("softmax", "sigmoid")
    answers = [_answer(path, row, names, percent) for path, row in zip(paths, scores, strict=False)]
    return answers if isinstance(x, (list, tuple)) else answers[0]


def _answer(path: str, scores: np.ndarray, names: Sequence[str], percent: bool) -> Answer:
    each = scores if len(scores) > 1 else _both(scores, percent)
    best = int(each.argmax())
    return Answer(path, names[best], float(each[best]), scores, tuple(names), each, percent)


def _check_files(paths: Sequence[str]) -> None:
    for path in paths:
        if os.path.isdir(path):
            raise ValueError(
                f"predict takes arrays, a dataset or image files, and {path!r} is a folder. List "
                "its files, sorted(pathlib.Path(folder).glob('*.jpg')), or read it with "
                "image_dataset_from_directory(folder, labels=None, shuffle=False)"
            )


def _names(model: Any) -> list[str]:
    outputs = model.outputs
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[-1] is None:
        raise ValueError(
            f"predict names the class of a file for models with one output per class; the outputs "
            f"of '{model.name}' have the shapes {[tuple(t.shape) for t in outputs]}. Pass arrays: "
            "keras.utils.load_img and img_to_array read a file"
        )
    classes = max(outputs[0].shape[-1], 2)
    names = _class_names.stored(model) or []
    if len(names) > classes:
        raise ValueError(
            f"model '{model.name}' tells {classes} classes apart and has {len(names)} class_names: "
            f"{names[:5]}. Set model.class_names to the names of its classes, or to None"
        )
    return names + [str(i) for i in range(len(names), classes)]


def _pipeline(model: Any) -> Pipeline:
    found = get_record(model).get(KEY)
    remedy = (
        "Pass arrays prepared as those of the training: keras.utils.load_img(file, "
        "target_size=...) and img_to_array read a file"
    )
    if found is None:
        raise ValueError(
            f"model '{model.name}' does not know how an image file becomes its input: fit notes it "
            "when it is given image files (image_dataset_from_directory, flow_from_directory), and "
            f"model.save stores it. {remedy}"
        )
    try:
        pipeline = stored_pipeline(found, model.input_shape)
    except ValueError as exc:
        raise ValueError(
            f"model '{model.name}': how to read image files is stored in a form that does not fit "
            f"({exc}). {remedy}"
        ) from exc
    if pipeline.own is not None:
        raise ValueError(
            f"model '{model.name}' was trained on pictures that went through {pipeline.own}, and "
            "no model file holds your code. Do that step in the model instead (Rescaling, or "
            f"preprocess_input on the Input), and a file is enough. {remedy}"
        )
    return pipeline
