"""Losses and their gradients, optimizers, statistics and dropout inside a training step."""

import numpy as np
import op_references as ref
import pytest
from op_net import Net, assert_close, check_gradients, threads, training_plan

from tlfast import _core

# Weights after five float32 steps, relative to the largest.
UPDATE = 3e-6
MSE = {"kind": "mean_squared_error"}


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


# ---- losses -----------------------------------------------------------------------------------

EXTRA = {"huber": {"delta": 0.7}, "binary_focal_crossentropy": {"alpha": 0.25, "gamma": 2.0},
         "categorical_focal_crossentropy": {"alpha": 0.25, "gamma": 2.0}}
ENTROPIES = [k for k in ref.LOSSES if k.endswith("crossentropy")]
POSITIVE = ("poisson", "kl_divergence", "mean_squared_logarithmic_error")


def one_output(rng, kind, activation, shape=(), hide=False):
    """(net, output, logits): dense, an activation, perhaps a reshape that hides it."""
    net = Net(rng)
    z = net.dense(net.input((*shape, 6)), 4)
    p = net.act(z, activation) if activation else z
    return net, net.add("reshape", p, shape=(*shape, 4)) if hide else p, z


def targets_for(kind, rng, shape):
    if kind == "sparse_categorical_crossentropy":
        return rng.integers(0, shape[-1], shape[:-1]).astype(np.float32)
    if kind.startswith("categorical") or kind == "kl_divergence":
        return rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)
    if kind in ("hinge", "squared_hinge"):
        return rng.integers(0, 2, shape).astype(np.float32)
    if kind.startswith("binary") or kind in POSITIVE:
        return rng.uniform(0, 1, shape).astype(np.float32)
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ref.LOSSES)
def test_losses(kind, weighted, rng):
    for shape in ((), (3,)):
        activation = "softmax" if kind.endswith("crossentropy") else \
            "softplus" if kind in POSITIVE else None
        net, y, _ = one_output(rng, kind, activation, shape, hide=True)
        target = targets_for(kind, rng, (5, *shape, 4))
        weights = [rng.uniform(0, 2, (5, *shape)).astype(np.float32)] if weighted else None
        spec = {"kind": kind, "weight": 0.5 if weighted else 1.0, **EXTRA.get(kind, {})}
        check_gradients(net, [y], [spec], batch=5, targets=[target], weights=weights)


@pytest.mark.parametrize("kind", ENTROPIES)
def test_losses_from_logits(kind, rng):
    net, y, _ = one_output(rng, kind, None)
    spec = {"kind": kind, "from_logits": True, **EXTRA.get(kind, {})}
    check_gradients(net, [y], [spec], batch=5, targets=[targets_for(kind, rng, (5, 4))])
    if kind == "binary_focal_crossentropy":
        spec |= {"apply_class_balancing": True, "alpha": 0.8, "gamma": 1.5}
        check_gradients(net, [y], [spec], batch=5, targets=[targets_for(kind, rng, (5, 4))])


@pytest.mark.parametrize("kind", [k for k in ENTROPIES if not k.startswith("sparse")])
@pytest.mark.parametrize("from_logits", [False, True])
def test_label_smoothing(kind, from_logits, rng):
    activation = None if from_logits else "softmax" if "categorical" in kind else "sigmoid"
    net, y, _ = one_output(rng, kind, activation, hide=not from_logits)
    spec = {"kind": kind, "from_logits": from_logits, "label_smoothing": 0.3,
            **EXTRA.get(kind, {})}
    check_gradients(net, [y], [spec], batch=5, targets=[targets_for(kind, rng, (5, 4))])


@pytest.mark.parametrize("kind, activation, looks_behind", [
    ("categorical_crossentropy", "softmax", True),
    ("sparse_categorical_crossentropy", "softmax", True),
    ("binary_crossentropy", "sigmoid", True),
    ("binary_crossentropy", "softmax", True),  # Keras' trap: sigmoid of the softmax logits
    ("categorical_crossentropy", "sigmoid", False),
    ("mean_squared_error", "softmax", False),
    ("binary_focal_crossentropy", "sigmoid", True),
])
def test_logits_behind_an_activation(kind, activation, looks_behind, rng):
    net, y, z = one_output(rng, kind, activation)
    spec = {"kind": kind, **EXTRA.get(kind, {})}
    check_gradients(net, [y], [spec], batch=5, targets=[targets_for(kind, rng, (5, 4))],
                    sources=[z if looks_behind else y])


def test_logits_far_out_keep_their_gradient(rng):
    net, y, z = one_output(rng, "", "softmax")
    net.variables[0].assign(net.variables[0].numpy() * 40)
    target = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]
    check_gradients(net, [y], [{"kind": "categorical_crossentropy"}], batch=5, targets=[target],
                    sources=[z])


def test_clipped_probabilities_have_no_gradient(rng):
    for kind in ("categorical_crossentropy", "sparse_categorical_crossentropy",
                 "binary_crossentropy"):
        net, y, _ = one_output(rng, kind, "softmax", hide=True)
        net.variables[0].assign(net.variables[0].numpy() * 12)
        feeds = net.draw(8)
        p = net.evaluate(feeds)[y]
        assert (p < ref.EPSILON).any() and ((p > 1e-3) & (p < 0.99)).any()
        check_gradients(net, [y], [{"kind": kind}], batch=8, feeds=feeds,
                        targets=[targets_for(kind, rng, (8, 4))])


def test_evaluation_changes_nothing(rng):
    net, y, _ = one_output(rng, "", None)
    plan = training_plan(net, [y], [MSE], 3, optimizer={"kind": "sgd"})
    feeds, target = net.draw(3), rng.normal(size=(3, 4)).astype(np.float32)
    before = [v.numpy() for v in net.variables]
    losses, outputs = plan.evaluate(feeds, [target])
    assert losses[0] == pytest.approx(ref.loss(MSE, net.evaluate(feeds)[y], target), rel=1e-6)
    assert all(np.array_equal(v.numpy(), b) for v, b in zip(net.variables, before, strict=True))


@pytest.mark.parametrize("label", [4, -1, 1.5, np.nan])
def test_labels_out_of_range(label, rng):
    net, y, _ = one_output(rng, "", "softmax")
    plan = training_plan(net, [y], [{"kind": "sparse_categorical_crossentropy"}], 3)
    before = net.variables[0].numpy()
    with pytest.raises(ValueError, match="of sample 2; the model has 4 outputs"):
        plan.train(net.draw(3), [np.array([0, 1, label], np.float32)], learning_rate=0.1)
    assert np.array_equal(net.variables[0].numpy(), before)


# ---- optimizers -------------------------------------------------------------------------------

SPECS = [
    {"kind": "sgd"},
    {"kind": "sgd", "momentum": 0.9},
    {"kind": "sgd", "momentum": 0.8, "nesterov": True},
    {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.05},
    {"kind": "adam"},
    {"kind": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
    {"kind": "adam", "amsgrad": True, "beta_2": 0.3},
    {"kind": "adamw", "weight_decay": 0.04},
    {"kind": "rmsprop"},
    {"kind": "rmsprop", "rho": 0.7, "centered": True, "epsilon": 1e-4},
    {"kind": "rmsprop", "momentum": 0.9, "weight_decay": 0.01},
    {"kind": "rmsprop", "momentum": 0.5, "centered": True, "epsilon": 1e-3},
    {"kind": "sgd", "clipnorm": 0.4},
    {"kind": "adam", "clipvalue": 0.05, "epsilon": 1e-2},
    {"kind": "sgd", "momentum": 0.9, "global_clipnorm": 0.5},
    {"kind": "sgd", "clipnorm": 1e6},
    {"kind": "sgd", "global_clipnorm": 1e6},
]


def written(spec):
    return "-".join(f"{v}" if k == "kind" else f"{k}={v}" for k, v in spec.items())


@pytest.mark.parametrize("l1, l2", [(0.0, 0.0), (0.01, 0.02)])
@pytest.mark.parametrize("spec", SPECS, ids=written)
def test_five_steps(spec, l1, l2, rng):
    """A linear layer under squared error, whose gradient is written out here."""
    net = Net(rng)
    y = net.dense(net.input((7,)), 130)
    shapes = [v.shape for v in net.variables]
    slots = [[_core.Variable(s) for _ in range(3)] for s in shapes]
    plan = training_plan(net, [y], [MSE], 6, optimizer=spec, slots=slots,
                         decays="weight_decay" in spec, l1=l1, l2=l2)
    weights = [v.numpy().astype(float) for v in net.variables]
    moments = [[np.zeros(s) for _ in range(3)] for s in shapes]
    for step in range(5):
        x, = net.draw(6)
        target = rng.normal(size=(6, 130)).astype(np.float32) * 9
        rate = 0.03 * (step + 1)
        plan.train([x], [target], learning_rate=rate, iteration=step)
        slope = 2 * (x @ weights[0] + weights[1] - target) / target.size
        gradients = [x.T @ slope, slope.sum(axis=0)]
        gradients = [g + 2 * l2 * w + l1 * np.sign(w)
                     for g, w in zip(gradients, weights, strict=True)]
        ref.optimizer_step(spec, weights, moments, gradients, rate, step)
    for variable, w in zip(net.variables, weights, strict=True):
        assert_close(variable.numpy(), w, UPDATE, "weights")
    for made, expected in zip(slots, moments, strict=True):
        for slot, m in zip(made, expected, strict=True):
            assert_close(slot.numpy(), m, 10 * UPDATE, "slots")


def test_the_clipped_cases_do_clip(rng):
    """The gradients of test_five_steps are longer than its limits."""
    target = rng.normal(size=(6, 130)) * 9
    x = rng.normal(size=(6, 7))
    g = x.T @ (-2 * target / target.size)
    assert np.linalg.norm(g) > 2 * 0.5 and np.abs(g).max() > 2 * 0.05


def test_clipvalue_keeps_nan(rng):
    """As in Keras: a gradient that is no number is seen in the weight."""
    net = Net(rng)
    y = net.dense(net.input((1,)), 1, bias=False)
    plan = training_plan(net, [y], [MSE], 1, optimizer={"kind": "sgd", "clipvalue": 0.5})
    plan.train([np.full((1, 1), np.nan, np.float32)], [np.zeros((1, 1), np.float32)],
               learning_rate=0.1)
    assert np.isnan(net.variables[0].numpy()).all()


def test_weight_decay_of_chosen_variables(rng):
    net = Net(rng)
    y = net.dense(net.input((3,)), 2)
    plan = net.plan(2, [y], trainable=tuple(net.variables), losses=(MSE,))
    updates = [(v, (), i == 0, 0.0, 0.0) for i, v in enumerate(net.variables)]
    plan.set_optimizer({"kind": "sgd", "weight_decay": 0.5}, tuple(updates))
    before = [v.numpy() for v in net.variables]
    x = [np.zeros((2, 3), np.float32)]
    bias = np.broadcast_to(before[1], (2, 2)).copy()  # prediction = target: no gradient
    plan.train(x, [bias], learning_rate=0.1)
    np.testing.assert_allclose(net.variables[0].numpy(), before[0] * 0.95, rtol=1e-6)
    assert np.array_equal(net.variables[1].numpy(), before[1])


def test_optimizers_that_do_not_fit(rng):
    net = Net(rng)
    y = net.dense(net.input((3,)), 2)
    plan = net.plan(2, [y], trainable=tuple(net.variables), losses=(MSE,))
    with pytest.raises(NotImplementedError, match="lion"):
        plan.set_optimizer({"kind": "lion"}, tuple((v, (), False, 0, 0) for v in net.variables))
    with pytest.raises(ValueError, match="slot 0 is missing"):
        plan.set_optimizer({"kind": "adam"}, tuple((v, (), False, 0, 0) for v in net.variables))
    small = _core.Variable((1,))
    with pytest.raises(ValueError, match="update 0: slot 1 is missing or has another size"):
        plan.set_optimizer({"kind": "adam"}, tuple((v, (v, small), False, 0, 0)
                                                   for v in net.variables))
    with pytest.raises(ValueError, match="updates for 1 variables, the plan trains 2"):
        plan.set_optimizer({"kind": "sgd"}, ((net.variables[0], (), False, 0, 0),))
    with pytest.raises(ValueError, match="update 1 is for another variable than the plan trains"):
        plan.set_optimizer({"kind": "sgd"}, ((net.variables[0], (), False, 0, 0),
                                             (_core.Variable((2,)), (), False, 0, 0)))
    with pytest.raises(RuntimeError, match="set_optimizer was not called"):
        plan.train(net.draw(2), [np.zeros((2, 2), np.float32)])


# ---- statistics of batch norm -----------------------------------------------------------------


@pytest.mark.parametrize("shape, batch", [((5, 7, 12), 3), ((20,), 5), ((1, 1, 3), 2)])
def test_moving_statistics(shape, batch, rng):
    """The biased variance enters, with float weight 1 - momentum; only train() writes."""
    net = Net(rng)
    x = net.act(net.conv(net.input(shape), 12) if len(shape) == 3 else net.input(shape), "swish")
    y = net.norm(x, training=True, momentum=0.7)
    mean, variance = net.nodes[y][2][2:]
    plan = training_plan(net, [y], [MSE], batch)
    feeds, target = net.draw(batch), rng.normal(size=(batch, *net.shapes[y])).astype(np.float32)
    old = [v.numpy().astype(float) for v in (mean, variance)]
    plan.forward(feeds)
    plan.evaluate(feeds, [target])
    assert np.array_equal(mean.numpy(), old[0]) and np.array_equal(variance.numpy(), old[1])
    for _ in range(2):
        batch_mean, batch_variance = ref.batch_statistics(net.evaluate(feeds)[x])
        versions = mean.version, variance.version
        plan.train(feeds, [target], learning_rate=0.1)
        old = [0.7 * old[0] + 0.3 * batch_mean, 0.7 * old[1] + 0.3 * batch_variance]
        assert_close(mean.numpy(), old[0])
        assert_close(variance.numpy(), old[1])
        assert mean.version > versions[0] and variance.version > versions[1]


def test_batch_statistics_of_large_values(rng):
    """A mean of 1000 standard deviations costs no digits of the variance."""
    net = Net(rng)
    y = net.norm(net.input((6, 5, 12)), training=True, scale=False, center=False, epsilon=1e-6)
    feeds = [net.draw(4)[0] + np.float32(1000)]
    plan = net.plan(4, [y])
    assert_close(plan.forward(feeds)[0], net.evaluate(feeds)[y], 3e-4)
    flat = plan.forward(feeds)[0].reshape(-1, 12)
    np.testing.assert_allclose(flat.std(axis=0), 1, rtol=1e-4)


def test_a_shared_batch_norm_averages_twice(rng):
    net = Net(rng)
    weights = [net.variable((5,), 0.5, 1.5) for _ in range(4)]
    attrs = {"epsilon": 1e-3, "momentum": 0.9, "training": True}
    a, b = net.input((5,)), net.input((5,))
    outs = [net.add("batch_norm", x, weights=weights, **attrs) for x in (a, b)]
    y = net.add("add", *outs)
    plan = training_plan(net, [y], [MSE], 4, trainable=weights[:2])
    feeds, old = net.draw(4), weights[2].numpy().astype(float)
    plan.train(feeds, [np.zeros((4, 5), np.float32)])
    for x in feeds:
        old = 0.9 * old + 0.1 * x.astype(float).mean(axis=0)
    assert_close(weights[2].numpy(), old)


# ---- dropout ----------------------------------------------------------------------------------


def dropped(rng, shape, channels=12, **attrs):
    net = Net(rng)
    x = net.input(shape)
    x = net.conv(x, channels) if len(shape) == 3 else net.dense(x, channels)
    return net, x, net.add("dropout", x, **attrs)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_stated_share(rate, rng):
    for shape in ((400,), (17, 16, 3)):
        net, x, y = dropped(rng, shape, 20, rate=rate, seed=7)
        before, after = net.plan(16, [x, y]).forward(net.draw(16), seed=3)
        kept = after != 0
        np.testing.assert_allclose(after[kept], (before / np.float32(1 - rate))[kept], rtol=1e-6)
        n = kept.size
        assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / n)
        shares = kept.reshape(16, -1).mean(axis=1)  # of each image
        assert np.abs(shares - (1 - rate)).max() < 5 * np.sqrt(rate * (1 - rate) / (n / 16))
        pairs = (kept.reshape(16, -1)[:, 1:] == kept.reshape(16, -1)[:, :-1]).mean()
        assert abs(pairs - (rate**2 + (1 - rate) ** 2)) < 6 / np.sqrt(n)


@pytest.mark.parametrize("per_sample", [False, True])
def test_dropout_uses_one_mask_in_both_directions(per_sample, rng):
    for shape in ((9,), (4, 5, 3)):
        net, x, y = dropped(rng, shape, rate=0.5, seed=9, per_sample=per_sample)
        feeds = net.draw(6)
        before, after = net.plan(6, [x, y]).forward(feeds, seed=21)
        mask = np.where(after != 0, 2.0, 0.0)
        if per_sample:
            per_row = mask.reshape(6, -1)
            assert (per_row == per_row[:, :1]).all() and len(np.unique(per_row[:, 0])) == 2
        z = net.act(y, "tanh")
        check_gradients(net, [z], batch=6, feeds=feeds, seed=21, given={y: lambda v, m=mask: v * m})


def test_dropout_depends_on_seed_layer_and_step_alone(rng):
    net, x, y = dropped(rng, (50,), 40, rate=0.5, seed=1)
    other = net.add("dropout", x, rate=0.5, seed=2)
    again = net.add("dropout", x, rate=0.5, seed=1)
    feeds = net.draw(4)
    runs = {}
    for n in (1, 2):
        with threads(n):
            plan = net.plan(4, [y, other, again])
            runs[n] = [plan.forward(feeds, seed=s) for s in (5, 6, 5)]
    first, second, third = runs[1]
    assert np.array_equal(first[0], third[0]) and np.array_equal(first[0], first[2])
    assert not np.array_equal(first[0] != 0, second[0] != 0)
    assert not np.array_equal(first[0] != 0, first[1] != 0)
    for a, b in zip(runs[1], runs[2], strict=True):
        assert all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_dropout_rates_out_of_range(rate, rng):
    with pytest.raises(ValueError, match="rate .*allowed: 0 <= rate < 1"):
        dropped(rng, (5,), rate=rate, seed=1)
