"""Automatic names, counted as Keras counts them, and the names that make variable paths."""

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class _State(threading.local):
    def __init__(self) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.scopes: list[str] = []


_state = _State()


def to_snake_case(name: str) -> str:
    """Return `name` in Keras' snake case: `Conv2D` -> `conv2d`, `ReLU` -> `re_lu`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def uniquify(name: str) -> str:
    """Return `name`, then `name_1`, `name_2`, ... on later calls."""
    count = _state.counts[name]
    _state.counts[name] += 1
    return f"{name}_{count}" if count else name


def auto_name(prefix: str) -> str:
    """Return the automatic name of an object of class `prefix`."""
    return uniquify(to_snake_case(prefix))


def get_uid(prefix: str = "") -> int:
    """Count `prefix` up and return the new count, starting at 1."""
    _state.counts[prefix] += 1
    return _state.counts[prefix]


def reset_names() -> None:
    """Start all automatic names from the beginning."""
    _state.counts.clear()


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Prefix the paths of variables made inside with `name/`."""
    _state.scopes.append(name)
    try:
        yield
    finally:
        _state.scopes.pop()


def current_path() -> str:
    """Return the names of the open scopes joined by `/`."""
    return "/".join(_state.scopes)
