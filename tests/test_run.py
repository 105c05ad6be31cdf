"""`tlfast run` and `%load_ext tlfast`: scripts for TensorFlow run unchanged."""

import os
import re
import subprocess
import sys

import pytest
import script_folder
from conftest import ROOT, peer_python

SCRIPTS = sorted((ROOT / "tests" / "scripts").glob("*.py"))
SERVES = re.compile(r"tlfast \S+ serves tensorflow, tensorflow.keras and keras in this process\n")
# What each script prints when it has done what it is for.
PRINTED = {
    "augmentation_layers": r"augmented: \(4, 96, 96, 3\)\n(.|\n)*loss \d\.\d{3}, accuracy",
    "head_selection": r"\['--epochs', '2'\] epochs: 2 layers: 156",
    "keras2_spellings": r"val_acc: [\d.]+\n(.|\n)*\(4, 2\) True",
    "lambda_preprocess": r"\[\[\d \d\]\n \[\d \d\]\]",
    "map_fine_tuning": r"layers in the base model: 154\ntrainable variables: \d+\n(.|\n)*epochs: 2",
    "raw_pixels": r"\['cats', 'dogs'\]\n((cats|dogs)\n){4}(.|\n)*predictions: \[\d \d \d \d\]\n",
    "rescale_generator": r"\['accuracy', 'loss', 'val_accuracy', 'val_loss'\](.|\n)*it is a ",
    "unfreezing_without_compile": r"trainable: \d+",
}
ARGUMENTS = {"head_selection": ["--epochs", "2"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("scripts")
    script_folder.make(top)
    return top


def start(command, cwd, **variables):
    environment = script_folder.environment(cwd, {**os.environ, **variables})
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def tlfast_run(words, cwd, **variables):
    """`tlfast run WORDS`; its one line is taken off the errors."""
    done = start([sys.executable, "-m", "tlfast", "run", *words], cwd, **variables)
    assert len(SERVES.findall(done.stderr)) == 1, done.stderr
    done.stderr = SERVES.sub("", done.stderr)
    return done


# ---- whole scripts -------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_run_unchanged(script, folder):
    done = tlfast_run([str(script), *ARGUMENTS.get(script.stem, [])], folder)
    assert done.returncode == 0, done.stderr
    assert re.search(PRINTED[script.stem], done.stdout), done.stdout
    pixels = script.stem in ("head_selection", "raw_pixels", "rescale_generator")
    assert ("InputRangeWarning" in done.stderr) is pixels, done.stderr
    old = script.stem == "keras2_spellings"
    assert ("DeprecationWarning: `optimizers.adam_v2`" in done.stderr) is old, done.stderr
    if script.stem == "raw_pixels":
        assert (folder / "batch.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.peer("keras")
@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if s.stem != "keras2_spellings"], ids=lambda path: path.stem
)
def test_they_are_scripts_for_keras(script, folder, tmp_path):
    """The same text, but for the weights, which Keras would fetch."""
    text = script.read_text().replace('weights="imagenet"', "weights=None")
    (tmp_path / script.name).write_text(text)
    command = [peer_python("keras"), str(tmp_path / script.name), *ARGUMENTS.get(script.stem, [])]
    done = start(command, folder, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode == 0, done.stderr
    printed = re.sub(r"\x1b\[[0-9;]*m|.*\x08+", "", done.stdout)
    assert re.search(PRINTED[script.stem], printed), printed


# ---- as python script.py -------------------------------------------------------------------------

SURROUNDINGS = """
import sys
import helper
print(sys.argv, __name__, __file__, sys.path[0], __doc__, __spec__)
print(sys.modules["__main__"].__dict__ is globals(), helper.name, __builtins__)
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "helper.py").write_text("name = __name__\n")
    return tmp_path


def both(place, text, *arguments, stdin=None):
    """The script under tlfast and under Python."""
    (place / "inner" / "script.py").write_text(text)
    words = ["inner/script.py", *arguments]
    return tlfast_run(words, place), start([sys.executable, *words], place)


@pytest.mark.parametrize("text", [
    SURROUNDINGS,
    "import sys\nsys.exit(3)",
    "import sys\nsys.exit('no photos')",
    "raise SystemExit",
    "def f():\n    open('missing.txt')\n\nprint(1)\nf()\n",
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise KeyError('a')",
    "x = = 1",
    "raise KeyboardInterrupt",
    "import atexit\natexit.register(print, 'end')\nprint('start')",
], ids=["names", "status", "text", "exit", "traceback", "chained", "syntax", "ctrl-c", "atexit"]
)  # fmt: skip
def test_everything_is_as_under_python(place, text):
    ours, theirs = both(place, text, "--epochs", "3", "-m", "--", "x")
    assert ours.stdout == theirs.stdout
    assert ours.stderr == theirs.stderr
    # Python ends itself by the signal, which shells show as 130.
    assert ours.returncode == (130 if "Interrupt" in text else theirs.returncode)


def test_modules(place):
    package = place / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys\nprint(sys.argv, __name__, sys.path[0])\n")
    ours = tlfast_run(["-m", "package", "--fast"], place)
    theirs = start([sys.executable, "-m", "package", "--fast"], place)
    assert ours.stdout == theirs.stdout and "__main__" in ours.stdout
    assert ours.returncode == 0 == theirs.returncode


def test_a_missing_script(tmp_path):
    done = start([sys.executable, "-m", "tlfast", "run", "nix.py"], tmp_path)
    assert done.returncode == 1
    assert done.stderr == "tlfast: cannot open the script 'nix.py': No such file or directory\n"


# ---- what is served ------------------------------------------------------------------------------


def test_an_installed_tensorflow_is_not_imported(tmp_path):
    for name in ("tensorflow", "keras"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
    text = """
import tensorflow as tf
import keras
from tensorflow.keras.applications.xception import preprocess_input
import tensorflow.keras.backend as K
from tensorflow.keras.layers import *
from tensorflow.data import AUTOTUNE
from tensorflow.random import set_seed
from keras import layers as L
import tlfast
assert Dense is L.Dense is tf.keras.layers.Dense is tlfast.layers.Dense
assert K.epsilon() == 1e-7 and AUTOTUNE == tf.data.AUTOTUNE and callable(set_seed)
assert tf.__version__.startswith("2.") and keras.__version__.startswith("3.")
assert tf.keras.__version__ == keras.__version__
assert not hasattr(tf, "no_such_name") and "layers" in dir(keras)
print(preprocess_input.__module__)
"""
    (tmp_path / "script.py").write_text(text)
    done = tlfast_run(["script.py"], tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tlfast.applications.")


@pytest.mark.parametrize(("line", "text"), [
    ("from keras.layers import Dens",
     r"ImportError: tlfast does not have keras\.layers\.Dens \(script\.py, line 3\)\..*'Dense'\?"),
    ("import tensorflow as tf; tf.keras.layers.LSTM(3)",
     r"tlfast does not have tensorflow\.keras\.layers\.LSTM \(script\.py, line 3\)\. .*'LSTM'"),
    ("import tensorflow as tf; tf.image.resize",
     r"AttributeError: tlfast does not have tensorflow\.image \(script\.py, line 3\)"),
    ("import tensorflow.keras.quantizers",
     r"ImportError: tlfast does not have tensorflow\.keras\.quantizers \(script\.py, line 3"),
    ("from keras.src.layers import Dense",
     r"ImportError: tlfast does not have keras\.src \(.*line 3\).*import from keras itself"),
    ("import tensorflow.keras.layers.Dense",
     r"ImportError: tensorflow\.keras\.layers\.Dense is a class and not a module \(script"),
])  # fmt: skip
def test_names_that_are_not_there(tmp_path, line, text):
    (tmp_path / "script.py").write_text(f"x = 1\n\n{line}\n")
    done = tlfast_run(["script.py"], tmp_path)
    assert done.returncode == 1
    assert f'script.py", line 3, in <module>\n    {line}\n' in done.stderr
    assert re.search(text, done.stderr.splitlines()[-1]), done.stderr


# ---- notebooks -----------------------------------------------------------------------------------

LOADING = """
import sys, tlfast
before = set(sys.modules)
assert "tlfast._run_hook" not in before and not hasattr(tlfast, "_repr_html_")
tlfast.load_ipython_extension(None)
tlfast.load_ipython_extension(None)
import tensorflow as tf
assert tf.keras.layers.Dense is tlfast.layers.Dense
try:
    tf.nothing
except AttributeError as error:
    assert "(this cell, line 10)" in str(error), error
tlfast.unload_ipython_extension(None)
assert not [name for name in sys.modules if name.startswith(("tensorflow", "keras"))]
import tensorflow
assert tensorflow.real
try:
    tlfast.load_ipython_extension(None)
except RuntimeError as error:
    print(error)
"""


def test_the_extension_comes_and_goes(tmp_path):
    (tmp_path / "tensorflow.py").write_text("real = True\n")
    done = start([sys.executable, "-c", LOADING], tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(SERVES.findall(done.stderr)) == 2 and not SERVES.sub("", done.stderr)
    assert "restart the kernel" in done.stdout


def test_in_ipython(tmp_path):
    """The same in a real shell, where IPython is installed (the extra `dev`)."""
    pytest.importorskip("IPython", reason="needs IPython: pip install -e '.[dev]'")
    code = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def cell(text):
    result = shell.run_cell(text)
    return result.error_before_exec or result.error_in_exec
assert cell("%load_ext tlfast") is None
assert cell("import tensorflow as tf\\nmodel = tf.keras.Sequential()") is None
print("module:", type(shell.user_ns["model"]).__module__)
error = cell("x = 1\\nfrom tensorflow.keras.layers import LSTM")
print("error:", error)
assert cell("%unload_ext tlfast") is None
print("after:", type(cell("import tensorflow")).__name__)
"""
    done = start([sys.executable, "-c", code], tmp_path, IPYTHONDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(SERVES.findall(done.stderr)) == 1
    assert "module: tlfast.models\n" in done.stdout
    assert re.search(r"error: tlfast does not have .*LSTM \(this cell, line 2\)", done.stdout)
    assert "after: ModuleNotFoundError" in done.stdout
