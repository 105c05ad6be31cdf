"""The hot dog script, statement for statement, and the variants people write of it.

The scripts below are Keras scripts; only import lines and folder names differ from what would
run with TensorFlow. Each runs on small generated photographs, with ResNet50's weights in a file
of the official name and layout, by formula.
"""

import contextlib
import io
import re
import warnings

import numpy as np
import pytest
from official_weights import official_file
from PIL import Image
from reference import formula

import tlfast
from tlfast import applications
from tlfast._warnings import InputRangeWarning, LossWarning
from tlfast.weights.catalog import weight_file

SIZE = 96
SCRIPT = """
train_datagen = tf.keras.preprocessing.image.ImageDataGenerator()
test_datagen = tf.keras.preprocessing.image.ImageDataGenerator()

train_data_generator = train_datagen.flow_from_directory(
    "data/train",
    target_size=(512,512))
test_data_generator = test_datagen.flow_from_directory(
    "data/test",
    target_size=(512,512))

resnet_50 = tf.keras.applications.resnet50.ResNet50(include_top=False, weights='imagenet')
resnet_50.trainable=False

inputs = keras.Input(shape=(512,512,3))
x = resnet_50(inputs)
x = keras.layers.GlobalAveragePooling2D()(x)
outputs = keras.layers.Dense(2, activation="softmax")(x)
model = keras.Model(inputs=inputs, outputs=outputs, name="my_model")

model.compile(optimizer="Adam", loss="binary_crossentropy", metrics=["accuracy"])
model.summary()
history = model.fit(train_data_generator, validation_data=test_data_generator, epochs=5)
results = model.evaluate(test_data_generator)
predictions = model.predict(test_data_generator)
"""


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, options in (
        ("ResNet50", {}),
        ("MobileNetV2", {"alpha": 0.35, "input_shape": (SIZE, SIZE, 3)}),
    ):
        model = getattr(applications, name)(weights=None, include_top=False, **options)
        formula.fill(model, name)
        file = weight_file(name, False, options.get("alpha", 1.0), SIZE)
        official_file(folder / file.name, model)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """data/train and data/test with hot_dog and not_hot_dog: JPEGs that differ in colour."""
    top = tmp_path_factory.mktemp("photographs") / "data"
    for part, count in (("train", 5), ("test", 2)):
        for label, name in enumerate(("hot_dog", "not_hot_dog")):
            (top / part / name).mkdir(parents=True)
            for number, photo in enumerate(formula.photos(count, 120, 90 + 7 * label, label + 1)):
                photo = photo // 2 + np.array([[100, 20, 0], [0, 40, 100]][label])
                path = top / part / name / f"{number:02d}.jpg"
                Image.fromarray(photo.astype(np.uint8)).save(path, quality=92)
    return top


@pytest.fixture
def script(monkeypatch, weights_folder, photographs):
    """script(text) runs it beside the folder `data`; returns its names, `printed` among them."""
    monkeypatch.chdir(photographs.parent)
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(weights_folder))
    monkeypatch.setenv("TLFAST_OFFLINE", "1")

    def run(text: str, head: str = "import tlfast as tf\nfrom tlfast import keras\n", **names):
        tlfast.utils.set_random_seed(7)  # of the heads: the tests judge how fast they learn
        found = {"np": np, "__name__": "script", **names}
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(head + text, "script.py", "exec"), found)
        found["printed"] = out.getvalue()
        return found

    return run


def smaller(text: str, size: int = SIZE) -> str:
    return text.replace("512", str(size))


# ---- the article's script -----------------------------------------------------------------------


@pytest.mark.slow
def test_the_script_as_it_stands(script):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        got = script(SCRIPT)
    assert [warning.category for warning in seen] == [LossWarning, InputRangeWarning]
    assert "categorical_crossentropy" in str(seen[0].message)
    text = str(seen[1].message)
    assert re.match(r"model 'my_model': values from 0 to 2\d\d arrive at ResNet50, whose", text)
    assert "x = tlfast.applications.resnet50.preprocess_input(x)" in text
    printed = got["printed"]
    assert printed.startswith(
        "Found 10 images belonging to 2 classes.\nFound 4 images belonging to 2 classes.\n"
    )
    assert 'Model: "my_model"' in printed
    assert "resnet50 (Functional)" in printed and "(None, 16, 16, 2048)" in printed
    assert "Total params: 23,591,810 (90.00 MB)" in printed
    assert "Trainable params: 4,098 (16.01 KB)" in printed
    assert "Non-trainable params: 23,587,712 (89.98 MB)" in printed
    assert "Epoch 5/5" in printed and "val_accuracy" in printed
    history = got["history"].history
    assert list(history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 5 and np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]
    assert got["results"] == pytest.approx([history["val_loss"][-1], history["val_accuracy"][-1]])
    assert got["predictions"].shape == (4, 2)
    assert np.allclose(got["predictions"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        "import tlfast as tf\nkeras = tf.keras\n",
        "import tlfast as tf\nimport tlfast.keras as keras\nfrom tlfast.keras import layers\n"
        "from tlfast.keras.preprocessing.image import ImageDataGenerator\n"
        "from tlfast.keras.applications.resnet50 import ResNet50, preprocess_input\n",
    ],
)
def test_without_weights_and_by_any_import(script, head):
    text = smaller(SCRIPT, 64).replace("weights='imagenet'", "weights=None")
    with pytest.warns(LossWarning):
        got = script(text.replace("epochs=5", "epochs=1"), head)
    assert got["keras"] is tlfast and np.isfinite(got["results"]).all()


def test_the_numbers_are_those_of_keras(script):
    """Adam on binary cross-entropy with the softmax's inputs, as Keras 3 computes it."""
    with pytest.warns(LossWarning), pytest.warns(InputRangeWarning) as seen:
        got = script(
            smaller(SCRIPT)
            .replace("target_size=(", "shuffle=False, batch_size=4, target_size=(")
            .replace("model.summary()", "first = [w.copy() for w in model.get_weights()[-2:]]")
            .replace("epochs=5", "epochs=3, shuffle=False, verbose=0")
        )
    assert len(seen) == 2  # one of each: what arrives is said, and changes nothing
    generator = got["train_data_generator"]
    features = tlfast.Model(got["inputs"], got["x"]).predict(generator, verbose=0)
    features = features.astype(np.float64)
    labels = np.eye(2)[generator.classes]
    weights = [w.astype(np.float64) for w in got["first"]]
    slots = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    step, losses = 0, []
    for _ in range(3):
        total = 0.0
        for at in range(0, len(labels), 4):
            x, y = features[at : at + 4], labels[at : at + 4]
            logits = x @ weights[0] + weights[1]
            loss = np.logaddexp(0, logits) - y * logits
            total += loss.mean() * len(x)
            upstream = (1 / (1 + np.exp(-logits)) - y) / y.size
            step += 1
            gradients = [x.T @ upstream, upstream.sum(0)]
            for w, g, (m, v) in zip(weights, gradients, slots, strict=True):
                m += (g - m) * 0.1
                v += (g * g - v) * 0.001
                w -= 1e-3 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-7)
        losses.append(total / len(labels))
    assert got["history"].history["loss"] == pytest.approx(losses, rel=1e-4)
    for value, want in zip(got["model"].get_weights()[-2:], weights, strict=True):
        assert np.abs(value - want).max() < 1e-5


def test_labels_beside_a_generator_are_refused(script):
    text = SCRIPT.replace(
        "fit(train_data_generator,", "fit(train_data_generator, y=train_data_generator.labels,"
    )
    with (
        pytest.warns(LossWarning),
        pytest.raises(ValueError, match="`y` should not be passed. Instead, the targets"),
    ):
        script(smaller(text, 64).replace("weights='imagenet'", "weights=None"))


# ---- other ways to write it ---------------------------------------------------------------------

DATASETS = f"""
AUTOTUNE = tf.data.AUTOTUNE
train_ds = tf.keras.utils.image_dataset_from_directory(
    "data/train", seed=123, image_size=({SIZE}, {SIZE}), batch_size=4, label_mode=LABELS)
val_ds = tf.keras.utils.image_dataset_from_directory(
    "data/test", seed=123, image_size=({SIZE}, {SIZE}), batch_size=4, label_mode=LABELS)
class_names = train_ds.class_names
"""
BASE = f"""
base = tf.keras.applications.MobileNetV2(
    input_shape=({SIZE}, {SIZE}, 3), alpha=0.35, include_top=False, weights="imagenet")
base.trainable = False
"""


def finite(history, epochs: int) -> bool:
    values = history.history
    return all(len(v) == epochs and np.isfinite(v).all() for v in values.values())


def test_sequential_with_one_sigmoid_unit(script):
    got = script(f"""
generator = keras.preprocessing.image.ImageDataGenerator(
    preprocessing_function=tf.keras.applications.mobilenet_v2.preprocess_input)
options = dict(target_size=({SIZE}, {SIZE}), batch_size=4, class_mode="binary")
train = generator.flow_from_directory("data/train", seed=1, **options)
test = generator.flow_from_directory("data/test", shuffle=False, **options)
{BASE}
model = keras.Sequential([
    base,
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dropout(0.2),
    keras.layers.Dense(1, activation="sigmoid"),
])
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="binary_crossentropy",
              metrics=["accuracy"])
history = model.fit(train, validation_data=test, epochs=12, verbose=0)
p = model.predict(test)
classes = (p > 0.5).astype("int32").ravel()
accuracy = model.evaluate(test)[1]
""")
    assert finite(got["history"], 12)
    assert got["p"].shape == (4, 1)
    losses = got["history"].history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert got["accuracy"] == (got["classes"] == got["test"].classes).mean()
    assert got["train"].class_indices == {"hot_dog": 0, "not_hot_dog": 1}


def test_base_output_style_with_a_freezing_loop_and_a_second_phase(script):
    got = script(f"""
{DATASETS.replace("LABELS", '"categorical"')}
preprocess = tf.keras.applications.mobilenet_v2.preprocess_input
train_ds = train_ds.map(lambda x, y: (preprocess(x), y), num_parallel_calls=AUTOTUNE)
val_ds = val_ds.map(lambda x, y: (preprocess(x), y), num_parallel_calls=AUTOTUNE)
train_ds = train_ds.cache().prefetch(buffer_size=AUTOTUNE)
val_ds = val_ds.cache().prefetch(buffer_size=AUTOTUNE)
base = tf.keras.applications.MobileNetV2(
    input_shape=({SIZE}, {SIZE}, 3), alpha=0.35, include_top=False, weights="imagenet")
for layer in base.layers:
    layer.trainable = False
x = base.output
x = keras.layers.GlobalAveragePooling2D()(x)
x = keras.layers.Dense(16, activation="relu")(x)
predictions = keras.layers.Dense(len(class_names), activation="softmax")(x)
model = keras.Model(inputs=base.inputs, outputs=predictions)
before = base.get_weights()
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
history = model.fit(train_ds, validation_data=val_ds, epochs=2, verbose=0)
model.compile(optimizer=keras.optimizers.SGD(1e-3, momentum=0.9),
              loss=keras.losses.CategoricalCrossentropy(), metrics=["accuracy"])
fine = model.fit(train_ds, validation_data=val_ds, epochs=4,
                 initial_epoch=history.epoch[-1] + 1, verbose=0)
loss, accuracy = model.evaluate(val_ds)
""")
    assert got["history"].epoch == [0, 1] and got["fine"].epoch == [2, 3]
    assert finite(got["history"], 2) and finite(got["fine"], 2)
    assert got["fine"].history["val_loss"][-1] == pytest.approx(got["loss"])
    assert all(
        np.array_equal(a, b) for a, b in zip(got["before"], got["base"].get_weights(), strict=True)
    )
    assert len(got["model"].trainable_weights) == 4
    assert got["class_names"] == ["hot_dog", "not_hot_dog"]


def test_preprocessing_and_augmentation_inside_the_graph(script):
    got = script(f"""
{DATASETS.replace("LABELS", '"binary"')}
{BASE}
data_augmentation = keras.Sequential([
    keras.layers.RandomFlip("horizontal"),
    keras.layers.RandomRotation(0.1),
    keras.layers.RandomZoom(0.2),
])
preprocess_input = tf.keras.applications.mobilenet_v2.preprocess_input
global_average_layer = keras.layers.GlobalAveragePooling2D()
prediction_layer = keras.layers.Dense(1, activation="sigmoid")
inputs = keras.Input(shape=({SIZE}, {SIZE}, 3))
x = data_augmentation(inputs)
x = preprocess_input(x)
x = base(x, training=False)
x = global_average_layer(x)
x = keras.layers.Dropout(0.2)(x)
outputs = prediction_layer(x)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001),
              loss=keras.losses.BinaryCrossentropy(),
              metrics=[keras.metrics.BinaryAccuracy(threshold=0.5, name="accuracy")])
assert len(model.trainable_variables) == 2
loss0, accuracy0 = model.evaluate(val_ds)
history = model.fit(train_ds, epochs=2, validation_data=val_ds, verbose=0)
images, labels = next(iter(val_ds))
augmented = data_augmentation(images, training=True)
same = data_augmentation(images, training=False)
outside = keras.Sequential([base, global_average_layer, prediction_layer])
inside_p = model.predict(images, verbose=0)
outside_p = outside.predict(preprocess_input(images.numpy().copy()), verbose=0)
""")
    assert finite(got["history"], 2)
    images = np.asarray(got["images"])
    assert np.array_equal(np.asarray(got["same"]), images)
    assert not np.array_equal(np.asarray(got["augmented"]), images)
    # Where the preprocessing happens changes nothing.
    assert np.abs(got["inside_p"] - got["outside_p"]).max() < 1e-5


def test_looking_at_batches(script):
    """What notebooks do with batches to draw them, without the drawing."""
    got = script(f"""
{DATASETS.replace("LABELS", '"int"')}
shown = []
for images, labels in train_ds.take(1):
    for i in range(4):
        shown.append((images[i].numpy().astype("uint8"), class_names[labels[i]]))
for image_batch, labels_batch in train_ds:
    print(image_batch.shape, labels_batch.shape)
    break
val_batches = tf.data.experimental.cardinality(val_ds)
test_ds = val_ds.take(val_batches // 2)
normalization_layer = keras.layers.Rescaling(1./255)
normalized_ds = train_ds.map(lambda x, y: (normalization_layer(x), y))
image_batch, labels_batch = next(iter(normalized_ds))
low, high = np.min(image_batch[0]), np.max(image_batch[0])
img = tf.keras.utils.load_img("data/test/hot_dog/00.jpg", target_size=({SIZE}, {SIZE}))
img_array = tf.keras.utils.img_to_array(img)
img_array = tf.expand_dims(img_array, 0)
model = keras.Sequential([keras.layers.Rescaling(1./255), keras.layers.Flatten(),
                          keras.layers.Dense(2)])
model.compile(optimizer="adam", metrics=["accuracy"],
              loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(train_ds, validation_data=val_ds, epochs=3, verbose=2)
predictions = model.predict(img_array)
score = tf.nn.softmax(predictions[0])
print("This image most likely belongs to {{}} with a {{:.2f}} percent confidence."
      .format(class_names[np.argmax(score)], 100 * np.max(score)))
image_batch, label_batch = val_ds.as_numpy_iterator().next()
predictions = model.predict_on_batch(image_batch)
predictions = tf.argmax(predictions, axis=1)
epochs_range = range(len(history.history["accuracy"]))
""")
    assert "(4, 96, 96, 3) (4,)" in got["printed"]
    assert "This image most likely belongs to " in got["printed"]
    assert [s[0].shape for s in got["shown"]] == [(SIZE, SIZE, 3)] * 4
    assert {s[1] for s in got["shown"]} <= {"hot_dog", "not_hot_dog"}
    assert 0 <= got["low"] < got["high"] <= 1
    assert got["predictions"].numpy().shape == (4,) and got["predictions"].dtype == np.int64
    assert int(got["val_batches"]) == 1 and list(got["epochs_range"]) == [0, 1, 2]


def test_arrays_with_a_validation_split_and_class_weights(script):
    line = r"take away the scaling(.|\n)*mobilenet_v2.preprocess_input\(x\)"
    with pytest.warns(InputRangeWarning, match=line):
        got = script(f"""
train = keras.preprocessing.image.ImageDataGenerator(rescale=1./255).flow_from_directory(
    "data/train", target_size=({SIZE}, {SIZE}), batch_size=10, shuffle=False)
x, y = next(train)
x, y = x[::2].repeat(2, 0), y[[0, 0, 2, 2, 4, 4, 6, 6, 8, 8]]
{BASE}
model = keras.Sequential([base, keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
model.compile("sgd", "categorical_crossentropy", metrics=["acc"])
history = model.fit(x, y, validation_split=0.2, class_weight={{0: 1.0, 1: 3.0}}, epochs=2,
                    batch_size=3, verbose=0)
held_out = model.evaluate(x[8:], y[8:], verbose=0)
""")
    assert list(got["history"].history) == ["acc", "loss", "val_acc", "val_loss"]
    assert got["history"].history["val_loss"][-1] == pytest.approx(got["held_out"][0])


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_checkpoint_load_and_go_on(script, tmp_path, ending):
    """A loaded checkpoint goes on exactly as the training that wrote it does."""
    got = script(
        f"""
{DATASETS.replace("LABELS", '"categorical"')}
{BASE}
inputs = keras.Input(shape=({SIZE}, {SIZE}, 3))
x = keras.applications.mobilenet_v2.preprocess_input(inputs)
x = base(x, training=False)
x = keras.layers.GlobalAveragePooling2D()(x)
model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
checkpoint = keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=False)
model.fit(train_ds, validation_data=val_ds, epochs=2, callbacks=[checkpoint], verbose=0)
loaded = keras.models.load_model(path)
trained = [w.copy() for w in model.get_weights()]
x, y = next(iter(val_ds))
same = model.evaluate(x, y, verbose=0) == loaded.evaluate(x, y, verbose=0)
same = same and np.array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
one = model.fit(val_ds, epochs=3, initial_epoch=2, shuffle=False, verbose=0).history
two = loaded.fit(val_ds, epochs=3, initial_epoch=2, shuffle=False, verbose=0).history
""",
        path=str(tmp_path / f"best{ending}"),
    )
    assert got["same"]
    assert int(got["loaded"].optimizer.iterations) == int(got["model"].optimizer.iterations) == 7
    # The four images come in another order the second time: the sums differ in the last bits.
    assert got["one"]["loss"] == pytest.approx(got["two"]["loss"], rel=1e-5)
    for a, b in zip(got["model"].get_weights(), got["loaded"].get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-6)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(got["trained"], got["model"].get_weights(), strict=True)
    )


def test_hooks_early_stopping_and_the_learning_rate(script):
    with pytest.warns(InputRangeWarning):  # raw pixels, as in the article
        got = script(f"""
{DATASETS.replace("LABELS", '"categorical"')}
{BASE}
calls = []
class Hooks(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): calls.append("train_begin")
    def on_epoch_begin(self, epoch, logs=None): calls.append(f"epoch_begin {{epoch}}")
    def on_train_batch_begin(self, batch, logs=None): calls.append(f"batch_begin {{batch}}")
    def on_train_batch_end(self, batch, logs=None): calls.append(f"batch_end {{batch}}")
    def on_test_begin(self, logs=None): calls.append("test_begin")
    def on_test_batch_end(self, batch, logs=None): calls.append(f"test_batch_end {{batch}}")
    def on_test_end(self, logs=None): calls.append("test_end")
    def on_epoch_end(self, epoch, logs=None): calls.append(f"epoch_end {{epoch}} {{sorted(logs)}}")
    def on_train_end(self, logs=None): calls.append("train_end")
model = keras.Sequential([base, keras.layers.GlobalAveragePooling2D(),
                          keras.layers.Dense(2, activation="softmax")])
model.compile(keras.optimizers.SGD(1e-9), "categorical_crossentropy")
early = keras.callbacks.EarlyStopping(
    monitor="val_loss", min_delta=1e9, patience=1, restore_best_weights=True)
reduce = keras.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=1e9, patience=1, factor=0.1)
history = model.fit(train_ds, validation_data=val_ds, epochs=5, verbose=0,
                    callbacks=[Hooks(), early, reduce])
""")
    epoch = [
        "batch_begin 0", "batch_end 0", "batch_begin 1", "batch_end 1", "batch_begin 2",
        "batch_end 2", "test_begin", "test_batch_end 0", "test_end",
    ]  # fmt: skip
    want = ["train_begin", "epoch_begin 0", *epoch, "epoch_end 0 ['loss', 'val_loss']"]
    want += ["epoch_begin 1", *epoch, "epoch_end 1 ['loss', 'val_loss']", "train_end"]
    assert got["calls"] == want
    assert got["early"].stopped_epoch == 1 and got["early"].best_epoch == 0
    assert got["model"].optimizer.learning_rate == pytest.approx(1e-10)
    assert got["history"].history["learning_rate"] == pytest.approx([1e-9, 1e-9])


def test_names_of_the_1000_classes(script):
    got = script("""
model = keras.applications.MobileNetV2(alpha=0.35, input_shape=(96, 96, 3), weights=None)
img = keras.utils.load_img("data/test/hot_dog/00.jpg", target_size=(96, 96))
x = keras.applications.mobilenet_v2.preprocess_input(keras.utils.img_to_array(img)[None])
preds = model.predict(x)
top = keras.applications.mobilenet_v2.decode_predictions(preds, top=3)[0]
sure = np.zeros((1, 1000), "float32")
sure[0, 934] = 1
best = keras.applications.mobilenet_v2.decode_predictions(sure, top=1)[0][0]
""")
    assert len(got["top"]) == 3 and all(len(entry) == 3 for entry in got["top"])
    assert got["best"] == ("n07697537", "hotdog", 1.0)


def test_nothing_is_said_about_a_script_that_is_right(script):
    """The wrong loss is warned about once, where `compile` stands; the right ones never."""
    text = smaller(SCRIPT, 64).replace("weights='imagenet'", "weights=None")
    text = text.replace("epochs=5", "epochs=1")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        script(text)
    assert [w.category for w in seen] == [LossWarning]
    assert seen[0].filename == "script.py"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        script(text.replace("binary_crossentropy", "categorical_crossentropy"))
