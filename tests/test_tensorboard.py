"""TensorBoard: event files with what Keras writes, readable, and what is refused."""

import os
import sys
import warnings

import numpy as np
import pytest
from reference_compare import callback_cases, cases, differences, stored
from tensorboard_files import events, summaries

import tlfast
from tlfast.callbacks import TensorBoard
from tlfast.callbacks._events import histogram_buckets


@pytest.fixture(scope="module")
def model():
    made = cases.head(tlfast)
    made.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return made


def fit(model, *boards, epochs=2, **kwargs):
    x, y = cases.data(16)
    kwargs = {"batch_size": 8, "verbose": 0, "validation_data": (x, y), **kwargs}
    return model.fit(x, y, epochs=epochs, callbacks=list(boards), **kwargs)


def test_files_have_what_keras_writes():
    assert differences(callback_cases.tensorboard(tlfast), stored()["tensorboard"]) == []


def test_files_are_event_files_of_version_2(model, tmp_path):
    fit(model, TensorBoard(tmp_path))
    for run in ("train", "validation"):
        (path,) = (tmp_path / run).iterdir()
        assert path.name.startswith("events.out.tfevents.")
        first, *rest = events(path)
        assert first.file_version == "brain.Event:2" and rest
        assert all(event.wall_time >= first.wall_time - 1 for event in rest)


def test_values_are_those_of_the_history(model, tmp_path):
    board = TensorBoard(tmp_path, update_freq=1)
    history = fit(model, board, epochs=3).history
    found = summaries(tmp_path)
    for name in ("loss", "accuracy"):
        for run, key in (("train", name), ("validation", f"val_{name}")):
            entry = found[run][f"epoch_{name}"]
            assert entry["steps"] == [0, 1, 2]
            np.testing.assert_allclose(entry["values"], history[key], rtol=1e-6)
    assert found["train"]["batch_loss"]["steps"] == [1, 2, 3, 4, 5, 6]


def test_every_epoch_is_there_whatever_the_update_frequency(model, tmp_path):
    fit(model, TensorBoard(tmp_path, update_freq=3), epochs=4)
    found = summaries(tmp_path)["train"]
    assert found["epoch_loss"]["steps"] == [0, 1, 2, 3]
    assert found["batch_loss"]["steps"] == [3, 6]


def test_evaluate_alone(model, tmp_path):
    x, y = cases.data(16)
    board = TensorBoard(tmp_path)
    results = model.evaluate(x, y, verbose=0, return_dict=True, callbacks=[board])
    found = summaries(tmp_path)
    assert list(found) == ["validation"]
    entry = found["validation"]["evaluation_loss_vs_iterations"]
    assert entry["steps"] == [int(model.optimizer.iterations)]
    assert entry["values"] == pytest.approx([results["loss"]], rel=1e-6)
    model.evaluate(x, y, verbose=0, callbacks=[board])
    assert len(list((tmp_path / "validation").iterdir())) == 2


def test_what_is_written_is_there_before_the_end(model, tmp_path):
    """After an epoch: a killed training leaves the files of the epochs before."""
    seen = []

    class Reader(tlfast.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(summaries(tmp_path)["train"]["epoch_loss"]["steps"])

    fit(model, TensorBoard(tmp_path), Reader(), epochs=3)
    assert seen == [[0], [0, 1], [0, 1, 2]]


def test_tensorboard_itself_reads_the_files(model, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(model, TensorBoard(tmp_path, histogram_freq=1, write_images=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        run = loader.EventAccumulator(str(tmp_path / "train")).Reload()
    tags = run.Tags()["tensors"]
    assert {"keras", "epoch_loss", "epoch_learning_rate", "head/kernel/histogram"} <= set(tags)
    assert [event.step for event in run.Tensors("epoch_loss")] == [0, 1]


# ---- histograms and images -----------------------------------------------------------------------


def test_histogram(rng):
    values = rng.normal(size=1000)
    buckets = histogram_buckets(values)
    assert buckets.shape == (30, 3) and buckets[:, 2].sum() == 1000
    assert buckets[0, 0] == values.min() and buckets[-1, 1] == values.max()
    counts, edges = np.histogram(values, 30)
    np.testing.assert_array_equal(buckets[:, 2], counts)
    np.testing.assert_allclose(buckets[:, 0], edges[:-1])


def test_histogram_of_special_values():
    assert histogram_buckets(np.array([])).tolist() == np.zeros((30, 3)).tolist()
    one = histogram_buckets(np.full((2, 3), 4.0))
    assert one[:, 2].tolist() == [0] * 29 + [6] and (one[:, :2] == 4).all()
    some = histogram_buckets(np.array([np.nan, 1, np.inf, 2]))
    assert some[:, 2].sum() == 2 and some[0, 0] == 1 and some[-1, 1] == 2


def test_weights_of_all_shapes_as_images(tmp_path):
    keras = tlfast.keras
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="c"),
         keras.layers.DepthwiseConv2D(3, name="d"), keras.layers.Flatten(),
         keras.layers.Dense(2, name="e")],
        name="net",
    )  # fmt: skip
    network.compile("sgd", "mse")
    board = TensorBoard(tmp_path, histogram_freq=1, write_images=True)
    network.fit(np.ones((2, 8, 8, 3)), np.ones((2, 2)), verbose=0, callbacks=[board])
    found = summaries(tmp_path)["train"]
    images = {tag: entry["values"] for tag, entry in found.items() if tag.endswith("/image")}
    png = "\x89PNG"
    assert images["net/d/kernel/image"] == ["3", "3", png, png]
    assert images["net/e/kernel/image"] == ["32", "2", png]
    assert images["net/c/bias/image"] == ["1", "2", png]
    # (3, 3, 3, 2): Keras writes four axes as they are, which is no image with two channels.
    assert "net/c/kernel/image" not in images and "net/c/kernel/histogram" in found


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"profile_batch": (2, 5)}, NotImplementedError, "profile_batch=.2, 5.*leave"),
        ({"embeddings_freq": 1}, NotImplementedError, "no embedding layers"),
        ({"embeddings_metadata": "m.tsv"}, NotImplementedError, "no embedding layers"),
        ({"histogram_freq": -1}, ValueError, "histogram_freq=-1.*0 or more"),
        ({"update_freq": "epochs"}, ValueError, 'update_freq=.epochs.*"batch" or "epoch"'),
        ({"update_freq": 0}, ValueError, "1 or more"),
        ({"log_dirs": "x"}, TypeError, "Did you mean 'log_dir'"),
    ],
)
def test_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        TensorBoard(**options)


def test_images_without_histograms_are_said_to_be_none():
    with pytest.warns(UserWarning, match="no effect without `histogram_freq`") as seen:
        TensorBoard(write_images=True)
    assert seen[0].filename == __file__
    TensorBoard(profile_batch=0, embeddings_freq=0, write_images=False)


def test_missing_writer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.delitem(sys.modules, "tensorboardX.event_file_writer", raising=False)
    with pytest.raises(ImportError, match="TensorBoard needs tensorboardX: pip install tensorb"):
        TensorBoard()


def test_a_folder_that_takes_no_files(model, tmp_path):
    (tmp_path / "logs").write_text("a file")
    steps = []
    count = tlfast.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: steps.append(b))
    for log_dir in (tmp_path / "logs", "/proc/tlfast"):
        with pytest.raises(OSError, match="TensorBoard.*nothing can be written to the folder"):
            fit(model, count, TensorBoard(log_dir))
    assert steps == []


def test_a_model_without_a_json_form(tmp_path):
    class Own(tlfast.keras.Model):
        def to_json(self, **kwargs):
            raise NotImplementedError("no config")

    inputs = tlfast.keras.Input((8,))
    model = Own(inputs, tlfast.keras.layers.Dense(3)(inputs))
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="the graph is not written.*no config"):
        model.fit(*cases.data(8), verbose=0, callbacks=[TensorBoard(tmp_path)])
    assert "keras" not in summaries(tmp_path)["train"]


def test_nothing_is_made_before_the_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    board = TensorBoard("logs")
    board.set_model(cases.head(tlfast))
    assert os.listdir(tmp_path) == []
