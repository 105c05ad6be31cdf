"""Every op of csrc/graph/ops.def in float64 NumPy, as Keras defines it; losses; optimizers.

Written for being obviously right: loops over windows and einsum, nothing shared with the core.
Arrays are channels-last. Convolution kernels are (kh, kw, in / groups, out), depthwise kernels
(kh, kw, channels, multiplier).
"""

import math

import numpy as np

EPSILON = 1e-7  # keras.config.epsilon()


# ---- windows ----------------------------------------------------------------------------------


def zero_pad2d(x, *, pads, value=0.0):
    top, bottom, left, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def crop2d(x, *, pads):
    top, bottom, left, right = pads
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def _taps(x, size, strides, dilation):
    """(row, column, the pixels of x under this cell of the window at all positions)."""
    reach = [dilation[i] * (size[i] - 1) + 1 for i in range(2)]
    rows, columns = ((x.shape[1 + i] - reach[i]) // strides[i] + 1 for i in range(2))
    for i in range(size[0]):
        for j in range(size[1]):
            y0, x0 = i * dilation[0], j * dilation[1]
            yield i, j, x[:, y0 : y0 + strides[0] * (rows - 1) + 1 : strides[0],
                          x0 : x0 + strides[1] * (columns - 1) + 1 : strides[1]]


def conv2d(x, kernel, bias=None, *, strides=(1, 1), dilation=(1, 1), groups=1, pads=(0, 0, 0, 0)):
    x = zero_pad2d(x, pads=pads)
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    y = 0.0
    for i, j, tap in _taps(x, kernel.shape[:2], strides, dilation):
        parts = [tap[..., g * inputs : (g + 1) * inputs]
                 @ kernel[i, j, :, g * outputs : (g + 1) * outputs] for g in range(groups)]
        y = y + np.concatenate(parts, axis=-1)
    return y if bias is None else y + bias


def depthwise_conv2d(x, kernel, bias=None, *, strides=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0)):
    x = zero_pad2d(x, pads=pads)
    y = 0.0
    for i, j, tap in _taps(x, kernel.shape[:2], strides, dilation):
        y = y + np.einsum("nhwc,cm->nhwcm", tap, kernel[i, j])
    y = y.reshape(*y.shape[:3], -1)
    return y if bias is None else y + bias


def max_pool2d(x, *, pool, strides, pads=(0, 0, 0, 0)):
    x = zero_pad2d(x, pads=pads, value=-np.inf)
    return np.max([tap for _, _, tap in _taps(x, pool, strides, (1, 1))], axis=0)


def avg_pool2d(x, *, pool, strides, pads=(0, 0, 0, 0)):
    inside = zero_pad2d(np.ones_like(x), pads=pads)
    x = zero_pad2d(x, pads=pads)
    total = sum(tap for _, _, tap in _taps(x, pool, strides, (1, 1)))
    return total / sum(tap for _, _, tap in _taps(inside, pool, strides, (1, 1)))


def global_avg_pool(x):
    return x.mean(axis=(1, 2))


def global_max_pool(x):
    return x.max(axis=(1, 2))


# ---- everything else --------------------------------------------------------------------------


def dense(x, kernel, bias=None):
    y = np.einsum("...i,io->...o", x, kernel)
    return y if bias is None else y + bias


def batch_statistics(x):
    """Mean and biased variance per channel (Keras 3)."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    return mean, ((x - mean) ** 2).mean(axis=axes)


def batch_norm(x, gamma, beta, mean, variance, *, epsilon, momentum, training):
    if training:
        mean, variance = batch_statistics(x)
    y = (x - mean) / np.sqrt(variance + epsilon)
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def _softmax(x, alpha):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


_erf = np.vectorize(math.erf, otypes=[float])

# kind: (function of x and alpha, alpha that an activation without one uses)
ACTIVATIONS = {
    "linear": (lambda x, a: x, None),
    "relu": (lambda x, a: np.where(x > 0, x, a * x), 0.0),
    "relu6": (lambda x, a: np.clip(x, 0, 6), None),
    "leaky_relu": (lambda x, a: np.where(x > 0, x, a * x), 0.2),
    "elu": (lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))), 1.0),
    "sigmoid": (lambda x, a: 1 / (1 + np.exp(-x)), None),
    "tanh": (lambda x, a: np.tanh(x), None),
    "swish": (lambda x, a: x / (1 + np.exp(-x)), None),
    "gelu": (lambda x, a: x * (1 + _erf(x / math.sqrt(2))) / 2, None),
    "hard_sigmoid": (lambda x, a: np.clip(x + 3, 0, 6) / 6, None),
    "hard_swish": (lambda x, a: x * np.clip(x + 3, 0, 6) / 6, None),
    "exponential": (lambda x, a: np.exp(x), None),
    "softplus": (lambda x, a: np.logaddexp(x, 0), None),
    "softmax": (_softmax, None),
}


def activation(x, *, kind, alpha=None):
    function, default = ACTIVATIONS[kind]
    return function(x, default if alpha is None else alpha)


def _spread(x, like):
    """(N, 1, 1, C) and (N, H, W, 1) broadcast; other shapes have to be equal."""
    return np.broadcast_to(x, like.shape)


def add(first, *others):
    return first + sum(_spread(x, first) for x in others)


def subtract(first, *others):
    return first - sum(_spread(x, first) for x in others)


def multiply(first, *others):
    for x in others:
        first = first * _spread(x, first)
    return first


def average(first, *others):
    return add(first, *others) / (1 + len(others))


def maximum(first, *others):
    for x in others:
        first = np.maximum(first, _spread(x, first))
    return first


def concat(*inputs):
    return np.concatenate(inputs, axis=-1)


def reshape(x, *, shape):
    return x.reshape(len(x), *shape)


def scale_shift(x, *, scale, shift, reverse_channels=False):
    x = x[..., ::-1] if reverse_channels else x
    return x * np.asarray(scale) + np.asarray(shift)


# ---- randomness -------------------------------------------------------------------------------


def _mix(x):
    x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed, stream, counters):
    """The core's random numbers in [0, 1): SplitMix64 over (seed, stream, counter), 24 bits."""
    with np.errstate(over="ignore"):
        key = _mix(_mix(np.asarray([seed], np.uint64)) ^ np.uint64(stream))
        bits = _mix(key ^ np.asarray(counters, np.uint64)) >> np.uint64(40)
    return bits.astype(np.float64) * 2.0**-24


def dropout(x, *, rate, seed, per_sample=False, run_seed=0):
    """Of a row-major array; in a blocked layout the core numbers the elements otherwise."""
    counters = np.arange(len(x) if per_sample else x.size)
    keep = uniform(seed, run_seed, counters) >= np.float32(rate)
    shape = (len(x),) + (1,) * (x.ndim - 1) if per_sample else x.shape
    return x * keep.reshape(shape) / (1 - np.float64(np.float32(rate)))


def _inside(u, n, mode):
    """TensorFlow's MapCoordinate: continuous coordinates brought back into [0, n - 1]."""
    if mode == "constant":
        return u
    if mode == "reflect":  # dcba|abcd|dcba
        u = u % (2 * n)
        u = np.where(u >= n, 2 * n - u - 1, u)
        # between the two copies of an edge pixel lies that pixel
        return np.clip(u, 0, n - 1)
    if mode == "wrap":
        below, above = u < 0, u > n - 1
        shifted = u + n * (np.trunc(-u / (n - 1)) + 1) if n > 1 else u * 0
        lowered = u - n * np.trunc(u / (n - 1)) if n > 1 else u * 0
        u = np.where(below, shifted, np.where(above, lowered, u))
    return np.clip(u, 0, n - 1)


def affine_image(x, matrix, *, fill_mode="reflect", fill_value=0.0, interpolation="bilinear"):
    """out(u, v) = in(m0 u + m1 v + m2, m3 u + m4 v + m5) for one (H, W, C) image."""
    h, w = x.shape[:2]
    v, u = np.mgrid[0:h, 0:w].astype(float)
    m = matrix
    sx = _inside(m[0] * u + m[1] * v + m[2], w, fill_mode)
    sy = _inside(m[3] * u + m[4] * v + m[5], h, fill_mode)

    def read(rows, columns):
        rows, columns = rows.astype(int), columns.astype(int)
        ok = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        values = x[np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)]
        return np.where(ok[..., None], values, fill_value)

    if interpolation == "nearest":  # std::round: halves away from zero
        return read(np.trunc(sy + np.copysign(0.5, sy)), np.trunc(sx + np.copysign(0.5, sx)))
    y0, x0 = np.floor(sy), np.floor(sx)
    fy, fx = (sy - y0)[..., None], (sx - x0)[..., None]
    top = read(y0, x0) * (1 - fx) + read(y0, x0 + 1) * fx
    bottom = read(y0 + 1, x0) * (1 - fx) + read(y0 + 1, x0 + 1) * fx
    return top * (1 - fy) + bottom * fy


def affine_matrix(h, w, angle, zoom_h, zoom_w):
    """Keras' RandomRotation (angle in turns, counter-clockwise) after RandomZoom (> 1: out)."""
    c, s = math.cos(2 * math.pi * angle), math.sin(2 * math.pi * angle)
    m = [c * zoom_w, -s * zoom_h, 0, s * zoom_w, c * zoom_h, 0]
    cx, cy = (w - 1) / 2, (h - 1) / 2
    m[2] = cx - m[0] * cx - m[1] * cy
    m[5] = cy - m[3] * cx - m[4] * cy
    return m


def random_affine(x, *, flip="", rotation=(0, 0), zoom_h=(0, 0), zoom_w=(0, 0),
                  fill_mode="reflect", fill_value=0.0, interpolation="bilinear", seed=0,
                  run_seed=0):
    out = np.empty_like(x)
    for n, image in enumerate(x):
        draws = uniform(seed, run_seed, n * 8 + np.arange(5))

        def between(limits, k, draws=draws):
            lo, hi = (float(np.float32(limit)) for limit in limits)
            return lo + (hi - lo) * draws[k]

        zoom = 1 + between(zoom_h, 3)
        zoom_x = zoom if zoom_w is None else 1 + between(zoom_w, 4)
        matrix = affine_matrix(*image.shape[:2], between(rotation, 2), zoom, zoom_x)
        image = affine_image(image, matrix, fill_mode=fill_mode, fill_value=fill_value,
                             interpolation=interpolation)
        # then the flips; one draw decides both axes of "horizontal_and_vertical" (Keras)
        rows = slice(None, None, -1 if draws[0] <= 0.5 and "vertical" in flip else 1)
        columns = slice(None, None, -1 if draws[0] <= 0.5 and "horizontal" in flip else 1)
        out[n] = image[rows, columns]
    return out


OPS = {
    "input": lambda x: x, "conv2d": conv2d, "depthwise_conv2d": depthwise_conv2d, "dense": dense,
    "batch_norm": batch_norm, "activation": activation, "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d, "global_avg_pool": global_avg_pool,
    "global_max_pool": global_max_pool, "add": add, "subtract": subtract, "multiply": multiply,
    "average": average, "maximum": maximum, "concat": concat, "zero_pad2d": zero_pad2d,
    "crop2d": crop2d, "reshape": reshape, "dropout": dropout, "scale_shift": scale_shift,
    "random_affine": random_affine,
}
RANDOM_OPS = {"dropout", "random_affine"}


# ---- losses: value per row --------------------------------------------------------------------


def _smooth(y, spec, to):
    smoothing = spec.get("label_smoothing", 0.0)
    return y * (1 - smoothing) + smoothing * to


def _clipped(p, low=EPSILON, high=1 - EPSILON):
    return np.clip(p, low, high)


def categorical_crossentropy(z, y, spec):
    y = _smooth(y, spec, 1 / z.shape[-1])
    if spec.get("from_logits"):
        z = z - z.max(axis=-1, keepdims=True)
        return -(y * (z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))).sum(axis=-1)
    p = _clipped(z / z.sum(axis=-1, keepdims=True))
    return -(y * np.log(p)).sum(axis=-1)


def sparse_categorical_crossentropy(z, y, spec):
    if not spec.get("from_logits"):  # the clipped logarithms go through a softmax again
        z = np.log(_clipped(z))
    one_hot = np.eye(z.shape[-1])[y.astype(int)]
    return categorical_crossentropy(z, one_hot, {"from_logits": True})


def binary_crossentropy(z, y, spec):
    y = _smooth(y, spec, 0.5)
    if spec.get("from_logits"):
        return (np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))).mean(axis=-1)
    p = _clipped(z)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(axis=-1)


def binary_focal_crossentropy(z, y, spec):
    y = _smooth(y, spec, 0.5)
    p = 1 / (1 + np.exp(-z)) if spec.get("from_logits") else z
    q, alpha = _clipped(p), spec["alpha"]
    entropy = -(y * np.log(q) + (1 - y) * np.log(1 - q))
    right = y * p + (1 - y) * (1 - p)
    balance = y * alpha + (1 - y) * (1 - alpha) if spec.get("apply_class_balancing") else 1
    return (balance * (1 - right) ** spec["gamma"] * entropy).mean(axis=-1)


def categorical_focal_crossentropy(z, y, spec):
    y = _smooth(y, spec, 1 / z.shape[-1])
    p = _softmax(z, None) if spec.get("from_logits") else z
    p = _clipped(p / p.sum(axis=-1, keepdims=True))
    return -(spec["alpha"] * (1 - p) ** spec["gamma"] * y * np.log(p)).sum(axis=-1)


def mean_squared_error(z, y, spec):
    return ((z - y) ** 2).mean(axis=-1)


def mean_absolute_error(z, y, spec):
    return np.abs(z - y).mean(axis=-1)


def mean_absolute_percentage_error(z, y, spec):
    return 100 * (np.abs(y - z) / np.maximum(np.abs(y), EPSILON)).mean(axis=-1)


def mean_squared_logarithmic_error(z, y, spec):
    z, y = (np.log(np.maximum(a, EPSILON) + 1) for a in (z, y))
    return ((z - y) ** 2).mean(axis=-1)


def huber(z, y, spec):
    e, delta = np.abs(z - y), spec["delta"]
    return np.where(e <= delta, e**2 / 2, delta * e - delta**2 / 2).mean(axis=-1)


def log_cosh(z, y, spec):
    return np.log(np.cosh(z - y)).mean(axis=-1)


def poisson(z, y, spec):
    return (z - y * np.log(z + EPSILON)).mean(axis=-1)


def _signs(y):
    """Labels 0 and 1 stand for -1 and 1."""
    return 2 * y - 1 if np.isin(y, (0, 1)).all() else y


def hinge(z, y, spec):
    return np.maximum(1 - _signs(y) * z, 0).mean(axis=-1)


def squared_hinge(z, y, spec):
    return (np.maximum(1 - _signs(y) * z, 0) ** 2).mean(axis=-1)


def categorical_hinge(z, y, spec):
    right, wrong = (y * z).sum(axis=-1), ((1 - y) * z).max(axis=-1)
    return np.maximum(wrong - right + 1, 0)


def kl_divergence(z, y, spec):
    z, y = _clipped(z, high=1), _clipped(y, high=1)
    return (y * np.log(y / z)).sum(axis=-1)


def cosine_similarity(z, y, spec):
    z, y = (a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), EPSILON) for a in (z, y))
    return -(z * y).sum(axis=-1)


LOSSES = {f.__name__: f for f in (
    categorical_crossentropy, sparse_categorical_crossentropy, binary_crossentropy,
    mean_squared_error, mean_absolute_error, mean_absolute_percentage_error,
    mean_squared_logarithmic_error, huber, log_cosh, poisson, hinge, squared_hinge,
    categorical_hinge, kl_divergence, cosine_similarity, binary_focal_crossentropy,
    categorical_focal_crossentropy)}


def loss(spec, prediction, targets, sample_weight=None):
    """Keras' reduction: sum(weight * loss) / number of losses."""
    rows = LOSSES[spec["kind"]](prediction, np.asarray(targets, float), spec).reshape(-1)
    weight = 1.0 if sample_weight is None else np.asarray(sample_weight, float).reshape(-1)
    return float((rows * weight).sum() / len(rows))


# ---- optimizers -------------------------------------------------------------------------------


def clip(spec, gradients):
    if spec.get("clipvalue"):
        gradients = [np.clip(g, -spec["clipvalue"], spec["clipvalue"]) for g in gradients]
    if limit := spec.get("clipnorm"):
        gradients = [g * limit / max(np.linalg.norm(g), limit) for g in gradients]
    if limit := spec.get("global_clipnorm"):
        norm = math.sqrt(sum((g**2).sum() for g in gradients))
        gradients = [g * limit / max(norm, limit) for g in gradients]
    return gradients


def _sgd(spec, slots, g, rate, t):
    momentum = spec.get("momentum", 0.0)
    if momentum == 0:
        return -rate * g
    slots[0] = momentum * slots[0] - rate * g
    return momentum * slots[0] - rate * g if spec.get("nesterov") else slots[0]


def _adam(spec, slots, g, rate, t):
    b1, b2 = spec.get("beta_1", 0.9), spec.get("beta_2", 0.999)
    slots[0] = slots[0] + (g - slots[0]) * (1 - b1)
    slots[1] = slots[1] + (g * g - slots[1]) * (1 - b2)
    velocity = slots[1]
    if spec.get("amsgrad"):
        velocity = slots[2] = np.maximum(slots[2], velocity)
    alpha = rate * math.sqrt(1 - b2**t) / (1 - b1**t)
    return -alpha * slots[0] / (np.sqrt(velocity) + spec.get("epsilon", 1e-7))


def _rmsprop(spec, slots, g, rate, t):
    rho = spec.get("rho", 0.9)
    slots[0] = rho * slots[0] + (1 - rho) * g * g
    denominator = slots[0] + spec.get("epsilon", 1e-7)
    if spec.get("centered"):
        slots[2] = rho * slots[2] + (1 - rho) * g
        denominator = denominator - slots[2] ** 2
    step = rate * g / np.sqrt(denominator)
    if spec.get("momentum", 0.0) > 0:
        step = slots[1] = spec["momentum"] * slots[1] + step
    return -step


OPTIMIZERS = {"sgd": _sgd, "adam": _adam, "adamw": _adam, "rmsprop": _rmsprop}


def optimizer_step(spec, weights, slots, gradients, rate, iteration):
    """Clip, then weight decay, then the update (Keras' order). Lists are changed in place."""
    for i, g in enumerate(clip(spec, gradients)):
        weights[i] = weights[i] - weights[i] * spec.get("weight_decay", 0.0) * rate
        weights[i] = weights[i] + OPTIMIZERS[spec["kind"]](spec, slots[i], g, rate, iteration + 1)
