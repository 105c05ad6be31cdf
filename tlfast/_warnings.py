"""Warning categories, so that users can filter what the package says."""


class TlfastWarning(UserWarning):
    """Base of all warnings given by tlfast."""


class LossWarning(TlfastWarning):
    """The loss is legal but seldom what is meant for the model's outputs."""


class DataWarning(TlfastWarning):
    """Something about the data: it ran out early, images were skipped."""
