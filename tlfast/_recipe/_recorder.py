"""Writing the recipe of a `fit` into the model's record, while it trains."""

import functools
import json
import random
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlfast._recipe import _hashes
from tlfast._recipe._describe import Description, plain
from tlfast._recipe._schema import FORMAT, check, is_readable
from tlfast._rows import unpacked
from tlfast.callbacks._base import Callback
from tlfast.saving.checks import object_of, text
from tlfast.saving.config_json import parse_json
from tlfast.saving.errors import FormatError

MOST = 2 << 20  # characters of JSON; a model's record has room for twice as many
# Callbacks of the package that leave weights alone, or only set rates, which are recorded.
_WITHOUT_EFFECT = (
    "BackupAndRestore", "CSVLogger", "History", "LearningRateScheduler", "ModelCheckpoint",
    "ProgbarLogger", "ReduceLROnPlateau", "RemoteMonitor", "TensorBoard",
)  # fmt: skip
EARLY_STOPPING = (
    "monitor", "min_delta", "patience", "mode", "baseline", "restore_best_weights",
    "start_from_epoch",
)  # fmt: skip
_ARGUMENTS = (
    "batch_size", "epochs", "shuffle", "validation_split", "initial_epoch", "steps_per_epoch",
    "validation_steps", "validation_batch_size", "validation_freq",
)  # fmt: skip


class Recorder(Callback):
    """Records one `fit`. It is made before anything of the data is touched, and comes first in the
    list of callbacks, so that what the others save is complete.

    The entry is looked up in the model's record each time: a callback that takes up a training may
    replace the record, and then the entry that is continued is the one it brought.

    Args:
        model: the model.
        data: (x, y, sample_weight) as given to `fit`.
        validation: `validation_data`, or None.
        **arguments: the other arguments of `fit`.
    """

    def __init__(
        self,
        model: Any,
        data: tuple[Any, Any, Any],
        validation: Any,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if model.built:  # before frozen weights are moved out of memory
            _hashes.weight_hashes(model.weights)
        known = model.__dict__.setdefault("_recipe_caches", weakref.WeakKeyDictionary())
        self._described = Description(caches=known)
        self._data = self._described.data(*data, "training data")
        self._validation = (
            None
            if validation is None
            else self._described.data(*unpacked(validation), "validation data")
        )
        self._arguments = arguments
        self._random = _random_state() if self._described.generators else None
        self._callbacks: list[Any] = []
        self._began = False

    def watch(self, callbacks: Any) -> None:
        """Become the first of the callbacks of the fit."""
        self._callbacks = list(callbacks.callbacks)
        self.set_model(callbacks.model)
        self.set_params(callbacks.params)
        callbacks.callbacks.insert(0, self)

    # ---- hooks -------------------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin the entry."""
        record = raw_record(self.model)
        if not is_readable(record.get("recipe")):
            record["recipe"] = {"format": FORMAT, "fits": [], "data": {}}
        recipe = record["recipe"]
        fits = recipe["fits"]
        if fits and fits[-1]["ended"] is None:  # of a file that was saved in the middle of a fit
            fits[-1]["ended"] = "interrupted"
        self._described.caches.update(
            (node, (len(fits), place)) for node, place in self._described.placed_caches()
        )
        fits.append(self._entry(fits[-1]["end"] if fits else None))
        jobs = [(job, functools.partial(take, recipe)) for job, take in self._described.jobs]
        complete(self.model)
        self.model._recipe_hashing = _hashes.Background(jobs)
        self._began = True

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the rate of an epoch that begins."""
        entry = _open_entry(self.model)
        if entry is not None and len(entry["rates"]) == len(entry["epochs"]):
            entry["rates"].append(_number_of_rate(self.model.optimizer))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Leave a mark after steps 1, 2, 4, ... of the first epoch."""
        entry = _open_entry(self.model)
        if entry is not None and not entry["epochs"]:
            done = _steps_done(self.model, entry)
            if done & (done - 1) == 0:
                entry["steps"][str(done)] = _hashes.mark(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Leave a mark."""
        entry = _open_entry(self.model)
        if entry is not None:
            numbers = {key: float(value) for key, value in (logs or {}).items()}
            entry["epochs"].append({"weights": _hashes.mark(self.model), "logs": numbers})

    def close(self, whole: bool) -> None:
        """End the entry.

        Args:
            whole: whether the fit came to its end, rather than to an exception.
        """
        entry = _open_entry(self.model) if self._began else None
        if entry is not None:
            _set_end(self.model, entry)
            entry["ended"] = "whole" if whole else "interrupted"

    def get_state(self) -> dict[str, Any]:
        """The recipe so far, for a callback that stores where a training is."""
        complete(self.model)
        return {"recipe": json.dumps(_storable(raw_record(self.model).get("recipe")))}

    def _check_state(self, value: Any, where: str) -> None:
        object_of({"recipe": text(MOST)})(value, where)
        check(parse_json(value["recipe"], f"{where}.recipe"))

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with the recipe of the training that is taken up."""
        recipe = json.loads(state["recipe"])
        complete(self.model)
        raw_record(self.model)["recipe"] = recipe

    # ---- the entry ---------------------------------------------------------------------------

    def _entry(self, before: dict[str, Any] | None) -> dict[str, Any]:
        model, optimizer = self.model, self.model.optimizer
        reasons = list(self._described.reasons)
        step = int(optimizer.iterations)
        # What it remembers belongs to a number of steps; to hash it would cost as much as saving.
        carried = step > 0 and before is not None and before["step"] == step
        if step > 0 and not carried:
            reasons.append(
                "the optimizer begins with a state that no fit of the recipe left (train_on_batch, "
                "or weights loaded with an optimizer)"
            )
        return {
            "made_with": surroundings(),
            "start": self._start(before),
            "layers": _layer_state(model),
            "compile": _compiled(model, reasons),
            "optimizer": {
                "carried": carried,
                "step": step,
                **_beside_config(model),
            },
            "arguments": self._plain_arguments(),
            "callbacks": self._effective(),
            "notes": self._notes(),
            "data": self._data,
            "validation": self._validation,
            "nodes": self._described.nodes,
            "random": self._random,
            "seed": self._seed(reasons),
            "reasons": reasons,
            "rates": [],
            "steps": {},
            "epochs": [],
            "ended": None,
            "end": {"weights": "", "step": step},
        }

    def _start(self, before: dict[str, Any] | None) -> dict[str, Any] | None:
        """Hashes and seeds of the weights, unless they are what the last fit left."""
        model = self.model
        if before is not None and before["weights"] == _hashes.all_weights(model):
            return None
        from tlfast._backbones import stems

        files = {getattr(stem, "weights_file", None) for stem in stems(model).values()}
        return {
            "weights": _hashes.to_text(b"".join(_hashes.weight_hashes(model.weights))),
            "seeds": [getattr(v._initializer, "seed", None) for v in model.weights],
            "files": sorted(name for name in files if name),
        }

    def _plain_arguments(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name in _ARGUMENTS:
            value = self._arguments[name]
            made[name] = plain(sorted(value) if isinstance(value, (set, frozenset)) else value)
        weight = self._arguments["class_weight"]
        made["class_weight"] = (
            None if weight is None else [[int(k), float(v)] for k, v in weight.items()]
        )
        return made

    def _seed(self, reasons: list[str]) -> int | None:
        """The seed of `set_random_seed`, from which arrays are shuffled."""
        from tlfast.data._random import global_seed

        shuffled = self._data["kind"] == "arrays" and self._arguments["shuffle"]
        if shuffled and global_seed() is None:
            reasons.append(
                "the arrays were shuffled without a seed; call keras.utils.set_random_seed before"
            )
        return global_seed()

    def _effective(self) -> list[dict[str, Any]]:
        """The callbacks that may end the training or change weights, with their arguments."""
        found = []
        for callback in self._callbacks:
            name = _own_name(callback)
            if name == "EarlyStopping":
                config = {key: plain(getattr(callback, key)) for key in EARLY_STOPPING}
                config["min_delta"] = abs(config["min_delta"])
                found.append({"name": name, "config": config})
            elif name == "TerminateOnNaN":
                found.append({"name": name, "config": {}})
        return found

    def _notes(self) -> list[str]:
        known = (*_WITHOUT_EFFECT, "EarlyStopping", "TerminateOnNaN")
        others = [cb for cb in self._callbacks if _own_name(cb) not in known]
        return [f"the callback {type(callback).__name__} is left out" for callback in others]


def _own_name(callback: Any) -> str | None:
    kind = type(callback)
    return kind.__name__ if kind.__module__.startswith("tlfast.callbacks") else None


# ---- what is read from the model -------------------------------------------------------------


def raw_record(model: Any) -> dict[str, Any]:
    """The model's record as it is, without waiting for hashes."""
    record: dict[str, Any] | None = getattr(model, "_file_record", None)
    if record is None:
        record = model._file_record = {}
    return record


def _open_entry(model: Any) -> dict[str, Any] | None:
    """The fit going on; None where a callback has replaced the record by one without."""
    fits = raw_record(model).get("recipe", {}).get("fits")
    return fits[-1] if fits and fits[-1]["ended"] is None else None


def _steps_done(model: Any, entry: dict[str, Any]) -> int:
    return int(model.optimizer.iterations) - entry["optimizer"]["step"]


def _set_end(model: Any, entry: dict[str, Any]) -> None:
    entry["end"] = {
        "weights": _hashes.all_weights(model),
        "step": int(model.optimizer.iterations),
    }


def complete(model: Any) -> None:
    """Wait for hashes that are still being computed, so that the record holds them."""
    hashing = model.__dict__.get("_recipe_hashing")
    if hashing is not None:
        hashing.finish()
        del model._recipe_hashing  # not before: Ctrl-C may end the waiting


def sealed(model: Any) -> dict[str, Any]:
    """The recipe, with what the weights are now, to be written beside them."""
    recipe = raw_record(model)["recipe"]
    if is_readable(recipe) and recipe["fits"]:
        entry = recipe["fits"][-1]
        if entry["ended"] is None:
            _set_end(model, entry)
        recipe["changed"] = entry["end"]["weights"] != _hashes.all_weights(model)
    return _storable(recipe)


def _storable(recipe: Any) -> dict[str, Any]:
    """The recipe, or one that says why there is none: saving and resuming never fail for it."""
    try:
        check(recipe)
        size = len(json.dumps(recipe))
        if size > MOST:
            raise FormatError(f"it would have {size} characters, more than {MOST}")
    except FormatError as error:
        return {"format": FORMAT, "fits": [], "data": {}, "left_out": str(error)[:1000]}
    assert isinstance(recipe, dict)
    return recipe


def surroundings() -> dict[str, Any]:
    """What the bits of a training depend on, beside the recipe."""
    from tlfast import __version__, _core
    from tlfast._algorithms import algorithm_choices

    onednn = _core.onednn_info()
    return {
        "tlfast": __version__,
        "oneDNN": ".".join(map(str, onednn["version"])),
        "oneDNN hash": onednn["hash"],
        "instruction set": onednn["isa"],
        "threads": _core.num_threads(),
        "exact": not _core.winograd(),
        "algorithms": algorithm_choices(),
        "NumPy": np.__version__,
    }


def weighted_layers(model: Any) -> list[Any]:
    """The innermost layers that have weights: those whose `trainable` flag counts."""
    layers = model._flatten_layers()
    return [layer for layer in layers if layer.weights and not layer._sublayers()]


def random_layers(model: Any) -> list[Any]:
    """The layers that draw random numbers in training."""
    return [layer for layer in model._flatten_layers() if isinstance(_seed_of(layer), int)]


def _seed_of(layer: Any) -> Any:
    return getattr(layer, "_seed", None)


def _layer_state(model: Any) -> dict[str, Any]:
    trained = {id(variable) for variable in model.trainable_weights}
    return {
        "trainable": _bits(layer.trainable for layer in weighted_layers(model)),
        "trained": _bits(id(variable) in trained for variable in model.weights),
        "seeds": [_seed_of(layer) for layer in random_layers(model)],
        "mixed": _bits(layer.compute_dtype == "bfloat16" for layer in model._flatten_layers()),
    }


def _bits(flags: Any) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def _compiled(model: Any, reasons: list[str]) -> dict[str, Any]:
    """The arguments of `compile`; objects that are not the package's give a reason."""
    from tlfast._serialization import serialize

    given = model._compile_config
    keys = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")
    foreign = sorted({name for key in keys for name in _foreign(given[key], key)})
    if foreign:
        reasons.append(f"compile() was given code of yours: {', '.join(foreign)}")
        return {}
    config = model.get_compile_config()
    return {key: serialize(config[key]) for key in keys}


def _foreign(value: Any, key: str) -> list[str]:
    """Names of functions and classes in an argument that are not the package's."""
    if isinstance(value, Mapping):
        return [name for item in value.values() for name in _foreign(item, key)]
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in _foreign(item, key)]
    parts = [value, value._learning_rate] if key == "optimizer" else [value]
    named = [part if hasattr(part, "__name__") else type(part) for part in parts]
    own = ("tlfast", "builtins")
    return [one.__name__ for one in named if str(one.__module__).split(".")[0] not in own]


def _beside_config(model: Any) -> dict[str, Any]:
    """What an optimizer has beside its config: the rate now, factors, exceptions from decay."""
    optimizer, weights = model.optimizer, model.weights
    decayed = optimizer.weight_decay is not None
    return {
        "rate": _number_of_rate(optimizer),
        "factors": [[i, optimizer.rate_factor(v)] for i, v in enumerate(weights)
                    if optimizer.rate_factor(v) != 1],
        "undecayed": [i for i, v in enumerate(weights)
                      if decayed and not optimizer.uses_weight_decay(v)],
    }  # fmt: skip


def _number_of_rate(optimizer: Any) -> float | None:
    """The learning rate where it is a number that can be set, not a schedule."""
    from tlfast.optimizers._scalar import Scalar

    rate = optimizer._learning_rate
    return float(rate) if isinstance(rate, Scalar) else None


def _random_state() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    kind, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, _hashes.to_text(np.array(words, "<u4")), gauss],
        "numpy": [str(kind), _hashes.to_text(np.asarray(key, "<u4")), int(position),
                  int(has_gauss), float(cached)],
    }  # fmt: skip
