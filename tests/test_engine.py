"""The frozen part is computed once, in chunks, and nothing about that shows in the numbers."""

import numpy as np
import pytest

import tlfast as tf
from tlfast import _core, _engine, _features, layers

SIZE = 33  # odd, so that paddings are asymmetric


def backbone(seed: int = 0) -> tf.Model:
    """A small frozen-able network with every kind of fused step."""
    tf.utils.set_random_seed(seed)
    x = inputs = tf.Input((SIZE, SIZE, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
    x = layers.Conv2D(16, 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    y = layers.BatchNormalization(name="depthwise_bn")(y)
    y = layers.Conv2D(16, 1, name="project")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.Activation("relu", name="out")(x)
    model = tf.Model(inputs, x, name="backbone")
    rng = np.random.default_rng(seed)
    for layer in model.layers:  # statistics that are not the start values
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([
                rng.uniform(0.5, 1.5, gamma.shape), rng.normal(size=beta.shape) * 0.1,
                rng.normal(size=mean.shape) * 0.1, rng.uniform(0.5, 2, variance.shape),
            ])
    return model


def classifier(base: tf.Model, dropout: float = 0.0) -> tf.Model:
    inputs = tf.Input((SIZE, SIZE, 3))
    x = base(inputs, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    if dropout:
        x = layers.Dropout(dropout, seed=3)(x)
    return tf.Model(inputs, layers.Dense(2, activation="softmax")(x))


def data(rng, count: int = 37) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(0, 2, count)
    x = rng.normal(size=(count, SIZE, SIZE, 3)).astype(np.float32) + y[:, None, None, None]
    return x, y


def fitted(rng_seed: int, cache: bool | str, batch: int, threads: int, epochs: int = 3) -> tuple:
    tf.set_num_threads(threads)
    base = backbone()
    base.trainable = False
    model = classifier(base)
    x, y = data(np.random.default_rng(rng_seed))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model._engine.cache_features = cache
    tf.utils.set_random_seed(11)
    history = model.fit(
        x, y, batch_size=batch, epochs=epochs, verbose=0, validation_split=0.2
    ).history
    return model, history


@pytest.fixture(autouse=True)
def default_threads():
    yield
    tf.set_num_threads(0)


@pytest.mark.parametrize("batch", [1, 7, 16])
@pytest.mark.parametrize("threads", [1, 2])
def test_cached_equals_uncached_bit_for_bit(batch, threads):
    kept, kept_history = fitted(5, "auto", batch, threads)
    again, again_history = fitted(5, False, batch, threads)
    assert kept_history == again_history
    for a, b in zip(kept.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("batch", [1, 7, 16])
def test_features_do_not_depend_on_batch_place_or_threads(batch, rng):
    x, _ = data(rng, 21)
    base = backbone()
    tf.set_num_threads(2)
    whole = base.predict(x, batch_size=21, verbose=0)
    tf.set_num_threads(1)
    order = rng.permutation(21)
    parts = base.predict(x[order], batch_size=batch, verbose=0)
    assert np.array_equal(whole[order], parts)


def test_frozen_part_runs_once_per_image(rng, monkeypatch):
    base = backbone()
    base.trainable = False
    model = classifier(base)
    model.compile("sgd", "sparse_categorical_crossentropy")
    rows = []
    compute = _engine.Engine._compute
    monkeypatch.setattr(
        _engine.Engine, "_compute",
        lambda self, x, training: rows.append(len(x[0])) or compute(self, x, training),
    )
    x, y = data(rng, 20)
    model.fit(x, y, batch_size=8, epochs=4, verbose=0)
    assert sum(rows) == 20
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    model.evaluate(x, y, verbose=0)
    assert sum(rows) == 20
    norm = base.get_layer("stem_bn")
    norm.set_weights([w * 1.5 for w in norm.get_weights()])
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert sum(rows) == 40  # other weights, other features


def test_predictions_after_training_are_those_of_the_new_weights(rng):
    base = backbone()
    base.trainable = False
    model = classifier(base)
    x, y = data(rng, 16)
    before = model.predict(x, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=3, verbose=0)
    after = model.predict(x, verbose=0)
    assert np.abs(before - after).max() > 1e-3
    single = np.concatenate([model.predict(x[i : i + 1], verbose=0) for i in range(16)])
    assert np.array_equal(single, after)


def test_frozen_weights_and_statistics_stay(rng):
    base = backbone()
    base.trainable = False
    model = classifier(base, dropout=0.3)
    x, y = data(rng, 16)
    before = base.get_weights()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(before, base.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_dropout_behind_the_cut_is_seeded_and_new_in_every_step(rng):
    x, y = data(rng, 16)

    def losses() -> list[float]:
        base = backbone()
        base.trainable = False
        model = classifier(base, dropout=0.5)
        model.get_layer(index=-1).set_weights([np.ones((16, 2)) * [1, -1], np.zeros(2)])
        model.compile(tf.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        return model.fit(x, y, epochs=3, verbose=0, batch_size=16, shuffle=False).history["loss"]

    first, second = losses(), losses()
    assert first == second
    assert len(set(first)) == 3


def test_trainable_flags_are_read_at_every_fit(rng):
    x, y = data(rng, 8)
    base = backbone()
    base.trainable = False
    model = classifier(base)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    before = base.get_layer("stem").get_weights()[0]
    base.trainable = True
    model.fit(x, y, epochs=1, verbose=0)
    assert np.abs(base.get_layer("stem").get_weights()[0] - before).max() > 0


def test_cut_in_the_middle_of_a_residual_block(rng):
    x, y = data(rng, 9)
    base = backbone()
    for layer in base.layers:
        layer.trainable = layer.name in ("project",)
    model = classifier(base)
    model.compile("sgd", "sparse_categorical_crossentropy")
    frozen = base.get_layer("depthwise").get_weights()[0]
    moving = base.get_layer("project").get_weights()[0]
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert np.array_equal(frozen, base.get_layer("depthwise").get_weights()[0])
    assert np.abs(moving - base.get_layer("project").get_weights()[0]).max() > 0


def test_everything_frozen_is_an_error(rng):
    x, y = data(rng, 4)
    model = classifier(backbone())
    model.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="no trainable weights"):
        model.fit(x, y, verbose=0)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_frozen_classifier_has_the_loss_of_one_that_is_not(rng, kind):
    """Its loss is computed from the logits, which the head must get instead of the output."""
    model = classifier(backbone())
    model.layers[-1].activation = tf.activations.get(kind)
    x = rng.uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    loss = "categorical_crossentropy" if kind == "softmax" else "binary_crossentropy"
    model.compile("sgd", loss)
    expected = model.evaluate(x, y, verbose=0)
    model.trainable = False
    model.compile("sgd", loss)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_a_frozen_output_beside_a_trained_one(rng):
    """The trained layer reads the frozen probabilities, the loss their logits."""
    inputs = tf.Input((5,))
    frozen = layers.Dense(3, activation="softmax", name="frozen", trainable=False)(inputs)
    model = tf.Model(inputs, [frozen, layers.Dense(2, name="live")(frozen)])
    x, y = rng.normal(size=(6, 5)), [np.eye(3)[[0, 1, 2, 0, 1, 2]], rng.normal(size=(6, 2))]
    model.compile("sgd", ["categorical_crossentropy", "mse"])
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    after = model.fit(x, y, batch_size=6, epochs=3, verbose=0).history
    probabilities = model.predict(x, verbose=0)[0]
    cross_entropy = -np.log((probabilities * y[0]).sum(1)).mean()
    assert after["frozen_loss"] == pytest.approx([cross_entropy] * 3, rel=1e-5)
    assert before["frozen_loss"] == pytest.approx(cross_entropy, rel=1e-5)
    assert after["live_loss"][2] < after["live_loss"][1] < before["live_loss"]


def test_features_on_disk_equal_features_in_memory(rng, monkeypatch, tmp_path):
    monkeypatch.setenv("TLFAST_CACHE_DIR", str(tmp_path))
    _, in_memory = fitted(5, "auto", 7, 2)
    monkeypatch.setenv("TLFAST_CACHE_MEMORY", "0")
    made = []
    file_array = _features._file_array
    monkeypatch.setattr(_features, "_file_array", lambda n: made.append(n) or file_array(n))
    _, on_disk = fitted(5, "auto", 7, 2)
    assert made
    assert in_memory == on_disk
    names = [p.name for p in tmp_path.iterdir()]
    assert names == ["CACHEDIR.TAG"]  # unnamed: gone with the process, however it ends


def test_full_disk_falls_back_to_computing_again(rng, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("TLFAST_CACHE_DIR", str(tmp_path))
    _, normal = fitted(5, "auto", 7, 2)
    monkeypatch.setenv("TLFAST_CACHE_MEMORY", "0")

    def full(fd, offset, length):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_features.os, "posix_fallocate", full)
    _, recomputed = fitted(5, "auto", 7, 2)
    assert normal == recomputed
    assert sum("No space left" in record.message for record in caplog.records) == 2  # train, val


def test_data_without_identity_is_computed_again_and_said_once(rng, caplog):
    x, y = data(rng, 8)
    base = backbone()
    base.trainable = False
    model = classifier(base)
    model.compile("sgd", "sparse_categorical_crossentropy")

    def batches():
        while True:
            yield x, y

    model.fit(batches(), steps_per_epoch=2, epochs=3, verbose=0)
    said = [r.message for r in caplog.records if "no stable identity" in r.message]
    assert len(said) == 1
    caplog.clear()
    model.fit(x, y, epochs=2, verbose=0)
    assert not caplog.records


def test_budget_must_be_a_number(monkeypatch):
    monkeypatch.setenv("TLFAST_CACHE_MEMORY", "lots")
    with pytest.raises(ValueError, match="TLFAST_CACHE_MEMORY='lots'"):
        _features.memory_budget()


def test_store_knows_what_is_missing():
    store = _features.FeatureStore(6, [(2,), (1, 3)], budget=1 << 20)
    ids = np.array([4, 1, 4, 2])
    assert store.missing(ids).tolist() == [4, 1, 2]
    store.put(np.array([4, 2]), [np.ones((2, 2)), np.full((2, 1, 3), 7.0)])
    store.leave_out(np.array([1]))
    assert store.missing(ids).tolist() == []
    assert store.readable(ids).tolist() == [4, 4, 2]
    first, second = store.get(np.array([2, 4]))
    assert (first == 1).all() and (second == 7).all() and second.shape == (2, 1, 3)


def test_plans_follow_the_number_of_threads(rng):
    x, _ = data(rng, 8)
    model = backbone()
    tf.set_num_threads(2)
    two = model.predict(x, verbose=0)
    tf.set_num_threads(1)
    assert tf.num_threads() == 1
    assert np.array_equal(two, model.predict(x, verbose=0))


def test_eager_call_of_layers(rng):
    x = rng.normal(size=(3, 5)).astype(np.float32)
    layer = layers.Dense(4, activation="relu")
    y = layer(x)
    kernel, bias = layer.get_weights()
    assert np.allclose(y, np.maximum(x @ kernel + bias, 0), atol=1e-6)
    images = rng.uniform(size=(2, 8, 8, 3)).astype(np.float32)
    flip = layers.RandomFlip("horizontal", seed=1)
    flips = [np.asarray(flip(images)) for _ in range(20)]
    assert any(not np.array_equal(f, images) for f in flips)
    assert np.array_equal(np.asarray(flip(images, training=False)), images)


def test_empty_prediction():
    model = backbone()
    assert model._engine.predict([np.zeros((0, SIZE, SIZE, 3), np.float32)])[0].shape == (
        0, 16, 16, 16,
    )


def test_two_outputs_and_losses(rng):
    inputs = tf.Input((6,))
    a = layers.Dense(3, activation="softmax", name="a")(inputs)
    b = layers.Dense(1, name="b")(inputs)
    model = tf.Model(inputs, [a, b])
    model.compile("sgd", {"a": "sparse_categorical_crossentropy", "b": "mse"},
                  loss_weights={"a": 0.5, "b": 2.0})
    x = rng.normal(size=(12, 6)).astype(np.float32)
    ya, yb = rng.integers(0, 3, 12), rng.normal(size=(12, 1)).astype(np.float32)
    pa, pb = model.predict(x, verbose=0)
    expected = 0.5 * -np.log(pa[np.arange(12), ya]).mean() + 2.0 * ((pb - yb) ** 2).mean()
    got = model.evaluate(x, [ya, yb], verbose=0, return_dict=True)["loss"]
    assert got == pytest.approx(expected, rel=1e-5)
    first = model.fit(x, [ya, yb], epochs=5, verbose=0).history["loss"]
    assert first[-1] < first[0]


def test_core_graph_errors_name_the_layer():
    graph = _core.Graph(2)
    x = graph.input((8, 8, 3))
    kernel = _core.Variable((3, 3, 4, 5))
    with pytest.raises(ValueError, match="layer 'wrong'.*reads 4 channels.*\\(2, 8, 8, 3\\)"):
        graph.add("conv2d", [x], [kernel, None], "wrong")
    with pytest.raises(NotImplementedError, match="op 'nothing'"):
        graph.add("nothing", [x], [], "n")
    with pytest.raises(TypeError, match="no attribute 'stride'"):
        graph.add("max_pool2d", [x], [], "p", stride=(2, 2))


def test_predictions_of_a_partly_frozen_network_do_not_depend_on_kept_features(rng):
    base = backbone()
    for layer in base.layers:  # the cut parts a convolution from the trained norm behind it
        layer.trainable = layer.name in ("depthwise_bn", "project")
    model = classifier(base)
    x, y = data(rng)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    kept = model.predict(x, verbose=0)
    for size in (1, 8, 37):
        parts = (x[at : at + size] for at in range(0, len(x), size))  # a generator: nothing is kept
        assert np.array_equal(model.predict(parts, verbose=0), kept)
