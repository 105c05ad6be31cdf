"""Models against Keras: names, order, configs, flags; and what only tlfast does."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
from keras_cases import CASES, describe, digest, set_numbers
from numpy_graph import run

from tlfast import backend, layers, models
from tlfast._variable import Variable
from tlfast.models import Model, Sequential

KERAS = json.loads(Path(__file__).with_name("keras_cases.json").read_text("utf-8"))
TLFAST = types.SimpleNamespace(layers=layers, models=models, backend=backend)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    backend.clear_session(free_memory=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Variable, "core", property(lambda self: self))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("part", ["layers", "weights", "trainable", "flags", "json"])
def test_equal_to_keras(case, part):
    found = json.loads(json.dumps(describe(TLFAST, case)))
    assert found[part] == KERAS[case][part]


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_keras(case):
    model = CASES[case](TLFAST)
    outputs, _ = run(model, set_numbers(model))
    for found, (shape, square, values) in zip(digest(outputs), KERAS[case]["outputs"],
                                              strict=True):
        assert found[0] == shape
        assert found[1] == pytest.approx(square, rel=1e-5)
        np.testing.assert_allclose(found[2], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_json_round_trip(case):
    model = CASES[case](TLFAST)
    images = set_numbers(model)
    again = models.model_from_json(model.to_json())
    assert again.to_json() == model.to_json()
    again.set_weights(model.get_weights())
    assert digest(run(again, images)[0]) == digest(run(model, images)[0])


@pytest.mark.parametrize("case", CASES)
def test_reads_keras_json(case):
    model = models.model_from_json(json.dumps(KERAS[case]["json"]))
    assert [[x.name, type(x).__name__, x.count_params()] for x in model.layers] == (
        KERAS[case]["layers"])
    assert [v.shape for v in model.weights] == [tuple(w[1]) for w in KERAS[case]["weights"]]


@pytest.mark.parametrize("case", CASES)
def test_clone(case):
    model = CASES[case](TLFAST)
    images = set_numbers(model)
    clone = models.clone_model(model)
    assert [x.name for x in clone.layers] == [x.name for x in model.layers]
    assert not {id(v) for v in clone.weights} & {id(v) for v in model.weights}
    clone.set_weights(model.get_weights())
    assert digest(run(clone, images)[0]) == digest(run(model, images)[0])


def test_clone_function_and_recursion():
    model = CASES["nested"](TLFAST)
    seen = []

    def copy(layer):
        seen.append(layer.name)
        return type(layer).from_config(layer.get_config())

    models.clone_model(model, clone_function=copy, recursive=True)
    assert "conv2d" in seen and "random_flip" in seen and "base" not in seen
    with pytest.raises(TypeError, match="clone_model copies a model"):
        models.clone_model(layers.Dense(1))


def test_article_script_shapes():
    base_input = layers.Input((None, None, 3))
    base = Model(base_input, layers.Conv2D(5, 3, strides=2)(base_input), name="resnet50")
    base.trainable = False
    inputs = layers.Input(shape=(33, 33, 3))
    x = base(inputs)
    assert x.shape == (None, 16, 16, 5)
    x = layers.GlobalAveragePooling2D()(x)
    model = Model(inputs=inputs, outputs=layers.Dense(2, activation="softmax")(x), name="my_model")
    assert [w.path for w in model.trainable_weights] == ["dense/kernel", "dense/bias"]
    assert model.input_shape == (None, 33, 33, 3) and model.output_shape == (None, 2)
    images = set_numbers(model)
    probabilities, g = run(model, images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert [op for op, _, _ in g.ops] == ["conv2d", "global_avg_pool", "dense", "activation"]


def test_base_output_style():
    base = CASES["plain"](TLFAST)
    head = layers.Dense(3, name="new_head")(base.layers[-3].output)
    model = Model(base.inputs, head)
    assert model.layers[0] is base.layers[0]
    assert model.layers[-1].name == "new_head"
    assert run(model, set_numbers(model))[0].shape == (2, 3)
    assert model(layers.Input((32, 24, 3))).shape == (None, 3)


def test_training_true_reaches_nested_layers():
    model = CASES["nested"](TLFAST)
    images = set_numbers(model)
    _, g = run(model, images, training=True)
    ops = [op for op, _, _ in g.ops]
    assert ops.count("random_affine") == 3 and "dropout" in ops
    assert [a["training"] for op, _, a in g.ops if op == "batch_norm"] == [False]
    _, g = run(model, images, training=False)
    assert not {"random_affine", "dropout"} & {op for op, _, _ in g.ops}


def test_explicit_training_is_honoured_and_stored():
    inputs = layers.Input((8, 8, 3))
    inner = Sequential([layers.Input((8, 8, 3)), layers.BatchNormalization()])
    x = inner(inputs, training=False)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.5)(x, training=True)
    model = Model(inputs, x)
    for m in (model, models.model_from_json(model.to_json())):
        for training in (True, False):
            _, g = run(m, np.ones((1, 8, 8, 3)), training=training)
            assert [a.get("training") for op, _, a in g.ops if op == "batch_norm"] == [
                False, training]
            assert [op for op, _, _ in g.ops].count("dropout") == 1


def test_a_frozen_batch_norm_never_trains():
    model = Sequential([layers.Input((4, 4, 3)), layers.BatchNormalization()])
    x = np.ones((2, 4, 4, 3))
    assert run(model, x, training=True)[1].ops[0][2]["training"] is True
    model.layers[0].trainable = False
    assert run(model, x, training=True)[1].ops[0][2]["training"] is False
    assert model.trainable_weights == []


def test_trainable_flags():
    model = CASES["nested"](TLFAST)
    base = model.get_layer("base")
    base.layers[1].trainable = True
    # Keras 3: the inner flag counts for the outer model, the base itself has none.
    assert [v.name for v in model.trainable_weights] == ["kernel", "bias", "kernel", "bias"]
    assert base.trainable_weights == []
    model.trainable = False
    assert model.trainable_weights == [] and not base.layers[1].trainable
    model.trainable = True
    assert all(layer.trainable for layer in base.layers)
    assert len(model.non_trainable_weights) == 2
    frozen = layers.Dense(2, trainable=False)
    frozen.build((None, 3))
    assert [v.trainable for v in frozen.weights] == [False, False]


def test_weights_round_trip_and_errors():
    model = CASES["branches"](TLFAST)
    weights = model.get_weights()
    model.set_weights([w + 1 for w in weights])
    np.testing.assert_array_equal(model.get_weights()[0], weights[0] + 1)
    with pytest.raises(ValueError, match="weight list of length 1"):
        model.set_weights(weights[:1])
    before = model.get_weights()
    with pytest.raises(ValueError, match="not compatible with provided weight shape"):
        model.set_weights([w if i else w[..., :1] for i, w in enumerate(weights)])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_get_layer():
    model = CASES["plain"](TLFAST)
    assert model.get_layer("dense") is model.get_layer(index=-2)
    with pytest.raises(ValueError, match="Did you mean 'dense'"):
        model.get_layer("dens")
    with pytest.raises(ValueError, match="only has 14 layers|only has 11 layers"):
        model.get_layer(index=99)
    with pytest.raises(ValueError, match="Provide either"):
        model.get_layer()


def test_wrong_graphs():
    a, b = layers.Input((3,)), layers.Input((3,))
    y = layers.Dense(2)(a)
    with pytest.raises(ValueError, match="Graph disconnected|not connected"):
        Model(b, y)
    with pytest.raises(ValueError, match="Did you mean x.output"):
        Model(a, layers.Dense(2, name="x"))
    with pytest.raises(ValueError, match='The name "same" is used'):
        Model(a, layers.Dense(2, name="same")(layers.Dense(2, name="same")(a)))
    with pytest.raises(TypeError, match="takes inputs and outputs"):
        Model()
    with pytest.raises(ValueError, match="cannot be empty"):
        Model([], y)
    with pytest.raises(ValueError, match="Did you mean 'outputs'"):
        Model(inputs=a, outputs=y, outpts=y)


def test_wrong_input_of_a_model():
    model = CASES["plain"](TLFAST)
    with pytest.raises(ValueError, match="expected shape=.None, 32, 24, 3., found shape"):
        model(layers.Input((32, 25, 3)))
    with pytest.raises(ValueError, match="expects 1 input"):
        model([layers.Input((32, 24, 3)), layers.Input((32, 24, 3))])


def test_misspelt_attributes():
    model = CASES["nested"](TLFAST)
    base = model.get_layer("base")
    for wrong in ("training", "trainble", "Trainable"):
        with pytest.raises(AttributeError, match="Did you mean 'trainable'"):
            setattr(base, wrong, False)
    base.remark = "bought 2019"
    base.trainable = False
    with pytest.raises(TypeError, match="True or False"):
        base.trainable = "no"


def test_a_subclass_may_name_its_attributes():
    class Mine(Model):
        pass

    x = layers.Input((3,))
    model = Mine(x, layers.Dense(2)(x))
    model.training = "my own"
    assert model.training == "my own" and len(model.layers) == 2
    with pytest.raises(NotImplementedError, match="call.. method of their own"):
        Mine().summary()


def test_sequential():
    model = Sequential()
    with pytest.raises(ValueError, match="no layers"):
        model.build((None, 3))
    model.add(layers.Dense(4, input_shape=(3,)))
    model.add(layers.Dense(2))
    assert [x.name for x in model.layers] == ["dense", "dense_1"]
    assert model.output_shape == (None, 2) and model.input.shape == (None, 3)
    assert model.pop().name == "dense_1" and model.output_shape == (None, 4)
    with pytest.raises(ValueError, match="unique names"):
        model.add(layers.Dense(1, name="dense"))
    with pytest.raises(ValueError, match="Did you mean Dense"):
        model.add(layers.Dense)
    with pytest.raises(ValueError, match="first layer"):
        model.add(layers.Input((3,)))


def test_a_sequential_without_shape_builds_on_call():
    model = Sequential([layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()])
    assert not model.built and model.weights == []
    with pytest.raises(ValueError, match="no defined input shape"):
        _ = model.inputs
    y = model(layers.Input((9, 9, 3)))
    assert y.shape == (None, 2) and model.built and len(model.weights) == 2


def test_base_in_a_sequential():
    base = CASES["branches"](TLFAST)
    features = Model(base.input, base.outputs[1], name="features")
    model = Sequential([features, layers.GlobalAveragePooling2D(), layers.Dense(1)])
    assert model.input_shape == (None, None, None, 3)
    assert run(model, np.ones((1, 7, 9, 3)))[0].shape == (1, 1)


def test_unknown_sizes_resolve_when_lowered():
    model = CASES["branches"](TLFAST)
    for height, width in ((8, 8), (17, 5)):
        (flat, image), _ = run(model, np.ones((2, height, width, 3)))
        assert flat.shape == (2, 2) and image.shape == (2, height, width, 12)


def test_a_shared_layer_has_one_set_of_weights():
    model = CASES["branches"](TLFAST)
    assert sum(v.path.startswith("shared/") for v in model.weights) == 2


def test_deep_models_do_not_overflow():
    x = inputs = layers.Input((4,))
    for _ in range(1500):
        x = layers.Activation("relu")(x)
    model = Model(inputs, x)
    assert len(model.layers) == 1501
    assert run(model, np.ones((1, 4)))[0].shape == (1, 4)


def test_dict_inputs():
    a, b = layers.Input((3,), name="a"), layers.Input((3,), name="b")
    model = Model({"b": b, "a": a}, layers.Subtract()([a, b]))
    assert [x.name for x in model.inputs] == ["a", "b"]
    y, _ = run(model, np.full((1, 3), 5.0), np.full((1, 3), 2.0))
    np.testing.assert_array_equal(y, np.full((1, 3), 3.0))


KERAS_2 = {
    "class_name": "Functional",
    "config": {
        "name": "model",
        "layers": [
            {"class_name": "InputLayer", "name": "input_1", "inbound_nodes": [],
             "config": {"batch_input_shape": [None, 8, 8, 3], "dtype": "float32",
                        "sparse": False, "ragged": False, "name": "input_1"}},
            {"class_name": "DepthwiseConv2D", "name": "dw", "inbound_nodes": [
                [["input_1", 0, 0, {}]]],
             "config": {"name": "dw", "trainable": True, "dtype": "float32", "kernel_size": [3, 3],
                        "strides": [1, 1], "padding": "same", "data_format": "channels_last",
                        "dilation_rate": [1, 1], "groups": 1, "activation": "linear",
                        "use_bias": False, "bias_initializer": {"class_name": "Zeros",
                                                                "config": {}},
                        "depth_multiplier": 1, "depthwise_initializer": {
                            "class_name": "GlorotUniform", "config": {"seed": None}},
                        "bias_regularizer": None, "activity_regularizer": None,
                        "bias_constraint": None, "depthwise_regularizer": None,
                        "depthwise_constraint": None}},
            {"class_name": "BatchNormalization", "name": "bn", "inbound_nodes": [
                [["dw", 0, 0, {"training": False}]]],
             "config": {"name": "bn", "trainable": True, "dtype": "float32", "axis": [3],
                        "momentum": 0.9, "epsilon": 1e-5, "center": True, "scale": True,
                        "beta_initializer": {"class_name": "Zeros", "config": {}},
                        "gamma_initializer": {"class_name": "Ones", "config": {}},
                        "moving_mean_initializer": {"class_name": "Zeros", "config": {}},
                        "moving_variance_initializer": {"class_name": "Ones", "config": {}},
                        "beta_regularizer": None, "gamma_regularizer": None,
                        "beta_constraint": None, "gamma_constraint": None}},
            {"class_name": "LeakyReLU", "name": "leaky", "inbound_nodes": [[["bn", 0, 0, {}]]],
             "config": {"name": "leaky", "trainable": True, "dtype": "float32",
                        "alpha": 0.10000000149011612}},
            {"class_name": "Add", "name": "add", "inbound_nodes": [
                [["leaky", 0, 0, {}], ["input_1", 0, 0, {}]]],
             "config": {"name": "add", "trainable": True, "dtype": "float32"}},
            {"class_name": "Sequential", "name": "seq", "inbound_nodes": [[["add", 0, 0, {}]]],
             "config": {"name": "seq", "layers": [
                 {"class_name": "InputLayer", "config": {
                     "batch_input_shape": [None, 8, 8, 3], "dtype": "float32", "sparse": False,
                     "ragged": False, "name": "seq_input"}},
                 {"class_name": "Flatten", "config": {
                     "name": "flatten", "trainable": True, "dtype": "float32",
                     "data_format": "channels_last"}}]}},
            {"class_name": "Dense", "name": "dense", "inbound_nodes": [[["seq", 1, 0, {}]]],
             "config": {"name": "dense", "trainable": False, "dtype": "float32", "units": 2,
                        "activation": "softmax", "use_bias": True,
                        "kernel_initializer": {"class_name": "VarianceScaling", "config": {
                            "scale": 1.0, "mode": "fan_avg", "distribution": "uniform",
                            "seed": None}},
                        "bias_initializer": {"class_name": "Zeros", "config": {}},
                        "kernel_regularizer": {"class_name": "L2", "config": {
                            "l2": 0.009999999776482582}},
                        "bias_regularizer": None, "activity_regularizer": None,
                        "kernel_constraint": None, "bias_constraint": None}},
        ],
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [["dense", 0, 0]],
    },
}


def test_reads_keras_2():
    model = models.model_from_json(json.dumps(KERAS_2))
    assert [x.name for x in model.layers] == [
        "input_1", "dw", "bn", "leaky", "add", "seq", "dense"]
    assert model.get_layer("dense").trainable is False
    assert model.get_layer("leaky").negative_slope == pytest.approx(0.1)
    _, g = run(model, np.ones((1, 8, 8, 3)), training=True)
    assert [a["training"] for op, _, a in g.ops if op == "batch_norm"] == [False]


def test_files_cannot_bring_code():
    for entry in (
        {"class_name": "Lambda", "config": {"name": "x", "function": ["4wEA", None, None]}},
        {"class_name": "__lambda__", "config": {"value": "4wEA"}},
    ):
        config = {"class_name": "Sequential", "config": {"name": "s", "layers": [entry]}}
        with pytest.raises(ValueError, match="never runs code"):
            models.model_from_json(json.dumps(config))
    config = {"module": "os", "class_name": "system", "config": {"command": "true"},
              "registered_name": None}
    with pytest.raises(ValueError, match="class 'system'"):
        models.model_from_json(json.dumps(config))


def test_configs_that_do_not_fit_together():
    config = json.loads(CASES["plain"](TLFAST).to_json())
    nodes = config["config"]["layers"][1]["inbound_nodes"]
    nodes[0]["args"][0]["config"]["keras_history"][0] = "nobody"
    with pytest.raises(ValueError, match="refers to layer 'nobody'"):
        models.model_from_json(json.dumps(config))
    nodes[0]["args"][0]["config"]["keras_history"][0] = "activation"
    with pytest.raises(ValueError, match="loop"):
        models.model_from_json(json.dumps(config))


def test_custom_objects():
    class Doubled(layers.Dense):
        pass

    x = layers.Input((3,))
    text = Model(x, Doubled(2, name="mine")(x)).to_json()
    with pytest.raises(ValueError, match="custom_objects"):
        models.model_from_json(text)
    model = models.model_from_json(text, custom_objects={"Doubled": Doubled})
    assert isinstance(model.layers[1], Doubled)


def test_start_values_are_drawn_only_when_used():
    x = layers.Input((3,))
    dense = layers.Dense(2, kernel_initializer=lambda shape: 1 / 0)
    model = Model(x, dense(x))
    dense.kernel.assign(np.ones((3, 2)))
    assert model.get_weights()[0].sum() == 6


@pytest.mark.parametrize("name", ["train_step", "test_step", "predict_step", "compute_loss",
                                  "make_train_function"])
def test_steps_of_ones_own_are_refused_where_they_are_defined(name):
    with pytest.raises(NotImplementedError, match=rf"class Mine defines {name}\(\), which would "
                                                  "never be called"):
        type("Mine", (Model,), {name: lambda self, data: {}})


def test_layers_of_ones_own_are_refused_when_they_are_called():
    class Twice(layers.Layer):
        def call(self, x):
            return x * 2

    with pytest.raises(NotImplementedError, match=r"Layer 'twice' of class Twice.*a call\(\) of"):
        Twice()(layers.Input((4,)))
