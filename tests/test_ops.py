"""Every op of the core against float64 NumPy: values in inference and training plans, gradients of
weights and inputs, fusions, random numbers, bits, and what wrong shapes are told."""

import re
from pathlib import Path

import op_references as ref
import pytest
from op_net import Net, check_forward, check_gradients, threads

ROOT = Path(__file__).resolve().parent.parent


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
        {"x": [(5, 3, 12), (5, 3, 3), (5, 3, 5)], "axis": -1},
        {"x": [(3, 3, 16), (3, 3, 32)], "axis": -1},
        {"x": [(7,), (5,)], "axis": -1},
        {"x": [(4, 3), (4, 2)], "axis": -1},
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
    assert op == "input" or op in [kind for _, kind in plan.steps()]


def behind(net, x, front):
    """A trainable layer that keeps the shape, so that the gradient of x becomes visible."""
    channels = net.shapes[x][-1]
    if front == "conv" and len(net.shapes[x]) == 3:  # leaves a blocked layout
        return net.conv(x, channels)
    return net.dense(x, channels)


@pytest.mark.parametrize("front", ["dense", "conv"])
@pytest.mark.parametrize("op, case", every_case(op for op in CASES if op != "random_affine"))
def test_gradients(op, case, front, rng):
    net = Net(rng)
    shapes = shapes_of(case)
    if front == "conv" and (not any(len(s) == 3 for s in shapes) or op == "dropout"):
        pytest.skip("no image; or a mask whose order is the layout's (tested by its statistics)")
    x = [behind(net, net.input(shape), front) for shape in shapes]
    y = write(net, op, x, case)
    # statistics of a batch take the bias in front of them away
    flat = [net.nodes[v][2][1] for v in x] if case.get("training") else []
    with threads(2 if front == "conv" else 1):
        check_gradients(net, [y], batch=3, flat=flat, seed=11)
