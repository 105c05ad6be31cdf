"""Adam, and Adam with decoupled weight decay (AdamW)."""

from collections.abc import Callable
from typing import Any

from tlfast.optimizers._optimizer import Optimizer
from tlfast.optimizers.schedules import LearningRateSchedule


class Adam(Optimizer):
    """Adam: steps scaled by running moments of the gradient.

    m += (g - m) * (1 - beta_1); u += (g * g - u) * (1 - beta_2);
    w -= learning_rate * sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t) * m / (sqrt(u) + epsilon).
    `epsilon` is added after the bias correction, unlike in PyTorch. Formulas and defaults:
    keras/src/optimizers/adam.py.

    Args:
        learning_rate: see `Optimizer`; 0.001 by default.
        beta_1: memory of the mean.
        beta_2: memory of the mean square.
        epsilon: added to the root of the mean square.
        amsgrad: use the largest mean square seen so far.
        weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name: see
            `Optimizer`.

    Raises:
        ValueError: a beta is not in [0, 1).
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[..., Any] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        for label, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= value < 1:
                raise ValueError(f"`{label}` must be at least 0 and below 1, got {value!r}.")
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad: bool = bool(amsgrad)

    def _groups(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum", "velocity"),) + ((("velocity_hat",),) if self.amsgrad else ())

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to run the update."""
        return {
            **super().core_spec(),
            "kind": "adam",
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class AdamW(Adam):
    """Adam with a weight decay of 0.004 by default, as the second argument.

    Args:
        learning_rate: see `Optimizer`; 0.001 by default.
        weight_decay: a number; None is refused.
        beta_1, beta_2, epsilon, amsgrad: see `Adam`.
        clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency,
            loss_scale_factor, gradient_accumulation_steps, name: see `Optimizer`.

    Raises:
        ValueError: `weight_decay` is None.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[..., Any] = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        if weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None")
        super().__init__(
            learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
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

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to run the update."""
        return {**super().core_spec(), "kind": "adamw"}
