"""Inference plans: joins and norms in one step, results that take the memory of their source, and
the loops of prediction: swish, pooled means, heads."""

import itertools

import numpy as np
import pytest
from op_net import Net, assert_close, check_forward, threads

from tlfast import _core


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def ops_of(plan):
    return [op for _, op, _ in plan.steps()]


# ---- joins and norms -----------------------------------------------------------------------------


def dense_block(net, widths, size, activation):
    """Convolutions that read all before them, as DenseNet joins them; -> last value, joins."""
    x = net.conv(net.input((*size, 6)), widths[0])
    joins = []
    for width in widths[1:]:
        y = net.norm(x)
        y = net.act(y, activation) if activation else y
        y = net.conv(y, width, 3, pads=(1, 1, 1, 1))
        x = net.add("concat", x, y)
        joins.append(x)
    y = net.norm(x)
    return net.act(y, activation) if activation else y, joins


@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", None])
@pytest.mark.parametrize("widths", [(16, 16, 32), (48, 32, 16, 16), (12, 16, 5), (3, 2)], ids=str)
def test_joined_norms(widths, activation, rng):
    for size in ((7, 5), (8, 4)):
        net = Net(rng)
        last, _ = dense_block(net, widths, size, activation)
        plan = check_forward(net, [last], 3)
        assert "concat" not in ops_of(plan)
        # the first norm is folded into the first convolution
        assert ops_of(plan).count("batch_norm") == len(widths) - 1 + 1


def test_a_join_that_others_read_is_made(rng):
    net = Net(rng)
    last, joins = dense_block(net, (16, 16, 16), (6, 6), "relu")
    plan = check_forward(net, [last, joins[-1]], 2)
    assert ops_of(plan).count("concat") == 1
    net = Net(rng)
    last, joins = dense_block(net, (16, 16, 16), (6, 6), "relu")
    other = net.add("global_max_pool", joins[-1])
    plan = check_forward(net, [last, other], 2)
    assert ops_of(plan).count("concat") == 1


def test_a_value_joined_with_itself(rng):
    net = Net(rng)
    x = net.conv(net.input((5, 5, 4)), 16)
    check_forward(net, [net.norm(net.add("concat", x, x))], 2)
    net = Net(rng)
    x = net.input((8,))
    joined = net.add("concat", x, net.dense(x, 5))
    assert "concat" not in ops_of(check_forward(net, [net.norm(joined)], 3))


def test_batch_statistics_are_not_joined(rng):
    net = Net(rng)
    x = net.conv(net.input((5, 5, 4)), 16)
    joined = net.add("concat", x, net.conv(x, 16))
    plan = check_forward(net, [net.norm(joined, training=True)], 2)
    assert "concat" in ops_of(plan)


@pytest.mark.parametrize("shape", [(4, 4, 3), (5, 3, 3), (16, 1, 1), (3,)], ids=str)
def test_norm_of_few_channels(shape, rng):
    net = Net(rng)
    check_forward(net, [net.norm(net.input(shape))], 5)


# ---- in place ------------------------------------------------------------------------------------


def squeeze(net, x, reader):
    """Squeeze-and-excite as in EfficientNet; `reader`: who else reads the swish."""
    y = net.act(net.conv(x, 16, 3, pads=(1, 1, 1, 1)), "swish")
    before = net.act(y, "tanh") if reader == "before" else None
    s = net.add("reshape", net.add("global_avg_pool", y), shape=(1, 1, 16))
    s = net.act(net.conv(net.act(net.conv(s, 4), "swish"), 16), "sigmoid")
    z = net.add("multiply", y, s)
    values = [z]
    if reader == "after":
        values.append(net.add("add", y, z))
    elif reader == "before":
        values.append(before)
    elif reader == "output":
        values.append(y)
    elif reader == "view":
        values.append(net.add("reshape", y, shape=(int(np.prod(net.shapes[y])),)))
    return values


@pytest.mark.parametrize("reader", ["nobody", "before", "after", "output", "view"])
def test_products_in_place(reader, rng):
    net = Net(rng)
    x = net.conv(net.input((6, 5, 4)), 16)
    check_forward(net, squeeze(net, x, reader), 3)


def test_in_place_saves_memory(rng):
    net = Net(rng)
    y = net.conv(net.input((32, 32, 3)), 64, 3, pads=(1, 1, 1, 1))
    plan = check_forward(net, [net.add("global_avg_pool", net.act(y, "swish"))], 2)
    image = 2 * 32 * 32 * 4
    assert plan.arena_bytes < 1.5 * 64 * image


def test_an_input_is_not_written_over(rng):
    net = Net(rng)
    x = net.input((4, 4, 16))
    y = net.act(x, "swish")
    check_forward(net, [y, net.add("add", x, y)], 2)


PAIRS = list(itertools.product(["swish", "relu", "tanh"], repeat=2))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_activations_in_a_row(first, second, rng):
    net = Net(rng)
    x = net.conv(net.input((5, 7, 3)), 24, 3)
    a = net.act(x, first)
    check_forward(net, [net.act(net.act(a, second), first)], 2)
    check_forward(net, [net.act(a, second), a], 2)


# ---- loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 15, 16, 17, 4095, 4097, 9000])
def test_swish(n, rng):
    net = Net(rng)
    y = net.act(net.input((n,)), "swish")
    x = np.concatenate([rng.normal(0, 4, n - n // 4), rng.uniform(-150, 150, n // 4)])
    x = x.astype("f4")[None]
    got = net.plan(1, [y]).forward([x])[0]
    exact = x.astype(float) / (1 + np.exp(-x.astype(float)))
    assert np.abs(got - exact).max() <= 1e-6 * max(1, np.abs(exact).max())
    large = np.abs(exact) > 1e-30
    assert (np.abs(got - exact)[large] <= 1e-6 * np.abs(exact[large])).all()
    special = net.plan(1, [y]).forward([np.full((1, n), np.nan, "f4")])[0]
    assert np.isnan(special).all()
    assert (net.plan(1, [y]).forward([np.zeros((1, n), "f4")])[0] == 0).all()


@pytest.mark.parametrize("units", [1, 2, 15, 16, 17, 100, 512, 513, 1100])
@pytest.mark.parametrize("inputs", [1, 7, 8, 65])
def test_heads(inputs, units, rng):
    net = Net(rng)
    y = net.dense(net.input((inputs,)), units, bias=units % 2 == 0)
    feeds = net.draw(9)
    expected = net.evaluate(feeds)[y]
    bits = []
    for n in (1, 2, 3):
        with threads(n):
            graph, values = net.lower(9)
            plan = _core.Plan(graph, values, (y,), _core.Pool())
            bits.append(plan.forward(feeds)[0])
            assert_close(bits[-1], expected)
    assert all(np.array_equal(b, bits[0]) for b in bits)
    alone = net.plan(1, [y])
    for row in range(9):
        got = alone.forward([feeds[0][row : row + 1]])[0]
        assert np.array_equal(got[0], bits[0][row]), "a row depends on its neighbours"


@pytest.mark.parametrize("channels", [1, 8, 16, 24, 33])
@pytest.mark.parametrize("kind", ["global_avg_pool", "global_max_pool"])
def test_pooled(kind, channels, rng):
    net = Net(rng)
    x = net.input((19, 17, channels))
    check_forward(net, [net.add(kind, x), net.add(kind, net.conv(x, 2 * channels, 3))], 3)
