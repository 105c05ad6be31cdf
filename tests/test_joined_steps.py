"""Two layers in one step of training: a squeeze-and-excite's pool and product, norm and swish."""

import pytest
from op_net import Net, check_forward, check_gradients, threads


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def test_squeeze_and_excitation(rng):
    net = Net(rng)
    x = net.act(net.norm(net.conv(net.input((7, 6, 3)), 20), training=True), "swish")
    s = net.add("reshape", net.add("global_avg_pool", x), shape=(1, 1, 20))
    s = net.act(net.conv(s, 5), "swish")
    s = net.act(net.conv(s, 20), "sigmoid")
    y = net.conv(net.add("multiply", x, s), 12)
    check_forward(net, [y], 2)
    flat = [net.nodes[1][2][1]]
    check_gradients(net, [y], batch=3, flat=flat)


READERS = ["nobody", "before", "between", "after", "output", "shared", "pool", "itself"]


def excited(net, x, reader):
    """Outputs of a squeeze-and-excite of x; `reader`: who else reads x, or shares memory with the
    product's gradient."""
    channels = net.shapes[x][-1]
    before = net.act(x, "tanh") if reader == "before" else None
    r = net.depthwise(x, pads=(1, 1, 1, 1)) if reader == "shared" else None
    s = net.add("global_avg_pool", x)
    between = net.act(x if r is None else r, "tanh") if reader in ("between", "shared") else None
    pool = net.add("global_avg_pool", x) if reader == "pool" else None
    s = net.dense(net.add("multiply", s, s if pool is None else pool), channels)
    s = net.act(net.add("reshape", s, shape=(1, 1, channels)), "sigmoid")
    y = net.add("multiply", x, s)
    if reader == "itself":
        y = net.add("multiply", net.add("multiply", x, x), y)
    z = net.conv(y if r is None else net.add("add", y, r), 12)
    others = [v for v in (before, between) if v is not None]
    others += [net.act(x, "tanh")] if reader == "after" else []
    return [z, *others, *([x] if reader == "output" else [])]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("channels, layer", [(20, "conv"), (32, "conv"), (20, "dense")])
def test_squeeze_and_excitation_with_other_readers(channels, layer, reader, frozen, rng):
    net = Net(rng)
    x = net.act(getattr(net, layer)(net.input((7, 6, 3)), channels), "swish")
    outputs = excited(net, x, reader)
    trainable = net.trainable()[:2] if frozen else None
    check_gradients(net, outputs, batch=3, trainable=trainable, directions=1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("trainable", ["all", "in front", "norm"])
@pytest.mark.parametrize("shape", [(7, 6, 3), (3,)])
@pytest.mark.parametrize("channels", [5, 20, 32])
def test_swish_behind_a_norm(channels, shape, trainable, training, rng):
    """One step; whether its source needs a gradient, its weights, or both."""
    net = Net(rng)
    front = net.conv if len(shape) == 3 else net.dense
    n = net.norm(front(net.input(shape), channels), training=training)
    first, weights = net.trainable()[:2], net.trainable()[2:]
    y = net.dense(net.act(n, "swish"), 3)
    wanted = {"all": None, "in front": first, "norm": weights}[trainable]
    plan = check_gradients(net, [y], batch=3, trainable=wanted, flat=first[1:] * training)
    assert "activation" not in [op for _, op, _ in plan.steps()]


def test_swish_beside_other_readers_of_a_norm(rng):
    net = Net(rng)
    n = net.norm(net.conv(net.input((5, 6, 3)), 20), training=True)
    plan = check_gradients(net, [net.act(n, "swish"), net.conv(n, 5)], batch=3,
                           flat=net.trainable()[1:2])
    assert "activation" in [op for _, op, _ in plan.steps()]
