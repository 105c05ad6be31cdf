"""Preprocessing and augmentation inside a model.

The random layers act in training and when called directly on arrays, as in Keras; `predict` and
`evaluate` pass images through unchanged.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tlfast._errors import did_you_mean
from tlfast._recipe._maps import Traced
from tlfast._tensor import KerasTensor, Shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_data_format
from tlfast.layers.normalization import last_axis
from tlfast.layers.regularization import layer_seed

_FILL_MODES = ("reflect", "wrap", "constant", "nearest")
_INTERPOLATIONS = ("bilinear", "nearest")
_FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")


def _factors(value: Any) -> Any:
    """Return a number or one number per channel as plain floats."""
    array = np.asarray(value, np.float64)
    return float(array) if array.ndim == 0 else tuple(float(v) for v in array.reshape(-1))


class Rescaling(Layer):
    """x * scale + offset.

    Args:
        scale: number, or one per channel.
        offset: number, or one per channel.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("scale", scale), ("offset", offset)):
            array = np.asarray(value)
            if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
                raise ValueError(
                    f"layer '{self.name}' (Rescaling): `{name}` is a number or a list of one per "
                    f"channel. Received: {name}={value!r}"
                )
        self.scale = scale
        self.offset = offset

    def _trace(self, value: Traced) -> Traced:
        scale, offset = (np.asarray(given).tolist() for given in (self.scale, self.offset))
        return value.then("rescaling", scale=scale, offset=offset)

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        super()._check_input(inputs)
        for value in (self.scale, self.offset):
            if np.size(value) > 1:
                self._check_axis(inputs, -1, np.size(value))

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        return g.add(
            "scale_shift",
            inputs,
            [],
            self.name,
            scale=_factors(self.scale),
            shift=_factors(self.offset),
            reverse_channels=False,
        )

    def get_config(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

        return {**super().get_config(), "scale": plain(self.scale), "offset": plain(self.offset)}


class Normalization(Layer):
    """(x - mean) / sqrt(variance), per channel.

    Args:
        axis: -1 or the number of the last axis.
        mean: number or one per channel; None to learn it by `adapt`.
        variance: number or one per channel; None to learn it by `adapt`.
        invert: not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(
        self,
        axis: Any = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set. Received: "
                f"mean={mean} and variance={variance} for layer '{self.name}'"
            )
        if invert:
            raise NotImplementedError(
                f"layer '{self.name}' (Normalization): invert=True is not supported; use Rescaling"
            )
        axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        if axis is None or len(axes) != 1:
            raise NotImplementedError(
                f"layer '{self.name}' (Normalization): only the last axis, axis=-1, is supported. "
                f"Received: axis={axis}"
            )
        self.axis: list[int] = axes
        self.input_mean = mean
        self.input_variance = variance
        self.invert = False
        self.adapt_mean: Any = None  # Variables, once built
        self.adapt_variance: Any = None
        self.count: Any = None

    def _build(self, input_shape: Shape) -> None:
        last_axis(self, self.axis, len(input_shape))
        if self.input_mean is not None:
            return
        shape = (input_shape[-1],)
        self.adapt_mean = self.add_weight(shape, "zeros", trainable=False, name="mean")
        self.adapt_variance = self.add_weight(shape, "ones", trainable=False, name="variance")
        # Kept for the files of Keras, which hold it.
        self.count = self.add_weight((), "zeros", dtype="int64", trainable=False, name="count")

    @property
    def mean(self) -> Any:
        """The mean per channel, or the number given."""
        return self.input_mean if self.adapt_mean is None else self.adapt_mean.numpy()

    @property
    def variance(self) -> Any:
        """The variance per channel, or the number given."""
        return self.input_variance if self.adapt_variance is None else self.adapt_variance.numpy()

    def adapt(self, data: Any) -> None:
        """Learn mean and variance per channel.

        Args:
            data: an array, or an iterable of batches of arrays.
        """
        if self.input_mean is not None:
            raise ValueError(
                "Cannot `adapt` a Normalization layer that is initialized with static `mean` and "
                f"`variance`, you passed mean {self.input_mean} and variance {self.input_variance}."
            )
        batches: Iterable[Any] = [data] if isinstance(data, np.ndarray) else data
        count, total, squares = 0, 0.0, 0.0
        last_shape: Any = None
        for batch in batches:
            values = np.asarray(batch, np.float64)
            last_shape = values.shape
            values = values.reshape(-1, values.shape[-1])
            count += values.shape[0]
            total = total + values.sum(axis=0)
            squares = squares + np.square(values).sum(axis=0)
        if not count:
            raise ValueError(f"layer '{self.name}' (Normalization): adapt() received no values")
        if not self.built:
            self.build((None, *last_shape[1:]))
        mean = total / count
        self.adapt_mean.assign(mean)
        self.adapt_variance.assign(np.maximum(squares / count - np.square(mean), 0))

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        if self.adapt_mean is None:
            scale = 1 / np.maximum(np.sqrt(np.asarray(self.input_variance, np.float64)), 1e-7)
            shift = -np.asarray(self.input_mean, np.float64) * scale
            return g.add(
                "scale_shift",
                inputs,
                [],
                self.name,
                scale=_factors(scale.squeeze()),
                shift=_factors(shift.squeeze()),
                reverse_channels=False,
            )
        # The weights may be loaded later, so they stay weights of the graph. Keras divides by
        # max(sqrt(variance), 1e-7); epsilon 1e-14 under the root is the same guard.
        weights = [None, None, self.adapt_mean.core, self.adapt_variance.core]
        return g.add(
            "batch_norm", inputs, weights, self.name, epsilon=1e-14, momentum=0.99, training=False
        )

    def get_config(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            return None if value is None else np.asarray(value, np.float64).tolist()

        return {
            **super().get_config(),
            "axis": self.axis,
            "invert": False,
            "mean": plain(self.input_mean),
            "variance": plain(self.input_variance),
        }


class _RandomLayer(Layer):
    """A layer that acts in training only; called directly on arrays it acts as well."""

    _ndim = 4
    _captured_training = True

    def __init__(self, seed: int | None, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format: str = check_data_format(data_format, f"layer '{self.name}'")
        self.seed = seed
        self._seed = layer_seed(self, seed)

    def _choice(self, name: str, value: Any, allowed: tuple[str, ...]) -> str:
        if value not in allowed:
            raise ValueError(
                f"layer '{self.name}' ({type(self).__name__}): `{name}` is one of {allowed}. "
                f"Received: {name}={value!r}." + did_you_mean(value, allowed)
            )
        return value

    def _range(self, name: str, value: Any) -> tuple[float, float]:
        """Return (lower, upper) of a factor; f means (-f, f)."""
        bounds = value if isinstance(value, (list, tuple)) else (-abs(value), abs(value))
        if (
            len(bounds) != 2
            or not all(isinstance(b, (int, float)) and -1 <= b <= 1 for b in bounds)
            or bounds[0] > bounds[1]
        ):
            raise ValueError(
                f"layer '{self.name}' ({type(self).__name__}): `{name}` is a number in [-1, 1] or "
                f"a pair (lower, upper) of such. Received: {name}={value!r}"
            )
        return float(bounds[0]), float(bounds[1])

    def _affine(self) -> dict[str, Any]:
        raise NotImplementedError(type(self).__name__)

    def _call_eagerly(self, inputs: Any, training: bool | None) -> Any:
        if np.ndim(inputs) == 3:  # one image without a batch, as Keras allows here
            return super()._call_eagerly(np.asarray(inputs)[None], training)[0]
        return super()._call_eagerly(inputs, training)

    def lower(self, g: Any, inputs: list[int], training: bool | None) -> int:
        if training is False:
            return inputs[0]
        attributes = {
            "flip": "",
            "rotation": (0.0, 0.0),
            "zoom_h": (0.0, 0.0),
            "zoom_w": None,
            "fill_mode": "reflect",
            "fill_value": 0.0,
            "interpolation": "bilinear",
            **self._affine(),
        }
        return g.add("random_affine", inputs, [], self.name, seed=self._seed, **attributes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class RandomFlip(_RandomLayer):
    """In training, mirrors an image with probability 1/2.

    Args:
        mode: "horizontal", "vertical" or "horizontal_and_vertical".
        seed: integer, or None to draw one from Python's `random`.
        data_format: "channels_last" or None.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.mode: str = self._choice("mode", mode, _FLIPS)

    def _affine(self) -> dict[str, Any]:
        return {"flip": self.mode}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed, "mode": self.mode}


class RandomRotation(_RandomLayer):
    """In training, turns an image around its centre.

    Args:
        factor: fraction of a full turn, f for (-f, f), or (lower, upper); positive is
            counter-clockwise.
        fill_mode: "reflect", "wrap", "constant" or "nearest", for places outside the image.
        interpolation: "bilinear" or "nearest".
        seed: integer, or None to draw one from Python's `random`.
        fill_value: value outside the image for fill_mode="constant".
        data_format: "channels_last" or None.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor: tuple[float, float] = self._range("factor", factor)
        self.fill_mode: str = self._choice("fill_mode", fill_mode, _FILL_MODES)
        self.interpolation: str = self._choice("interpolation", interpolation, _INTERPOLATIONS)
        self.fill_value: float = float(fill_value)

    def _affine(self) -> dict[str, Any]:
        return {
            "rotation": self.factor,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "interpolation": self.interpolation,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "factor": self.factor,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "interpolation": self.interpolation,
            "seed": self.seed,
        }


class RandomZoom(_RandomLayer):
    """In training, zooms an image in or out.

    Args:
        height_factor: f for (-f, f), or (lower, upper); positive zooms out, negative in.
        width_factor: the same for the width; None zooms both alike.
        fill_mode: "reflect", "wrap", "constant" or "nearest", for places outside the image.
        interpolation: "bilinear" or "nearest".
        seed: integer, or None to draw one from Python's `random`.
        fill_value: value outside the image for fill_mode="constant".
        data_format: "channels_last" or None.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.height_factor = height_factor
        self.width_factor = width_factor
        self._height = self._range("height_factor", height_factor)
        self._width = None if width_factor is None else self._range("width_factor", width_factor)
        self.fill_mode: str = self._choice("fill_mode", fill_mode, _FILL_MODES)
        self.interpolation: str = self._choice("interpolation", interpolation, _INTERPOLATIONS)
        self.fill_value: float = float(fill_value)

    def _affine(self) -> dict[str, Any]:
        return {
            "zoom_h": self._height,
            "zoom_w": self._width,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "interpolation": self.interpolation,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "height_factor": self.height_factor,
            "width_factor": self.width_factor,
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "seed": self.seed,
            "fill_value": self.fill_value,
        }
