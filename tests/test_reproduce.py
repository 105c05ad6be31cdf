"""`tlfast reproduce`: recipes in files, trainings done again, and what stands in the way."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import reproduce_models as made
from official_weights import official_file
from tlfast.keras import layers

import tlfast
from tlfast import _core, cli, keras
from tlfast._recipe import _describe, _hashes, _recorder, _schema
from tlfast.saving import FormatError, get_record, load_model


def reproduce(capsys, path, *words) -> tuple[int, str]:
    """Exit status, and what was printed on both streams."""
    capsys.readouterr()
    status = cli.main(["reproduce", str(path), *map(str, words)])
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def recipe_of(model) -> dict:
    return get_record(model)["recipe"]


def small_model(seed=1, **compiled):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([
        keras.Input((6,)), layers.Dense(5, activation="relu"), layers.Dropout(0.3),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile(
        **{"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
        | compiled
    )
    return model


@pytest.fixture
def arrays(tmp_path):
    """(x, y, file that holds them)."""
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 6)).astype(np.float32), rng.integers(0, 2, 20)
    np.savez(tmp_path / "arrays.npz", x=x, y=y)
    return x, y, tmp_path / "arrays.npz"


def changed_file(path: Path, change) -> Path:
    """A copy of a .keras file whose recipe was changed by `change(recipe)`."""
    copy = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "metadata.json":
                metadata = json.loads(content)
                change(metadata["tlfast"]["recipe"])
                content = json.dumps(metadata).encode()
            new.writestr(name, content)
    return copy


# ---- identical ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", made.MODELS)
def test_identical_with_images_moved_and_renamed(name, tmp_path, capsys):
    folder = tmp_path / "trained-here"
    folder.mkdir()
    model = made.MODELS[name](folder)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        text = file.read("metadata.json").decode() + file.read("config.json").decode()
    assert '"recipe"' in text
    for word in ("picture-", ".png", str(tmp_path), folder.name, os.path.expanduser("~"), "npz"):
        assert word not in text
    elsewhere = tmp_path / "elsewhere"
    for number, path in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        target = elsewhere / str(number % 3) / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    elsewhere.mkdir(exist_ok=True)
    data = ["--data", elsewhere]
    if (folder / "arrays.npz").exists():
        data += ["--arrays", folder / "arrays.npz"]
    random.seed(99)  # whatever the generators of this process are at
    np.random.seed(99)
    status, printed = reproduce(capsys, tmp_path / "model.keras", *data)
    assert status == 0, printed
    sha256 = _hashes.hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()
    assert printed.endswith(f"identical: sha256 {sha256}\n")
    epochs = sum(len(fit["epochs"]) for fit in recipe_of(model)["fits"])
    assert printed.count("the same") == epochs >= 2


def test_json(arrays, tmp_path, capsys):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, epochs=2, batch_size=7, verbose=0)
    model.save(tmp_path / "m.h5")
    capsys.readouterr()
    assert cli.main(["reproduce", str(tmp_path / "m.h5"), "--arrays", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["identical"], found["fits"], found["steps"]) == (True, 1, 6)
    assert found["difference"] is None and len(found["sha256"]) == 64


def test_nobody_reads_the_output(arrays, tmp_path):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "tlfast", "reproduce", tmp_path / "m.keras", "--arrays", file]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_settings_are_put_back(arrays, tmp_path, capsys):
    x, y, file = arrays
    tlfast.set_exact(True)
    try:
        model = small_model()
        model.fit(x, y, verbose=0)
        model.save(tmp_path / "m.keras")
    finally:
        tlfast.set_exact(False)
    before = tlfast.num_threads(), tlfast._core.winograd()
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
    assert status == 0 and "different here" not in printed
    assert (tlfast.num_threads(), tlfast._core.winograd()) == before


def test_a_loaded_model_trained_on_is_repeated_from_its_beginning(arrays, tmp_path, capsys):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "first.keras")
    again = load_model(tmp_path / "first.keras")
    again.fit(x[:15], y[:15], epochs=2, verbose=0)  # the optimizer goes on
    again.compile("sgd", loss="sparse_categorical_crossentropy")
    again.layers[0].trainable = False
    again.optimizer.learning_rate = 0.3
    again.fit(x, y, epochs=1, verbose=0)
    again.save(tmp_path / "second.keras")
    np.save(tmp_path / "x15.npy", x[:15])
    np.save(tmp_path / "y15.npy", y[:15])
    fits = recipe_of(again)["fits"]
    assert [fit["optimizer"]["carried"] for fit in fits] == [False, True, False]
    assert [fit["start"] is None for fit in fits] == [False, True, True]
    words = ["--arrays", file, tmp_path / "x15.npy", tmp_path / "y15.npy"]
    status, printed = reproduce(capsys, tmp_path / "second.keras", *words)
    assert status == 0, printed


class _Stop(keras.callbacks.Callback):
    def __init__(self, at, how):
        super().__init__()
        self.left, self.how = at, how

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            if self.how == "ends":
                self.model.stop_training = True
            else:
                raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 3, 4])
@pytest.mark.parametrize("how", ["ends", "raises"])
def test_fits_ended_early(arrays, tmp_path, capsys, at, how):
    """By Ctrl-C, and by a callback of the user's; a second fit follows."""
    x, y, file = arrays
    model = small_model()
    try:
        model.fit(x, y, epochs=5, batch_size=10, callbacks=[_Stop(at, how)], verbose=0)
    except KeyboardInterrupt:
        assert how == "raises"
    model.fit(x, y, epochs=1, batch_size=10, verbose=0)
    model.save(tmp_path / "m.keras")
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
    if how == "ends" and at % 2:  # in the middle of an epoch: a callback that is left out did it
        assert status == 1 and "note of the recipe: the callback _Stop is left out" in printed
    else:
        assert status == 0, printed


@pytest.mark.parametrize("freq", ["epoch", 3])
def test_checkpoints_in_the_middle_of_a_fit(arrays, tmp_path, capsys, freq):
    x, y, file = arrays
    model = small_model()
    name = str(tmp_path / ("m-{epoch}.keras" if freq == "epoch" else "m-{epoch}-{batch}.keras"))
    checkpoint = keras.callbacks.ModelCheckpoint(name, save_freq=freq)
    model.fit(x, y, epochs=3, batch_size=5, validation_split=0.2, callbacks=[checkpoint], verbose=0)
    files = sorted(tmp_path.glob("m-*.keras"))
    assert len(files) >= 3
    for path in files:
        status, printed = reproduce(capsys, path, "--arrays", file)
        assert status == 0, (path.name, printed)
    # Training goes on from a checkpoint.
    again = load_model(files[1])
    again.fit(x, y, epochs=1, verbose=0)
    again.save(tmp_path / "on.keras")
    status, printed = reproduce(capsys, tmp_path / "on.keras", "--arrays", file)
    assert status == 0, printed


def test_arguments_that_are_numbers_of_numpy(arrays, tmp_path, capsys):
    """Counts and rates are often computed; the file is written as JSON."""
    x, y, file = arrays
    whole, model = np.int64, small_model()
    data = tlfast.data.Dataset.from_tensor_slices((x, y)).skip(whole(2)).take(whole(15))
    stop = keras.callbacks.EarlyStopping("loss", patience=whole(5), baseline=np.float32(9))
    backup = keras.callbacks.BackupAndRestore(tmp_path / "b", save_freq=1)
    model.fit(
        data.shuffle(whole(20), seed=3).batch(whole(4)).repeat(whole(2)), epochs=whole(2),
        validation_data=(x, y), validation_freq=[whole(2)], steps_per_epoch=whole(3),
        class_weight={whole(0): np.float32(2)}, callbacks=[stop, backup], verbose=0,
    )  # fmt: skip
    model.fit(x, y, validation_split=np.float32(0.25), batch_size=whole(5), verbose=0)
    model.save(tmp_path / "m.keras")
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
    assert status == 0, printed


def test_start_values_from_a_file(arrays, tmp_path, capsys):
    x, y, file = arrays
    source = small_model(3)
    source.save_weights(tmp_path / "start.weights.h5")
    model = small_model(4)
    model.load_weights(tmp_path / "start.weights.h5")
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
    assert status == 2 and "--start FILE" in printed and "/kernel, dense" in printed
    words = ["--arrays", file, "--start", tmp_path / "start.weights.h5"]
    assert reproduce(capsys, tmp_path / "m.keras", *words)[0] == 0


def test_pretrained_weights_are_found_by_name_and_content(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    network = keras.applications.MobileNetV2((96, 96, 3), 0.35, include_top=False, weights=None)
    official_file(tmp_path / "weights" / name, network)
    images = made.make_images(tmp_path / "images", per_class=3, size=96)
    data = keras.utils.image_dataset_from_directory(images, image_size=(96, 96), batch_size=3)
    base = keras.applications.MobileNetV2((96, 96, 3), 0.35, include_top=False, pooling="avg")
    for layer in base.layers[:-4]:
        layer.trainable = False
    inputs = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    model = keras.Model(inputs, layers.Dense(2)(base(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.001), loss=loss)
    model.fit(data, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    assert recipe_of(model)["fits"][0]["start"]["files"] == [name]
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--data", images)
    assert status == 0, printed
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "nothing"))
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--data", images)
    assert status == 2 and "--start" in printed


@pytest.mark.unsanitized
def test_in_another_virtual_environment(arrays, tmp_path):
    """A copy of the package at another path, in a new environment and process."""
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    venv.create(tmp_path / "other", with_pip=False, symlinks=True)
    site = next((tmp_path / "other").glob("lib/python*/site-packages"))
    shutil.copytree(Path(tlfast.__file__).parent, site / "tlfast")
    (site / "libraries.pth").write_text(str(Path(np.__file__).parent.parent) + "\n")
    python = tmp_path / "other" / "bin" / "python"
    command = [python, "-I", "-m", "tlfast", "reproduce", tmp_path / "m.keras", "--arrays", file]
    where = [python, "-I", "-c", "import tlfast; print(tlfast.__file__)"]
    for words, wanted in ((where, str(site)), (command, "identical: sha256 ")):
        done = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=tmp_path)
        assert done.returncode == 0 and wanted in done.stdout, done.stdout + done.stderr
    assert sys.prefix != str(tmp_path / "other")


def test_resumed_after_two_kills(tmp_path, capsys):
    """The first kill falls into the first epoch, the second between two."""
    (tmp_path / "kills").write_text("3 10")
    command = [sys.executable, made.__file__, "resumed", tmp_path]
    place = {**os.environ, "PYTHONPATH": str(Path(tlfast.__file__).parent.parent)}
    statuses = [
        subprocess.run(command, env=place, capture_output=True, timeout=200).returncode
        for _ in range(3)
    ]
    assert statuses == [-signal.SIGKILL, -signal.SIGKILL, 0]
    recipe = recipe_of(load_model(tmp_path / "resumed.keras"))
    assert len(recipe["fits"]) == 1 and len(recipe["fits"][0]["epochs"]) == 4
    assert sorted(map(int, recipe["fits"][0]["steps"])) == [1, 2, 4]
    words = ["--data", tmp_path / "images"]
    status, printed = reproduce(capsys, tmp_path / "resumed.keras", *words)
    assert status == 0 and "identical: sha256 " in printed, printed


@pytest.mark.skipif(not _core.has_bfloat16(), reason="this machine would emulate bfloat16")
def test_layers_in_bfloat16_in_one_fit_of_two(arrays, tmp_path, capsys):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, epochs=1, batch_size=2, verbose=0)
    model.compile("adam", "sparse_categorical_crossentropy", precision="mixed_bfloat16")
    model.fit(x, y, epochs=2, batch_size=2, verbose=0)
    model.compile("adam", "sparse_categorical_crossentropy", precision="float32")
    model.save(tmp_path / "m.keras")
    fits = recipe_of(load_model(tmp_path / "m.keras"))["fits"]
    assert [set(fit["layers"]["mixed"]) for fit in fits] == [{"0"}, {"1"}]
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
    assert status == 0 and "identical: sha256 " in printed, printed

    command = [sys.executable, "-m", "tlfast", "reproduce", tmp_path / "m.keras", "--arrays", file]
    place = {"PYTHONPATH": str(Path(tlfast.__file__).parent.parent)}
    older = {**os.environ, **place, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}
    done = subprocess.run(command, env=older, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2, done.stdout
    assert re.search("layer '.*' was trained under the policy 'mixed_bfloat16'", done.stderr)
    assert "no instructions for bfloat16" in done.stderr


# ---- different ---------------------------------------------------------------------------------


def test_other_images(tmp_path, capsys):
    model = made.frozen(tmp_path)
    model.save(tmp_path / "m.keras")
    (tmp_path / "images" / "dog" / "picture-03.png").write_bytes(b"another file")
    (tmp_path / "images" / "dog" / "picture-04.png").unlink()
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--data", tmp_path / "images")
    assert status == 1
    assert "different: the training images differ" in printed
    assert "class dog: " in printed and "class cat" not in printed


def test_the_first_step_that_differs_and_why(arrays, tmp_path, capsys):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, epochs=2, batch_size=2, verbose=0)
    model.save(tmp_path / "m.keras")

    def other_rate(recipe):
        recipe["fits"][0]["rates"][0] = 0.5

    status, printed = reproduce(
        capsys, changed_file(tmp_path / "m.keras", other_rate), "--arrays", file
    )
    assert status == 1 and "different: fit 1, step 1\n" in printed
    assert "are the same as then" in printed

    def other_seed_of_dropout_and_machine(recipe):
        recipe["fits"][0]["steps"]["8"] = "0" * 16
        recipe["fits"][0]["made_with"]["instruction set"] = 7
        recipe["fits"][0]["made_with"]["NumPy"] = "1.0"

    path = changed_file(tmp_path / "m.keras", other_seed_of_dropout_and_machine)
    status, printed = reproduce(capsys, path, "--arrays", file)
    assert status == 1 and "fit 1, steps 5 to 8 (there are marks" in printed
    assert "different here: instruction set is " in printed
    assert f"NumPy is {np.__version__} here, and was 1.0" in printed.splitlines()[-1]


def test_the_epoch_that_differs(arrays, tmp_path, capsys):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / "m.keras")

    def change(recipe):
        recipe["fits"][0]["epochs"][1]["logs"]["loss"] += 1e-9

    status, printed = reproduce(
        capsys, changed_file(tmp_path / "m.keras", change), "--arrays", file
    )
    assert status == 1 and "different: fit 1, epoch 2: loss" in printed


# ---- not possible ------------------------------------------------------------------------------


def _generate(x, y):
    while True:
        yield x, y


class _Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.pair = x, y

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.pair


def _mapped(x, y):
    data = tlfast.data.Dataset.from_tensor_slices((x, y)).batch(4)
    return data.map(lambda a, b: (np.sqrt(a), b))


def _zipped(x, y):
    slices = tlfast.data.Dataset.from_tensor_slices
    return tlfast.data.Dataset.zip(slices(x), slices(y)).batch(4)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (_generate, "generator"),
        (_Batches, "_Batches"),
        (_mapped, "map(<lambda>)"),
        (_zipped, "zip"),
    ],
)
def test_data_that_cannot_be_recorded(arrays, tmp_path, capsys, data, word):
    x, y, file = arrays
    model = small_model()
    model.fit(data(x, y), steps_per_epoch=2, verbose=0)
    model.save(tmp_path / "m.keras")
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
    assert status == 2 and "cannot be done again" in printed and word in printed


def _own_loss(y_true, y_pred):
    return y_pred[:, 0]


def test_other_reasons(arrays, tmp_path, capsys):
    x, y, file = arrays
    for train, word in (
        (lambda m: m.train_on_batch(x, y), "train_on_batch"),
        (lambda m: m.compile("sgd", loss=m.loss, metrics=[_own_loss]), "code of yours: _own_loss"),
    ):
        model = small_model()
        train(model)
        model.fit(x, y, verbose=0)
        model.save(tmp_path / "m.keras")
        status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
        assert status == 2 and word in printed
    tlfast.data._random._GlobalSeed.seed = None
    model.compile("sgd", loss=model.loss)
    model.fit(x, y, verbose=0)
    assert "without a seed" in recipe_of(model)["fits"][-1]["reasons"][0]


def test_weights_changed_after_training(arrays, tmp_path, capsys):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, verbose=0)
    model.set_weights([w + 1 for w in model.get_weights()])
    model.save(tmp_path / "m.keras")
    assert recipe_of(load_model(tmp_path / "m.keras"))["changed"] is True
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
    assert status == 2 and "something else changed them" in printed


def test_missing_pieces_are_named(arrays, tmp_path, capsys):
    x, y, _ = arrays
    model = small_model()
    model.save(tmp_path / "untrained.keras")
    assert "no recipe" in reproduce(capsys, tmp_path / "untrained.keras")[1]
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    status, printed = reproduce(capsys, tmp_path / "m.keras")
    assert status == 2 and "--arrays FILE.npz" in printed and "(20, 6)" in printed
    whole = (tmp_path / "arrays.npz").read_bytes()
    for damaged in (b"PK", b"PK\3\4" + bytes(100), whole[:-9], whole[:300] + b"?" + whole[301:]):
        (tmp_path / "no.npz").write_bytes(damaged)
        status, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", tmp_path / "no.npz")
        assert status == 2 and "no.npz: not an .npz or .npy file of plain arrays" in printed
    assert reproduce(capsys, tmp_path / "nothing.keras")[0] == 2
    made.frozen(tmp_path).save(tmp_path / "f.keras")
    status, printed = reproduce(capsys, tmp_path / "f.keras")
    assert status == 2 and "--data DIR" in printed
    status, printed = reproduce(capsys, tmp_path / "f.keras", "--data", tmp_path / "nowhere")
    assert status == 2 and "nowhere: there is no such folder" in printed


# ---- recipes from files ------------------------------------------------------------------------


def _set(*path):
    *way, key, value = path

    def change(recipe):
        for step in way:
            recipe = recipe[step]
        recipe[key] = value

    return change


def test_no_more_steps_are_made_than_announced(arrays, tmp_path, capsys):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, batch_size=5, epochs=3, verbose=0)
    model.save(tmp_path / "m.keras")

    def change(recipe):
        recipe["fits"][0]["arguments"]["epochs"] = 10**9
        recipe["fits"][0].update(ended="interrupted", steps={})
        recipe["fits"][0]["end"]["step"] = 2

    status, printed = reproduce(
        capsys, changed_file(tmp_path / "m.keras", change), "--arrays", file
    )
    assert status == 1 and "fit 1, step 3" in printed and "had 2 steps" in printed, printed


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_set("format", 2), "newer version"),
        (_set("format", True), "recipe.format"),
        (_set("surprise", 1), "unknown entry 'surprise'"),
        (_set("fits", 0, "arguments", "epochs", 1 << 40), "recipe.fits[0].arguments.epochs"),
        (_set("fits", 0, "arguments", "batch_size", 0), "recipe.fits[0].arguments.batch_size"),
        (_set("fits", 0, "start", "weights", "é"), "recipe.fits[0].start.weights"),
        (_set("fits", 0, "callbacks", [{"name": "os.system", "config": {}}]), "callbacks[0].name"),
        (_set("fits", 0, "data", {"kind": "import os"}), "recipe.fits[0].data.kind"),
        (_set("fits", 0, "data", {"kind": "dataset", "node": 0}), "data.node is 0"),
        (_set("fits", 0, "nodes", [{"step": "same", "of": 0}]), "not an earlier one"),
        (_set("fits", 0, "rates", ["fast"]), "recipe.fits[0].rates[0]"),
        (_set("fits", 0, "compile", "loss", "os.system"), "os.system"),
        (_set("fits", 0, "compile", "optimizer", {"class_name": "eval", "config": {}}), "eval"),
        (_set("fits", 0, "made_with", "threads", 10**6), "threads=1000000"),
        (_set("fits", 0, "layers", "trainable", "1"), "layers is of a model with 1"),
        (_set("fits", 0, "end", "step", -5), "recipe.fits[0].end.step"),
    ],
)
def test_wrong_recipes_are_refused_by_key(arrays, tmp_path, capsys, change, word):
    x, y, file = arrays
    model = small_model()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    path = changed_file(tmp_path / "m.keras", change)
    status, printed = reproduce(capsys, path, "--arrays", file)
    assert status == 2 and word in printed, printed
    # The model itself loads and trains on.
    model = load_model(path)
    model.fit(x, y, verbose=0)
    _schema.check(recipe_of(model))


def _mutate(value, rng):
    """Change one place of a recipe at random."""
    while isinstance(value, (dict, list)) and len(value):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[rng.integers(len(keys))]
        if not isinstance(value[key], (dict, list)) or not value[key] or rng.random() < 0.1:
            choices = [None, True, -1, 0, 7, 2**40, 0.5, float("nan"), "", "AAAA", "é", [], {}, [1]]
            value[key] = choices[rng.integers(len(choices))]
            return
        value = value[key]


@pytest.mark.parametrize("name", ["frozen", "generator"])
def test_no_mutated_recipe_gives_another_exception(name, tmp_path, capsys, rng):
    made.MODELS[name](tmp_path).save(tmp_path / "m.keras")
    seen = set()
    for _ in range(12):
        path = changed_file(tmp_path / "m.keras", lambda recipe: _mutate(recipe, rng))
        seen.add(reproduce(capsys, path, "--data", tmp_path / "images")[0])
    assert seen <= {0, 1, 2} and 2 in seen


def test_a_hundred_thousand_files_fit_into_the_record():
    hashes = [number.to_bytes(32, "little") for number in range(100_000)]
    table = _describe.FileTable(
        [""] * 100_000, np.arange(100_000) % 1000, "int", [f"class {i}" for i in range(1000)],
        tlfast.data._pixels.PixelSpec(224, 224, 3, "bilinear", "keras"),
    )  # fmt: skip
    found = _describe._file_list(table, hashes)
    assert len(json.dumps(found)) < 1_700_000
    _schema.check({"format": 1, "fits": [], "data": {found.pop("hash"): found}})


def test_too_many_files_are_counted_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_describe, "MAX_FILES", 10)
    model = made.frozen(tmp_path)
    model.save(tmp_path / "m.keras")
    lists = recipe_of(model)["data"].values()
    assert [(made["files"] == "", made["count"]) for made in lists] == [(True, 18), (False, 6)]
    status, printed = reproduce(capsys, tmp_path / "m.keras", "--data", tmp_path / "images")
    assert status == 2 and "10 are kept at most" in printed


def test_a_recipe_that_is_too_long_keeps_nobody_from_saving(arrays, tmp_path, capsys, monkeypatch):
    x, y, _ = arrays
    monkeypatch.setattr(_recorder, "MOST", 1000)
    model = small_model()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    for epochs in (1, 2):  # the second one goes on from the first one's state
        assert len(model.fit(x, y, epochs=epochs, callbacks=[backup], verbose=0).epoch) == epochs
        model.save(tmp_path / "m.keras")
        status, printed = reproduce(capsys, tmp_path / "m.keras")
        assert status == 2 and re.search(r"no recipe: it would have \d+ characters", printed)


def test_a_fit_that_may_be_as_long_as_it_likes(arrays, tmp_path, capsys):
    x, y, file = arrays
    for epochs, status in ((1_000_000, 0), (3_000_000_000, 2)):
        for run in range(2):
            model = small_model()
            backup = keras.callbacks.BackupAndRestore(tmp_path / f"{epochs}", save_freq=1)
            stop = keras.callbacks.EarlyStopping("loss", min_delta=9, patience=2)
            kept = [backup, stop] if run else [backup, stop, _Stop(1, "raises")]
            with contextlib.suppress(KeyboardInterrupt):
                model.fit(x, y, epochs=epochs, callbacks=kept, verbose=0)
        assert len(model.history.epoch) == 3
        model.save(tmp_path / "m.keras")
        found, printed = reproduce(capsys, tmp_path / "m.keras", "--arrays", file)
        assert found == status, printed
    assert "epochs is 3000000000, not a whole number from 0 to" in printed


def test_ctrl_c_while_hashes_are_waited_for(arrays, tmp_path, monkeypatch):
    model = small_model()
    model.fit(*arrays[:2], verbose=0)
    finish = _hashes.Background.finish
    monkeypatch.setattr(_hashes.Background, "finish", _raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.save(tmp_path / "m.keras")
    monkeypatch.setattr(_hashes.Background, "finish", finish)
    assert len(recipe_of(model)["fits"][0]["data"]["x"]["hash"]) == 32


def test_ctrl_c_while_a_fit_ends(arrays, monkeypatch):
    model = small_model()
    with monkeypatch.context() as patch:
        patch.setattr(_recorder.Recorder, "close", _raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*arrays[:2], verbose=0)
    assert model._training_steps is None and not model._engine._keeps


def _raise_interrupt(self, *arguments):
    raise KeyboardInterrupt


def test_hashes_are_computed_where_no_thread_did():
    taken = []
    background = _hashes.Background([(lambda: 1, taken.append), (lambda: 2, taken.append)])
    background._thread.join()
    background._results.clear()  # as in a child process that was forked meanwhile
    background.finish()
    background.finish()
    assert taken == [1, 2]


def test_unknown_format_error_is_a_format_error():
    with pytest.raises(FormatError, match=r"recipe is 3, not an object"):
        _schema.check(3)
