"""Models: `Model(inputs, outputs)`, `Sequential`, and copies of them."""

import html
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tlfast import _dtype_policy, _model_config, _pickling
from tlfast._cloning import clone_between, clone_model, starts_model
from tlfast._errors import did_you_mean
from tlfast._graph import Graph
from tlfast._naming import name_scope, uniquify
from tlfast._serialization import deserialize, serialize
from tlfast._summary import print_summary, summary_text
from tlfast._tensor import (
    KerasTensor,
    flatten,
    is_shape,
    map_structure,
    pack_like,
    standardize_shape,
)
from tlfast._variable import collect_dropped_models
from tlfast.layers._base import Layer
from tlfast.layers._checks import shape_hint
from tlfast.layers.core import Input, InputLayer
from tlfast.training import Trainer

__all__ = ["Functional", "Input", "Model", "Sequential", "clone_model", "model_from_json"]
_SAVING = ("load_model", "save_model")

if TYPE_CHECKING:
    from tlfast.saving import load_model as load_model
    from tlfast.saving import save_model as save_model


def __getattr__(name: str) -> Any:
    if name in _SAVING:
        from tlfast import saving

        return getattr(saving, name)
    raise AttributeError(
        f"module 'tlfast.models' has no attribute {name!r}."
        + did_you_mean(name, [*__all__, *_SAVING])
    )


def _is_functional(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return len(args) >= 2 or ("outputs" in kwargs and (len(args) == 1 or "inputs" in kwargs))


class Model(Trainer, Layer):
    """A graph of layers that can be trained.

    `Model(inputs, outputs)` returns a `Functional` model.

    Args:
        inputs: tensor made by `Input`, or a list or dict of them. Tensors from inside another
            model are allowed too.
        outputs: tensor computed from the inputs, or a list or dict of them.
        name: name, or None for the next automatic one.
        trainable: False freezes all layers; None leaves them as they are.

    Raises:
        ValueError: if the outputs do not follow from the inputs or two layers share a name.
    """

    _module = "keras"
    _old_arguments = "Model"
    _takes_custom_objects = True
    _has_mask = True
    _graph: Any = None  # Graph, once known

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Model and _is_functional(args, kwargs):
            cls = Functional
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if _is_functional(args, kwargs):
            self._init_functional(*args, **kwargs)
            return
        if type(self) is Model:
            raise TypeError(
                "Model takes inputs and outputs: Model(inputs=x, outputs=y), where x comes from "
                "Input(...) and y from calling layers on it; or use Sequential([...])"
            )
        super().__init__(*args, **kwargs)

    def _init_functional(
        self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool | None = None
    ) -> None:
        for role, structure in (("inputs", inputs), ("outputs", outputs)):
            leaves = flatten(structure)
            if not leaves:
                raise ValueError(
                    f"`{role}` argument cannot be empty. Received:\n"
                    f"inputs={inputs}\noutputs={outputs}"
                )
            for x in leaves:
                if not isinstance(x, KerasTensor):
                    hint = ""
                    if isinstance(x, Layer):
                        hint = f" Did you mean {x.name}.{role[:-1]}?"
                    raise ValueError(
                        f"All `{role}` values must be KerasTensors. Received: {role}={structure} "
                        f"including invalid value {x} of type {type(x)}.{hint}"
                    )
        if not all(starts_model(x) for x in flatten(inputs)):
            inputs, outputs = clone_between(inputs, outputs)
        graph = Graph(flatten(inputs), flatten(outputs))
        Layer.__init__(self, name=name)
        self._graph = graph
        self._inputs_struct = inputs
        self._outputs_struct = outputs
        self.built = True
        if trainable is not None:
            self.trainable = trainable
        collect_dropped_models()

    # Structure ------------------------------------------------------------------------------

    def _require_graph(self) -> Graph:
        if self._graph is None:
            raise NotImplementedError(
                f"Model '{self.name}' of class {type(self).__name__} has no graph: models with a "
                "call() method of their own are not supported. Build it from tensors, "
                "Model(inputs, outputs), or with Sequential"
            )
        return self._graph

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order Keras lists them."""
        return [op for op in self._require_graph().operations if isinstance(op, Layer)]

    @property
    def operations(self) -> list[Any]:
        """The layers and the operations made by arithmetic on tensors."""
        return list(self._require_graph().operations)

    def _sublayers(self) -> list[Layer]:
        return self.layers if self._graph is not None else []

    @property
    def inputs(self) -> list[KerasTensor]:
        """The input tensors as a flat list."""
        return list(self._require_graph().inputs)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The output tensors as a flat list."""
        return list(self._require_graph().outputs)

    @property
    def input(self) -> Any:
        """The inputs as given to the constructor."""
        self._require_graph()
        return self._inputs_struct

    @property
    def output(self) -> Any:
        """The outputs as given to the constructor."""
        self._require_graph()
        return self._outputs_struct

    @property
    def input_names(self) -> list[str]:
        """The names of the input layers."""
        return [x._keras_history.operation.name for x in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that make the outputs."""
        return [x._keras_history.operation.name for x in self.outputs]

    @property
    def input_shape(self) -> Any:
        """Shape of the input, batch included; a list if there are several."""
        shapes = [x.shape for x in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """Shape of the output, batch included; a list if there are several."""
        shapes = [x.shape for x in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return one layer.

        Args:
            name: its name.
            index: its place in `layers`.

        Raises:
            ValueError: if there is none, with the names that exist.
        """
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError(
                "Provide either a layer name or a layer index. Received: "
                f"index={index}, name={name}."
            )
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has "
                    f"{len(layers)} layers."
                )
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in layers]
        raise ValueError(
            f"No such layer: {name}.{did_you_mean(name, names)} Existing layers are: {names}."
        )

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: list[str] | tuple[str, str] | None = None,
    ) -> None:
        """Print a table of the layers, as Keras prints it.

        Args:
            line_length: width of the table in characters; None fits the terminal.
            positions: right edges of the columns as fractions of the width.
            print_fn: function that gets the whole text instead of `print`.
            expand_nested: whether to list the layers of models inside.
            show_trainable: whether to add a column that says what is trained.
            layer_range: names or regular expressions of the first and last layer to show.
        """
        print_summary(
            self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range
        )

    def _repr_html_(self) -> str:
        """The summary, shown where a notebook cell ends with the model."""
        return f"<pre>{html.escape(summary_text(self, line_length=88))}</pre>"

    # Calling and lowering -------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Do nothing for a model made from tensors, which is built already."""
        self._require_graph()

    def get_build_config(self) -> dict[str, Any] | None:
        return {"input_shape": None}

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        self._check_shapes([x.shape for x in inputs])

    def _check_shapes(self, shapes: list[tuple[Any, ...]]) -> None:
        """Raise unless shapes, the batch included, are those of the inputs."""
        expected = self._require_graph().inputs
        if len(shapes) != len(expected):
            raise ValueError(
                f'Layer "{self.name}" expects {len(expected)} input(s), but it received '
                f"{len(shapes)} input tensors of the shapes {shapes}"
            )
        for i, (shape, ref) in enumerate(zip(shapes, expected, strict=True)):
            fits = len(shape) == len(ref.shape) and all(
                a is None or b is None or a == b
                for a, b in zip(shape[1:], ref.shape[1:], strict=True)
            )
            if not fits:
                name = ref._keras_history.operation.name
                raise ValueError(
                    f"Input {i} with name '{name}' of layer '{self.name}' is incompatible with "
                    f"the layer: expected shape={(None, *ref.shape[1:])}, found "
                    f"shape={(None, *shape[1:])}{shape_hint(tuple(shape), ref.shape)}"
                )

    def _call_eagerly(self, inputs: Any, training: bool | None) -> Any:
        random = training is None and any(
            layer._captured_training for layer in self._flatten_layers()
        )
        if not self.built or training or random:
            result = super()._call_eagerly(inputs, training)
            return pack_like(self.output, result) if isinstance(result, list) else result
        # As in predict, whose plans are kept from call to call.
        arrays = [np.asarray(x) for x in flatten(inputs)]
        self._check_shapes([a.shape for a in arrays])
        outputs = self._engine.predict(arrays)
        return outputs[0] if len(outputs) == 1 else pack_like(self.output, outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        graph = self._require_graph()
        inputs = flatten(args[0])
        if all(x.shape == ref.shape for x, ref in zip(inputs, graph.inputs, strict=True)):
            outputs = [KerasTensor(x.shape, x.dtype) for x in graph.outputs]
        else:
            outputs = graph.replay(
                inputs, lambda op, args, kwargs: op.compute_output_spec(*args, **kwargs)
            )
        packed = pack_like(self._outputs_struct, outputs)
        return outputs[0] if len(outputs) == 1 else packed

    def compute_output_shape(self, input_shape: Any) -> Any:
        tensors = (
            [KerasTensor(input_shape)]
            if is_shape(input_shape)
            else [KerasTensor(s) for s in input_shape]
        )
        return map_structure(lambda t: t.shape, self.compute_output_spec(tensors))

    def lower(self, g: Any, inputs: list[int], training: bool) -> Any:
        self._check_shapes([g.shape(x) for x in inputs])
        outputs = self._require_graph().lower(g, inputs, training)
        return outputs[0] if len(outputs) == 1 else outputs

    # Files ----------------------------------------------------------------------------------

    @property
    def _registered_name(self) -> str | None:
        return type(self).__name__

    def get_config(self) -> dict[str, Any]:
        """Return the layers and calls that rebuild the model, in Keras 3's layout."""
        return _model_config.functional_config(self)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Any:
        """Rebuild a model from `get_config()` or a config in Keras' files.

        Args:
            config: dict with "layers", "input_layers" and "output_layers".
            custom_objects: classes of one's own by name.
        """
        if "input_layers" not in config and "layers" in config:
            return Sequential.from_config(config, custom_objects)
        return _model_config.functional_from_config(cls, config, custom_objects)

    def __reduce__(self) -> tuple[Any, ...]:
        return _pickling.reduce_model(self)

    def to_json(self, **kwargs: Any) -> str:
        """Return the architecture as JSON text; keyword arguments go to `json.dumps`."""
        return json.dumps(serialize(self), **kwargs)

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Write architecture, weights and training state to a `.keras` or `.h5` file.

        Args:
            filepath: path ending in .keras, .h5 or .hdf5.
            overwrite: whether to replace an existing file.
            **kwargs: see `tlfast.saving.save_model`.
        """
        from tlfast import saving

        saving.save_model(self, filepath, overwrite=overwrite, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Write the weights to a `.weights.h5` file.

        Args:
            filepath: path of the file.
            overwrite: whether to replace an existing file.
            **kwargs: see `tlfast.saving.save_weights`.
        """
        from tlfast import saving

        saving.save_weights(self, filepath, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Read the weights from a file.

        Args:
            filepath: path of a .weights.h5, .h5 or .keras file.
            skip_mismatch: whether to leave out layers whose weights do not fit.
            **kwargs: see `tlfast.saving.load_weights`.
        """
        from tlfast import saving

        saving.load_weights(self, filepath, skip_mismatch=skip_mismatch, **kwargs)


class Functional(Model):
    """The model made by `Model(inputs, outputs)`.

    Args:
        inputs: tensor made by `Input`, or a list or dict of them.
        outputs: tensor computed from the inputs, or a list or dict of them.
        name: name, or None for the next automatic one.
        trainable: False freezes all layers; None leaves them as they are.
    """

    _module = "keras.src.models.functional"

    def __init__(
        self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool | None = None
    ) -> None:
        self._init_functional(inputs, outputs, name, trainable)


class Sequential(Model):
    """Layers one after the other.

    Args:
        layers: list of layers; the first may be an `Input`.
        trainable: whether training may change the weights.
        name: name, or None for the next automatic one.

    Example:
        >>> import numpy as np
        >>> from tlfast import keras
        >>> keras.utils.set_random_seed(1)
        >>> model = keras.Sequential([
        ...     keras.Input((32, 32, 3)),
        ...     keras.layers.Rescaling(1 / 255),
        ...     keras.layers.Conv2D(8, 3, padding="same", use_bias=False),
        ...     keras.layers.BatchNormalization(momentum=0.9),
        ...     keras.layers.ReLU(),
        ...     keras.layers.MaxPooling2D(),
        ...     keras.layers.Conv2D(16, 3, activation="relu"),
        ...     keras.layers.MaxPooling2D(),
        ...     keras.layers.Flatten(),
        ...     keras.layers.Dropout(0.3),
        ...     keras.layers.Dense(2, activation="softmax"),
        ... ])
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> dark, bright = np.random.random((2, 32, 32, 32, 3)) * 150 + [[[[[0]]]], [[[[100]]]]]
        >>> x, y = np.concatenate([dark, bright]), np.repeat([0, 1], 32)
        >>> history = model.fit(x, y, batch_size=8, epochs=10, verbose=0)
        >>> model.predict(x, verbose=0).argmax(axis=1).tolist() == y.tolist()
        True
    """

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None) -> None:
        Layer.__init__(self, trainable=trainable, name=name)
        self._stack: list[Layer] = []
        if layers is not None and not isinstance(layers, (list, tuple)):
            layers = [layers]
        for layer in layers or ():
            self.add(layer, rebuild=False)
        if self._stack:
            self._maybe_rebuild()

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer on top.

        Args:
            layer: a layer, a model, or an `Input`.
            rebuild: whether to connect the layers now.

        Raises:
            ValueError: if it is not a layer, or its name is taken.
        """
        if isinstance(layer, KerasTensor) and layer._keras_history is not None:
            layer = layer._keras_history.operation
        if not isinstance(layer, Layer):
            hint = f" Did you mean {layer.__name__}(...)?" if isinstance(layer, type) else ""
            raise ValueError(
                "Only instances of `Layer` can be added to a Sequential model. Received: "
                f"{layer} (of type {type(layer)}).{hint}"
            )
        if not self._stack and getattr(layer, "_input_shape_arg", None) is not None:
            self.add(InputLayer(shape=layer._input_shape_arg))
        if any(layer.name == other.name and layer is not other for other in self._stack):
            raise ValueError(
                "All layers added to a Sequential model should have unique names. Name "
                f"'{layer.name}' is already the name of a layer in this model. Update the `name` "
                "argument to pass a unique name."
            )
        if isinstance(layer, InputLayer) and self._stack:
            raise ValueError(
                f"Sequential model '{self.name}' already has a first layer, "
                f"'{self._stack[0].name}'; an Input comes before all others."
            )
        self._stack.append(layer)
        self._forget()
        if rebuild:
            self._maybe_rebuild()

    def pop(self, rebuild: bool = True) -> Layer:
        """Remove and return the last layer.

        Args:
            rebuild: whether to connect the remaining layers now.
        """
        if not self.layers:
            raise ValueError(f"Sequential model '{self.name}' has no layers to remove.")
        layer = self._stack.pop()
        self._forget()
        if rebuild:
            self._maybe_rebuild()
        return layer

    def _forget(self) -> None:
        self.built: bool = False
        self._graph = None
        self._build_input_shape = None

    def _maybe_rebuild(self) -> None:
        self._forget()
        if len(self._stack) < 2:
            return
        first = self._stack[0]
        if isinstance(first, InputLayer):
            self.build(first.batch_shape)
        elif isinstance(first, Model) and first._graph is not None:
            self.build(first.input_shape)

    def build(self, input_shape: Any = None) -> None:
        """Connect the layers and create their weights.

        Args:
            input_shape: shape with the batch first; None if the model starts with an `Input`.
        """
        if self.built:
            return
        if not self._stack:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call "
                "`model.add(layer)`."
            )
        first = self._stack[0]
        if input_shape is None:
            if not isinstance(first, InputLayer):
                raise ValueError(
                    f"Sequential model '{self.name}' needs an input shape: start it with "
                    "Input((height, width, 3)) or call build((None, height, width, 3))"
                )
            input_shape = first.batch_shape
        if isinstance(input_shape, list) and len(input_shape) == 1 and not is_shape(input_shape):
            input_shape = input_shape[0]
        shape = standardize_shape(input_shape)
        if not isinstance(first, InputLayer):
            first = InputLayer(batch_shape=shape)
            self._stack.insert(0, first)
        elif first.batch_shape != shape:
            raise ValueError(
                f"Sequential model '{self.name}' has already been configured to use input shape "
                f"{first.batch_shape}. You cannot build it with input_shape {shape}"
            )
        with name_scope(self.name):
            inputs = outputs = first.output
            for layer in self._stack[1:]:
                outputs = layer(outputs)
        uniquify("functional")  # Keras keeps a functional model inside and counts its name
        self._graph = Graph([inputs], flatten(outputs))
        self._inputs_struct, self._outputs_struct = inputs, outputs
        self._build_input_shape = shape
        self.built = True
        collect_dropped_models()

    def _require_graph(self) -> Graph:
        if self._graph is None:
            if len(self._stack) == 1 and isinstance(self._stack[0], InputLayer):
                self.build()
                built: Any = self._graph
                return built
            raise ValueError(
                f"Sequential model '{self.name}' has no defined input shape yet: start it with "
                "Input((height, width, 3)), call build((None, height, width, 3)), or call it on "
                "images"
            )
        return self._graph

    @property
    def layers(self) -> list[Layer]:
        """The layers added, without the `Input`."""
        stack = self._stack
        return list(stack[1:] if stack and isinstance(stack[0], InputLayer) else stack)

    def _sublayers(self) -> list[Layer]:
        return self.layers

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        if self._graph is not None:
            super()._check_input(inputs)

    def get_build_config(self) -> dict[str, Any] | None:
        shape = self._build_input_shape
        return None if shape is None else {"input_shape": shape}

    @property
    def _registered_name(self) -> str | None:
        return None if type(self) is Sequential else type(self).__name__

    def get_config(self) -> dict[str, Any]:
        config = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": _dtype_policy.config_of(self.dtype_policy),
            "layers": [serialize(layer) for layer in self._stack],
        }
        if self._graph is not None:
            first: Any = self._stack[0]
            config["build_input_shape"] = first.batch_shape
        return config

    @classmethod
    def from_config(cls, config: Any, custom_objects: dict[str, Any] | None = None) -> "Sequential":
        """Rebuild a model from `get_config()` or a config in Keras' files.

        Args:
            config: dict with "name" and "layers"; the first Keras versions stored only a list.
            custom_objects: classes of one's own by name.
        """
        if isinstance(config, list):
            config = {"name": None, "layers": config}
        if "layers" not in config:
            raise ValueError(
                "A Sequential model configuration must be a dictionary containing the 'name' and "
                f"'layers' keys. Received: config={config}"
            )
        model = cls(name=config.get("name"))
        for layer_config in config["layers"]:
            model.add(deserialize(layer_config, custom_objects, kind="layers"), rebuild=False)
        model._maybe_rebuild()
        shape = config.get("build_input_shape")
        if model._graph is None and shape:
            model.build(shape)
        if config.get("trainable") is False:
            model._trainable = False
        return model


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """Return the model of a JSON text made by `to_json`, with new weights.

    Args:
        json_string: the text, of tlfast, Keras 2 or Keras 3.
        custom_objects: classes of one's own by name.

    Returns:
        The model; compiled, without the optimizer's state, if the text has compile arguments.

    Raises:
        FormatError: not JSON, nothing that makes a model, or code in it; a ValueError.
    """
    from tlfast.saving.building import build_model, compile_model
    from tlfast.saving.config_json import parse_json

    where = "model_from_json"
    config = parse_json(json_string, where)
    model = build_model(config, custom_objects, where)
    if config.get("compile_config"):
        compile_model(
            model, config["compile_config"], custom_objects, where,
            'Without "compile_config" in the text, compile it yourself',
        )  # fmt: skip
    return model
