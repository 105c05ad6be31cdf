"""Checks of plain values from files: what a value must be, said by functions put together.

A check is called with a value and the text that names its place, and raises FormatError.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast.saving.errors import FormatError

MANY = 1 << 40

Check = Callable[[Any, str], None]


def anything(value: Any, where: str) -> None:
    """What somebody else checks, or nobody needs to."""


def wrong(where: str, value: object, wanted: str) -> FormatError:
    return FormatError(f"{where} is {value!r:.60}, not {wanted}")


def whole(least: int, most: int) -> Check:
    def verify(value: Any, where: str) -> None:
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or not least <= value <= most:
            raise wrong(where, value, f"a whole number from {least} to {most}")

    return verify


def number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(where, value, "a number")


def finite(value: Any, where: str) -> None:
    number(value, where)
    if not math.isfinite(value):
        raise wrong(where, value, "a finite number")


def flag(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise wrong(where, value, "true or false")


def text(most: int = 1000) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise wrong(where, value, f"a text of up to {most} characters")

    return verify


COUNT = whole(0, 1 << 53)


def one_of(*allowed: Any) -> Check:
    def verify(value: Any, where: str) -> None:
        if not any(value is one or type(value) is type(one) and value == one for one in allowed):
            raise wrong(where, value, f"one of {', '.join(map(repr, allowed))}")

    return verify


def maybe(kind: Check) -> Check:
    def verify(value: Any, where: str) -> None:
        if value is not None:
            kind(value, where)

    return verify


def either(*kinds: Check) -> Check:
    def verify(value: Any, where: str) -> None:
        for kind in kinds[:-1]:
            try:
                return kind(value, where)
            except FormatError:
                continue
        kinds[-1](value, where)

    return verify


def list_of(kind: Check, most: int = MANY, exactly: int | None = None) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) > most:
            raise wrong(where, value, f"a list of up to {most}")
        if exactly is not None and len(value) != exactly:
            raise wrong(where, value, f"a list of {exactly}")
        for place, item in enumerate(value):
            kind(item, f"{where}[{place}]")

    return verify


def row(*kinds: Check) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != len(kinds):
            raise wrong(where, value, f"a list of {len(kinds)}")
        for place, (kind, item) in enumerate(zip(kinds, value, strict=True)):
            kind(item, f"{where}[{place}]")

    return verify


def map_of(kind: Check, most: int = MANY) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise wrong(where, value, f"an object of up to {most} entries")
        for key, item in value.items():
            kind(item, f"{where}[{key!r:.60}]")

    return verify


def object_of(required: dict[str, Check], **optional: Check) -> Check:
    kinds = required | optional

    def verify(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong(where, value, "an object")
        for key in (*required, *value):
            if key not in value:
                raise FormatError(f"{where} has no {key!r}")
            if key not in kinds:
                raise FormatError(f"{where} has an unknown entry {key!r:.60}")
        for key, item in value.items():
            kinds[key](item, f"{where}.{key}")

    return verify


def by(key: str, table: dict[str, Check]) -> Check:
    """Objects whose entry `key` says what else they have."""

    def verify(value: Any, where: str) -> None:
        name = value.get(key) if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in table:
            raise wrong(f"{where}.{key}", name, f"one of {', '.join(table)}")
        table[name]({k: v for k, v in value.items() if k != key}, where)

    return verify


def logged(value: Any, where: str) -> None:
    """A number as callbacks get it: Python's, or NumPy's, which is stored as an array."""
    (array((), "biuf") if isinstance(value, np.ndarray) else number)(value, where)


def array(shape: tuple[int, ...] | None, kinds: str = "f") -> Check:
    """NumPy arrays of a shape (None: of any) whose dtype's kind is one of `kinds`."""

    def verify(value: Any, where: str) -> None:
        if not isinstance(value, np.ndarray):
            raise wrong(where, value, "an array")
        if value.dtype.kind not in kinds or shape is not None and value.shape != shape:
            found, wanted = f"{value.dtype} {value.shape}", "any" if shape is None else shape
            raise FormatError(
                f"{where} is an array {found}, not one of kind {kinds} and shape {wanted}"
            )

    return verify


def weights_of(model: Any) -> Check:
    """An array for each weight of a model."""
    return row(*(array(tuple(weight.shape), "biuf") for weight in model.weights))


def permutation(count: int) -> Check:
    """Arrays that hold each of the numbers below `count` once."""

    def verify(value: Any, where: str) -> None:
        array((count,), "iu")(value, where)
        if not np.array_equal(np.sort(value), np.arange(count)):
            raise FormatError(f"{where} is no order of {count} rows")

    return verify


def plain(value: Any, where: str) -> None:
    """Dicts, lists, numbers and text, without arrays."""
    if isinstance(value, dict):
        map_of(plain)(value, where)
    elif isinstance(value, list):
        list_of(plain)(value, where)
    elif not isinstance(value, (str, int, float, bool, type(None))):
        raise wrong(where, value, "a plain value")
