"""Writes files/release-VERSION.zip with the tlfast installed: the files that version leaves behind.

Run once for every release, `python tests/files/make_release_files.py`; a stored archive is never
written again. test_release_files.py loads what is in all of them.
"""

import io
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import file_cases as cases
import numpy as np
from PIL import Image
from reference import formula

import tlfast
from tlfast import keras

HERE = Path(__file__).parent
NAMES = ("ant", "bee", "cat", "dog")
SIDE = 32


def photos(folder: Path) -> None:
    """Four images in each of four classes."""
    for index, picture in enumerate(formula.photos(16, SIDE, SIDE, seed=5)):
        place = folder / NAMES[index % 4]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(place / f"{index:02d}.png")


def write(top: Path) -> None:
    """All four files of a model trained on images, and what it says of one of them."""
    photos(top / "images")
    data = keras.utils.image_dataset_from_directory(
        top / "images", label_mode="categorical", image_size=(SIDE, SIDE), batch_size=8, seed=1
    )
    case = "augmented"
    model = cases.build(keras, case)
    cases.compile_model(keras, model, case)
    model.fit(data, epochs=2, verbose=0)
    for name in ("m.keras", "m.h5"):
        model.save(top / name)
    for name in ("w.weights.h5", "w_legacy.h5"):
        model.save_weights(top / name)
    photo = top / "images" / "ant" / "00.png"
    found = cases.describe(model, case)
    np.savez(top / "wanted.npz", answer=model.predict(photo, verbose=0).scores, **found)
    (top / "photo.png").write_bytes(photo.read_bytes())


def main() -> None:
    target = HERE / f"release-{tlfast.__version__}.zip"
    if target.exists():
        sys.exit(f"{target} is there; the files of a release are written once")
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(Path(folder).iterdir()):
                if path.is_file():
                    archive.write(path, path.name)
    target.write_bytes(content.getvalue())


if __name__ == "__main__":
    main()
