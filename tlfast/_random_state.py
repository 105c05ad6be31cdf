"""The random generators of the process: Python's, NumPy's, those behind `set_random_seed`."""

import random
from typing import Any

import numpy as np

from tlfast import _direct_calls
from tlfast.data import _random
from tlfast.saving.checks import COUNT, array, finite, maybe, object_of, one_of, row, whole


def get_random_state() -> dict[str, Any]:
    """Return the state of every generator a training may draw from, as plain values."""
    kind, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    seeds = _random._GlobalSeed
    return {
        "python": _listed(random.getstate()),
        "numpy": [str(kind), np.array(key), int(position), int(has_gauss), float(cached)],
        "seed": seeds.seed,
        "seeds": None if seeds.stream is None else _listed(seeds.stream.getstate()),
        "direct_calls": _direct_calls.number,
    }


def check_random_state(value: Any, where: str) -> None:
    """Raise FormatError, naming the place, for what `get_random_state` never returns."""
    python = row(whole(3, 3), _python_words, maybe(finite))
    numpy = row(
        one_of("MT19937"), array((624,), "u"), whole(0, 624), whole(0, 1), finite
    )  # fmt: skip
    parts = {"python": python, "numpy": numpy, "direct_calls": COUNT}
    seeded = object_of({**parts, "seed": whole(-(1 << 63), 1 << 64), "seeds": python})
    unseeded = object_of({**parts, "seed": one_of(None), "seeds": one_of(None)})
    (unseeded if isinstance(value, dict) and value.get("seed") is None else seeded)(value, where)


def _python_words(value: Any, where: str) -> None:
    array((625,), "u")(value, where)
    whole(0, 624)(int(value[-1]), f"{where}[624]")


def set_random_state(state: dict[str, Any]) -> None:
    """Put every generator back to where `get_random_state` found it."""
    random.setstate(_words(state["python"]))
    np.random.set_state(tuple(state["numpy"]))
    seeds = _random._GlobalSeed
    seeds.seed = state["seed"]
    seeds.stream = None
    if state["seeds"] is not None:
        seeds.stream = random.Random()
        seeds.stream.setstate(_words(state["seeds"]))
    _direct_calls.number = state["direct_calls"]


def _listed(state: tuple[Any, ...]) -> list[Any]:
    version, words, gauss = state
    return [version, np.array(words, np.uint32), gauss]


def _words(stored: list[Any]) -> tuple[Any, ...]:
    version, words, gauss = stored
    return version, tuple(words.tolist()), gauss
