"""compile, fit, evaluate, predict: Keras' numbers, names and order; what is refused; Ctrl-C."""

import threading
import time
import warnings

import numpy as np
import pytest
from reference_compare import cases, differences, stored
from training_cases import captured, numbers

import tlfast
from tlfast import callbacks, layers, metrics, optimizers
from tlfast._compiled import per_output
from tlfast._rows import split_rows, unpacked
from tlfast._warnings import DataWarning, LossWarning

CCE = "categorical_crossentropy"


def compiled(loss=CCE, rate=0.5, metrics=("accuracy",), **kwargs):
    model = cases.head(tlfast, **kwargs)
    model.compile(optimizers.SGD(rate), loss, metrics=list(metrics))
    return model


def weights_of(model):
    return [w.copy() for w in model.get_weights()]


# ---- against Keras -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.filterwarnings("ignore::tlfast._warnings.LossWarning")
def test_equals_keras(name):
    got = cases.CASES[name](tlfast)
    assert differences(got, stored()[name], rtol=1e-4, atol=1e-6) == []


def test_history_keys_in_keras_order():
    x, y = cases.data()
    model = compiled(metrics=["mse", "accuracy"])
    model.compile(optimizers.SGD(0.1), CCE, metrics=["mse", "accuracy"])
    keep = callbacks.LearningRateScheduler(lambda epoch, lr: lr)
    history = model.fit(x, y, validation_split=0.25, verbose=0, callbacks=[keep])
    want = "accuracy loss mse val_accuracy val_loss val_mse learning_rate".split()
    assert list(history.history) == want
    assert history is model.history
    assert model.metrics_names == ["loss", "compile_metrics"]


def test_printed_text_of_fit_in_a_file():
    x, y = cases.data()
    with captured() as out:
        compiled().fit(x, y, epochs=2, batch_size=8, validation_split=0.25)
    lines = out.getvalue().splitlines()
    assert lines[0::2] == ["Epoch 1/2", "Epoch 2/2"]
    for line in lines[1::2]:
        assert line.startswith("3/3 - 0s - ")
        assert " - accuracy: 0." in line
        assert " - val_loss: " in line


# ---- fit ---------------------------------------------------------------------------------------


def test_second_fit_goes_on():
    x, y = cases.data()
    one, two = compiled(), compiled()
    whole = one.fit(x, y, epochs=4, shuffle=False, verbose=0).history["loss"]
    two.fit(x, y, epochs=2, shuffle=False, verbose=0)
    rest = two.fit(x, y, epochs=4, initial_epoch=2, shuffle=False, verbose=0)
    assert rest.epoch == [2, 3]
    assert rest.history["loss"] == whole[2:]
    assert two.fit(x, y, epochs=2, initial_epoch=2, verbose=0).epoch == []


def test_flags_are_read_at_every_fit():
    x, y = cases.data()
    model = compiled(hidden=5)
    hidden, head = model.get_layer("hidden"), model.get_layer("head")
    hidden.trainable = False
    before = hidden.get_weights()[0].copy()
    model.fit(x, y, verbose=0)
    assert np.array_equal(hidden.get_weights()[0], before)
    hidden.trainable, head.trainable = True, False
    frozen = head.get_weights()[0].copy()
    model.fit(x, y, verbose=0)
    assert not np.array_equal(hidden.get_weights()[0], before)
    assert np.array_equal(head.get_weights()[0], frozen)


def test_cache_features_changes_no_number():
    x, y = cases.data()
    found = []
    for cache in (False, "auto", True):
        model = compiled(hidden=5)
        model.get_layer("hidden").trainable = False
        history = model.fit(
            x, y, epochs=3, verbose=0, shuffle=False, batch_size=7, cache_features=cache
        )
        model.fit(x, y, verbose=0, shuffle=False)
        assert model._engine.cache_features == cache
        found.append([history.history, weights_of(model)])
    for history, weights in found[1:]:
        assert history == found[0][0]
        assert all(np.array_equal(a, b) for a, b in zip(weights, found[0][1], strict=True))


def test_compile_again_forgets_the_metrics():
    x, y = cases.data()
    model = compiled()
    model.compile("sgd", CCE)
    assert list(model.fit(x, y, verbose=0).history) == ["loss"]
    assert isinstance(model.evaluate(x, y, verbose=0), float)


def test_stop_training_in_the_middle_of_an_epoch():
    x, y = cases.data()
    seen = []

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)
            self.model.stop_training = batch == 1

    history = compiled().fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[Stop()])
    assert seen == [0, 1]
    assert history.epoch == [0]


def test_early_stopping_restores_the_best_weights():
    x, y = cases.data()
    model = compiled(rate=0.5)
    best = {}

    class Keep(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = -0.5  # from here on it gets worse
            best.setdefault(logs["loss"], weights_of(self.model))

    stop = callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True)
    history = model.fit(x, y, epochs=20, verbose=0, callbacks=[Keep(), stop])
    assert len(history.epoch) < 20
    wanted = best[min(history.history["loss"])]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), wanted, strict=True))


def test_callbacks_change_the_learning_rate():
    x, y = cases.data()
    schedule = callbacks.LearningRateScheduler(lambda epoch: 0.25 / (epoch + 1))
    plateau = callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=100.0, factor=0.5)
    history = compiled().fit(x, y, epochs=2, verbose=0, callbacks=[schedule])
    assert history.history["learning_rate"] == [0.25, 0.125]
    model = compiled()
    model.fit(x, y, epochs=3, verbose=0, callbacks=[plateau])
    assert model.optimizer.learning_rate == 0.125


def test_data_sets_and_generators_train_as_arrays():
    x, y = cases.data()
    want = compiled().fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history

    def forever():
        while True:
            for at in range(0, len(x), 8):
                yield x[at : at + 8], y[at : at + 8]

    data = tlfast.data.Dataset.from_tensor_slices((x, y)).batch(8)
    assert compiled().fit(data, epochs=2, verbose=0).history == want
    got = compiled().fit(forever(), steps_per_epoch=3, epochs=2, verbose=0).history
    assert got == want
    with pytest.warns(DeprecationWarning, match="fit_generator"):
        old = compiled().fit_generator(forever(), 3, epochs=2, verbose=0, workers=4)
    assert old.history == want


def test_input_ran_out_of_data():
    x, y = cases.data()
    batches = ((x[at : at + 8], y[at : at + 8]) for at in range(0, 24, 8))
    with pytest.warns(UserWarning, match="Your input ran out of data; interrupting training"):
        history = compiled().fit(batches, steps_per_epoch=5, epochs=1, verbose=0)
    assert history.params["steps"] == 5
    batches = ((x[at : at + 8], y[at : at + 8]) for at in range(0, 24, 8))
    model = compiled()
    with captured() as out:
        model.fit(batches)
    assert out.getvalue().startswith("3/3 - ")
    with (
        pytest.raises(ValueError, match="no batches"),
        warnings.catch_warnings(action="ignore"),
    ):
        model.fit(batches)


def test_sample_weights_of_a_dataset():
    x, y = cases.data()
    weight = numbers((len(x),), 6, 0.0, 2.0)
    want = compiled().fit(x, y, sample_weight=weight, batch_size=8, shuffle=False, verbose=0)
    data = tlfast.data.Dataset.from_tensor_slices((x, y, weight)).batch(8)
    assert compiled().fit(data, verbose=0).history == want.history
    with pytest.raises(ValueError, match="class_weight"):
        compiled().fit(data, class_weight={0: 2.0}, verbose=0)


def test_deferred_sequential_is_built_by_fit():
    x, y = cases.data()
    model = tlfast.Sequential([layers.Dense(4, activation="relu"), layers.Dense(3, "softmax")])
    model.compile("adam", CCE, metrics=["accuracy"])
    assert not model.built
    model.fit(x, y, verbose=0)
    assert model.count_params() == 8 * 4 + 4 + 4 * 3 + 3


def test_crossentropy_by_shapes():
    x, y = cases.data()
    labels = y.argmax(1)
    want = compiled().evaluate(x, y, verbose=0)
    assert compiled("ce").evaluate(x, y, verbose=0) == want
    assert compiled("crossentropy").evaluate(x, labels, verbose=0) == pytest.approx(want)
    yes = y[:, :1]
    binary = compiled("binary_crossentropy", units=1, activation="sigmoid")
    ce = compiled("ce", units=1, activation="sigmoid")
    assert ce.evaluate(x, yes, verbose=0) == binary.evaluate(x, yes, verbose=0)


def test_checkpoints_and_load(tmp_path):
    x, y = cases.data()
    model = compiled()
    best = callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_acc", save_best_only=True)
    each = callbacks.ModelCheckpoint(tmp_path / "e{epoch}.weights.h5", save_weights_only=True)
    with pytest.warns(DeprecationWarning, match="use `val_accuracy`") as seen:
        model.fit(x, y, epochs=2, validation_split=0.25, verbose=0, callbacks=[best, each])
    assert len(seen) == 1 and seen[0].filename == __file__
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.keras",
        "e1.weights.h5",
        "e2.weights.h5",
    ]
    again = tlfast.models.load_model(tmp_path / "best.keras")
    model.load_weights(tmp_path / "e2.weights.h5")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert len(again.evaluate(x, y, verbose=0)) == 2
    again.fit(x, y, verbose=0)


def test_stored_compile_arguments():
    for name, config in stored()["compile_configs"].items():
        model = cases.head(tlfast)
        model.compile_from_config(config)
        assert differences(model.get_compile_config(), config) == [], name
        assert model.optimizer.built
    with pytest.raises(ValueError, match="Unknown loss 'mine'"):
        cases.head(tlfast).compile_from_config(
            {
                "optimizer": {"class_name": "SGD", "config": {}},
                "loss": {"class_name": "mine", "config": {}},
            }
        )
    model = cases.head(tlfast)
    model.compile_from_config({})
    assert not model.compiled
    assert model.get_compile_config() == {}


# ---- evaluate and predict ----------------------------------------------------------------------


def test_predict_keeps_the_order_whatever_the_batch():
    x, _ = cases.data(23)
    model = cases.head(tlfast)
    want = model.predict(x, verbose=0)
    assert want.shape == (23, 3)
    assert np.array_equal(model.predict(x, batch_size=7, verbose=0), want)
    assert np.array_equal(model.predict_on_batch(x[5:9]), want[5:9])
    data = tlfast.data.Dataset.from_tensor_slices((x, x[:, 0])).batch(4)
    assert np.array_equal(model.predict(data, verbose=0), want)
    assert model.predict(x, batch_size=4, steps=2, verbose=0).shape == (8, 3)


def test_evaluate_does_not_train():
    x, y = cases.data()
    model = compiled()
    before = weights_of(model)
    first = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0, batch_size=5) == pytest.approx(first, rel=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert int(model.optimizer.iterations) == 0


def test_several_outputs_predict_as_a_list():
    x, _ = cases.data()
    inputs = tlfast.Input((8,))
    outputs = [layers.Dense(3)(inputs), layers.Dense(1)(inputs)]
    model = tlfast.Model(inputs, outputs)
    assert [a.shape for a in model.predict(x, verbose=0)] == [(24, 3), (24, 1)]


def test_one_output_may_have_no_loss():
    x, y = cases.data()
    inputs = tlfast.Input((8,))
    a = layers.Dense(3, activation="softmax", name="a")(inputs)
    b = layers.Dense(2, name="b")(inputs)
    model = tlfast.Model(inputs, [a, b])
    model.compile("sgd", {"a": CCE})
    frozen = model.get_layer("b").get_weights()[0].copy()
    history = model.fit(x, [y, y[:, :2]], verbose=0)
    assert list(history.history) == ["loss"]
    assert np.array_equal(model.get_layer("b").get_weights()[0], frozen)


# ---- warnings ----------------------------------------------------------------------------------


def softmax_of_two(loss, units=2, activation="softmax"):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = cases.head(tlfast, units, activation)
        model.compile("sgd", loss)
        x, y = cases.data()
        y = y[:, :units]
        model.fit(x, y, verbose=0)
        model.fit(x, y, verbose=0)
        model.evaluate(x, y, verbose=0)
    return seen


def test_softmax_with_binary_crossentropy_warns_once_per_compile():
    seen = softmax_of_two("binary_crossentropy")
    assert [w.category for w in seen] == [LossWarning]
    assert 'loss="categorical_crossentropy"' in str(seen[0].message)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("loss", "units", "activation", "expected"),
    [
        (CCE, 2, "softmax", 0),
        ("binary_crossentropy", 2, "sigmoid", 0),
        ("binary_crossentropy", 1, "sigmoid", 0),
        (CCE, 1, "sigmoid", 1),
    ],
)
def test_other_pairs(loss, units, activation, expected):
    assert [w.category for w in softmax_of_two(loss, units, activation)] == (
        [LossWarning] * expected
    )


def test_the_warning_looks_into_nested_and_deferred_models():
    x, y = cases.data()
    inner = tlfast.Sequential([layers.Dense(2), layers.Softmax()])
    model = tlfast.Sequential([layers.Dense(4), inner])
    model.compile("sgd", "binary_crossentropy")
    with pytest.warns(LossWarning, match="softmax over 2 units"):
        model.fit(x, y[:, :2], verbose=0)


def test_skipped_images_are_listed_at_the_end():
    model = compiled()
    x, y = cases.data()

    class Source:
        num_batches, num_samples = 1, 8
        element_shapes = [(8,)]

        def batches(self, epoch, training, skip):
            yield [x[:8]], [y[:8]], None

    engine = model._engine
    original = engine.batches

    def batches(source, epoch, training, skip):
        for number, batch in original(source, epoch, training, skip):
            batch.bad = [(f"cats/{i}.jpg", "truncated") for i in range(25)]
            yield number, batch

    engine.batches = batches
    with pytest.warns(DataWarning, match="25 images were skipped") as seen:
        model.fit(x, y, epochs=2, verbose=0)
    text = str(seen[0].message)
    assert "cats/19.jpg: truncated" in text
    assert "cats/20.jpg" not in text
    assert "... and 5 more" in text


# ---- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "kind", "message"),
    [
        ({"epoch": 3}, TypeError, "Did you mean 'epochs'"),
        ({"workers": 4}, TypeError, "threads"),
        ({"on_bad_image": "skip"}, TypeError, "image_dataset_from_directory"),
        ({"epochs": 1.5}, ValueError, "whole number"),
        ({"batch_size": -1}, ValueError, "`batch_size` is a number of rows, 1 or more.*got -1"),
        ({"batch_size": "8"}, ValueError, "`batch_size` is a number of rows.*got '8'"),
        ({"batch_size": 2.5}, ValueError, "`batch_size` is a number of rows.*got 2.5"),
        ({"batch_size": True}, ValueError, "`batch_size` is a number of rows.*got True"),
        ({"verbose": 3}, ValueError, "verbose"),
        ({"cache_features": "yes"}, ValueError, "cache_features"),
        ({"verbose": "loud"}, ValueError, "verbose"),
        ({"validation_split": 1.0}, ValueError, "validation_split"),
        ({"validation_split": 0.999}, ValueError, "not sufficient to split"),
        ({"validation_freq": 0}, ValueError, "validation_freq"),
        ({"validation_data": (1, 2, 3, 4)}, ValueError, "4 elements"),
        ({"class_weight": [1, 2]}, TypeError, "dictionary"),
        ({"class_weight": {"cat": 2.0}}, ValueError, "class indices"),
        ({"class_weight": {0: "2"}}, ValueError, "must be a number"),
        (
            {"class_weight": {0: 2.0}, "sample_weight": np.ones(24)},
            ValueError,
            "at the same time",
        ),
        ({"callbacks": [callbacks.EarlyStopping()]}, ValueError, "There is no validation"),
        ({"callbacks": [callbacks.EarlyStopping("los")]}, ValueError, "Did you mean 'loss'"),
        ({"callbacks": ["stop"]}, TypeError, "Expected callback objects"),
    ],
)
def test_fit_refuses(kwargs, kind, message):
    x, y = cases.data()
    model = compiled()
    before = weights_of(model)
    with pytest.raises(kind, match=message):
        model.fit(x, y, **{"verbose": 0, **kwargs})
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_monitors_of_values_a_users_callback_adds():
    x, y = cases.data()

    class Adds(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["mine"] = 1.0

    stop = callbacks.EarlyStopping("mine", mode="max")
    history = compiled().fit(x, y, verbose=0, callbacks=[Adds(), stop])
    assert history.history["mine"] == [1.0]


@pytest.mark.parametrize(
    ("loss", "units", "labels", "message"),
    [
        (CCE, 3, np.zeros(24, int), "sparse_categorical_crossentropy"),
        (CCE, 3, np.zeros((24, 1)), "sparse_categorical_crossentropy"),
        (CCE, 3, np.zeros((24, 2)), "2 classes, the output has 3 units"),
        ("sparse_categorical_crossentropy", 3, np.zeros((24, 3)), "one-hot"),
        ("sparse_categorical_crossentropy", 3, np.full(24, 3), "The label 3 is not a class"),
        ("sparse_categorical_crossentropy", 3, np.full(24, -1), "The label -1"),
        ("binary_crossentropy", 1, np.zeros((24, 2)), 'label_mode="binary"'),
        ("binary_crossentropy", 3, np.zeros(24), "same rank"),
        ("mse", 3, np.zeros((24, 3, 1)), "same rank"),
    ],
)
def test_labels_that_do_not_fit(loss, units, labels, message):
    x, _ = cases.data()
    model = compiled(loss, units=units, activation=None, metrics=())
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            call(x, labels, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.train_on_batch(x, labels)


@pytest.mark.parametrize(
    ("kwargs", "kind", "message"),
    [
        ({"optimizer": "adm"}, ValueError, "Did you mean 'adam'"),
        ({"loss": "categorical_crosentropy"}, ValueError, "Did you mean 'categorical_cross"),
        ({"loss": ["mse", "mase"]}, ValueError, "Did you mean 'mse'|Unknown loss 'mase'"),
        ({"metrics": ["acuracy"]}, ValueError, "Did you mean 'accuracy'"),
        ({"metrics": "accuracy"}, ValueError, "list, tuple, or dict"),
        ({"metric": ["accuracy"]}, TypeError, "Did you mean 'metrics'"),
        ({"run_eagerly": True}, NotImplementedError, "run_eagerly"),
        ({"steps_per_execution": 8}, NotImplementedError, "steps_per_execution"),
        ({"loss_weights": "a"}, ValueError, "loss_weights"),
        ({"loss": ["mse", "mse"]}, ValueError, "2 entries, but the model has 1 output"),
        ({"loss": {"hed": "mse"}}, ValueError, "Did you mean 'head'"),
    ],
)
def test_compile_refuses(kwargs, kind, message):
    model = compiled()
    optimizer = model.optimizer
    with pytest.raises(kind, match=message):
        model.compile(**{"optimizer": "sgd", "loss": "mse", **kwargs})
    assert model.optimizer is optimizer


def test_before_compile_and_without_loss():
    x, y = cases.data()
    model = cases.head(tlfast)
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"You must call `compile\(\)` before using the model"):
            call(x, y)
    model.predict(x, verbose=0)
    model.compile("sgd")
    with pytest.raises(ValueError, match="No loss to compute"):
        model.fit(x, y, verbose=0)


def test_labels_with_a_generator_are_refused_as_in_keras():
    x, y = cases.data()
    data = tlfast.data.Dataset.from_tensor_slices((x, y)).batch(8)
    for source in (data, iter([(x, y)])):
        with pytest.raises(ValueError, match="`y` should not be passed. Instead, the targets"):
            compiled().fit(source, y, verbose=0)
    with pytest.raises(ValueError, match="no labels"):
        compiled().fit(tlfast.data.Dataset.from_tensor_slices(x).batch(8), verbose=0)
    with pytest.raises(ValueError, match="No data"):
        compiled().fit(verbose=0)
    with pytest.raises(ValueError, match="image_dataset_from_directory"):
        compiled().fit(data, validation_split=0.2, verbose=0)


def test_a_python_loss_is_refused_before_the_first_step():
    x, y = cases.data()
    model = compiled(lambda t, p: np.square(t - p).mean(-1))
    with pytest.raises(NotImplementedError, match="Python function"):
        model.fit(x, y, verbose=0)


# ---- Ctrl-C ------------------------------------------------------------------------------------


def test_interrupt_leaves_whole_steps_and_fit_works_again():
    x, y = cases.data(240)
    model, twin = compiled(hidden=16), compiled(hidden=16)
    states = [weights_of(twin)]
    for at in range(0, 240, 8):
        twin.train_on_batch(x[at : at + 8], y[at : at + 8])
        states.append(weights_of(twin))

    class Interrupt(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 11:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[Interrupt()])
    for got, want in zip(model.get_weights(), states[11], strict=True):
        assert np.array_equal(got, want)
    assert int(model.optimizer.iterations) == 11
    model.fit(x, y, batch_size=8, verbose=0)
    assert int(model.optimizer.iterations) == 41


def test_a_signal_during_fit_stops_within_half_a_second():
    x, y = cases.data(64)
    model = compiled(hidden=32)
    started, sent = threading.Event(), []

    class Started(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            started.set()

    def interrupt():
        import _thread

        assert started.wait(10)
        sent.append(time.monotonic())
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=8, epochs=1_000_000, verbose=0, callbacks=[Started()])
    assert time.monotonic() - sent[0] < 0.5
    thread.join()
    assert model.fit(x, y, verbose=0).epoch == [0]
    assert np.isfinite(model.get_weights()[0]).all()


# ---- small helpers -----------------------------------------------------------------------------


def test_split_rows_takes_the_last_rows():
    x, y = np.arange(10), np.arange(20).reshape(10, 2)
    (tx, ty, tw), (vx, vy, vw) = split_rows((x, y, None), 0.25)
    assert tx.tolist() == list(range(7))
    assert vx.tolist() == [7, 8, 9]
    assert (ty.shape, vy.shape, tw, vw) == ((7, 2), (3, 2), None, None)
    several, _ = split_rows(({"a": x, "b": y}, [x, y], x), 0.5)
    assert several[0]["b"].shape == (5, 2)
    assert [a.shape for a in several[1]] == [(5,), (5, 2)]


def test_unpacked():
    assert unpacked((1, 2)) == (1, 2, None)
    assert unpacked([1, 2, 3]) == (1, 2, 3)
    assert unpacked("data") == ("data", None, None)


def test_per_output():
    assert per_output({"b": 1}, ["a", "b"], "loss") == [None, 1]
    assert per_output("mse", ["a", "b"], "loss") == ["mse", "mse"]
    assert per_output({"class_name": "Huber"}, ["a"], "loss") == [{"class_name": "Huber"}]
    with pytest.raises(ValueError, match="Outputs: a, b"):
        per_output({"c": 1}, ["a", "b"], "loss")


def test_metric_objects_are_reset_between_epochs():
    x, y = cases.data()
    auc = metrics.AUC(name="auc")
    model = compiled(rate=0.0, metrics=[auc])
    history = model.fit(x, y, epochs=2, verbose=0).history["auc"]
    assert history[0] == history[1]


@pytest.mark.parametrize("ending", ["dense", "activation", "softmax layer", "nested", "second"])
def test_where_the_softmax_is_found(ending):
    inputs = tlfast.Input((8,))
    logits = layers.Dense(2)(inputs)
    ends = {
        "dense": lambda: layers.Dense(2, activation="softmax")(inputs),
        "activation": lambda: layers.Activation("softmax")(logits),
        "softmax layer": lambda: layers.Softmax()(logits),
        "nested": lambda: tlfast.Sequential(
            [tlfast.Input((8,)), layers.Dense(2), layers.Activation("softmax")]
        )(inputs),
        "second": lambda: [logits, layers.Softmax()(logits)],
    }
    model = tlfast.Model(inputs, ends[ending]())
    with pytest.warns(LossWarning, match="softmax over 2 units") as seen:
        model.compile("sgd", "binary_crossentropy")
    assert len(seen) == 1
