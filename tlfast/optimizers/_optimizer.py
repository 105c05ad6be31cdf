"""The base of all optimizers: arguments, learning rate, step counter, slot variables."""

import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlfast import _keras2, _naming, _registry
from tlfast.optimizers import schedules
from tlfast.optimizers._scalar import Scalar


class Slot:
    """A weight-shaped array an optimizer keeps for one variable (a momentum, for example).

    Args:
        core: the `_core.Variable` that holds the numbers.
        name: name in files.
        path: `name` with the optimizer's name in front.
    """

    trainable = False

    def __init__(self, core: Any, name: str, path: str) -> None:
        self.core = core
        self.name = name
        self.path = path
        self.shape = tuple(core.shape)

    def numpy(self) -> np.ndarray:
        """Return a copy of the numbers."""
        return self.core.numpy()

    def assign(self, value: np.ndarray) -> None:
        """Replace the numbers; the shape must be the same."""
        self.core.assign(np.asarray(value, dtype=np.float32))

    def __repr__(self) -> str:
        return f"<Slot {self.path} {self.shape}>"


class Optimizer:
    """Base class of the optimizers; use `SGD`, `Adam`, `AdamW` or `RMSprop`.

    One step does, in this order (Keras' order): clip the gradients, decay the weights
    (w -= w * weight_decay * learning_rate), update, count the step. A schedule is asked with the
    number of steps finished before.

    Args:
        learning_rate: a positive number, a `LearningRateSchedule`, or a function without
            arguments that returns a number.
        weight_decay: decoupled decay per step and unit of learning rate, None for none. It
            applies to every trainable variable (biases and batch-norm scales too) unless
            `exclude_from_weight_decay` says otherwise.
        clipnorm: upper bound of each gradient's L2 norm, None for none.
        clipvalue: bound of each gradient element's absolute value, None for none.
        global_clipnorm: upper bound of the L2 norm of all gradients together, None for none.
        use_ema, ema_momentum, ema_overwrite_frequency: weight averaging; only off is supported.
        loss_scale_factor: only None is supported.
        gradient_accumulation_steps: only None is supported.
        name: name in files; the class name in snake case by default.

    Raises:
        TypeError: an unknown argument, with the closest known one.
        ValueError: a value out of range, or two kinds of clipping at once.
        NotImplementedError: an option of Keras that tlfast does not have.
    """

    _default_learning_rate = 0.001
    _slot_groups: tuple[tuple[str, ...], ...] = ()

    def __init__(
        self,
        learning_rate: float | schedules.LearningRateSchedule | Callable[..., Any],
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
        learning_rate = self._old_arguments(learning_rate, kwargs)
        _registry.refuse_unknown(type(self).__name__, kwargs, self._argument_names())
        self._refuse_missing_options(use_ema, loss_scale_factor, gradient_accumulation_steps)
        self._check_clipping(clipnorm, clipvalue, global_clipnorm)
        self.name: str = name or _naming.auto_name(type(self).__name__)
        self.weight_decay: float | None = _number_or_none("weight_decay", weight_decay)
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = False
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor: float | None = None
        self.gradient_accumulation_steps: int | None = None
        self.built: bool = False
        self._iterations = Scalar(0, "int64", "iteration", f"{self.name}/iteration")
        self._learning_rate = self._checked_learning_rate(learning_rate)
        self._trainable: list[Any] = []
        self._slots: dict[int, tuple[Any, dict[str, Slot]]] = {}
        self._excluded: set[int] = set()
        self._excluded_pattern: re.Pattern[str] | None = None
        self._rate_factors: dict[int, tuple[Any, float]] = {}

    # ---- arguments -------------------------------------------------------------------------

    @classmethod
    def _argument_names(cls) -> list[str]:
        code = cls.__init__.__code__
        return list(code.co_varnames[1 : code.co_argcount])

    def _old_arguments(self, learning_rate: Any, kwargs: dict[str, Any]) -> Any:
        """Understand the Keras 2 spellings `lr=` and `decay=`, saying so."""
        given = _keras2.renamed("Optimizer", kwargs, 4)
        if "lr" in kwargs:
            learning_rate = given["learning_rate"]
            del kwargs["lr"]
        if kwargs.pop("decay", None) is not None:
            warnings.warn(
                "Argument `decay` is no longer supported and will be ignored (as in Keras 3). For "
                "a decaying learning rate pass "
                "`learning_rate=tlfast.optimizers.schedules.InverseTimeDecay(rate, 1, decay)`.",
                stacklevel=4,
            )
        return learning_rate

    def _refuse_missing_options(
        self, use_ema: bool, loss_scale_factor: float | None, accumulation: int | None
    ) -> None:
        given = {
            "use_ema": use_ema,
            "loss_scale_factor": loss_scale_factor,
            "gradient_accumulation_steps": accumulation,
        }
        for name, value in given.items():
            if value:
                raise NotImplementedError(
                    f"{type(self).__name__}({name}={value!r}): tlfast does not have this option; "
                    f"leave `{name}` out."
                )

    def _check_clipping(
        self, clipnorm: float | None, clipvalue: float | None, global_clipnorm: float | None
    ) -> None:
        if sum(value is not None for value in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: "
                f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}"
            )
        for name, value in (
            ("clipnorm", clipnorm),
            ("clipvalue", clipvalue),
            ("global_clipnorm", global_clipnorm),
        ):
            if value is not None and (_number_or_none(name, value) or 0.0) <= 0:
                raise ValueError(f"`{name}` must be positive or None, got {value!r}.")

    def _checked_learning_rate(self, value: Any) -> Any:
        if isinstance(value, dict):
            value = schedules.deserialize(value)
        if isinstance(value, schedules.LearningRateSchedule) or callable(value):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number, Scalar)):
            raise ValueError(
                "Argument `learning_rate` should be a number, an instance of "
                "LearningRateSchedule, or a callable without arguments that returns a number. "
                f"Received instead: learning_rate={value!r}"
            )
        return Scalar(float(value), "float32", "learning_rate", f"{self.name}/learning_rate")

    # ---- learning rate and step counter ------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The current learning rate: a settable number, or what the schedule gives now."""
        if isinstance(self._learning_rate, schedules.LearningRateSchedule):
            return np.float32(self._learning_rate(int(self._iterations)))
        if isinstance(self._learning_rate, Scalar):
            return self._learning_rate
        return np.float32(self._learning_rate())

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, schedules.LearningRateSchedule) or (
            callable(value) and not isinstance(value, Scalar)
        ):
            self._learning_rate = value
            return
        if isinstance(self._learning_rate, schedules.LearningRateSchedule):
            raise TypeError(
                "This optimizer was created with a `LearningRateSchedule` object as its "
                "`learning_rate` constructor argument, hence its learning rate is not settable. "
                "If you need the learning rate to be settable, you should instantiate the "
                "optimizer with a float `learning_rate` argument."
            )
        checked = self._checked_learning_rate(value)
        if isinstance(self._learning_rate, Scalar):
            self._learning_rate.assign(checked)
        else:
            self._learning_rate = checked

    @property
    def lr(self) -> Any:
        """The Keras 2 name of `learning_rate`."""
        _keras2.say("optimizer.lr", "optimizer.learning_rate")
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        _keras2.say("optimizer.lr", "optimizer.learning_rate")
        self.learning_rate = value

    def current_learning_rate(self) -> float:
        """Return the learning rate of the next step as a Python float (single precision)."""
        return float(np.float32(self.learning_rate))

    @property
    def iterations(self) -> Scalar:
        """The number of finished steps."""
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations.assign(value)

    # ---- slot variables --------------------------------------------------------------------

    def build(self, variables: Sequence[Any]) -> None:
        """Make the slot variables of the given trainable variables.

        May be called again with another set (layers frozen or unfrozen between two fits): slots
        of known variables keep their values, new variables start from zero.

        Args:
            variables: the model's trainable variables, in the model's order.
        """
        from tlfast import _core

        for variable in variables:
            if id(variable) in self._slots:
                continue
            slots = {}
            for role in self._slot_roles():
                path = getattr(variable, "path", variable.name)
                name = f"{path.replace('/', '_')}_{role}"
                slots[role] = Slot(
                    _core.Variable(tuple(variable.shape)), name, f"{self.name}/{name}"
                )
            # The variable is kept with its slots, so that its id stays its own.
            self._slots[id(variable)] = (variable, slots)
        self._trainable = list(variables)
        self.built = True

    def _slot_roles(self) -> list[str]:
        return [role for group in self._groups() for role in group]

    def _groups(self) -> tuple[tuple[str, ...], ...]:
        """Slot roles in Keras' file order: roles of one group are interleaved per variable."""
        return ()

    @property
    def variables(self) -> list[Any]:
        """Step counter, learning rate (if a number) and slots, in the order of Keras' files."""
        found: list[Any] = [self._iterations]
        if isinstance(self._learning_rate, Scalar):
            found.append(self._learning_rate)
        for group in self._groups():
            for variable in self._trainable:
                slots = self._slots[id(variable)][1]
                found.extend(slots[role] for role in group)
        return found

    def slots_for(self, variable: Any) -> list[Any]:
        """Return the `_core.Variable`s kept for a model variable, in the order of `_groups`.

        Args:
            variable: one of the variables given to `build`.

        Raises:
            ValueError: the optimizer was not built with this variable.
        """
        if id(variable) not in self._slots:
            raise ValueError(
                f"Unknown variable: {getattr(variable, 'path', variable)!r}. Call "
                "`optimizer.build(model.trainable_weights)` with it first."
            )
        slots = self._slots[id(variable)][1]
        return [slots[role].core for role in self._slot_roles()]

    def get_state(self, weights: Sequence[Any]) -> dict[str, Any]:
        """Return step counter, learning rate and slots, for `set_state`.

        Args:
            weights: all weights of the model; slots are stored by their place in it.
        """
        rate = self._learning_rate
        slots = [
            [place, role, slot]
            for place, variable in enumerate(weights)
            for role, slot in self._slots.get(id(variable), (None, {}))[1].items()
        ]
        return {
            "iterations": int(self._iterations),
            "learning_rate": float(rate) if isinstance(rate, Scalar) else None,
            "slots": slots,
        }

    def _check_state(self, value: Any, where: str, weights: Sequence[Any]) -> None:
        """Raise FormatError for what `get_state` never returns for these weights."""
        from tlfast.saving.checks import (
            COUNT,
            array,
            list_of,
            maybe,
            number,
            object_of,
            one_of,
            row,
            whole,
        )
        from tlfast.saving.errors import FormatError

        def slot(value: Any, where: str) -> None:
            place = whole(0, len(weights) - 1)
            place(value[0] if isinstance(value, list) and value else None, f"{where}[0]")
            values = array(tuple(weights[value[0]].shape))
            row(place, one_of(*self._slot_roles()), values)(value, where)

        object_of({
            "iterations": COUNT, "learning_rate": maybe(number), "slots": list_of(slot),
        })(value, where)  # fmt: skip
        roles = [(place, role) for place, role, _ in value["slots"]]
        wanted = {(place, role) for place, _ in roles for role in self._slot_roles()}
        if len(roles) != len(wanted):
            raise FormatError(f"{where}.slots are not {', '.join(self._slot_roles())} of weights")

    def set_state(self, state: dict[str, Any], weights: Sequence[Any]) -> None:
        """Take back what `get_state` returned.

        Args:
            state: what it returned, slots as arrays.
            weights: all weights of the model, in the same order.
        """
        trainable = self._trainable
        self.build([weights[place] for place in sorted({place for place, *_ in state["slots"]})])
        self.build(trainable)
        for place, role, value in state["slots"]:
            self._slots[id(weights[place])][1][role].assign(value)
        self._iterations.assign(state["iterations"])
        if state["learning_rate"] is not None and isinstance(self._learning_rate, Scalar):
            self._learning_rate.assign(state["learning_rate"])

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Leave variables out of the weight decay.

        Args:
            var_list: variables to leave out.
            var_names: regular expressions; a variable whose name contains one is left out.

        Raises:
            ValueError: the optimizer is already built.
        """
        if self.built:
            raise ValueError(
                "`exclude_from_weight_decay()` can only be configured before the optimizer is "
                "built."
            )
        self._excluded = {id(variable) for variable in var_list or ()}
        self._excluded_pattern = re.compile("|".join(sorted(set(var_names)))) if var_names else None

    def uses_weight_decay(self, variable: Any) -> bool:
        """Say whether the weight decay applies to a variable."""
        if self.weight_decay is None or id(variable) in self._excluded:
            return False
        pattern = self._excluded_pattern
        return pattern is None or pattern.search(variable.name) is None

    def set_rate_factors(self, factors: Sequence[tuple[Any, float]]) -> None:
        """Give variables a learning rate of their own; call it before `Model.compile`.

        The step of such a variable, its weight decay included, is made with learning rate *
        factor. Not in Keras, and not written to files.

        Args:
            factors: pairs (variable, factor); factors are 0 or more, variables left out have 1.

        Raises:
            ValueError: a factor below 0, or not finite.
        """
        for variable, factor in factors:
            if not 0 <= factor < math.inf:
                raise ValueError(
                    f"The factor of {getattr(variable, 'path', variable)!r} must be a number, 0 or "
                    f"more. Received: {factor!r}"
                )
        # The variable is kept with its factor, so that its id stays its own.
        self._rate_factors = {id(v): (v, float(factor)) for v, factor in factors}

    def rate_factor(self, variable: Any) -> float:
        """The factor on the learning rate of a variable, 1 if none was set."""
        return self._rate_factors.get(id(variable), (None, 1.0))[1]

    # ---- description -----------------------------------------------------------------------

    def core_spec(self) -> dict[str, Any]:
        """Return what the core needs to run the update."""
        return {
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments in Keras' layout."""
        rate = self._learning_rate
        if isinstance(rate, schedules.LearningRateSchedule):
            rate = schedules.serialize(rate)
        elif isinstance(rate, Scalar):
            rate = float(rate)
        else:
            rate = _registry.serialize(rate, "builtins")
        return {
            "name": self.name,
            "learning_rate": rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Optimizer":
        """Make an optimizer from `get_config()`.

        Args:
            config: constructor arguments; a schedule may be in stored form.
            custom_objects: further schedule classes by name.
        """
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = schedules.deserialize(config["learning_rate"], custom_objects)
        # Written by Keras 2 and by early Keras 3, without effect on a CPU.
        for name in ("jit_compile", "is_legacy_optimizer", "decay"):
            if not config.get(name):
                config.pop(name, None)
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} learning_rate={self.current_learning_rate()}>"


def _number_or_none(name: str, value: float | None) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"`{name}` must be a number or None, got {value!r}.")
    return value
