"""Writes outputs.npz (forward passes) and head.npz (ten frozen-head steps) with Keras' numbers.

Run with a Python that has Keras: `python tests/reference/make_outputs.py`. Weights, pictures and
labels come from formula.py. The script runs itself a second time with oneDNN switched on in
TensorFlow and a third time in float64, and prints how far Keras is from itself: the spread the
tolerances rest on.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import formula
import numpy as np

HERE = pathlib.Path(__file__).parent
MAIN_APPLICATIONS = ("ResNet50", "MobileNetV2", "EfficientNetLite0")
OTHER_APPLICATIONS = ("VGG16", "InceptionV3", "Xception", "DenseNet121", "EfficientNetB0")
FILES = ("outputs.npz", "head.npz")
MAIN_SIZES = (224, 512, 193)
OTHER_SIZE = 107  # odd, above the smallest size of InceptionV3 (75)
STEPS, BATCH, HEAD_SIZE, CLASSES = 10, 4, 96, 2
# Steps of about one tenth of what would make the loss jump, so that the tenth step still tests
# something.
OPTIMIZERS = {
    "sgd": dict(learning_rate=1e-4),
    "momentum": dict(learning_rate=5e-5, momentum=0.9),
    "nesterov": dict(learning_rate=5e-5, momentum=0.9, nesterov=True),
    "adam": dict(learning_rate=1e-4),
}


def build(name: str, **arguments: object) -> object:
    import keras
    from lite import keras_efficientnet_lite

    keras.backend.clear_session()
    if name.startswith("EfficientNetLite"):
        model = keras_efficientnet_lite(int(name[-1]), **arguments)
    else:
        model = getattr(keras.applications, name)(weights=None, **arguments)
    formula.fill(model, name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # set_weights alone would leave it computing with the old ones
    return model


def preprocess(name: str, pixels: np.ndarray) -> np.ndarray:
    import keras

    module = {
        "ResNet50": "resnet50", "MobileNetV2": "mobilenet_v2", "VGG16": "vgg16",
        "InceptionV3": "inception_v3", "Xception": "xception", "DenseNet121": "densenet",
        "EfficientNetB0": "efficientnet",
    }.get(name)  # fmt: skip
    if module is None:  # EfficientNet-Lite: MEAN_RGB 127, STDDEV_RGB 128 of its original builder
        return (pixels - 127.0) / 128.0
    return getattr(keras.applications, module).preprocess_input(pixels.copy())


def forward(name: str, sizes: tuple[int, ...], classifier: bool) -> dict[str, np.ndarray]:
    """Sampled and pooled feature maps at every size, probabilities and logits at 224."""
    found = {}
    base = build(name, include_top=False)
    for size in sizes:
        pixels = formula.photos(1 if size > 300 else 2, size, size)
        features = base.predict(preprocess(name, pixels), verbose=0)
        found[f"{name}/{size}/shape"] = np.array(features.shape)
        found[f"{name}/{size}/sample"] = formula.sample(features)
        found[f"{name}/{size}/pooled"] = features.mean(axis=(1, 2))
    if classifier:
        pixels = preprocess(name, formula.photos(1, 224, 224, seed=1))
        for activation in ("softmax", None):
            model = build(name, include_top=True, classifier_activation=activation)
            key = "probabilities" if activation else "logits"
            found[f"{name}/224/{key}"] = model.predict(pixels, verbose=0)
    return found


def head_steps(name: str) -> dict[str, np.ndarray]:
    """Losses of ten steps of a Dense head on the frozen network, and the head after the last."""
    import keras

    found = {}
    base = build(name, include_top=False, input_shape=(HEAD_SIZE, HEAD_SIZE, 3))
    base.trainable = False
    x = preprocess(name, formula.photos(STEPS * BATCH, HEAD_SIZE, HEAD_SIZE, seed=2))
    y = formula.labels(STEPS * BATCH, CLASSES)
    cases = [(optimizer, "categorical_crossentropy") for optimizer in OPTIMIZERS]
    # On the logits of the softmax: Keras' hidden-logits rule.
    cases.append(("adam", "binary_crossentropy"))
    if name.startswith("EfficientNet"):
        # Keras drops whole branches of these while fit runs, frozen or not, and overrides
        # base(x, training=False): the steps are taken on features of the predicting network.
        x, base = base.predict(x, verbose=0), None
    for optimizer, loss in cases:
        inputs = keras.Input(x.shape[1:])
        features = inputs if base is None else base(inputs)
        features = keras.layers.GlobalAveragePooling2D()(features)
        outputs = keras.layers.Dense(CLASSES, activation="softmax", name="head")(features)
        model = keras.Model(inputs, outputs)
        model.get_layer("head").set_weights(formula.head_weights(features.shape[-1], CLASSES))
        kind = keras.optimizers.Adam if optimizer == "adam" else keras.optimizers.SGD
        model.compile(optimizer=kind(**OPTIMIZERS[optimizer]), loss=loss)
        losses = []
        for step in range(STEPS):
            rows = slice(step * BATCH, (step + 1) * BATCH)
            model.reset_metrics()  # or Keras returns the mean since the first step
            losses.append(model.train_on_batch(x[rows], y[rows]))
        kernel, bias = model.get_layer("head").get_weights()
        found[f"{name}/{optimizer}/{loss}/losses"] = np.array(losses, np.float64)
        found[f"{name}/{optimizer}/{loss}/kernel"] = formula.sample(kernel)
        found[f"{name}/{optimizer}/{loss}/bias"] = bias
    return found


def preprocessing() -> dict[str, np.ndarray]:
    """preprocess_input of every mode on a small picture."""
    from keras.applications import imagenet_utils

    found = {}
    pixels = formula.photos(1, 5, 4, seed=3)
    for mode in ("caffe", "tf", "torch"):
        found[f"preprocess/{mode}"] = imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
        first = np.ascontiguousarray(pixels[0].transpose(2, 0, 1))
        found[f"preprocess/{mode}/channels_first"] = imagenet_utils.preprocess_input(
            first, data_format="channels_first", mode=mode
        )
    return found


def compute(folder: pathlib.Path, only_features: bool) -> None:
    outputs, heads = preprocessing(), {}
    for name in MAIN_APPLICATIONS:
        outputs |= forward(name, MAIN_SIZES, classifier=True)
        if not only_features:
            heads |= head_steps(name)
    for name in OTHER_APPLICATIONS:
        outputs |= forward(name, (OTHER_SIZE,), classifier=False)
    np.savez_compressed(folder / "outputs.npz", **outputs)
    if not only_features:
        np.savez_compressed(folder / "head.npz", **heads)


def compare(label: str, file: str, other: pathlib.Path) -> None:
    first, second = np.load(HERE / file), np.load(other / file)
    for key in second.files:
        if key.endswith("/shape"):
            continue
        a, b = first[key].astype(np.float64), second[key].astype(np.float64)
        difference = np.abs(a - b) / np.abs(b).max()
        print(
            f"{label} {key:45s} largest {np.abs(b).max():9.3g}  difference/largest: "
            f"max {difference.max():.1e} 99% {np.quantile(difference, 0.99):.1e}"
        )


def main() -> None:
    if len(sys.argv) == 3:
        if sys.argv[2] == "float64":
            import keras

            keras.config.set_floatx("float64")
        compute(pathlib.Path(sys.argv[1]), only_features=sys.argv[2] == "float64")
        return
    compute(HERE, only_features=False)
    for file in FILES:
        print(file, (HERE / file).stat().st_size, "bytes")
    for label, variables in (("onednn", {"TF_ENABLE_ONEDNN_OPTS": "1"}), ("float64", {})):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, folder, label]
            subprocess.run(command, check=True, env=os.environ | variables)
            compare(label, "outputs.npz", pathlib.Path(folder))
            if label == "onednn":
                compare(label, "head.npz", pathlib.Path(folder))


if __name__ == "__main__":
    main()
