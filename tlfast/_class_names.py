"""Class names: those a model was trained with, beside those of the data it is given.

Labels are numbers. Where a folder lists the classes in another order than the training did, every
label means another class, and nothing else shows it.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from tlfast._warnings import DataWarning
from tlfast.saving.record import get_record, update_record

_REMEDY = (
    "Give the data the first order: image_dataset_from_directory(..., class_names=[...]) or "
    "flow_from_directory(..., classes=[...]). If the second is meant, set model.class_names = None "
    "first."
)


def stored(model: Any) -> list[str] | None:
    """Return the names a model has, in the order of its outputs, or None."""
    names = get_record(model).get("class_names")
    good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if good else None  # the record comes from a file


def store(model: Any, names: Sequence[str] | None) -> None:
    """Set `model.class_names`, see there."""
    if names is None:
        update_record(model, class_names=None)
        return
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names is a list of text, one name per class. Received: {names!r}")
    names = list(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"class_names has {twice[0]!r} more than once: {names}")
    units = {tuple(output.shape)[-1] for output in model.outputs} if model.built else set()
    if len(units) == 1 and None not in units:
        classes = max(units.pop(), 2)  # one unit says yes or no
        if len(names) != classes:
            raise ValueError(
                f"class_names has {len(names)} names, but the model tells {classes} classes apart: "
                f"{names}"
            )
    _refuse_order(stored(model), names, "class_names")
    update_record(model, class_names=names)


def check(known: Sequence[str] | None, source: Any, what: str, new: bool = False) -> None:
    """Compare the class names of data with those known; say nothing where either has none.

    Args:
        known: the names of the model.
        source: the data, with `class_names`, or None.
        what: "training data", ..., for the message.
        new: whether other names are expected, as in a training on other images.

    Raises:
        ValueError: a class stands at another place, so that its label means another class.
    """
    given = getattr(source, "class_names", None)
    if known is None or given is None:
        return
    given = [str(name) for name in given]
    if source.maps_labels:  # the user's function may have put them right
        if _moved(known, given):
            warnings.warn(f"{_difference(known, given, what)} {_REMEDY}", DataWarning, stacklevel=4)
        return
    _refuse_order(known, given, what)
    if not new and given != list(known)[: len(given)] and not all(name.isdigit() for name in given):
        warnings.warn(
            f"The {what} has other classes than the model was trained with; labels are compared by "
            f"their numbers.\n  model: {list(known)}\n  {what}: {given}",
            DataWarning,
            stacklevel=4,
        )


def _moved(known: Sequence[str], given: Sequence[str]) -> list[str]:
    place = {name: index for index, name in enumerate(known)}
    return [name for index, name in enumerate(given) if place.get(name, index) != index]


def _refuse_order(known: Sequence[str] | None, given: Sequence[str], what: str) -> None:
    if known is not None and _moved(known, given):
        raise ValueError(f"{_difference(known, given, what)} {_REMEDY}")


def _difference(known: Sequence[str], given: Sequence[str], what: str) -> str:
    name = _moved(known, given)[0]
    return (
        f"The classes of the {what} are in another order than those the model was trained with: "
        f"{name!r} is number {list(given).index(name)}, not {list(known).index(name)}.\n"
        f"  model: {list(known)}\n  {what}: {list(given)}\n"
    )
