"""Several layers in one step of training: a squeeze-and-excite's pool and product, norm and swish,
norm, residual sum and ReLU."""

import numpy as np
import pytest
from op_net import Net, check_forward, check_gradients, make_targets, threads, training_plan

from tlfast import _core

needs_bfloat16 = pytest.mark.skipif(
    not _core.has_bfloat16(), reason="this machine would emulate bfloat16")

# Difference of two ways to round a norm and a sum, relative to the length of the whole.
BFLOAT16 = 1e-2


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


def branch_and_residual(net, x, training, shortcut):
    """Values to add: the norm of the branch of a residual block, and what goes past it."""
    front = net.conv if len(net.shapes[x]) == 3 else net.dense
    channels = net.shapes[x][-1]
    if shortcut == "identity":
        return net.norm(front(x, channels), training=training), x
    first = net.norm(front(x, channels), training=training)
    second = net.norm(front(x, channels), training=training)
    return (second, first) if shortcut == "before" else (first, second)


def biases_in_front_of_norms(net):
    """Their gradients are zero where the norm takes the statistics of the batch."""
    return [net.nodes[inputs[0]][2][1] for op, inputs, _, attrs in net.nodes
            if op == "batch_norm" and attrs["training"]]


def joined(plan):
    return "add" not in [op for _, op, _ in plan.steps()]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shortcut", ["identity", "before", "after"])
@pytest.mark.parametrize("kind", ["relu", "relu6"])
@pytest.mark.parametrize("channels, shape", [(5, (7, 6, 3)), (20, (7, 6, 3)), (32, (3, 4, 3)),
                                             (20, (3,))])
def test_residual_sum_behind_a_norm(channels, shape, kind, shortcut, training, rng):
    net = Net(rng)
    front = net.conv if len(shape) == 3 else net.dense
    x = net.act(front(net.input(shape), channels), "tanh")
    for swap in (False, True):
        values = branch_and_residual(net, x, training, shortcut)
        x = net.act(net.add("add", *(values[::-1] if swap else values)), kind)
    y = net.dense(x, 3)
    batch = 3 if len(shape) == 3 else 16  # a norm of three numbers magnifies roundings
    plan = check_gradients(net, [y], batch=batch, directions=1,
                           flat=biases_in_front_of_norms(net))
    assert joined(plan)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("trainable", ["front", "branch", "norm", "shortcut", "shortcut's norm",
                                       "both norms"])
def test_residual_sum_with_frozen_parts(trainable, training, rng):
    """Gradients of the branch, of what goes past it, of both, or of the norm's weights alone; not
    joined where the norm needs none and the sum does."""
    net = Net(rng)
    x = net.act(net.conv(net.input((7, 6, 3)), 20), "tanh")
    n_front = len(net.variables)
    branch, residual = branch_and_residual(net, x, training, "before")
    y = net.conv(net.act(net.add("add", branch, residual)), 3)
    norms = [net.nodes[v][2][:2] for v in (branch, residual)]
    of = {"front": net.variables[:n_front], "branch": net.nodes[net.nodes[branch][1][0]][2],
          "norm": norms[0], "shortcut": net.nodes[net.nodes[residual][1][0]][2],
          "shortcut's norm": norms[1], "both norms": [*norms[0], *norms[1]]}
    plan = check_gradients(net, [y], batch=3, trainable=of[trainable],
                           flat=biases_in_front_of_norms(net))
    assert joined(plan) == (not trainable.startswith("shortcut"))


@pytest.mark.parametrize("reader", ["the norm", "the sum", "the result", "the residual later",
                                    "a later sum", "a later sum with more"])
def test_residual_sum_with_other_readers(reader, rng):
    net = Net(rng)
    x = net.act(net.conv(net.input((7, 6, 3)), 20), "tanh")
    branch, residual = branch_and_residual(net, x, True, "identity")
    total = net.add("add", residual, branch)
    result = net.act(total)
    read = {"the norm": branch, "the sum": total, "the result": result,
            "the residual later": residual}.get(reader)
    if read is not None:
        outputs = [net.conv(read, 4), result]
    elif reader == "a later sum":
        outputs = [net.add("add", result, residual)]
    else:
        outputs = [net.add("add", net.add("add", result, residual), net.act(result, "tanh"))]
    plan = check_gradients(net, outputs, batch=3, flat=biases_in_front_of_norms(net))
    first_sum_alone = f"add_{total}" in [name for name, _, _ in plan.steps()]
    assert first_sum_alone == (reader in ("the norm", "the sum"))


@pytest.mark.parametrize("case", ["tanh", "leaky", "swish", "nothing", "three", "channels"])
def test_sums_that_a_norm_does_not_take(case, rng):
    net = Net(rng)
    x = net.conv(net.input((7, 6, 3)), 20)
    branch, residual = branch_and_residual(net, x, True, "identity")
    if case == "channels":
        residual = net.add("reshape", net.add("global_avg_pool", x), shape=(1, 1, 20))
    total = net.add("add", branch, residual, *([x] if case == "three" else []))
    kinds = {"tanh": ("tanh", {}), "leaky": ("relu", {"alpha": 0.2}), "swish": ("swish", {}),
             "nothing": (None, {})}
    kind, attrs = kinds.get(case, ("relu", {}))
    y = net.conv(total if kind is None else net.act(total, kind, **attrs), 3)
    plan = check_gradients(net, [y], batch=3, flat=biases_in_front_of_norms(net))
    assert "add" in [op for _, op, _ in plan.steps()]


def test_residual_sum_of_an_input(rng):
    """The residual is the plan's own input: no gradient, and nobody writes over it."""
    net = Net(rng)
    x = net.input((7, 6, 20))
    branch, residual = branch_and_residual(net, x, True, "identity")
    y = net.conv(net.act(net.add("add", branch, residual)), 3)
    plan = check_gradients(net, [y], batch=3, flat=biases_in_front_of_norms(net))
    assert joined(plan)


@pytest.mark.parametrize("channels", [5, 20, 32])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_joined_and_apart_are_equal(dtype, channels, rng):
    """A sum that is an output too is a step of its own: the same step of training otherwise; bit by
    bit in float32, in bfloat16 but for the roundings of the norm and of the sum."""
    net = Net(rng, dtype)
    x = net.conv(net.input((7, 6, 3)), channels)
    branch, residual = branch_and_residual(net, x, True, "before")
    total = net.add("add", branch, residual)
    y = net.conv(net.act(total), 3)
    feeds, found = net.draw(3), []
    targets = make_targets(net, [y], [{"kind": "mean_squared_error"}], 3, rng)
    for outputs, sizes in ([y], 1), ([y, total], 2):
        specs = [{"kind": "mean_squared_error", "weight": w} for w in (1.0, 0.0)[:sizes]]
        plan = training_plan(net, outputs, specs, 3)
        assert joined(plan) == (sizes == 1)
        goals = [*targets, np.zeros((3, *net.shapes[total]), np.float32)][:sizes]
        _, values = plan.train(feeds, goals, learning_rate=0.0)
        found.append([values[0].ravel(), np.concatenate([g.ravel() for g in plan.gradients()])])
    for one, other in zip(*found, strict=True):
        if dtype == "float32":
            assert np.array_equal(one, other)
        else:
            assert np.linalg.norm(one - other) <= BFLOAT16 * np.linalg.norm(other)
