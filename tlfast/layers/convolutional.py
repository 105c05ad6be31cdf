"""Convolutions over images."""

from collections.abc import Callable
from typing import Any

from tlfast import _keras2, activations, initializers, regularizers
from tlfast._serialization import serialize
from tlfast._tensor import KerasTensor, Shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_data_format, check_unsupported
from tlfast.layers._operations import emit_activation
from tlfast.layers._pads import check_positions, padding_name, pair, window_pads
from tlfast.layers.core import positive_int


class _Convolution(Layer):
    """What the convolutions share: window, strides, padding, bias and activation.

    Args:
        kernel_size: height and width of the window, an int for both.
        strides: steps in height and width.
        padding: "valid" or "same" (TensorFlow's rule).
        data_format: "channels_last" or None.
        dilation_rate: distance between the points of the window.
        activation: name of an activation function, or None.
        use_bias: whether to add a bias.
        bias_initializer: start values of the bias.
        bias_regularizer: penalty on the bias, or None.
        activity_regularizer: not supported.
        bias_constraint: not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _ndim = 4

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        bias_initializer: Any = "zeros",
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        where = f"layer '{self.name}' ({type(self).__name__})"
        self.kernel_size: tuple[int, int] = pair("kernel_size", kernel_size, where)
        self.strides: tuple[int, int] = pair("strides", strides, where)
        self.dilation_rate: tuple[int, int] = pair("dilation_rate", dilation_rate, where)
        self.padding: str = padding_name(padding, where)
        self.data_format: str = check_data_format(data_format, where)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{where}: `strides > 1` not supported in conjunction with `dilation_rate > 1`. "
                f"Received: strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        check_unsupported(self, bias_constraint=bias_constraint)
        self.activation: Callable[..., Any] = activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer: Any = initializers.get(bias_initializer)
        self.bias_regularizer: Any = regularizers.get(bias_regularizer)
        self.bias: Any = None  # Variable, once built
        self._channels: int | None = None

    def _add_bias(self, size: int) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                (size,), self.bias_initializer, name="bias", regularizer=self.bias_regularizer
            )

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        super()._check_input(inputs)
        if self._channels is not None:
            self._check_axis(inputs, -1, self._channels)

    def _known_channels(self, input_shape: Shape) -> int:
        if input_shape[-1] is None:
            raise ValueError(
                f"The channel dimension of the inputs of layer '{self.name}' should be defined. "
                f"The input_shape received is {input_shape}"
            )
        return input_shape[-1]

    def _filters(self, input_shape: Shape) -> int:
        raise NotImplementedError(type(self).__name__)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        height, width = check_positions(
            self.name, input_shape, self.kernel_size, self.strides, self.padding, self.dilation_rate
        )
        return (input_shape[0], height, width, self._filters(input_shape))

    def _window(self, g: Any, x: int) -> dict[str, Any]:
        return {
            "strides": self.strides,
            "dilation": self.dilation_rate,
            "pads": window_pads(
                g.shape(x), self.kernel_size, self.strides, self.padding, self.dilation_rate
            ),
        }

    def _bias_core(self) -> Any:
        return self.bias.core if self.use_bias else None

    def _window_config(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }


class Conv2D(_Convolution):
    """2-D convolution; kernel (height, width, inputs / groups, filters).

    Args:
        filters: number of output channels.
        kernel_size: height and width of the window, an int for both.
        strides: steps in height and width.
        padding: "valid" or "same" (TensorFlow's rule).
        data_format: "channels_last" or None.
        dilation_rate: distance between the points of the window.
        groups: number of groups the channels are split into.
        activation: name of an activation function, or None.
        use_bias: whether to add a bias.
        kernel_initializer: start values of the kernel.
        bias_initializer: start values of the bias.
        kernel_regularizer: penalty on the kernel, or None.
        bias_regularizer: penalty on the bias, or None.
        activity_regularizer: not supported.
        kernel_constraint: not supported.
        bias_constraint: not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            activity_regularizer,
            bias_constraint,
            **kwargs,
        )
        check_unsupported(self, kernel_constraint=kernel_constraint)
        self.filters: int = positive_int(self, "filters", filters)
        self.groups: int = positive_int(self, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                "The number of filters must be evenly divisible by the number of groups. "
                f"Received: groups={groups}, filters={filters} in layer '{self.name}'."
            )
        self.kernel_initializer: Any = initializers.get(kernel_initializer)
        self.kernel_regularizer: Any = regularizers.get(kernel_regularizer)
        self.kernel: Any = None  # Variable, once built

    def _build(self, input_shape: Shape) -> None:
        channels = self._known_channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"Layer '{self.name}': the number of input channels must be evenly divisible by "
                f"the number of groups. Received: groups={self.groups}, input_shape={input_shape}"
            )
        self.kernel = self.add_weight(
            (*self.kernel_size, channels // self.groups, self.filters),
            self.kernel_initializer,
            name="kernel",
            regularizer=self.kernel_regularizer,
        )
        self._add_bias(self.filters)
        self._channels = channels

    def _filters(self, input_shape: Shape) -> int:
        return self.filters

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        x = g.add(
            "conv2d",
            inputs,
            [self.kernel.core, self._bias_core()],
            self.name,
            groups=self.groups,
            **self._window(g, inputs[0]),
        )
        return emit_activation(g, self.name, self.activation, x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            **self._window_config(),
            "groups": self.groups,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "kernel_regularizer": serialize(self.kernel_regularizer),
            "bias_regularizer": serialize(self.bias_regularizer),
            "activity_regularizer": None,
            "kernel_constraint": None,
            "bias_constraint": None,
        }


class DepthwiseConv2D(_Convolution):
    """Convolution of each channel by itself; kernel (height, width, channels, multiplier).

    Args:
        kernel_size: height and width of the window, an int for both.
        strides: steps in height and width.
        padding: "valid" or "same" (TensorFlow's rule).
        depth_multiplier: output channels per input channel.
        data_format: "channels_last" or None.
        dilation_rate: distance between the points of the window.
        activation: name of an activation function, or None.
        use_bias: whether to add a bias.
        depthwise_initializer: start values of the kernel.
        bias_initializer: start values of the bias.
        depthwise_regularizer: penalty on the kernel, or None.
        bias_regularizer: penalty on the bias, or None.
        activity_regularizer: not supported.
        depthwise_constraint: not supported.
        bias_constraint: not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            activity_regularizer,
            bias_constraint,
            **kwargs,
        )
        check_unsupported(self, depthwise_constraint=depthwise_constraint)
        self.depth_multiplier: int = positive_int(self, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer: Any = initializers.get(depthwise_initializer)
        self.depthwise_regularizer: Any = regularizers.get(depthwise_regularizer)
        self.kernel: Any = None  # Variable, once built

    @property
    def depthwise_kernel(self) -> Any:
        """The kernel, under its Keras 2 name."""
        return self.kernel

    def _build(self, input_shape: Shape) -> None:
        channels = self._known_channels(input_shape)
        self.kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            name="kernel",
            regularizer=self.depthwise_regularizer,
        )
        self._add_bias(channels * self.depth_multiplier)
        self._channels = channels

    def _filters(self, input_shape: Shape) -> int:
        channels: Any = input_shape[-1]
        return channels * self.depth_multiplier

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        x = g.add(
            "depthwise_conv2d",
            inputs,
            [self.kernel.core, self._bias_core()],
            self.name,
            **self._window(g, inputs[0]),
        )
        return emit_activation(g, self.name, self.activation, x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            **self._window_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "depthwise_initializer": serialize(self.depthwise_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "depthwise_regularizer": serialize(self.depthwise_regularizer),
            "bias_regularizer": serialize(self.bias_regularizer),
            "activity_regularizer": None,
            "depthwise_constraint": None,
            "bias_constraint": None,
        }


class SeparableConv2D(_Convolution):
    """A depthwise convolution followed by a 1x1 convolution.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the depthwise window, an int for both.
        strides: steps in height and width; Keras wants both equal.
        padding: "valid" or "same" (TensorFlow's rule).
        data_format: "channels_last" or None.
        dilation_rate: distance between the points of the window.
        depth_multiplier: channels between the two steps per input channel.
        activation: name of an activation function, or None.
        use_bias: whether to add a bias after the second step.
        depthwise_initializer: start values of the depthwise kernel.
        pointwise_initializer: start values of the 1x1 kernel.
        bias_initializer: start values of the bias.
        depthwise_regularizer: penalty on the depthwise kernel, or None.
        pointwise_regularizer: penalty on the 1x1 kernel, or None.
        bias_regularizer: penalty on the bias, or None.
        activity_regularizer: not supported.
        depthwise_constraint: not supported.
        pointwise_constraint: not supported.
        bias_constraint: not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            activity_regularizer,
            bias_constraint,
            **kwargs,
        )
        check_unsupported(
            self,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
        )
        self.filters: int = positive_int(self, "filters", filters)
        self.depth_multiplier: int = positive_int(self, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer: Any = initializers.get(depthwise_initializer)
        self.pointwise_initializer: Any = initializers.get(pointwise_initializer)
        self.depthwise_regularizer: Any = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer: Any = regularizers.get(pointwise_regularizer)
        self.depthwise_kernel: Any = None  # Variables, once built
        self.pointwise_kernel: Any = None

    def _build(self, input_shape: Shape) -> None:
        channels = self._known_channels(input_shape)
        self.depthwise_kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            name="depthwise_kernel",
            regularizer=self.depthwise_regularizer,
        )
        self.pointwise_kernel = self.add_weight(
            (1, 1, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            name="pointwise_kernel",
            regularizer=self.pointwise_regularizer,
        )
        self._add_bias(self.filters)
        self._channels = channels

    def _filters(self, input_shape: Shape) -> int:
        return self.filters

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        x = g.add(
            "depthwise_conv2d",
            inputs,
            [self.depthwise_kernel.core, None],
            f"{self.name}/depthwise",
            **self._window(g, inputs[0]),
        )
        x = g.add(
            "conv2d",
            [x],
            [self.pointwise_kernel.core, self._bias_core()],
            self.name,
            strides=(1, 1),
            dilation=(1, 1),
            groups=1,
            pads=(0, 0, 0, 0),
        )
        return emit_activation(g, self.name, self.activation, x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            "filters": self.filters,
            **self._window_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "depthwise_initializer": serialize(self.depthwise_initializer),
            "pointwise_initializer": serialize(self.pointwise_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "depthwise_regularizer": serialize(self.depthwise_regularizer),
            "pointwise_regularizer": serialize(self.pointwise_regularizer),
            "bias_regularizer": serialize(self.bias_regularizer),
            "activity_regularizer": None,
            "depthwise_constraint": None,
            "pointwise_constraint": None,
            "bias_constraint": None,
        }


def __getattr__(name: str) -> Any:
    return _keras2.moved(__name__, name)
