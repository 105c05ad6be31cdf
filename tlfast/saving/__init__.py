"""Saving and loading models and weights in Keras' file formats."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from tlfast.saving.api import load_model as load_model
    from tlfast.saving.api import load_weights as load_weights
    from tlfast.saving.api import save_model as save_model
    from tlfast.saving.api import save_weights as save_weights
    from tlfast.saving.record import get_record as get_record
    from tlfast.saving.record import update_record as update_record


def __getattr__(name: str) -> Any:
    # The rest needs layers and models; the readers of weight files must not import them.
    if name in __all__:
        from tlfast.saving import api, record

        return getattr(record if name.endswith("record") else api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
