"""Learning-rate schedules: functions of the number of finished steps.

Formulas and argument names are those of keras/src/optimizers/schedules/learning_rate_schedule.py;
they are evaluated in double precision.
"""

import math
from typing import Any

from tlfast import _registry


class LearningRateSchedule:
    """Base class: an object called with the step number that returns the learning rate."""

    def __call__(self, step: int) -> float:
        """Return the learning rate for the step numbered `step` (0 for the first)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `__call__(self, step)` and return a float."
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `get_config(self)` to be stored in a file."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearningRateSchedule":
        """Make a schedule from `get_config()`."""
        return cls(**config)


def _check_steps(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"Argument `{name}` must be > 0. Received: {name}={value}")


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate ** (step / decay_steps).

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: number of steps after which the rate has been multiplied by `decay_rate`.
        decay_rate: factor.
        staircase: change the rate only at whole multiples of `decay_steps`.
        name: kept in the configuration.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`."""
        p = float(step) / self.decay_steps
        if self.staircase:
            p = math.floor(p)
        return float(self.initial_learning_rate * self.decay_rate**p)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[i] while step <= boundaries[i], the last value afterwards.

    Args:
        boundaries: increasing step numbers.
        values: learning rates, one more than boundaries.
        name: kept in the configuration.

    Raises:
        ValueError: the lengths do not fit.
    """

    def __init__(
        self, boundaries: list[float], values: list[float], name: str = "PiecewiseConstant"
    ) -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values. Received: "
                f"boundaries={boundaries} of length {len(boundaries)}, and values={values} of "
                f"length {len(values)}."
            )
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`."""
        for boundary, value in zip(self.boundaries, self.values, strict=False):
            if step <= boundary:
                return float(value)
        return float(self.values[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}


class PolynomialDecay(LearningRateSchedule):
    """(initial - end) * (1 - step / decay_steps) ** power + end.

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: length of the decay in steps.
        end_learning_rate: rate reached after `decay_steps`.
        power: exponent, 1 is linear.
        cycle: start again with a longer decay after each end.
        name: kept in the configuration.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`."""
        at, length = float(step), float(self.decay_steps)
        if self.cycle:
            length *= 1.0 if at == 0 else math.ceil(at / self.decay_steps)
        else:
            at = min(at, length)
        span = self.initial_learning_rate - self.end_learning_rate
        return float(span * (1.0 - at / length) ** self.power + self.end_learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
            "cycle": self.cycle,
            "name": self.name,
        }


class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps).

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: unit of the decay in steps.
        decay_rate: strength of the decay.
        staircase: change the rate only at whole multiples of `decay_steps`.
        name: kept in the configuration.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`."""
        p = float(step) / self.decay_steps
        if self.staircase:
            p = math.floor(p)
        return float(self.initial_learning_rate / (1.0 + self.decay_rate * p))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the start rate down to alpha times it, after an optional linear warm-up.

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: length of the decay in steps (after the warm-up).
        alpha: fraction of the start rate that remains at the end.
        name: kept in the configuration.
        warmup_target: rate reached by the warm-up, from which the decay starts; None for none.
        warmup_steps: length of the warm-up in steps.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`."""
        at, start = float(step), self.initial_learning_rate
        if self.warmup_target is not None:
            if at < self.warmup_steps:
                return float((self.warmup_target - start) * at / self.warmup_steps + start)
            at, start = at - self.warmup_steps, self.warmup_target
        at = min(at, float(self.decay_steps))
        cosine = 0.5 * (1.0 + math.cos(math.pi * at / self.decay_steps))
        return float(start * ((1.0 - self.alpha) * cosine + self.alpha))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decay that starts again, each period `t_mul` times as long and `m_mul` times as high.

    Args:
        initial_learning_rate: rate at step 0.
        first_decay_steps: length of the first period in steps.
        t_mul: factor of the period length.
        m_mul: factor of the start rate of a period.
        alpha: fraction of `initial_learning_rate` that remains at the end of a period.
        name: kept in the configuration.

    Raises:
        ValueError: `first_decay_steps` is not positive, or `t_mul` is below 1.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        _check_steps("first_decay_steps", first_decay_steps)
        if t_mul < 1.0:
            raise ValueError(
                "Argument `t_mul` must be >= 1: with shrinking periods the schedule has no value "
                f"after a finite number of steps. Received: t_mul={t_mul}"
            )
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self._t_mul = t_mul
        self._m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`."""
        # Periods are walked one by one: the closed form with logarithms that Keras uses rounds
        # to the wrong period exactly at a restart.
        done, length, height = 0.0, float(self.first_decay_steps), 1.0
        if self._t_mul == 1.0:
            period = math.floor(step / length)
            done, height = period * length, self._m_mul**period
        else:
            while step >= done + length:
                done, length, height = done + length, length * self._t_mul, height * self._m_mul
        cosine = 0.5 * height * (1.0 + math.cos(math.pi * (step - done) / length))
        return float(self.initial_learning_rate * ((1.0 - self.alpha) * cosine + self.alpha))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "first_decay_steps": self.first_decay_steps,
            "t_mul": self._t_mul,
            "m_mul": self._m_mul,
            "alpha": self.alpha,
            "name": self.name,
        }


_TABLE = {
    cls.__name__: cls
    for cls in (
        ExponentialDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
        InverseTimeDecay,
        CosineDecay,
        CosineDecayRestarts,
    )
}


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Store a schedule in Keras' layout."""
    return _registry.serialize(learning_rate_schedule, "keras.optimizers.schedules")


def deserialize(
    config: dict[str, Any], custom_objects: dict[str, Any] | None = None
) -> LearningRateSchedule:
    """Make a schedule from `serialize()`.

    Args:
        config: the stored dictionary.
        custom_objects: further schedule classes by name.

    Raises:
        ValueError: the class is not known.
    """
    return _registry.deserialize(config, _TABLE, "learning-rate schedule", custom_objects)
