"""Layers one by one: shapes, start values, refusals, and what they ask of the core."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from numpy_graph import run

from tlfast import activations, backend, initializers, layers, regularizers
from tlfast._variable import Variable

IMAGE = np.random.default_rng(1).normal(size=(2, 7, 6, 4))


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    backend.clear_session(free_memory=False)
    monkeypatch.setattr(Variable, "core", property(lambda self: self))


def call(layer, *arrays, training=False):
    """Build a layer symbolically, then compute it; the shapes must agree."""
    tensors = [layers.Input(a.shape[1:]) for a in arrays]
    y = layer(tensors if len(tensors) > 1 else tensors[0])
    result, g = run(layer, *arrays, training=training)
    assert y.shape == (None, *result.shape[1:])
    return result, g


SHAPES = [
    (lambda: layers.Conv2D(3, 3), (5, 4, 3)),
    (lambda: layers.Conv2D(3, (2, 3), strides=2, padding="same"), (4, 3, 3)),
    (lambda: layers.Conv2D(4, 3, dilation_rate=2, padding="same", groups=2), (7, 6, 4)),
    (lambda: layers.Conv2D(4, 3, dilation_rate=2), (3, 2, 4)),
    (lambda: layers.DepthwiseConv2D(3, strides=(2, 1), depth_multiplier=2), (3, 4, 8)),
    (lambda: layers.SeparableConv2D(5, 3, padding="SAME"), (7, 6, 5)),
    (lambda: layers.MaxPooling2D(3, 2, "same"), (4, 3, 4)),
    (lambda: layers.AvgPool2D(2), (3, 3, 4)),
    (lambda: layers.GlobalAveragePooling2D(keepdims=True), (1, 1, 4)),
    (lambda: layers.GlobalMaxPool2D(), (4,)),
    (lambda: layers.ZeroPadding2D(1), (9, 8, 4)),
    (lambda: layers.ZeroPadding2D((1, 2)), (9, 10, 4)),
    (lambda: layers.Cropping2D(((1, 0), (2, 1))), (6, 3, 4)),
    (lambda: layers.Cropping2D(((1, 0), (2, 1)), data_format="channels_first"), (7, 5, 1)),
    (lambda: layers.Flatten(), (168,)),
    (lambda: layers.Reshape((3, -1)), (3, 56)),
    (lambda: layers.Dense(9, activation="relu"), (7, 6, 9)),
    (lambda: layers.Rescaling(1 / 255.0), (7, 6, 4)),
    (lambda: layers.Rescaling([1, 2, 3, 4.0], [0, 1, 2, 3]), (7, 6, 4)),
    (lambda: layers.Identity(), (7, 6, 4)),
]


@pytest.mark.parametrize("make, shape", SHAPES)
def test_output_shape(make, shape):
    result, _ = call(make(), IMAGE)
    assert result.shape == (2, *shape)


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("kernel, stride", [(1, 1), (3, 1), (3, 2), (2, 2), (5, 3), (1, 2)])
def test_same_padding_covers_every_pixel_from_the_right_place(size, kernel, stride):
    from tlfast.layers._pads import output_size, same_pads

    before, after = same_pads(size, kernel, stride)
    outputs = output_size(size, kernel, stride, "same")
    assert outputs == -(-size // stride)
    assert (size + before + after - kernel) // stride + 1 == outputs
    assert after - before in (0, 1)


def test_cropping_of_the_last_two_axes_cuts_channels():
    image = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    result, _ = call(layers.Cropping2D(((1, 2), (2, 0)), data_format="channels_first"), image)
    assert np.array_equal(result, image[:, :, 1:-2, 2:])
    result, _ = call(layers.Cropping2D(((1, 2), (0, 0)), data_format="channels_first"), image)
    assert np.array_equal(result, image[:, :, 1:-2])


def test_average_pooling_leaves_out_the_padding():
    result, _ = call(layers.AveragePooling2D(3, 1, "same"), np.ones((1, 4, 4, 2)))
    np.testing.assert_allclose(result, 1)


def test_reversed_channels_and_constants():
    x = layers.Input((2, 2, 3))
    y = (x[..., ::-1] - [103.939, 116.779, 123.68]) * 2
    from tlfast.models import Model

    result, g = run(Model(x, y), np.full((1, 2, 2, 3), 200.0))
    np.testing.assert_allclose(result[0, 0, 0], (200 - np.array([103.939, 116.779, 123.68])) * 2,
                               rtol=1e-6)
    assert [op for op, _, _ in g.ops] == ["scale_shift"] * 3
    for wrong in (lambda: x[:, 0], lambda: x[..., 0], lambda: x[..., ::2]):
        with pytest.raises(NotImplementedError, match="reverses the channels"):
            wrong()
    with pytest.raises(NotImplementedError, match="per channel"):
        x + np.ones((2, 2, 3))
    with pytest.raises(NotImplementedError):
        1 / x
    with pytest.raises(ZeroDivisionError):
        run(Model(x, x / 0), np.ones((1, 2, 2, 3)))
    assert (np.float32(2) * x).shape == x.shape and (np.ones(3) - x).shape == x.shape


def test_symbolic_tensors_say_that_they_hold_no_numbers():
    x = layers.Input((2,))
    for use in (np.asarray, bool, float, int, len, list):
        with pytest.raises(TypeError, match="no numbers yet"):
            use(x)


def test_normalization():
    data = np.random.default_rng(0).normal(3, 5, size=(20, 6, 4, 3)).astype("float32")
    layer = layers.Normalization()
    layer.adapt(data)
    np.testing.assert_allclose(layer.mean, data.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.variance, data.var(axis=(0, 1, 2)), rtol=1e-5)
    batched = layers.Normalization()
    batched.adapt(iter([data[:7], data[7:]]))
    np.testing.assert_allclose(batched.variance, layer.variance, rtol=1e-5)
    result, _ = call(layer, data)
    np.testing.assert_allclose(result.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(axis=(0, 1, 2)), 1, rtol=1e-4)
    given = layers.Normalization(mean=layer.mean, variance=layer.variance)
    np.testing.assert_allclose(call(given, data)[0], result, atol=1e-5)
    assert [v.name for v in layer.weights] == ["mean", "variance", "count"]
    constant = layers.Normalization()
    constant.adapt(np.full((2, 3), 7.0))
    result, _ = call(constant, np.full((1, 3), 8.0))
    np.testing.assert_allclose(result, 1e7, rtol=1e-6)
    with pytest.raises(ValueError, match="static `mean`"):
        given.adapt(data)
    with pytest.raises(ValueError, match="both `mean` and `variance`"):
        layers.Normalization(mean=1.0)
    with pytest.raises(ValueError, match="no values"):
        layers.Normalization().adapt([])


def test_dropout():
    x = np.ones((4, 5, 5, 3))
    layer = layers.Dropout(0.5, seed=1)
    assert call(layer, x)[1].ops == []
    _, g = call(layer, x, training=True)
    assert g.ops[0][2] == {"rate": 0.5, "seed": 1, "per_sample": False}
    _, g = call(layers.Dropout(0.2, noise_shape=(None, 1, 1, 1)), x, training=True)
    assert g.ops[0][2]["per_sample"] is True
    assert call(layers.Dropout(0), x, training=True)[1].ops == []
    assert call(layers.Dropout(1.0), x, training=True)[0].sum() == 0
    result, _ = call(layers.SpatialDropout2D(0.5), x, training=True)
    np.testing.assert_array_equal(result, result[:, :1, :1] * np.ones((1, 5, 5, 1)))
    assert set(np.unique(result)) <= {0.0, 2.0}
    for wrong in (-0.1, 1.5, "0.5", True):
        with pytest.raises(ValueError, match="between 0 and 1"):
            layers.Dropout(wrong)
    with pytest.raises(NotImplementedError, match="SpatialDropout2D"):
        layers.Dropout(0.2, noise_shape=(None, 1, 1, 3))(layers.Input((5, 5, 3)))


def test_seeds_follow_pythons_random():
    import random

    random.seed(5)
    first = layers.Dropout(0.5)._seed, layers.RandomFlip()._seed
    random.seed(5)
    assert (layers.Dropout(0.5)._seed, layers.RandomFlip()._seed) == first
    assert layers.RandomFlip(seed=9)._seed == 9 and first[0] != first[1]


def test_random_layers():
    _, g = call(layers.RandomRotation((-0.1, 0.3), seed=2), IMAGE, training=True)
    op, _, attributes = g.ops[0]
    assert op == "random_affine" and attributes["rotation"] == (-0.1, 0.3)
    assert attributes["seed"] == 2 and attributes["fill_mode"] == "reflect"
    _, g = call(layers.RandomZoom(0.2, (0.0, 0.1)), IMAGE, training=True)
    assert g.ops[0][2]["zoom_h"] == (-0.2, 0.2) and g.ops[0][2]["zoom_w"] == (0.0, 0.1)
    assert call(layers.RandomFlip("vertical"), IMAGE, training=False)[1].ops == []
    # Called without saying what for, they act, as in Keras.
    assert call(layers.RandomFlip("vertical"), IMAGE, training=None)[1].ops
    with pytest.raises(ValueError, match="Did you mean 'horizontal'"):
        layers.RandomFlip("horizonal")
    with pytest.raises(ValueError, match="number in .-1, 1."):
        layers.RandomRotation(30)
    with pytest.raises(ValueError, match="`fill_mode` is one of"):
        layers.RandomZoom(0.1, fill_mode="mirror")


def test_merging():
    a, b, c = (np.full((2, 3, 3, 2), v) for v in (1.0, 2.0, 6.0))
    assert call(layers.Add(), a, b, c)[0].mean() == 9
    assert call(layers.Subtract(), a, b)[0].mean() == -1
    assert call(layers.Multiply(), a, b, c)[0].mean() == 12
    assert call(layers.Average(), a, b, c)[0].mean() == 3
    assert call(layers.Maximum(), a, b, c)[0].mean() == 6
    assert call(layers.Concatenate(), a, b, c)[0].shape == (2, 3, 3, 6)
    gate = np.array([[[[2.0, 3.0]]], [[[4.0, 5.0]]]])
    np.testing.assert_array_equal(call(layers.Multiply(), a, gate)[0][1, 2, 2], [4, 5])
    flat = gate.reshape(2, 2)
    np.testing.assert_array_equal(call(layers.Multiply(), a, flat)[0][1, 2, 2], [4, 5])
    x, y = layers.Input((3, 3, 2)), layers.Input((3, 4, 2))
    with pytest.raises(ValueError, match="incompatible shapes"):
        layers.add([x, y])
    with pytest.raises(ValueError, match="matching shapes"):
        layers.concatenate([x, y])
    with pytest.raises(NotImplementedError, match="last axis"):
        layers.concatenate([x, x], axis=1)
    with pytest.raises(ValueError, match="list of inputs"):
        layers.Add()(x)
    with pytest.raises(ValueError, match="exactly 2"):
        layers.subtract([x, x, x])


ACTIVATIONS = {
    "relu": [0, 0, 2], "relu6": [0, 0, 2], "leaky_relu": [-0.2, 0, 2],
    "elu": [np.expm1(-1), 0, 2], "sigmoid": [0.2689414, 0.5, 0.8807970],
    "softmax": [0.0420101, 0.1141952, 0.8437947], "tanh": [-0.7615942, 0, 0.9640276],
    "silu": [-0.2689414, 0, 1.7615942], "swish": [-0.2689414, 0, 1.7615942],
    "gelu": [-0.1586553, 0, 1.9544997], "hard_sigmoid": [1 / 3, 0.5, 5 / 6],
    "hard_silu": [-1 / 3, 0, 5 / 3], "exponential": [0.3678794, 1, 7.3890561],
    "softplus": [0.3132617, 0.6931472, 2.126928],
    "linear": [-1, 0, 2],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    x = np.array([[-1.0, 0.0, 2.0]])
    expected = np.array([ACTIVATIONS[name]])
    np.testing.assert_allclose(activations.get(name)(x), expected, atol=1e-6)
    np.testing.assert_allclose(call(layers.Activation(name), x)[0], expected, atol=1e-6)
    from tlfast.models import Model, model_from_json

    i = layers.Input((3,))
    model = model_from_json(Model(i, activations.get(name)(i)).to_json())
    np.testing.assert_allclose(run(model, x)[0], expected, atol=1e-6)


def test_activation_layers():
    x = np.array([[-2.0, 1.0, 9.0]])
    assert call(layers.ReLU(), x)[0].tolist() == [[0, 1, 9]]
    assert call(layers.ReLU(max_value=6), x)[0].tolist() == [[0, 1, 6]]
    assert call(layers.ReLU(negative_slope=0.5), x)[0].tolist() == [[-1, 1, 9]]
    assert call(layers.LeakyReLU(0.25), x)[0].tolist() == [[-0.5, 1, 9]]
    np.testing.assert_allclose(call(layers.ELU(2.0), x)[0], [[2 * np.expm1(-2), 1, 9]])
    np.testing.assert_allclose(call(layers.Softmax(), x)[0].sum(), 1)
    with pytest.warns(UserWarning, match="Use `negative_slope`"):
        assert layers.LeakyReLU(alpha=0.1).negative_slope == 0.1
    with pytest.raises(NotImplementedError, match="max_value=None or 6"):
        layers.ReLU(max_value=5)
    with pytest.raises(NotImplementedError, match="last axis"):
        layers.Softmax(axis=1)


REFUSED = [
    ("layers.Dense(unit=3)", ValueError, "Did you mean 'units'"),
    ('layers.Dense(3, activaton="relu")', ValueError, "Did you mean 'activation'"),
    ("layers.Dense(0)", ValueError, "positive integer"),
    ('layers.Dense("3")', ValueError, "positive integer"),
    ('layers.Dense(3, activation="rleu")', ValueError, "Did you mean 'relu'"),
    ("layers.Dense(3, activation=lambda x: x)", NotImplementedError, "one's own"),
    ('layers.Dense(3, kernel_initializer="glorott_uniform")', ValueError,
     "Did you mean 'glorot_uniform'"),
    ('layers.Dense(3, kernel_regularizer="l1_l")', ValueError, "Did you mean 'l1_l2'"),
    ('layers.Dense(3, kernel_constraint="max_norm")', NotImplementedError, "kernel_constraint"),
    ('layers.Dense(3, dtype="float16")', NotImplementedError, "float32"),
    ('layers.Dense(3, activity_regularizer="l2")', NotImplementedError, "kernel_regularizer"),
    ('layers.Dense(3, name="a/b")', ValueError, "cannot contain"),
    ('layers.Dense(3, trainable="yes")', ValueError, "boolean"),
    ('layers.Conv2D(3, 3, padding="sane")', ValueError, "Did you mean 'same'"),
    ("layers.Conv2D(3, 0)", ValueError, "kernel_size"),
    ("layers.Conv2D(3, (3, 3, 3))", ValueError, "kernel_size"),
    ('layers.Conv2D(3, 3, data_format="channels_first")', NotImplementedError, "channels_last"),
    ("layers.Conv2D(3, 3, strides=2, dilation_rate=2)", ValueError, "dilation_rate"),
    ("layers.Conv2D(3, 3, groups=2)", ValueError, "evenly divisible"),
    ("layers.Conv2D(3, 3)(layers.Input((3,)))", ValueError, "expected ndim=4, found ndim=2"),
    ("layers.Conv2D(3, 3)(layers.Input((5, 5, None)))", ValueError, "channel dimension"),
    ("layers.Conv2D(3, 9)(layers.Input((4, 4, 3)))", ValueError, "zero or negative"),
    ("layers.Dense(3)(layers.Input((None,)))", ValueError, "fully-defined"),
    ("layers.Dense(3)(layers.Dense(3))", ValueError, "Call the layer"),
    ("layers.Dense(3)(layers.Input((3,)), trainig=True)", TypeError, "'training'"),
    ("layers.BatchNormalization(axis=1)(layers.Input((4, 4, 3)))", NotImplementedError,
     "last axis"),
    ("layers.BatchNormalization(renorm=True)", NotImplementedError, "renorm"),
    ("layers.Cropping2D(3)(layers.Input((5, 9, 1)))", ValueError, "leaves nothing"),
    ("layers.Reshape((5, 5))(layers.Input((24,)))", ValueError, "total size"),
    ("layers.Reshape((-1, -1))", ValueError, "at most -1"),
    ("layers.Lambda(3)", TypeError, "function of a tensor"),
    ("layers.Lambda(np.sqrt)(layers.Input((3,)))", NotImplementedError, "sqrt.*map.. of the data"),
    ("layers.Lambda(len)(layers.Input((3,)))", NotImplementedError, "len.*a tensor of a model"),
    ("layers.Lambda(lambda x: 3)(layers.Input((3,)))", NotImplementedError, "returned int"),
    ("layers.Lambda(layers.Dense(3))(layers.Input((3,)))", ValueError, "would not be trained"),
    ("layers.Lambda(lambda x: x, output_shape=(4,))(layers.Input((3,)))", ValueError, "gives the"),
    ("layers.Lambda(lambda x: x).get_config()", ValueError, "before its first call"),
    ("layers.Input(224)", ValueError, "tuple of sizes"),
    ("layers.Input()", ValueError, "must pass a `shape`"),
    ("layers.Input((3,), sparse=True)", NotImplementedError, "sparse"),
    ('layers.Input((3,), dtype="float64")', NotImplementedError, "float32"),
    ('layers.Input(("a",))', ValueError, "integers"),
    ('setattr(layers.Dense(3), "training", False)', AttributeError, "Did you mean 'trainable'"),
    ('setattr(layers.Dense(3), "unitz", 4)', AttributeError, "Did you mean 'units'"),
    ("layers.Conv2d", AttributeError, "Did you mean 'Conv2D'"),
    ("layers.LSTM", AttributeError, "image classifiers"),
    ('backend.set_image_data_format("channels_first")', NotImplementedError, "channels_last"),
    ("initializers.get(3)", ValueError, "Could not interpret"),
    ('initializers.HeNormal(seed="x")', ValueError, "integer or None"),
    ('initializers.VarianceScaling(mode="fan_on")', ValueError, "Did you mean 'fan_in'"),
    ("regularizers.L2(-1)", ValueError, ">= 0"),
    ("regularizers.get(lambda w: 0)", NotImplementedError, "L1, L2 and L1L2"),
]


@pytest.mark.parametrize("code, error, text", REFUSED)
def test_refusals(code, error, text):
    with pytest.raises(error, match=text):
        eval(code)


def test_error_texts():
    """The whole texts, for reading and reviewing; TLFAST_WRITE_ERRORS=1 writes the file anew."""
    lines = []
    for code, error, _ in REFUSED:
        backend.clear_session(free_memory=False)
        with pytest.raises(error) as caught:
            eval(code)
        text = re.sub(r" at 0x[0-9a-f]+", "", str(caught.value))
        lines.append(f">>> {code}\n{type(caught.value).__name__}: {text}\n")
    path = Path(__file__).parent / "errors" / "layers.txt"
    if os.environ.get("TLFAST_WRITE_ERRORS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines), "utf-8")
    assert "\n".join(lines) == path.read_text("utf-8")


def test_a_built_layer_checks_its_input():
    dense = layers.Dense(3)
    dense(layers.Input((4,)))
    with pytest.raises(ValueError, match="axis -1 of input shape to have value 4"):
        dense(layers.Input((5,)))
    conv = layers.Conv2D(3, 1)
    conv(layers.Input((5, 5, 3)))
    with pytest.raises(ValueError, match="to have value 3"):
        conv(layers.Input((5, 5, 1)))


def test_layer_attributes():
    dense = layers.Dense(3)
    with pytest.raises(AttributeError, match="never been called"):
        _ = dense.output
    with pytest.raises(ValueError, match="isn't built"):
        dense.count_params()
    x = layers.Input((4,))
    y = dense(x)
    assert dense.input is x and dense.output is y and dense.count_params() == 15
    assert repr(dense) == "<Dense name=dense, built=True>"
    assert repr(x) == ("<KerasTensor shape=(None, 4), dtype=float32, sparse=False, ragged=False, "
                       "name=keras_tensor>")
    with pytest.raises(ValueError, match="kernel has shape .4, 3."):
        dense.kernel.assign(np.zeros((3, 4)))
    config = dense.get_config()
    again = layers.Dense.from_config(config)
    assert again.get_config() == config
    with pytest.raises(ValueError, match="argument units2=3"):
        layers.Dense.from_config({**config, "units2": 3})


def test_names():
    assert [layers.Dense(1).name, layers.Dense(1).name, layers.ReLU().name] == [
        "dense", "dense_1", "re_lu"]
    assert layers.Conv2D(1, 1, name="dense").name == "dense"
    assert layers.DepthwiseConv2D(1).name == "depthwise_conv2d"
    backend.clear_session(free_memory=False)
    assert layers.Dense(1).name == "dense"
    assert [backend.get_uid("x"), backend.get_uid("x")] == [1, 2]


UNIFORM_LIMITS = {"glorot_uniform": 6 / (72 + 576), "he_uniform": 6 / 72, "lecun_uniform": 3 / 72}
NORMAL_VARIANCES = {"glorot_normal": 2 / (72 + 576), "he_normal": 2 / 72, "lecun_normal": 1 / 72,
                    "truncated_normal": (0.05 * 0.87962566) ** 2, "random_normal": 0.05**2}
KERNEL = (3, 3, 8, 64)


@pytest.mark.parametrize("name", UNIFORM_LIMITS)
def test_uniform_start_values(name):
    values = initializers.get(name)(KERNEL)
    limit = np.sqrt(UNIFORM_LIMITS[name])
    assert values.dtype == np.float32 and values.shape == KERNEL
    assert limit * 0.99 < np.abs(values).max() <= limit
    assert values.var() == pytest.approx(limit**2 / 3, rel=0.05)
    assert abs(values.mean()) < limit * 0.05


@pytest.mark.parametrize("name", NORMAL_VARIANCES)
def test_normal_start_values(name):
    values = initializers.get(name)(KERNEL)
    assert values.var() == pytest.approx(NORMAL_VARIANCES[name], rel=0.08)
    if name != "random_normal":
        # Cut at two sigma of the distribution before the cut.
        assert np.abs(values).max() <= 2 * np.sqrt(NORMAL_VARIANCES[name]) / 0.879625 * 1.0001


def test_start_values_repeat_with_their_seed():
    a, b = initializers.HeNormal(seed=3), initializers.HeNormal(seed=3)
    np.testing.assert_array_equal(a((4, 5)), b((4, 5)))
    np.testing.assert_array_equal(a((4, 5)), a((4, 5)))
    assert not np.array_equal(a((4, 5)), initializers.HeNormal(seed=4)((4, 5)))
    import random

    random.seed(1)
    first = initializers.get("he_normal")((3, 3))
    random.seed(1)
    np.testing.assert_array_equal(initializers.get("he_normal")((3, 3)), first)


def test_other_initializers():
    assert initializers.Constant(3)((2, 2)).tolist() == [[3, 3], [3, 3]]
    assert initializers.get("identity")((2, 2)).tolist() == [[1, 0], [0, 1]]
    q = initializers.Orthogonal(seed=0)((3, 3, 2, 4)).reshape(-1, 4)
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-6)
    values = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=0)((50, 400))
    assert values.var() == pytest.approx(2 / 400, rel=0.05)
    config = {"class_name": "VarianceScaling",
              "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"}}
    assert initializers.get(config).mode == "fan_out"


def test_regularizers():
    w = np.array([[1.0, -2.0]])
    assert regularizers.L1(0.1)(w) == pytest.approx(0.3)
    assert regularizers.l2(0.1)(w) == pytest.approx(0.5)
    assert regularizers.L1L2(0.1, 0.1)(w) == pytest.approx(0.8)
    dense = layers.Dense(2, kernel_regularizer=regularizers.l2(0.5), use_bias=False)
    dense(layers.Input((1,)))
    dense.set_weights([w])
    assert dense.losses == [pytest.approx(2.5)]
    dense.trainable = False
    assert dense.losses == []


@pytest.mark.parametrize("initializer", ["orthogonal", "identity"])
def test_an_initializer_that_does_not_fit_is_refused_when_the_layer_is_built(initializer):
    """Values are made when they are needed, which may be long after."""
    layer = layers.Dense(4, bias_initializer=initializer)
    with pytest.raises(ValueError, match=r"axes|dimension|matri"):
        layer.build((None, 3))
