"""image_dataset_from_directory: files, split and order against Keras; errors; leftovers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfast._core import DecodeError
from tlfast._warnings import DataWarning
from tlfast.data import _nodes
from tlfast.data._source import adapt
from tlfast.data._tables import FileTable
from tlfast.utils import image_dataset_from_directory

REFERENCE = Path(__file__).parent / "reference"
SIZE = (12, 10)


@pytest.fixture(scope="module")
def expected():
    return json.loads((REFERENCE / "directory_order.json").read_text())


@pytest.fixture(scope="module")
def pixels():
    return np.load(REFERENCE / "directory_pixels.npz")


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """The folder that make_directory.py showed to Keras."""
    root = tmp_path_factory.mktemp("tree")
    with np.load(REFERENCE / "directory_files.npz") as files:
        for name in files.files:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name].tobytes())
    return str(root)


def relative(paths, root):
    return [os.path.relpath(path, root) for path in paths]


def one_pass(dataset, root):
    """File names and labels of each batch, by row numbers alone."""
    table = dataset._node.table
    batches = []
    for ids in dataset._node.open():
        rows = np.atleast_1d(np.asarray(ids))
        targets = table.targets(rows)
        labels = None if targets is None else targets[0]
        if labels is not None and np.ndim(ids) == 0:
            labels = labels[0]
        batches.append({"files": relative([table.paths[i] for i in rows], root),
                        "labels": None if labels is None else labels.tolist()})
    return batches


def folder(tree, **arguments):
    return image_dataset_from_directory(tree, image_size=SIZE, verbose=False, **arguments)


CASES = ("plain", "training", "validation", "both", "sorted", "one_hot", "two", "images", "no_mode",
         "listed", "single", "small_buffer")


@pytest.mark.parametrize("case", CASES)
def test_order_is_that_of_keras(case, expected, tree):
    want = expected["folder"][case]
    made = folder(tree, **want["arguments"])
    made = made if isinstance(made, list) else [made]
    assert len(made) == len(want["datasets"])
    for dataset, reference in zip(made, want["datasets"], strict=True):
        assert dataset.class_names == reference["class_names"]
        assert relative(dataset.file_paths, tree) == reference["file_paths"]
        for number, batches in enumerate(reference["passes"]):
            assert one_pass(dataset, tree) == batches, f"pass {number}"


def test_every_case_of_the_reference_is_tested(expected):
    assert set(CASES) == set(expected["folder"])


CHAINS = {
    "cache_shuffle": lambda d: d.cache().shuffle(4, seed=1).prefetch(1),
    "take": lambda d: d.take(3),
    "skip": lambda d: d.skip(7),
    "rebatch": lambda d: d.unbatch().batch(6, drop_remainder=True),
    "repeat": lambda d: d.repeat(2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_keep_the_order_of_keras(name, expected, tree):
    want = expected["chains"][name]
    dataset = CHAINS[name](folder(tree, seed=42, batch_size=4))
    assert dataset._node.table is not None  # still by number, so features can be kept
    assert int(dataset.cardinality()) == want["count"]
    for batches in want["passes"]:
        assert one_pass(dataset, tree) == batches


def epochs(source, root, number, training):
    paths = source.table.paths
    return [relative([paths[i] for i in ids], root)
            for epoch in range(number) for ids in source.order(epoch, training)]


def test_fit_evaluate_and_predict_see_the_batches_of_keras(expected, tree):
    want = expected["folder_fit"]
    train, test = folder(tree, **expected["folder"]["both"]["arguments"])
    assert epochs(adapt(train), tree, 3, True) == want["fit"]
    source, held_out = adapt(train), adapt(test, purpose="evaluate")
    seen = []
    for _ in range(2):
        seen += epochs(source, tree, 1, True) + epochs(held_out, tree, 1, False)
    assert seen == want["fit_again"]
    assert epochs(adapt(train, purpose="evaluate"), tree, 1, False) == want["evaluate"]
    assert epochs(adapt(train, purpose="predict"), tree, 1, False) == want["predict"]
    source = adapt(train, steps=4)
    with pytest.warns(DataWarning, match="ran out of data"):
        seen = epochs(source, tree, 3, True)
    assert seen == want["steps"]


def test_prints_what_keras_prints(tree, capsys):
    image_dataset_from_directory(tree, seed=1, validation_split=0.2, subset="both")
    assert capsys.readouterr().out == (
        "Found 40 files belonging to 3 classes.\nUsing 32 files for training.\n"
        "Using 8 files for validation.\n")
    image_dataset_from_directory(tree, labels=None)
    assert capsys.readouterr().out == "Found 40 files.\n"


def test_leftovers_are_left_out_and_other_endings_counted(tree, tmp_path, capsys):
    image = (Path(tree) / "cat" / "im0.png").read_bytes()
    for name in ("a/x.png", "a/._x.png", "a/.ipynb_checkpoints/x-checkpoint.png", "a/Thumbs.db",
                 "a/notes.txt", "b/y.PNG", "b/z.webp", ".cache/w.png", "c/readme.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    dataset = image_dataset_from_directory(tmp_path, shuffle=False)
    assert relative(dataset.file_paths, tmp_path) == ["a/x.png", "b/y.PNG"]
    assert dataset.class_names == ["a", "b", "c"]
    out = capsys.readouterr().out
    assert "Found 2 files belonging to 3 classes.\n" in out
    assert "Ignored 3 files with other endings (1 .txt, 1 .webp, 1 .md;" in out
    assert "No images in class folder c." in out


def test_a_loop_of_links_is_named_and_not_followed(tree, tmp_path):
    image = (Path(tree) / "cat" / "im0.png").read_bytes()
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "x.png").write_bytes(image)
    (tmp_path / "a" / "deep" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.png").write_bytes(image)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    plain = image_dataset_from_directory(tmp_path, shuffle=False, verbose=False)
    assert relative(plain.file_paths, tmp_path) == ["a/x.png", "elsewhere/y.png"]
    with pytest.warns(DataWarning, match="back.* leads back to a folder that contains it"):
        followed = image_dataset_from_directory(
            tmp_path, shuffle=False, verbose=False, follow_links=True, class_names=["a"])
    assert relative(followed.file_paths, tmp_path) == ["a/x.png", "a/link/y.png"]


def test_without_seed_numpys_generator_decides(tree):
    np.random.seed(3)
    first = folder(tree).file_paths
    np.random.seed(3)
    assert folder(tree).file_paths == first
    assert folder(tree).file_paths != first


def test_a_seed_may_be_a_number_of_numpy(tree):
    assert np.array_equal(*([y for _, y in folder(tree, seed=seed)][0].numpy()
                            for seed in (np.int64(3), 3)))


ERRORS = [
    (dict(label_mode="binary"), ValueError, "exactly two classes.*has 3.*'Dog', 'cat', 'hot dog'"),
    (dict(class_names=["cat", "dog"]), ValueError,
     r"names 'dog', but the sub-folders.*\['Dog', 'cat', 'hot dog'\].*mean 'Dog'"),
    (dict(class_names=["cat", "cat"]), ValueError, "more than once"),
    (dict(validation_split=0.2), ValueError, "go together.*subset=None"),
    (dict(subset="training"), ValueError, "go together.*validation_split=None"),
    (dict(validation_split=0.2, subset="train", seed=1), ValueError, "Did you mean 'training'"),
    (dict(validation_split=1.5, subset="training", seed=1), ValueError, "between 0 and 1, got 1.5"),
    (dict(validation_split=0.2, subset="training"), ValueError, "needs a seed"),
    (dict(validation_split=0.01, subset="both", seed=1), ValueError, "less than one image"),
    (dict(label_mode="categoric"), ValueError, "Did you mean 'categorical'"),
    (dict(labels="infered"), ValueError, "labels must be"),
    (dict(labels=[1, 2]), ValueError, "labels has 2 entries.*holds 40"),
    (dict(labels=[1.5] * 40), TypeError, "labels must be integers"),
    (dict(labels=None, class_names=["cat"]), ValueError, "class_names cannot be given"),
    (dict(color_mode="bgr"), ValueError, "color_mode must be one of.*got 'bgr'"),
    (dict(image_size=(0, 5)), ValueError, r"image_size must be \(height, width\)"),
    (dict(interpolation="linear"), ValueError, "Did you mean 'bilinear'"),
    (dict(interpolation="area"), NotImplementedError, "bilinear, nearest, bicubic"),
    (dict(crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), ValueError, "Only one of"),
    (dict(data_format="channels_first"), NotImplementedError, "channels_last"),
    (dict(format="grain"), NotImplementedError, "grain"),
    (dict(batch_size=0), ValueError, "batch_size must be at least 1"),
    (dict(on_bad_image="ignore"), ValueError, "'error', 'skip'"),
    (dict(batchsize=4), TypeError, "no argument 'batchsize'. Did you mean 'batch_size'"),
]


@pytest.mark.parametrize(("arguments", "kind", "text"), ERRORS)
def test_errors_say_what_was_given_and_what_to_do(arguments, kind, text, tree):
    with pytest.raises(kind, match=text):
        image_dataset_from_directory(tree, verbose=False, **arguments)


def test_folders_without_images(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        image_dataset_from_directory(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="is a file"):
        image_dataset_from_directory(os.path.join(tree, "cat", "im0.png"))
    with pytest.raises(ValueError, match="No images found.*no sub-folders"):
        image_dataset_from_directory(tmp_path)
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 images lie directly in it \('x.png'"):
        image_dataset_from_directory(tmp_path)
    (tmp_path / "x.png").unlink()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.webp").write_bytes(b"")
    with pytest.raises(ValueError, match="Ignored 1 file with other endings .1 .webp"):
        image_dataset_from_directory(tmp_path)


def test_identity_follows_files_and_pipeline(tree, tmp_path):
    image = (Path(tree) / "cat" / "im0.png").read_bytes()
    for name in ("a/x.png", "b/y.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(image)

    def identity(**arguments):
        return adapt(image_dataset_from_directory(
            tmp_path, shuffle=False, verbose=False, **arguments)).identity

    first = identity()
    assert identity() == first
    assert identity(image_size=64) != first
    assert identity(interpolation="bicubic") != first
    os.utime(tmp_path / "a/x.png", ns=(1, 1))
    assert identity() != first


def test_element_spec_and_length_need_no_image(tree):
    dataset = folder(tree, batch_size=7)
    images, labels = dataset.element_spec
    assert repr(images) == "TensorSpec(shape=(None, 12, 10, 3), dtype=tf.float32, name=None)"
    assert (labels.shape, labels.dtype) == ((None,), np.int32)
    assert len(dataset) == 6
    assert folder(tree, interpolation="nearest").element_spec[0].dtype == np.uint8
    assert isinstance(dataset._node, _nodes.Batched)


# Pixels

@pytest.mark.parametrize("name", ["bilinear", "nearest", "bicubic", "crop", "pad", "gray"])
def test_pixels_are_those_of_keras(name, tree, pixels):
    arguments = {"crop": dict(crop_to_aspect_ratio=True), "pad": dict(pad_to_aspect_ratio=True),
                 "gray": dict(color_mode="grayscale")}.get(name, dict(interpolation=name))
    dataset = folder(tree, shuffle=False, batch_size=8, **arguments)
    images, _ = next(iter(dataset))
    want = pixels[f"folder_{name}"]
    assert images.dtype == want.dtype and images.shape == want.shape
    png = [i for i, path in enumerate(dataset.file_paths[:8]) if path.endswith("png")]
    difference = np.abs(images.astype(np.float64) - want)
    # Bicubic weights come from a table in TensorFlow; everything else is exact for PNG.
    assert difference[png].max() <= (0.2 if name == "bicubic" else 1e-3)
    assert (difference <= 1).mean() >= 0.999 and difference.max() <= 4


def test_a_shuffled_pass_pairs_images_with_labels(tree, expected):
    dataset = folder(tree, **expected["folder"]["plain"]["arguments"])
    want = expected["folder"]["plain"]["datasets"][0]
    table = dataset._node.table
    whole, _ = next(iter(folder(tree, shuffle=False, batch_size=40)))
    place = {path: i for i, path in enumerate(folder(tree, shuffle=False).file_paths)}
    for batches in want["passes"][:2]:
        for (images, labels), reference in zip(dataset, batches, strict=True):
            rows = [place[os.path.join(tree, name)] for name in reference["files"]]
            np.testing.assert_array_equal(images, whole[rows])
            assert labels.tolist() == reference["labels"]
    assert isinstance(table, FileTable)


def test_single_images_take_and_map(tree):
    single = folder(tree, shuffle=False, batch_size=None)
    image, label = next(iter(single))
    assert image.shape == (12, 10, 3) and label.numpy() == 0
    assert [x.shape for x, _ in single.take(2)] == [(12, 10, 3)] * 2
    mapped = single.map(lambda x, y: (x / 255, y)).batch(40)
    images, _ = next(iter(mapped))
    assert images.max() <= 1 and mapped.class_names == ["Dog", "cat", "hot dog"]
    assert next(iter(folder(tree, labels=None))).shape == (32, 12, 10, 3)


def test_source_gives_pixels_for_any_rows(tree):
    source = adapt(folder(tree, shuffle=False, batch_size=16), shuffle=False)
    whole, labels = next(iter(folder(tree, shuffle=False, batch_size=40)))
    batches = [np.array([5, 1]), np.array([39]), np.array([1, 1, 0])]
    for ids, ((images,), kept, bad) in zip(batches, source.pixels(batches), strict=True):
        assert kept.tolist() == ids.tolist() and bad == []
        np.testing.assert_array_equal(images, whole[ids])
        assert source.targets(kept)[0].tolist() == labels[ids].tolist()
    assert source.num_samples == 40 and source.element_shapes == [(12, 10, 3)]


@pytest.fixture
def broken(tree, tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((Path(tree) / "cat" / "im0.png").read_bytes())
    (tmp_path / "a" / "2.png").write_bytes(b"not an image")
    return tmp_path


def test_a_broken_image_is_named(broken):
    dataset = image_dataset_from_directory(broken, shuffle=False, batch_size=2)
    with pytest.raises(DecodeError, match="2.png"):
        list(dataset)
    with pytest.raises(DecodeError, match="2.png"):
        list(adapt(dataset).pixels([np.array([3]), np.array([1])]))


def test_a_broken_image_is_skipped_on_request(broken):
    dataset = image_dataset_from_directory(
        broken, shuffle=False, batch_size=2, on_bad_image="skip")
    with pytest.warns(DataWarning, match="1 unreadable image was skipped: .*2.png"):
        labels = [y.tolist() for _, y in dataset]
    assert labels == [[0], [1, 1]]
    source = adapt(dataset, shuffle=False)
    (_, kept, bad), _ = source.pixels(source.order(0, True))
    assert kept.tolist() == [0] and [os.path.basename(path) for path, _ in bad] == ["2.png"]
    assert source.bad == bad
    ((images,), kept, bad), = source.pixels([np.array([3, 1, 0, 3])])
    assert kept.tolist() == [3, 0, 3] and len(images) == 3 and len(bad) == 1


def test_cache_reads_every_file_once(tree, tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes((Path(tree) / "cat" / "im0.png").read_bytes())
    dataset = image_dataset_from_directory(tmp_path, shuffle=False, verbose=False).cache()
    first, _ = next(iter(dataset))
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).unlink()
    second, _ = next(iter(dataset))
    np.testing.assert_array_equal(first, second)
    ((images,), _, _), = adapt(dataset).pixels([np.array([1, 0])])
    np.testing.assert_array_equal(images, second[[1, 0]])


def test_bmp_and_gif_are_read_too(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "1.png")
    Image.fromarray(pixels).save(tmp_path / "a" / "2.bmp")
    Image.fromarray(pixels).save(tmp_path / "a" / "3.jpg", "BMP")  # the content decides
    flat = Image.fromarray(np.full((9, 14, 3), 7, np.uint8))
    flat.save(tmp_path / "a" / "4.gif")
    for arguments in ({}, dict(crop_to_aspect_ratio=True), dict(pad_to_aspect_ratio=True),
                      dict(interpolation="nearest"), dict(color_mode="grayscale")):
        images, _ = next(iter(image_dataset_from_directory(
            tmp_path, image_size=(6, 5), shuffle=False, verbose=False, **arguments)))
        if "color_mode" not in arguments:  # PNG follows libpng's own formula for gray
            np.testing.assert_array_equal(images[1], images[0])
        np.testing.assert_array_equal(images[2], images[1])
        assert images[3].max() == 7 and len(images) == 4


def test_a_broken_bmp_is_an_error_with_its_name(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.bmp").write_bytes(b"BM" + bytes(40))
    dataset = image_dataset_from_directory(tmp_path, verbose=False)
    with pytest.raises(DecodeError, match="1.bmp"):
        list(dataset)
    dataset = image_dataset_from_directory(tmp_path, verbose=False, on_bad_image="skip")
    with pytest.warns(DataWarning, match="1.bmp: cannot decode"):
        assert list(dataset) == []
    with pytest.raises(FileNotFoundError, match="gone.png"):
        (tmp_path / "a" / "gone.png").write_bytes(b"x")
        dataset = image_dataset_from_directory(tmp_path, verbose=False, shuffle=False, batch_size=1)
        (tmp_path / "a" / "gone.png").unlink()
        list(dataset.skip(1))
