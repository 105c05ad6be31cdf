"""Arguments of the applications, preprocess_input, decode_predictions, and what goes wrong."""

import hashlib
import inspect
import json
import pathlib
import warnings

import numpy as np
import pytest
from reference import formula

import tlfast
from tlfast import applications, backend, layers
from tlfast.applications import _registry, imagenet_utils

KERAS_CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"  # of imagenet_class_index.json
OUTPUTS = np.load(pathlib.Path(__file__).parent / "reference" / "outputs.npz")
STANDARD = [
    "include_top", "weights", "input_tensor", "input_shape", "pooling", "classes",
    "classifier_activation", "name",
]  # fmt: skip
OWN = ["include_preprocessing"]  # Keras has it for other applications only
MOBILENET_V2 = ["input_shape", "alpha", *STANDARD[:3], *STANDARD[4:]]
FLOAT32_ULPS = 2e-7


# --- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(_registry.BACKBONES))
def test_arguments_have_the_order_and_defaults_of_keras(name):
    parameters = inspect.signature(getattr(applications, name)).parameters
    assert list(parameters) == (MOBILENET_V2 if name == "MobileNetV2" else STANDARD) + OWN
    defaults = {key: p.default for key, p in parameters.items()}
    assert defaults["include_top"] is True
    assert defaults["weights"] == "imagenet"
    assert defaults["classes"] == 1000
    assert defaults["classifier_activation"] == "softmax"
    scales_itself = _registry.lookup(name).preprocessing == "none"
    assert defaults["include_preprocessing"] is scales_itself
    assert defaults["input_tensor"] is defaults["input_shape"] is defaults["pooling"] is None


def test_functions_are_found_under_the_module_names_of_keras():
    for record in _registry.BACKBONES.values():
        module = getattr(applications, record.module)
        function = getattr(module, record.name)
        assert function is getattr(applications, record.name)
        assert callable(module.preprocess_input) and callable(module.decode_predictions)
    assert applications.resnet.ResNet50 is applications.resnet50.ResNet50
    assert tlfast.applications.imagenet_utils is imagenet_utils


def test_a_misspelt_application_or_argument_gets_a_suggestion():
    with pytest.raises(AttributeError, match="Did you mean 'ResNet50'"):
        applications.Resnet50  # noqa: B018
    with pytest.raises(TypeError, match="no argument 'include_tops'.*Did you mean 'include_top'"):
        applications.ResNet50(include_tops=False)
    with pytest.raises(ValueError, match="Did you mean 'imagenet'"):
        applications.ResNet50(weights="imagnet")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weights": "/nowhere/model.h5"}, "path of an existing weight file"),
        ({"weights": 5}, "Received: weights=5"),
        ({"classes": 10}, "`classes` must be 1000. Received: classes=10"),
        ({"weights": None, "pooling": "sum"}, "Received: pooling='sum'"),
        ({"weights": None, "input_shape": (31, 224, 3)}, "at least 32x32"),
        ({"weights": None, "input_shape": (224, 224)}, r"\(height, width, channels\)"),
        ({"weights": None, "input_shape": (None, None, 3)}, "must be complete"),
        ({"input_shape": (256, 256, 3)}, r"must be \(224, 224, 3\)"),
        ({"include_top": False, "input_shape": (224, 224, 1)}, "need 3 channels"),
        ({"weights": None, "input_tensor": np.zeros((1, 224, 224, 3))}, "must be symbolic"),
    ],
)
def test_values_that_are_not_allowed_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        applications.ResNet50(**arguments)


def test_pretrained_classifiers_end_in_softmax_or_logits(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"")  # the activation is checked before the file is read
    with pytest.raises(ValueError, match="'softmax' or None"):
        applications.VGG16(weights=tmp_path / "weights.h5", classifier_activation="sigmoid")


def test_an_unusual_number_of_channels_is_built_with_a_warning():
    with pytest.warns(UserWarning, match="usually reads 1 or 3 channels"):
        model = applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 4))
    assert model.input_shape == (None, 64, 64, 4)


def test_the_least_sizes_are_those_of_keras():
    for name, least in (("InceptionV3", 75), ("Xception", 71), ("VGG16", 32)):
        build = getattr(applications, name)
        model = build(weights=None, include_top=False, input_shape=(least, least, 3))
        assert model.output_shape[1:3] == (1, 1) or name == "Xception"
        with pytest.raises(ValueError, match=f"at least {least}x{least}"):
            build(weights=None, include_top=False, input_shape=(least - 1, least, 3))


def test_mobilenet_v2_sizes():
    backend.clear_session()
    model = applications.MobileNetV2(weights=None, input_shape=(160, 160, 3))
    assert model.name == "mobilenetv2_1.00_160"
    with pytest.raises(ValueError, match="alpha=0.6"):
        applications.MobileNetV2(alpha=0.6, include_top=False, input_shape=(96, 96, 3))
    with pytest.raises(ValueError, match="differ in width"):
        applications.MobileNetV2(
            weights=None, input_shape=(96, 96, 3), input_tensor=layers.Input((128, 128, 3))
        )


def test_a_model_can_stand_on_another_tensor():
    inputs = layers.Input((96, 96, 3))
    flipped = layers.Rescaling(1.0 / 127.5, offset=-1.0)(inputs)
    model = applications.MobileNetV2(weights=None, include_top=False, input_tensor=flipped)
    assert model.inputs[0] is inputs
    assert [layer.name for layer in model.layers[1:3]] == [flipped._keras_history[0].name, "Conv1"]


# --- preprocess_input --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocessing_gives_the_numbers_of_keras(mode):
    pixels = formula.photos(1, 5, 4, seed=3)
    kept = pixels.copy()
    want = OUTPUTS[f"preprocess/{mode}"]
    size = np.abs(want).max()
    for given in (pixels, pixels.astype(np.uint8), pixels[0], pixels.astype(np.int64)):
        got = imagenet_utils.preprocess_input(given, mode=mode)
        assert got.dtype == np.float32 and got.flags.c_contiguous
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=0, atol=size * FLOAT32_ULPS)
    np.testing.assert_array_equal(pixels, kept)
    first = imagenet_utils.preprocess_input(
        pixels[0].transpose(2, 0, 1), data_format="channels_first", mode=mode
    )
    want_first = OUTPUTS[f"preprocess/{mode}/channels_first"]
    np.testing.assert_allclose(first, want_first, rtol=0, atol=size * FLOAT32_ULPS)


def test_each_family_has_its_mode():
    pixels = formula.photos(1, 5, 4, seed=3)
    for record in _registry.BACKBONES.values():
        got = getattr(applications, record.module).preprocess_input(pixels)
        if record.preprocessing == "none":
            assert got is pixels
        elif record.preprocessing == "lite":
            np.testing.assert_array_equal(got, (pixels - 127) / 128)
        else:
            want = OUTPUTS[f"preprocess/{record.preprocessing}"]
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=2e-5)
        extremes = np.concatenate([np.zeros((1, 1, 3)), np.full((1, 1, 3), 255.0)])
        values = getattr(applications, record.module).preprocess_input(extremes)
        low, high = record.input_range
        assert values.min() == pytest.approx(low, abs=1e-3)
        assert values.max() == pytest.approx(high, abs=1e-3)


def test_a_float64_array_stays_float64():
    got = imagenet_utils.preprocess_input(np.full((2, 2, 3), 255.0), mode="tf")
    assert got.dtype == np.float64 and (got == 1.0).all()


@pytest.mark.parametrize("module", ["resnet50", "mobilenet_v2", "densenet", "efficientnet_lite"])
def test_preprocessing_works_inside_a_model(module):
    preprocess = getattr(applications, module).preprocess_input
    inputs = layers.Input((5, 4, 3))
    model = tlfast.models.Model(inputs, preprocess(inputs))
    pixels = formula.photos(2, 5, 4)
    want = preprocess(pixels)
    got = np.asarray(model(pixels))
    np.testing.assert_allclose(got, want, rtol=0, atol=4 * FLOAT32_ULPS * np.abs(want).max())


def test_wrong_pixels_are_refused():
    with pytest.raises(ValueError, match="mode='coffee'"):
        imagenet_utils.preprocess_input(np.zeros((2, 2, 3)), mode="coffee")
    with pytest.raises(ValueError, match="data_format='last'"):
        imagenet_utils.preprocess_input(np.zeros((2, 2, 3)), data_format="last")
    with pytest.raises(ValueError, match=r"shape \(2, 2, 1\)"):
        applications.resnet50.preprocess_input(np.zeros((2, 2, 1)))
    with pytest.raises(ValueError, match="channels_first"):
        applications.resnet50.preprocess_input(layers.Input((2, 2, 3)), "channels_first")


# --- decode_predictions ------------------------------------------------------------------------


def test_the_class_names_are_those_of_keras():
    index = {str(i): list(entry) for i, entry in enumerate(imagenet_utils.class_names())}
    text = json.dumps(index)  # the form of Keras' file
    assert hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == KERAS_CLASS_INDEX_MD5


def test_predictions_are_named_best_first():
    scores = np.zeros((2, 1000), np.float32)
    scores[0, [1, 933, 0]] = 0.6, 0.3, 0.1
    scores[1, 999] = 1.0
    first, second = applications.resnet50.decode_predictions(scores, top=3)
    assert first == [
        ("n01443537", "goldfish", scores[0, 1]),
        ("n07697313", "cheeseburger", scores[0, 933]),
        ("n01440764", "tench", scores[0, 0]),
    ]
    assert second[0] == ("n15075141", "toilet_tissue", 1.0)
    assert len(applications.vgg16.decode_predictions(scores)[0]) == 5


def test_predictions_of_another_classifier_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 2\).*your class names"):
        imagenet_utils.decode_predictions(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="top=0"):
        imagenet_utils.decode_predictions(np.zeros((1, 1000)), top=0)


# --- odds and ends -----------------------------------------------------------------------------


def test_padding_before_a_strided_convolution():
    # keras.src.applications.imagenet_utils.correct_pad
    assert imagenet_utils.correct_pad((None, 224, 224, 3), 3) == ((0, 1), (0, 1))
    assert imagenet_utils.correct_pad((None, 193, 224, 3), 3) == ((1, 1), (0, 1))
    assert imagenet_utils.correct_pad((None, 193, 193, 3), 5) == ((2, 2), (2, 2))
    assert imagenet_utils.correct_pad((None, None, None, 3), 5) == ((1, 2), (1, 2))


def test_building_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        applications.EfficientNetLite0(weights=None, include_top=False, input_shape=(64, 64, 3))


def test_the_published_efficientnet_file_given_as_a_path_warns(tmp_path):
    path = tmp_path / "b0.weights.h5"
    model = applications.EfficientNetB0(weights=None, include_top=False)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    normalization = next(x for x in model.layers if isinstance(x, layers.Normalization))
    normalization.set_weights([np.zeros(3), std, np.zeros((), np.int64)])
    model.save_weights(path)
    backend.clear_session()
    with pytest.warns(UserWarning, match="build EfficientNetB0.weights='imagenet'"):
        applications.EfficientNetB0(weights=path, include_top=False)
