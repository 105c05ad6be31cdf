"""Winograd's algorithm against float64, per layer on the layer's own input."""

import numpy as np
import pytest
from op_net import Net, training_plan

import tlfast as tf
from tlfast import _core

# Largest error of one layer, in parts of the layer's largest value (the bound the project set).
TOLERANCE = 5e-5
SHAPES = [  # rows, height, width, in, out, pads
    (2, 14, 14, 64, 64, (1, 1, 1, 1)),
    (3, 11, 10, 64, 96, (1, 1, 1, 1)),
    (1, 9, 15, 80, 64, (1, 1, 1, 1)),
    (2, 13, 13, 64, 64, (0, 0, 0, 0)),
    (1, 30, 31, 272, 64, (1, 0, 0, 1)),
    (1, 10, 10, 512, 64, (1, 1, 1, 1)),
]
MANY_TILES = (6, 40, 41, 64, 64, (1, 1, 1, 1))


@pytest.fixture(autouse=True)
def winograd_again():
    yield
    tf.set_exact(False)
    tf.set_num_threads(0)


def variable(values: np.ndarray) -> _core.Variable:
    made = _core.Variable(values.shape)
    made.assign(values)
    return made


def reference(x: np.ndarray, kernel: np.ndarray, pads: tuple) -> np.ndarray:
    t, b, left, right = pads
    x = np.pad(x.astype(np.float64), ((0, 0), (t, b), (left, right), (0, 0)))
    h, w = x.shape[1] - 2, x.shape[2] - 2
    return sum(
        x[:, i : i + h, j : j + w] @ kernel[i, j].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )


class Layer:
    """convolution + bias + batch norm (+ residual) + activation as one step."""

    def __init__(self, rng, shape, activation="relu", residual=False) -> None:
        _, self.h, self.w, n_in, n_out, self.pads = shape
        self.kernel = rng.normal(size=(3, 3, n_in, n_out)) / np.sqrt(9 * n_in)
        self.bias = rng.normal(size=n_out)
        self.norm = [
            rng.uniform(0.5, 1.5, n_out),
            rng.normal(size=n_out) * 0.1,
            rng.normal(size=n_out) * 0.1,
            rng.uniform(0.5, 2, n_out),
        ]
        self.variables = [variable(v) for v in (self.kernel, self.bias, *self.norm)]
        self.activation, self.residual, self.n_in = activation, residual, n_in

    def run(self, x: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        kernel, bias, *norm = self.variables
        g = _core.Graph(len(x))
        feeds = [g.input((self.h, self.w, self.n_in))]
        # A pooling over one pixel puts the image into the layout of the plan.
        y = g.add("max_pool2d", feeds, [], "pool", pool=(1, 1))
        if self.residual:
            feeds.append(g.input(added.shape[1:]))
            other = g.add("max_pool2d", feeds[1:], [], "pool2", pool=(1, 1))
        y = g.add("conv2d", [y], [kernel, bias], "conv", pads=self.pads)
        y = g.add("batch_norm", [y], norm, "norm", epsilon=1e-3)
        if self.residual:
            y = g.add("add", [other, y], [], "add")
        if self.activation:
            y = g.add("activation", [y], [], "act", kind=self.activation)
        plan = _core.Plan(g, tuple(feeds), (y,), _core.Pool())
        return plan.forward([x] if added is None else [x, added])[0]

    def expected(self, x: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        gamma, beta, mean, variance = self.norm
        y = reference(x, self.kernel, self.pads) + self.bias
        y = (y - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        y = y if added is None else y + added
        limits = {"relu": (0, np.inf), "relu6": (0, 6), None: (-np.inf, np.inf)}
        return np.clip(y, *limits[self.activation])


def distance(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_layer(rng, shape, exact, activation):
    tf.set_exact(exact)
    layer = Layer(rng, shape, activation)
    x = rng.normal(size=(shape[0], *shape[1:4])).astype(np.float32)
    assert distance(layer.run(x), layer.expected(x)) < TOLERANCE


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_residual_is_added_before_the_activation(rng, shape):
    layer = Layer(rng, shape, "relu", residual=True)
    x = rng.normal(size=(shape[0], *shape[1:4])).astype(np.float32)
    added = rng.normal(size=layer.expected(x).shape).astype(np.float32)
    assert distance(layer.run(x, added), layer.expected(x, added)) < TOLERANCE


def test_it_is_used_and_can_be_switched_off(rng):
    """The two algorithms differ in the last bits, so equal bits would mean there is only one."""
    layer = Layer(rng, SHAPES[0])
    x = rng.normal(size=(2, 14, 14, 64)).astype(np.float32)
    fast = layer.run(x)
    tf.set_exact(True)
    exact = layer.run(x)
    assert not np.array_equal(fast, exact)
    assert distance(exact, layer.expected(x)) < distance(fast, layer.expected(x)) < TOLERANCE


def test_bits_do_not_depend_on_batch_place_or_threads(rng):
    layer = Layer(rng, SHAPES[4])
    x = rng.normal(size=(5, 30, 31, 272)).astype(np.float32)
    tf.set_num_threads(2)
    whole = layer.run(x)
    tf.set_num_threads(1)
    single = np.concatenate([layer.run(x[i : i + 1]) for i in range(5)])
    assert np.array_equal(whole, single)


def test_images_larger_than_one_pass(rng):
    """512 channels at 60 x 60: more tiles than the workspace holds at once."""
    layer = Layer(rng, (1, 60, 60, 512, 512, (1, 1, 1, 1)))
    x = rng.normal(size=(1, 60, 60, 512)).astype(np.float32)
    assert distance(layer.run(x), layer.expected(x)) < TOLERANCE


def test_more_channels_than_a_pass_has_room_for():
    """Made, not run: it would take gigabytes."""
    graph = _core.Graph(1)
    x = graph.input((10, 10, 240_000))
    kernel = _core.Variable((3, 3, 240_000, 32))
    y = graph.add("conv2d", [x], [kernel, None], "wide", pads=(1, 1, 1, 1))
    plan = _core.Plan(graph, (x,), (y,), _core.Pool())
    assert plan.arena_bytes > 4 * 100 * 240_000


def test_convolution_may_read_its_own_residual(rng):
    """y = conv(x) + x: the sum must not be written over x while it is read."""
    layer = Layer(rng, SHAPES[0], "relu")
    kernel, bias, *_ = layer.variables
    for exact in (False, True):
        tf.set_exact(exact)
        g = _core.Graph(2)
        feed = g.input((14, 14, 64))
        x = g.add("max_pool2d", [feed], [], "pool", pool=(1, 1))
        y = g.add("conv2d", [x], [kernel, bias], "conv", pads=(1, 1, 1, 1))
        y = g.add("add", [y, x], [], "add")
        plan = _core.Plan(g, (feed,), (y,), _core.Pool())
        image = rng.normal(size=(2, 14, 14, 64)).astype(np.float32)
        expected = reference(image, layer.kernel, (1, 1, 1, 1)) + layer.bias + image
        assert distance(plan.forward([image])[0], expected) < TOLERANCE


# ---- the gradient back to the source -------------------------------------------------------------


def gradient_of_the_image(rng, shape, trains_kernel: bool) -> tuple[np.ndarray, np.ndarray]:
    """What a training step computes and what is right. The image is the kernel of a dense layer
    that reads one-hot rows, so that kernel's gradient is the image's; the convolution's own kernel
    is frozen (packed once) or trained (packed in every step)."""
    rows, h, w, n_in, n_out, pads = shape
    net = Net(rng)
    picture = net.variable((rows, h * w * n_in), -1, 1)
    flat = net.add("dense", net.input((rows,)), weights=(picture, None))
    kernel = net.variable((3, 3, n_in, n_out), -0.1, 0.1)
    image = net.add("reshape", flat, shape=(h, w, n_in))
    y = net.add("conv2d", image, weights=(kernel, None), pads=pads)
    target = rng.normal(size=(rows, *net.shapes[y])).astype(np.float32)
    trainable = [picture, kernel] if trains_kernel else [picture]
    plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], rows, trainable)
    for values in (kernel.numpy(), rng.uniform(-0.1, 0.1, kernel.shape)):  # written between steps
        kernel.assign(values.astype(np.float32))
        got = plan.train([np.eye(rows, dtype=np.float32)], [target], learning_rate=0.0)[1][0]
    dy = 2 * (got.astype(np.float64) - target) / target.size
    top, bottom, left, right = pads
    dx = np.zeros((rows, h + top + bottom, w + left + right, n_in))
    for i in range(3):
        for j in range(3):
            rest = dx[:, i : i + dy.shape[1], j : j + dy.shape[2]]
            rest += dy @ kernel.numpy()[i, j].T.astype(np.float64)
    dx = dx[:, top : top + h, left : left + w]
    return plan.gradients()[0].reshape(dx.shape), dx


@pytest.mark.parametrize("trains_kernel", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_the_image(rng, shape, trains_kernel):
    got, expected = gradient_of_the_image(rng, shape, trains_kernel)
    assert distance(got, expected) < TOLERANCE


# ---- the gradient of the kernel and the bias -----------------------------------------------------


def gradients_of_the_weights(rng, shape, with_bias: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(computed, right) for the kernel and perhaps the bias of a convolution on a fixed image."""
    rows, h, w, n_in, n_out, pads = shape
    net = Net(rng)
    kernel = net.variable((3, 3, n_in, n_out), -0.1, 0.1)
    bias = net.variable((n_out,), -0.1, 0.1) if with_bias else None
    image = net.input((h, w, n_in))
    y = net.add("conv2d", net.add("max_pool2d", image, pool=(1, 1)), weights=(kernel, bias),
                pads=pads)  # fmt: skip
    target = rng.normal(size=(rows, *net.shapes[y])).astype(np.float32)
    trainable = [kernel, bias] if with_bias else [kernel]
    plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], rows, trainable)
    x = rng.normal(size=(rows, h, w, n_in)).astype(np.float32)
    got = plan.train([x], [target], learning_rate=0.0)[1][0]
    dy = 2 * (got.astype(np.float64) - target) / target.size
    top, bottom, left, right = pads
    x = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    dk = np.zeros((3, 3, n_in, n_out))
    for i in range(3):
        for j in range(3):
            piece = x[:, i : i + dy.shape[1], j : j + dy.shape[2]]
            dk[i, j] = piece.reshape(-1, n_in).T @ dy.reshape(-1, n_out)
    right_ones = [dk, dy.sum((0, 1, 2))]
    return list(zip(plan.gradients(), right_ones, strict=False))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, MANY_TILES, (20, 14, 13, 512, 64, (1, 1, 1, 1))])
def test_gradients_of_the_weights(rng, shape, with_bias):
    """The last shape has more tiles than one pass, the one before four parts of several slabs."""
    pairs = gradients_of_the_weights(rng, shape, with_bias)
    assert len(pairs) == 1 + with_bias
    for got, expected in pairs:
        assert distance(got.reshape(expected.shape), expected) < TOLERANCE


@pytest.mark.parametrize("shape", [SHAPES[1], MANY_TILES])
def test_gradients_do_not_depend_on_threads(shape):
    """Parts of the sums are one thread's (1, 2, 4 threads) or all threads' together (3)."""
    found = []
    for threads in (1, 2, 3, 4):
        tf.set_num_threads(threads)
        pairs = gradients_of_the_weights(np.random.default_rng(3), shape, True)
        image, _ = gradient_of_the_image(np.random.default_rng(3), shape, True)
        found.append([image, *(got for got, _ in pairs)])
    for others in zip(*found, strict=True):
        assert all(np.array_equal(others[0], other) for other in others[1:])


def test_gradients_of_the_weights_use_it(rng):
    """Exact convolutions are nearer to float64, so both algorithms exist."""
    errors = []
    for exact in (True, False):
        tf.set_exact(exact)
        (pair,) = gradients_of_the_weights(np.random.default_rng(5), SHAPES[0], False)
        errors.append(distance(pair[0].reshape(pair[1].shape), pair[1]))
    assert errors[0] < errors[1] < TOLERANCE
