"""Errors for misspelt keyword arguments that name the nearest right one."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from tlfast._keras2 import ARGUMENTS, renamed

F = TypeVar("F", bound=Callable[..., Any])


def checked_arguments(function: F) -> F:
    """Decorator: an unknown keyword raises TypeError with a suggestion."""
    parameters = inspect.signature(function).parameters
    known = [name for name in parameters if name != "self"]
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    owner = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if owner in ARGUMENTS:
            kwargs = renamed(owner, kwargs)
        for name in kwargs if not free else ():
            if name not in parameters:
                close = difflib.get_close_matches(name, known, 1)
                takes = f" It takes: {', '.join(known)}."
                hint = f" Did you mean {close[0]!r}?" if close else takes
                raise TypeError(f"{owner}() has no argument {name!r}.{hint}")
        return function(*args, **kwargs)

    return cast(F, checked)


def check_batch_size(value: Any) -> None:
    """Raise ValueError for what is no number of rows; None and 0 stand for the default."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and not (whole and value >= 0):
        raise ValueError(f"`batch_size` is a number of rows, 1 or more, or None; got {value!r}.")


class CheckedInit:
    """Mixin: unknown keywords to constructors of tlfast's own sub-classes get a suggestion."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("tlfast.") and "__init__" in vars(cls):
            made: Any = cls  # a constructor is no plain attribute to a type checker
            made.__init__ = checked_arguments(made.__init__)
