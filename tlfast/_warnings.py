"""Warning categories, so that users can filter what the package says."""

import sys


class TlfastWarning(UserWarning):
    """Base of all warnings given by tlfast."""


class LossWarning(TlfastWarning):
    """The loss is legal but seldom what is meant for the model's outputs."""


class InputRangeWarning(TlfastWarning):
    """A pretrained network receives another number range than its weights were made for."""


class FrozenWarning(TlfastWarning):
    """A frozen part of the model is not as still as its flag suggests."""


class DataWarning(TlfastWarning):
    """Something about the data: it ran out early, images were skipped."""


class ResumeWarning(TlfastWarning):
    """A resumed training may differ from one that was never interrupted."""


def user_level() -> int:
    """The `stacklevel` that names the first caller outside of this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("tlfast."):
        level, frame = level + 1, frame.f_back
    return level
