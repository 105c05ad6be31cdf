"""The base of all layers: names, weights, configs, and how a call becomes a graph node.

A layer never computes. Called on a symbolic tensor it records a node; a model later replays its
nodes through `lower`, which writes core operations into a `_core.Graph` for concrete shapes.
"""

import difflib
import inspect
import math
from functools import cache
from typing import Any

import numpy as np

from tlfast import _dtype_policy, _keras2, initializers, regularizers
from tlfast._errors import did_you_mean
from tlfast._naming import auto_name, current_path, name_scope
from tlfast._recipe._maps import Traced
from tlfast._shown import MAX_NAME, is_name, shown
from tlfast._tensor import (
    KerasTensor,
    Node,
    Shape,
    flatten,
    is_shape,
    map_structure,
    standardize_shape,
)
from tlfast._variable import Variable
from tlfast.layers._checks import (
    LEGACY_SHAPE,
    check_call_arguments,
    clean_config,
)

# What people write when they mean `trainable`; no similarity of letters finds the first one.
_CONFUSIONS = {
    "training": "trainable",
    "train": "trainable",
    "frozen": "trainable",
    "requires_grad": "trainable",
    "learning_phase": "trainable",
}


@cache
def _accepted_arguments(cls: type) -> frozenset[str] | None:
    """The keyword arguments of a class of this package, or None where anything may be taken."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        if not base.__module__.startswith("tlfast."):
            return None
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names.update(
            p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        )
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
        if base is Layer:
            names.update(LEGACY_SHAPE)
    return frozenset(names - {"self"})


@cache
def _public_attributes(cls: type) -> frozenset[str]:
    return frozenset(name for name in dir(cls) if not name.startswith("_"))


class _Finished(type):
    """Marks objects as finished after their last `__init__`, see `Layer.__setattr__`."""

    _old_arguments: str  # of Operation, whose class this is

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls._old_arguments and kwargs:
            kwargs = _keras2.renamed(cls._old_arguments, kwargs)
        instance = super().__call__(*args, **kwargs)
        object.__setattr__(instance, "_finished", True)
        return instance


class Operation(metaclass=_Finished):
    """Something that can be called on symbolic tensors; layers are operations with weights.

    Args:
        name: name, or None for the next automatic one.
    """

    _module = "keras.src.ops.numpy"
    _old_arguments = ""  # key of `_keras2.ARGUMENTS`
    compute_dtype: Any = "bfloat16"  # what comes goes on; layers say what they compute in
    _stem: Any = None  # set where a pretrained network begins, see tlfast._backbones

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        accepted = _accepted_arguments(cls)
        unknown = [] if accepted is None else [k for k in kwargs if k not in accepted]
        if unknown:
            raise ValueError(
                f"Unrecognized keyword arguments passed to {cls.__name__}: "
                f"{ {k: kwargs[k] for k in unknown} }." + did_you_mean(unknown[0], accepted or ())
            )
        return super().__new__(cls)

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            name = auto_name(type(self).__name__)
        if not isinstance(name, str) or "/" in name:
            raise ValueError(
                "Argument `name` must be a string and cannot contain character `/`. "
                f"Received: name={name} (of type {type(name)})"
            )
        if not is_name(name):
            raise ValueError(
                f"Argument `name` has at most {MAX_NAME} characters, all of which can be seen. "
                f"Received: name='{shown(name)}'"
            )
        self.name = name
        self._inbound_nodes: list[Node] = []
        self._outbound_nodes: list[Node] = []

    @property
    def inbound_nodes(self) -> list[Node]:
        """The calls of this operation on symbolic tensors."""
        return self._inbound_nodes

    @property
    def outbound_nodes(self) -> list[Node]:
        """The calls of other operations on this one's outputs."""
        return self._outbound_nodes

    @property
    def _registered_name(self) -> str | None:
        return type(self).__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self.compute_output_spec(*args, **kwargs)
        Node(self, args, kwargs, flatten(outputs))
        return outputs

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return the symbolic result of a call."""
        raise NotImplementedError(f"{type(self).__name__} does not say what shape it returns")

    def lower_node(self, g: Any, node: Node, inputs: list[int], training: bool) -> list[int]:
        """Write one recorded call into a core graph.

        Args:
            g: the `_core.Graph`.
            node: the call.
            inputs: core values of `node.input_tensors`.
            training: whether layers behave as in training.

        Returns:
            Core values of the node's outputs.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be computed by the core")

    def _node_attribute(self, attribute: str, what: str) -> Any:
        if not self._inbound_nodes:
            raise AttributeError(
                f"The layer {self.name} has never been called and thus has no defined {what}."
            )
        values = getattr(self._inbound_nodes[0], attribute)
        return values[0] if len(values) == 1 else values

    @property
    def input(self) -> Any:
        """The symbolic input of the first call; a list if there are several."""
        return self._node_attribute("input_tensors", "input")

    @property
    def output(self) -> Any:
        """The symbolic output of the first call; a list if there are several."""
        return self._node_attribute("output_tensors", "output")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the operation."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Rebuild an operation from `get_config()`."""
        return cls(**config)


def own_weights(layers: list["Layer"]) -> list[Variable]:
    """The own weights of layers, each once; those of a layer that are trainable come first."""
    found: dict[int, Variable] = {}
    for layer in layers:
        for variables in (layer._own_trainable, layer._own_non_trainable):
            for variable in variables:
                found.setdefault(id(variable), variable)
    return list(found.values())


class Layer(Operation):
    """Base of all layers.

    Args:
        activity_regularizer: not supported; None.
        trainable: whether training may change the weights.
        dtype: what the layer computes in: "float32", "mixed_bfloat16", or a `DTypePolicy`; None is
            the global policy (`tlfast.mixed_precision`).
        autocast: accepted as Keras' default True only.
        name: name, or None for the next automatic one.
        input_shape: shape without the batch, for the first layer of a `Sequential`.

    Raises:
        ValueError: for an unknown argument, with the closest known one.
        NotImplementedError: for arguments of Keras that this package does not honour.
    """

    _module = "keras.layers"
    _min_ndim: int | None = None  # smallest accepted rank of an input, the batch included
    _ndim: int | None = None  # the only accepted rank
    _records_build = True  # whether Keras stores a build_config for this class
    _captured_training: bool | None = None  # what Keras' files record when nobody said
    _has_mask = False  # whether Keras' files record "mask": null for a call

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name)
        where = f"layer '{self.name}' ({type(self).__name__})"
        shape = kwargs.pop("input_shape", None)
        if kwargs.get("input_dim") is not None:
            shape = (kwargs["input_dim"],)
        if kwargs.get("batch_input_shape") is not None:
            shape = tuple(kwargs["batch_input_shape"])[1:]
        self._input_shape_arg = None if shape is None else standardize_shape(shape)
        unknown = {k: v for k, v in kwargs.items() if k not in LEGACY_SHAPE}
        if unknown:
            raise ValueError(
                f"Unrecognized keyword arguments passed to {type(self).__name__}: {unknown}."
            )
        if activity_regularizer is not None:
            raise NotImplementedError(
                f"{where}: activity_regularizer is not supported; regularise the weights with "
                f"kernel_regularizer. Received: activity_regularizer={activity_regularizer!r}"
            )
        if not isinstance(trainable, bool):
            raise ValueError(
                "Expected `trainable` to be a boolean. "
                f"Received: trainable={trainable} (of type {type(trainable)})"
            )
        if autocast is not True:
            raise NotImplementedError(
                f"{where}: autocast={autocast!r} is not supported; inputs are"
                " always converted to what a layer computes in"
            )
        self._dtype_policy = _dtype_policy.get(dtype, where)
        self.built: bool = not self._records_build
        self._trainable = trainable
        self._own_trainable: list[Variable] = []
        self._own_non_trainable: list[Variable] = []
        self._build_input_shape: Any = None

    # Attributes -----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        # Only finished objects of this package are guarded: a subclass may name things freely.
        cls = type(self)
        if (
            name[0] != "_"
            and "_finished" in self.__dict__
            and not hasattr(cls, name)
            and name not in self.__dict__
            and cls.__module__.startswith("tlfast.")
        ):
            public = _public_attributes(cls) | {k for k in self.__dict__ if k[0] != "_"}
            meant = _CONFUSIONS.get(name) or next(
                iter(difflib.get_close_matches(name, public, n=1, cutoff=0.8)), None
            )
            if meant:
                raise AttributeError(
                    f"{cls.__name__} '{self.name}' has no attribute {name!r}, so setting it would "
                    f"change nothing. Did you mean {meant!r}?"
                )
        object.__setattr__(self, name, value)

    @property
    def dtype_policy(self) -> _dtype_policy.DTypePolicy:
        """What the layer computes in and keeps its weights in; a name may be set."""
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value: Any) -> None:
        policy = _dtype_policy.get(value, f"layer '{self.name}' ({type(self).__name__})")
        if policy != self._dtype_policy:
            self._dtype_policy = policy
            _dtype_policy.note_change()

    @property
    def dtype(self) -> str:
        """The element type of weights, "float32"."""
        return self._dtype_policy.variable_dtype

    @property
    def compute_dtype(self) -> str:
        """The type in which is computed, "float32" or "bfloat16"."""
        return self._dtype_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:
        """The element type of weights, "float32"."""
        return self._dtype_policy.variable_dtype

    @property
    def trainable(self) -> bool:
        """Whether training may change the weights; setting it reaches all layers inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not isinstance(value, (bool, np.bool_, int)):
            raise TypeError(f"`trainable` is True or False. Received: {value!r} for {self.name}")
        self._trainable = bool(value)
        for variable in self._own_trainable:
            variable.trainable = self._trainable
        for layer in self._sublayers():
            layer.trainable = self._trainable

    def _sublayers(self) -> list["Layer"]:
        return []

    def _flatten_layers(self) -> list["Layer"]:
        """This layer and all layers inside, each once, outer before inner."""
        found: dict[int, Layer] = {}

        def visit(layer: "Layer") -> None:
            if id(layer) not in found:
                found[id(layer)] = layer
                for inner in layer._sublayers():
                    visit(inner)

        visit(self)
        return list(found.values())

    @property
    def weights(self) -> list[Variable]:
        """All weights: own ones (trainable ones first), then those of the layers inside."""
        return own_weights(self._flatten_layers())

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes; none if the layer itself is not trainable."""
        return [v for v in self.weights if v.trainable] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that the optimizer leaves alone."""
        return [v for v in self.weights if not v.trainable] if self.trainable else self.weights

    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    @property
    def losses(self) -> list[float]:
        """The present penalties of the regularised trainable weights."""
        return [v.regularizer(v.numpy()) for v in self.trainable_weights if v.regularizer]

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the weights in the order of `weights`."""
        return [variable.numpy() for variable in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        """Replace all weights.

        Args:
            weights: arrays in the order and shapes of `get_weights()`.

        Raises:
            ValueError: if the number or a shape differs; nothing is changed then.
        """
        variables = self.weights
        if len(variables) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of "
                f"length {len(weights)}, but the layer was expecting {len(variables)} weights."
            )
        arrays = [np.asarray(value) for value in weights]
        for variable, array in zip(variables, arrays, strict=True):
            if variable.shape != array.shape:
                raise ValueError(
                    f"Layer {self.name} weight shape {variable.shape} is not compatible with "
                    f"provided weight shape {array.shape} (weight {variable.path}); no weight "
                    "was changed."
                )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def count_params(self) -> int:
        """Return the number of values in all weights."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't "
                "built. You can build it manually via: `layer.build(input_shape)`."
            )
        return sum(math.prod(variable.shape) for variable in self.weights)

    def add_weight(
        self,
        shape: Shape = (),
        initializer: Any = None,
        dtype: str = "float32",
        trainable: bool = True,
        regularizer: Any = None,
        name: str = "variable",
    ) -> Variable:
        """Create a weight of this layer and return it.

        Args:
            shape: tuple of known sizes.
            initializer: name, `Initializer`, or function of a shape; None for Glorot's uniform
                one, or zeros for integers.
            dtype: "float32", or "int64" for a counter.
            trainable: whether the optimizer may change it.
            regularizer: penalty, or None.
            name: last part of the variable's path.
        """
        prefix = current_path()
        default = "glorot_uniform" if dtype == "float32" else "zeros"
        values: Any = initializers.get(default if initializer is None else initializer)
        sizes: Any = shape
        if isinstance(values, initializers.Initializer):  # values are made when they are needed
            values._check_shape(tuple(sizes))
        variable = Variable(
            sizes,
            values,
            name=name,
            path=f"{prefix}/{name}" if prefix else f"{self.name}/{name}",
            trainable=trainable and self._trainable,
            dtype=dtype,
            regularizer=regularizers.get(regularizer),
        )
        (self._own_trainable if trainable else self._own_non_trainable).append(variable)
        return variable

    # Building and calling -------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Create the weights for inputs of `input_shape` (batch first); nothing to do twice.

        Args:
            input_shape: tuple with the batch as its first entry, or a list of such tuples.
        """
        if self.built:
            return
        shape = input_shape
        if shape is not None:
            shape = (
                standardize_shape(shape)
                if is_shape(shape)
                else [standardize_shape(s) for s in shape]
            )
        with name_scope(self.name):
            self._build(shape)
        self._build_input_shape = shape
        self.built = True

    def _build(self, input_shape: Any) -> None:
        """Create weights; overridden by layers that have some."""

    def get_build_config(self) -> dict[str, Any] | None:
        """Return the shape the layer was built for, as stored in model files."""
        if self._build_input_shape is None:
            return None
        return {"input_shape": self._build_input_shape}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build for the shape in `get_build_config()`."""
        if config and config.get("input_shape") is not None:
            self.build(config["input_shape"])

    @property
    def input_shape(self) -> Any:
        """Shape of the input of the first call, batch included."""
        return map_structure(lambda t: t.shape, self.input)

    @property
    def output_shape(self) -> Any:
        """Shape of the output of the first call, batch included."""
        return map_structure(lambda t: t.shape, self.output)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output shape for an input shape, both with the batch first."""
        return input_shape

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        shape = self.compute_output_shape(map_structure(lambda t: t.shape, args[0]))
        if is_shape(shape):
            return KerasTensor(shape, self.compute_dtype)
        return [KerasTensor(s, self.compute_dtype) for s in shape]

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        """Raise unless the inputs have ranks and sizes this layer takes."""
        if len(inputs) != 1:
            raise ValueError(
                f'Layer "{self.name}" expects 1 input(s), but it received {len(inputs)} input '
                f"tensors. Inputs received: {inputs}"
            )
        for ndim, exact in ((self._ndim, True), (self._min_ndim, False)):
            found = inputs[0].ndim
            if ndim is not None and (found != ndim if exact else found < ndim):
                raise ValueError(
                    f"Input 0 of layer '{self.name}' ({type(self).__name__}) is incompatible with "
                    f"the layer: expected {'ndim' if exact else 'min_ndim'}={ndim}, found "
                    f"ndim={found}. Full shape received: {inputs[0].shape}"
                )

    def _check_axis(self, inputs: list[KerasTensor], axis: int, size: int) -> None:
        shape = inputs[0].shape
        if shape[axis] is not None and shape[axis] != size:
            raise ValueError(
                f"Input 0 of layer '{self.name}' ({type(self).__name__}) is incompatible with the "
                f"layer: expected axis {axis} of input shape to have value {size}, but received "
                f"input with shape {shape}"
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if type(self).lower is Layer.lower and type(self).lower_node is Layer.lower_node:
            raise self._not_computed()
        training = kwargs.get("training")
        check_call_arguments(self, args, kwargs)
        inputs = args[0] if args else kwargs.pop("inputs")
        leaves = flatten(inputs)
        if not any(isinstance(x, KerasTensor) for x in leaves):
            if isinstance(inputs, Traced):
                return self._trace(inputs)
            from tlfast.data.batch import batch_array  # on first use: it brings in the datasets

            return map_structure(batch_array, self._call_eagerly(inputs, training))
        self._check_leaves(leaves)
        self._check_input(leaves)
        if not self.built:
            self.build(map_structure(lambda t: t.shape, inputs))
            self._check_input(leaves)
        outputs = self.compute_output_spec(inputs)
        recorded = {} if training is None else {"training": bool(training)}
        Node(self, (inputs,), recorded, flatten(outputs))
        return outputs

    def _check_leaves(self, leaves: list[Any]) -> None:
        for x in leaves:
            if not isinstance(x, KerasTensor):
                hint = (
                    " Call the layer to get a tensor: x = layer(x)." if isinstance(x, Layer) else ""
                )
                raise ValueError(
                    f"Inputs to a layer should be tensors. Got '{x}' (of type {type(x)}) as input "
                    f"for layer '{self.name}'.{hint}"
                )

    def _trace(self, value: Traced) -> Traced:
        """What the layer does to an array, noted down for the recipe of a training."""
        raise TypeError(f"layer '{self.name}' ({type(self).__name__}) has no noted form")

    def _call_eagerly(self, inputs: Any, training: bool | None) -> Any:
        leaves = flatten(inputs)
        for x in leaves:
            if isinstance(x, (Layer, type, str)) or x is None:
                self._check_leaves(leaves)
        arrays = [np.asarray(x) for x in leaves]
        if not self.built:
            shapes = [(None, *a.shape[1:]) for a in arrays]
            self.build(shapes[0] if len(shapes) == 1 and not isinstance(inputs, list) else shapes)
        self._check_input([KerasTensor((None, *a.shape[1:]), name="array") for a in arrays])
        from tlfast import _lowering

        return _lowering.eager(self, arrays, training)

    # Lowering -------------------------------------------------------------------------------

    def lower(self, g: Any, inputs: list[int], training: bool) -> Any:
        """Write this layer into a core graph.

        Args:
            g: the `_core.Graph`, which knows the concrete shapes.
            inputs: core values of the inputs.
            training: whether to behave as in training.

        Returns:
            The core value of the output, or a list of them.
        """
        raise self._not_computed()

    def _not_computed(self) -> NotImplementedError:
        return NotImplementedError(
            f"Layer '{self.name}' of class {type(self).__name__} cannot be computed: it does not "
            "define lower(), which writes core operations. Layers with a call() of one's own are "
            "not supported; build the computation from the layers in tlfast.layers"
        )

    def lower_node(self, g: Any, node: Node, inputs: list[int], training: bool) -> list[int]:
        explicit = node.kwargs.get("training")
        outputs = self.lower(g, inputs, training if explicit is None else explicit)
        return outputs if isinstance(outputs, list) else [outputs]

    # Configs --------------------------------------------------------------------------------

    @property
    def _registered_name(self) -> str | None:
        return None if type(self).__module__.startswith("tlfast.") else type(self).__name__

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the layer, in Keras 3's layout."""
        policy = _dtype_policy.config_of(self._dtype_policy)
        return {**super().get_config(), "trainable": self.trainable, "dtype": policy}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Rebuild a layer from `get_config()` or from a config in Keras' files.

        Args:
            config: dict of constructor arguments.
        """
        return cls(**clean_config(cls, config, _accepted_arguments(cls)))

    def __reduce__(self) -> tuple[Any, ...]:
        from tlfast import _pickling

        return _pickling.reduce_layer(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"
