"""Poolings over images."""

from typing import Any

from tlfast import _keras2
from tlfast._tensor import Shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_data_format
from tlfast.layers._pads import check_positions, padding_name, pair, window_pads


class _Pooling(Layer):
    """A reduction over windows.

    Args:
        pool_size: height and width of the window, an int for both.
        strides: steps in height and width; None for the size of the window.
        padding: "valid" or "same" (TensorFlow's rule).
        data_format: "channels_last" or None.
        name: name, or None for the next automatic one.
        **kwargs: trainable, dtype, input_shape; see `Layer`.
    """

    _ndim = 4
    _records_build = False
    _core_op = ""

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        where = f"layer '{self.name}' ({type(self).__name__})"
        self.pool_size: tuple[int, int] = pair("pool_size", pool_size, where)
        self.strides: tuple[int, int] = (
            self.pool_size if strides is None else pair("strides", strides, where)
        )
        self.padding: str = padding_name(padding, where)
        self.data_format: str = check_data_format(data_format, where)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        height, width = check_positions(
            self.name, input_shape, self.pool_size, self.strides, self.padding
        )
        return (input_shape[0], height, width, input_shape[3])

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        pads = window_pads(g.shape(inputs[0]), self.pool_size, self.strides, self.padding)
        return g.add(
            self._core_op,
            inputs,
            [],
            self.name,
            pool=self.pool_size,
            strides=self.strides,
            pads=pads,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class MaxPooling2D(_Pooling):
    """The largest value of each window.

    Args:
        pool_size: height and width of the window, an int for both.
        strides: steps in height and width; None for the size of the window.
        padding: "valid" or "same" (TensorFlow's rule).
        data_format: "channels_last" or None.
        name: name, or None for the next automatic one.
        **kwargs: trainable, dtype, input_shape; see `Layer`.
    """

    _core_op = "max_pool2d"


class AveragePooling2D(_Pooling):
    """The mean of each window; padded places do not count.

    Args:
        pool_size: height and width of the window, an int for both.
        strides: steps in height and width; None for the size of the window.
        padding: "valid" or "same" (TensorFlow's rule).
        data_format: "channels_last" or None.
        name: name, or None for the next automatic one.
        **kwargs: trainable, dtype, input_shape; see `Layer`.
    """

    _core_op = "avg_pool2d"


class _GlobalPooling(Layer):
    """A reduction over height and width.

    Args:
        data_format: "channels_last" or None.
        keepdims: whether to return (batch, 1, 1, channels).
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _ndim = 4
    _records_build = False
    _core_op = ""

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.data_format: str = check_data_format(data_format, f"layer '{self.name}'")
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, channels = input_shape[0], input_shape[3]
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        x = g.add(self._core_op, inputs, [], self.name)
        if self.keepdims:
            x = g.add("reshape", [x], [], f"{self.name}/keepdims", shape=(1, 1, g.shape(x)[1]))
        return x

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "data_format": self.data_format,
            "keepdims": self.keepdims,
        }


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel.

    Args:
        data_format: "channels_last" or None.
        keepdims: whether to return (batch, 1, 1, channels).
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _core_op = "global_avg_pool"


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest value of each channel.

    Args:
        data_format: "channels_last" or None.
        keepdims: whether to return (batch, 1, 1, channels).
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _core_op = "global_max_pool"


def __getattr__(name: str) -> Any:
    return _keras2.moved(__name__, name)
