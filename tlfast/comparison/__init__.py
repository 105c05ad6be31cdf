"""`tlfast.compare`: is freezing right for these images? Answered by experiment."""

from tlfast.comparison._compare import compare
from tlfast.comparison._result import ArmResult, Comparison, duration

__all__ = ["ArmResult", "Comparison", "compare", "duration"]
