"""Ops and networks in bfloat16, on machines that compute in it."""

import numpy as np
import op_references as ref
import pytest
from op_net import Net, check_forward, make_targets, threads, training_plan
from test_ops import CASES, frozen_net, shapes_of, swish_slopes, write

from tlfast import _core, keras

pytestmark = pytest.mark.skipif(
    not _core.has_bfloat16(), reason="this machine would emulate bfloat16")

# Difference of gradients to float32's, relative to the whole gradient's length: numbers have 8
# bits. At a kink a rounded value may fall on the other side.
GRADIENT = 1e-2
GRADIENT_AT_KINKS = 0.15
KINKED = {"activation", "max_pool2d", "global_max_pool", "maximum"}
# Features of whole networks, relative to the largest: some hundred roundings.
FEATURES = 3e-2


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def image_cases():
    """Every case of test_ops that begins with images: others are never computed in bfloat16."""
    return [pytest.param(op, case, id=f"{op}-{i}") for op in CASES
            for i, case in enumerate(CASES[op])
            if op not in ("input", "random_affine")
            and all(len(shape) == 3 for shape in shapes_of(case))]


WINOGRAD = {"x": (13, 11, 64), "kernel": (3, 3, 64, 96), "bias": True, "pads": (1, 1, 1, 1)}


def every_case():
    return [*image_cases(), pytest.param("conv2d", WINOGRAD, id="winograd")]


def behind_convolutions(net, case):
    """The inputs of a case as bfloat16 values: convolutions make them."""
    return [net.conv(net.input(shape), shape[-1]) for shape in shapes_of(case)]


@pytest.mark.parametrize("op, case", every_case())
def test_forward(op, case, rng):
    net = Net(rng, "bfloat16")
    y = write(net, op, behind_convolutions(net, case), case)
    check_forward(net, [y], 3, seed=5)


def gradients(net, y, feeds, targets, specs):
    plan = training_plan(net, [y], specs, len(feeds[0]))
    plan.train(feeds, targets, None, learning_rate=0.0, seed=11)
    return np.concatenate([g.ravel() for g in plan.gradients()])


@pytest.mark.parametrize("op, case", every_case())
def test_gradients(op, case, rng):
    """Beside those of float32, which test_ops holds against differences of the reference."""
    net = Net(rng)
    y = write(net, op, behind_convolutions(net, case), case)
    feeds, specs = net.draw(3), [{"kind": "mean_squared_error"}]
    targets = make_targets(net, [y], specs, 3, rng)
    expected = gradients(net, y, feeds, targets, specs)
    net.dtype = "bfloat16"
    got = gradients(net, y, feeds, targets, specs)
    length = np.linalg.norm(expected)
    assert length > 1e-3, "a gradient of zero proves nothing"
    assert np.any(got != expected), "nothing was computed in bfloat16"
    error = np.linalg.norm(got - expected) / length
    assert error <= (GRADIENT_AT_KINKS if op in KINKED else GRADIENT)


def windows_of_cells(height, width, pool, strides, pads):
    """[[positions of the cells that are inside the image], ...] of all windows."""
    rows, columns = ((n + before + after - size) // stride + 1 for n, before, after, size, stride
                     in zip((height, width), pads[::2], pads[1::2], pool, strides, strict=True))
    cells = [[[(i * strides[0] - pads[0] + r, j * strides[1] - pads[2] + c)
               for r in range(pool[0]) for c in range(pool[1])]
              for j in range(columns)] for i in range(rows)]
    return rows, columns, [[y * width + x for y, x in window
                            if 0 <= y < height and 0 <= x < width]
                           for row in cells for window in row]


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("channels", [5, 16, 40])
def test_gradients_of_overlapping_windows_are_rounded_once(op, channels, rng):
    """Images of ones at their own position make the pool's input the kernel, and its gradient the
    kernel's."""
    height, width, pool, strides, pads = 7, 6, (5, 4), (2, 1), (2, 1, 0, 3)
    net = Net(rng, "bfloat16")
    v = net.conv(net.input((height, width, height * width)), channels, bias=False)
    kernel = rounded(rng.integers(-9, 9, (height * width, channels)) / 4)  # equal ones too
    net.variables[0].assign(kernel[None, None])
    y = net.add(op, v, pool=pool, strides=strides, pads=pads)
    rows, columns, windows = windows_of_cells(height, width, pool, strides, pads)
    target = rng.normal(size=(1, rows, columns, channels)).astype(np.float32)
    plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 1)
    images = np.eye(height * width, dtype=np.float32).reshape(1, height, width, -1)
    _, (found,) = plan.train([images], [target])
    expected = np.zeros(kernel.shape)
    for at, cells in enumerate(windows):
        value = found.reshape(-1, channels)[at]
        d = rounded(2 * (value - target.reshape(-1, channels)[at]) / target.size)
        if op == "max_pool2d":
            top = np.array(cells)[kernel[cells].argmax(0)]
            assert np.array_equal(value, kernel[top, np.arange(channels)])
            expected[top, np.arange(channels)] += d
        else:
            expected[cells] += d.astype(float) / len(cells)
    got = plan.gradients()[0].reshape(kernel.shape)
    assert len(windows) > 9 and is_bfloat16(got)
    np.testing.assert_allclose(got, expected, rtol=2**-7.99, atol=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in ref.ACTIVATIONS if kind != "softmax"])
def test_activations_of_all_sizes(kind, rng):
    """Every bfloat16 number from 2^-20 to 2^6, both signs, through a convolution by one."""
    bits = np.arange(0x3580, 0x4280, dtype=np.uint32)
    x = both_signs(bits)
    net = Net(rng, "bfloat16")
    v = net.conv(net.input((1, x.size, 1)), 1, bias=False)
    net.variables[0].assign(np.ones((1, 1, 1, 1), np.float32))
    y = net.act(v, kind)
    got = net.plan(1, [v, y]).forward([x.reshape(1, 1, -1, 1)])
    assert np.array_equal(got[0].ravel(), x)
    expected = net.evaluate([x.reshape(1, 1, -1, 1)])[y]
    finite = np.abs(expected) < 3e38
    np.testing.assert_allclose(got[1][finite], expected[finite], rtol=2**-7, atol=2**-12,
                               err_msg=kind)


def test_slope_of_swish_of_all_sizes(rng):
    """Every bfloat16 number from 2^-10 to 2^6 as the bias of a convolution, whose gradient is that
    of the value."""
    x = both_signs(np.arange(0x3A80, 0x4280, dtype=np.uint32))
    net = Net(rng, "bfloat16")
    y = net.act(net.conv(net.input((1, 1, 1)), x.size), "swish")
    net.variables[1].assign(x)
    plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 1, [net.variables[1]])
    plan.train([np.zeros((1, 1, 1, 1), np.float32)], [np.zeros((1, 1, 1, x.size), np.float32)],
               learning_rate=0.0)
    value, slope, size = swish_slopes(x)
    dy = 2 * value / x.size
    assert (np.abs(plan.gradients()[0] - dy * slope) <= 2**-6 * np.abs(dy) * size + 1e-37).all()


def both_signs(bits):
    return np.concatenate([bits << 16, (bits | 0x8000) << 16]).view(np.float32)


def test_bits_depend_on_nothing_but_the_image(rng):
    net, outputs = frozen_net(rng)
    net.dtype = "bfloat16"
    feeds = net.draw(16)[0]
    expected = net.plan(16, outputs).forward([feeds])
    assert any(np.any(a != b) for a, b in zip(expected, in_float32(net, outputs, feeds),
                                              strict=True))
    for n in (1, 2, 4):
        with threads(n):
            pool = _core.Pool()
            for batch in (5, 2, 1):
                plan = net.plan(batch, outputs, pool)
                for first in (0, 16 - batch):
                    rows = slice(first, first + batch)
                    for e, y in zip(expected, plan.forward([feeds[rows]]), strict=True):
                        assert np.array_equal(e[rows], y)


def in_float32(net, outputs, feeds):
    net.dtype = "float32"
    results = net.plan(16, outputs).forward([feeds])
    net.dtype = "bfloat16"
    return results


def test_half_the_memory_and_outputs_of_float32(rng):
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        net = Net(rng, dtype)
        x = net.act(net.norm(net.conv(net.input((32, 32, 3)), 32, 3), training=True))
        x = net.norm(net.conv(x, 32, 3), training=True)
        y = net.act(net.dense(net.add("global_avg_pool", x), 4), "softmax")
        plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 8)
        sizes[dtype] = {name: size for name, op, size in plan.steps() if op != "reorder"}
        sizes[dtype]["arena"] = plan.arena_bytes
    for name, size in sizes["bfloat16"].items():
        head = name.startswith(("global", "dense", "activation_8"))
        factor = 1 if head else 0.5
        assert size == pytest.approx(sizes["float32"][name] * factor, rel=0.1), name


def test_a_layer_may_ask_for_float32(rng):
    """Nothing is fused over a change of type, and no value is rounded in a float32 layer."""
    graph = _core.Graph(2)
    x = graph.input((6, 6, 3))
    kernels = [_core.Variable((3, 3, 3, 8)), _core.Variable((1, 1, 8, 8))]
    for kernel in kernels:
        kernel.assign(rng.normal(size=kernel.shape).astype(np.float32))
    graph.dtype = "bfloat16"
    x = graph.add("conv2d", [x], [kernels[0]], "first")
    graph.dtype = "float32"
    y = graph.add("activation", [x], [], "act", kind="sigmoid")
    z = graph.add("conv2d", [y], [kernels[1]], "second")
    plan = _core.Plan(graph, (0,), (x, y, z), _core.Pool())
    a, b, c = plan.forward([rng.normal(size=(2, 6, 6, 3)).astype(np.float32)])
    assert is_bfloat16(a) and not is_bfloat16(b) and not is_bfloat16(c)
    np.testing.assert_allclose(b, 1 / (1 + np.exp(-a.astype(float))), rtol=1e-5)
    assert graph.node(z)[4] == "float32" and graph.node(x)[4] == "bfloat16"


def rounded(values):
    """To bfloat16, as float32."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def is_bfloat16(values):
    return not np.any(values.view(np.uint32) & 0xFFFF)


def test_types_of_a_graph():
    graph = _core.Graph(1)
    assert graph.dtype == "float32"
    for wrong in ("float16", None, 3):
        with pytest.raises(ValueError, match="'float32' or 'bfloat16', not"):
            graph.dtype = wrong


@pytest.mark.parametrize("name", ["VGG16", "ResNet50", "InceptionV3", "Xception", "DenseNet121",
                                  "MobileNetV2", "EfficientNetB0"])
def test_features_of_networks(name, rng):
    """Random weights, beside float32's features."""
    shape = (96, 96, 3)
    keras.utils.set_random_seed(1)
    network = getattr(keras.applications, name)(
        include_top=False, weights=None, pooling="avg", input_shape=shape)
    x = rng.uniform(-1, 1, (3, *shape)).astype(np.float32)
    expected = network.predict(x, verbose=0)
    for layer in network.layers:
        layer.dtype_policy = "mixed_bfloat16"
    got = network.predict(x, verbose=0)
    error = np.abs(got - expected).max()
    assert 0 < error <= FEATURES * np.abs(expected).max()
    assert np.array_equal(network.predict(x[1:2], verbose=0)[0], got[1])


@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet121"])
def test_loss_falls_as_in_float32(name, rng):
    """Ten steps through a whole network on eight images."""
    x = rng.uniform(-1, 1, (8, 64, 64, 3)).astype(np.float32)
    y = np.arange(8) % 4
    runs = {}
    for precision in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(1)
        network = getattr(keras.applications, name)(
            include_top=False, weights=None, pooling="avg", input_shape=(64, 64, 3))
        model = keras.Sequential([network, keras.layers.Dense(4, activation="softmax")])
        model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy",
                      precision=precision)
        runs[precision] = [model.train_on_batch(x, y) for _ in range(10)]
    first, last = (np.array([run[i] for run in runs.values()]) for i in (0, -1))
    assert first[0] == pytest.approx(first[1], rel=FEATURES)
    assert np.all(last < 0.5 * first), runs
