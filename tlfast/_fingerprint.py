"""What a training was made of, as plain values that two processes can compare.

Names of layers play no part, so that a model built again in the same notebook is the same; file
names and paths are not stored.
"""

import json
from collections.abc import Iterator
from typing import Any

from tlfast import _core
from tlfast._algorithms import algorithm_choices
from tlfast._version import __version__

# Whatever differs below these makes the stored place meaningless.
DECISIVE = ("model", "compile", "fit", "data")


def fingerprint(
    model: Any, train: Any, test: Any, validation_freq: Any, class_weight: Any
) -> dict[str, Any]:
    """Describe a fit.

    Args:
        model: compiled, built.
        train, test: sources of the data; `test` may be None.
        validation_freq, class_weight: the arguments of `fit`.
    """
    info = _core.onednn_info()
    weights = {int(number): float(w) for number, w in (class_weight or {}).items()}
    frequency = validation_freq if isinstance(validation_freq, int) else sorted(validation_freq)
    return _plain(
        {
            "model": _model(model),
            "compile": _compile(model),
            "fit": {
                "validation_freq": frequency,
                "class_weight": {str(number): weights[number] for number in sorted(weights)},
            },
            "data": {"training": _data(train), "validation": _data(test)},
            "content": {
                "training": None if train is None else train.fingerprint(),
                "validation": None if test is None else test.fingerprint(),
            },
            "environment": {
                "tlfast": __version__,
                "oneDNN": [*info["version"], info["hash"]],
                "instruction set": info["isa"],
                "exact": not _core.winograd(),
                "algorithms": algorithm_choices(),
                "threads": _core.num_threads(),
            },
        }
    )


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda thing: type(thing).__name__))


def _model(model: Any) -> dict[str, Any]:
    return {
        "layers": _without_names(_plain(_config(model))),
        "weights": [[list(v.shape), v.dtype, bool(v.trainable)] for v in model.weights],
    }


def _config(model: Any) -> Any:
    try:
        return model.get_config()
    except (NotImplementedError, TypeError, ValueError):  # something in it has no stored form
        return [type(layer).__name__ for layer in model._flatten_layers()]


def _without_names(config: Any) -> Any:
    """The config with every name of a layer replaced by a number."""
    names: dict[str, str] = {}

    def find(value: Any) -> None:
        if isinstance(value, dict):
            inner = value.get("config")
            is_policy = value.get("class_name") == "DTypePolicy"  # whose name is what it is
            if isinstance(inner, dict) and isinstance(inner.get("name"), str) and not is_policy:
                names.setdefault(inner["name"], f"layer {len(names)}")
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                find(one)

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return names.get(value, value)
        if isinstance(value, dict):
            return {key: replaced(one) for key, one in value.items()}
        return [replaced(one) for one in value] if isinstance(value, list) else value

    find({"config": config})
    return replaced(config)


def _compile(model: Any) -> Any:
    optimizer = {key: value for key, value in model.optimizer.get_config().items() if key != "name"}
    if isinstance(optimizer["learning_rate"], float):
        del optimizer["learning_rate"]  # a number is part of what is restored
    try:
        config = model.get_compile_config()
    except (NotImplementedError, TypeError, ValueError):  # a function of the user's
        config = {key: model._compile_config[key] for key in ("loss_weights",)}
    factors = [model.optimizer.rate_factor(v) for v in model.weights]
    return {
        **config,
        "optimizer": {"class_name": type(model.optimizer).__name__, **optimizer},
        "rate_factors": factors if any(factor != 1 for factor in factors) else None,
    }


def _data(source: Any) -> Any:
    if source is None:
        return None
    return {
        "kind": type(source).__name__,
        "batch_size": source.batch_size,
        "batches": source.num_batches,
        "samples": source.num_samples,
    }


def differences(stored: Any, here: Any, path: str = "") -> Iterator[str]:
    """Yield a text for every place where two fingerprints differ, the smallest such places."""
    if isinstance(stored, dict) and isinstance(here, dict):
        for key in {**stored, **here}:
            yield from differences(stored.get(key), here.get(key), f"{path}/{key}" if path else key)
    elif isinstance(stored, list) and isinstance(here, list) and len(stored) == len(here):
        for i, (one, other) in enumerate(zip(stored, here, strict=True)):
            yield from differences(one, other, f"{path}[{i}]")
    elif stored != here:
        yield f"{path}: {_short(stored)} then, {_short(here)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
