"""The first article's project: its files, written and run as a user runs them.

Only import lines and folder names differ from what ran with Keras 2. The project asks "is frozen
weight transfer learning always the answer?"; its `return_model` has a condition that is always
true, so it trains InceptionV3 whatever its configuration says.
"""

import contextlib
import io
import os
import runpy
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import smooth_image
from official_weights import official_file
from PIL import Image
from reference import formula

from tlfast import _backbones, applications, keras
from tlfast._warnings import TlfastWarning
from tlfast.weights.catalog import weight_file

CLASSES = ("dyed-lifted-polyps", "normal-cecum", "ulcerative-colitis")
CONFIG = """
classes_path = "utils/classes.txt"
train_dataset_path = "./dataset/train"
test_dataset_path = "./dataset/test"

input_dim = 75
epochs = 2
lr = 0.01
head = "xception"
"""
UTILS = """
def return_classes(path):
    with open(path) as lines:
        return [line.strip() for line in lines]
"""
TRAIN = """
import tlfast as tf
from tlfast.keras.models import Model
from tlfast.keras.applications.vgg16 import VGG16
from tlfast.keras.applications.xception import Xception
from tlfast.keras.applications.densenet import DenseNet121
from tlfast.keras.applications.inception_v3 import InceptionV3
from tlfast.keras.layers import Dense, GlobalAveragePooling2D
from tlfast.keras.optimizers import gradient_descent_v2
from tlfast.keras.callbacks import ModelCheckpoint
from utils import config as cfg
from utils.utils import return_classes


def return_ds(folder):
    same = dict(validation_split=0.2, seed=42, image_size=(cfg.input_dim, cfg.input_dim),
                label_mode="categorical")
    train_ds = tf.keras.preprocessing.image_dataset_from_directory(
        folder, subset="training", batch_size=16, **same)
    val_ds = tf.keras.preprocessing.image_dataset_from_directory(
        folder, subset="validation", batch_size=8, **same)
    return train_ds, val_ds


def return_model(input_dim, nb_classes, freeze=False, head=None):
    shape = (input_dim, input_dim, 3)
    if head == 'xception' or head == 'Xception':
        base_model = Xception(include_top=False, weights='imagenet', input_shape=shape)
    if head == 'vgg16' or head == 'VGG16':
        base_model = VGG16(include_top=False, weights='imagenet', input_shape=shape)
    if head == 'inceptionv3' or 'Inceptionv3' or 'InceptionV3':
        base_model = InceptionV3(include_top=False, weights='imagenet', input_shape=shape)
    if head == 'densenet121':
        base_model = DenseNet121(include_top=False, weights='imagenet', input_shape=shape)
    if not head:
        print('no head was chosen')
    print('head:', head)

    if freeze:
        for layer in base_model.layers:
            layer.trainable = False

    x = GlobalAveragePooling2D()(base_model.output)
    predictions = Dense(nb_classes, activation='softmax')(x)
    return Model(inputs=base_model.inputs, outputs=predictions)


if __name__ == '__main__':
    classes = return_classes(cfg.classes_path)
    train_ds, val_ds = return_ds(cfg.train_dataset_path)
    model = return_model(cfg.input_dim, len(classes), head=cfg.head, freeze=False)
    model.compile(loss='categorical_crossentropy',
                  optimizer=gradient_descent_v2.SGD(learning_rate=cfg.lr), metrics=['accuracy'])
    save_weights = ModelCheckpoint(
        filepath='models/my_model.h5', monitor='val_accuracy', verbose=1, save_best_only=True,
        save_weights_only=False, mode='max')
    model.fit(train_ds, epochs=cfg.epochs, validation_data=val_ds, callbacks=[save_weights])
    model.summary()
"""
TEST = """
import sys
import numpy as np
import tlfast as tf
from tlfast.keras.models import load_model
from tlfast.keras.preprocessing import image
from utils import config as cfg
from utils.utils import return_classes


def predict_one_image(img_path, model_path):
    classes = return_classes(cfg.classes_path)
    model = load_model(model_path)
    img = image.load_img(img_path, target_size=(cfg.input_dim, cfg.input_dim))
    batch = np.expand_dims(image.img_to_array(img), axis=0)
    prediction = model.predict(batch)
    return classes[np.argmax(prediction)], np.max(prediction)


def evaluate_model(model_path):
    test_ds = tf.keras.preprocessing.image_dataset_from_directory(
        cfg.test_dataset_path, seed=42, image_size=(cfg.input_dim, cfg.input_dim), batch_size=16,
        label_mode='categorical')
    score = load_model(model_path).evaluate(test_ds, verbose=0)
    return score[0], score[1]


if __name__ == '__main__':
    name, probability = predict_one_image(sys.argv[1], 'models/my_model.h5')
    print(name, probability)
    loss, accuracy = evaluate_model('models/my_model.h5')
    print('loss: ', loss)
    print('accuracy: ', accuracy)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project's folder, and beside it weight files for the two networks it builds."""
    top = tmp_path_factory.mktemp("project")
    (top / "utils").mkdir()
    files = {"utils/config.py": CONFIG, "utils/utils.py": UTILS, "train.py": TRAIN, "test.py": TEST}
    for name, text in files.items():
        (top / name).write_text(text)
    (top / "utils" / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    rng = np.random.default_rng(1)
    for part, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(CLASSES):
            (top / "dataset" / part / name).mkdir(parents=True)
            for number in range(count):
                photo = smooth_image(rng, 90, 80) // 2 + 60 * label
                path = top / "dataset" / part / name / f"{number}.jpg"
                Image.fromarray(photo.astype(np.uint8)).save(path, quality=92)
    for name in ("InceptionV3", "Xception"):
        model = getattr(applications, name)(weights=None, include_top=False)
        formula.fill(model, name)
        official_file(top / weight_file(name, False).name, model)
    return top


def evaluated(model, dataset) -> list[float]:
    """`evaluate` on raw pixels, which the script feeds and tlfast warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TlfastWarning)
        return model.evaluate(dataset, verbose=0)


def run(project, *command: str) -> str:
    environment = {**os.environ, "TLFAST_WEIGHTS_DIR": str(project), "TLFAST_OFFLINE": "1"}
    command = [sys.executable, "-W", "always::DeprecationWarning", *command]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(project) -> str:
    """What train.py prints; it writes models/my_model.h5."""
    return run(project, "train.py")


@pytest.mark.slow
def test_the_project_as_it_stands(project, trained, monkeypatch):
    printed = trained
    assert printed.startswith(
        "Found 9 files belonging to 3 classes.\nUsing 8 files for training.\n"
        "Found 9 files belonging to 3 classes.\nUsing 1 files for validation.\nhead: xception\n"
    )
    assert "Epoch 2/2" in printed
    assert "Epoch 1: val_accuracy improved from None to " in printed
    assert "saving model to models/my_model.h5" in printed
    # What is said about the network is what was trained, not what the configuration names.
    assert "\n Backbone: InceptionV3\n" in printed
    assert printed.count("DeprecationWarning") == 1
    assert "`optimizers.gradient_descent_v2` is the spelling of Keras 2" in printed

    monkeypatch.chdir(project)
    model = keras.models.load_model("models/my_model.h5")
    assert _backbones.names(model) == ["InceptionV3"] and model.get_layer("mixed10")
    assert model.class_names == list(CLASSES)
    assert model.optimizer.learning_rate == pytest.approx(0.01)
    assert len(model.trainable_weights) == 188 + 2  # 94 kernels and betas, and the head

    path = f"dataset/test/{CLASSES[0]}/1.jpg"
    lines = run(project, "test.py", path).splitlines()
    image = keras.utils.load_img(path, target_size=(75, 75))
    probabilities = model.predict(keras.utils.img_to_array(image)[None], verbose=0)[0]
    found = next(line for line in lines if line.startswith(CLASSES)).split(" ")
    assert found[0] == CLASSES[probabilities.argmax()]
    assert float(found[1]) == pytest.approx(probabilities.max(), rel=1e-5)
    test_ds = keras.utils.image_dataset_from_directory(
        "dataset/test",
        label_mode="categorical",
        image_size=(75, 75),
        shuffle=False,
        verbose=False,
    )
    loss, accuracy = evaluated(model, test_ds)
    said = {line.split(":")[0]: float(line.split(":")[1]) for line in lines if ":  " in line}
    assert said["loss"] == pytest.approx(loss, rel=1e-4)
    assert said["accuracy"] == pytest.approx(accuracy)


@pytest.mark.slow
@pytest.mark.peer("keras")
def test_keras_runs_the_second_script_on_the_same_file(project, trained, run_peer):
    """Its import lines changed back: the model written here predicts and scores there the same."""
    path = f"dataset/test/{CLASSES[2]}/0.jpg"
    ours = run(project, "test.py", path).splitlines()
    script = TEST.replace("import tlfast as tf", "import tensorflow as tf")
    script = script.replace("tlfast.keras", "tensorflow.keras")
    code = f"import os, sys\nos.chdir({str(project)!r})\nsys.path.insert(0, '.')\n"
    theirs = run_peer("keras", f"{code}sys.argv[1:] = [{path!r}]\n{script}").splitlines()
    said = [[line.split() for line in lines if line.startswith((*CLASSES, "loss", "acc"))]
            for lines in (ours, theirs)]  # fmt: skip
    assert len(said[0]) == 3
    for one, other in zip(*said, strict=True):
        assert one[0] == other[0]
        assert float(one[1]) == pytest.approx(float(other[1]), rel=1e-4)


# ---- other configurations -----------------------------------------------------------------------


@pytest.fixture
def return_model(project, monkeypatch):
    """The project's `return_model` with random weights, which cost no files."""
    monkeypatch.syspath_prepend(str(project))
    source = (project / "train.py").read_text().replace("weights='imagenet'", "weights=None")
    path = project / "train_without_weights.py"
    path.write_text(source)
    with contextlib.redirect_stdout(io.StringIO()):
        yield runpy.run_path(str(path))["return_model"]
    for name in ("utils", "utils.config", "utils.utils"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("head", "network"),
    [
        ("xception", "InceptionV3"),
        ("inceptionv3", "InceptionV3"),
        (None, "InceptionV3"),
        ("densenet121", "DenseNet121"),
    ],
)
def test_the_condition_that_is_always_true(return_model, head, network):
    model = return_model(75, 3, head=head)
    assert _backbones.names(model) == [network]
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert f"\n Backbone: {network}\n" in lines[0]


def test_freeze_leaves_the_head(return_model):
    model = return_model(75, 4, freeze=True, head="vgg16")
    assert [w.shape for w in model.trainable_weights] == [(2048, 4), (4,)]
    assert model.output_shape == (None, 4)


def test_history_and_file_carry_the_network(tmp_path):
    base = keras.applications.MobileNetV2(
        alpha=0.35, input_shape=(32, 32, 3), include_top=False, weights=None, pooling="avg"
    )
    flat = keras.Model(base.input, keras.layers.Dense(2, activation="softmax")(base.output))
    nested = keras.Sequential([base, keras.layers.Dense(2, activation="softmax")])
    x = formula.photos(4, 32, 32, 1).astype("float32") / 127.5 - 1
    for model, ending in ((flat, ".h5"), (nested, ".keras")):
        model.compile("sgd", "sparse_categorical_crossentropy")
        history = model.fit(x, np.array([0, 1, 0, 1]), verbose=0)
        assert history.backbones == ["MobileNetV2"]
        assert repr(history) == "<History of MobileNetV2: 1 epochs of loss>"
        path = str(tmp_path / f"m{ending}")
        model.save(path)
        loaded = keras.models.load_model(path)
        assert _backbones.names(loaded) == ["MobileNetV2"]
        loaded.save(path)  # once more, from what the file said
        assert _backbones.names(keras.models.load_model(path)) == ["MobileNetV2"]
    lines: list[str] = []
    nested.summary(print_fn=lines.append)
    base.summary(print_fn=lines.append)
    # Their tables name the network, as Keras prints them.
    assert "mobilenetv2_0.35_32" in lines[0] and "Backbone:" not in "".join(lines)
    assert _backbones.names(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])) == []


# ---- how much is frozen -------------------------------------------------------------------------

SIZE = 32


@pytest.fixture
def base():
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV2(
        alpha=0.35, input_shape=(SIZE, SIZE, 3), include_top=False, weights=None
    )
    formula.fill(network, "MobileNetV2")
    return network


@pytest.fixture(scope="module")
def photographs():
    x = formula.photos(12, SIZE, SIZE, 7).astype("float32") / 127.5 - 1
    y = np.arange(12) % 2
    return x + 0.4 * y[:, None, None, None].astype("float32"), y


def numbers(layers) -> list[np.ndarray]:
    return [w.numpy().copy() for layer in layers for w in layer.weights]


def same(one, other) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


def unmoved(before, layers) -> list[str]:
    """The weights that training left as they were, except where the true gradient is zero: a beta
    in front of a convolution and another batch normalization."""
    paths = [w.path for layer in layers for w in layer.weights]
    pairs = zip(paths, same(before, numbers(layers)), strict=True)
    return [path for path, kept in pairs if kept and not path.endswith("project_BN/beta")]


def test_a_loop_freezes_the_first_layers(base, photographs):
    for layer in base.layers[:100]:
        layer.trainable = False
    for layer in base.layers[100:]:
        layer.trainable = True
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    model = keras.Model(base.input, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(1e-2), "sparse_categorical_crossentropy")
    frozen, open_ = numbers(base.layers[:100]), numbers(base.layers[100:])
    history = model.fit(*photographs, epochs=2, batch_size=6, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert all(same(frozen, numbers(base.layers[:100])))
    # Kernels, gammas, betas and the moving statistics: all of them move.
    assert unmoved(open_, base.layers[100:]) == []


def test_all_but_the_last_layers_of_the_model(base, photographs):
    x = keras.layers.Flatten()(base.output)
    x = keras.layers.Dense(8, activation="relu")(x)
    model = keras.models.Model(inputs=base.input, outputs=keras.layers.Dense(2)(x))
    for layer in model.layers[:-2]:
        layer.trainable = False
    model.compile(
        optimizer=keras.optimizers.RMSprop(learning_rate=1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = numbers(model.layers)
    history = model.fit(*photographs, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert same(before, numbers(model.layers)) == [True] * (len(before) - 4) + [False] * 4


@pytest.mark.parametrize("recompiled", [True, False])
def test_two_phases(base, photographs, recompiled):
    """First the head, then all with a lower rate; without a new `compile` too."""
    base.trainable = False
    model = keras.Sequential([
        base,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    x, y = photographs
    before = numbers([base])
    first = model.fit(x, y, epochs=3, verbose=0, validation_data=(x, y))
    assert all(same(before, numbers([base])))
    assert len(model.trainable_weights) == 2

    base.trainable = True
    for layer in base.layers[:50]:
        layer.trainable = False
    if recompiled:
        model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
    else:
        model.optimizer.learning_rate = 1e-4
    second = model.fit(
        x, y, epochs=5, initial_epoch=first.epoch[-1] + 1, verbose=0, validation_data=(x, y)
    )
    assert first.epoch == [0, 1, 2] and second.epoch == [3, 4]
    assert int(model.optimizer.iterations) == (2 if recompiled else 5)
    frozen = len(numbers(base.layers[:50]))
    assert all(same(before[:frozen], numbers(base.layers[:50])))
    assert unmoved(before[frozen:], base.layers[50:]) == []
    assert second.history["loss"][-1] == pytest.approx(first.history["loss"][-1], rel=0.5)
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(second.history["val_loss"][-1])


def test_batch_normalization_stays_frozen_in_the_second_phase(base, photographs):
    """As the Keras guide writes it: `training=False` where the network is called."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    statistics = [w for w in base.weights if "moving" in w.name]
    before = [w.numpy().copy() for w in statistics]
    kernels = [w for w in base.trainable_weights if "kernel" in w.name]
    first = [w.numpy().copy() for w in kernels]
    model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    model.fit(*photographs, epochs=1, verbose=0)
    assert all(same(before, [w.numpy() for w in statistics]))
    assert not any(same(first, [w.numpy() for w in kernels]))
