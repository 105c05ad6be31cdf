"""Makes pixels.npz: what TensorFlow decodes and resizes, for tests/test_resize.py.

Run with an interpreter that has TensorFlow, Keras and Pillow; the tests need only the result.
The source images are made here, from a fixed seed, and stored as the encoded files.
"""

import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from keras.src.backend import tensorflow as tf_backend
from keras.src.utils import image_utils
from PIL import Image

SIZES = [(9, 14), (33, 20), (5, 31)]


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth colours with edges and some noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (3 + c) + seed) * np.cos(y / (5 - c)) for c in range(3)]
    image = 127 + 110 * np.stack(waves, -1)
    image[height // 4 : height // 2, width // 3 : width // 2] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def encode(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def files() -> dict[str, bytes]:
    """Encoded images by name."""
    rgb = Image.fromarray(picture(29, 36, 1))
    wide = Image.fromarray(picture(17, 46, 2))
    alpha = rgb.convert("RGBA")
    alpha.putalpha(Image.fromarray(picture(29, 36, 3)[..., 0]))
    deep = Image.fromarray((picture(29, 36, 4)[..., 0].astype(np.uint16) << 8) | 0x91)
    jpeg = {"format": "JPEG", "quality": 85}
    return {
        "420.jpg": encode(rgb, subsampling=2, **jpeg),
        "444.jpg": encode(rgb, subsampling=0, **jpeg),
        "422_wide.jpg": encode(wide, subsampling=1, **jpeg),
        "progressive.jpg": encode(rgb, progressive=True, **jpeg),
        "gray.jpg": encode(rgb.convert("L"), **jpeg),
        "cmyk.jpg": encode(rgb.convert("CMYK"), **jpeg),
        "rgb.png": encode(rgb, format="PNG"),
        "wide.png": encode(wide, format="PNG"),
        "rgba.png": encode(alpha, format="PNG"),
        "palette.png": encode(rgb.quantize(16), format="PNG"),
        "gray_alpha.png": encode(alpha.convert("LA"), format="PNG"),
        "gray16.png": encode(deep, format="PNG"),
        "bits.png": encode(rgb.convert("1"), format="PNG"),
    }


def resize(image: tf.Tensor, size: tuple[int, int], method: str, fit: str) -> np.ndarray:
    """The three branches of keras' _load_image_tf."""
    if fit == "crop":
        return image_utils.smart_resize(
            image,
            size,
            interpolation=method,
            data_format="channels_last",
            backend_module=tf_backend,
        ).numpy()
    if fit == "pad":
        return tf.image.resize_with_pad(image, *size, method=method).numpy()
    return tf.image.resize(image, size, method=method).numpy()


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    decodes, resizes = [], []
    for name, data in files().items():
        arrays[f"file/{name}"] = np.frombuffer(data, np.uint8)
        for channels in (1, 3, 4) if name.endswith("png") else (1, 3):
            if name == "cmyk.jpg" and channels == 1:
                continue  # TensorFlow cannot
            pixels = tf.io.decode_image(data, channels=channels, expand_animations=False).numpy()
            arrays[f"decode/{len(decodes)}"] = pixels
            decodes.append([name, channels])
    for name in ("420.jpg", "422_wide.jpg", "rgb.png", "wide.png"):
        image = tf.io.decode_image(
            arrays[f"file/{name}"].tobytes(), channels=3, expand_animations=False
        )
        for size in SIZES:
            for method in ("bilinear", "nearest", "bicubic"):
                for fit in ("stretch", "crop", "pad"):
                    if fit != "stretch" and (method == "bicubic" or name == "rgb.png"):
                        continue
                    arrays[f"resize/{len(resizes)}"] = resize(image, size, method, fit)
                    resizes.append([name, *size, method, fit])
    # odd factors, where a wrong rounding of the scale shows; gray to keep it small
    column = np.arange(1000, dtype=np.uint8)[None, :, None]
    for width in (3, 7, 224, 299, 501):
        for method in ("bilinear", "nearest", "bicubic"):
            arrays[f"line/{width}/{method}"] = tf.image.resize(column, (1, width), method).numpy()
    arrays["cases"] = np.array(json.dumps({"decode": decodes, "resize": resizes}))
    np.savez_compressed(Path(__file__).with_name("pixels.npz"), **arrays)
    print(len(arrays), "arrays with TensorFlow", tf.__version__)


if __name__ == "__main__":
    main()
