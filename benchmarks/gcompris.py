"""Photographs in four classes out of Debian's package gcompris-qt-data, without Qt.

    apt-get download gcompris-qt-data && dpkg-deb -x gcompris-qt-data*.deb DIR

28 fishes, 39 tools, 76 monuments, 29 wind, solar and water power plants: WebP files inside Qt
resource files (*.rcc) below DIR/usr/share/gcompris-qt/rcc. Licences: the package's copyright file.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

# Class, resource file, part of the path inside it.
SOURCES = (
    ("fish", "categorization", "/images/fishes/"),
    ("tool", "categorization", "/images/tools/"),
    ("power_plant", "categorization", "/images/renewable/"),
    ("monument", "categorization", "/images/monuments/"),
    ("monument", "explore_monuments", "/resource/"),
)
_FOLDER, _COMPRESSED, _ZSTD = 2, 1, 4  # flags of a node


def resource_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of the files in a Qt resource file, as rcc of Qt 5 and 6 writes it."""
    data = path.read_bytes()
    if data[:4] != b"qres":
        raise ValueError(f"{path}: not a Qt resource file")
    version, tree, contents, names = struct.unpack(">IIII", data[4:20])
    node_size = 14 if version < 2 else 22

    def name(at: int) -> str:
        (length,) = struct.unpack(">H", data[names + at : names + at + 2])
        return data[names + at + 6 : names + at + 6 + 2 * length].decode("utf-16-be")

    def walk(node: int, above: str) -> Iterator[tuple[str, bytes]]:
        at = tree + node * node_size
        name_at, flags = struct.unpack(">IH", data[at : at + 6])
        place = f"{above}/{name(name_at)}" if node else ""
        if flags & _FOLDER:
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child, place)
        elif not flags & _ZSTD:
            start = contents + struct.unpack(">I", data[at + 10 : at + 14])[0]
            (length,) = struct.unpack(">I", data[start : start + 4])
            found = data[start + 4 : start + 4 + length]
            yield place, zlib.decompress(found[4:]) if flags & _COMPRESSED else found

    return walk(0, "")


def make_folders(rcc: Path, target: Path) -> Path:
    """Write target/train/<class> and target/test/<class> (every fourth file) as JPEG files.

    Args:
        rcc: the folder with the resource files.
        target: the folder to make.
    """
    from PIL import Image

    found: dict[str, list[tuple[str, bytes]]] = {}
    for label, file, part in SOURCES:
        for place, content in resource_files(rcc / f"{file}.rcc"):
            if part in place and content[:4] == b"RIFF" and content[8:12] == b"WEBP":
                found.setdefault(label, []).append((place, content))
    for label, files in sorted(found.items()):
        for number, (place, content) in enumerate(sorted(files)):
            folder = target / ("test" if number % 4 == 3 else "train") / label
            folder.mkdir(parents=True, exist_ok=True)
            stem = "_".join(place.split("/")[-2:]).rsplit(".", 1)[0]
            image = Image.open(io.BytesIO(content)).convert("RGB")
            image.save(folder / f"{stem}.jpg", quality=92)
    return target
