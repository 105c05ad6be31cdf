"""The same weights and the same pixels give Keras' feature maps, probabilities and logits.

tests/reference/make_outputs.py wrote the numbers; weights and pictures come from formula.py on
both sides. The bounds are those of the project's promise, in units of the largest value. Keras
differs from itself by 2.7e-6 of it with oneDNN on and off, by 2.4e-6 between float32 and float64.
"""

import pathlib

import numpy as np
import pytest
from reference import formula

from tlfast import applications, backend
from tlfast.applications import _registry

REFERENCE = pathlib.Path(__file__).parent / "reference"
KERAS = np.load(REFERENCE / "outputs.npz")
MAX_DIFFERENCE = 1e-4  # of the largest value, for every value
MOST_DIFFERENCES = 1e-5  # of the largest value, for 99 of 100 values
MAIN = ("ResNet50", "MobileNetV2", "EfficientNetLite0")
OTHERS = ("VGG16", "InceptionV3", "Xception", "DenseNet121", "EfficientNetB0")
OTHER_SIZE = 107


def check(got: np.ndarray, want: np.ndarray, what: str) -> None:
    want = want.astype(np.float64)
    assert got.shape == want.shape
    difference = np.abs(got - want) / np.abs(want).max()
    found = f"{what}: largest {difference.max():.1e}, 99 % {np.quantile(difference, 0.99):.1e}"
    assert difference.max() <= MAX_DIFFERENCE, found
    assert np.quantile(difference, 0.99) <= MOST_DIFFERENCES, found


def check_keras(got: np.ndarray, key: str) -> None:
    check(got, KERAS[key], key)


def build(name: str, **arguments):
    backend.clear_session()
    model = getattr(applications, name)(weights=None, **arguments)
    formula.fill(model, name)
    return model


def prepared(name: str, pixels: np.ndarray) -> np.ndarray:
    module = getattr(applications, _registry.lookup(name).module)
    return module.preprocess_input(pixels)


def check_features(model, name: str, size: int) -> None:
    pixels = formula.photos(1 if size > 300 else 2, size, size)
    features = model.predict(prepared(name, pixels), verbose=0)
    key = f"{name}/{size}"
    assert features.shape == tuple(KERAS[f"{key}/shape"])
    check_keras(formula.sample(features), f"{key}/sample")
    check_keras(features.mean(axis=(1, 2)), f"{key}/pooled")


@pytest.fixture(scope="module", params=MAIN)
def backbone(request):
    """(name, model without classifier and with open height and width), one for all sizes."""
    return request.param, build(request.param, include_top=False)


@pytest.mark.parametrize("size", [224, 512, 193])
def test_feature_maps(backbone, size):
    name, model = backbone
    check_features(model, name, size)


@pytest.mark.parametrize("name", MAIN)
def test_probabilities_and_logits(name):
    pixels = prepared(name, formula.photos(1, 224, 224, seed=1))
    model = build(name)
    check_keras(model.predict(pixels, verbose=0), f"{name}/224/probabilities")
    logits = getattr(applications, name)(weights=None, classifier_activation=None)
    logits.set_weights(model.get_weights())
    logits = logits.predict(pixels, verbose=0)
    check_keras(logits, f"{name}/224/logits")


def test_efficientnet_lite0_with_its_imagenet_weights():
    """Against PyTorch in float64 (make_lite_imagenet.py): the right tensors in the layers."""
    torch = np.load(REFERENCE / "lite_imagenet.npz")
    pixels = prepared("EfficientNetLite0", formula.photos(2, 224, 224, seed=4))
    probabilities = applications.EfficientNetLite0().predict(pixels, verbose=0)
    check(probabilities, torch["probabilities"], "probabilities")
    features = applications.EfficientNetLite0(include_top=False, pooling="avg")
    check(features.predict(pixels, verbose=0), torch["features"], "features")


@pytest.mark.parametrize("name", OTHERS)
def test_feature_maps_of_the_other_families(name):
    check_features(build(name, include_top=False), name, OTHER_SIZE)
