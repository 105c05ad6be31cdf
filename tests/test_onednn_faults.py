"""What is known to be wrong or missing in the oneDNN we ship: each has a test that the core gets it
right all the same."""

import threading
import time

import numpy as np
import pytest
from op_net import Net, check_forward, check_gradients, threads, training_plan

from tlfast import _core

MSE = {"kind": "mean_squared_error"}


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def image(net, shape, blocked):
    """An image with a trainable layer in front: a convolution leaves it in blocks of channels, a
    dense layer does not."""
    x = net.input(shape)
    return net.conv(x, shape[2]) if blocked else net.dense(x, shape[2])


LAYOUTS = pytest.mark.parametrize("blocked", [False, True], ids=["plain", "blocked"])


@LAYOUTS
@pytest.mark.parametrize("stride, pads", [(1, (2, 2, 2, 2)), (2, (1, 2, 1, 2)), (2, (2, 2, 2, 2))])
def test_weights_of_a_depthwise_5x5(stride, pads, blocked, rng):
    """Its kernel for them knows windows up to 3 wide; beyond that it is a reference loop."""
    net = Net(rng)
    x = image(net, (12, 11, 24), blocked)
    y = net.depthwise(x, 5, strides=(stride, stride), pads=pads)
    check_gradients(net, [y], batch=3)


@LAYOUTS
@pytest.mark.parametrize("channels", [3, 4, 5, 8, 12, 15, 16])
@pytest.mark.parametrize("groups", [1, 2])
def test_weights_of_a_strided_1x1_with_few_channels(channels, groups, blocked, rng):
    """oneDNN issue 6035: with channels last and fewer than 16 of them (8 on AVX2) it writes behind
    its scratchpad: wrong gradients, a hang, a crash."""
    net = Net(rng)
    x = image(net, (9, 8, channels * groups), blocked)
    y = net.conv(x, 16 * groups, 1, strides=(2, 2), groups=groups)
    for n in (1, 2):
        with threads(n):
            check_gradients(net, [y], batch=3, directions=1)


@LAYOUTS
@pytest.mark.parametrize("size", [7, 19, 55, 66])
@pytest.mark.parametrize("window", [1, 3])
def test_stride_two_on_odd_and_small_images(size, window, blocked, rng):
    """1x1 windows that do not end at the border, and the strided gradient of the image, for which
    later versions changed the shapes they allow."""
    net = Net(rng)
    x = image(net, (size, 5, 16), blocked)
    y = net.conv(x, 16, window, strides=(2, 2), pads=(0, 0, 1, 1) if window == 3 else (0, 0, 0, 0))
    check_gradients(net, [y], batch=2, directions=1)


WINDOWS = [
    # image, window, strides, pads
    ((3, 3), (7, 1), (1, 1), (3, 3, 0, 0)),
    ((3, 3), (1, 7), (1, 1), (0, 0, 3, 3)),
    ((1, 1), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((2, 5), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((4, 4), (5, 5), (1, 1), (2, 2, 2, 2)),
]


@LAYOUTS
@pytest.mark.parametrize("image_size, window, strides, pads", WINDOWS)
def test_weights_of_a_window_larger_than_the_image(
    image_size, window, strides, pads, blocked, rng
):
    """In blocks of channels their gradient is a reference loop where the window is the higher."""
    net = Net(rng)
    y = net.conv(image(net, (*image_size, 24), blocked), 32, window, strides=strides, pads=pads)
    check_forward(net, [y], 3)
    check_gradients(net, [y], batch=3)


@pytest.mark.unsanitized
def test_they_take_no_longer_than_in_an_image_that_is_large_enough(rng):
    def milliseconds(height: int) -> float:
        net = Net(rng)
        y = net.conv(image(net, (height, 3, 128), True), 128, (7, 1), pads=(3, 3, 0, 0))
        plan = training_plan(net, [y], [MSE], 8)
        feeds, target = net.draw(8), [np.zeros((8, *net.shapes[y]), np.float32)]
        plan.train(feeds, target)
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            plan.train(feeds, target)
            taken.append(time.perf_counter() - start)
        return 1000 * min(taken)

    small, large = milliseconds(3), milliseconds(9)  # a third of the work, or less
    assert small < 2 * large, (small, large)


def test_a_small_head_and_many_threads(rng):
    """Its inner product adds partial sums nobody wrote where threads outnumber the classes."""
    net = Net(rng)
    y = net.dense(net.dense(net.input((37,)), 320), 10)
    with threads(16):
        check_gradients(net, [y], batch=8)


@LAYOUTS
def test_groups_of_few_channels(blocked, rng):
    """Only channels last is fast for them, in all three directions."""
    net = Net(rng)
    y = net.conv(image(net, (8, 8, 32), blocked), 32, 3, groups=8, pads=(1, 1, 1, 1))
    check_forward(net, [y])
    check_gradients(net, [y], batch=2)


@pytest.mark.parametrize("channels", [24, 40])
def test_channels_that_fill_no_block(channels, rng):
    """What lies in the rest of a block may not reach a result, whatever 0 is turned into."""
    net = Net(rng)
    x = net.conv(net.input((6, 5, 3)), channels, 3, pads=(1, 1, 1, 1))
    for kind in ("exponential", "softplus", "sigmoid"):
        x = net.act(net.norm(net.conv(net.act(x, kind), channels), training=True), "relu6")
    check_forward(net, [x], 3)
    check_gradients(net, [net.dense(net.add("global_avg_pool", x), 3)], batch=3, some_flat=True)


def test_plans_made_in_several_threads(rng):
    """Descriptions of strided gradients share a variable of the library that nobody guards."""
    nets, expected, got = [Net(np.random.default_rng(i)) for i in range(3)], [], [[] for _ in "123"]
    jobs = []
    for i, net in enumerate(nets):
        x = net.conv(net.conv(net.input((10, 10, 8)), 16 + 8 * i, 3, strides=(2, 2)), 24)
        jobs.append((net, net.conv(x, 7, 3, strides=(2, 2)), net.draw(2)))

    def gradients(net, y, feeds):
        plan = training_plan(net, [y], [MSE], 2)
        plan.train(feeds, [np.zeros((2, *net.shapes[y]), np.float32)])
        return b"".join(g.tobytes() for g in plan.gradients())

    expected = [gradients(*job) for job in jobs]
    workers = [threading.Thread(target=lambda i=i: got[i].extend(
        gradients(*jobs[i]) for _ in range(10))) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert got == [[bits] * 10 for bits in expected]


def test_tensors_of_more_than_two_to_the_31(rng):
    """Sizes of 32 bits wrap in some of its kernels, so no tensor is that large."""
    net = Net(rng)
    x = net.input((8192, 8192, 3))
    with pytest.raises(ValueError, match=r"at most 2\^31 elements"):
        net.conv(x, 64, 3, pads=(1, 1, 1, 1))


def test_denormals_are_zeros(rng):
    """Flushed to zero on every thread of the team; the caller's own threads keep them."""
    net = Net(rng)
    y = net.conv(net.input((8, 8, 32)), 32, 3, pads=(1, 1, 1, 1), bias=False)
    tiny = np.full((1, 8, 8, 32), 1e-40, np.float32)
    for n in (1, 2):
        with threads(n):
            assert not net.plan(1, [y]).forward([tiny])[0].any()
    assert (tiny * np.float32(0.5)).all()
    assert _core.num_threads() == 1
