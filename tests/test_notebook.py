"""Every notebook runs from top to bottom on a small folder, in a process of its own."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "01_hot_dog.ipynb"
FROZEN_OR_NOT = ROOT / "notebooks" / "02_frozen_or_not.ipynb"
WEIGHTS = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
MAKE_WEIGHTS = """
import sys
sys.path.insert(0, {benchmarks!r})
import networks
from tlfast import keras
base = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(224, 224, 3))
networks.fill(base)
base.save({target!r})
"""


def run(code_or_file, cwd, **environment):
    command = [sys.executable, *code_or_file]
    environment = {**os.environ, "TLFAST_OFFLINE": "1", **environment}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_hot_dog(image_tree, tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        image_tree(("hot_dog", "not_hot_dog"), count, (120, 160), folder=f"hot_dog_data/{part}")
    (tmp_path / "weights").mkdir()
    target = str(tmp_path / "weights" / WEIGHTS)
    run(["-c", MAKE_WEIGHTS.format(benchmarks=str(ROOT / "benchmarks"), target=target)], tmp_path)
    words = [str(ROOT / "notebooks" / "execute.py"), str(NOTEBOOK), "--folder", str(tmp_path)]
    printed = run(words, tmp_path, TLFAST_WEIGHTS_DIR=str(tmp_path / "weights"))
    assert "Found 8 images belonging to 2 classes." in printed
    assert "{'hot_dog': 0, 'not_hot_dog': 1}" in printed
    assert printed.count("Epoch ") == 5 and "val_accuracy" in printed
    assert re.search(r"loss \d+\.\d{3}, accuracy [01]\.\d{3}", printed)
    assert printed.rstrip().endswith("True")


@pytest.mark.slow
def test_frozen_or_not(image_tree, tmp_path):
    image_tree(("beach", "wood"), 12, (100, 110), folder="photos")
    words = [str(ROOT / "notebooks" / "execute.py"), str(FROZEN_OR_NOT), "--folder", str(tmp_path)]
    printed = run(words, tmp_path)
    assert "train: 14 images (7 beach, 7 wood)" in printed
    assert "EfficientNetLite0, unfrozen, Adam" in printed and "after Holm" in printed
    assert "\nTrue\n" in printed  # the same call again
    assert re.search(r"\d+% of 6 test images", printed)
    assert "2 epochs of all layers: learning rate 0.0005 in the head" in printed


@pytest.mark.parametrize(("notebook", "shown"), [(NOTEBOOK, 7), (FROZEN_OR_NOT, 6)])
def test_the_outputs_kept_are_those_of_these_cells(notebook, shown):
    """Every code cell that prints was run, in order."""
    cells = json.loads(notebook.read_text())["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert sum(bool(cell.get("outputs")) for cell in cells) >= shown
