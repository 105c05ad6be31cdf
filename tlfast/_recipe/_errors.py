"""How a repetition ends before its end."""

from collections.abc import Sequence


class CannotReproduce(Exception):
    """A training cannot be done again; the message says why."""


class Difference(Exception):
    """The repetition differs from the recipe.

    Args:
        what: the first thing that differs.
        details: sentences about it.
    """

    def __init__(self, what: str, details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.details: list[str] = list(details)
