"""A small network written once and computed twice: by the core and by op_references in float64.

Checks the core's values, losses and gradients; shared by test_ops, test_plan and test_threads.
"""

import contextlib

import numpy as np
import op_references as ref

import tlfast  # noqa: F401  (opens oneDNN)
from tlfast import _core

# float32 rounding of sums over some hundred products, relative to the largest value.
FORWARD = 1e-5
# The same in bfloat16, whose numbers have 8 bits: sources, kernels and results are rounded.
FORWARD_BF16 = 2e-2
LOSS = 2e-6
# of directional derivatives, relative to the length of the gradient; float32 backward passes.
GRADIENT = 2e-4
GRADIENT_FLOOR = 3e-6
# Step of the central difference in float64: small, since maxima and ReLUs have kinks.
STEP = 1e-7


@contextlib.contextmanager
def threads(n):
    """Compute with n threads. One is the default of these tests: teams of two wait for each other
    at every tiny step where the machine has other things to do."""
    before = _core.num_threads()
    _core.set_num_threads(n)
    try:
        yield
    finally:
        _core.set_num_threads(before)


def assert_close(got, expected, tolerance=FORWARD, what=""):
    expected = np.asarray(expected)
    assert got.shape == expected.shape, what
    scale = max(np.abs(expected).max(), 1e-3)
    worst = np.abs(got - expected).max() / scale  # NaN fails below
    assert worst <= tolerance, f"{what}: off by {worst:.2e} of the largest value"


class Net:
    """A list of (op, inputs, weights, attributes); value i is made by entry i."""

    def __init__(self, rng, dtype="float32"):
        self.rng = rng
        self.dtype = dtype  # what the nodes ask for
        self.nodes = []
        self.shapes = []  # without batch
        self.feeds = []
        self.variables = []

    # ---- writing it

    def input(self, shape):
        self.nodes.append(("input", (), (), {}))
        self.feeds.append(len(self.nodes) - 1)
        self.shapes.append(tuple(shape))
        return self.feeds[-1]

    def variable(self, shape, low=None, high=None):
        """Normal values scaled by the fan-in, or uniform between low and high."""
        made = _core.Variable(tuple(shape))
        if low is None:
            values = self.rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[:-1])))
        else:
            values = self.rng.uniform(low, high, shape)
        made.assign(values.astype(np.float32))
        self.variables.append(made)
        return made

    def add(self, op, *inputs, weights=(), **attrs):
        self.nodes.append((op, inputs, tuple(weights), attrs))
        self.shapes.append(self.lower(1)[0].shape(len(self.nodes) - 1)[1:])
        return len(self.nodes) - 1

    # ---- layers with new weights

    def conv(self, x, filters, size=1, bias=True, groups=1, **attrs):
        size = (size, size) if isinstance(size, int) else size
        kernel = self.variable((*size, self.shapes[x][-1] // groups, filters))
        bias = self.variable((filters,), -0.5, 0.5) if bias else None
        return self.add("conv2d", x, weights=(kernel, bias), groups=groups, **attrs)

    def depthwise(self, x, size=3, multiplier=1, bias=True, **attrs):
        channels = self.shapes[x][-1]
        kernel = self.variable((size, size, channels, multiplier), -0.5, 0.5)
        bias = self.variable((channels * multiplier,), -0.5, 0.5) if bias else None
        return self.add("depthwise_conv2d", x, weights=(kernel, bias), **attrs)

    def dense(self, x, units, bias=True):
        kernel = self.variable((self.shapes[x][-1], units))
        bias = self.variable((units,), -0.5, 0.5) if bias else None
        return self.add("dense", x, weights=(kernel, bias))

    def norm(self, x, training=False, scale=True, center=True, momentum=0.9, epsilon=1e-3):
        n = self.shapes[x][-1:]
        weights = (self.variable(n, 0.5, 1.5) if scale else None,
                   self.variable(n, -0.5, 0.5) if center else None,
                   self.variable(n, -0.5, 0.5), self.variable(n, 0.5, 2))
        return self.add("batch_norm", x, weights=weights, epsilon=epsilon, momentum=momentum,
                        training=training)

    def act(self, x, kind="relu", **attrs):
        return self.add("activation", x, kind=kind, **attrs)

    # ---- computing it

    def tolerance(self, float32, bfloat16):
        return bfloat16 if self.dtype == "bfloat16" else float32

    def lower(self, batch):
        """(graph, values of the feeds)."""
        graph = _core.Graph(batch)
        graph.dtype = self.dtype
        for i, (op, inputs, weights, attrs) in enumerate(self.nodes):
            if op == "input":
                graph.input(self.shapes[i], f"input_{i}")
            else:
                graph.add(op, list(inputs), list(weights), f"{op}_{i}", **attrs)
        return graph, tuple(self.feeds)

    def moving(self):
        """Variables that no gradient reaches: moving statistics."""
        return [w for op, _, weights, _ in self.nodes if op == "batch_norm" for w in weights[2:]]

    def trainable(self):
        moving = {id(w) for w in self.moving()}
        return [v for v in self.variables if id(v) not in moving]

    def draw(self, batch):
        """Random feeds."""
        return [self.rng.normal(size=(batch, *self.shapes[v])).astype(np.float32)
                for v in self.feeds]

    def evaluate(self, feeds, changed=None, run_seed=0, given=None):
        """All values in float64; `changed` maps id(variable) to other values, `given` fixes some.
        """
        arrays = {id(v): v.numpy().astype(float) for v in self.variables} | (changed or {})
        feeds = dict(zip(self.feeds, feeds, strict=True))
        values = []
        for i, (op, inputs, weights, attrs) in enumerate(self.nodes):
            sources = [values[k] for k in inputs] if op != "input" else [feeds[i].astype(float)]
            extra = {"run_seed": run_seed} if op in ref.RANDOM_OPS else {}
            w = [None if v is None else arrays[id(v)] for v in weights]
            computed = (given or {}).get(i)
            values.append(ref.OPS[op](*sources, *w, **attrs, **extra)
                          if computed is None else computed(*sources))
        return values

    def plan(self, batch, outputs, pool=None, **more):
        graph, feeds = self.lower(batch)
        return _core.Plan(graph, feeds, tuple(outputs), pool or _core.Pool(), **more)


def check_forward(net, outputs, batch=2, feeds=None, seed=0, tolerance=None):
    """Inference plan against the reference; returns the plan."""
    tolerance = tolerance or net.tolerance(FORWARD, FORWARD_BF16)
    feeds = net.draw(batch) if feeds is None else feeds
    plan = net.plan(batch, outputs)
    expected = net.evaluate(feeds, run_seed=seed)
    for repeat in range(2):  # memory of the first run must not matter
        for v, got in zip(outputs, plan.forward(feeds, seed=seed), strict=True):
            assert_close(got, expected[v], tolerance, f"value {v} {net.nodes[v][0]} run {repeat}")
    return plan


def make_targets(net, outputs, specs, batch, rng):
    targets = []
    for v, spec in zip(outputs, specs, strict=True):
        shape = (batch, *net.shapes[v])
        if spec["kind"] == "sparse_categorical_crossentropy":
            y = rng.integers(0, shape[-1], shape[:-1])
        elif spec["kind"] == "categorical_crossentropy":
            y = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        elif spec["kind"] == "binary_crossentropy":
            y = rng.uniform(0, 1, shape)
        else:
            y = rng.normal(size=shape)
        targets.append(np.asarray(y, np.float32))
    return targets


def training_plan(net, outputs, specs, batch, trainable=None, optimizer=None, slots=None,
                  decays=False, l1=0.0, l2=0.0, pool=None, repeat_from=0):
    """A plan with an optimizer; whatever backward can make again it does, unless told not to."""
    trainable = net.trainable() if trainable is None else trainable
    plan = net.plan(batch, outputs, pool, trainable=tuple(trainable), losses=tuple(specs),
                    repeat_from=repeat_from)
    slots = slots or [()] * len(trainable)
    updates = tuple((v, tuple(s), decays, l1, l2) for v, s in zip(trainable, slots, strict=True))
    plan.set_optimizer(optimizer or {"kind": "sgd"}, updates)
    return plan


def check_gradients(net, outputs, specs=None, batch=2, trainable=None, weights=None, seed=0,
                    feeds=None, given=None, flat=(), targets=None, sources=None, directions=2,
                    some_flat=False):
    """One training step at learning rate 0: outputs, losses, and every variable's gradient in
    random directions against central differences of the reference.

    flat: variables whose gradient is zero (the bias in front of a batch norm, say).
    some_flat: gradients may vanish, as long as one does not.
    sources: the values that the losses are computed from, where those are not the outputs.
    """
    specs = specs or [{"kind": "mean_squared_error"}] * len(outputs)
    trainable = net.trainable() if trainable is None else trainable
    feeds = net.draw(batch) if feeds is None else feeds
    targets = make_targets(net, outputs, specs, batch, net.rng) if targets is None else targets
    plan = training_plan(net, outputs, specs, batch, trainable)
    sources = outputs if sources is None else sources
    logits = [dict(spec, from_logits=spec.get("from_logits", False) or s != v)
              for spec, s, v in zip(specs, sources, outputs, strict=True)]

    def total(changed=None):
        values = net.evaluate(feeds, changed, seed, given)
        losses = [ref.loss(spec, values[s], y, None if weights is None else weights[i])
                  for i, (spec, s, y) in enumerate(zip(logits, sources, targets, strict=True))]
        return sum(x * spec.get("weight", 1.0) for x, spec in zip(losses, specs, strict=True)), \
            losses, values

    before = [v.numpy() for v in trainable]
    losses, got = plan.train(feeds, targets, weights, learning_rate=0.0, seed=seed)
    gradients = plan.gradients()
    for v, w in zip(trainable, before, strict=True):
        assert np.array_equal(v.numpy(), w), "a step at learning rate 0 changed a weight"
    _, expected_losses, values = total()
    for v, y in zip(outputs, got, strict=True):
        tolerance = net.tolerance(FORWARD, FORWARD_BF16)
        assert_close(y, values[v], tolerance, f"training value {v} {net.nodes[v][0]}")
    tolerance = net.tolerance(LOSS, FORWARD_BF16)
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance, atol=tolerance)
    flat = {id(v) for v in flat}
    for v, g in zip(trainable, gradients, strict=True):
        check_direction(net, v, g, lambda changed: total(changed)[0], directions)
    proofs = [np.linalg.norm(g) > 10 * GRADIENT_FLOOR for g in gradients]
    ones = [p for p, v in zip(proofs, trainable, strict=True) if id(v) not in flat]
    assert any(ones) if some_flat else all(ones), "a gradient of zero proves nothing"
    return plan


def check_direction(net, variable, gradient, total, directions):
    at = variable.numpy().astype(float)
    assert gradient.shape == at.shape
    length = np.linalg.norm(gradient)
    for _ in range(directions):
        d = net.rng.normal(size=at.shape)
        up, down = (total({id(variable): at + sign * STEP * d}) for sign in (1, -1))
        expected = (up - down) / (2 * STEP)
        error = abs((gradient * d).sum() - expected)
        assert error <= GRADIENT * length + GRADIENT_FLOOR, (
            f"gradient of a variable {at.shape}: {(gradient * d).sum()} along a direction, "
            f"expected {expected}")
