"""Windows that leave out the source's end: back through them AVX2 has only a reference loop of
oneDNN's, which a smaller gradient avoids."""

import os
import subprocess
import sys

import numpy as np
import pytest
from op_net import Net, check_gradients, training_plan

from tlfast import _core

SHAPES = [  # rows, columns, window, padding: top, bottom, left, right
    (12, 12, 3, (0, 0, 0, 0)),  # the last row and column are read by no window
    (12, 11, 3, (0, 0, 0, 0)),  # the last row
    (11, 12, 3, (0, 0, 0, 0)),  # the last column
    (13, 10, 5, (1, 0, 1, 0)),
    (12, 12, 3, (0, 1, 0, 1)),  # none: the padding is left out
]


def network(rng, height: int, width: int, window: int, pads: tuple) -> tuple[Net, int]:
    """A convolution before it, so that a gradient has to go back."""
    net = Net(rng)
    x = net.conv(net.input((height, width, 16)), 32, 1)
    return net, net.conv(x, 32, window, strides=(2, 2), pads=pads)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(rng, shape):
    net, y = network(rng, *shape)
    check_gradients(net, [y], batch=3)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_reference_loop(rng, shape):
    net, y = network(rng, *shape)
    plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 2)
    names = [name for step in plan.profile() for name in step["kernels"] if name]
    assert names and not any(name.startswith("ref") for name in names), names


def test_with_avx2_only():
    """The same in a process without wider instructions, where the loop would be chosen."""
    if _core.onednn_info()["isa"] & 0x7 != 0x7:
        pytest.skip("a processor without AVX2")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([*command, "-k", "not avx2_only"], env=environment, text=True,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0 and f"{2 * len(SHAPES) + 1} passed" in done.stdout, done.stdout


def test_what_is_left_out_has_no_gradient(rng):
    """Zeros, not what the memory held."""
    net, y = network(rng, *SHAPES[0])
    kernel = net.variables[0]
    x = np.zeros((2, 12, 12, 16), np.float32)
    x[:, 11], x[:, :, 11] = 1, 1  # only there, so the first kernel's gradient is that of the rest
    plan = training_plan(net, [y], [{"kind": "mean_squared_error"}], 2, trainable=[kernel])
    for _ in range(2):
        plan.train([x], [np.ones((2, 5, 5, 32), np.float32)], learning_rate=0.0)
        assert not plan.gradients()[0].any()
