"""Input, Dense and Identity."""

from collections.abc import Callable
from typing import Any

from tlfast import _dtype_policy, _keras2, activations, initializers, regularizers
from tlfast._serialization import serialize
from tlfast._tensor import KerasTensor, Node, Shape, standardize_shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_unsupported
from tlfast.layers._operations import emit_activation


class InputLayer(Layer):
    """The entry of a model.

    Args:
        shape: sizes without the batch, None where unknown, for example (224, 224, 3).
        batch_size: fixed batch size, or None.
        dtype: None or "float32"; integer arrays are converted when they are passed.
        sparse: not supported.
        ragged: not supported.
        batch_shape: sizes with the batch, instead of `shape`.
        input_tensor: a KerasTensor to wrap.
        optional: not supported.
        name: name, or None for the next automatic one.
    """

    _records_build = False

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: KerasTensor | None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype="float32")
        shape = kwargs.get("input_shape", shape)
        batch_shape = kwargs.get("batch_input_shape", batch_shape)
        check_unsupported(self, sparse=sparse, ragged=ragged, optional=optional)
        if _dtype_policy.get(dtype or "float32", f"Input '{self.name}'").name != "float32":
            raise NotImplementedError(
                f"Input '{self.name}': dtype={dtype!r}; inputs are float32, the layers behind them "
                "compute in the type of their own policies"
            )
        if input_tensor is not None:
            batch_shape = input_tensor.shape
        elif shape is not None and batch_shape is not None:
            raise ValueError("You cannot pass both `shape` and `batch_shape` at the same time.")
        elif batch_size is not None and batch_shape is not None:
            raise ValueError(
                "You cannot pass both `batch_size` and `batch_shape` at the same time."
            )
        elif shape is None and batch_shape is None:
            raise ValueError("You must pass a `shape` argument.")
        if batch_shape is None:
            batch_shape = (batch_size, *standardize_shape(shape))
        self.batch_shape: Shape = standardize_shape(batch_shape)
        if input_tensor is None:
            input_tensor = KerasTensor(self.batch_shape, name=name)
        Node(self, (), {}, [input_tensor])

    def _build(self, input_shape: Any) -> None:
        return None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Input layer '{self.name}' is where a model starts; it is not called on tensors"
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": "float32",
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": False,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "InputLayer":
        config = {k: v for k, v in config.items() if k not in ("trainable",)}
        return super().from_config(config)


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: KerasTensor | None = None,
    optional: bool = False,
) -> KerasTensor:
    """Return the symbolic tensor that a model starts from.

    Args:
        shape: sizes without the batch, None where unknown, for example (224, 224, 3).
        batch_size: fixed batch size, or None.
        dtype: None or "float32"; integer arrays are converted when they are passed.
        sparse: not supported.
        ragged: not supported.
        batch_shape: sizes with the batch, instead of `shape`.
        name: name, or None for the next automatic one.
        tensor: a KerasTensor to wrap.
        optional: not supported.

    Returns:
        A `KerasTensor`.
    """
    return InputLayer(
        shape=shape,
        batch_size=batch_size,
        dtype=dtype,
        sparse=sparse,
        ragged=ragged,
        batch_shape=batch_shape,
        name=name,
        input_tensor=tensor,
        optional=optional,
    ).output


class Dense(Layer):
    """y = activation(x @ kernel + bias) over the last axis.

    Args:
        units: number of outputs.
        activation: name of an activation function, or None.
        use_bias: whether to add a bias.
        kernel_initializer: start values of the kernel (inputs, units).
        bias_initializer: start values of the bias (units,).
        kernel_regularizer: penalty on the kernel, or None.
        bias_regularizer: penalty on the bias, or None.
        activity_regularizer: not supported.
        kernel_constraint: not supported.
        bias_constraint: not supported.
        lora_rank: not supported.
        lora_alpha: not supported.
        quantization_config: not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _min_ndim = 2

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        check_unsupported(
            self,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            quantization_config=quantization_config,
        )
        self.units: int = positive_int(self, "units", units)
        self.activation: Callable[..., Any] = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer: Any = initializers.get(kernel_initializer)
        self.bias_initializer: Any = initializers.get(bias_initializer)
        self.kernel_regularizer: Any = regularizers.get(kernel_regularizer)
        self.bias_regularizer: Any = regularizers.get(bias_regularizer)
        self.kernel: Any = None  # Variables, once built
        self.bias: Any = None

    def _build(self, input_shape: Shape) -> None:
        self.kernel = self.add_weight(
            (input_shape[-1], self.units),
            self.kernel_initializer,
            name="kernel",
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,), self.bias_initializer, name="bias", regularizer=self.bias_regularizer
            )

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        super()._check_input(inputs)
        if self.built:
            self._check_axis(inputs, -1, self.kernel.shape[0])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        weights = [self.kernel.core, self.bias.core if self.use_bias else None]
        x = g.add("dense", inputs, weights, self.name)
        return emit_activation(g, self.name, self.activation, x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "kernel_regularizer": serialize(self.kernel_regularizer),
            "bias_regularizer": serialize(self.bias_regularizer),
            "kernel_constraint": None,
            "bias_constraint": None,
            "quantization_config": None,
        }


class Identity(Layer):
    """Returns its input."""

    _records_build = False

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        return inputs[0]


def positive_int(layer: Layer, name: str, value: Any) -> int:
    """Return `value` as an int.

    Raises:
        ValueError: unless it is a positive integer.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) <= 0:
        raise ValueError(
            f"Received an invalid value for `{name}` of layer '{layer.name}', expected a positive "
            f"integer. Received: {name}={value!r}"
        )
    return int(value)


def __getattr__(name: str) -> Any:
    return _keras2.moved(__name__, name)
