"""Start values of weights, by Keras' formulas."""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from tlfast._errors import did_you_mean
from tlfast._naming import to_snake_case

# Standard deviation of a unit normal cut at two sigma; Keras divides by it so that the cut
# distribution keeps the wanted variance (keras/src/initializers/random_initializers.py).
_TRUNCATED_SIGMA = 0.87962566103423978


def compute_fans(
    shape: tuple[int, ...],
    input_axes: tuple[int, ...] | None = None,
    output_axes: tuple[int, ...] | None = None,
) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of `shape`, as Keras counts them."""
    if input_axes is not None and output_axes is not None:
        return (
            math.prod(shape[axis] for axis in input_axes),
            math.prod(shape[axis] for axis in output_axes),
        )
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


class Initializer:
    """Base of the initializers: call with a shape, get a float32 array."""

    _module = "keras.initializers"
    _registered_name = None

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(shape)")

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise a ValueError for a shape that has no values; layers ask when they are built."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the initializer."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Initializer":
        """Rebuild an initializer from `get_config()`."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"<{type(self).__name__} {arguments}>" if arguments else f"<{type(self).__name__}>"


class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return np.zeros(shape, dtype or np.float32)


class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return np.ones(shape, dtype or np.float32)


class Constant(Initializer):
    """One value everywhere.

    Args:
        value: the value.
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return np.array(np.broadcast_to(np.asarray(self.value, dtype or np.float32), shape))

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class Identity(Initializer):
    """The identity matrix times `gain`, for 2-D weights only.

    Args:
        gain: factor of the matrix.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise ValueError(
                "Identity matrix initializer can only be used for 2D matrices. "
                f"Received: shape={shape} of rank {len(shape)}."
            )

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        self._check_shape(shape)
        return self.gain * np.eye(*shape, dtype=dtype or np.float32)

    def get_config(self) -> dict[str, Any]:
        # Keras 3.15 stores no gain; write it only where leaving it out would change the values.
        return {} if self.gain == 1.0 else {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of the random initializers.

    Args:
        seed: integer for repeatable values; None draws one from Python's `random`, so that
            `random.seed` or `set_random_seed` fix it. One instance always gives the same
            values for the same shape.
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
            raise ValueError(
                f"`seed` of {type(self).__name__} is an integer or None. Received: seed={seed!r}"
            )
        self._init_seed = seed
        self.seed: int = int(seed) if seed is not None else random.randint(1, 10**9)

    def _generator(self) -> "np.random.Generator":
        return np.random.Generator(np.random.PCG64(self.seed & (2**64 - 1)))

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._init_seed}


def _normal(generator: "np.random.Generator", shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape, dtype=np.float32)


def _truncated_normal(generator: "np.random.Generator", shape: tuple[int, ...]) -> np.ndarray:
    """Unit normal values redrawn until they lie within two sigma."""
    values = _normal(generator, shape).reshape(-1)
    outside = np.flatnonzero(np.abs(values) > 2)
    while outside.size:
        values[outside] = generator.standard_normal(outside.size, dtype=np.float32)
        outside = outside[np.abs(values[outside]) > 2]
    return values.reshape(shape)


def _uniform(
    generator: "np.random.Generator", shape: tuple[int, ...], low: float, high: float
) -> np.ndarray:
    values = generator.random(shape, dtype=np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


class RandomNormal(RandomInitializer):
    """Normal values.

    Args:
        mean: mean of the values.
        stddev: standard deviation of the values.
        seed: integer or None.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        values = _normal(self._generator(), shape)
        return values * np.float32(self.stddev) + np.float32(self.mean)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal values redrawn until they lie within two standard deviations.

    Args:
        mean: mean of the values.
        stddev: standard deviation before the cut.
        seed: integer or None.
    """

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        values = _truncated_normal(self._generator(), shape)
        return values * np.float32(self.stddev) + np.float32(self.mean)


class RandomUniform(RandomInitializer):
    """Values spread evenly over a range.

    Args:
        minval: lower end.
        maxval: upper end, not reached.
        seed: integer or None.
    """

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return _uniform(self._generator(), shape, self.minval, self.maxval)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


class VarianceScaling(RandomInitializer):
    """Values whose variance is `scale` divided by the number of connections.

    Args:
        scale: positive factor of the variance.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
        seed: integer or None.
        input_axes: axes counted as inputs, or None for Keras' rule.
        output_axes: axes counted as outputs, or None for Keras' rule.
    """

    _MODES = ("fan_in", "fan_out", "fan_avg")
    _DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Any = None,
        output_axes: Any = None,
    ) -> None:
        if scale <= 0:
            raise ValueError(f"Argument `scale` must be positive float. Received: scale={scale}")
        if mode not in self._MODES:
            raise ValueError(
                f"`mode` is one of {self._MODES}. Received: mode={mode!r}."
                + did_you_mean(mode, self._MODES)
            )
        distribution = distribution.lower()
        # Keras 1 and 2 files say "normal" for the cut one.
        if distribution == "normal":
            distribution = "truncated_normal"
        if distribution not in self._DISTRIBUTIONS:
            raise ValueError(
                f"`distribution` is one of {self._DISTRIBUTIONS}. Received: "
                f"distribution={distribution!r}." + did_you_mean(distribution, self._DISTRIBUTIONS)
            )
        super().__init__(seed)
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes: tuple[int, ...] | None = (
            tuple(input_axes) if input_axes is not None else None
        )
        self.output_axes: tuple[int, ...] | None = (
            tuple(output_axes) if output_axes is not None else None
        )

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}
        variance = self.scale / max(1.0, fans[self.mode])
        generator = self._generator()
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return _uniform(generator, shape, -limit, limit)
        if self.distribution == "truncated_normal":
            stddev = math.sqrt(variance) / _TRUNCATED_SIGMA
            return _truncated_normal(generator, shape) * np.float32(stddev)
        return _normal(generator, shape) * np.float32(math.sqrt(variance))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _NamedScaling(VarianceScaling):
    """A `VarianceScaling` with fixed scale, mode and distribution."""

    _scaling: tuple[float, str, str]

    def __init__(
        self, seed: int | None = None, input_axes: Any = None, output_axes: Any = None
    ) -> None:
        super().__init__(*self._scaling, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        return {
            "seed": self._init_seed,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class GlorotUniform(_NamedScaling):
    """Even spread within sqrt(6 / (fan_in + fan_out))."""

    _scaling = (1.0, "fan_avg", "uniform")


class GlorotNormal(_NamedScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out)."""

    _scaling = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_NamedScaling):
    """Even spread within sqrt(6 / fan_in)."""

    _scaling = (2.0, "fan_in", "uniform")


class HeNormal(_NamedScaling):
    """Truncated normal of variance 2 / fan_in."""

    _scaling = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_NamedScaling):
    """Even spread within sqrt(3 / fan_in)."""

    _scaling = (1.0, "fan_in", "uniform")


class LecunNormal(_NamedScaling):
    """Truncated normal of variance 1 / fan_in."""

    _scaling = (1.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """A random orthogonal matrix over (all axes but the last, last axis).

    Args:
        gain: factor of the matrix.
        seed: integer or None.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs at least two axes. Received: shape={shape}")

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        self._check_shape(shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        flat = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(self._generator().standard_normal(flat))
        q *= np.sign(np.diag(r))
        if rows < columns:
            q = q.T
        return (self.gain * q.reshape(shape)).astype(np.float32)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


_CLASSES = {
    cls.__name__: cls
    for cls in (
        Zeros,
        Ones,
        Constant,
        Identity,
        RandomNormal,
        TruncatedNormal,
        RandomUniform,
        VarianceScaling,
        GlorotUniform,
        GlorotNormal,
        HeUniform,
        HeNormal,
        LecunUniform,
        LecunNormal,
        Orthogonal,
    )
}
_NAMES = {
    **_CLASSES,
    **{to_snake_case(name): cls for name, cls in _CLASSES.items()},
    "zero": Zeros,
    "one": Ones,
    "normal": RandomNormal,
    "uniform": RandomUniform,
}
# Keras also exports the snake-case names: keras.initializers.he_normal(seed=1).
zeros = Zeros
ones = Ones
constant = Constant
identity = Identity
random_normal = RandomNormal
truncated_normal = TruncatedNormal
random_uniform = RandomUniform
variance_scaling = VarianceScaling
orthogonal = Orthogonal
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal


def get(identifier: Any) -> Callable[..., Any] | None:
    """Return the initializer for a name, config, class, instance or function.

    Args:
        identifier: for example "he_normal", an instance, a function of a shape, or None.

    Returns:
        An initializer, or None for None.

    Raises:
        ValueError: if the name is not known.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        from tlfast._serialization import deserialize

        found = deserialize(identifier, kind="initializers")
        if callable(found):
            return found
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise ValueError(
                f"Could not interpret initializer identifier: {identifier}."
                + did_you_mean(identifier, _NAMES)
            )
        return _NAMES[identifier]()
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(
        f"Could not interpret initializer identifier: {identifier!r}. Give a name such as "
        "'he_normal', an Initializer, or a function from a shape to an array"
    )


def serialize(initializer: Any) -> Any:
    """Return the config of an initializer, as stored in model files."""
    from tlfast._serialization import serialize as serialize_object

    return serialize_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Return the initializer of a config made by `serialize`."""
    from tlfast._serialization import deserialize as deserialize_object

    return deserialize_object(config, custom_objects=custom_objects, kind="initializers")
