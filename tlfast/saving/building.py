"""The model of a config from outside, built under limits; nothing large is allocated."""

from typing import Any

from tlfast._serialization import deserialize
from tlfast._shown import shown
from tlfast.saving.config_json import check_config
from tlfast.saving.errors import FormatError

# What building a model from a damaged config may raise beside FormatError.
BUILD_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
    NotImplementedError, AssertionError,
)  # fmt: skip
# The largest network of Keras' applications has 89 million; this is 8 GB.
MAX_PARAMETERS = 1 << 31
# What a small file may declare, and what one may with its size: compressed weights take less
# room than the model, but not a hundredth.
_FREE_PARAMETERS, _PARAMETERS_PER_BYTE = 1 << 20, 50


def build_model(
    config: dict[str, Any],
    custom_objects: dict[str, Any] | None,
    where: str,
    file_size: int | None = None,
) -> Any:
    """Return the model of a parsed config; its weights are not made yet.

    Args:
        config: what `parse_json` returned.
        custom_objects: classes and functions of the caller by name.
        where: text that names the file in error messages.
        file_size: bytes of the file that also holds the weights; None when there is none.

    Raises:
        FormatError: code, unknown classes, or anything else that makes no model, by layer.
    """
    from tlfast.models import Model

    check_config(config, where)
    try:
        # The compile arguments of nested models play no part, the outer ones come later.
        model = deserialize(config, custom_objects, kind="layers")
    except FormatError:
        raise
    except BUILD_ERRORS as exc:
        # The cause is not printed beside: it quotes the file as it is.
        raise FormatError(
            f"{where}: the model cannot be built from its config: {problem(exc)}"
        ) from None
    if not isinstance(model, Model):
        raise FormatError(
            f"{where}: holds a {shown(config.get('class_name'))!r}, which is not a model"
        )
    _check_parameters(model, where, file_size)
    return model


def problem(error: BaseException) -> str:
    """Return what an error says, after the innermost layer that it happened in."""
    notes = getattr(error, "__notes__", ())
    text = str(error)
    if not isinstance(error, (ValueError, NotImplementedError)):
        text = f"{type(error).__name__}: {text}"  # of a KeyError, the text is only the key
    return f"layer {notes[0]}: {text}" if notes else text


def _check_parameters(model: Any, where: str, file_size: int | None) -> None:
    limit = MAX_PARAMETERS
    if file_size is not None:
        limit = min(limit, _FREE_PARAMETERS + _PARAMETERS_PER_BYTE * file_size)
    total = 0
    for layer in model._flatten_layers():
        for variable in layer._own_trainable + layer._own_non_trainable:
            total += variable.size
            if total > limit:
                raise FormatError(
                    f"{where}: with layer {layer.name!r} the config declares more than {limit} "
                    "parameters"
                    + ("" if file_size is None else f", in a file of {file_size} bytes")
                    + "; refused"
                )
