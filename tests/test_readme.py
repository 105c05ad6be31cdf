"""README.md: its two commands start alike, its example runs as it stands there."""

import os
import re
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT

README = ROOT / "README.md"
WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
MAKE_WEIGHTS = """
import sys
sys.path.insert(0, {benchmarks!r})
import networks
from tlfast import keras
base = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(224, 224, 3))
networks.fill(base)
base.save({target!r})
"""


def command(name):
    return runpy.run_path(str(ROOT / ".ci" / "readme_command.py"))["readme_command"](name)


def test_commands_differ_only_after_the_environment():
    demo, tests = command("demo").split(" && "), command("tests").split(" && ")
    assert demo[:-2] == tests[:-2] and demo[-3] == "python3 -m venv .venv"
    assert demo[-2:] == [".venv/bin/pip install '.[demo]'", ".venv/bin/tlfast demo"]
    assert tests[-2:] == [".venv/bin/pip install -e '.[test]'", ".venv/bin/pytest"]


def test_the_package_list_is_that_of_the_build_errors():
    packages = re.search(r"apt-get install -y ([^&]*?) python3-venv", command("demo"))[1]
    assert f'INSTALL = "{packages}"' in (ROOT / "setup.py").read_text()


@pytest.mark.slow
def test_example(image_tree, tmp_path):
    for part, count in (("train", 6), ("test", 3)):
        image_tree(("beach", "wood"), count, (90, 120), folder=f"photos/{part}")
    weights = tmp_path / "weights"
    weights.mkdir()
    code = MAKE_WEIGHTS.format(benchmarks=str(ROOT / "benchmarks"), target=str(weights / WEIGHTS))
    example = re.search(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)[1]
    environment = {**os.environ, "TLFAST_OFFLINE": "1", "TLFAST_WEIGHTS_DIR": str(weights)}
    for source in (code, example):
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert "Found 12 files belonging to 2 classes." in done.stdout
    assert "Epoch 10/10" in done.stdout and "val_accuracy" in done.stdout
    assert re.fullmatch(r"\[[01]( [01]){5}\]", done.stdout.splitlines()[-1]), done.stdout
    assert (tmp_path / "photos.keras").stat().st_size > 8_000_000
