"""The few names of `keras.backend` that training scripts use."""

import gc
from typing import Any

from tlfast import _keras2
from tlfast._naming import get_uid, reset_names

__all__ = [
    "clear_session",
    "epsilon",
    "floatx",
    "get_uid",
    "get_value",
    "image_data_format",
    "set_image_data_format",
    "set_value",
]


def clear_session(free_memory: bool = True) -> None:
    """Restart the automatic names and, by default, collect models no longer in use.

    Args:
        free_memory: run Python's garbage collector.
    """
    reset_names()
    if free_memory:
        gc.collect()


def image_data_format() -> str:
    """Return "channels_last", the only layout."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Accept "channels_last".

    Raises:
        NotImplementedError: for "channels_first".
    """
    if data_format != "channels_last":
        raise NotImplementedError(
            "tlfast keeps images as (height, width, channels), 'channels_last'. Received: "
            f"data_format={data_format!r}"
        )


def floatx() -> str:
    """Return "float32", the type of weights and activations."""
    return "float32"


def epsilon() -> float:
    """Return 1e-7, the guard Keras uses inside logarithms and divisions."""
    return 1e-7


def get_value(x: Any) -> Any:
    """The Keras 2 way to read a weight or `optimizer.learning_rate`: `x.numpy()`."""
    _keras2.say("backend.get_value(x)", "x.numpy()")
    return x.numpy()


def set_value(x: Any, value: Any) -> None:
    """The Keras 2 way to set a weight or `optimizer.learning_rate`: `x.assign(value)`."""
    _keras2.say("backend.set_value(x, value)", "x.assign(value)")
    x.assign(value)
