"""Every op of the core against float64 NumPy: values in inference and training plans, gradients of
weights and inputs, fusions, random numbers, bits, and what wrong shapes are told."""

import re
from pathlib import Path

import numpy as np
import op_references as ref
import pytest
from op_net import Net, check_forward, check_gradients, threads, training_plan

from tlfast import _core

ROOT = Path(__file__).resolve().parent.parent
# Pixels of 0 to 255; Keras computes the coordinates in float32.
KERAS_PIXELS = 1e-3


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def names_in(path):
    return re.findall(r"^X\((\w+)", (ROOT / path).read_text(), re.MULTILINE)


def conv(x, kernel, bias=True, **attrs):
    return {"x": x, "kernel": kernel, "bias": bias, **attrs}


# Per op: shapes of the inputs (without batch), then what the op needs. Odd sizes, channels that
# fill no block of 8 or 16, paddings that differ on every side.
CASES = {
    "input": [{"x": (5, 3)}, {"x": (7, 5, 3)}],
    "conv2d": [
        conv((9, 11, 3), (3, 3, 3, 12), strides=(2, 2), pads=(0, 1, 0, 1)),
        conv((13, 9, 3), (7, 7, 3, 20), strides=(2, 2), pads=(3, 2, 2, 3), bias=False),
        conv((7, 5, 5), (3, 2, 5, 24), pads=(2, 0, 1, 1)),
        conv((6, 7, 12), (1, 1, 12, 20), strides=(2, 1)),
        conv((7, 7, 16), (3, 3, 16, 16), pads=(1, 1, 1, 1), bias=False),
        conv((9, 8, 24), (3, 3, 24, 5), dilation=(2, 3), pads=(2, 1, 3, 3)),
        conv((7, 6, 20), (3, 3, 5, 12), groups=4, pads=(1, 1, 1, 0)),
        conv((6, 6, 32), (3, 3, 16, 48), groups=2, strides=(2, 2), pads=(0, 1, 0, 1)),
        conv((5, 5, 6), (3, 3, 1, 6), groups=6, pads=(1, 1, 1, 1)),
        conv((4, 9, 3), (4, 9, 3, 8)),
        conv((8, 7, 4), (1, 5, 4, 12), pads=(0, 0, 2, 2)),
        conv((8, 7, 1), (3, 3, 1, 8), pads=(1, 1, 1, 1)),
    ],
    "depthwise_conv2d": [
        conv((9, 7, 12), (3, 3, 12, 1), pads=(1, 1, 1, 1)),
        conv((9, 8, 20), (3, 3, 20, 1), strides=(2, 2), pads=(0, 1, 0, 1), bias=False),
        conv((7, 9, 24), (5, 5, 24, 1), pads=(2, 2, 2, 2)),
        conv((10, 11, 20), (5, 5, 20, 1), strides=(2, 2), pads=(1, 2, 1, 2), bias=False),
        conv((3, 2, 12), (5, 7, 12, 1), pads=(2, 2, 3, 3)),
        conv((8, 8, 3), (3, 3, 3, 2), pads=(1, 1, 1, 1)),
        conv((8, 6, 5), (3, 2, 5, 3), strides=(2, 1), pads=(1, 0, 0, 1)),
        conv((9, 9, 16), (3, 3, 16, 1), dilation=(2, 2), pads=(2, 2, 2, 2)),
        conv((3, 3, 8), (3, 3, 8, 1)),
    ],
    "dense": [
        {"x": (20,), "kernel": (20, 12), "bias": True},
        {"x": (5,), "kernel": (5, 3), "bias": False},
        {"x": (33,), "kernel": (33, 1), "bias": True},
        {"x": (3, 4, 5), "kernel": (5, 24), "bias": True},
        {"x": (7, 3), "kernel": (3, 2), "bias": True},
        {"x": (300,), "kernel": (300, 130), "bias": True},
    ],
    "batch_norm": [
        {"x": shape, "training": training, "scale": scale, "center": center}
        for shape in ((5, 7, 12), (3, 4, 24), (20,), (3, 5))
        for training, scale, center in ((False, True, True), (True, True, True),
                                        (True, False, True), (False, True, False))
    ],
    "activation": [
        {"x": shape, "kind": kind} for kind in ref.ACTIVATIONS for shape in ((5, 3, 12), (20,))
    ] + [{"x": (5, 3), "kind": "leaky_relu", "alpha": 0.3},
         {"x": (4, 3, 5), "kind": "elu", "alpha": 0.7},
         {"x": (4, 3, 5), "kind": "relu", "alpha": 0.1}],
    "max_pool2d": [
        {"x": (9, 7, 12), "pool": (3, 3), "strides": (2, 2), "pads": (1, 1, 0, 1)},
        {"x": (8, 6, 3), "pool": (2, 2), "strides": (2, 2)},
        {"x": (7, 9, 20), "pool": (3, 2), "strides": (1, 3), "pads": (2, 0, 1, 0)},
    ],
    "avg_pool2d": [
        {"x": (9, 7, 12), "pool": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)},
        {"x": (8, 6, 5), "pool": (2, 2), "strides": (2, 2)},
        {"x": (7, 9, 24), "pool": (3, 2), "strides": (2, 3), "pads": (0, 2, 1, 0)},
    ],
    "global_avg_pool": [{"x": (5, 7, 12)}, {"x": (1, 3, 3)}, {"x": (9, 2, 24)}],
    "global_max_pool": [{"x": (5, 7, 12)}, {"x": (1, 3, 3)}, {"x": (9, 2, 24)}],
    "concat": [
        {"x": [(5, 3, 12), (5, 3, 3), (5, 3, 5)]},
        {"x": [(3, 3, 16), (3, 3, 32)]},
        {"x": [(7,), (5,)]},
        {"x": [(4, 3), (4, 2)]},
    ],
    "zero_pad2d": [{"x": (5, 3, 12), "pads": (1, 0, 2, 3)}, {"x": (4, 4, 3), "pads": (0, 1, 0, 1)}],
    "crop2d": [{"x": (7, 8, 12), "pads": (1, 0, 2, 3)}, {"x": (4, 4, 3), "pads": (0, 1, 0, 1)}],
    "reshape": [{"x": (3, 5, 12), "shape": (180,)}, {"x": (24,), "shape": (2, 3, 4)},
                {"x": (4, 5, 6), "shape": (20, 6)}, {"x": (2, 3, 8), "shape": (3, 2, 8)}],
    "dropout": [{"x": (37,), "rate": 0.3, "seed": 5}, {"x": (3, 7), "rate": 0.5, "seed": 2**63},
                {"x": (5, 3, 6), "rate": 0.2, "seed": 1, "per_sample": True},
                {"x": (5,), "rate": 0.0, "seed": 1}],
    "scale_shift": [
        {"x": (5, 3, 3), "scale": 1 / 127.5, "shift": -1.0},
        {"x": (5, 3, 3), "scale": (1.0, 2.0, 3.0), "shift": (-103.9, -116.8, -123.7),
         "reverse_channels": True},
        {"x": (5, 3, 12), "scale": 0.5, "shift": tuple(range(12)), "reverse_channels": False},
        {"x": (4,), "scale": (0.5, 1, 2, -3), "shift": 0.0, "reverse_channels": True},
    ],
    "random_affine": [
        {"x": (7, 5, 3), "flip": "horizontal", "seed": 3},
        {"x": (5, 8, 3), "flip": "vertical", "seed": 4},
        {"x": (4, 6, 2), "flip": "horizontal_and_vertical", "seed": 5},
        {"x": (9, 12, 3), "rotation": (-0.2, 0.3), "zoom_w": None, "seed": 6},
        {"x": (12, 9, 1), "zoom_h": (-0.4, 0.5), "zoom_w": (-0.2, 1.5), "seed": 7},
        {"x": (9, 9, 3), "zoom_h": (0.4, 1.5), "zoom_w": None, "seed": 7},
        *({"x": (11, 7, 3), "rotation": (-0.5, 0.5), "zoom_h": (0.5, 1.0), "zoom_w": None,
           "fill_mode": mode, "fill_value": 7.5, "interpolation": how, "seed": 8}
          for mode in ("reflect", "wrap", "constant", "nearest")
          for how in ("bilinear", "nearest")),
    ],
}
WHOLE = [{"x": [(5, 3, 12), (5, 3, 12)]}, {"x": [(5, 7, 3)] * 2}, {"x": [(20,), (20,)]},
         {"x": [(5, 3, 12), (1, 1, 12)]}, {"x": [(5, 3, 24), (5, 3, 1)]},
         {"x": [(4, 5, 5), (1, 1, 5)]}, {"x": [(3, 5)] * 2}]
MORE = [{"x": [(5, 3, 12)] * 3}, {"x": [(7,)] * 4}, {"x": [(5, 3, 20), (1, 1, 20), (5, 3, 20)]}]
CASES |= {"multiply": WHOLE, "subtract": WHOLE + MORE, "maximum": WHOLE + MORE,
          "add": WHOLE + MORE, "average": WHOLE + MORE}


def shapes_of(case):
    return case["x"] if isinstance(case["x"], list) else [case["x"]]


def write(net, op, inputs, case):
    """The op of a case behind the given values."""
    attrs = {k: v for k, v in case.items() if k not in ("x", "kernel", "bias", "scale", "center")}
    if op == "input":
        return inputs[0]
    if op == "batch_norm":
        return net.norm(*inputs, scale=case["scale"], center=case["center"], **attrs)
    if op == "scale_shift":
        return net.add(op, *inputs, scale=case["scale"], **attrs)
    weights = ()
    if "kernel" in case:
        units = case["kernel"][-1]
        if op == "depthwise_conv2d":
            units *= case["kernel"][-2]
        kernel = net.variable(case["kernel"])
        weights = (kernel, net.variable((units,), -0.5, 0.5) if case["bias"] else None)
    return net.add(op, *inputs, weights=weights, **attrs)


def every_case(ops):
    return [pytest.param(op, case, id=f"{op}-{i}")
            for op in ops for i, case in enumerate(CASES.get(op, ()))]


def test_every_op_has_a_reference_and_cases():
    ops = names_in("csrc/graph/ops.def")
    assert len(ops) > 20
    assert sorted(ops) == sorted(ref.OPS)
    missing = [op for op in ops if not CASES.get(op)]
    assert not missing, f"ops without shapes in CASES: {missing}"


def test_every_activation_and_loss_has_a_reference():
    kinds = names_in("csrc/graph/activation.def")
    assert len(kinds) > 10
    assert sorted([*kinds, "softmax"]) == sorted(ref.ACTIVATIONS)
    assert sorted(names_in("csrc/train/loss.def")) == sorted(ref.LOSSES)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("op, case", every_case(CASES))
def test_forward(op, case, batch, rng):
    net = Net(rng)
    x = [net.input(shape) for shape in shapes_of(case)]
    y = write(net, op, x, case)
    with threads(1 if batch == 1 else 2):
        plan = check_forward(net, [y], batch, seed=batch)
    assert op == "input" or op in [kind for _, kind, _ in plan.steps()]


def behind(net, x, front):
    """A trainable layer that keeps the shape, so that the gradient of x becomes visible."""
    channels = net.shapes[x][-1]
    if front == "conv" and len(net.shapes[x]) == 3:  # leaves a blocked layout
        return net.conv(x, channels)
    return net.dense(x, channels)


def with_a_front(op, case):
    """Fronts that fit: a convolution where there is an image, unless its layout orders the mask."""
    image = any(len(shape) == 3 for shape in shapes_of(case))
    return ["dense", "conv"] if image and op != "dropout" else ["dense"]


@pytest.mark.parametrize("op, case, front", [
    pytest.param(op, case, front, id=f"{op}-{i}-{front}")
    for op in CASES if op != "random_affine" for i, case in enumerate(CASES[op])
    for front in with_a_front(op, case)])
def test_gradients(op, case, front, rng):
    net = Net(rng)
    x = [behind(net, net.input(shape), front) for shape in shapes_of(case)]
    y = write(net, op, x, case)
    # statistics of a batch take the bias in front of them away
    flat = [net.nodes[v][2][1] for v in x] if case.get("training") else []
    with threads(2 if front == "conv" else 1):
        check_gradients(net, [y], batch=3, flat=flat, seed=11)


def drawn_window(rng):
    """(op, case) of a convolution or pool with any geometry that gives an output."""
    op = str(rng.choice(["conv2d", "conv2d", "depthwise_conv2d", "max_pool2d", "avg_pool2d"]))
    size = rng.integers(1, 6, 2)
    dilation = rng.integers(1, 4, 2) if "conv" in op else np.ones(2, int)
    reach = dilation * (size - 1) + 1
    pads = rng.integers(0, reach.repeat(2) if "conv" in op else size.repeat(2))
    height, width = reach + rng.integers(0, 9, 2)
    channels = int(rng.choice([1, 2, 3, 4, 5, 8, 12, 16, 20, 24, 31, 32, 40]))
    attrs = {"strides": tuple(rng.integers(1, 4, 2).tolist()), "pads": tuple(pads.tolist())}
    shape = (int(height), int(width), channels)
    size = tuple(size.tolist())
    if "pool" in op:
        return op, {"x": shape, "pool": size, **attrs}
    attrs["dilation"] = tuple(dilation.tolist())
    if op == "depthwise_conv2d":
        return op, conv(shape, (*size, channels, int(rng.integers(1, 3))), **attrs)
    groups = int(rng.choice([g for g in (1, 1, 1, 2, 3, 4, 8) if channels % g == 0]))
    filters = groups * int(rng.choice([1, 3, 4, 8, 10, 16]))
    return op, conv(shape, (*size, channels // groups, filters), groups=groups,
                    bias=bool(rng.integers(2)), **attrs)


@pytest.mark.parametrize("seed", range(40))
def test_drawn_windows(seed):
    rng = np.random.default_rng(seed)
    op, case = drawn_window(rng)
    net = Net(rng)
    y = write(net, op, [net.conv(net.input(case["x"]), case["x"][2])], case)
    check_forward(net, [y], int(rng.integers(1, 5)))
    check_gradients(net, [y], batch=int(rng.integers(1, 4)), directions=1)


# ---- details ----------------------------------------------------------------------------------


def test_the_first_of_equal_maxima_gets_the_gradient(rng):
    """As in TensorFlow; after a ReLU many values are equal."""
    for order in ((0, 1), (1, 0), (0, 1, 0)):
        net = Net(rng)
        sources = [net.dense(net.input((3, 2, 5)), 5, bias=False) for _ in range(2)]
        y = net.add("maximum", *(sources[i] for i in order))
        same = rng.normal(size=(2, 3, 2, 5)).astype(np.float32)
        net.variables[1].assign(net.variables[0].numpy())
        plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 2)
        plan.train([same, same], [np.zeros((2, 3, 2, 5), np.float32)])
        gradients = plan.gradients()
        assert np.abs(gradients[order[0]]).max() > 1e-3
        assert not gradients[order[1]].any()


def test_equal_maxima_of_an_image(rng):
    """TensorFlow's reduce_max shares the gradient; a max-pool window gives it to its first."""
    x = rng.normal(size=(1, 2, 2, 3)).astype(np.float32)
    for op, attrs, seen in (("global_max_pool", {}, x[0].mean(axis=(0, 1))),
                            ("max_pool2d", {"pool": (2, 2), "strides": (2, 2)}, x[0, 0, 0])):
        net = Net(rng)
        v = net.dense(net.input((2, 2, 3)), 3)  # all pixels equal the bias
        net.variables[0].assign(np.zeros((3, 3)))
        y = net.add(op, v, **attrs)
        plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 1)
        plan.train([x], [np.zeros((1, *net.shapes[y]), np.float32)])
        slope = 2 * net.variables[1].numpy() / 3
        np.testing.assert_allclose(plan.gradients()[0], np.outer(seen, slope), rtol=1e-5)


def test_maxima_of_what_is_no_number(rng):
    """As in Keras: NaN is the largest, and nothing else is smaller than -inf."""
    inf, nan = np.inf, np.nan
    net = Net(rng)
    y = net.add("global_max_pool", net.input((1, 2, 3)))
    x = np.array([[[[-inf, nan, 1], [-inf, 2, nan]]]], np.float32)
    np.testing.assert_array_equal(net.plan(1, [y]).forward([x])[0], [[-inf, nan, nan]])
    net = Net(rng)
    y = net.add("maximum", net.input((4,)), net.input((4,)))
    a, b = np.array([[[nan, 1, nan, 3]], [[1, nan, nan, 2]]], np.float32)
    np.testing.assert_array_equal(net.plan(1, [y]).forward([a, b])[0], [[nan, nan, nan, 3]])


def test_activations_far_out(rng):
    x = np.array([[-200, -88, -30, -5, -0.0, 5, 30, 80]], np.float32)
    for kind in ref.ACTIVATIONS:
        net = Net(rng)
        y = net.act(net.input((8,)), kind)
        got = net.plan(1, [y]).forward([x])[0]
        expected = net.evaluate([x])[y]
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6, err_msg=kind)


def test_random_affine_differs_by_image_step_and_seed(rng):
    net = Net(rng)
    x = net.input((6, 7, 3))
    y = net.add("random_affine", x, rotation=(-0.5, 0.5), zoom_w=None, seed=1)
    z = net.add("random_affine", x, rotation=(-0.5, 0.5), zoom_w=None, seed=2)
    feeds = [np.repeat(net.draw(1)[0], 4, axis=0)]
    runs = []
    for n in (1, 2):
        with threads(n):
            plan = net.plan(4, [y, z])
            runs += [plan.forward(feeds, seed=s) for s in (5, 6)]
    images = [run[k][i] for run in runs[:2] for k in range(2) for i in range(4)]
    assert len({image.tobytes() for image in images}) == 16
    for a, b in zip(runs[:2], runs[2:], strict=True):
        assert all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))


def test_random_affine_flips_half_of_the_images(rng):
    net = Net(rng)
    y = net.add("random_affine", net.input((2, 3, 1)), flip="horizontal_and_vertical", seed=1)
    x = rng.normal(size=(2000, 2, 3, 1)).astype(np.float32)
    got = net.plan(2000, [y]).forward([x], seed=9)[0]
    whole = (got == x).all(axis=(1, 2, 3))
    both = (got == x[:, ::-1, ::-1]).all(axis=(1, 2, 3))
    assert (whole ^ both).all()
    assert abs(both.mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)


def keras_transforms():
    with np.load(ROOT / "tests/reference/affine.npz") as stored:
        return {name: stored[name] for name in stored.files}


def test_random_affine_turns_and_zooms_as_keras():
    """Fixed angles and factors; made by tests/reference/make_affine.py."""
    stored = keras_transforms()
    x = stored.pop("x")
    assert len(stored) > 30
    for name, expected in stored.items():
        kind, *numbers, mode, how = name.split()
        values = [float(n) for n in numbers]
        attrs = {"rotation": values * 2} if kind == "rotation" else {
            "zoom_h": values[:1] * 2, "zoom_w": values[1:] * 2}
        net = Net(None)
        y = net.add("random_affine", net.input(x.shape[1:]), fill_mode=mode, fill_value=7.5,
                    interpolation=how, seed=3, **attrs)
        got = net.plan(1, [y]).forward([x], seed=4)[0]
        # the coordinates are float32 in Keras; pixels are 0 to 255
        assert np.abs(got - expected).max() < KERAS_PIXELS, name


def swish_slopes(x):
    """(swish, its slope, the size of the slope's terms), in float64."""
    x = x.astype(float)
    s = 1 / (1 + np.exp(-x))
    return x * s, s + x * s * (1 - s), s + np.abs(x) * s * (1 - s)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 4095, 4097, 9000])
def test_slope_of_swish(n, rng):
    """Value by value: the gradient of the values themselves, which a bias holds."""
    net = Net(rng)
    y = net.act(net.dense(net.input((1,)), n), "swish")
    x = np.concatenate([rng.normal(0, 4, n - n // 4), rng.uniform(-80, 150, n // 4)])
    net.variables[1].assign(x.astype(np.float32))
    with threads(2):
        plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 1, [net.variables[1]])
        plan.train([np.zeros((1, 1), np.float32)], [np.zeros((1, n), np.float32)],
                   learning_rate=0.0)
    value, slope, size = swish_slopes(net.variables[1].numpy())
    dy = 2 * value / n
    assert (np.abs(plan.gradients()[0] - dy * slope) <= 1e-6 * np.abs(dy) * size + 1e-37).all()


def test_augmentation_behind_a_trainable_layer_is_refused(rng):
    net = Net(rng)
    y = net.add("random_affine", net.dense(net.input((4, 4, 3)), 3), flip="horizontal", seed=1)
    plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 2)
    with pytest.raises(NotImplementedError, match="'random_affine_2': augmentation behind"):
        plan.train(net.draw(2), [np.zeros((2, 4, 4, 3), np.float32)])


# ---- bits -------------------------------------------------------------------------------------


def frozen_net(rng):
    net = Net(rng)
    x = net.add("scale_shift", net.input((21, 19, 3)), scale=2.0, shift=-1.0)
    x = net.act(net.norm(net.conv(x, 20, 3, strides=(2, 2), pads=(0, 1, 1, 1))), "relu6")
    y = net.act(net.norm(net.depthwise(x, pads=(1, 1, 1, 1))), "swish")
    x = net.add("add", net.norm(net.conv(y, 20)), x)
    x = net.act(net.conv(x, 64, 3, pads=(1, 1, 1, 1)))
    x = net.act(net.conv(x, 64, 3, pads=(1, 1, 1, 1), bias=False))  # Winograd's
    x = net.conv(x, 12, 3, groups=4)
    gate = net.act(net.conv(net.add("reshape", net.add("global_avg_pool", x), shape=(1, 1, 12)),
                            12), "sigmoid")
    x = net.add("multiply", x, gate)
    x = net.add("concat", net.add("max_pool2d", x, pool=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
                net.add("avg_pool2d", x, pool=(3, 3), strides=(2, 2), pads=(0, 1, 1, 1)))
    g = net.add("concat", net.add("global_avg_pool", x), net.add("global_max_pool", x))
    a = net.act(net.dense(g, 130), "tanh")
    b = net.act(net.dense(a, 7), "softmax")
    c = net.dense(net.add("reshape", x, shape=(int(np.prod(net.shapes[x])),)), 1)
    return net, [x, g, a, b, c]


def test_bits_depend_on_nothing_but_the_image(rng):
    """Not on the batch, the place in it, or the number of threads."""
    net, outputs = frozen_net(rng)
    feeds = net.draw(16)[0]
    expected = None
    for n in (1, 2, 4):
        with threads(n):
            pool = _core.Pool()
            for batch in (16, 5, 2, 1) if n == 1 else (16, 1):
                plan = net.plan(batch, outputs, pool)
                for first in {0, 16 - batch}:
                    rows = slice(first, first + batch)
                    got = plan.forward([feeds[rows]])
                    if expected is None:
                        expected = got
                    for v, e, y in zip(outputs, expected, got, strict=True):
                        assert np.array_equal(e[rows], y), (
                            f"{net.nodes[v][0]}: batch {batch} at {first}, {n} threads")


@pytest.mark.parametrize("features, units", [(2048, 2), (1280, 1000), (25, 33), (512, 1), (7, 64)])
def test_bits_of_dense(features, units, rng):
    net = Net(rng)
    y = net.dense(net.input((features,)), units)
    x = net.draw(16)[0]
    expected = net.plan(16, [y]).forward([x])[0]
    for n in (1, 2):
        with threads(n):
            for batch in (1, 3, 4, 16):
                plan = net.plan(batch, [y])
                for first in (0, 16 - batch):
                    got = plan.forward([x[first : first + batch]])[0]
                    assert np.array_equal(got, expected[first : first + batch])


# ---- what does not fit ------------------------------------------------------------------------

IMAGE = (8, 7, 6)
WRONG = [  # op, input shapes (or a value), weight shapes, attributes, what the text says
    ("conv2d", [IMAGE], [(3, 3, 5, 4)], {}, r"kernel \(3, 3, 5, 4\) .* input is \(2, 8, 7, 6\)"),
    ("conv2d", [IMAGE], [(3, 3, 6)], {}, r"needs \(N, H, W, C\)"),
    ("conv2d", [(6,)], [(3, 3, 6, 4)], {}, r"got \(2, 6\)"),
    ("conv2d", [IMAGE], [(9, 3, 6, 4)], {}, r"output shape \(2, 0, 5, 4\)"),
    ("conv2d", [IMAGE], [(3, 3, 3, 5)], {"groups": 2}, "2 groups"),
    ("conv2d", [IMAGE], [(3, 3, 6, 4)], {"groups": 0}, "0 groups"),
    ("conv2d", [IMAGE], [(3, 3, 6, 4), (5,)], {}, "bias of 5 values for 4"),
    ("conv2d", [IMAGE], [(3, 3, 6, 4)], {"strides": (0, 1)}, "strides 0"),
    ("conv2d", [IMAGE], [(3, 3, 6, 4)], {"dilation": (1, 0)}, "dilation 0"),
    ("conv2d", [IMAGE], [(3, 3, 6, 4)], {"pads": (0, -1, 0, 0)}, "padding 0 and -1"),
    ("depthwise_conv2d", [IMAGE], [(3, 3, 5, 1)], {}, "reads 5 channels"),
    ("depthwise_conv2d", [IMAGE], [(3, 3, 6, 2), (6,)], {}, "bias of 6 values for 12"),
    ("dense", [(6,)], [(5, 2)], {}, r"reads 5 features, the input is \(2, 6\)"),
    ("dense", [(6,)], [(6, 2), (3,)], {}, "bias of 3 values for 2"),
    ("dense", [(6,)], [], {}, "reads 0 features"),
    ("batch_norm", [IMAGE], [(6,), (6,), (6,), (5,)], {"epsilon": 1e-3}, "5 channels"),
    ("batch_norm", [IMAGE], [(6,), (6,)], {"epsilon": 1e-3}, "0 channels"),
    ("max_pool2d", [IMAGE], [], {"pool": (9, 9), "strides": (1, 1)}, "output shape"),
    ("max_pool2d", [IMAGE], [], {"pool": (2, 2), "strides": (0, 1)}, "pool size 2"),
    ("max_pool2d", [IMAGE], [], {"pool": (2, 2), "strides": (1, 1), "pads": (2, 0, 0, 0)},
     "padding 2 and 0"),
    ("avg_pool2d", [(6,)], [], {"pool": (2, 2), "strides": (1, 1)}, r"got \(2, 6\)"),
    ("global_avg_pool", [(6,)], [], {}, r"got \(2, 6\)"),
    ("global_max_pool", [(5, 6)], [], {}, r"got \(2, 5, 6\)"),
    ("add", [IMAGE, (8, 7, 5)], [], {}, r"\(2, 8, 7, 6\) and \(2, 8, 7, 5\)"),
    ("multiply", [(1, 1, 6), IMAGE], [], {}, r"as a later input"),
    ("maximum", [IMAGE, (6,)], [], {}, r"cannot maximum shapes"),
    ("concat", [IMAGE, (8, 6, 6)], [], {}, "all but the last axis"),
    ("concat", [IMAGE, (6,)], [], {}, "cannot join shapes"),
    ("zero_pad2d", [(6,)], [], {"pads": (1, 1, 1, 1)}, r"got \(2, 6\)"),
    ("zero_pad2d", [IMAGE], [], {"pads": (-1, 1, 1, 1)}, "allowed: 0 or more"),
    ("crop2d", [IMAGE], [], {"pads": (4, 4, 0, 0)}, "output shape"),
    ("crop2d", [IMAGE], [], {"pads": (0, 0, 0, -3)}, "allowed: 0 or more"),
    ("reshape", [IMAGE], [], {"shape": (7, 7, 6)}, r"cannot reshape \(2, 8, 7, 6\) to \(2, 7, 7"),
    ("scale_shift", [IMAGE], [], {"scale": (1.0, 2.0), "shift": 0.0}, "2 scale factors"),
    # beyond what a sum or product of them could hold
    ("zero_pad2d", [IMAGE], [], {"pads": (2**63 - 1, 2**63 - 1, 0, 0)}, "9223372036854775807"),
    ("conv2d", [IMAGE], [(5, 5, 6, 4)], {"dilation": (2**62, 1)}, "4611686018427387904"),
    ("max_pool2d", [IMAGE], [], {"pool": (1, 2**40), "strides": (1, 1)}, "1099511627776"),
    ("conv2d", [IMAGE], [(0, 3, 6, 4)], {}, r"kernel \(0, 3, 6, 4\) has no values"),
    ("add", [IMAGE, 2**32], [], {}, "input 4294967296 is not a value"),
    ("random_affine", [(6,)], [], {"flip": "horizontal"}, r"got \(2, 6\)"),
]


@pytest.mark.parametrize("op, inputs, weights, attrs, says", WRONG,
                         ids=[f"{w[0]}-{i}" for i, w in enumerate(WRONG)])
def test_what_does_not_fit_names_the_layer(op, inputs, weights, attrs, says):
    graph = _core.Graph(2)
    values = [graph.input(x) if isinstance(x, tuple) else x for x in inputs]
    variables = [_core.Variable(shape) for shape in weights]
    before = graph.n_values
    with pytest.raises(ValueError, match=says) as caught:
        graph.add(op, values, variables, "block3_layer", **attrs)
    assert "layer 'block3_layer'" in str(caught.value)
    assert graph.n_values == before


def test_wrong_arguments_of_a_node():
    graph = _core.Graph(2)
    x = graph.input((4, 4, 3))
    with pytest.raises(NotImplementedError, match="op 'conv3d' is not available"):
        graph.add("conv3d", [x], [], "a")
    with pytest.raises(NotImplementedError, match="activation 'mish' is not available"):
        graph.add("activation", [x], [], "a", kind="mish")
    with pytest.raises(TypeError, match="no attribute 'stride'"):
        graph.add("max_pool2d", [x], [], "a", stride=(1, 1))
    with pytest.raises(ValueError, match="strides: 1 numbers where 2 are needed"):
        graph.add("max_pool2d", [x], [], "a", pool=(2, 2), strides=(1,))
    with pytest.raises(ValueError, match="layer 'a': input 7 is not a value"):
        graph.add("add", [x, 7], [], "a")
    with pytest.raises(ValueError, match="without inputs"):
        graph.add("add", [], [], "a")
    with pytest.raises(ValueError, match="made with Graph.input"):
        graph.add("input", [x], [], "a")
    with pytest.raises(TypeError, match="expected tlfast._core.Variable"):
        graph.add("dense", [x], [np.zeros((3, 2), np.float32)], "a")
    with pytest.raises(ValueError, match=r"input 'image'.*|layer 'image'"):
        graph.input((0, 4, 3), "image")
    assert graph.n_values == 1
