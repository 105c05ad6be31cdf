"""Plans: what an inference plan fuses, values with many readers, gradients that meet, memory."""

import itertools

import numpy as np
import pytest
from op_net import Net, assert_close, check_forward, check_gradients, threads, training_plan

from tlfast import _core

KINDS = ["conv2d", "depthwise_conv2d"]


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def ops_of(plan):
    return [op for _, op, _ in plan.steps()]


# ---- fusion into convolutions -----------------------------------------------------------------

STAGES = ("norm", "add", "act")
ORDERS = [p for n in range(4) for p in itertools.permutations(STAGES, n)]


def chain(net, order, kind, residual, channels, swapped=False, activation="relu"):
    """A convolution and then the stages in this order; the inner values are returned too."""
    x = net.input((7, 5, 6))
    other = net.conv(x, channels, 3, pads=(1, 1, 1, 1))
    y = net.conv(x, channels) if kind == "depthwise_conv2d" else x
    if kind == "depthwise_conv2d":
        y = net.depthwise(y, pads=(1, 1, 1, 1), bias=len(order) % 2 == 0)
    else:
        y = net.conv(y, channels, 3, pads=(1, 1, 1, 1), bias=len(order) % 2 == 0)
    made = [y]
    for stage in order:
        if stage == "norm":
            y = net.norm(y)
        elif stage == "act":
            y = net.act(y, activation)
        else:
            y = net.add("add", *((other, y) if swapped else (y, other)))
        made.append(y)
    if residual == "used later":
        made.append(net.add("multiply", y, other))
    return made, other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_fusion_in_every_order(order, kind, rng):
    for channels, swapped in ((12, False), (16, True)):
        net = Net(rng)
        made, _ = chain(net, order, kind, None, channels, swapped)
        plan = check_forward(net, [made[-1]], 3)
        if order == STAGES:  # the order of residual networks is fused whole
            assert ops_of(plan)[-1] == kind or ops_of(plan)[-2:] == [kind, "reorder"]
            assert not {"batch_norm", "add", "activation"} & set(ops_of(plan))


def test_a_residual_in_another_layout_is_still_fused(rng):
    """Beside a gradient, plans are blocked; only convolutions of few channels stay in nhwc there:
    the frozen part of this one adds a residual of each layout to a result of the other."""
    net = Net(rng)
    x = net.conv(net.input((7, 5, 6)), 24, 3, pads=(1, 1, 1, 1))
    blocked = net.depthwise(x, pads=(1, 1, 1, 1))
    y = net.act(net.add("add", net.conv(net.conv(x, 4), 24, 3, pads=(1, 1, 1, 1)), blocked), "relu")
    plain = net.conv(net.conv(y, 4), 24, 3, pads=(1, 1, 1, 1))
    z = net.conv(net.act(net.add("add", net.conv(y, 24), plain), "relu"), 8)
    head = [v for v in net.nodes[z][2] if v is not None]
    plan = check_gradients(net, [net.add("global_avg_pool", z)], trainable=head)
    assert not {"add", "activation"} & set(ops_of(plan))


@pytest.mark.parametrize("order", [o for o in ORDERS if "add" in o], ids="-".join)
def test_residual_that_is_read_again(order, rng):
    for kind in KINDS:
        net = Net(rng)
        made, other = chain(net, order, kind, "used later", 12)
        check_forward(net, [made[-1]], 2)
        net = Net(rng)
        made, other = chain(net, order, kind, None, 16)
        check_forward(net, [made[-1], other], 2)


@pytest.mark.parametrize("order", [o for o in ORDERS if o], ids="-".join)
def test_outputs_that_are_inner_values(order, rng):
    net = Net(rng)
    made, _ = chain(net, order, "conv2d", None, 12)
    check_forward(net, made, 2)
    for v in made[:-1]:
        check_forward(net, [v, made[-1]], 2)


@pytest.mark.parametrize(
    "kind",
    [
        "relu",
        "relu6",
        "swish",
        "sigmoid",
        "tanh",
        "elu",
        "hard_swish",
        "hard_sigmoid",
        "exponential",
        "softplus",
        "gelu",
        "leaky_relu",
        "linear",
        "softmax",
    ],
)
def test_fused_activations(kind, rng):
    for channels in (5, 16):
        net = Net(rng)
        made, _ = chain(net, STAGES, "conv2d", None, channels, activation=kind)
        # a reader behind it sees the padding of a blocked layout if it is not zero
        y = net.conv(made[-1], 7, 3, pads=(1, 1, 1, 1))
        check_forward(net, [y], 2)


def test_fused_activation_with_its_own_alpha(rng):
    net = Net(rng)
    y = net.act(net.conv(net.input((5, 4, 3)), 12), "leaky_relu", alpha=0.3)
    y = net.act(net.conv(y, 8), "elu", alpha=0.5)
    y = net.act(net.conv(y, 8), "relu", alpha=0.1)
    check_forward(net, [y], 2)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("channels", [12, 16])
def test_a_convolution_added_to_its_own_input(size, channels, rng):
    net = Net(rng)
    pads = (size // 2,) * 4
    x = net.conv(net.input((9, 8, 3)), channels)
    y = net.add("add", net.conv(x, channels, size, pads=pads), x)
    y = net.add("add", y, net.act(net.norm(net.conv(y, channels, size, pads=pads))))
    y = net.add("add", net.depthwise(y, size, pads=pads), y)
    check_forward(net, [y], 2)
    check_gradients(net, [y])


def test_residual_in_another_layout(rng):
    """12 and 3 channels joined are not blocked; the convolution beside them is."""
    net = Net(rng)
    x = net.input((6, 7, 3))
    joined = net.add("concat", net.conv(x, 12), x)
    y = net.add("add", net.conv(joined, 15, 3, pads=(1, 1, 1, 1)), joined)
    z = net.add("add", joined, net.conv(net.conv(x, 16), 15))
    check_forward(net, [y], 2)
    check_forward(net, [y, z], 2)
    check_forward(net, [z, joined], 2)


def test_residual_made_after_the_convolution(rng):
    net = Net(rng)
    x = net.conv(net.input((6, 7, 3)), 16)
    y = net.norm(net.conv(x, 16))
    shortcut = net.conv(x, 16, bias=False)
    y = net.act(net.add("add", y, shortcut))
    check_forward(net, [y], 2)


def test_residual_that_is_an_input_or_a_view(rng):
    net = Net(rng)
    x = net.input((4, 4, 16))
    flat = net.add("reshape", x, shape=(256,))
    image = net.add("reshape", flat, shape=(4, 4, 16))
    y = net.add("add", net.conv(net.act(image), 16), image)
    z = net.add("add", net.conv(x, 16), x)
    check_forward(net, [y, z, flat], 2)
    base = net.conv(x, 16)
    view = net.add("reshape", base, shape=(16, 16))
    w = net.add("add", net.conv(net.act(base), 16), base)
    check_forward(net, [w, net.dense(view, 3)], 2)


def test_the_same_value_twice(rng):
    net = Net(rng)
    x = net.conv(net.input((5, 4, 3)), 12)
    for op in ("add", "multiply", "subtract", "average", "maximum"):
        check_forward(net, [net.add(op, x, x)], 2)
    y = net.add("concat", x, x)
    y = net.add("multiply", y, y)
    check_forward(net, [y], 2)
    check_gradients(net, [net.add("add", y, y)])


@pytest.mark.parametrize("pads", [(0, 1, 0, 1), (3, 2, 1, 3), (1, 0, 2, 0)])
def test_padding_moves_into_windows(pads, rng):
    for front in ("conv", "input"):
        net = Net(rng)
        x = net.input((9, 8, 5))
        x = net.act(net.conv(x, 12)) if front == "conv" else x
        padded = net.add("zero_pad2d", x, pads=pads)
        a = net.conv(padded, 7, (7, 7), strides=(2, 2))
        b = net.depthwise(padded, 3)
        plan = check_forward(net, [a], 2)
        assert "zero_pad2d" not in ops_of(plan)
        check_forward(net, [a, b], 2)  # 3 is too much for the depthwise window
        check_forward(net, [a, padded], 2)
        if front == "conv":
            check_gradients(net, [a, b])


def test_padding_in_front_of_a_max_pool(rng):
    for kind, folds in (("relu", True), ("relu6", True), ("tanh", False), ("leaky_relu", False)):
        net = Net(rng)
        x = net.act(net.conv(net.input((8, 7, 3)), 12), kind)
        padded = net.add("zero_pad2d", x, pads=(1, 1, 1, 1))
        y = net.add("max_pool2d", padded, pool=(3, 3), strides=(2, 2))
        plan = check_forward(net, [y], 2)
        assert ("zero_pad2d" not in ops_of(plan)) == folds
        check_gradients(net, [y])
        net = Net(rng)  # ReLU with a slope is negative
        x = net.act(net.conv(net.input((8, 7, 3)), 12), "relu", alpha=0.5)
        padded = net.add("zero_pad2d", x, pads=(1, 1, 1, 1))
        check_forward(net, [net.add("max_pool2d", padded, pool=(3, 3), strides=(2, 2))], 2)


def test_average_pool_counts_explicit_padding(rng):
    net = Net(rng)
    x = net.add("zero_pad2d", net.act(net.input((8, 7, 3))), pads=(1, 1, 1, 1))
    check_forward(net, [net.add("avg_pool2d", x, pool=(3, 3), strides=(2, 2))], 2)


def test_batch_norm_in_training_mode_is_not_folded(rng):
    net = Net(rng)
    y = net.act(net.norm(net.conv(net.input((5, 4, 3)), 12), training=True))
    plan = check_forward(net, [y], 3)
    assert "batch_norm" in ops_of(plan)


def test_weights_written_between_runs(rng):
    """Packed and folded copies follow the variables."""
    net = Net(rng)
    y = net.dense(
        net.add("global_avg_pool", net.act(net.norm(net.conv(net.input((5, 4, 3)), 12)))), 3
    )
    feeds = net.draw(2)
    pool = _core.Pool()
    plan, other = net.plan(2, [y], pool), net.plan(2, [y], pool)
    for variable in net.variables:
        plan.forward(feeds)
        variable.assign(variable.numpy() * 1.25 + 0.1)
        expected = net.evaluate(feeds)[y]
        assert_close(plan.forward(feeds)[0], expected)
        assert_close(other.forward(feeds)[0], expected)


# ---- values with several readers, several outputs and losses ----------------------------------


def test_shared_weights(rng):
    net = Net(rng)
    kernel, bias = net.variable((3, 3, 12, 12)), net.variable((12,))
    x = net.conv(net.input((7, 6, 3)), 12)
    y = net.add("conv2d", x, weights=(kernel, bias), pads=(1, 1, 1, 1))
    z = net.add("conv2d", net.act(y, "tanh"), weights=(kernel, None), strides=(2, 2))
    w = net.add("conv2d", z, weights=(kernel, bias), dilation=(1, 1), pads=(1, 1, 1, 1))
    check_forward(net, [w, y], 2)
    check_gradients(net, [w, y])


def test_a_shared_dense_layer_and_batch_norm(rng):
    net = Net(rng)
    kernel = net.variable((8, 8))
    gamma, beta = net.variable((8,), 0.5, 1.5), net.variable((8,))
    mean, variance = net.variable((8,)), net.variable((8,), 0.5, 1.5)
    a = net.dense(net.input((8,)), 8)
    b = net.dense(net.input((8,)), 8)
    outs = []
    for x in (a, b):
        y = net.add("dense", x, weights=(kernel, None))
        outs.append(
            net.add(
                "batch_norm",
                y,
                weights=(gamma, beta, mean, variance),
                epsilon=1e-3,
                momentum=0.9,
                training=False,
            )
        )
    trainable = [v for v in net.trainable() if v not in (mean, variance)]
    check_gradients(net, [net.add("add", *outs)], batch=4, trainable=trainable)


def test_many_readers(rng):
    net = Net(rng)
    x = net.act(net.conv(net.input((6, 5, 3)), 12), "tanh")
    a = net.conv(x, 12, 3, pads=(1, 1, 1, 1))
    b = net.depthwise(x, pads=(1, 1, 1, 1))
    c = net.add("avg_pool2d", x, pool=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    d = net.add("multiply", x, a)
    y = net.add("add", a, b, c, d, x)
    g = net.add("global_avg_pool", y)
    h = net.add("global_max_pool", x)
    out = net.dense(net.add("concat", g, h), 4)
    flat = net.dense(net.add("reshape", x, shape=(6 * 5 * 12,)), 3)
    check_forward(net, [out, flat, x, d], 2)
    check_gradients(net, [out, flat, x])


def test_several_outputs_and_losses(rng):
    net = Net(rng)
    x = net.act(net.conv(net.input((5, 4, 3)), 12), "tanh")
    z = net.dense(net.add("global_avg_pool", x), 4)
    p = net.act(z, "softmax")
    q = net.act(net.dense(net.add("global_max_pool", x), 3), "sigmoid")
    specs = [
        {"kind": "categorical_crossentropy", "weight": 0.5},
        {"kind": "binary_crossentropy", "weight": 2.0},
        {"kind": "mean_absolute_error", "weight": 0.25},
    ]
    check_gradients(net, [p, q, x], specs, batch=4, sources=[z, q - 1, x])


def test_two_losses_on_one_value(rng):
    """The logits behind a softmax and the same logits as an output of their own."""
    net = Net(rng)
    z = net.dense(net.input((6,)), 4)
    p = net.act(z, "softmax")
    specs = [
        {"kind": "categorical_crossentropy"},
        {"kind": "mean_squared_error", "weight": 0.3},
        {"kind": "mean_squared_error"},
    ]
    check_gradients(net, [p, z, z], specs, batch=5, sources=[z, z, z])


def test_an_output_in_the_middle_with_a_loss_of_its_own(rng):
    net = Net(rng)
    x = net.conv(net.input((5, 4, 3)), 12, 3)
    y = net.act(net.norm(x, training=True), "relu6")
    z = net.add("global_avg_pool", net.conv(y, 5))
    check_gradients(net, [z, x, y], batch=3)


def test_training_stops_at_the_first_trainable_layer(rng):
    net = Net(rng)
    x = net.conv(net.input((6, 5, 3)), 12, 3)
    y = net.act(net.norm(x))
    z = net.conv(y, 8)
    frozen = net.plan(2, [net.add("global_avg_pool", z)])
    head = [v for v in net.nodes[z][2] if v is not None]
    plan = check_gradients(net, [len(net.nodes) - 1], trainable=head)
    assert "batch_norm" not in ops_of(plan), "the frozen part of a training plan is fused"
    assert ops_of(frozen).count("conv2d") == 2


def test_a_variable_that_no_loss_reaches(rng):
    net = Net(rng)
    x = net.input((6,))
    z = net.dense(x, 3)
    side = net.dense(x, 5)
    plan = training_plan(net, [z, side], [{"kind": "mean_squared_error"}], 2)
    feeds, before = net.draw(2), [v.numpy() for v in net.variables]
    losses, (got, other) = plan.train(feeds, [np.zeros((2, 3), np.float32)], learning_rate=0.5)
    values = net.evaluate(feeds, {id(v): b for v, b in zip(net.variables, before, strict=True)})
    assert_close(got, values[z])
    assert_close(other, values[side])
    gradients = plan.gradients()
    assert [g is None for g in gradients] == [False, False, True, True]
    for v, b, moved in zip(net.variables, before, (True, True, False, False), strict=True):
        assert np.array_equal(v.numpy(), b) != moved


# ---- drawn graphs -----------------------------------------------------------------------------


def drawn_net(rng, n_nodes, training=False):
    """A random graph of images with 12 channels; every value may be read any number of times."""
    net = Net(rng)
    x = net.input((6, 5, 3))
    images = [net.conv(x, 12), net.add("zero_pad2d", net.conv(x, 12), pads=(0, 0, 0, 0))]
    same = {"pads": (1, 1, 1, 1)}
    pool = {"pool": (3, 3), "strides": (1, 1), **same}

    def gate(a, b):
        flat = net.add("reshape", net.add("global_avg_pool", a), shape=(1, 1, 12))
        return net.add("multiply", b, net.act(flat, "sigmoid"))

    makers = [
        lambda a, b: net.conv(a, 12, 3, bias=bool(rng.integers(2)), **same),
        lambda a, b: net.conv(net.add("zero_pad2d", a, **same), 12, 3),
        lambda a, b: net.conv(a, 12),
        lambda a, b: net.depthwise(a, **same),
        lambda a, b: net.norm(a, training=training),
        lambda a, b: net.act(net.norm(a, training=training), str(rng.choice(["relu", "relu6"]))),
        lambda a, b: net.act(a, str(rng.choice(["tanh", "swish", "sigmoid", "relu"]))),
        lambda a, b: net.add("add", a, b),
        lambda a, b: net.add("add", a, b, images[-1]),
        lambda a, b: net.add("average", a, b),
        lambda a, b: net.add(str(rng.choice(["subtract", "maximum"])), a, b),
        lambda a, b: net.conv(net.add("concat", a, b), 12),
        lambda a, b: net.add("concat", net.conv(a, 5), net.conv(b, 7)),
        lambda a, b: net.add("avg_pool2d", a, **pool),
        lambda a, b: net.add("max_pool2d", a, **pool),
        gate,
    ]
    for _ in range(n_nodes):
        a, b = (images[i] for i in rng.integers(max(0, len(images) - 6), len(images), 2))
        images.append(makers[rng.integers(len(makers))](a, b))
    return net, images


@pytest.mark.parametrize("seed", range(30))
def test_drawn_graphs(seed):
    """Buffers that are alive never overlap: many branches, any of them an output."""
    rng = np.random.default_rng(1000 + seed)
    net, images = drawn_net(rng, int(rng.integers(5, 30)))
    outputs = [images[-1], *(images[i] for i in rng.integers(0, len(images), 2))]
    check_forward(net, outputs, 2, tolerance=3e-5)
    check_forward(net, [images[-1]], 1, tolerance=3e-5)


@pytest.mark.parametrize("seed", range(16))
def test_gradients_of_drawn_graphs(seed):
    rng = np.random.default_rng(2000 + seed)
    net, images = drawn_net(rng, int(rng.integers(4, 12)), training=seed % 2 == 0)
    outputs = [images[-1], images[len(images) // 2]]
    trainable = [v for v in net.trainable() if rng.random() < 0.7] or net.trainable()[:1]
    plan = training_plan(net, outputs, [{"kind": "mean_squared_error"}] * 2, 2, trainable)
    plan.train(net.draw(2), [np.zeros((2, *net.shapes[v]), np.float32) for v in outputs])
    reached = [v for v, g in zip(trainable, plan.gradients(), strict=True) if g is not None]
    check_gradients(net, outputs, trainable=reached, directions=1, some_flat=True)


# ---- memory -----------------------------------------------------------------------------------


def test_memory_is_reused(rng):
    net = Net(rng)
    x = net.conv(net.input((16, 16, 3)), 16)
    for _ in range(20):
        x = net.add(
            "max_pool2d", net.act(x, "softmax"), pool=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1)
        )
    value = 16 * 16 * 16 * 4
    assert net.plan(1, [x]).arena_bytes < 6 * value
    trained = training_plan(net, [x], [{"kind": "mean_squared_error"}], 1)
    assert 20 * value < trained.arena_bytes < 80 * value


def test_a_plan_that_cannot_fit(rng):
    net = Net(rng)
    y = net.conv(net.input((16384, 16384, 3)), 7)
    outputs = [net.conv(net.act(y, "sigmoid"), 7) for _ in range(40)]
    plan = net.plan(1, outputs)  # takes nothing yet
    image = np.zeros((1, 16384, 16384, 3), np.float32)  # nor does this
    with pytest.raises(MemoryError, match=r"need \d+ MB more memory, \d+ MB are available"):
        plan.forward([image])


def repeatable(net):
    """A network with every op that backward makes again, chained: a block like ResNet's twice, one
    like EfficientNet's, one like DenseNet's; and its output."""
    x = net.norm(net.conv(net.input((9, 9, 3)), 16, 3), training=True)
    x = net.act(x)
    for _ in range(2):
        y = net.act(net.norm(net.conv(x, 16, 3, pads=(1, 1, 1, 1)), training=True))
        y = net.norm(net.conv(y, 16), training=True)
        x = net.act(net.add("add", y, x))
    y = net.act(net.norm(net.conv(x, 32), training=True), "swish")
    s = net.act(net.dense(net.add("global_avg_pool", y), 32), "sigmoid")
    x = net.conv(net.add("multiply", y, net.add("reshape", s, shape=(1, 1, 32))), 16)
    x = net.add("max_pool2d", net.act(x), pool=(2, 2), strides=(1, 1))
    for _ in range(3):
        y = net.act(net.norm(x, training=True))
        x = net.add("concat", x, net.conv(net.add("zero_pad2d", y, pads=(1, 1, 1, 1)), 16, 3))
    x = net.conv(net.act(net.norm(x, training=True), "relu6"), 16)
    x = net.act(net.add("avg_pool2d", net.act(x), pool=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1)))
    x = net.conv(x, 7)
    return net.act(net.add("global_avg_pool", x), "softmax")


def chained(net):
    """Chains of four that are made again, whose first is needed longer than the middle ones."""
    x = net.conv(net.input((9, 9, 3)), 16, 3)
    for width in (16, 64, 32):
        y = net.conv(x, width)
        z = net.add("concat", net.act(net.norm(y, training=True), "tanh"), x)
        x = net.conv(net.add("zero_pad2d", z, pads=(1, 1, 1, 1)), 16, 3)
    return net.act(net.add("global_avg_pool", net.conv(x, 7)), "softmax")


@pytest.mark.parametrize("make, share", [(repeatable, 0.75), (chained, 0.8)])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_made_again_is_as_good_as_kept(n_threads, make, share, rng):
    net = Net(rng)
    y = make(net)
    feeds, found, arenas = net.draw(3), [], []
    target = rng.dirichlet(np.ones(7), 3).astype(np.float32)
    with threads(n_threads):
        for repeat_from in (1 << 40, 0):
            plan = training_plan(
                net, [y], [{"kind": "categorical_crossentropy"}], 3, repeat_from=repeat_from
            )
            losses, outputs = plan.train(feeds, [target], learning_rate=0.0)
            found.append((losses, outputs, plan.gradients()))
            arenas.append(plan.arena_bytes)
    (losses, outputs, gradients), (losses_again, outputs_again, again) = found
    assert losses == losses_again and np.array_equal(outputs[0], outputs_again[0])
    for kept, made in zip(gradients, again, strict=True):
        assert np.array_equal(kept, made)
    assert arenas[1] < share * arenas[0]


def test_packs_that_training_gives_back_are_made_again(rng):
    net = Net(rng)
    y = net.add("global_avg_pool", net.conv(net.input((8, 8, 64)), 128, 3))  # 288 KB
    feeds, target = net.draw(2), rng.normal(size=(2, 128)).astype(np.float32)
    pool = _core.Pool()
    predicts = net.plan(2, [y], pool)
    expected = predicts.forward(feeds)[0]
    trains = training_plan(net, [y], [{"kind": "mean_squared_error"}], 2, pool=pool)
    trains.evaluate(feeds, [target])  # the forward half of a step: no weight is written
    assert np.array_equal(predicts.forward(feeds)[0], expected)


def test_a_large_kernel_that_no_loss_reaches(rng):
    """It stands in the pool, though it is trainable: the step may not read what it gave back."""
    net = Net(rng)
    x = net.input((8, 8, 64))
    y = net.add("global_avg_pool", net.conv(x, 4))
    z = net.add("global_avg_pool", net.conv(x, 128, 3))  # 288 KB
    feeds, target = net.draw(2), rng.normal(size=(2, 4)).astype(np.float32)
    plan = training_plan(net, [y, z], [{"kind": "mean_squared_error"}], 2)
    expected = net.evaluate(feeds)
    for _ in range(2):
        _, (got, other) = plan.train(feeds, [target], learning_rate=0.0)
        assert_close(got, expected[y])
        assert_close(other, expected[z])


def test_made_again_against_float64(rng):
    net = Net(rng)
    check_gradients(
        net,
        [repeatable(net)],
        [{"kind": "categorical_crossentropy"}],
        batch=3,
        some_flat=True,
        directions=1,
    )


def test_values_beyond_the_limit(rng):
    net = Net(rng)
    with pytest.raises(ValueError, match="2\\^31 elements"):
        net.plan(64, [net.conv(net.input((8192, 8192, 3)), 24)])


def test_plans_without_sense(rng):
    net = Net(rng)
    y = net.dense(net.input((4,)), 2)
    graph, feeds = net.lower(2)
    with pytest.raises(ValueError, match="input 'input_0' is needed but not fed"):
        _core.Plan(graph, (), (y,), _core.Pool())
    with pytest.raises(ValueError, match="value 7 is not in the graph"):
        _core.Plan(graph, feeds, (7,), _core.Pool())
    with pytest.raises(ValueError, match="more losses than outputs"):
        _core.Plan(graph, feeds, (y,), _core.Pool(), losses=({"kind": "mean_squared_error"},) * 2)
    with pytest.raises(NotImplementedError, match="dice"):
        _core.Plan(graph, feeds, (y,), _core.Pool(), losses=({"kind": "dice"},))
    plan = _core.Plan(graph, feeds, (y,), _core.Pool())
    with pytest.raises(ValueError, match="list of 1 arrays"):
        plan.forward([])
    with pytest.raises(ValueError, match="input 0"):
        plan.forward([np.zeros((3, 4), np.float32)])
    with pytest.raises(RuntimeError, match="set_optimizer"):
        plan.train([np.zeros((2, 4), np.float32)], [])


def test_a_call_while_another_reads_its_arrays(rng):
    """Converting an array can let another thread run."""
    net = Net(rng)
    plan = training_plan(net, [net.dense(net.input((4,)), 2)],
                         [{"kind": "mean_squared_error"}], 2)
    x, y = np.zeros((2, 4), np.float32), np.zeros((2, 2), np.float32)
    said = []

    class Asking:
        def __array__(self, dtype=None, copy=None):
            updates = tuple((v, (), False, 0, 0) for v in net.variables)
            for call in (
                lambda: plan.forward([x]),
                lambda: plan.set_optimizer({"kind": "sgd"}, updates),
                plan.steps,
            ):
                with pytest.raises(RuntimeError, match="running in another thread"):
                    call()
                said.append(call)
            return x

    plan.train([Asking()], [y])
    assert len(said) == 3
    with pytest.raises(ValueError, match="input 0"):
        plan.forward([x[:1]])
    plan.forward([x])  # neither a finished call nor a refused one keeps it busy


def test_feeding_a_value_in_the_middle(rng):
    net = Net(rng)
    x = net.act(net.conv(net.input((5, 4, 3)), 12))
    y = net.conv(x, 7, 3)
    feeds = net.draw(2)
    values = net.evaluate(feeds)
    graph, _ = net.lower(2)
    plan = _core.Plan(graph, (x,), (y, x), _core.Pool())
    got = plan.forward([values[x].astype(np.float32)])
    assert_close(got[0], values[y])
    assert np.array_equal(got[1], values[x].astype(np.float32))
    assert "input_0" not in [name for name, _, _ in plan.steps()]


def test_bytes_as_input(rng):
    net = Net(rng)
    y = net.conv(net.input((5, 4, 3)), 12)
    pixels = rng.integers(0, 256, (2, 5, 4, 3), np.uint8)
    assert_close(net.plan(2, [y]).forward([pixels])[0], net.evaluate([pixels])[y])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("layer", ["conv", "depthwise", "dense", "norm"])
def test_one_trainable_weight_of_a_layer(layer, which, rng):
    net = Net(rng)
    x = net.act(net.conv(net.input((5, 4, 3)), 12), "tanh")
    args = (7,) if layer in ("conv", "dense") else ()
    y = getattr(net, layer)(x, *args)
    check_gradients(net, [net.act(y, "tanh")], trainable=[net.nodes[y][2][which]])


def test_values_larger_than_one_thread_takes(rng):
    """Loops that are split only beyond some thousand elements, in two threads."""
    net = Net(rng)
    x = net.act(net.norm(net.conv(net.input((41, 37, 3)), 20), training=True))
    y = net.add("add", net.conv(x, 20), x, net.depthwise(x, pads=(1, 1, 1, 1)))
    z = net.add("average", y, x)
    gate = net.add("reshape", net.add("global_avg_pool", z), shape=(1, 1, 20))
    z = net.add("multiply", z, net.act(gate, "sigmoid"))
    z = net.act(net.norm(net.add("concat", z, y), training=True), "relu6")
    out = net.dense(net.add("reshape", z, shape=(41 * 37 * 40,)), 130)
    with threads(2):
        check_forward(net, [out, y], 3)
        check_gradients(net, [out, y], batch=3, directions=1, flat=[net.nodes[1][2][1]])
