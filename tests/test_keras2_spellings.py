"""Spellings of Keras 2: each works, and says once what to write instead."""

import importlib
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import tlfast
from tlfast import _keras2, callbacks, keras, layers, models, optimizers
from tlfast._warnings import DataWarning, LossWarning


def once(code: str, names: dict | None = None) -> dict:
    """Run a script whose only warning, given once, is a DeprecationWarning at a line of its own."""
    names = dict(names or {})
    _keras2._said.clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        exec(compile(code, "script.py", "exec"), names)
        exec(compile(code, "script.py", "exec"), names)
    assert [w.category for w in seen] == [DeprecationWarning], [str(w.message) for w in seen]
    assert seen[0].filename == "script.py"
    assert "is the spelling of Keras 2" in str(seen[0].message)
    return {"said": str(seen[0].message), **names}


# ---- names ---------------------------------------------------------------------------------------

IMPORTS = {
    "from tlfast.keras.optimizers import adam_v2; X = adam_v2.Adam": optimizers.Adam,
    "from tlfast.keras.optimizers import rmsprop_v2; X = rmsprop_v2.RMSprop": optimizers.RMSprop,
    "from tlfast.keras.optimizers.gradient_descent_v2 import SGD as X": optimizers.SGD,
    "from tlfast.optimizers.gradient_descent_v2 import SGD as X": optimizers.SGD,
    "from tlfast.keras.optimizer_v2.adam import Adam as X": optimizers.Adam,
    "from tlfast.keras.optimizers.legacy import *; X = Adam": optimizers.Adam,
    "from tlfast import keras; X = keras.optimizers.experimental.AdamW": optimizers.AdamW,
    "from tlfast import keras; X = keras.optimizers.sgd": optimizers.SGD,
    "from tlfast.keras.layers.experimental import preprocessing; X = preprocessing.Rescaling":
        layers.Rescaling,
    "import tlfast as tf; X = tf.keras.layers.experimental.preprocessing.RandomFlip":
        layers.RandomFlip,
    "from tlfast.keras.layers.core import Dropout as X": layers.Dropout,
    "from tlfast.keras.layers.convolutional import MaxPooling2D as X": layers.MaxPooling2D,
    "from tlfast.layers.advanced_activations import LeakyReLU as X": layers.LeakyReLU,
    "from tlfast.keras.layers.merge import concatenate as X": layers.concatenate,
    "from tlfast.keras.engine.training import Model as X": models.Model,
    "from tlfast.keras.engine import Input as X": models.Input,
    "from tlfast.keras.utils import np_utils; X = np_utils.to_categorical":
        tlfast.utils.to_categorical,
    "from tlfast.keras.applications.mobilenetv2 import MobileNetV2 as X":
        tlfast.applications.MobileNetV2,
    "from tlfast.keras.callbacks.callbacks import EarlyStopping as X": callbacks.EarlyStopping,
}  # fmt: skip


@pytest.mark.parametrize("code", IMPORTS)
def test_old_imports(code):
    assert once(code)["X"] is IMPORTS[code]


def test_names_that_stayed_in_their_module_need_no_warning():
    from tlfast.keras.layers.convolutional import Conv2D
    from tlfast.keras.layers.core import Dense
    from tlfast.keras.layers.normalization import BatchNormalization
    from tlfast.keras.layers.pooling import GlobalAveragePooling2D

    assert (Conv2D, Dense) == (layers.Conv2D, layers.Dense)
    assert (BatchNormalization, GlobalAveragePooling2D) == (
        layers.BatchNormalization, layers.GlobalAveragePooling2D,
    )  # fmt: skip


@pytest.mark.parametrize("path", sorted(_keras2.MODULES))
def test_every_old_module_has_the_names_of_the_new_one(path):
    module = importlib.import_module(f"tlfast.keras.{path}")
    target = importlib.import_module(f"tlfast.{_keras2.MODULES[path]}".rstrip("."))
    assert module is importlib.import_module(f"tlfast.{path}") is sys.modules[f"tlfast.{path}"]
    public = getattr(target, "__all__", None) or [n for n in vars(target) if n[0] != "_"]
    assert dir(module) == sorted(public) == sorted(module.__all__)
    with pytest.raises(AttributeError):
        module.Nonsense  # noqa: B018
    assert not hasattr(module, "_private")


def test_misspelt_names_still_get_a_suggestion():
    with pytest.raises(AttributeError, match="Did you mean 'Dropout'"):
        layers.core.Dropuot  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'SGD'"):
        importlib.import_module("tlfast.optimizers.gradient_descent_v2").SDG  # noqa: B018
    with pytest.raises(ImportError):
        from tlfast.keras.layers.core import Dropuot  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("tlfast.keras.optimizers.adam_v3")


# ---- arguments and methods -----------------------------------------------------------------------


def test_model_of_input_and_output():
    x = layers.Input((3,))
    y = layers.Dense(2)(x)
    got = once("m = Model(input=x, outputs=y, name='m')", {"Model": models.Model, "x": x, "y": y})
    assert got["m"].inputs == [x] and got["m"].name == "m"
    with pytest.warns(DeprecationWarning, match=r"Model\(output=\)"):
        assert models.Model(x, output=y).outputs == [y]
    with pytest.raises(TypeError, match="both 'inputs' and its older name 'input'"):
        models.Model(input=x, inputs=x, outputs=y)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop"])
def test_lr(kind):
    got = once(f"o = keras.optimizers.{kind}(lr=0.5)", {"keras": keras})
    assert got["o"].learning_rate == 0.5 and "learning_rate" in got["said"]
    once("o.lr = 0.25; o.lr = o.lr / 2", {"o": got["o"]})
    assert got["o"].learning_rate == 0.125


def test_values_by_the_backend():
    optimizer = optimizers.SGD(0.5)
    names = {"K": keras.backend, "rate": optimizer.learning_rate}
    once("K.set_value(rate, 0.25)", names)
    assert once("x = K.get_value(rate)", names)["x"] == 0.25 == optimizer.learning_rate


def network(units: int = 2, seed: int = 3, metrics=("accuracy",)):
    tlfast.utils.set_random_seed(seed)
    activation = "softmax" if units > 1 else "sigmoid"
    model = models.Sequential([layers.Input((4,)), layers.Dense(units, activation=activation)])
    loss = "sparse_categorical_crossentropy" if units > 1 else "binary_crossentropy"
    model.compile(optimizers.SGD(0.5), loss, metrics=list(metrics))
    return model


@pytest.fixture
def data(rng):
    x = rng.normal(size=(24, 4)).astype("float32")
    return x, (x[:, 0] > 0).astype("int32")


def test_generator_methods(data):
    x, y = data

    def batches():
        while True:
            for at in range(0, 24, 8):
                yield x[at : at + 8], y[at : at + 8]

    options = dict(validation_data=(x, y), verbose=0)
    want = network().fit(batches(), steps_per_epoch=3, epochs=2, **options).history
    for code in (
        "h = model.fit_generator(g, 3, 2, **o)",
        "h = model.fit_generator(g, steps_per_epoch=3, epochs=2, workers=4, max_queue_size=9, **o)",
        "h = model.fit_generator(generator=g, steps_per_epoch=3, epochs=2, **o)",
    ):
        model = network()
        with pytest.warns(DeprecationWarning, match="use `model.fit`") as seen:
            names = {"model": model, "g": batches(), "o": options}
            exec(code, names)
        assert len(seen) == 1 and names["h"].history == want
        _keras2._said.clear()
    got = once("e = model.evaluate_generator(g, 3, verbose=0)", {"model": model, "g": batches()})
    assert got["e"] == model.evaluate(x, y, batch_size=8, verbose=0)
    got = once(
        "p = model.predict_generator(g, steps=3, verbose=0)", {"model": model, "g": batches()}
    )
    assert np.array_equal(got["p"], model.predict(x, verbose=0))
    with pytest.warns(DeprecationWarning), pytest.raises(TypeError, match="unnamed arguments"):
        model.fit_generator(batches(), 1, 1, 0, None, None, None, None, 10)


def test_predict_classes(data):
    x, _ = data
    model = network()
    got = once("c = model.predict_classes(x)", {"model": model, "x": x})
    assert got["c"].shape == (24,) and got["c"].dtype == np.int64
    assert np.array_equal(got["c"], model.predict(x, verbose=0).argmax(-1))
    one = network(1)
    got = once("c = model.predict_classes(x, batch_size=7)", {"model": one, "x": x})
    assert got["c"].shape == (24, 1) and got["c"].dtype == np.int32
    assert np.array_equal(got["c"], one.predict(x, verbose=0) > 0.5)
    got = once("p = model.predict_proba(x, 8, 0)", {"model": one, "x": x})
    assert np.array_equal(got["p"], one.predict(x, verbose=0))


def test_metrics_in_the_third_place(data):
    model = network()
    once("model.compile('sgd', 'sparse_categorical_crossentropy', ['acc'])", {"model": model})
    assert list(model.evaluate(*data, verbose=0, return_dict=True)) == ["acc", "loss"]
    with pytest.raises(ValueError, match="loss_weights"):
        model.compile("sgd", "mse", ["acc"], metrics=["acc"])


# ---- acc and val_acc -----------------------------------------------------------------------------


def test_values_logged_as_accuracy_are_found_as_acc(data, tmp_path):
    stop = callbacks.EarlyStopping(monitor="val_acc", patience=9, mode="max")
    save = callbacks.ModelCheckpoint(str(tmp_path / "{epoch}-{val_acc:.1f}.h5"), monitor="val_acc")
    plateau = callbacks.ReduceLROnPlateau(monitor="acc", mode="max")
    model = network()
    code = "h = model.fit(*data, epochs=2, verbose=0, validation_data=data, callbacks=callbacks)"
    with pytest.warns(DeprecationWarning) as seen:
        names = {"model": model, "data": data, "callbacks": [stop, save, plateau]}
        exec(code, names)
    assert [str(w.message).split("`")[1] for w in seen] == ["val_acc", "acc"]
    assert stop.monitor == "val_accuracy" and plateau.monitor == "accuracy"
    assert len(list(tmp_path.glob("*-[01].[0-9].h5"))) == 2
    history = names["h"].history
    got = once("a = h.history['val_acc']", names)
    assert got["a"] is history["val_accuracy"]
    with pytest.warns(DeprecationWarning, match="learning_rate"):
        assert history["lr"] == [0.5, 0.5]
    assert "acc" not in history and sorted(history) == [
        "accuracy", "learning_rate", "loss", "val_accuracy", "val_loss",
    ]  # fmt: skip
    with pytest.raises(KeyError, match="'auc' was not logged; logged are: accuracy"):
        history["auc"]


def test_acc_as_a_metric_is_logged_as_acc(data):
    model = network(metrics=["acc"])
    stop = callbacks.EarlyStopping(monitor="val_accuracy")
    history = model.fit(*data, verbose=0, validation_data=data, callbacks=[stop]).history
    assert sorted(history) == ["acc", "loss", "val_acc", "val_loss"]
    assert stop.monitor == "val_acc" and history["accuracy"] == history["acc"]


def test_arguments_of_callbacks():
    got = once("p = K.ReduceLROnPlateau(epsilon=0.5)", {"K": callbacks})
    assert abs(got["p"].min_delta) == 0.5
    with pytest.raises(TypeError, match="has no argument 'epsilo'"):
        callbacks.ReduceLROnPlateau(epsilo=0.5)


def test_period_of_a_checkpoint(data, tmp_path):
    path = str(tmp_path / "m-{epoch}.hdf5")
    got = once("c = K.ModelCheckpoint(path, period=2)", {"K": callbacks, "path": path})
    network().fit(*data, epochs=5, verbose=0, callbacks=[got["c"]])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m-2.hdf5", "m-4.hdf5"]
    for period, other, message in ((0, {}, "1 or more"), (2, {"save_freq": 9}, "give one")):
        with pytest.raises(ValueError, match=message):
            callbacks.ModelCheckpoint(path, period=period, **other)


def test_steps_as_a_quotient(data):
    x, y = data
    batches = tlfast.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat()
    want = network().fit(batches, steps_per_epoch=3, verbose=0).history
    assert network().fit(batches, steps_per_epoch=np.ceil(20 / 8), verbose=0).history == want
    names = {"model": network(), "batches": batches}
    got = once("h = model.fit(batches, steps_per_epoch=20 / 8, verbose=0)", names)
    assert got["h"].params["steps"] == 3
    with pytest.raises(ValueError, match="at least 1, got nan"):
        network().fit(batches, steps_per_epoch=float("nan"), verbose=0)


# ---- a warning that was given is not repeated for the file ---------------------------------------


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_the_loss_warning_is_not_repeated_by_load_model(tmp_path, ending):
    model = models.Sequential([layers.Input((4,)), layers.Dense(2, activation="softmax")])
    with pytest.warns(LossWarning):
        model.compile("sgd", "binary_crossentropy")
    path = str(tmp_path / f"m{ending}")
    model.save(path)
    loaded = models.load_model(path)  # filterwarnings = error
    loaded.evaluate(np.ones((2, 4)), np.eye(2), verbose=0)
    with pytest.warns(LossWarning):  # but a new compile says it again
        loaded.compile("sgd", "binary_crossentropy")
    tlfast._targets._told.clear()  # as in another process
    with pytest.warns(LossWarning):
        models.load_model(path)


# ---- the order of the classes --------------------------------------------------------------------

NAMES = ["ash", "beech", "oak"]


@pytest.fixture
def folder(tmp_path):
    """folder("name", ["ash", ...]) makes a folder of grey images, a level per class."""

    def make(name: str, classes=NAMES):
        for label in classes:
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(2):
                pixels = np.full((8, 8, 3), 30 * len(label) + number, np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / label / f"{number}.png")
        return str(tmp_path / name)

    return make


def read(path: str, names=None, mode: str = "int"):
    return keras.utils.image_dataset_from_directory(
        path, class_names=names, label_mode=mode, image_size=(8, 8), batch_size=2, verbose=False,
        seed=1,
    )  # fmt: skip


def classifier(units: int = 3):
    model = models.Sequential(
        [layers.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Flatten(),
         layers.Dense(units, activation="softmax")]
    )  # fmt: skip
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("ending", [None, ".h5", ".keras"])
def test_another_order_is_an_error_with_both(folder, tmp_path, ending):
    path = folder("trees")
    model = classifier()
    assert model.class_names is None
    model.fit(read(path), verbose=0)
    if ending:
        model.save(str(tmp_path / f"m{ending}"))
        model = models.load_model(str(tmp_path / f"m{ending}"))
    assert model.class_names == NAMES
    model.evaluate(read(path), verbose=0)
    before = model.get_weights()
    other = ["oak", "beech", "ash"]
    both = r"'oak' is number 0, not 2.\n  model: \['ash', 'beech', 'oak'\]\n  .*: \['oak', 'bee"
    flow = keras.preprocessing.image.ImageDataGenerator(horizontal_flip=True).flow_from_directory(
        path, target_size=(8, 8), classes=other, class_mode="sparse"
    )
    for data in (read(path, other), flow):
        with pytest.raises(ValueError, match=both):
            model.evaluate(data, verbose=0)
        with pytest.raises(ValueError, match=both):
            model.fit(data, verbose=0)
    with pytest.raises(ValueError, match="classes of the validation data.*other order"):
        model.fit(read(path), validation_data=read(path, other), verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))
    model.predict(read(path, other), verbose=0)  # no labels, no order

    model.class_names = None  # the new order is meant
    model.fit(read(path, other), verbose=0)
    assert model.class_names == other


def test_a_folder_without_the_first_class(folder):
    model = classifier()
    model.fit(read(folder("trees")), verbose=0)
    with pytest.raises(ValueError, match="'beech' is number 0, not 1"):
        model.evaluate(read(folder("fewer", ["beech", "oak"])), verbose=0)
    model.evaluate(read(folder("first two", ["ash", "beech"])), verbose=0)
    with pytest.warns(DataWarning, match=r"(?s)other classes.*\['ashes', 'beech', 'oak'\]"):
        model.evaluate(read(folder("renamed", ["ashes", "beech", "oak"])), verbose=0)
    # Another task: what was trained last counts.
    model.fit(read(folder("cities", ["Bern", "Oslo", "Rome"])), verbose=0)
    assert model.class_names == ["Bern", "Oslo", "Rome"]


def test_a_function_may_have_put_the_labels_right(folder):
    path = folder("trees")
    model = classifier()
    model.fit(read(path), verbose=0)
    right = read(path, ["oak", "beech", "ash"]).map(lambda x, y: (x, 2 - y))
    with pytest.warns(DataWarning, match="in another order"):
        model.evaluate(right, verbose=0)


def test_a_class_file(folder, tmp_path):
    """One name per line; a wrong order shows before an image gets the wrong name."""
    model = classifier()
    (tmp_path / "classes.txt").write_text("oak\nash\nbeech\n")
    lines = (tmp_path / "classes.txt").read_text().split()
    model.class_names = lines
    assert model.class_names == lines
    model.class_names = None
    model.fit(read(folder("trees")), verbose=0)
    with pytest.raises(ValueError, match=r"(?s)another order.*\['ash', .*\['oak', 'ash', 'beech'"):
        model.class_names = lines
    for wrong, message in (
        (["ash", "oak"], "has 2 names, but the model tells 3 classes apart"),
        (["ash", "oak", "oak"], "'oak' more than once"),
    ):
        with pytest.raises(ValueError, match=message):
            model.class_names = wrong
    with pytest.raises(TypeError, match="list of text"):
        model.class_names = "ash"
    assert model.class_names == NAMES
    yes = network(1)
    yes.class_names = ["no", "yes"]
    model.class_names.append("elm")  # a copy
    assert model.class_names == NAMES
