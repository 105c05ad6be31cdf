"""`Model.profile`: where the time of a step goes, and which layers have no fast kernel."""

import inspect

import numpy as np
import pytest

import tlfast as tf
from tlfast import _core, _profile, layers

SEVEN = (
    "DenseNet121", "EfficientNetB0", "InceptionV3", "MobileNetV2", "ResNet50", "VGG16", "Xception",
)  # fmt: skip


def network(trainable: bool = True) -> tf.Model:
    inputs = tf.Input((48, 48, 3))
    x = layers.Conv2D(32, 3, padding="same", name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(64, 3, padding="same", name="second", trainable=trainable)(x)
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    return tf.Model(inputs, layers.Dense(3, name="head")(x), name="small")


def compiled(trainable: bool = True) -> tf.Model:
    model = network(trainable)
    model.compile(
        "adam", tf.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


def ops_of(profile: tf.Model) -> dict[str, str]:
    return {row.layer: row.op for row in profile.rows}


def test_rows_are_the_layers(capsys):
    profile = network().profile(batch_size=6)
    assert not profile.training
    found = ops_of(profile)
    assert found["first"] == found["second"] == "conv2d"
    assert (found["gap"], found["head"]) == ("global_avg_pool", "dense")
    assert set(found) <= {"first", "second", "gap", "head", "input_0"}  # norm, ReLU: in "first"
    first = next(row for row in profile.rows if row.layer == "first")
    assert first.flops == 2 * 6 * 48 * 48 * 32 * 27, "six images, in runs of four and of two"
    assert first.bytes == 4 * (6 * 48 * 48 * (3 + 32) + 2 * 27 * 32), "the kernel is read twice"
    assert all(row.backward == 0 and row.kernels for row in profile.rows)
    assert profile.share_of_peak(first) == pytest.approx(
        first.flops / (first.forward / 1e3) / profile.peak
    )
    text = capsys.readouterr().out
    assert text == str(profile) + "\n"
    assert text.startswith("A prediction of 'small' with batch_size=6: ")
    assert text.count("\n") == 3 + len(profile.rows)
    assert profile._repr_html_().count("<tr>") == 2 + len(profile.rows)
    times = [row.milliseconds for row in profile.slowest()]
    assert times == sorted(times, reverse=True) and len(profile.slowest(2)) == 2


@pytest.mark.unsanitized
def test_rows_are_the_whole_step():
    base = tf.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
    for _ in range(10):  # on a busy machine what is between the rows may take long
        profile = base.profile(batch_size=4, runs=5)
        covered = sum(row.milliseconds for row in profile.rows)
        assert profile.other == pytest.approx(profile.milliseconds - covered)
        if 0.8 * profile.milliseconds < covered < profile.milliseconds:
            return
    pytest.fail(f"rows cover {covered:.1f} of {profile.milliseconds:.1f} ms")


def test_a_training_step_changes_nothing():
    model = compiled()
    x = np.random.default_rng(1).normal(size=(4, 48, 48, 3)).astype("f4")
    model.fit(x, np.arange(4) % 3, verbose=0)
    before = [w.copy() for w in model.get_weights()]
    slots = [v.numpy().copy() for v in model.optimizer.variables]
    profile = model.profile(batch_size=4)
    assert profile.training
    by_layer = {row.layer: row for row in profile.rows}
    for name in ("first", "norm", "second", "head"):
        assert by_layer[name].backward > 0, name
    # the first layer has no gradient back to the images
    assert by_layer["first"].flops == 2 * 2 * 4 * 48 * 48 * 32 * 27
    assert by_layer["second"].flops == 3 * 2 * 4 * 48 * 48 * 64 * 9 * 32
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    new = [v.numpy() for v in model.optimizer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(slots, new, strict=True))


def test_a_frozen_part_is_a_prediction():
    model = compiled(trainable=False)
    for layer in model.layers[:3]:
        layer.trainable = False
    profile = model.profile(batch_size=6)
    by_layer = {row.layer: row for row in profile.rows}
    assert profile.training and by_layer["head"].backward > 0
    assert by_layer["first"].backward == by_layer["second"].backward == 0
    assert by_layer["second"].flops == 2 * 6 * 48 * 48 * 64 * 9 * 32
    assert "norm" not in by_layer, "folded"


def test_it_costs_nothing_afterwards():
    model = network()
    model.profile(batch_size=4)
    plans = [p for p in model._engine._plans.values()]
    model.predict(np.zeros((4, 48, 48, 3), "f4"), verbose=0)
    assert plans and all(row["seconds"] == (0, 0) for p in plans for row in p.profile())


def test_loops_for_everything_are_flagged():
    row = _profile.ProfileRow("a", "conv2d", 1.0, 0.0, 1e6, 1, ("brgconv:avx2", "ref:any"))
    good = _profile.ProfileRow("b", "conv2d", 1.0, 0.0, 1e6, 1, ("jit:avx2", "tlfast:winograd"))
    assert row.is_slow and not good.is_slow
    assert _profile.ProfileRow("c", "conv2d", 1.0, 0.0, 1e6, 1, ("x64:gemm:jit",)).is_slow
    assert not _profile.ProfileRow("c", "dense", 1.0, 0.0, 1e6, 1, ("gemm:jit",)).is_slow
    text = str(_profile.Profile("m", 1, True, 1, 1e9, 3.0, [row, good]))
    flagged = [line for line in text.splitlines() if "no fast kernel" in line]
    assert len(flagged) == 1 and flagged[0].split()[0] == "a"


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVEN)
def test_the_seven_networks_have_fast_kernels(name):
    """In both kinds of plan, at the size that users train them with; nothing is run."""
    if _core.onednn_info()["isa"] & 0x7 != 0x7:
        pytest.skip("a processor without AVX2")
    base = getattr(tf.applications, name)(weights=None, include_top=False, pooling="avg",
                                          input_shape=(224, 224, 3))  # fmt: skip
    model = tf.Sequential([base, layers.Dense(10)])
    model.compile("adam", tf.losses.SparseCategoricalCrossentropy(from_logits=True))
    for training in (False, True):
        graph = _core.Graph(4)
        value = model.lower(graph, [graph.input((224, 224, 3))], training)
        outputs = tuple(value) if isinstance(value, list | tuple) else (value,)
        trained = tuple(v.core for v in model.trainable_weights) if training else ()
        losses = ({"kind": "mean_squared_error"},) if training else ()
        plan = _core.Plan(graph, (0,), outputs, _core.Pool(), trained, losses)
        rows = []
        for step in plan.profile():
            kernels = tuple(k for k in step["kernels"] if k)
            rows.append(_profile.ProfileRow(step["layer"], step["op"], 0, 0, 0, 0, kernels))
        assert len(rows) >= 20
        slow = [row for row in rows if row.is_slow]
        assert not slow, "layers without a fast kernel"
        assert {row.op for row in rows if not row.kernels} <= {"reshape", "input"}, "unnamed"


@pytest.mark.parametrize(("arguments", "error"), [
    ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
    ({"batch_size": 1, "runs": 0}, "runs must be 1 or more, got 0"),
])  # fmt: skip
def test_refused(arguments, error):
    with pytest.raises(ValueError, match=error):
        network().profile(**arguments)


def test_any_size_needs_a_shape():
    inputs = tf.Input((None, None, 3))
    model = tf.Model(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3)(inputs)))
    with pytest.raises(ValueError, match="input_shape=\\(height, width, channels\\)"):
        model.profile(batch_size=1)
    assert model.profile(batch_size=1, input_shape=(32, 32, 3)).rows
    assert "peak" in inspect.getdoc(_profile.Profile)


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8, 12, 15, 17, 20, 31, 40])
def test_few_channels_have_fast_kernels(channels):
    """In blocks of 16, 12 channels ran in oneDNN's reference loop: 3 s for a small step."""
    model = tf.Sequential([
        tf.Input((16, 16, 3)), layers.Conv2D(channels, 1),
        layers.Conv2D(channels, 3, padding="same"), layers.Conv2D(8, 3),
        layers.GlobalAveragePooling2D(), layers.Dense(2),
    ])  # fmt: skip
    model.compile("sgd", "mse")
    rows = [row for row in model.profile(batch_size=4).rows if row.op == "conv2d"]
    assert len(rows) == 3
    assert not [row for row in rows if row.is_slow]
