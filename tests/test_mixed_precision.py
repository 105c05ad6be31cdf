"""The dtype policies of Keras: global, per layer, by `compile`, in files; bfloat16 refused.

tests/test_bfloat16.py holds what is computed.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from tlfast import _core, keras

needs_bfloat16 = pytest.mark.skipif(
    not _core.has_bfloat16(), reason="this machine would emulate bfloat16")
MIXED = "mixed_bfloat16"


@pytest.fixture
def mixed():
    keras.mixed_precision.set_global_policy(MIXED)
    yield
    keras.mixed_precision.set_global_policy("float32")


def small_network(**options):
    inputs = keras.Input((12, 12, 3), name="images")
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    x = keras.layers.Conv2D(8, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    y = keras.layers.ReLU()(x) * 2.0
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    outputs = keras.layers.Dense(3, activation="softmax", name="head", **options)(x)
    return keras.Model(inputs, outputs)


def policies(model):
    return {layer.name: layer.dtype_policy.name for layer in model.layers}


def test_float32_is_the_default():
    layer = keras.layers.Conv2D(4, 3)
    assert keras.config.dtype_policy() == keras.DTypePolicy("float32")
    assert (layer.dtype, layer.compute_dtype, layer.variable_dtype) == ("float32",) * 3
    assert layer.dtype_policy == keras.mixed_precision.Policy("float32")
    assert layer.dtype_policy != keras.DTypePolicy(MIXED) and layer.dtype_policy != "float32"


@pytest.mark.parametrize("given", [
    MIXED, keras.DTypePolicy(MIXED), {"class_name": "DTypePolicy", "config": {"name": MIXED}},
    {"class_name": "Policy", "config": {"name": MIXED}}])
def test_a_layer_of_its_own_policy(given):
    layer = keras.layers.Conv2D(4, 3, dtype=given)
    assert layer.dtype_policy.name == MIXED
    assert (layer.dtype, layer.compute_dtype) == ("float32", "bfloat16")
    assert layer(keras.Input((5, 5, 3))).dtype == "bfloat16"
    assert layer.weights[0].dtype == "float32"
    stored = layer.get_config()["dtype"]
    assert stored == {"module": "keras", "class_name": "DTypePolicy", "config": {"name": MIXED},
                      "registered_name": None}
    assert keras.layers.Conv2D.from_config(layer.get_config()).dtype_policy.name == MIXED


@pytest.mark.parametrize("given", ["float16", "mixed_float16", "bfloat16", 3, np.float64,
                                   {"class_name": "QuantizedDTypePolicy",
                                    "config": {"mode": "int8"}}])
def test_other_policies_are_refused(given):
    with pytest.raises(NotImplementedError, match=r"layer 'last'.*allowed are 'float32' and"):
        keras.layers.Dense(2, dtype=given, name="last")
    layer = keras.layers.Dense(2, name="last")
    with pytest.raises(NotImplementedError, match="layer 'last'"):
        layer.dtype_policy = given
    with pytest.raises(NotImplementedError, match="is not supported"):
        keras.config.set_dtype_policy(given)
    with pytest.raises(NotImplementedError, match=r"compile\(precision=\)"):
        small_network().compile("sgd", "mse", precision=given)


def test_inputs_are_float32(tmp_path):
    with pytest.raises(NotImplementedError, match="inputs are float32"):
        keras.Input((4, 4, 3), dtype=MIXED)


@needs_bfloat16
def test_global_policy(mixed):
    assert keras.mixed_precision.global_policy().name == MIXED
    assert keras.config.dtype_policy() is keras.mixed_precision.dtype_policy()
    model = small_network(dtype="float32")
    found = policies(model)
    assert found.pop("head") == found.pop("images") == "float32"
    assert set(found.values()) == {MIXED}
    with pytest.raises(NotImplementedError, match="float16"):
        keras.config.set_dtype_policy("mixed_float16")
    assert keras.config.dtype_policy().name == MIXED
    x = np.random.default_rng(1).uniform(0, 255, (5, 12, 12, 3)).astype(np.float32)
    assert model.predict(x, verbose=0).dtype == np.float32


@needs_bfloat16
def test_compile_sets_all_layers_and_plans_are_made_anew():
    keras.utils.set_random_seed(1)
    model = small_network()
    x = np.random.default_rng(1).uniform(0, 255, (5, 12, 12, 3)).astype(np.float32)
    exact = model.predict(x, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy", precision=MIXED)
    assert set(policies(model).values()) == {MIXED}
    rounded = model.predict(x, verbose=0)
    assert 0 < np.abs(rounded - exact).max() < 0.01
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert set(policies(model).values()) == {MIXED}
    model.layers[3].dtype_policy = "float32"  # the norm behind a convolution in bfloat16
    between = model.predict(x, verbose=0)
    assert np.any(between != rounded) and np.any(between != exact)
    model.compile("sgd", "sparse_categorical_crossentropy", precision="float32")
    assert np.array_equal(model.predict(x, verbose=0), exact)


@needs_bfloat16
def test_kept_features_know_their_type():
    """A frozen network's features are computed again for another type."""
    keras.utils.set_random_seed(1)
    base = keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Conv2D(8, 3),
                             keras.layers.GlobalAveragePooling2D()])
    base.trainable = False
    model = keras.Sequential([base, keras.layers.Dense(2, activation="softmax")])
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6, 12, 12, 3)).astype(np.float32), np.arange(6) % 2
    losses = []
    for precision in ("float32", MIXED, "float32"):
        model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy",
                      precision=precision)
        history = model.fit(x, y, epochs=2, shuffle=False, verbose=0, batch_size=6)
        losses.append(history.history["loss"])
    assert losses[0] == losses[2] and losses[0] != losses[1]
    assert losses[1][0] == losses[1][1] == pytest.approx(losses[0][0], rel=1e-2)


@needs_bfloat16
@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_files_keep_the_policies(ending, tmp_path, mixed):
    model = small_network(dtype="float32")
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(1).uniform(0, 255, (5, 12, 12, 3)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / f"model.{ending}")
    keras.mixed_precision.set_global_policy("float32")
    loaded = keras.models.load_model(tmp_path / f"model.{ending}")
    assert policies(loaded) == policies(model)
    assert np.array_equal(loaded.predict(x, verbose=0), expected)
    # and a file with float32 layers is not touched by the global policy
    loaded.compile("sgd", "sparse_categorical_crossentropy", precision="float32")
    loaded.save(tmp_path / f"plain.{ending}")
    keras.mixed_precision.set_global_policy(MIXED)
    plain = keras.models.load_model(tmp_path / f"plain.{ending}")
    assert set(policies(plain).values()) == {"float32"}


@needs_bfloat16
def test_summary_says_so(mixed):
    lines = []
    small_network(dtype="float32").summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "Computed in bfloat16 (mixed_bfloat16): 6 of 8 layers" in text
    keras.mixed_precision.set_global_policy("float32")
    lines.clear()
    small_network().summary(print_fn=lines.append)
    assert "bfloat16" not in "\n".join(lines)


EMULATES = """
import numpy as np
from tlfast import _core, keras
assert not _core.has_bfloat16()
def said(call):
    try:
        call()
    except NotImplementedError as error:
        print(error)
said(lambda: keras.mixed_precision.set_global_policy("mixed_bfloat16"))
assert keras.config.dtype_policy().name == "float32"
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="first")])
said(lambda: model.compile("sgd", "mse", precision="mixed_bfloat16"))
x = np.zeros((2, 8, 8, 3), np.float32)
model.predict(x, verbose=0)
model.layers[0].dtype_policy = "mixed_bfloat16"  # as a file may have it
said(lambda: model.predict(x, verbose=0))
model.compile("sgd", "mse", precision="float32")
model.predict(x, verbose=0)
"""


def test_refused_where_it_is_emulated():
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}
    done = subprocess.run([sys.executable, "-c", EMULATES], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "no instructions for bfloat16 (AVX512-BF16 or AMX)" in line
    assert "layer 'first'" in lines[2] and 'precision="float32"' in lines[2]


FROM_KERAS = """
import keras, numpy as np
keras.mixed_precision.set_global_policy("mixed_bfloat16")
keras.utils.set_random_seed(3)
i = keras.Input((12, 12, 3))
x = keras.layers.Rescaling(1 / 127.5, -1, dtype="float32")(i)
x = keras.layers.Conv2D(8, 3)(x)
x = keras.layers.BatchNormalization()(x)
x = keras.layers.ReLU()(x) * 2.0
x = keras.layers.GlobalAveragePooling2D()(x)
model = keras.Model(i, keras.layers.Dense(3, activation="softmax", dtype="float32")(x))
model.compile("sgd", "sparse_categorical_crossentropy")
model.save({theirs!r})
x = np.random.default_rng(1).uniform(0, 255, (5, 12, 12, 3)).astype("float32")
np.save({values!r}, model.predict(x, verbose=0))
"""
TO_KERAS = """
import keras
model = keras.models.load_model({ours!r})
print([layer.dtype_policy.name for layer in model.layers if hasattr(layer, "dtype_policy")])
print(model.optimizer.name)
"""


@needs_bfloat16
@pytest.mark.peer("keras")
def test_files_go_both_ways(tmp_path, run_peer):
    paths = {name: str(tmp_path / name) for name in ("theirs.keras", "values.npy", "ours.keras")}
    run_peer("keras", FROM_KERAS.format(theirs=paths["theirs.keras"], values=paths["values.npy"]))
    model = keras.models.load_model(paths["theirs.keras"])
    assert sorted(policies(model).values()) == ["float32"] * 3 + [MIXED] * 4
    x = np.random.default_rng(1).uniform(0, 255, (5, 12, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), np.load(paths["values.npy"]), atol=5e-3)
    model.save(paths["ours.keras"])
    said = run_peer("keras", TO_KERAS.format(ours=paths["ours.keras"]))
    assert said.count(MIXED) == 4 and "sgd" in said.lower()
