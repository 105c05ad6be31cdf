"""Round trips through Keras' formats, files of Keras, files that must not be lost or misread."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tlfast import keras, layers, saving
from tlfast.models import Model, Sequential
from tlfast.saving import atomic
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import File

FILES = Path(__file__).parent / "files"
ENDINGS = (".keras", ".h5")


def filled(model, seed: int = 1):
    """Give every weight its own values, batch-norm variances positive ones."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 1, w.shape).astype(np.float32) for w in model.weights])
    return model


def small_base(name: str = "base"):
    x = inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.ReLU()(x)
    x = layers.SeparableConv2D(5, 3, name=f"{name}_sep")(x)
    x = layers.BatchNormalization(scale=False, name=f"{name}_bn2")(x)
    return Model(inputs, x, name=name)


def transfer_model(trainable: bool = False, classes: int = 3):
    """The usual script: a frozen model inside a model."""
    base = small_base()
    base.trainable = trainable
    inputs = layers.Input((8, 8, 3), name="photo")
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    outputs = layers.Dense(classes, activation="softmax", name="head")(x)
    return filled(Model(inputs, outputs, name="transfer"))


def sequential_model():
    return filled(
        Sequential(
            [
                layers.Input((6, 6, 2)),
                layers.Conv2D(3, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(4, kernel_regularizer="l2"),
                layers.Dense(2, activation="softmax"),
            ]
        )
    )


def branched_model():
    """Two inputs, a shared layer, a layer of a class three times."""
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    shared = layers.Dense(3, name="shared")
    joined = layers.Concatenate()([shared(a), shared(b), layers.Dense(2, name="alone")(a)])
    total = layers.Add()([layers.Dense(5, name="left")(joined), layers.Dense(5)(joined)])
    return filled(Model([a, b], [total, joined], name="branched"))


MODELS = {"transfer": transfer_model, "sequential": sequential_model, "branched": branched_model}


def same_weights(one, other) -> bool:
    pairs = list(zip(one.get_weights(), other.get_weights(), strict=True))
    return bool(pairs) and all(np.array_equal(a, b) for a, b in pairs)


# ---- round trips


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", MODELS)
def test_model_round_trip(tmp_path, name, ending):
    model = MODELS[name]()
    path = tmp_path / f"model{ending}"
    model.save(path)
    loaded = saving.load_model(path)
    assert type(loaded) is type(model) and loaded.name == model.name
    assert same_weights(model, loaded)
    assert loaded.get_config() == model.get_config()
    assert [w.trainable for w in loaded.weights] == [w.trainable for w in model.weights]
    assert not loaded.compiled
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_round_trip(tmp_path, name, ending):
    model = MODELS[name]()
    path = tmp_path / f"w{ending}"
    if ending == ".keras":
        model.save(path)
    else:
        model.save_weights(path)
    other = filled(MODELS[name](), seed=2)
    assert not same_weights(model, other)
    other.load_weights(path)
    assert same_weights(model, other)


@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
@pytest.mark.parametrize("saved", [False, True])
def test_frozen_and_unfrozen(tmp_path, saved, ending):
    """Weights saved with the base frozen load with it unfrozen, and the other way round."""
    model = transfer_model(trainable=saved)
    model.save_weights(tmp_path / f"w{ending}")
    other = filled(transfer_model(trainable=not saved), seed=2)
    other.load_weights(tmp_path / f"w{ending}")
    assert same_weights(model, other)


def test_frozen_and_unfrozen_without_names(tmp_path):
    """The same when the names in the file say nothing, so that only the order is left."""
    for saved in (False, True):
        path = tmp_path / f"{saved}.h5"
        model = transfer_model(trainable=saved)
        model.save_weights(path)
        with h5py.File(path, "r+") as f:
            names = list(f["base"].attrs["weight_names"])
            new = [f"w{i}" for i in range(len(names))]
            for old, short in zip(names, new, strict=True):
                f["base"].move(old, short)
            f["base"].attrs["weight_names"] = new
        for flag in (False, True):
            other = filled(transfer_model(trainable=flag), seed=2)
            other.load_weights(path)
            assert same_weights(model, other), (saved, flag)


@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
@pytest.mark.parametrize("made_before", range(0, 8, 3))
def test_half_frozen_without_own_names(tmp_path, made_before, ending):
    """Automatic names count on in a process; weights of one shape must not change places."""

    def nested(frozen: int):
        x = inputs = layers.Input((8,))
        for _ in range(6):
            x = layers.BatchNormalization()(layers.Dense(8)(x))
        base = Model(inputs, x, name="base")
        for layer in base.layers[:frozen]:
            layer.trainable = False
        outer = layers.Input((8,))
        return Model(outer, layers.Dense(8, name="head")(base(outer)))

    keras.backend.clear_session()
    model = filled(nested(frozen=5))
    model.save_weights(tmp_path / f"w{ending}")
    keras.backend.clear_session()
    for _ in range(made_before):
        layers.Dense(1), layers.BatchNormalization()
    for frozen in (0, 5, 9, 20):
        other = filled(nested(frozen), seed=2)
        other.load_weights(tmp_path / f"w{ending}")
        assert same_layers(other, model), frozen


def same_layers(one, other) -> bool:
    """Weights in the order of the layers; the flags change that of `get_weights`."""
    pairs = zip(one._flatten_layers(), other._flatten_layers(), strict=True)
    return all(
        np.array_equal(v.numpy(), w.numpy())
        for a, b in pairs
        for v, w in zip(
            a._own_trainable + a._own_non_trainable, b._own_trainable + b._own_non_trainable,
            strict=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_compiled_state(tmp_path, ending):
    from tlfast import optimizers

    model = transfer_model()
    optimizer = optimizers.Adam(learning_rate=3e-3, clipnorm=1.5)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    optimizer.build(model.trainable_weights)
    for number, variable in enumerate(optimizer.variables[2:]):
        variable.assign(np.full(variable.shape, number + 0.5, np.float32))
    optimizer.iterations = 17
    optimizer.learning_rate = 2e-4
    path = tmp_path / f"m{ending}"
    model.save(path)
    loaded = saving.load_model(path)
    assert loaded.compiled and loaded.loss == "sparse_categorical_crossentropy"
    assert loaded.optimizer.get_config() == optimizer.get_config()
    assert int(loaded.optimizer.iterations) == 17
    for one, other in zip(optimizer.variables, loaded.optimizer.variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy())
    assert not saving.load_model(path, compile=False).compiled
    model.save(path, include_optimizer=False)
    assert not saving.load_model(path).compiled


def test_weights_file_restores_a_built_optimizer(tmp_path):
    def compiled():
        model = transfer_model()
        model.compile("sgd", loss="sparse_categorical_crossentropy")
        model.optimizer.build(model.trainable_weights)
        return model

    model = compiled()
    model.optimizer.iterations = 5
    model.save_weights(tmp_path / "w.weights.h5")
    other = compiled()
    other.load_weights(tmp_path / "w.weights.h5")
    assert int(other.optimizer.iterations) == 5
    adam = transfer_model()
    adam.compile("adam", loss="sparse_categorical_crossentropy")
    adam.optimizer.build(adam.trainable_weights)
    with pytest.warns(UserWarning, match="state of the optimizer 'adam.*' is not restored"):
        adam.load_weights(tmp_path / "w.weights.h5")
    assert same_weights(adam, model) and int(adam.optimizer.iterations) == 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_record(tmp_path, ending):
    model = sequential_model()
    values = {"class_names": ["cät", "dog"], "image_size": [6, 6], "history": {"loss": [1.5, 0.5]}}
    saving.update_record(model, **values, passing=1)
    saving.update_record(model, passing=None)
    model.save(tmp_path / f"m{ending}")
    assert saving.get_record(saving.load_model(tmp_path / f"m{ending}")) == values
    with pytest.raises(ValueError, match="numbers, text, lists.*'bad'"):
        saving.update_record(model, bad=object())
    assert saving.get_record(sequential_model()) == {}


@pytest.mark.parametrize("ending", ENDINGS)
def test_record_of_a_training(tmp_path, image_tree, ending):
    """Class names and the logs of `fit` come back with the file."""
    from tlfast.utils import image_dataset_from_directory

    data = image_dataset_from_directory(
        image_tree(("cat", "dog")), image_size=(8, 8), batch_size=4, verbose=False, seed=1
    )
    model = Sequential(
        [layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(data, epochs=2, verbose=0).history
    model.save(tmp_path / f"m{ending}")
    record = saving.get_record(saving.load_model(tmp_path / f"m{ending}"))
    assert record.pop("images")["height"] == 8
    del record["recipe"]  # tests/test_reproduce.py
    assert record == {"class_names": ["cat", "dog"], "history": history}
    assert set(history) == {"loss", "accuracy"}


def test_lazy_weights_stay_lazy(tmp_path):
    """A 100 GB layer in a small file is refused before anything is allocated."""
    path = tmp_path / "m.keras"
    sequential_model().save(path)
    config = json.loads(zipfile.ZipFile(path).read("config.json"))
    config["config"]["layers"][-1]["config"]["units"] = 10**10
    repack(path, config=config)
    with pytest.raises(FormatError, match=r"layer 'dense_\d+' the config declares more than"):
        saving.load_model(path)


def repack(path: Path, config=None, weights: bytes | None = None, metadata=None) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, value in (("config.json", config), ("metadata.json", metadata)):
        if value is not None:
            members[name] = value if isinstance(value, bytes) else json.dumps(value).encode()
    members["model.weights.h5"] = weights or members["model.weights.h5"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


# ---- files of Keras


@pytest.mark.parametrize("name", ["keras3.keras", "keras3_legacy.h5"])
def test_keras_sample(name):
    """A nested model with augmentation and a frozen base, trained one step by Keras 3.15.1."""
    model = saving.load_model(FILES / name)
    found = {w.path.split("/", 1)[-1] if "sep" in w.path else w.path: w for w in model.weights}
    with h5py.File(FILES / "keras3_legacy.h5") as f:
        stored = f["model_weights"]
        for layer in model.layers:
            for weight in layer.weights:
                want = stored[layer.name][weight.path][()]
                assert np.array_equal(weight.numpy(), want), weight.path
        assert len(found) == 15
        slots = f["optimizer_weights/adam"]
        assert int(model.optimizer.iterations) == int(slots["iteration"][()]) == 2
        for variable in model.optimizer.variables:
            assert np.array_equal(variable.numpy(), slots[variable.name][()])
    assert not model.get_layer("mybase").trainable
    assert model.loss == "sparse_categorical_crossentropy"
    model.load_weights(FILES / "keras3.weights.h5")


def test_keras_sample_predicts_what_keras_predicts():
    stored = np.load(FILES / "keras3_prediction.npz")
    for name in ("keras3.keras", "keras3_legacy.h5"):
        found = saving.load_model(FILES / name)(stored["x"], training=False)
        np.testing.assert_allclose(found, stored["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.peer("keras")
@pytest.mark.parametrize("name", MODELS)
def test_keras_opens_our_files(tmp_path, run_peer, name):
    """Keras reads all three formats, predicts the same, and writes what we read back."""
    model = MODELS[name]()
    saving.update_record(model, class_names=["a", "b"])
    model.compile(
        "adam", loss="mean_squared_error" if name == "branched" else "categorical_crossentropy"
    )
    model.optimizer.build(model.trainable_weights)
    model.optimizer.iterations = 7
    rng = np.random.default_rng(0)
    x = [rng.uniform(0, 2, (3, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    ours = model(x if len(x) > 1 else x[0], training=False)
    for ending in (".keras", ".h5"):
        model.save(tmp_path / f"m{ending}")
    model.save_weights(tmp_path / "m.weights.h5")
    np.savez(tmp_path / "x.npz", *x)
    run_peer(
        "keras",
        f"""
import keras, numpy as np, os
os.chdir({str(tmp_path)!r})
x = list(np.load("x.npz").values())
x = x if len(x) > 1 else x[0]
found = []
for ending in (".keras", ".h5"):
    model = keras.models.load_model("m" + ending)
    assert model.compiled
    if ending == ".keras":  # Keras' reader of .h5 files builds its optimizer without slots
        assert int(model.optimizer.iterations) == 7
        assert len(model.optimizer.variables) == {len(model.optimizer.variables)}
    found.append(model.predict(x, verbose=0))
model.set_weights([w * 0 for w in model.get_weights()])
model.load_weights("m.weights.h5")
found.append(model.predict(x, verbose=0))
flat = [np.concatenate([p.ravel() for p in (f if isinstance(f, list) else [f])]) for f in found]
np.save("y.npy", np.stack(flat))
model = keras.models.load_model("m.keras")
model.save("back.keras"); model.save("back.h5"); model.save_weights("back.weights.h5")
""",
    )
    flat = np.concatenate([p.ravel() for p in (ours if isinstance(ours, list) else [ours])])
    for row in np.load(tmp_path / "y.npy"):
        np.testing.assert_allclose(row, flat, rtol=1e-4, atol=1e-5)
    for back in ("back.keras", "back.h5"):
        loaded = saving.load_model(tmp_path / back)
        assert same_weights(loaded, model) and int(loaded.optimizer.iterations) == 7
    other = filled(MODELS[name](), 3)
    other.load_weights(tmp_path / "back.weights.h5")
    assert same_weights(other, model)


def test_names_that_are_split(tmp_path):
    """More layer names than one attribute holds."""
    long = "a_rather_long_layer_name_that_takes_up_space_" * 12
    x = inputs = layers.Input((3,))
    for i in range(130):
        x = layers.Dense(3, name=f"{long}{i}")(x)
    model = filled(Model(inputs, x))
    model.save_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as f:
        assert "layer_names" not in f.attrs and "layer_names1" in f.attrs
    before = model.get_weights()
    model.set_weights([w * 0 for w in before])
    model.load_weights(tmp_path / "w.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("w.weights.h5", "weights.h5"),
        ("w.weights.h5", "w.keras"),
        ("w.h5", "w.weights.h5"),
        ("m.keras", "m.weights.h5"),
        ("m.keras", "checkpoint"),
    ],
)
def test_content_decides(tmp_path, written, named):
    model = transfer_model()
    (model.save if written[0] == "m" else model.save_weights)(tmp_path / written)
    os.rename(tmp_path / written, tmp_path / named)
    other = filled(transfer_model(), 2)
    other.load_weights(tmp_path / named)
    assert same_weights(model, other)


# ---- what does not fit


def test_mismatch_changes_nothing(tmp_path):
    model = transfer_model(classes=3)
    for name in ("w.weights.h5", "w.h5"):
        model.save_weights(tmp_path / name)
        other = filled(transfer_model(classes=4), 2)
        before = other.get_weights()
        with pytest.raises(
            FormatError, match=rf"{name}.*'head'.*kernel has shape \(5, 4\).*file has \(5, 3\)"
        ):
            other.load_weights(tmp_path / name)
        assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
        with pytest.warns(UserWarning, match="head.*keep their values"):
            other.load_weights(tmp_path / name, skip_mismatch=True)
        assert same_weights(other.get_layer("base"), model.get_layer("base"))
        assert np.array_equal(other.get_layer("head").get_weights()[0], before[-2])


def test_another_network(tmp_path):
    sequential_model().save_weights(tmp_path / "w.h5")
    with pytest.raises(
        FormatError,
        match="Layer count mismatch when loading weights from file. Model expected 2 layers, found "
        r"3 saved layers. Only in the model: 'base' \[.*, 'head' \[\(5, 3\), \(3,\)\]; only in the "
        r"file: 'conv2d.*' \[\(3, 3, 2, 3\), \(3,\)\], 'dense.*another include_top",
    ):
        transfer_model().load_weights(tmp_path / "w.h5")
    sequential_model().save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(FormatError, match="objects could not be loaded.*No weight was changed"):
        transfer_model().load_weights(tmp_path / "w.weights.h5")


def test_every_layer_that_does_not_fit_is_told(tmp_path):
    def stack(units: int):
        return Sequential(
            [layers.Input((3,)), *(layers.Dense(units, name=f"layer_{i}") for i in range(8))]
        )

    stack(4).save_weights(tmp_path / "w.weights.h5")
    message = (
        r"a total of 8 objects could not be loaded: Layer 'layer_0': .*kernel has shape "
        r"\(3, 5\), but the file has \(3, 4\) at .*; Layer 'layer_4': .* \(5, 5\).*\(4, 4\).*; "
        r"and 3 more: layer_5, layer_6, layer_7. No weight was changed"
    )
    with pytest.raises(FormatError, match=message):
        stack(5).load_weights(tmp_path / "w.weights.h5")


def test_by_name(tmp_path):
    model = filled(small_base())
    model.save_weights(tmp_path / "w.h5")
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="base_conv")(inputs)
    partial = filled(Model(inputs, layers.Conv2D(2, 1, name="new")(x)), 2)
    before = partial.get_layer("new").get_weights()[0]
    partial.load_weights(tmp_path / "w.h5", by_name=True)
    assert same_weights(partial.get_layer("base_conv"), model.get_layer("base_conv"))
    assert np.array_equal(partial.get_layer("new").get_weights()[0], before)
    with pytest.raises(FormatError, match="would load nothing"):
        sequential_model().load_weights(tmp_path / "w.h5", by_name=True)
    model.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(FormatError, match="by_name=True works with"):
        partial.load_weights(tmp_path / "w.weights.h5", by_name=True)


def test_truncated_files_change_nothing(tmp_path):
    model = transfer_model()
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    model.save_weights(tmp_path / "w.weights.h5")
    other = filled(transfer_model(), 2)
    before = other.get_weights()
    for name in ("m.keras", "m.h5", "w.weights.h5"):
        data = (tmp_path / name).read_bytes()
        for cut in range(0, len(data) - 1, len(data) // 25):
            (tmp_path / "cut").write_bytes(data[:cut])
            try:
                other.load_weights(tmp_path / "cut")
            except FormatError as exc:
                assert "cut" in str(exc)
                same = zip(before, other.get_weights(), strict=True)
                assert all(np.array_equal(a, b) for a, b in same)
            else:
                assert same_weights(other, model)
                other.set_weights(before)


# ---- arguments


def test_arguments(tmp_path):
    model = sequential_model()
    with pytest.raises(ValueError, match=r"Invalid filepath extension for saving.*m\.txt"):
        model.save(tmp_path / "m.txt")
    with pytest.raises(ValueError, match=r"must end in `.weights.h5`"):
        model.save_weights(tmp_path / "w.keras")
    with pytest.raises(ValueError, match="save_format='tf' does not agree"):
        model.save(tmp_path / "m.keras", save_format="tf")
    with pytest.raises(ValueError, match="zipped=False"):
        model.save(tmp_path / "m.keras", zipped=False)
    with pytest.raises(ValueError, match="safe_mode=False is not supported"):
        saving.load_model(tmp_path / "m.keras", safe_mode=False)
    with pytest.raises(FileNotFoundError):
        saving.load_model(tmp_path / "m.keras")
    with pytest.raises(FormatError, match="a folder"):
        saving.load_model(tmp_path)
    (tmp_path / "page.keras").write_text("<html>not found</html>")
    with pytest.raises(FormatError, match="is it a web page"):
        saving.load_model(tmp_path / "page.keras")
    model.save_weights(tmp_path / "w.h5")
    with pytest.raises(FormatError, match="holds weights only"):
        saving.load_model(tmp_path / "w.h5")
    for save in (model.save, model.save_weights):
        with pytest.raises(FileExistsError, match="overwrite=False"):
            save(tmp_path / "w.h5", overwrite=False)
    unbuilt = Sequential([layers.Dense(3)])
    for action in (unbuilt.save_weights, unbuilt.load_weights):
        with pytest.raises(ValueError, match="is not built"):
            action(tmp_path / "w.weights.h5")


# ---- half-written files


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    model = sequential_model()
    path = tmp_path / "m.keras"
    model.save(path)
    good = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    for name in ("m.keras", "m.h5", "m.weights.h5"):
        action = model.save_weights if "weights" in name else model.save
        with pytest.raises(
            OSError, match=f"an older file is kept.*No space left.*{name}"
        ) as caught:
            action(tmp_path / name)
        assert caught.value.errno == 28
    assert path.read_bytes() == good and list(tmp_path.iterdir()) == [path]


def test_interrupt_while_saving(tmp_path, monkeypatch):
    model = sequential_model()
    path = tmp_path / "m.keras"
    model.save(path)
    good = path.read_bytes()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.save(path)
    assert path.read_bytes() == good and list(tmp_path.iterdir()) == [path]


def test_full_disk_in_a_process(tmp_path):
    """A file size limit cuts the write in the middle."""
    code = f"""
import resource, signal
from tlfast import layers, models
model = models.Sequential([layers.Input((300,)), layers.Dense(300)])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for name in ("m.keras", "m.h5"):
    try:
        model.save({str(tmp_path)!r} + "/" + name)
    except OSError as exc:
        print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("cannot write (an older file is kept): File too large") == 2
    assert list(tmp_path.iterdir()) == []


def test_links_folders_and_modes(tmp_path):
    model = sequential_model()
    real = tmp_path / "deep" / "folder" / "m.keras"
    model.save(real)
    os.chmod(real, 0o640)
    (tmp_path / "link.keras").symlink_to(real)
    model.save(tmp_path / "link.keras")
    assert (tmp_path / "link.keras").is_symlink() and real.stat().st_mode & 0o777 == 0o640
    with pytest.raises(IsADirectoryError):
        (tmp_path / "d.keras").mkdir()
        model.save(tmp_path / "d.keras")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        model.save(tmp_path / "file" / "m.keras")


def test_libhdf5_never_reads(tmp_path, monkeypatch):
    """Loading works where opening a file with h5py is impossible."""
    model = transfer_model()
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    model.save_weights(tmp_path / "w.weights.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for name in ("m.keras", "m.h5"):
        assert same_weights(saving.load_model(tmp_path / name), model)
    model.load_weights(tmp_path / "w.weights.h5")


def test_layout_is_what_keras_writes(tmp_path):
    """Same groups, names and attributes as in the sample of Keras 3.15.1."""
    model = saving.load_model(FILES / "keras3.keras")
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    model.save_weights(tmp_path / "m.weights.h5")

    def listing(path):
        found = {}

        def visit(name, thing):
            kind = (thing.shape, str(thing.dtype)) if isinstance(thing, h5py.Dataset) else "group"
            found[name] = (kind, {k: np.array(v).tolist() for k, v in thing.attrs.items()})

        with h5py.File(path) as f:
            f.visititems(visit)
            return found, sorted(set(f.attrs) - {"tlfast"})  # which Keras does not look at

    for ours, theirs in (("m.h5", "keras3_legacy.h5"), ("m.weights.h5", "keras3.weights.h5")):
        assert listing(tmp_path / ours) == listing(FILES / theirs)
    configs = [
        json.loads(zipfile.ZipFile(path).read("config.json"))
        for path in (tmp_path / "m.keras", FILES / "keras3.keras")
    ]
    assert without_ids(configs[0]) == without_ids(configs[1])
    with h5py.File(tmp_path / "m.h5") as a, h5py.File(FILES / "keras3_legacy.h5") as b:
        for key in ("model_config", "training_config"):
            assert json.loads(a.attrs[key]) == json.loads(b.attrs[key])
    data = zipfile.ZipFile(tmp_path / "m.keras").read("model.weights.h5")
    with File(data, "m") as file:
        assert file.root.dataset("optimizer/vars/0").read(()) == 2


def without_ids(config):
    """A config without Keras' `shared_object_id`s, which are memory addresses."""
    if isinstance(config, dict):
        return {k: without_ids(v) for k, v in config.items() if k != "shared_object_id"}
    return [without_ids(v) for v in config] if isinstance(config, list) else config


@pytest.mark.parametrize("ending", ENDINGS)
def test_arithmetic_on_tensors_and_layers_of_the_same_name(tmp_path, ending):
    """Subtract and Add are layers as well as operations; .h5 files do not say which is meant."""
    inputs = layers.Input((4,))
    x = inputs / 127.5 - 1.0
    x = layers.Subtract()([x, layers.Dense(4)(x)]) + layers.Add()([x, x])
    model = filled(Model(inputs, layers.Dense(2)(x)))
    model.save(tmp_path / f"m{ending}")
    loaded = saving.load_model(tmp_path / f"m{ending}")
    kinds = [type(operation) for operation in loaded.operations]
    assert kinds == [type(operation) for operation in model.operations]
    data = np.random.default_rng(0).uniform(0, 255, (3, 4)).astype("f4")
    assert np.array_equal(loaded.predict(data, verbose=0), model.predict(data, verbose=0))
