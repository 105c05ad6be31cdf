"""Decoding: Pillow and TensorFlow parity, damaged and hostile files, the words of the errors."""

import io
import json
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_image
from PIL import Image

from tlfast import _core

STORED = np.load(Path(__file__).parent / "reference" / "pixels.npz")
CASES = json.loads(str(STORED["cases"]))
PNG_START = b"\x89PNG\r\n\x1a\n"


def encode(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    image = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
    return image.reshape(*image.shape[:2], -1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, kind: int, rows: bytes, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlace)
    return (
        PNG_START
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def adam7(image: np.ndarray) -> bytes:
    """The rows of an interlaced RGB PNG, filter 0."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    out = b""
    for top, left, down, right in passes:
        part = image[top::down, left::right]
        if part.size:
            out += b"".join(b"\0" + row.tobytes() for row in part)
    return out


@pytest.fixture
def picture(rng) -> Image.Image:
    return Image.fromarray(smooth_image(rng, 45, 62))


@pytest.mark.parametrize("case", range(len(CASES["decode"])))
def test_equals_tensorflow(case):
    name, channels = CASES["decode"][case]
    got = _core.decode_image(STORED[f"file/{name}"].tobytes(), channels=channels)
    expected = STORED[f"decode/{case}"]
    if channels == 4 and name in ("palette.png", "bits.png"):
        # TensorFlow fills in 2**bits - 1 for "opaque"; ours is 255
        got, expected = got[..., :3], expected[..., :3]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_equals_pillow(picture, mode):
    image = picture.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(picture.convert("L").rotate(90, expand=False))
    data = encode(image, format="PNG")
    for channels, target in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        got = _core.decode_image(data, channels=channels, pipeline="pil")
        np.testing.assert_array_equal(got, pillow(data, target))
        assert got.dtype == np.uint8 and got.shape == (45, 62, channels)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_equals_pillow(picture, mode, subsampling):
    for progressive in (False, True):
        options = {"quality": 80, "progressive": progressive, "subsampling": subsampling}
        data = encode(picture.convert(mode), format="JPEG", **options)
        for channels, target in ((1, "L"), (3, "RGB"), (4, "RGBA")):
            if mode == "CMYK" and channels != 3:
                continue  # Pillow goes by way of other tables
            got = _core.decode_image(data, channels=channels, pipeline="pil")
            np.testing.assert_array_equal(got, pillow(data, target))


def test_jpeg_pipelines_differ_only_in_the_dct(picture):
    data = encode(picture, format="JPEG", quality=90)
    keras = _core.decode_image(data).astype(int)
    difference = np.abs(keras - pillow(data))
    assert 0 < difference.max() <= 6 and difference.mean() < 1.5


def test_gray_from_colour_jpeg_is_the_luma_plane(picture):
    data = encode(picture, format="JPEG", quality=95, subsampling=0)
    luma = np.asarray(picture.convert("YCbCr"))[..., :1].astype(int)
    got = _core.decode_image(data, channels=1).astype(int)
    assert np.abs(got - luma).max() <= 12


def test_cmyk_rules(picture):
    """With Adobe's marker the values are inverted; without it they are taken as they are."""
    data = encode(picture.convert("CMYK"), format="JPEG", quality=95, subsampling=0)
    at = data.index(b"Adobe") - 4
    plain = data[:at] + data[at + 16 :]
    inverted = _core.decode_image(data).astype(int)
    straight = _core.decode_image(plain).astype(int)
    raw = Image.open(io.BytesIO(data))
    ink = 255 - np.asarray(raw).astype(int)  # what the file holds
    assert np.abs(inverted - ink[..., :3] * ink[..., 3:] // 255).max() <= 12
    assert np.abs(straight - (255 - ink[..., :3]) * (255 - ink[..., 3:]) // 255).max() <= 12
    for channels in (1, 4):
        assert _core.decode_image(data, channels=channels).shape == (45, 62, channels)


def test_exif_orientation_is_ignored(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encode(picture, format="JPEG", quality=90)
    turned = encode(picture, format="JPEG", quality=90, exif=exif)
    assert turned != plain
    np.testing.assert_array_equal(_core.decode_image(turned), _core.decode_image(plain))


def test_sixteen_bits_keep_the_high_byte(rng):
    deep = rng.integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    got = _core.decode_image(png(11, 9, 16, 2, rows))
    np.testing.assert_array_equal(got, (deep >> 8).astype(np.uint8))


def test_interlaced_png(rng):
    for height, width in ((1, 1), (3, 2), (9, 11), (16, 17)):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        data = png(width, height, 8, 2, adam7(image), interlace=1)
        np.testing.assert_array_equal(_core.decode_image(data), image)
        assert _core.decode_image(data, channels=1).shape == (height, width, 1)


def test_transparent_colour_becomes_alpha(picture):
    image = picture.quantize(8)
    data = encode(image, format="PNG", transparency=3)
    got = _core.decode_image(data, channels=4)
    np.testing.assert_array_equal(got, pillow(data, "RGBA"))
    np.testing.assert_array_equal(_core.decode_image(data), got[..., :3])
    gray = encode(picture.convert("L"), format="PNG", transparency=100)
    got = _core.decode_image(gray, channels=4)
    np.testing.assert_array_equal(got[..., 3] == 0, got[..., 0] == 100)


def test_colour_profile_and_gamma_are_ignored(picture):
    plain = encode(picture, format="PNG")
    at = 8 + 25
    extra = chunk(b"gAMA", struct.pack(">I", 200000)) + chunk(b"tEXt", b"a\0b" * 700000)
    np.testing.assert_array_equal(
        _core.decode_image(plain[:at] + extra + plain[at:], channels=1),
        _core.decode_image(plain, channels=1),
    )


def test_extension_does_not_matter(tmp_path, picture):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encode(picture, format="PNG"))
    np.testing.assert_array_equal(_core.decode_image(path), np.asarray(picture))
    assert _core.image_info(str(path)) == ("PNG", 62, 45, 3)


def test_image_info(picture):
    assert _core.image_info(encode(picture, format="JPEG")) == ("JPEG", 62, 45, 3)
    assert _core.image_info(encode(picture.convert("CMYK"), format="JPEG"))[3] == 4
    assert _core.image_info(encode(picture.convert("LA"), format="PNG")) == ("PNG", 62, 45, 2)
    assert _core.image_info(encode(picture.convert("P"), format="PNG")) == ("PNG", 62, 45, 3)


def test_fast_pipeline_decodes_at_full_size_when_no_target_is_known(picture):
    data = encode(picture, format="JPEG")
    np.testing.assert_array_equal(_core.decode_image(data, pipeline="fast"), pillow(data))


@pytest.mark.parametrize(
    "kind", ["baseline", "progressive", "gray", "png", "palette", "interlaced"]
)
def test_every_truncation_is_an_error(rng, kind):
    image = Image.fromarray(smooth_image(rng, 17, 21))
    if kind == "interlaced":
        data = png(21, 17, 8, 2, adam7(np.asarray(image)), interlace=1)
    elif kind in ("png", "palette"):
        data = encode(image if kind == "png" else image.quantize(9), format="PNG")
    else:
        image = image.convert("L") if kind == "gray" else image
        data = encode(image, format="JPEG", quality=75, progressive=kind == "progressive")
    assert _core.decode_image(data).shape == (17, 21, 3)
    for length in range(len(data)):
        with pytest.raises(_core.DecodeError, match="truncated|empty|not an image|it does not"):
            _core.decode_image(data[:length])


def test_bit_flips_never_crash_and_sizes_hold(rng):
    image = Image.fromarray(smooth_image(rng, 19, 23))
    sources = [
        encode(image, format="JPEG", quality=70),
        encode(image, format="JPEG", quality=70, progressive=True, restart_marker_blocks=2),
        encode(image.convert("CMYK"), format="JPEG"),
        encode(image, format="PNG"),
        png(23, 19, 8, 2, adam7(np.asarray(image)), interlace=1),
        encode(image.quantize(5), format="PNG", transparency=1),
    ]
    outcomes = {True: 0, False: 0}
    for data in sources:
        for _ in range(700):
            broken = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                broken[at] ^= 1 << rng.integers(0, 8)
            pipeline = ("keras", "pil", "fast")[rng.integers(3)]
            try:
                got = _core.decode_image(bytes(broken), pipeline=pipeline, max_pixels=1 << 20)
            except (_core.DecodeError, MemoryError):
                outcomes[False] += 1
            else:
                assert got.ndim == 3 and got.shape[2] == 3 and 0 < got.size <= 3 << 20
                outcomes[True] += 1
    assert min(outcomes.values()) > 100  # the flips reach both outcomes


def test_png_checksums_count(picture):
    data = bytearray(encode(picture, format="PNG"))
    at = data.index(b"IDAT") + 40
    data[at] ^= 255
    with pytest.raises(_core.DecodeError, match="damaged PNG: "):
        _core.decode_image(bytes(data))


def test_huge_png_header_is_refused_at_once():
    data = png(100_000, 100_000, 8, 2, b"\0" * 1000)
    started = time.monotonic()
    with pytest.raises(_core.DecodeError) as caught:
        _core.decode_image(data)
    assert str(caught.value) == (
        "100000 x 100000 pixels are more than the limit of 178956970 pixels for one image; "
        "make it smaller"
    )
    with pytest.raises(_core.DecodeError, match="more than the limit"):
        _core.image_info(data)
    with pytest.raises(_core.DecodeError, match="more than the limit"):
        _core.decode_image(png(0x7FFFFFFF, 0x7FFFFFFF, 16, 6, b""))
    with pytest.raises(_core.DecodeError, match="0 x 5 pixels"):
        _core.decode_image(png(0, 5, 8, 2, b"\0" * 5))
    assert time.monotonic() - started < 1


def test_header_that_promises_too_much():
    data = png(10_000, 10_000, 8, 2, b"")
    with pytest.raises(_core.DecodeError, match="promises 10000 x 10000 pixels, but the file has"):
        _core.decode_image(data)


def test_huge_jpeg_header_is_refused():
    image = bytearray(encode(Image.new("RGB", (8, 8)), format="JPEG"))
    at = image.index(b"\xff\xc0") + 5
    image[at : at + 4] = struct.pack(">HH", 60000, 60000)
    with pytest.raises(_core.DecodeError, match="60000 x 60000 pixels are more than the limit"):
        _core.decode_image(bytes(image))
    image[at : at + 4] = struct.pack(">HH", 65535, 65535)
    with pytest.raises(_core.DecodeError):
        _core.decode_image(bytes(image))
    image[at : at + 4] = struct.pack(">HH", 0, 8)
    with pytest.raises(_core.DecodeError):
        _core.decode_image(bytes(image))


def test_max_pixels(picture):
    data = encode(picture, format="JPEG")
    assert _core.decode_image(data, max_pixels=62 * 45).shape == (45, 62, 3)
    with pytest.raises(_core.DecodeError, match="62 x 45 pixels are more than the limit of 2789"):
        _core.decode_image(data, max_pixels=62 * 45 - 1)


def test_scan_bomb_is_refused(picture):
    data = encode(picture, format="JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert _core.decode_image(data[:-2] + scan * 3 + data[-2:]).shape == (45, 62, 3)
    with pytest.raises(_core.DecodeError, match="more than 100 scans"):
        _core.decode_image(data[:-2] + scan * 200 + data[-2:])


def test_unsupported_jpegs(picture):
    twelve = bytearray(encode(picture, format="JPEG"))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(_core.DecodeError, match="precision 12"):
        _core.decode_image(bytes(twelve))
    lossless = bytearray(encode(picture, format="JPEG"))
    lossless[lossless.index(b"\xff\xc0") + 1] = 0xC3
    with pytest.raises(_core.DecodeError, match="Unsupported JPEG process"):
        _core.decode_image(bytes(lossless))


def test_small_damage_decodes_as_in_pillow(picture):
    """Bytes between markers and a damaged block are warnings of libjpeg, to TensorFlow as well."""
    data = encode(picture, format="JPEG", quality=90)
    at = data.index(b"\xff\xdb")
    junk = data[:at] + b"\0junk" + data[at:]
    np.testing.assert_array_equal(_core.decode_image(junk), _core.decode_image(data))


def test_nothing_reaches_standard_error(picture, capfd):
    data = encode(picture, format="JPEG", quality=90)
    at = data.index(b"\xff\xdb")
    _core.decode_image(data[:at] + b"\0junk" + data[at:])
    for broken in (data[:200], b"\xff\xd8\xff" + bytes(50), encode(picture, format="PNG")[:80]):
        with pytest.raises(_core.DecodeError):
            _core.decode_image(broken)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"GIF89a" + bytes(20), "unsupported format: GIF; convert to JPEG or PNG"),
        (b"BM" + bytes(60), "unsupported format: BMP; convert to JPEG or PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "unsupported format: WebP; convert to JPEG or PNG"),
        (b"II*\0" + bytes(8), "unsupported format: TIFF; convert to JPEG or PNG"),
        (b"<html>", "not an image: neither JPEG nor PNG (it starts with 3c 68 74 6d 6c 3e)"),
        (b"\xff\xd8", "not an image: neither JPEG nor PNG (it starts with ff d8)"),
    ],
)
def test_not_an_image(tmp_path, data, text):
    with pytest.raises(_core.DecodeError) as caught:
        _core.decode_image(data)
    assert str(caught.value) == text
    if data:
        path = tmp_path / "x.jpg"
        path.write_bytes(data)
        with pytest.raises(_core.DecodeError) as caught:
            _core.decode_image(path)
        assert str(caught.value) == f"cannot decode '{path}': {text}"


def test_files_that_are_none(tmp_path):
    pipe, empty = tmp_path / "x.jpg", tmp_path / "empty.png"
    os.mkfifo(pipe)
    empty.touch()
    with pytest.raises(_core.DecodeError, match="x.jpg' is not an image file: it is a named pipe"):
        _core.decode_image(pipe)
    with pytest.raises(_core.DecodeError, match="empty.png' is empty"):
        _core.decode_image(empty)
    with pytest.raises(_core.DecodeError, match="it is a directory"):
        _core.decode_image(tmp_path)
    with pytest.raises(_core.DecodeError, match="it is a device"):
        _core.decode_image("/dev/zero")
    with pytest.raises(FileNotFoundError, match="cannot open '.*gone.jpg'") as caught:
        _core.decode_image(tmp_path / "gone.jpg")
    assert caught.value.errno == 2
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="loop.jpg"):
        _core.decode_image(loop)
    huge = tmp_path / "huge.jpg"
    with open(huge, "wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(_core.DecodeError, match="too large for an image file: 1073741825 bytes"):
        _core.decode_image(huge)


@pytest.mark.skipif(os.getuid() == 0 and not hasattr(os, "fork"), reason="needs another user")
def test_unreadable_file(tmp_path, picture):
    """Run in a child without privileges: root may read everything."""
    path = tmp_path / "secret.jpg"
    path.write_bytes(encode(picture, format="JPEG"))
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)
        if folder.name.startswith("pytest-of"):
            break
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            _core.decode_image(path)
            answer = "read"
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    assert answer.startswith("PermissionError: ") and "secret.jpg" in answer


def test_strange_names(tmp_path, picture):
    data = encode(picture, format="PNG")
    for name in (b"caf\xc3\xa9.png", b"caf\xe9.png", b"new\nline.png", b"a" * 251 + b".png"):
        path = os.fsencode(tmp_path) + b"/" + name
        with open(path, "wb") as file:
            file.write(data)
        assert _core.decode_image(os.fsdecode(path)).shape == (45, 62, 3)
        with open(path, "wb") as file:
            file.write(b"\x1b[31mnot an image")
        with pytest.raises(_core.DecodeError) as caught:
            _core.decode_image(os.fsdecode(path))
        text = str(caught.value)
        assert text.isprintable() and text.encode()
    with pytest.raises(OSError, match=r"cannot open '\.\.\.a{400}.*too long"):
        _core.decode_image("/" + "b" * 300 + "a" * 4000)


def test_wrong_arguments(picture):
    data = encode(picture, format="PNG")
    with pytest.raises(ValueError, match=r"channels=2 is not possible; allowed: 1 \(gray\), 3"):
        _core.decode_image(data, channels=2)
    with pytest.raises(ValueError, match="pipeline='kears' is not known"):
        _core.decode_image(data, pipeline="kears")
    with pytest.raises(TypeError):
        _core.decode_image(5)
    with pytest.raises(TypeError):
        _core.decode_image(data, chanels=3)
