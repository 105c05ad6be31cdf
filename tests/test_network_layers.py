"""Every convolution of the seven networks, alone, against float64: forward in both kinds of plan,
gradients of input, kernel and bias, with and without Winograd, within 5e-5 of the largest value."""

import dataclasses

import numpy as np
import pytest
from op_net import Net, threads, training_plan
from reference import gradient_cases as cases

import tlfast as tf
from tlfast import applications, layers

# Largest error of one layer, in parts of the layer's largest value (the bound the project set).
TOLERANCE = 5e-5


@dataclasses.dataclass(frozen=True)
class Shape:
    """One convolution of a network; equal ones are tried once."""

    image: tuple[int, int, int]
    kernel: tuple[int, int, int, int]
    strides: tuple[int, int]
    same: bool
    depthwise: bool = False

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right: as TensorFlow pads, the odd one behind."""
        pads = []
        for size, width, stride in zip(self.image, self.kernel[:2], self.strides, strict=False):
            out = -(-size // stride)
            total = max((out - 1) * stride + width - size, 0) if self.same else 0
            pads += [total // 2, total - total // 2]
        return tuple(pads)


def shapes_of(network: str, size: int) -> list[Shape]:
    base = getattr(applications, network)(
        weights=None, include_top=False, input_shape=(size, size, 3)
    )
    found: dict[Shape, None] = {}
    for layer in base.layers:
        if not isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
            continue
        image, kernel = tuple(layer.input.shape[1:]), tuple(layer.weights[0].shape)
        depthwise = not isinstance(layer, layers.Conv2D)
        found[Shape(image, kernel, layer.strides, layer.padding == "same", depthwise)] = None
        if isinstance(layer, layers.SeparableConv2D):
            middle = (*layer.output.shape[1:3], kernel[2] * kernel[3])
            found[Shape(middle, tuple(layer.weights[1].shape), (1, 1), False)] = None
    return list(found)


# ---- float64: one matrix product per cell of the window ------------------------------------------


def taps(shape: Shape, padded: np.ndarray, out: tuple) -> list[tuple[int, int, np.ndarray]]:
    """(row, column, view of the pixels under this cell at all positions)."""
    (sy, sx), (rows, columns) = shape.strides, out[1:3]
    return [(i, j, padded[:, i : i + sy * (rows - 1) + 1 : sy, j : j + sx * (columns - 1) + 1 : sx])
            for i in range(shape.kernel[0]) for j in range(shape.kernel[1])]  # fmt: skip


def padded_like(shape: Shape, x: np.ndarray) -> np.ndarray:
    top, bottom, left, right = shape.pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


def forward(shape: Shape, x: np.ndarray, kernel: np.ndarray, out: tuple) -> np.ndarray:
    y = np.zeros(out)
    for i, j, tap in taps(shape, padded_like(shape, x), out):
        y += tap * kernel[i, j, :, 0] if shape.depthwise else tap @ kernel[i, j]
    return y


def backward(
    shape: Shape, x: np.ndarray, kernel: np.ndarray, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of input and kernel."""
    padded, dk = padded_like(shape, x), np.zeros(kernel.shape)
    dx = np.zeros(padded.shape)
    pairs = zip(taps(shape, padded, dy.shape), taps(shape, dx, dy.shape), strict=True)
    for (i, j, tap), (_, _, sums) in pairs:
        if shape.depthwise:
            dk[i, j, :, 0] = (tap * dy).sum((0, 1, 2))
            sums += dy * kernel[i, j, :, 0]
        else:
            dk[i, j] = tap.reshape(-1, tap.shape[3]).T @ dy.reshape(-1, dy.shape[3])
            sums += dy @ kernel[i, j].T
    top, _, left, _ = shape.pads
    return dx[:, top : top + x.shape[1], left : left + x.shape[2]], dk


# ---- the core ------------------------------------------------------------------------------------


def distance(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def errors_of(shape: Shape, rng: np.random.Generator) -> dict[str, float]:
    """The largest error of every result. The image is the kernel of a dense layer that reads
    one-hot rows, so the gradient of that kernel is the gradient of the image."""
    net = Net(rng)
    size, batch = int(np.prod(shape.image)), 2 if shape.image[0] < 25 else 1
    picture = net.variable((batch, size), -1, 1)
    flat = net.add("dense", net.input((batch,)), weights=(picture, None))
    image = net.add("reshape", flat, shape=shape.image)
    attrs = {"strides": shape.strides, "pads": shape.pads}
    fan_in = np.prod(shape.kernel[:2]) * (1 if shape.depthwise else shape.kernel[2])
    kernel = net.variable(shape.kernel, -((3 / fan_in) ** 0.5), (3 / fan_in) ** 0.5)
    bias = net.variable((shape.kernel[2 if shape.depthwise else 3],), -0.5, 0.5)
    op = "depthwise_conv2d" if shape.depthwise else "conv2d"
    y = net.add(op, image, weights=(kernel, bias), **attrs)

    feeds = [np.eye(batch, dtype=np.float32)]
    target = rng.normal(size=(batch, *net.shapes[y])).astype(np.float32)
    x, w = picture.numpy().reshape(batch, *shape.image).astype(float), kernel.numpy().astype(float)
    expected = forward(shape, x, w, target.shape) + bias.numpy()
    found = {}
    for exact in (True, False):
        tf.set_exact(exact)
        plan = net.plan(batch, [y])
        found[f"forward, exact={exact}"] = distance(plan.forward(feeds)[0], expected)
        plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], batch)
        got = plan.train(feeds, [target])[1][0]
        found[f"forward in training, exact={exact}"] = distance(got, expected)
        dy = 2 * (got.astype(float) - target) / target.size
        dx, dk = backward(shape, x, w, dy)
        gradients = plan.gradients()
        found[f"input, exact={exact}"] = distance(gradients[0].reshape(x.shape), dx)
        found[f"kernel, exact={exact}"] = distance(gradients[1], dk)
        found[f"bias, exact={exact}"] = distance(gradients[2], dy.sum((0, 1, 2)))
    return found


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield
    tf.set_exact(False)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases.WHOLE, ids=lambda case: case.network)
def test_every_convolution(case, rng):
    shapes = shapes_of(case.network, case.size)
    assert len(shapes) >= 9, "VGG16 has the fewest"
    worst: dict[str, float] = {}
    for shape in shapes:
        for what, error in errors_of(shape, rng).items():
            assert error <= TOLERANCE, f"{shape}: {what} is off by {error:.1e}"
            worst[what] = max(error, worst.get(what, 0.0))
    print(case.network, len(shapes), {what: f"{error:.1e}" for what, error in worst.items()})
