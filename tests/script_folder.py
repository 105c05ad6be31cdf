"""The folder that the scripts of tests/scripts run in: photos, and weights of the official name."""

import numpy as np
from official_weights import official_file
from PIL import Image
from reference import formula

SIZE = 96


def make(top) -> None:
    """Fill `top` with photos/train, photos/test (cats and dogs) and weights/."""
    from tlfast import applications
    from tlfast.weights.catalog import weight_file

    for part, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(("cats", "dogs")):
            folder = top / "photos" / part / name
            folder.mkdir(parents=True)
            for number, photo in enumerate(formula.photos(count, 120, 100 + 7 * label, label + 1)):
                photo = photo // 2 + np.array([[100, 20, 0], [0, 40, 100]][label])
                Image.fromarray(photo.astype(np.uint8)).save(folder / f"{number}.jpg", quality=92)
    shape = (SIZE, SIZE, 3)
    model = applications.MobileNetV2(
        weights=None, include_top=False, alpha=0.35, input_shape=shape
    )
    formula.fill(model, "MobileNetV2")
    (top / "weights").mkdir()
    official_file(top / "weights" / weight_file("MobileNetV2", False, 0.35, SIZE).name, model)


def environment(top, others: dict[str, str]) -> dict[str, str]:
    """Variables under which networks find the weights and nothing asks the network."""
    return {**others, "TLFAST_WEIGHTS_DIR": str(top / "weights"), "TLFAST_OFFLINE": "1"}
