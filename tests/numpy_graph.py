"""A graph that computes in float64 NumPy what layers ask of `_core.Graph`: the reference."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def _padded(x, pads, value=0.0):
    top, bottom, left, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _windows(x, size, strides, dilation=(1, 1)):
    """(n, rows, columns, channels, kh, kw)."""
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    view = sliding_window_view(x, reach, axis=(1, 2))
    return view[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


def conv2d(x, kernel, bias=None, *, strides, dilation, groups, pads):
    windows = _windows(_padded(x, pads), kernel.shape[:2], strides, dilation)
    inputs, outputs = x.shape[-1] // groups, kernel.shape[-1] // groups
    parts = []
    for i in range(groups):
        part = windows[..., i * inputs : (i + 1) * inputs, :, :]
        parts.append(np.einsum("nhwcij,ijco->nhwo", part,
                               kernel[..., i * outputs : (i + 1) * outputs]))
    y = np.concatenate(parts, axis=-1)
    return y if bias is None else y + bias


def depthwise_conv2d(x, kernel, bias=None, *, strides, dilation, pads):
    windows = _windows(_padded(x, pads), kernel.shape[:2], strides, dilation)
    y = np.einsum("nhwcij,ijcm->nhwcm", windows, kernel)
    y = y.reshape(*y.shape[:3], -1)
    return y if bias is None else y + bias


def dense(x, kernel, bias=None):
    y = x @ kernel
    return y if bias is None else y + bias


def batch_norm(x, gamma, beta, mean, variance, *, epsilon, momentum, training):
    if training:
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axis=axes), x.var(axis=axes)
    y = (x - mean) / np.sqrt(variance + epsilon)
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def activation(x, *, kind, alpha=None):
    sigmoid = 1 / (1 + np.exp(-x))
    if kind == "softmax":
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    return {
        "relu": lambda: np.maximum(x, 0),
        "relu6": lambda: np.clip(x, 0, 6),
        "leaky_relu": lambda: np.where(x > 0, x, alpha * x),
        "elu": lambda: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
        "sigmoid": lambda: sigmoid,
        "swish": lambda: x * sigmoid,
        "tanh": lambda: np.tanh(x),
        "gelu": lambda: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
        "hard_sigmoid": lambda: np.clip(x + 3, 0, 6) / 6,
        "hard_swish": lambda: x * np.clip(x + 3, 0, 6) / 6,
        "exponential": lambda: np.exp(x),
        "softplus": lambda: np.logaddexp(x, 0),
    }[kind]()


def max_pool2d(x, *, pool, strides, pads):
    return _windows(_padded(x, pads, -np.inf), pool, strides).max(axis=(-2, -1))


def avg_pool2d(x, *, pool, strides, pads):
    total = _windows(_padded(x, pads), pool, strides).sum(axis=(-2, -1))
    count = _windows(_padded(np.ones_like(x), pads), pool, strides).sum(axis=(-2, -1))
    return total / count


def scale_shift(x, *, scale, shift, reverse_channels):
    x = x[..., ::-1] if reverse_channels else x
    return x * np.asarray(scale) + np.asarray(shift)


def zero_pad2d(x, *, pads):
    return _padded(x, pads)


def crop2d(x, *, pads):
    top, bottom, left, right = pads
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def reshape(x, *, shape):
    return x.reshape(len(x), *shape)


def dropout(x, *, rate, seed, per_sample):
    shape = (len(x),) + (1,) * (x.ndim - 1) if per_sample else x.shape
    return x * (np.random.default_rng(seed).random(shape) >= rate) / (1 - rate)


def random_affine(x, *, flip, rotation, zoom_h, zoom_w, fill_mode, fill_value, interpolation,
                  seed):
    return x[:, :, ::-1] if "horizontal" in flip else x


def elementwise(function):
    def combine(*inputs):
        y = inputs[0]
        for x in inputs[1:]:
            y = function(y, x)
        return y

    return combine


OPS = {
    "conv2d": conv2d, "depthwise_conv2d": depthwise_conv2d, "dense": dense,
    "batch_norm": batch_norm, "activation": activation, "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d, "scale_shift": scale_shift, "zero_pad2d": zero_pad2d,
    "crop2d": crop2d, "reshape": reshape, "dropout": dropout, "random_affine": random_affine,
    "global_avg_pool": lambda x: x.mean(axis=(1, 2)),
    "global_max_pool": lambda x: x.max(axis=(1, 2)),
    "add": elementwise(np.add), "subtract": elementwise(np.subtract),
    "multiply": elementwise(np.multiply), "maximum": elementwise(np.maximum),
    "average": lambda *inputs: sum(inputs) / len(inputs),
    "concat": lambda *inputs, axis: np.concatenate(inputs, axis=axis),
}


class NumpyGraph:
    """Values are computed as they are added; `ops` keeps (op, name, attributes) of each."""

    def __init__(self):
        self.values = []
        self.ops = []

    def input(self, array):
        self.values.append(np.asarray(array, np.float64))
        return len(self.values) - 1

    def shape(self, value):
        return self.values[value].shape

    def add(self, op, inputs, weights, name, **attributes):
        arrays = [None if w is None else np.asarray(w.numpy(), np.float64) for w in weights]
        self.ops.append((op, name, attributes))
        self.values.append(OPS[op](*(self.values[i] for i in inputs), *arrays, **attributes))
        return len(self.values) - 1


def run(layer, *arrays, training=False):
    """Return (output or outputs, graph) of a layer or model on arrays."""
    g = NumpyGraph()
    out = layer.lower(g, [g.input(a) for a in arrays], training)
    if isinstance(out, list):
        return [g.values[i] for i in out], g
    return g.values[out], g
