"""`tlfast port`: import lines, what is missing, traps; in scripts and notebooks."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import script_folder
from conftest import ROOT

import tlfast
from tlfast import _port_traps
from tlfast._port_script import Script
from tlfast._port_source import Source
from tlfast.cli import main

FOLDER = ROOT / "tests" / "scripts"
# The traps planted in each script: the kind, a part of the line it is in, a part of what to write.
PLANTED = {
    "augmentation_layers": [],
    "head_selection": [
        ("always true", 'or "MobileNet"', 'head in ("mobilenet", "MobileNet")'),
        ("preprocessing", "MobileNetV2(include_top", "mobilenet_v2.preprocess_input(inputs)"),
    ],
    "keras2_spellings": [],
    "lambda_preprocess": [
        ("class order", "os.listdir", "class_names = sorted(os.listdir(TRAIN_DIR))")
    ],
    "map_fine_tuning": [],
    "raw_pixels": [("preprocessing", "MobileNetV2(", "mobilenet_v2.preprocess_input(inputs)")],
    "rescale_generator": [
        ("preprocessing", "rescale=1./255", "mobilenet_v2.preprocess_input) instead of `rescale=")
    ],
    "unfreezing_without_compile": [
        ("output", "from_logits=True", "loss=keras.losses.SparseCategoricalCrossentropy()"),
        ("freezing", "layer.trainable = True", "model.compile( optimizer=keras.optimizers.SGD("),
    ],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder of photos and weights, with the scripts in it."""
    top = tmp_path_factory.mktemp("project")
    script_folder.make(top)
    for path in FOLDER.glob("*.py"):
        shutil.copy(path, top)
    return top


def traps(text: str, path) -> list[_port_traps.Trap]:
    path.write_text(text)
    source = Source(str(path))
    return _port_traps.traps(Script(source.tree(), source.text))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_the_planted_traps(name, tmp_path, capsys):
    path = FOLDER / f"{name}.py"
    lines = path.read_text().splitlines()
    found = traps(path.read_text(), tmp_path / "script.py")
    assert [trap.kind for trap in found] == [kind for kind, _, _ in PLANTED[name]]
    for trap, (_, part, write) in zip(found, PLANTED[name], strict=True):
        assert part in lines[trap.line - 1]
        assert write in trap.write
    assert main(["port", str(path)]) == 0  # nothing is missing: they run
    printed = capsys.readouterr().out
    assert printed.count("Write: ") == len(found)
    assert "lacks" not in printed


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_only_import_lines_change(name, tmp_path):
    path = tmp_path / f"{name}.py"
    shutil.copy(FOLDER / path.name, path)
    old = path.read_bytes()
    assert main(["port", "--write", str(path)]) == 0
    assert path.with_suffix(".py.bak").read_bytes() == old
    changed = [
        (a, b)
        for a, b in zip(old.decode().splitlines(), path.read_text().splitlines(), strict=True)
        if a != b
    ]
    assert changed
    for before, after in changed:
        assert re.match(r"(import|from) (tensorflow|keras)", before), before
        assert re.match(r"(import|from) tlfast", after), after
    path.with_suffix(".py.bak").unlink()
    assert main(["port", "--write", str(path)]) == 0  # nothing left to change
    assert not path.with_suffix(".py.bak").exists()


@pytest.mark.parametrize("name", ["lambda_preprocess", "rescale_generator"])
def test_a_ported_script_runs(name, project, tmp_path):
    shutil.copy(FOLDER / f"{name}.py", tmp_path)
    assert main(["port", "--write", str(tmp_path / f"{name}.py")]) == 0
    done = subprocess.run(
        [sys.executable, str(tmp_path / f"{name}.py")], cwd=project, capture_output=True, text=True,
        env=script_folder.environment(project, dict(os.environ)))  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("old", "new"), [
    ("import tensorflow as tf", "import tlfast as tf"),
    ("import tensorflow", "import tlfast as tensorflow"),
    ("import os, tensorflow.keras as k  # é", "import os, tlfast.keras as k  # é"),
    ("é = 1; import tensorflow as tf", "é = 1; import tlfast as tf"),
    ("import tensorflow.keras.layers", "import tlfast as tensorflow"),
    ("import keras", "import tlfast.keras as keras"),
    ("import keras.backend as K", "import tlfast.keras.backend as K"),
    ("from tensorflow import keras", "from tlfast import keras"),
    ("from keras import layers, models", "from tlfast.keras import layers, models"),
    ("from tensorflow.keras.layers import (  # all\n    Dense,\n)",
     "from tlfast.keras.layers import (  # all\n    Dense,\n)"),
    ("try:\n\tfrom  keras.models import Model\nexcept ImportError:\n\traise",
     "try:\n\tfrom  tlfast.keras.models import Model\nexcept ImportError:\n\traise"),
    ("from \\\n  keras.layers import Dense", "from \\\n  tlfast.keras.layers import Dense"),
    ("import keras_tuner\nfrom .keras import x\nx = 'import keras'", None),
])  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_import_lines(old, new, end, tmp_path):
    path = tmp_path / "script.py"
    path.write_bytes((old.replace("\n", end or "\n") + end).encode())
    main(["port", "--write", str(path)])
    want = (new or old).replace("\n", end or "\n") + end
    assert path.read_bytes() == want.encode()
    if new is not None:
        compile(want, "script.py", "exec")


MISSING = """import tensorflow as tf
from tensorflow.keras.layers import Dense, LSTM
from tensorflow.keras import layers as L, quantizers
quantizers.get("abs_max")
gen = tf.keras.preprocessing.image.ImageDataGenerator(zca_whitening=True)
train = gen.flow_from_dataframe(table)
layers = tf.keras.layers
x = layers.Dens(3)
Dense(3, activation="reluu", name=unknown)
model = tf.keras.Sequential([L.Conv3D(3, 3)])
model.export("x")
model.summary(lines=3)
base = tf.keras.applications.ResNet50(weight=None)
ds = tf.keras.utils.image_dataset_from_directory("photos").cache().interleave(f)
tf.data.Dataset.list_files("*")
for image in tf.image.resize(x, (3, 3)):
    image.load()
"""


def test_what_is_missing(tmp_path, capsys):
    path = tmp_path / "script.py"
    path.write_text(MISSING)
    assert main(["port", str(path)]) == 1
    printed = capsys.readouterr().out.partition("\nTraps")[0]
    assert "tlfast lacks 13 of the names and calls in it:" in printed
    found = re.findall(r"script\.py:(\d+): ([\w.]+)(?:\(\.\.\.\))?: ", printed)
    assert [(int(line), name) for line, name in found] == [
        (2, "tensorflow.keras.layers.LSTM"), (3, "tensorflow.keras.quantizers"),
        (5, "tf.keras.preprocessing.image.ImageDataGenerator"),
        (6, "ImageDataGenerator.flow_from_dataframe"), (8, "tensorflow.keras.layers.Dens"),
        (9, "Dense"), (10, "tensorflow.keras.layers.Conv3D"), (11, "Model.export"),
        (12, "Model.summary"), (13, "tf.keras.applications.ResNet50"), (14, "Dataset.interleave"),
        (15, "tensorflow.data.Dataset.list_files"), (16, "tensorflow.image"),
    ]  # fmt: skip
    assert "Did you mean 'Dense'?" in printed and "reluu" in printed


def test_arguments_known_only_when_the_script_runs(tmp_path, capsys):
    path = tmp_path / "script.py"
    path.write_text(
        "from keras import layers\nn = int(input())\nlayers.Dense(units=n)\n"
        "layers.Conv2D(filters=n, kernel_size=n)\n"
    )
    assert main(["port", str(path)]) == 0
    assert "lacks" not in capsys.readouterr().out


HEAD = "from tensorflow import keras\nbase = keras.applications.{}(weights='imagenet')\n"


@pytest.mark.parametrize(("text", "kinds"), [
    # Preparation that is right, or that cannot be judged.
    (HEAD.format("ResNet50") + "f = keras.applications.resnet50.preprocess_input", []),
    (HEAD.format("ResNet50") + "f = keras.applications.resnet.preprocess_input", []),
    (HEAD.format("Xception") + "x = keras.layers.Rescaling(1./127.5, offset=-1)", []),
    (HEAD.format("Xception") + "x = x / 127.5 - 1.0", []),
    (HEAD.format("Xception") + "x /= 127.5\nx -= 1", []),
    (HEAD.format("EfficientNetB0"), []),
    (HEAD.format("EfficientNetB0") + "f = keras.applications.efficientnet.preprocess_input", []),
    (HEAD.format("VGG16") + "x = keras.layers.Normalization()(x)", []),
    (HEAD.format("VGG16").replace("'imagenet'", "None"), []),
    (HEAD.format("VGG16").replace("'imagenet'", "'imagenet', include_preprocessing=True"), []),
    # Preparation that is wrong.
    (HEAD.format("VGG16"), ["preprocessing"]),
    (HEAD.format("EfficientNetB0") + "x = x / 255.0", ["preprocessing"]),
    (HEAD.format("VGG16") + "f = keras.applications.xception.preprocess_input", ["preprocessing"]),
    (HEAD.format("VGG16") + "SCALE = 1 / 255\nx = keras.layers.Rescaling(SCALE)",
     ["preprocessing"]),
    (HEAD.format("VGG16") + "f = keras.applications.vgg16.preprocess_input\n"
     "g = keras.preprocessing.image.ImageDataGenerator(rescale=1/255., preprocessing_function=f)",
     ["preprocessing"]),
    # Conditions.
    ("name = given or 'b'", []),
    ("if a == 'x' or a == 'y': pass", []),
    ("if a == 'x' or 'y': pass", ["always true"]),
    ("while not (a or 1): pass", ["always true"]),
    # Freezing.
    ("m.compile('sgd', 'mse')\nb.trainable = True\nm.compile('sgd', 'mse')\nm.fit(x)", []),
    ("b.trainable = True\nm.compile('sgd', 'mse')\nm.fit(x)", []),
    ("def f(m):\n    m.compile('sgd', 'mse')\n    for l in m.layers:\n        l.trainable = True\n"
     "    with s:\n        m.fit(x)", ["freezing"]),
    ("base.training = False", ["freezing"]),
    # Class order.
    ("import os\nclasses = os.listdir('x')\nclasses.sort()", []),
    ("import os\nclasses = sorted(os.listdir('x'))\nn = len(os.listdir('x'))", []),
    ("import os\nfiles = os.listdir('x')", []),
    ("for i, c in enumerate(path.iterdir()): label[c] = i", ["class order"]),
    ("labels = list(map(str, path.glob('*')))", ["class order"]),
    # Output and loss.
    ("from keras.layers import Dense\nDense(2, activation='softmax')\n"
     "m.compile('sgd', loss='binary_crossentropy')", ["output"]),
    ("from keras.layers import Dense\nDense(1, 'softmax')\nm.compile('sgd', 'mse')", ["output"]),
    ("from keras.layers import Dense\nDense(1, 'sigmoid')\n"
     "m.compile(loss='categorical_crossentropy')", ["output"]),
    ("from keras.layers import Dense\nDense(1, 'sigmoid')\n"
     "m.compile(loss='binary_crossentropy')", []),
])  # fmt: skip
def test_traps(text, kinds, tmp_path):
    assert [trap.kind for trap in traps(text + "\n", tmp_path / "script.py")] == kinds


# ---- notebooks and files -------------------------------------------------------------------------


def notebook(*cells, **layout):
    made = [{"cell_type": "markdown", "metadata": {}, "source": ["import keras\n"]}]
    for text in cells:
        made.append({
            "cell_type": "code", "execution_count": 1, "metadata": {},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["ä\n"]}],
            "source": text if layout.get("text") else text.splitlines(keepends=True),
        })  # fmt: skip
    content = {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=layout.get("indent", 1), ensure_ascii=False) + "\n"


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"text": True}])
def test_notebooks(layout, tmp_path, capsys):
    cells = (
        "%matplotlib inline\n!pip install tensorflow\nimport tensorflow as tf",
        "%%bash\nimport keras",
        "base = tf.keras.applications.VGG16()\ntf.keras.layers.LSTM(3)\nbase.layers?",
    )
    path = tmp_path / "a.ipynb"
    path.write_text(notebook(*cells, **layout))
    assert main(["port", str(path), "--write"]) == 1
    printed = capsys.readouterr().out
    assert "-import tensorflow as tf\n" in printed and "+import tlfast as tf\n" in printed
    assert "a.ipynb, cell 3:2: tensorflow.keras.layers.LSTM" in printed
    assert "a.ipynb, cell 3:1: preprocessing: pixels 0 to 255 go in as they are" in printed
    new = cells[0].replace("import tensorflow as", "import tlfast as")
    assert path.read_text() == notebook(new, *cells[1:], **layout)


def test_a_backup_is_not_overwritten(tmp_path, capsys):
    path = tmp_path / "a.py"
    path.write_text("import keras\n")
    (tmp_path / "a.py.bak").write_text("mine")
    assert main(["port", str(path), "--write"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == "import keras\n"
    assert (tmp_path / "a.py.bak").read_text() == "mine"


@pytest.mark.parametrize(("name", "content", "text"), [
    ("a.py", "print 'x'\n", r"a\.py:1: not Python 3: Missing parentheses"),
    ("a.py", b"\xff\xfe\x00", "is no Python text"),
    ("a.ipynb", "{}", "is no notebook"),
    ("a.txt", "", "neither .py nor .ipynb"),
    ("none.py", None, "cannot read .*No such file"),
])  # fmt: skip
def test_files_that_cannot_be_ported(name, content, text, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["port", str(tmp_path / name)]) == 1
    assert re.search(text, capsys.readouterr().err)


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_shows_what_the_commands_print(project):
    """Each `console` block of docs/keras-scripts.md: the command gives the output below it."""
    page = (ROOT / "docs" / "keras-scripts.md").read_text()
    blocks = re.findall(r"```console\n\$ tlfast (.*)\n((?:.*\n)*?)```", page)
    assert [command.split()[0] for command, _ in blocks] == ["run", "run", "port", "port"]
    (project / "sequence.py").write_text(re.search(r"```python\n((?:.*\n)*?)```", page)[1])
    for command, shown in blocks:
        done = subprocess.run(
            [sys.executable, "-m", "tlfast", *command.split()], cwd=project, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=script_folder.environment(project, {**os.environ, "PYTHONUNBUFFERED": "1"}),
        )  # fmt: skip
        printed = done.stdout.replace(str(project) + os.sep, "")
        shown = re.sub(r"tlfast [\d.]+ serves", f"tlfast {tlfast.__version__} serves", shown)
        pattern = r"(?:.*\n)*".join(map(re.escape, shown.split("...\n")))
        assert re.fullmatch(pattern, printed), f"{command}\n{printed}"
