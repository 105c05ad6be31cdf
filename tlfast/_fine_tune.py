"""`Model.fine_tune`: the head first, then the whole network at rates that fall with depth.

The recipe is that of Howard and Ruder, "Universal Language Model Fine-tuning for Text
Classification" (ACL 2018), sections 3.2 and 3.3, with the proportions of fastai's `fine_tune`: half
the rate after unfreezing, a hundredth of that at the first layer.
"""

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlfast import optimizers
from tlfast._errors import did_you_mean
from tlfast._progress import print_text
from tlfast._warnings import InputRangeWarning
from tlfast.callbacks._base import History

_UNFROZEN_SHARE = 0.5
_VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class _Division:
    """The layers with weights: those of the network that was trained before, and the new ones."""

    body: list[Any]
    head: list[Any]


class FineTuning:
    """The part of a model that fine-tunes it."""

    def fine_tune(
        self,
        data: Any,
        epochs: int,
        freeze_epochs: int = 1,
        base_lr: float = 1e-3,
        head: str | None = None,
        depth_factor: float = 100.0,
        train_bn: bool = False,
        validation_data: Any = None,
        batch_size: int = 32,
        seed: int = 0,
        callbacks: Sequence[Any] | None = None,
        verbose: str | int = "auto",
    ) -> History:
        """Train the head on the frozen network, then everything at a lower rate.

        First `freeze_epochs` with all layers but the head frozen, at `base_lr`. Then `epochs` with
        all layers trained: the head at half of `base_lr`, layers in front of it at rates that fall
        geometrically down to 1 / `depth_factor` of that at the first layer; all of them fall to 0
        along half a cosine. What is done is printed. Not in Keras.

        The model keeps the flags of the second phase: all layers trainable, batch norm not, unless
        `train_bn`.

        Args:
            data: a folder DIR/<class> (or DIR/train/<class>), of which a fifth is held out for
                validation unless `validation_data` is given; or a dataset, an iterator of
                ImageDataGenerator or a pair (x, y) of arrays, as `fit` takes them.
            epochs: passes over the data after unfreezing.
            freeze_epochs: passes over the data before, 0 for none.
            base_lr: learning rate of the head in the first phase.
            head: name of the first layer of the head. None: what stands outside the one model
                inside this model, or the last layer with weights.
            depth_factor: how much lower the rate of the first layer is than that of the head; 1
                gives all layers the same.
            train_bn: False freezes batch norm in both phases: statistics, scale and offset.
            validation_data: as in `fit`.
            batch_size: images per step, for a folder or arrays.
            seed: of the order and the held-out part, for a folder.
            callbacks: for the second phase.
            verbose: as in `fit`; 0 prints nothing at all.

        Returns:
            One history over both phases.

        Raises:
            ValueError: an argument that is not allowed; a model that is not compiled with data
                that are no folder; pixels in a range that the pretrained network was not made for
                (`fit` only warns).
        """
        _check_arguments(epochs, freeze_epochs, base_lr, depth_factor)
        division = _divide(self, head)
        data, validation_data = _prepare_data(self, data, validation_data, batch_size, seed)
        if not self.compiled:
            _compile_for_folder(self)
        settings = {"validation_data": validation_data, "verbose": verbose}
        if isinstance(data, tuple):
            settings |= {"x": data[0], "y": data[1], "batch_size": batch_size}
        else:
            settings["x"] = data
        first = None
        if freeze_epochs:
            _set_flags(self, division.head, train_bn)
            _compile_again(self, base_lr, [])
            _say(verbose, _describe_first(self, division, freeze_epochs, base_lr))
            first = _fit(self, epochs=freeze_epochs, **settings)
        _set_flags(self, division.body + division.head, train_bn)
        factors = depth_factors(division.body, depth_factor)
        steps = _steps(self, settings)
        rate = base_lr * _UNFROZEN_SHARE
        schedule = rate if steps is None else optimizers.schedules.CosineDecay(rate, steps * epochs)
        _compile_again(self, schedule, factors)
        _say(verbose, _describe_second(division, epochs, rate, depth_factor, steps, train_bn))
        history = _fit(
            self, epochs=freeze_epochs + epochs, initial_epoch=freeze_epochs, callbacks=callbacks,
            **settings,
        )  # fmt: skip
        return history if first is None else _joined(first, history)


def _check_arguments(epochs: int, freeze_epochs: int, base_lr: float, depth_factor: float) -> None:
    for name, value, least in (("epochs", epochs, 1), ("freeze_epochs", freeze_epochs, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` is a whole number, {least} or more. Received: {value!r}")
    for name, number, floor in (("base_lr", base_lr, 0.0), ("depth_factor", depth_factor, 1.0)):
        good = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not good or not floor <= number < math.inf or number == 0:
            above = "above 0" if name == "base_lr" else "1 or more"
            raise ValueError(f"`{name}` is a number, {above}. Received: {number!r}")


# ---- layers ----


def _divide(model: Any, head: str | None) -> _Division:
    """Layers with weights in the order of the data's way, parted where the head begins."""
    leaves = [
        layer for layer in model._flatten_layers() if layer.weights and not layer._sublayers()
    ]
    if not leaves:
        raise ValueError(f"model '{model.name}' has no weights to train.")
    inner = [layer for layer in model.layers if layer._sublayers() and layer.weights]
    if head is None and len(inner) == 1:
        inside = {id(layer) for layer in inner[0]._flatten_layers()}
        body = [layer for layer in leaves if id(layer) in inside]
        outside = [layer for layer in leaves if id(layer) not in inside]
        if outside:
            return _Division(body, outside)
    names = [layer.name for layer in leaves]
    if head is not None and head not in names:
        raise ValueError(
            f"head={head!r}: model '{model.name}' has no layer with weights of this name."
            f"{did_you_mean(head, names)} The last ones are: {', '.join(names[-5:])}."
        )
    first = len(names) - 1 if head is None else names.index(head)
    if first == 0:
        raise ValueError(
            f"model '{model.name}' has nothing in front of its head '{names[0]}': there is nothing "
            "to unfreeze. Use `fit`, or name another layer in `head`."
        )
    return _Division(leaves[:first], leaves[first:])


def _set_flags(model: Any, trained: Sequence[Any], train_bn: bool) -> None:
    """Make these layers trainable and all others not."""
    from tlfast.layers import BatchNormalization

    chosen = {
        id(layer) for layer in trained if train_bn or not isinstance(layer, BatchNormalization)
    }
    model.trainable = True
    for layer in model._flatten_layers()[1:]:  # outer before inner
        layer.trainable = any(id(inner) in chosen for inner in layer._flatten_layers())


def depth_factors(body: Sequence[Any], depth_factor: float) -> list[tuple[Any, float]]:
    """(variable, factor on the learning rate) of the layers in front of the head.

    Args:
        body: layers with weights, the first one first.
        depth_factor: the first layer's factor is 1 / depth_factor; the head's would be 1.
    """
    return [
        (variable, depth_factor ** -(1 - place / len(body)))
        for place, layer in enumerate(body)
        for variable in layer.weights
    ]


# ---- compile ----


def _compile_again(model: Any, rate: Any, factors: list[tuple[Any, float]]) -> None:
    """Compile as before, with a new optimizer of the same kind."""
    config = model._compile_config
    names = ("loss", "loss_weights", "metrics", "weighted_metrics")
    made = type(model.optimizer).from_config(
        {**model.optimizer.get_config(), "learning_rate": rate}
    )
    made.set_rate_factors(factors)
    model.compile(optimizer=made, **{name: config[name] for name in names})


def _compile_for_folder(model: Any) -> None:
    """Adam and the cross-entropy of class numbers, for a model with one softmax output."""
    from tlfast import _targets

    units = model.output_shape[-1] if len(model.outputs) == 1 else None
    if units is None or _targets.output_activation(model, 0) != "softmax":
        raise ValueError(
            f"model '{model.name}' is not compiled and does not end in one softmax layer: call "
            "compile() with its loss first."
        )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])


def _fit(model: Any, **arguments: Any) -> History:
    """`fit`, with an error where pixels arrive in a range the weights were not made for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputRangeWarning)
        try:
            return model.fit(**arguments)
        except InputRangeWarning as warning:
            raise ValueError(f"fine_tune wants matching pixels: {warning}") from warning


# ---- data ----


def _prepare_data(
    model: Any, data: Any, validation_data: Any, batch_size: int, seed: int
) -> tuple[Any, Any]:
    """(data, validation data) for `fit`; folders become datasets of the model's size."""
    if not isinstance(data, (str, os.PathLike)):
        if isinstance(data, tuple) and len(data) != 2:
            raise ValueError(
                f"Arrays are given as a pair (x, y). Received: a tuple of {len(data)}; with sample "
                "weights use tlfast.data.Dataset.from_tensor_slices((x, y, weights)).batch(32)."
            )
        if not model.compiled:
            raise ValueError(
                f"model '{model.name}' is not compiled: call compile() with the loss that goes "
                "with the labels first, or give a folder of images."
            )
        return data, validation_data
    from tlfast.utils import image_dataset_from_directory

    folder = os.path.join(data, "train")
    folder = folder if os.path.isdir(folder) else os.fspath(data)
    size = model.input_shape[1:3]
    if None in size:
        raise ValueError(
            f"model '{model.name}' has no fixed image size (inputs {model.input_shape}): give a "
            "dataset with the size you want instead of a folder."
        )
    common = {
        "image_size": size,
        "batch_size": batch_size,
        "seed": seed,
        "label_mode": _label_mode(model),
        "color_mode": {1: "grayscale", 3: "rgb", 4: "rgba"}[model.input_shape[3]],
    }
    if validation_data is not None:
        return image_dataset_from_directory(folder, **common), validation_data
    train, held_out = image_dataset_from_directory(
        folder, validation_split=_VALIDATION_SHARE, subset="both", **common
    )
    return train, held_out


def _label_mode(model: Any) -> str:
    """How labels of folders have to look for the loss."""
    if not model.compiled:
        return "int"
    loss = str(getattr(model.loss, "name", model.loss))
    if "sparse" in loss:
        return "int"
    return "binary" if model.output_shape[-1] == 1 else "categorical"


def _steps(model: Any, settings: dict[str, Any]) -> int | None:
    """Batches of an epoch, or None where that is not known beforehand."""
    data = (settings["x"], settings.get("y"), None)
    return model._source(data, settings.get("batch_size"), "evaluate").num_batches


def _joined(first: History, second: History) -> History:
    """The second history with the epochs of the first in front."""
    second.epoch = first.epoch + second.epoch
    for name, values in second.history.items():
        second.history[name] = first.history.get(name, []) + values
    return second


# ---- words ----


def _say(verbose: str | int, text: str) -> None:
    if verbose != 0:
        print_text(text)


def _describe_first(model: Any, division: _Division, epochs: int, rate: float) -> str:
    count = sum(v.numpy().size for v in model.trainable_weights)
    names = ", ".join(layer.name for layer in division.head)
    return (
        f"{_epochs(epochs)} of the head ({names}: {count:,} weights) at learning rate {rate:g}, "
        f"{len(division.body)} layers in front of it frozen; pixels in a range that the network "
        "was not made for are an error"
    )


def _describe_second(
    division: _Division, epochs: int, rate: float, depth_factor: float, steps: int | None,
    train_bn: bool,
) -> str:  # fmt: skip
    course = "constant (length of the data not known)" if steps is None else "falling to 0"
    norm = "trained with the batch's statistics" if train_bn else "frozen (train_bn=False)"
    return (
        f"{_epochs(epochs)} of all layers: learning rate {rate:g} in the head, "
        f"{rate / depth_factor:g} in {division.body[0].name}, {course}; batch norm {norm}"
    )


def _epochs(count: int) -> str:
    return f"{count} epoch" if count == 1 else f"{count} epochs"
