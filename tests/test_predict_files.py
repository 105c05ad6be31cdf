"""`predict` on image files: read as in `fit`, answered with names, in a file's model too."""

import json
import zipfile

import numpy as np
import pytest

from tlfast import keras, saving
from tlfast.data._pipeline import stored_pipeline
from tlfast.preprocessing.image import ImageDataGenerator

layers = keras.layers
SIZE = (20, 24)


def small_model(units: int = 3, activation: str | None = "softmax", side=SIZE):
    x = inputs = layers.Input((*side, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(x))
    x = layers.Dense(units, activation=activation)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    loss = "sparse_categorical_crossentropy" if units > 1 else "binary_crossentropy"
    model.compile("adam", loss if activation else "mse")
    return model


def folder(tree, **options):
    return keras.utils.image_dataset_from_directory(
        tree, image_size=SIZE, batch_size=5, verbose=False, seed=1, **options
    )


@pytest.fixture
def tree(image_tree):
    return image_tree(("ant", "bee", "cat"))


def files(tree) -> list:
    return sorted(path for path in tree.rglob("*") if path.is_file())


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize(
    "options",
    [{}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True},
     {"interpolation": "bicubic"}, {"interpolation": "nearest"}],
)  # fmt: skip
def test_a_loaded_model_answers_with_names(tmp_path, tree, options, ending):
    model = small_model()
    model.fit(folder(tree, **options), epochs=3, verbose=0)
    model.save(tmp_path / f"m{ending}")
    loaded = keras.models.load_model(tmp_path / f"m{ending}")
    data = folder(tree, labels=None, shuffle=False, **options)
    wanted = model.predict(data, verbose=0)
    answers = loaded.predict([str(path) for path in files(tree)], verbose=0)
    assert np.array_equal(np.asarray(answers), wanted)
    for answer, row, path in zip(answers, wanted, files(tree), strict=True):
        best = int(row.argmax())
        assert answer.name == ["ant", "bee", "cat"][best] and answer.score == row[best]
        assert answer.path == str(path)
        assert str(answer) == f"{path}: {answer.name} ({row[best]:.1%})"
        names, scores = zip(*answer.top(2), strict=True)
        assert names[0] == answer.name and list(scores) == sorted(row, reverse=True)[:2]
    one = loaded.predict(files(tree)[4], verbose=0)  # a pathlib.Path
    assert np.array_equal(one.scores, wanted[4])


@pytest.mark.parametrize("function", [None, keras.applications.mobilenet_v2.preprocess_input])
@pytest.mark.parametrize("rescale", [None, 1 / 255])
def test_image_data_generator(tmp_path, tree, function, rescale):
    """Preparation is repeated, augmentation is not."""
    generator = ImageDataGenerator(
        preprocessing_function=function, rescale=rescale, horizontal_flip=True, rotation_range=20
    )
    plain = ImageDataGenerator(preprocessing_function=function, rescale=rescale)
    flow = {"target_size": SIZE, "batch_size": 5, "class_mode": "sparse"}
    model = small_model()
    model.fit(generator.flow_from_directory(tree, seed=1, **flow), epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    wanted = model.predict(plain.flow_from_directory(tree, shuffle=False, **flow), verbose=0)
    assert np.array_equal(np.asarray(loaded.predict(files(tree), verbose=0)), wanted)


@pytest.mark.parametrize(
    ("activation", "score", "name", "shown"),
    [("sigmoid", 0.25, "ant", 0.75), ("sigmoid", 0.75, "bee", 0.75),
     (None, 1.5, "bee", 1.5), (None, -1.5, "ant", 1.5)],
)  # fmt: skip
def test_one_output_tells_two_classes_apart(image_tree, activation, score, name, shown):
    tree = image_tree(("ant", "bee"))
    model = small_model(1, activation)
    model.fit(folder(tree), verbose=0)
    head = model.layers[-1]
    bias = np.log(score / (1 - score)) if activation else score
    head.set_weights([np.zeros(head.kernel.shape), np.full(1, bias)])
    answer = model.predict(files(tree)[0], verbose=0)
    assert (answer.name, answer.score) == (name, pytest.approx(shown))
    assert [n for n, _ in answer.top()] == [name, {"ant": "bee", "bee": "ant"}[name]]
    assert str(answer).endswith("(75.0%)" if activation else "(1.5)")


def test_names_that_do_not_fit_the_outputs(tree):
    """More outputs than classes of the folder; a record with more names than outputs."""
    model = small_model(5)
    model.fit(folder(tree), verbose=0)
    answer = model.predict(files(tree)[0], verbose=0)
    assert sorted(name for name, _ in answer.top()) == sorted([*model.class_names, "3", "4"])
    saving.get_record(model)["class_names"] = list("abcdef")
    with pytest.raises(ValueError, match="tells 5 classes apart and has 6 class_names"):
        model.predict(files(tree)[0], verbose=0)


def test_how_an_answer_is_asked(tree):
    model = small_model()
    model.fit(folder(tree), verbose=0)
    answer = model.predict(files(tree)[0], verbose=0)
    assert answer.top(0) == [] and len(answer.top(9)) == 3
    with pytest.raises(ValueError, match=r"top\(k=-1\): `k` is a number of classes"):
        answer.top(-1)
    assert np.asarray(answer, copy=False) is answer.scores
    assert np.array(answer) is not answer.scores
    with pytest.raises(ValueError, match="copy"):
        np.asarray(answer, np.float64, copy=False)


def test_stopped_by_a_callback(tree):
    class Stop(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = True

    model = small_model()
    model.fit(folder(tree), verbose=0)
    some = model.predict(files(tree), batch_size=2, verbose=0, callbacks=[Stop()])
    assert [answer.path for answer in some] == [str(path) for path in files(tree)[:2]]


def test_arrays_are_answered_as_before(tree):
    model = small_model()
    model.fit(folder(tree), verbose=0)
    found = model.predict(np.zeros((2, *SIZE, 3)), verbose=0)
    assert type(found) is np.ndarray and found.shape == (2, 3)


def test_what_no_file_can_hold_is_said(tree):
    model = small_model()
    with pytest.raises(ValueError, match="does not know how an image file becomes its input"):
        model.predict("photo.jpg")
    model.fit(folder(tree).map(lambda x, y: (x / 255, y)), verbose=0)
    with pytest.raises(ValueError, match=r"went through a function given to Dataset.map"):
        model.predict(files(tree)[0])
    flow = ImageDataGenerator(preprocessing_function=lambda x: x / 2).flow_from_directory(
        tree, target_size=SIZE, class_mode="sparse"
    )
    model.fit(flow, verbose=0)
    with pytest.raises(ValueError, match="went through the preprocessing_function of"):
        model.predict(files(tree)[0])
    model.fit(folder(tree), verbose=0)
    with pytest.raises(ValueError, match=r"is a folder. List its files"):
        model.predict(tree)
    with pytest.raises(ValueError, match="steps=1 does not go with image files"):
        model.predict(files(tree), steps=1)
    with pytest.raises(ValueError, match="`batch_size` is a number of rows.*got -1"):
        model.predict(files(tree), batch_size=-1)
    with pytest.raises(FileNotFoundError):
        model.predict(tree / "none.jpg", verbose=0)
    (tree / "page.jpg").write_text("<html>")
    with pytest.raises(ValueError, match="page.jpg"):
        model.predict(tree / "page.jpg", verbose=0)
    model.fit(np.zeros((4, *SIZE, 3)), np.zeros(4), verbose=0)  # prepared nobody knows how
    with pytest.raises(ValueError, match="does not know how an image file becomes its input"):
        model.predict(files(tree)[0])


def test_without_class_names_numbers_answer(tree):
    model = small_model()
    model.fit(folder(tree), verbose=0)
    model.class_names = None
    answer = model.predict(files(tree)[0], verbose=0)
    assert answer.name == str(answer.scores.argmax())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 10**9}, "height=1000000000 is no number from 1"),
        ({"width": "24"}, "width='24' is no number"),
        ({"height": 21}, r"pictures of the shape \(21, 24, 3\) are stored, the model takes"),
        ({"channels": 2}, "channels=2 is none of"),
        ({"interpolation": "os.system"}, "interpolation='os.system' is none of"),
        ({"pipeline": ["keras"]}, "pipeline=.* is none of"),
        ({"preprocessing": "os"}, "preprocessing='os' is none of"),
        ({"rescale": "1"}, "rescale='1' is no number"),
        ({"own": 3}, "own=3 is no text"),
        ({"more": 1}, "does not have the keys"),
    ],
)
def test_a_record_from_a_file_is_not_trusted(tmp_path, tree, change, message):
    model = small_model()
    model.fit(folder(tree), verbose=0)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    metadata["tlfast"]["images"].update(change)
    members["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    loaded = keras.models.load_model(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=f"in a form that does not fit .*{message}"):
        loaded.predict(files(tree)[0])


def test_models_of_any_size_read_at_the_size_of_fit(tree):
    model = small_model(side=(None, None))
    model.fit(folder(tree), verbose=0)
    pipeline = stored_pipeline(saving.get_record(model)["images"], model.input_shape)
    assert pipeline.spec.shape == (*SIZE, 3)
    assert model.predict(files(tree)[0], verbose=0).scores.shape == (3,)
