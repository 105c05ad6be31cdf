"""compare: parts that share no image, cells equal to plain fits, resuming, budget, the table."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_image

import tlfast
from tlfast import cli, keras
from tlfast.comparison import _arms, _compare, _parts, _runner
from tlfast.comparison._result import ArmResult, Comparison, duration

BACKBONE = "EfficientNetLite0"
SMALL = {"backbones": BACKBONE, "image_size": 32, "batch_size": 8, "verbose": False}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


# ---- parts ----


def test_parts_are_stratified_and_share_no_image(image_tree):
    top = image_tree(("a", "b"), 20)
    shutil.copy(top / "a" / "000.jpg", top / "a" / "copy.jpg")
    parts = _parts.divide(top, validation=0.2, test=0.25, seed=3)
    assert parts.counts() == {"train": [12, 12], "validation": [3, 3], "test": [5, 5]}
    digests = [image.digest for images in parts.images.values() for image in images]
    assert len(digests) == len(set(digests)) == 40
    assert parts.notes == ["1 files of the train folder left out: another file has the same bytes"]
    again = _parts.divide(top, seed=3).images
    other = _parts.divide(top, seed=4).images
    assert again == parts.images and other["test"] != parts.images["test"]


def test_parts_follow_the_content_and_not_the_names(image_tree, tmp_path):
    top = image_tree(("a", "b"), 12)
    before = _parts.divide(top).images
    top.rename(tmp_path / "moved")
    for path in sorted((tmp_path / "moved").rglob("*.*")):
        path.rename(path.with_name(f"z{99 - int(path.stem)}{path.suffix}"))
    after = _parts.divide(tmp_path / "moved").images
    for name, images in before.items():
        assert {i.digest for i in images} == {i.digest for i in after[name]}


def test_given_test_folder_wins(image_tree):
    top = image_tree(("train/a", "train/b", "test/a", "test/b"), 8)
    shutil.copy(top / "test" / "a" / "000.jpg", top / "train" / "a" / "leak.jpg")
    parts = _parts.divide(top, validation=0.25)
    assert parts.counts() == {"train": [6, 6], "validation": [2, 2], "test": [8, 8]}
    assert all("/test/" in image.path for image in parts.images["test"])
    assert not any("leak" in i.path for images in parts.images.values() for i in images)
    assert parts.notes == [
        "1 files of the train folder left out: another file has the same bytes",
        "the test part is the folder given",
    ]


def test_given_validation_folder(image_tree):
    top = image_tree(tuple(f"{p}/{c}" for p in ("train", "val", "test") for c in "ab"), 3)
    parts = _parts.divide(top)
    assert parts.counts() == {"train": [3, 3], "validation": [3, 3], "test": [3, 3]}
    assert "the validation part is the folder given" in parts.notes


def test_train_folder_without_a_test_folder(image_tree):
    top = image_tree(("train/a", "train/b"), 12)
    assert _parts.divide(top).counts() == {"train": [7, 7], "validation": [2, 2], "test": [3, 3]}


def test_same_image_in_two_classes(image_tree):
    top = image_tree(("a", "b"), 4)
    shutil.copy(top / "a" / "000.jpg", top / "b" / "same.jpg")
    with pytest.raises(ValueError, match=r"stands in two classes: .*000.jpg' \(a\) and .*same.jpg"):
        _parts.divide(top)


@pytest.mark.parametrize(
    ("classes", "count", "sentence"),
    [
        (("a",), 5, "needs two or more class folders, found \\['a'\\]"),
        (("a", "b"), 2, "the train part would have no image of the class 'a'"),
        (("train/a", "train/b", "test/a", "test/c"), 3, "all parts need the same"),
    ],
)
def test_folders_that_cannot_be_divided(image_tree, classes, count, sentence):
    with pytest.raises(ValueError, match=sentence):
        _parts.divide(image_tree(classes, count))


# ---- arms ----


@pytest.fixture(scope="module")
def base():
    return keras.applications.EfficientNetLite0(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )


@pytest.mark.parametrize(
    ("freeze", "first"),
    [
        ("top25%", lambda names: names[-((len(names) + 3) // 4)]),
        ("top1%", lambda names: names[-2]),
        (3, lambda names: names[-3]),
        ("block7a_dwconv", lambda names: "block7a_dwconv"),
        ("none", lambda names: names[0]),
    ],
)
def test_freeze_levels(base, freeze, first):
    names = [layer.name for layer in base.layers]
    _arms.set_flags(base, freeze)
    trained = [layer.name for layer in base.layers if layer.trainable]
    assert trained == names[names.index(first(names)) :]
    assert base.trainable


def test_freeze_all(base):
    _arms.set_flags(base, "all")
    assert not base.trainable_weights and not any(layer.trainable for layer in base.layers)


def test_order_of_the_arms():
    arms = _arms.make_arms(["VGG16", "ResNet50"], ["none", "top25%", "all"], ["sgd", "adam"])
    assert [arm.freeze for arm in arms] == ["all"] * 4 + ["top25%"] * 4 + ["none"] * 4
    assert [arm.name for arm in arms[:3]] == [
        "VGG16, frozen, SGD", "VGG16, frozen, Adam", "ResNet50, frozen, SGD"
    ]  # fmt: skip


def test_optimizer_objects():
    given = [keras.optimizers.SGD(momentum=0.9), keras.optimizers.Adam(3e-4)]
    arms = _arms.make_arms("VGG16", "all", given)
    assert [arm.label for arm in arms] == ["SGD(momentum=0.9)", "Adam(learning_rate=0.0003)"]
    assert [arm.own_rate for arm in arms] == [None, pytest.approx(3e-4)]
    made = arms[0].make_optimizer(0.25)
    assert made.momentum == 0.9 and float(made.learning_rate) == 0.25
    assert made is not arms[0].make_optimizer(0.25)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"backbones": "MobilNetV2"}, "no application 'MobilNetV2'. Did you mean 'MobileNetV2'"),
        ({"freeze": "top-25"}, "`freeze` is .* Received: 'top-25'"),
        ({"freeze": "top100%"}, "`freeze` is"),
        ({"freeze": True}, "`freeze` is"),
        ({"freeze": ["all", "all"]}, "more than once: EfficientNetLite0-all-Adam"),
        ({"freeze": []}, "`freeze` is empty"),
        ({"optimizer": "adma"}, "adma"),
        ({"learning_rate": [1e-3, 1e-3]}, "`learning_rate` is a positive number"),
        ({"learning_rate": 0}, "`learning_rate` is a positive number"),
        ({"epochs": 0}, "`epochs` is a whole number, 1 or more"),
        ({"seeds": 0}, "`seeds` is"),
        ({"seeds": [1, 1]}, "`seeds` is"),
        ({"budget": "2 hours"}, "`budget` is a time such as"),
        ({"budget": -3}, "`budget` is a time such as"),
        ({"image_size": 16}, "needs at least 32x32"),
        ({"script_pixels": "/25"}, "script_pixels must be one of .* Did you mean '/255'"),
        ({"score": "acuracy"}, "Did you mean 'accuracy'"),
        ({"reference": "EfficientNetLite0, frozen, SGD"}, "is no arm. Did you mean .*The arms are"),
        ({"validation": 1.0}, "`validation` is a share between 0 and 1"),
        ({"weights": "imagnet"}, "Did you mean 'imagenet'"),
    ],
)
def test_wrong_arguments(image_tree, changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        tlfast.compare(image_tree(per_class=4), **{**SMALL, **changed})
    assert not Path(_compare.FOLDER).exists()


def test_misspelt_argument_and_layer(image_tree):
    with pytest.raises(TypeError, match="no argument 'epoch'. Did you mean 'epochs'"):
        tlfast.compare(image_tree(), epoch=3)
    with pytest.raises(ValueError, match="no such layer. Did you mean 'block7a_dwconv'"):
        _arms.trained_layers(keras.applications.EfficientNetLite0(weights=None), "block7_dwconv")


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("2h", 7200), ("1h30min", 5400), ("90s", 90), ("1.5h", 5400), (12, 12), (None, np.inf)],
)
def test_budget_in_seconds(budget, seconds):
    assert _compare.seconds_of(budget) == seconds


# ---- runs ----


def separate_fit(parts, freeze, optimizer, seed, epochs=2):
    """What a user writes for one arm and seed: public calls only, a new network, no shared cache.

    Returns (probabilities of the test part, history).
    """
    app = keras.applications
    base = app.EfficientNetLite0(include_top=False, input_shape=(32, 32, 3), pooling="avg")
    _arms.set_flags(base, freeze)
    keras.utils.set_random_seed(seed)
    common = {"image_size": (32, 32), "batch_size": 8, "verbose": False}
    load = keras.utils.image_dataset_from_directory
    train = load(parts / "train", seed=seed, **common)
    held_out = load(parts / "validation", shuffle=False, **common)
    inputs = keras.Input(shape=(32, 32, 3))
    x = base(app.efficientnet_lite.preprocess_input(inputs), training=False)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping(
        "val_accuracy", patience=epochs, restore_best_weights=True, mode="max"
    )
    logs = model.fit(
        train, validation_data=held_out, epochs=epochs, verbose=0, callbacks=[stop],
        cache_features=False,
    ).history  # fmt: skip
    return model.predict(load(parts / "test", shuffle=False, **common), verbose=0), logs


def part_folders(result, top, target):
    """The parts of a comparison as folders that image_dataset_from_directory reads."""
    for name, paths in result.parts.items():
        for path in paths:
            link = target / name / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((top / path).resolve())
    return target


def noisy_tree(rng, top, per_class):
    """Two classes that no network tells apart well, so that seeds and arms differ."""
    from PIL import Image

    for label, name in enumerate(("cat", "dog")):
        (top / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = smooth_image(rng, 36, 40).astype(int) + 12 * label
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(top / name / f"{number}.png")
    return top


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder of images, result) of three freeze levels, two seeds, two rates."""
    top = noisy_tree(np.random.default_rng(5), tmp_path_factory.mktemp("images"), 14)
    folder = tmp_path_factory.mktemp("run")
    result = tlfast.compare(
        top, freeze=["none", "all", "top25%"], learning_rate=[1e-3, 1e-2], epochs=2, seeds=2,
        run_folder=folder, **SMALL,
    )  # fmt: skip
    return top, result


@pytest.mark.slow
def test_the_table_is_what_separate_fits_give(compared, tmp_path):
    """Bit for bit: features, pixels and models shared between cells change nothing."""
    top, result = compared
    parts = part_folders(result, top, tmp_path / "parts")
    for freeze, arm in zip(("all", "top25%", "none"), result.arms, strict=True):
        for place, seed in enumerate(arm.seeds):
            optimizer = keras.optimizers.Adam(arm.rate)
            probabilities, logs = separate_fit(parts, freeze, optimizer, seed)
            cells = result.folder / "cells" / f"{BACKBONE}-{freeze}-Adam"
            kept = np.load(cells / f"seed{seed}-rate{arm.rate:g}.test.npy")
            np.testing.assert_array_equal(probabilities, kept)
            record = json.loads((cells / f"seed{seed}-rate{arm.rate:g}.json").read_text())
            assert record["history"] == {k: [float(v) for v in row] for k, row in logs.items()}
            said = probabilities.argmax(axis=1)
            assert arm.scores["accuracy"][place] == np.mean(said == result.truth)
            assert (arm.said[place] == said).all()


def test_rate_and_epoch_are_those_of_the_validation(compared):
    _, result = compared
    for freeze, arm in zip(("all", "top25%", "none"), result.arms, strict=True):
        cells = result.folder / "cells" / f"{BACKBONE}-{freeze}-Adam"
        tried = [json.loads(path.read_text()) for path in cells.glob("seed0-*.json")]
        assert {r["learning_rate"] for r in tried} == {1e-3, 1e-2}
        best = max(tried, key=lambda r: (r["validation_accuracy"], -r["validation_loss"]))
        assert arm.rate == best["learning_rate"]
        for record in tried:
            accuracies = record["history"]["val_accuracy"]
            assert record["best_epoch"] == 1 + accuracies.index(max(accuracies))
        assert len(list(cells.glob("*.test.npy"))) == len(arm.seeds) == 2  # once per training
        assert not list(cells.glob("*.weights.npz"))


def test_best_model_is_the_best_on_validation(compared, tmp_path):
    top, result = compared
    records = [json.loads(p.read_text()) for p in (result.folder / "cells").rglob("*.json")]
    assert result.best["validation_accuracy"] == max(r["validation_accuracy"] for r in records)
    model = keras.models.load_model(result.folder / "best.keras")
    folders = part_folders(result, top, tmp_path / "parts")
    test = keras.utils.image_dataset_from_directory(
        folders / "test", shuffle=False, image_size=(32, 32), batch_size=8, verbose=False
    )
    kept = np.load(result.folder / "cells" / f"{result.best['cell']}.test.npy")
    np.testing.assert_allclose(model.predict(test, verbose=0), kept, atol=1e-5)


def test_what_is_shown(compared):
    _, result = compared
    text = str(result)
    assert text == (result.folder / "result.txt").read_text().rstrip("\n")
    for line in (
        "train: 16 images (8 cat, 8 dog)",
        "test: 8 images (4 cat, 4 dog)",
        "batch norm: moving statistics kept",
        "best of 0.001, 0.01 on validation, seed 0",
        "paired bootstrap over seeds and test images together, 10,000 draws",
        'Accuracy against "EfficientNetLite0, frozen, Adam", in points:',
    ):
        assert line in text
    for arm in result.arms:
        mean, std = 100 * np.mean(arm.scores["accuracy"]), np.std(arm.scores["accuracy"], ddof=1)
        assert f"{mean:.1f} ± {100 * std:.1f}" in text
        assert arm.trained_parameters == {"frozen": 2562}.get(
            arm.name.split(", ")[1], arm.trained_parameters
        )
    page = result._repr_html_()
    assert page.count("<tr>") == 4 and "frozen, Adam" in page and "<script" not in page
    plain = json.loads(result.to_json())
    assert plain == json.loads((result.folder / "result.json").read_text())
    assert plain["arms"][2]["difference"]["verdict"] == result.arms[2].verdict
    assert plain["settings"]["train_bn"] is False


def test_finished_cells_are_not_run_again(compared, monkeypatch):
    top, result = compared
    monkeypatch.setattr(_runner, "train", None)  # every cell is there: calling it would fail
    again = tlfast.compare(
        top, freeze=["all", "top25%", "none"], learning_rate=[1e-3, 1e-2], epochs=2, seeds=2,
        run_folder=result.folder, **SMALL,
    )  # fmt: skip
    assert again.to_dict() == result.to_dict()


def test_run_folder_of_other_settings(compared):
    top, result = compared
    with pytest.raises(ValueError, match="belongs to another comparison: epochs was 2, now 3"):
        tlfast.compare(top, "EfficientNetLite0", epochs=3, run_folder=result.folder,
                       image_size=32, batch_size=8)  # fmt: skip


@pytest.mark.slow
def test_resumes_after_a_kill(image_tree, tmp_path):
    """Ended in the middle of a cell, then called again: the same numbers as in one go."""
    top = image_tree(per_class=8)
    given = {"freeze": ["all", 5], "learning_rate": [1e-3, 1e-2], "epochs": 2, "seeds": 2, **SMALL}
    whole = tlfast.compare(top, run_folder=tmp_path / "whole", **given)

    program = f"""
import os, tlfast
from tlfast.comparison import _runner
train, count = _runner.train, []
def train_and_die(cell, *rest):
    count.append(cell)
    if len(count) == 4:  # after the grid and a seed: die before this cell is kept
        train(cell, *rest)
        os.kill(os.getpid(), 9)
    return train(cell, *rest)
_runner.train = train_and_die
tlfast.compare({str(top)!r}, run_folder={str(tmp_path / "cut")!r}, **{given!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert len(list((tmp_path / "cut").rglob("seed*.json"))) == 3
    resumed = tlfast.compare(top, run_folder=tmp_path / "cut", **given)
    for one, two in zip(whole.arms, resumed.arms, strict=True):
        assert (one.rate, one.scores, one.difference) == (two.rate, two.scores, two.difference)
        assert (one.said == two.said).all()
    assert whole.best["cell"] == resumed.best["cell"]


@pytest.mark.slow
@pytest.mark.unsanitized
def test_budget_is_kept_and_skipped_cells_are_shown(image_tree, tmp_path):
    top = image_tree(per_class=8)
    began = time.monotonic()
    budget = 6.0
    result = tlfast.compare(
        top, freeze=["all", "none"], learning_rate=1e-3, epochs=200, seeds=3, budget=budget,
        run_folder=tmp_path / "run", **SMALL,
    )  # fmt: skip
    # Building a network and writing the tables take time of their own, much in so small a budget.
    assert time.monotonic() - began < 1.05 * budget + 2
    unfrozen = result.arm(f"{BACKBONE}, unfrozen, Adam")
    assert unfrozen.seeds == [] and unfrozen.skipped == [0, 1, 2]
    assert unfrozen.verdict == "skipped (budget)" and unfrozen.difference is None
    text = str(result)
    assert f"{BACKBONE}, unfrozen, Adam: seeds skipped because of the budget: 0, 1, 2." in text
    assert "0 of 3  skipped" in text
    assert not (tmp_path / "run" / "cells" / f"{BACKBONE}-none-Adam").exists()


@pytest.mark.slow
def test_train_bn_updates_the_statistics(image_tree, tmp_path):
    result = tlfast.compare(
        image_tree(per_class=5), freeze="none", learning_rate=1e-3, epochs=1, seeds=1,
        train_bn=True, run_folder=tmp_path / "run", **SMALL,
    )  # fmt: skip
    assert "use and update the batch's statistics" in str(result)
    model = keras.models.load_model(tmp_path / "run" / "best.keras")
    fresh = keras.applications.EfficientNetLite0(include_top=False)
    mean = model.get_layer(fresh.name).get_layer("stem_bn").moving_mean.numpy()
    assert (mean != fresh.get_layer("stem_bn").moving_mean.numpy()).any()


@pytest.mark.slow
def test_arms_as_in_the_script(image_tree, tmp_path):
    """Raw pixels are wrong for Lite0 and right for B0: only Lite0 gets further arms."""
    given = {**SMALL, "backbones": [BACKBONE], "freeze": "all", "epochs": 1, "seeds": 1}
    result = tlfast.compare(
        image_tree(per_class=8, size=(60, 60)), learning_rate=1e-2, script_pixels="raw",
        run_folder=tmp_path / "run", **given,
    )  # fmt: skip
    names = [arm.name for arm in result.arms]
    assert names == [f"{BACKBONE}, frozen, Adam", f"{BACKBONE}, frozen, Adam, pixels raw as in "
                     "your script"]  # fmt: skip
    assert "further arms of EfficientNetLite0, whose weights expect another range" in str(result)
    cells = tmp_path / "run" / "cells"
    one, two = (np.load(cells / key / "seed0-rate0.01.test.npy") for key in (
        f"{BACKBONE}-all-Adam", f"{BACKBONE}-all-Adam-script-none"))  # fmt: skip
    assert (one != two).any()
    right = tlfast.compare(
        image_tree(per_class=8, size=(60, 60), folder="again"), learning_rate=1e-2,
        script_pixels="-1..1", run_folder=tmp_path / "right", **given,
    )  # fmt: skip
    assert len(right.arms) == 1 and "nothing wrong seen for EfficientNetLite0" in str(right)


# ---- the table alone ----


def made_result(**changed):
    truth = np.array([0, 1, 0, 1])
    arm = ArmResult(
        "a <b>", 0.01, "largest tried", [0], [], {n: [0.5] for n in
        ("accuracy", "balanced_accuracy", "macro_f1")}, 3700.0, None, 12345, truth[None],
    )  # fmt: skip
    return Comparison(["line & line"], ["x", "y"], truth, [arm], "a <b>", "accuracy", Path("r"), {},
                      **changed)  # fmt: skip


def test_table_without_memory_figures_and_other_arms():
    text = str(made_result())
    assert "50.0" in text and "61m40s" in text
    assert text.split("61m40s")[1].split()[:2] == ["-", "12,345"]
    assert "no other arm" in text and "is the largest tried; a wider grid may do better" in text


def test_html_is_escaped():
    page = made_result()._repr_html_()
    assert "a &lt;b&gt;" in page and "line &amp; line" in page and "<b>" not in page


def test_unknown_arm_is_named():
    with pytest.raises(KeyError, match="no arm 'b'; the arms are"):
        made_result().arm("b")


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (99.9, "99.9 s"), (245, "4m05s"), (7380, "2h03m")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


# ---- the command ----


@pytest.mark.slow
def test_command(image_tree, capsys):
    top = image_tree(per_class=5)
    words = [
        str(top), "--freeze", "all", "3", "--optimizer", "sgd", "--learning-rate", "0.01",
        "--epochs", "1", "--seeds", "2", "--size", "32", "--run-folder", "run",
        "--json", "out.json",
    ]  # fmt: skip
    assert cli.main(["compare", *words]) == 0
    printed = capsys.readouterr().out
    assert "EfficientNetLite0, last 3 layers trained, SGD: " in printed
    assert [a["name"] for a in json.loads(Path("out.json").read_text())["arms"]] == [
        "EfficientNetLite0, frozen, SGD", "EfficientNetLite0, last 3 layers trained, SGD",
    ]  # fmt: skip
    assert os.path.exists("run/best.keras")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no-such-folder"], "no-such-folder' does not exist"),
        ([".", "--budget", "soon"], "`budget` is a time such as"),
        ([".", "--backbones", "ResNet5"], "Did you mean 'ResNet50'"),
    ],
)
def test_errors_of_the_command_are_one_sentence(words, sentence, capsys):
    assert cli.main(["compare", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tlfast: ") and sentence in error
