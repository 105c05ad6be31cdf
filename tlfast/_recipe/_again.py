"""Training again by a recipe, with a look at every mark on the way."""

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlfast import _dtype_policy
from tlfast._recipe import _hashes, _recorder, _starts
from tlfast._recipe._errors import CannotReproduce, Difference
from tlfast._recipe._rebuild import Rebuilder, Store, set_random_state
from tlfast._recipe._schema import check
from tlfast.callbacks._base import Callback

Say = Callable[[str], None]
# What layers, optimizers, data and `fit` raise for arguments that cannot be.
_REFUSALS = (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError)


@dataclass
class Outcome:
    """What came of it, in JSON's types.

    Attributes:
        identical: whether all weights are those of the file, bit by bit.
        sha256: hash of the file's weights, in the order of `model.weights`.
        fits, steps: how many were done.
        difference: the first thing that differs, or None.
        details: sentences about the difference, the likely causes among them.
        surroundings: what is otherwise here than where the model was trained: [name, then, now].
        notes: what the recipe says was left out.
        seconds: time taken.
    """

    identical: bool
    sha256: str
    fits: int = 0
    steps: int = 0
    difference: str | None = None
    details: list[str] = field(default_factory=list)
    surroundings: list[list[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def reproduce(
    path: str, data: str | None, arrays: Sequence[str], start: Sequence[str], say: Say
) -> Outcome:
    """Train the model of a file again and compare.

    Args:
        path: a `.keras` or `.h5` file with a recipe.
        data: folder with the training images, or None.
        arrays: `.npz` and `.npy` files with the training arrays.
        start: model or weight files with start values.
        say: gets a line for each thing that is done.

    Raises:
        CannotReproduce: the recipe cannot be followed, or something it needs is missing.
        FormatError: the file is damaged.
    """
    began = time.perf_counter()
    model, recipe = _opened(path)
    found = Outcome(False, _sha256(model))
    kept = [variable.numpy() for variable in model.weights]
    found.notes = list(dict.fromkeys(note for fit in recipe["fits"] for note in fit["notes"]))
    _announce(recipe, say)
    try:
        with _Machine(recipe, say) as machine:
            found.surroundings = machine.differences
            store = Store(data, arrays)
            if data is not None:
                say(f"{data}: {len(store.files)} different image files")
            _Repetition(model, recipe, store, start, found, say).run()
            same = all(
                np.array_equal(variable.numpy(), array, equal_nan=True)
                for variable, array in zip(model.weights, kept, strict=True)
            )
            if not same:
                raise Difference("the weights at the end")
            found.identical = True
    except Difference as difference:
        found.difference, found.details = difference.what, difference.details
        found.details += _causes(found)
    found.seconds = round(time.perf_counter() - began, 1)
    return found


def _opened(path: str) -> tuple[Any, dict[str, Any]]:
    """The model of a file, not compiled, and its checked recipe."""
    from tlfast.saving import load_model

    model = load_model(path, compile=False)
    recipe = _recorder.raw_record(model).get("recipe")
    if recipe is None:
        raise CannotReproduce(
            f"{path} has no recipe: it was saved before it was trained, by another library, or "
            "stripped of it"
        )
    check(recipe)
    if recipe.get("left_out"):
        raise CannotReproduce(f"{path} has no recipe: {recipe['left_out']}")
    if not recipe["fits"]:
        raise CannotReproduce(f"{path} has a recipe without a fit")
    reasons = [
        f"fit {number}: {reason}"
        for number, fit in enumerate(recipe["fits"], 1)
        for reason in fit["reasons"]
    ]
    if reasons:
        raise CannotReproduce("the training cannot be done again:\n  " + "\n  ".join(reasons))
    if recipe["fits"][-1]["end"]["weights"] != _hashes.all_weights(model):
        raise CannotReproduce(
            f"the weights of {path} are not those that its last fit left: something else changed "
            "them afterwards (set_weights, load_weights, train_on_batch)"
        )
    return model, recipe


def _sha256(model: Any) -> str:
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(_hashes.array_bytes(variable.numpy()))
    return digest.hexdigest()


def _announce(recipe: dict[str, Any], say: Say) -> None:
    fits = recipe["fits"]
    for number, fit in enumerate(fits, 1):
        arguments = fit["arguments"]
        epochs, steps = len(fit["epochs"]), fit["end"]["step"] - fit["optimizer"]["step"]
        ended = "" if fit["ended"] == "whole" else ", ended before its end"
        say(
            f"fit {number} of {len(fits)}: epochs {arguments['initial_epoch'] + 1} to "
            f"{arguments['initial_epoch'] + epochs}, {steps} steps, "
            f"{fit['layers']['trained'].count('1')} variables trained{ended}"
        )
        if epochs + arguments["initial_epoch"] > arguments["epochs"] or steps < 0:
            raise CannotReproduce(f"recipe.fits[{number - 1}] ends before it begins")


def _causes(found: Outcome) -> list[str]:
    """What may be behind a difference."""
    causes = [f"{name} is {now} here, and was {then}" for name, then, now in found.surroundings]
    causes += [f"note of the recipe: {note}" for note in found.notes]
    if not causes and found.difference and "images" not in found.difference:
        causes.append("version, instruction set, threads and data are the same as then")
    return causes


class _Machine:
    """The settings of the process that bits depend on, put to those of the recipe for a while."""

    def __init__(self, recipe: dict[str, Any], say: Say) -> None:
        from tlfast import _core

        self._before = (_core.num_threads(), _core.winograd())
        self._wanted = [fit["made_with"] for fit in recipe["fits"]]
        self._say = say
        self.differences: list[list[Any]] = []

    def __enter__(self) -> "_Machine":
        for then in self._wanted:
            settle(then)
            for name, value in _recorder.surroundings().items():
                entry = [name, then.get(name), value]
                if then.get(name) != value and entry not in self.differences:
                    self.differences.append(entry)
        for name, was, value in self.differences:
            self._say(f"different here: {name} is {value}, was {was}")
        return self

    def __exit__(self, *exception: object) -> None:
        from tlfast import _core

        _core.set_num_threads(self._before[0])
        _core.set_winograd(self._before[1])


def settle(wanted: dict[str, Any]) -> None:
    """Compute with the threads and the algorithms of a fit.

    Raises:
        CannotReproduce: numbers that make no sense.
    """
    from tlfast import _core

    threads, exact = wanted.get("threads"), wanted.get("exact")
    if type(threads) is not int or not 1 <= threads <= 1024 or not isinstance(exact, bool):
        raise CannotReproduce(f"recipe.made_with: threads={threads!r}, exact={exact!r}")
    _core.set_num_threads(threads)
    _core.set_winograd(not exact)


class _Repetition:
    """Does the fits of a recipe, one after the other."""

    def __init__(
        self, model: Any, recipe: dict[str, Any], store: Store, start: Sequence[str],
        found: Outcome, say: Say,
    ) -> None:  # fmt: skip
        self._model, self._recipe, self._found, self._say = model, recipe, found, say
        self._starts = _starts.Starts(start)
        self._rebuilder = Rebuilder(recipe, store)
        self._optimizer: Any = None

    def run(self) -> None:
        """Do all fits.

        Raises:
            CannotReproduce, Difference: see there.
        """
        names = _recorder.raw_record(self._model).get("class_names")
        self._model._file_record = {"class_names": names}
        for does in (lambda number, fit: self._rebuilder.check(fit), self._fit):
            for number, fit in enumerate(self._recipe["fits"], 1):
                self._guarded(does, number, fit)

    def _guarded(self, does: Callable[[int, Any], None], number: int, fit: Any) -> None:
        try:
            does(number, fit)
        except _REFUSALS as error:
            raise CannotReproduce(f"fit {number} cannot be done: {error}") from error

    def _fit(self, number: int, fit: dict[str, Any]) -> None:
        model = self._model
        settle(fit["made_with"])
        if fit["start"] is not None:
            self._starts.give(model, fit["start"], number)
        _set_layers(model, fit["layers"], number)
        self._compile(fit, number)
        self._rebuilder.begin(fit)
        x, y, weight = self._rebuilder.data(fit["data"])
        validation = fit["validation"]
        arguments = dict(fit["arguments"])
        pairs = arguments.pop("class_weight")
        self._seed(fit)
        checker = _Checker(fit, number, self._say)
        if validation is not None:
            arguments["validation_data"] = _packed(self._rebuilder.data(validation))
        if fit["random"] is not None:
            set_random_state(fit["random"])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the first training said them
                model.fit(
                    x, y, sample_weight=weight, verbose=0,
                    class_weight=None if pairs is None else {k: v for k, v in pairs},
                    callbacks=[checker, *_callbacks(fit)], **arguments,
                )  # fmt: skip
        except _Reached:
            pass
        self._optimizer = model.optimizer
        _compare_ends(model, fit, number)
        self._found.fits = number
        self._found.steps += fit["end"]["step"] - fit["optimizer"]["step"]

    def _seed(self, fit: dict[str, Any]) -> None:
        from tlfast.data import _random

        _random._GlobalSeed.seed = fit["seed"]
        if fit["seed"] is not None:
            _random.set_global_seed(fit["seed"])

    def _compile(self, fit: dict[str, Any], number: int) -> None:
        from tlfast import _stored_compile

        model, beside = self._model, fit["optimizer"]
        try:
            arguments = _stored_compile.deserialize(fit["compile"])
        except (ValueError, TypeError, LookupError) as error:
            raise CannotReproduce(f"recipe.fits[{number - 1}].compile: {error}") from error
        optimizer = self._optimizer if beside["carried"] else arguments["optimizer"]
        if optimizer is None:
            raise CannotReproduce(
                f"recipe.fits[{number - 1}].optimizer.carried is true, and no fit comes before it"
            )
        if beside["rate"] is not None:
            optimizer.learning_rate = beside["rate"]
        weights = model.weights
        places = [place for place, _ in beside["factors"]] + beside["undecayed"]
        if any(place >= len(weights) for place in places):
            raise CannotReproduce(
                f"recipe.fits[{number - 1}].optimizer names more weights than are"
            )
        optimizer.set_rate_factors([(weights[i], factor) for i, factor in beside["factors"]])
        if beside["undecayed"] and not beside["carried"]:
            optimizer.exclude_from_weight_decay([weights[i] for i in beside["undecayed"]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.compile(**{**arguments, "optimizer": optimizer})


def _packed(data: tuple[Any, Any, Any]) -> Any:
    """(x, y, sample_weight) as `validation_data` takes them."""
    x, y, weight = data
    if y is None:
        return x
    return (x, y) if weight is None else (x, y, weight)


def _set_layers(model: Any, stored: dict[str, Any], number: int) -> None:
    """Set what is trained, and the seeds of layers that draw random numbers."""
    where = f"recipe.fits[{number - 1}].layers"
    layers, drawing = _recorder.weighted_layers(model), _recorder.random_layers(model)
    if len(stored["trainable"]) != len(layers) or len(stored["seeds"]) != len(drawing):
        raise CannotReproduce(
            f"{where} is of a model with {len(stored['trainable'])} layers with weights and "
            f"{len(stored['seeds'])} random ones; this one has {len(layers)} and {len(drawing)}"
        )
    model.trainable = True
    for layer, flag in zip(layers, stored["trainable"], strict=True):
        layer.trainable = flag == "1"
    trained = {id(variable) for variable in model.trainable_weights}
    if [id(v) in trained for v in model.weights] != [flag == "1" for flag in stored["trained"]]:
        raise CannotReproduce(f"{where}: the flags of the layers do not give what was trained")
    if [layer._seed for layer in drawing] != stored["seeds"]:
        for layer, seed in zip(drawing, stored["seeds"], strict=True):
            layer._seed = seed
        model._engine_object = None  # its graphs hold the seeds
    _set_policies(model, stored["mixed"], where)


def _set_policies(model: Any, mixed: str, where: str) -> None:
    """Set which layers compute in bfloat16."""
    layers = model._flatten_layers()
    if len(mixed) != len(layers):
        raise CannotReproduce(f"{where}.mixed is of {len(mixed)} layers; here are {len(layers)}")
    for layer, flag in zip(layers, mixed, strict=True):
        policy = _dtype_policy.get("mixed_bfloat16" if flag == "1" else "float32")
        try:
            layer.dtype_policy = _dtype_policy.supported(policy)
        except NotImplementedError as error:
            raise CannotReproduce(f"layer '{layer.name}' was trained under {error}") from error


def _callbacks(fit: dict[str, Any]) -> list[Any]:
    """The rates, and what may end the fit or change weights."""
    from tlfast.callbacks import EarlyStopping, TerminateOnNaN

    kinds = {"EarlyStopping": EarlyStopping, "TerminateOnNaN": TerminateOnNaN}
    made = [kinds[entry["name"]](**entry["config"]) for entry in fit["callbacks"]]
    return [_Rates(fit), *made]


class _Rates(Callback):
    """Sets the recorded learning rate of each epoch."""

    def __init__(self, fit: dict[str, Any]) -> None:
        super().__init__()
        self._rates = fit["rates"]
        self._first = fit["arguments"]["initial_epoch"]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        place = epoch - self._first
        if place < len(self._rates) and self._rates[place] is not None:
            self.model.optimizer.learning_rate = self._rates[place]


class _Reached(Exception):
    """The repetition is where the recorded fit was ended."""


class _Checker(Callback):
    """Compares each mark with the recorded one, as soon as it is made."""

    def __init__(self, fit: dict[str, Any], number: int, say: Say) -> None:
        super().__init__()
        self._fit, self._number, self._say = fit, number, say
        self._last = fit["end"]["step"] - fit["optimizer"]["step"]
        self._step = 0

    def _made(self) -> dict[str, Any]:
        made: dict[str, Any] = _recorder.raw_record(self.model)["recipe"]["fits"][-1]
        return made

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        made, then = self._made(), self._fit
        self._step += 1
        key = str(self._step)
        if key in made["steps"] and key in then["steps"]:
            self._compare(made["steps"][key], then["steps"][key], _after_step(self._step))
        epochs = len(made["epochs"])
        if self._step > self._last:
            raise Difference(
                f"fit {self._number}, step {self._step}",
                [f"the recorded fit had {self._last} steps"],
            )
        if self._step == self._last and then["ended"] != "whole" and epochs == len(then["epochs"]):
            raise _Reached

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        made, then = self._made(), self._fit
        place = len(made["epochs"]) - 1
        if place < len(then["epochs"]):
            now, was = made["epochs"][place], then["epochs"][place]
            self._compare(now["weights"], was["weights"], f"epoch {epoch + 1}")
            self._compare_logs(now["logs"], was["logs"], epoch)
            shown = ", ".join(f"{key} {value:.4f}" for key, value in sorted(now["logs"].items()))
            self._say(f"fit {self._number}, epoch {epoch + 1}: the same ({shown})")
        if place + 1 >= len(then["epochs"]):
            if then["ended"] != "whole" and self._step == self._last:
                raise _Reached
            if then["ended"] == "whole":
                self.model.stop_training = True  # where a callback that is left out ended it

    def _compare(self, now: str, was: str, place: str) -> None:
        if now != was:
            raise Difference(
                f"fit {self._number}, {place}",
                [f"the hash of the trained weights is {now}, and was {was}"],
            )

    def _compare_logs(self, now: dict[str, float], was: dict[str, float], epoch: int) -> None:
        for key in sorted(now.keys() & was.keys()):
            both_nan = math.isnan(now[key]) and math.isnan(was[key])
            if now[key] != was[key] and not both_nan:
                raise Difference(
                    f"fit {self._number}, epoch {epoch + 1}: {key}",
                    [f"the weights are the same, but {key} is {now[key]!r}, and was {was[key]!r}"],
                )


def _after_step(step: int) -> str:
    if step <= 2:
        return f"step {step}"
    return f"steps {step // 2 + 1} to {step} (there are marks after steps 1, 2, 4, 8, ...)"


def _compare_ends(model: Any, fit: dict[str, Any], number: int) -> None:
    end = fit["end"]
    if end["weights"] != _hashes.all_weights(model):
        raise Difference(f"fit {number}, the weights at its end", [
            "they were the same after its last epoch" if fit["epochs"] else "there are no marks"
        ])  # fmt: skip
