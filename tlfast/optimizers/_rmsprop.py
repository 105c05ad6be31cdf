"""RMSprop."""

from collections.abc import Callable
from typing import Any

from tlfast.optimizers._optimizer import Optimizer
from tlfast.optimizers.schedules import LearningRateSchedule


class RMSprop(Optimizer):
    """Steps scaled by a running root mean square of the gradient.

    u = rho * u + (1 - rho) * g * g; step = learning_rate * g / sqrt(u + epsilon), epsilon inside
    the root; `centered` subtracts the squared running mean of g under the root; `momentum`
    accumulates the steps. Formulas and defaults: keras/src/optimizers/rmsprop.py.

    Args:
        learning_rate: see `Optimizer`; 0.001 by default.
        rho: memory of the mean square.
        momentum: memory of the steps, 0 for none.
        epsilon: added under the root.
        centered: use the variance of the gradient instead of its mean square.
        weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name: see
            `Optimizer`.

    Raises:
        ValueError: `rho` or `momentum` is not between 0 and 1.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[..., Any] = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
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
        for label, value in (("rho", rho), ("momentum", momentum)):
            if not 0 <= value <= 1:
                raise ValueError(f"`{label}` must be between 0 and 1, got {value!r}.")
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered: bool = bool(centered)

    def _groups(self) -> tuple[tuple[str, ...], ...]:
        groups = [("velocity",)]
        if self.momentum > 0:
            groups.append(("momentum",))
        if self.centered:
            groups.append(("average_gradient",))
        return tuple(groups)

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to run the update."""
        return {
            **super().core_spec(),
            "kind": "rmsprop",
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }
