"""Dropout."""

import random
from typing import Any

from tlfast._tensor import Shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_data_format


def layer_seed(layer: Layer, seed: Any) -> int:
    """Return the seed of a random layer; None draws one from Python's `random`.

    Raises:
        ValueError: unless it is None or an integer.
    """
    if seed is None:
        return random.randint(1, 10**9)
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise ValueError(
            f"layer '{layer.name}': `seed` is an integer or None. Received: seed={seed!r}"
        )
    return int(seed)


class Dropout(Layer):
    """In training, sets values to 0 with probability `rate` and scales the rest by 1/(1-rate).

    Args:
        rate: between 0 and 1.
        noise_shape: None, or (None, 1, 1, 1) to drop whole samples.
        seed: integer, or None to draw one from Python's `random`.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _records_build = False
    _captured_training = False

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(
                f"Invalid value received for argument `rate` of layer '{self.name}'. Expected a "
                f"float value between 0 and 1. Received: rate={rate!r}"
            )
        self.rate = rate
        self.seed = seed
        self.noise_shape: tuple[int | None, ...] | None = (
            None if noise_shape is None else tuple(noise_shape)
        )
        self._seed = layer_seed(self, seed)

    def _build(self, input_shape: Shape) -> None:
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._per_sample(len(input_shape))
        return input_shape

    def _per_sample(self, ndim: int) -> bool:
        if self.noise_shape is None or all(s is None for s in self.noise_shape):
            return False
        if len(self.noise_shape) == ndim and all(s == 1 for s in self.noise_shape[1:]):
            return True
        raise NotImplementedError(
            f"Layer '{self.name}' (Dropout): noise_shape is None or (None, 1, 1, 1), which drops "
            f"whole samples; SpatialDropout2D drops channels. Received: {self.noise_shape}"
        )

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        if not training or self.rate == 0:
            return inputs[0]
        per_sample = self._per_sample(len(g.shape(inputs[0])))
        return _emit_dropout(g, self.name, inputs[0], self.rate, self._seed, per_sample)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rate": self.rate,
            "seed": self.seed,
            "noise_shape": self.noise_shape,
        }


def _emit_dropout(
    g: Any, name: str, x: int, rate: float, seed: int, per_sample: bool = False
) -> int:
    if rate == 1:
        return g.add("scale_shift", [x], [], name, scale=0.0, shift=0.0, reverse_channels=False)
    return g.add("dropout", [x], [], name, rate=float(rate), seed=seed, per_sample=per_sample)


class SpatialDropout2D(Layer):
    """In training, sets whole channels of a sample to 0 and scales the rest by 1/(1-rate).

    Args:
        rate: between 0 and 1.
        data_format: "channels_last" or None.
        seed: integer, or None to draw one from Python's `random`.
        name: name, or None for the next automatic one.
        dtype: None, a policy or its name; see `Layer`.
    """

    _ndim = 4
    _records_build = False
    _captured_training = False

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(
                f"Invalid value received for argument `rate` of layer '{self.name}'. Expected a "
                f"float value between 0 and 1. Received: rate={rate!r}"
            )
        self.rate = rate
        self.seed = seed
        self.data_format: str = check_data_format(data_format, f"layer '{self.name}'")
        self._seed = layer_seed(self, seed)

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        if not training or self.rate == 0:
            return inputs[0]
        # A row of ones per sample goes through dropout and multiplies the channels.
        channels = g.shape(inputs[0])[3]
        x = g.add("global_avg_pool", inputs, [], f"{self.name}/channels")
        x = g.add(
            "scale_shift",
            [x],
            [],
            f"{self.name}/ones",
            scale=0.0,
            shift=1.0,
            reverse_channels=False,
        )
        x = _emit_dropout(g, f"{self.name}/mask", x, self.rate, self._seed)
        x = g.add("reshape", [x], [], f"{self.name}/expand", shape=(1, 1, channels))
        return g.add("multiply", [inputs[0], x], [], self.name)

    def get_config(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "seed": self.seed,
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "data_format": self.data_format,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpatialDropout2D":
        config = dict(config)
        trainable = config.pop("trainable", True)
        config.pop("noise_shape", None)
        layer = super().from_config(config)
        layer.trainable = trainable
        return layer
