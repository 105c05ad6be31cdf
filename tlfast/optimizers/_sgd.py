"""Stochastic gradient descent, with momentum on request."""

from collections.abc import Callable
from typing import Any

from tlfast.optimizers._optimizer import Optimizer
from tlfast.optimizers.schedules import LearningRateSchedule


class SGD(Optimizer):
    """w -= learning_rate * g, or with momentum v = momentum * v - learning_rate * g; w += v.

    With `nesterov`, w += momentum * v - learning_rate * g. Formulas and defaults:
    keras/src/optimizers/sgd.py.

    Args:
        learning_rate: see `Optimizer`; 0.01 by default.
        momentum: 0 to 1.
        nesterov: look ahead by one momentum step.
        weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name: see
            `Optimizer`.

    Raises:
        ValueError: `momentum` is not between 0 and 1.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[..., Any] = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )
        if (
            isinstance(momentum, bool)
            or not isinstance(momentum, (int, float))
            or not (0 <= momentum <= 1)
        ):
            raise ValueError(f"`momentum` must be a float between [0, 1], got {momentum!r}.")
        self.momentum: float = float(momentum)
        self.nesterov: bool = bool(nesterov)

    def _groups(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum",),) if self.momentum != 0 else ()

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to run the update."""
        return {
            **super().core_spec(),
            "kind": "sgd",
            "momentum": self.momentum,
            "nesterov": self.nesterov,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
        }
