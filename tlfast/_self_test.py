"""A decode and a training step whose results are known beforehand: does tlfast work here?"""

import importlib.util
import io
import struct
import time
import zlib
from typing import Any

import numpy as np


class SelfTestError(RuntimeError):
    """tlfast computed something else than NumPy or Pillow; the message holds both."""


def decode() -> float:
    """Decode a PNG written here byte by byte and, where Pillow is, a JPEG written by it.

    Returns:
        Milliseconds that tlfast took.

    Raises:
        SelfTestError: other pixels than expected.
    """
    from tlfast import _core

    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([3 * x, 5 * y, 2 * (x + y)], -1).astype(np.uint8)
    content = _png(pixels)
    began = time.perf_counter()
    decoded = _core.decode_image(content)
    took = 1e3 * (time.perf_counter() - began)
    if not np.array_equal(decoded, pixels):
        raise SelfTestError("a PNG gave other pixels than were written into it")
    if importlib.util.find_spec("PIL"):
        took += _decode_jpeg(pixels)
    return took


def _decode_jpeg(pixels: np.ndarray) -> float:
    from PIL import Image

    from tlfast import _core

    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "jpeg", quality=95)
    began = time.perf_counter()
    decoded = _core.decode_image(packed.getvalue()).astype(np.int16)
    took = 1e3 * (time.perf_counter() - began)
    off = int(np.abs(decoded - np.asarray(Image.open(packed), np.int16)).max())
    if off > 4:  # libraries round differently; a wrong one is off by far more
        raise SelfTestError(f"a JPEG gave pixels that differ by {off} from Pillow's")
    return took


def _png(pixels: np.ndarray) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def train_step() -> float:
    """Compare the loss of a small network with NumPy's, then train a step and see it fall.

    Returns:
        Milliseconds of one step with its two evaluations, once everything is prepared.

    Raises:
        SelfTestError: another loss than NumPy's, or one that does not fall.
    """
    from tlfast import Input, Sequential, layers, optimizers

    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 16, 16, 3)).astype(np.float32)
    labels = np.arange(8) % 3
    weights = [rng.normal(0, 0.2, s).astype(np.float32) for s in ((3, 3, 3, 8), 8, (8, 3), 3)]
    model = Sequential([
        Input((16, 16, 3)), layers.Conv2D(8, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    model.set_weights(weights)
    model.compile(optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    before: Any = model.evaluate(x, labels, batch_size=8, verbose=0)  # a number: the loss alone
    expected = _loss(x, labels, *weights)
    if abs(before - expected) > 1e-4:
        raise SelfTestError(f"the loss of a small network is {before}, NumPy computes {expected}")
    model.fit(x, labels, batch_size=8, verbose=0)  # makes the plans
    began = time.perf_counter()
    model.fit(x, labels, batch_size=8, verbose=0)
    after: Any = model.evaluate(x, labels, batch_size=8, verbose=0)
    if not after < before:
        raise SelfTestError(f"two steps of training brought the loss from {before} to {after}")
    return 1e3 * (time.perf_counter() - began)


def _loss(
    x: np.ndarray, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray, w: np.ndarray,
    b: np.ndarray,
) -> float:  # fmt: skip
    """The same network and loss in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (1, 2))
    maps = np.maximum(np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias, 0)
    logits = maps.mean((1, 2)) @ w + b
    shifted = logits - logits.max(1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(1)) - chosen).mean())
