"""Lambda: a Python function of tensors as a layer."""

from collections.abc import Callable
from typing import Any

from tlfast._tensor import KerasTensor, Shape, flatten, is_shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_unsupported
from tlfast.layers.core import Input


class Lambda(Layer):
    """A function of tensors as a layer, for example `Lambda(preprocess_input)`.

    The function is called once, when the layer is: what it does to the symbolic tensor it gets
    (arithmetic, `x[..., ::-1]`, `preprocess_input`, layers without weights) becomes part of the
    model, computed by the core and known to gradients. Model files hold these operations as a
    model inside, and no code.

    Args:
        function: function of a tensor, or of a list of tensors, that returns a tensor.
        output_shape: not needed; if given, the shape without the batch, or a function of the input
            shape, that the output must have.
        mask: not supported.
        arguments: keyword arguments of the function.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.

    Raises:
        NotImplementedError: when called, for a function that does more than the above.
    """

    _module = "keras.src.models.functional"
    _class_name = "Functional"  # in files

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(
                f"layer '{self.name}' (Lambda): `function` is a function of a tensor. "
                f"Received: function={function!r}"
            )
        check_unsupported(self, mask=mask)
        self.function: Callable[..., Any] = function
        self.arguments: dict[str, Any] = dict(arguments or {})
        self._wanted_shape = output_shape
        self._inner: Any = None

    @property
    def _registered_name(self) -> str:
        return self._class_name

    def _build(self, input_shape: Any) -> None:
        from tlfast.models import Functional

        one = is_shape(input_shape)
        inputs = [Input(batch_shape=s) for s in ([input_shape] if one else input_shape)]
        given = inputs[0] if one else inputs
        self._inner = Functional(given, self._traced(given), name=self.name)
        if self._inner.weights:
            raise ValueError(
                f"layer '{self.name}' (Lambda): layers with weights inside the function would not "
                f"be trained: {[w.path for w in self._inner.weights]}. Call them on the tensors of "
                "the model itself"
            )
        self._check_wanted(input_shape)

    def _traced(self, inputs: Any) -> KerasTensor:
        try:
            output = self.function(inputs, **self.arguments)
        except (TypeError, AttributeError, NotImplementedError) as error:
            text = f"{self._what()} failed with: {error}. {_POSSIBLE}"
            raise NotImplementedError(text) from error
        if not isinstance(output, KerasTensor):
            raise NotImplementedError(
                f"{self._what()} returned {type(output).__name__} and not a tensor. {_POSSIBLE}"
            )
        return output

    def _what(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        code = getattr(self.function, "__code__", None)
        place = f" ({code.co_filename}, line {code.co_firstlineno})" if code else ""
        return f"layer '{self.name}' (Lambda): {name}{place}, called on a tensor of a model,"

    def _check_wanted(self, input_shape: Any) -> None:
        wanted = self._wanted_shape
        if wanted is None:
            return
        wanted = wanted(input_shape) if callable(wanted) else (None, *wanted)
        if tuple(wanted)[1:] != self._inner.output_shape[1:]:
            raise ValueError(
                f"layer '{self.name}' (Lambda): the function gives the shape "
                f"{self._inner.output_shape}, not output_shape={tuple(wanted)}"
            )

    def _sublayers(self) -> list[Layer]:
        return [] if self._inner is None else [self._inner]

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        """The function decides what it takes."""

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self._inner.compute_output_spec(flatten(args[0]))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self.build(input_shape)
        return self._inner.compute_output_shape(input_shape)

    def lower(self, g: Any, inputs: list[int], training: bool) -> Any:
        return self._inner.lower(g, inputs, training)

    def get_build_config(self) -> dict[str, Any]:
        return {"input_shape": None}

    def get_config(self) -> dict[str, Any]:
        """Return the config of the operations inside, as a model.

        Raises:
            ValueError: the layer was not called yet.
        """
        if self._inner is None:
            raise ValueError(
                f"layer '{self.name}' (Lambda) has no config before its first call: what the "
                "function does is known from then on"
            )
        return {**self._inner.get_config(), "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Rebuild the operations, as a model, from `get_config()`."""
        from tlfast.models import Functional

        return Functional.from_config(config)


_POSSIBLE = (
    "In a model there are arithmetic with numbers such as x / 127.5 - 1, x[..., ::-1], "
    "preprocess_input and the layers of tlfast.layers; do anything else to the images with map() "
    "of the dataset or preprocessing_function of ImageDataGenerator"
)
