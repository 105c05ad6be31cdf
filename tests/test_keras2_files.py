"""Files as Keras 2 wrote them: whole models in `.h5` and, from 2.13 on, in `.keras`.

Keras 2 is not installed anywhere near; the forms are written here as its sources wrote them.
"""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_saving import filled, same_weights, sequential_model, small_base

from tlfast import keras
from tlfast.saving.errors import FormatError

RNG_SEED = 7


def glorot() -> dict:
    return {"class_name": "GlorotUniform", "config": {"seed": None}}


def zeros() -> dict:
    return {"class_name": "Zeros", "config": {}}


def dense(name: str, units: int, source: str, **config) -> dict:
    full = {
        "name": name, "trainable": True, "dtype": "float32", "units": units,
        "activation": "linear", "use_bias": True, "kernel_initializer": glorot(),
        "bias_initializer": zeros(), "kernel_regularizer": None, "bias_regularizer": None,
        "activity_regularizer": None, "kernel_constraint": None, "bias_constraint": None, **config,
    }  # fmt: skip
    node = [[[source, 0, 0, {}]]]
    return {"class_name": "Dense", "config": full, "name": name, "inbound_nodes": node}


def functional(*layers: dict) -> dict:
    first = {
        "class_name": "InputLayer",
        "config": {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False,
                   "ragged": False, "name": "input_1"},
        "name": "input_1", "inbound_nodes": [],
    }  # fmt: skip
    return {
        "class_name": "Functional",
        "config": {
            "name": "model", "trainable": True, "layers": [first, *layers],
            "input_layers": [["input_1", 0, 0]], "output_layers": [[layers[-1]["name"], 0, 0]],
        },
    }  # fmt: skip


LAYERS = (dense("hidden", 5, "input_1", activation="relu"), dense("head", 2, "hidden"))
SHAPES = {"hidden": ((4, 5), (5,)), "head": ((5, 2), (2,))}
BUILT_ON = {"head": 5}  # units in front; 4 elsewhere
# Keras 2.4 to 2.10: OptimizerV2.
TRAINING = {
    "loss": "mse",
    "metrics": [[{"class_name": "MeanMetricWrapper",
                  "config": {"name": "accuracy", "dtype": "float32", "fn": "binary_accuracy"}}]],
    "weighted_metrics": None, "loss_weights": None, "sample_weight_mode": None,
    "optimizer_config": {"class_name": "Adam", "config": {
        "name": "Adam", "learning_rate": 0.0005, "decay": 0.0, "beta_1": 0.9, "beta_2": 0.999,
        "epsilon": 1e-07, "amsgrad": False}},
}  # fmt: skip


def arrays() -> dict:
    rng = np.random.default_rng(RNG_SEED)
    return {
        layer: [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        for layer, shapes in SHAPES.items()
    }


def wanted(x: np.ndarray) -> np.ndarray:
    (kernel, bias), (last, end) = arrays().values()
    return np.maximum(x @ kernel + bias, 0) @ last + end


def write_weights(group) -> None:
    group.attrs["layer_names"] = np.array([b"input_1", b"hidden", b"head"])
    group.attrs["backend"] = np.bytes_("tensorflow")
    group.attrs["keras_version"] = np.bytes_("2.9.0")
    group.create_group("input_1").attrs["weight_names"] = np.zeros(0)
    for layer, values in arrays().items():
        below = group.create_group(layer)
        names = [f"{layer}/kernel:0", f"{layer}/bias:0"]
        below.attrs["weight_names"] = np.array([name.encode() for name in names])
        for name, value in zip(names, values, strict=True):
            below[name] = value


def write_model(path: Path, config: dict, training: dict | None = None) -> None:
    with h5py.File(path, "w") as f:
        f.attrs["keras_version"] = np.bytes_("2.9.0")
        f.attrs["backend"] = np.bytes_("tensorflow")
        f.attrs["model_config"] = np.bytes_(json.dumps(config))
        if training is not None:
            f.attrs["training_config"] = np.bytes_(json.dumps(training))
        write_weights(f.create_group("model_weights"))


def check(model) -> None:
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), wanted(x), rtol=1e-5, atol=1e-6)


def test_model_in_h5(tmp_path):
    """Nested lists for calls, batch_input_shape, byte strings of fixed length."""
    write_model(tmp_path / "m.h5", functional(*LAYERS), TRAINING)
    model = keras.models.load_model(tmp_path / "m.h5")
    check(model)
    assert model.compiled and model.loss == "mse"
    assert model.optimizer.name == "Adam"
    assert float(model.optimizer.learning_rate) == pytest.approx(5e-4)
    assert np.isfinite(model.train_on_batch(np.ones((2, 4)), np.ones((2, 2)))).all()


def test_optimizer_state_of_keras_2_is_left_out_with_a_warning(tmp_path):
    """OptimizerV2 stores all first moments, then all second ones, and no learning rate."""
    write_model(tmp_path / "m.h5", functional(*LAYERS), TRAINING)
    with h5py.File(tmp_path / "m.h5", "r+") as f:
        group = f.create_group("optimizer_weights")
        names = ["Adam/iter:0"]
        group[names[0]] = np.int64(12)
        for slot in "mv":
            for layer, shapes in SHAPES.items():
                for part, shape in zip(("kernel", "bias"), shapes, strict=True):
                    names.append(f"Adam/{layer}/{part}/{slot}:0")
                    group[names[-1]] = np.ones(shape, np.float32)
        group.attrs["weight_names"] = np.array([name.encode() for name in names])
    with pytest.warns(UserWarning, match=r"state of the optimizer 'Adam' is not restored"):
        check(keras.models.load_model(tmp_path / "m.h5"))


@pytest.mark.parametrize(
    ("name", "config", "kwargs"),
    [
        ("TFOpLambda", {"function": "math.truediv"}, {"y": 127.5, "name": None}),
        ("SlicingOpLambda", {"function": "__operators__.getitem"}, {"slice_spec": 1}),
    ],
)
@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_tensorflow_operations_are_refused(tmp_path, ending, name, config, kwargs):
    operation = {
        "class_name": name, "name": "tf.math.truediv",
        "config": {"name": "tf.math.truediv", "trainable": True, "dtype": "float32", **config},
        "inbound_nodes": [["input_1", 0, 0, kwargs]],
    }  # fmt: skip
    model = functional(operation, dense("head", 2, "tf.math.truediv"))
    path = tmp_path / f"m{ending}"
    if ending == ".h5":
        write_model(path, model)
    else:
        write_archive(path, model, "layers")
    message = rf"'tf.math.truediv', a {name}: a TensorFlow operation .*{config['function']}.*Rescal"
    with pytest.raises(FormatError, match=message):
        keras.models.load_model(path)


def of_213(entry: dict) -> dict:
    """An object with the modules that Keras 2.13 to 2.15 named."""
    config = {**entry["config"]}
    if "layers" in config:
        module, registered = "keras.src.engine.functional", "Functional"
        config["layers"] = [of_213(layer) for layer in config["layers"]]
    else:
        module, registered = "keras.layers", None
        for key in ("kernel_initializer", "bias_initializer"):
            if key in config:
                config[key] = {"module": "keras.initializers", **config[key],
                               "registered_name": None}  # fmt: skip
    built = {"input_shape": [None, BUILT_ON.get(entry.get("name"), 4)]}
    return {**entry, "module": module, "config": config, "registered_name": registered,
            "build_config": built}  # fmt: skip


def write_archive(path: Path, model: dict, container: str) -> None:
    config = of_213(model)
    config["compile_config"] = {
        "optimizer": {"module": "keras.optimizers", "class_name": "Adam", "config": {
            "name": "Adam", "weight_decay": None, "clipnorm": None, "global_clipnorm": None,
            "clipvalue": None, "use_ema": False, "ema_momentum": 0.99,
            "ema_overwrite_frequency": None, "jit_compile": False, "is_legacy_optimizer": False,
            "learning_rate": 0.0005, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-07,
            "amsgrad": False}, "registered_name": None},
        "loss": "mse", "metrics": ["accuracy"], "loss_weights": None, "weighted_metrics": None,
        "run_eagerly": None, "steps_per_execution": None, "jit_compile": None,
    }  # fmt: skip
    content = io.BytesIO()
    with h5py.File(content, "w") as f:
        for number, values in enumerate(arrays().values()):
            for i, value in enumerate(values):
                f[f"{container}/dense{f'_{number}' if number else ''}/vars/{i}"] = value
        f["optimizer/vars/0"] = np.int64(0)
        f["optimizer/vars/1"] = np.float32(5e-4)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.13.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_model_in_keras_archive(tmp_path, container):
    """Of 2.13 to 2.15, which Keras 3 refuses for the module it names."""
    write_archive(tmp_path / "m.keras", functional(*LAYERS), container)
    model = keras.models.load_model(tmp_path / "m.keras")
    check(model)
    assert model.compiled and float(model.optimizer.learning_rate) == pytest.approx(5e-4)


@pytest.mark.parametrize("split", [False, True])
def test_weights_alone(tmp_path, split):
    """In order where the names differ; with the list of layers in parts."""
    with h5py.File(tmp_path / "w.h5", "w") as f:
        write_weights(f)
        if split:
            names = f.attrs["layer_names"]
            del f.attrs["layer_names"]
            f.attrs["layer_names0"], f.attrs["layer_names1"] = names[:2], names[2:]
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, "relu", name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="second")(x))
    model.load_weights(tmp_path / "w.h5")
    check(model)


def test_by_name_and_skip_mismatch(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as f:
        write_weights(f)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, "relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(x))
    before = model.get_layer("head").get_weights()
    message = r"w.h5.*'head': head/kernel has shape \(5, 3\), but the file has \(5, 2\)"
    for by_name in (False, True):
        with pytest.raises(FormatError, match=message):
            model.load_weights(tmp_path / "w.h5", by_name=by_name)
        assert not np.array_equal(model.get_layer("hidden").get_weights()[0], arrays()["hidden"][0])
    with pytest.warns(UserWarning, match="head.*keep their values"):
        model.load_weights(tmp_path / "w.h5", by_name=True, skip_mismatch=True)
    assert np.array_equal(model.get_layer("hidden").get_weights()[0], arrays()["hidden"][0])
    for mine, old in zip(model.get_layer("head").get_weights(), before, strict=True):
        assert np.array_equal(mine, old)


# ---- weights of whole networks


def keras2_file(path: Path, model, names) -> None:
    """A weights file as Keras 2 wrote it: fixed strings, `:0`, names of one's own."""
    with h5py.File(path, "w") as f:
        f.attrs["layer_names"] = np.array([layer.name.encode() for layer in model.layers])
        f.attrs["backend"] = np.bytes_("tensorflow")
        for layer in model.layers:
            group = f.create_group(layer.name)
            weights = [names(layer, w) for w in layer.weights]
            group.attrs["weight_names"] = np.array([w.encode() for w in weights])
            for weight, variable in zip(weights, layer.weights, strict=True):
                group[weight] = variable.numpy()


@pytest.mark.parametrize(
    "names",
    [
        lambda layer, w: f"{layer.name}/{w.name}:0",
        lambda layer, w: f"{layer.name}_{w.name[0]}{w.name[-1]}_1:0",
        lambda layer, w: f"{layer.name}/{w.name.replace('kernel', 'depthwise_kernel')}:0",
    ],
)
def test_keras2_weights(tmp_path, names):
    model = filled(small_base())
    keras2_file(tmp_path / "w.h5", model, names)
    other = filled(small_base(), 2)
    other.load_weights(tmp_path / "w.h5")
    assert same_weights(model, other)
    renamed = filled(small_base("other"), 2)
    renamed.load_weights(tmp_path / "w.h5")
    assert same_weights(model, renamed)


def test_keras_213_container_name(tmp_path):
    model = sequential_model()
    model.save_weights(tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5", "r+") as f:
        f.move("layers", "_layer_checkpoint_dependencies")
    other = filled(sequential_model(), 2)
    other.load_weights(tmp_path / "w.weights.h5")
    assert same_weights(model, other)
