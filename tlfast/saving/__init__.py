"""Saving and loading models and weights in Keras' file formats."""

from typing import Any

from tlfast.saving.errors import FormatError

__all__ = [
    "FormatError",
    "get_record",
    "load_model",
    "load_weights",
    "save_model",
    "save_weights",
    "update_record",
]


def __getattr__(name: str) -> Any:
    # The rest needs layers and models; the readers of weight files must not import them.
    if name in __all__:
        from tlfast.saving import api, record

        return getattr(record if name.endswith("record") else api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
