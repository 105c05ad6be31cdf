"""Pieces missing at run time, each faked: every message says what is missing and what to do.

The build's messages are in test_build_messages.py, those of the cache folder in
test_cache_command.py, those of `tlfast doctor` in test_doctor.py.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT

from tlfast import _core, _core_missing


def imported(code: str = "import tlfast", **variables: str) -> str:
    """The last line of what Python says about an import that has to fail."""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables},
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 1, done.stdout
    return done.stderr.strip().splitlines()[-1]


# ---- the core and its libraries --------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("libgomp.so.1: cannot open shared object file: No such file or directory",
         ["needs the library libgomp.so.1", "apt-get install -y libgomp1"]),
        ("libjpeg.so.62: cannot open shared object file: No such file or directory",
         ["needs the library libjpeg.so.62", "libjpeg62-turbo"]),
        ("libpng16.so.16: cannot open shared object file: No such file or directory",
         ["needs the library libpng16.so.16", "libpng16-16"]),
        ("libz.so.1: cannot open shared object file: No such file or directory",
         ["needs the library libz.so.1", "--force-reinstall"]),
        ("/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by _core.so)",
         ["C library is older", "newer system"]),
        ("cannot import name '_core' from 'tlfast'", ["compiled core is missing", "pip install"]),
    ],
)  # fmt: skip
def test_why_the_core_does_not_load(text, words):
    said = _core_missing.why_not_imported(ImportError(text))
    assert text in said
    for word in words:
        assert word in said


@pytest.fixture
def broken_core(tmp_path):
    """A copy of the package whose _core raises what is given when it is imported."""

    def make(statement: str) -> dict[str, str]:
        target = tmp_path / "tlfast"
        target.mkdir()
        for name in ("__init__.py", "_version.py", "_core_missing.py"):
            shutil.copy(ROOT / "tlfast" / name, target)
        (target / "_core.py").write_text(statement)
        return {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}

    return make


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("raise ImportError('libgomp.so.1: cannot open shared object file: ...')",
         ["libgomp.so.1", "apt-get install -y libgomp1"]),
        ("import sys; sys.modules['numpy'] = None; import numpy", ["pip install --upgrade numpy"]),
        ("raise ImportError('no such thing')", ["pip install -e .", "no such thing"]),
    ],
)  # fmt: skip
def test_a_core_that_does_not_load(broken_core, statement, words):
    said = imported(**broken_core(statement))
    assert said.startswith("ImportError: ")
    for word in words:
        assert word in said


def test_without_numpy():
    """The real core in a Python without packages."""
    core = os.path.dirname(os.path.dirname(_core.__file__))
    code = f"import sys; sys.path.insert(0, {core!r}); sys.modules['numpy'] = None; import tlfast"
    assert "pip install --upgrade numpy" in imported(code)


# ---- oneDNN --------------------


def test_no_library_where_the_variable_says(tmp_path):
    said = imported(TLFAST_DNNL=str(tmp_path / "libdnnl.so.3"))
    assert said.startswith("ImportError: cannot open the oneDNN library")
    assert f"TLFAST_DNNL={tmp_path}" in said and "unset TLFAST_DNNL" in said


def test_no_library_in_the_package(tmp_path):
    """The package without its copy of oneDNN."""
    package = Path(_core.__file__).parent
    shutil.copytree(ROOT / "tlfast", tmp_path / "tlfast",
                    ignore=shutil.ignore_patterns("*.so", "*.so.*", "__pycache__"))  # fmt: skip
    shutil.copy(package / os.path.basename(_core.__file__), tmp_path / "tlfast")
    said = imported(PYTHONPATH=str(tmp_path), PYTHONSAFEPATH="1")
    assert "cannot open the oneDNN library" in said and "pip install --force-reinstall" in said


def test_a_library_that_needs_libgomp():
    error = RuntimeError("cannot open the oneDNN library: libgomp.so.1: cannot open shared ...")
    assert "apt-get install -y libgomp1" in _core_missing.why_no_onednn(error, "/libdnnl.so.3")


@pytest.fixture(scope="module")
def other_onednn(tmp_path_factory):
    """other_onednn(version, runtime) makes a library that says it is such a oneDNN."""
    compiler = (sysconfig.get_config_var("CC") or "gcc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip("no compiler")
    names = re.findall(r"^X\((\w+)\)", (ROOT / "csrc/base/dnn.def").read_text(), re.MULTILINE)
    folder = tmp_path_factory.mktemp("dnnl")

    def make(version: tuple[int, int, int], runtime: int, left_out: str = "") -> str:
        source = "typedef struct { int a, b, c; const char *h; unsigned r, g; } v;\n"
        said = f"{version[0]}, {version[1]}, {version[2]}, 0, {runtime}, 0"
        source += f"static v it = {{{said}}};\n"
        source += "v *dnnl_version(void) { return &it; }\n"
        for name in names:
            if name not in ("version", left_out):
                source += f"void dnnl_{name}(void) {{}}\n"
        (folder / "other.c").write_text(source)
        target = folder / f"libdnnl{len(list(folder.iterdir()))}.so"
        command = [compiler, "-shared", "-fPIC", "-w", str(folder / "other.c"), "-o", str(target)]
        subprocess.run(command, check=True)
        return str(target)

    return make


@pytest.mark.parametrize(
    ("version", "runtime", "left_out", "words"),
    [
        ((2, 7, 0), 2, "", ["is oneDNN 2.7; tlfast needs 3.2 or a later 3.x"]),
        ((3, 1, 4), 2, "", ["is oneDNN 3.1; tlfast needs 3.2"]),
        ((3, 5, 0), 1, "", ["without OpenMP (CPU runtime 1)", "onednn-cpu-gomp"]),
        ((3, 5, 0), 8, "", ["without OpenMP (CPU runtime 8)"]),
        ((3, 5, 0), 2, "concat_primitive_desc_create",
         ["has no function dnnl_concat_primitive_desc_create"]),
    ],
)  # fmt: skip
def test_another_onednn(other_onednn, version, runtime, left_out, words):
    path = other_onednn(version, runtime, left_out)
    said = imported(TLFAST_DNNL=path)
    for word in [*words, path, "unset TLFAST_DNNL"]:
        assert word in said


# ---- packages --------------------


@pytest.mark.parametrize(
    ("module", "code", "purpose", "package"),
    [
        ("h5py", "m.save('m.keras')", "saving models", "h5py"),
        ("h5py", "m.save_weights('m.weights.h5')", "saving models", "h5py"),
        ("PIL", "tlfast.utils.load_img('a.png')", "load_img", "pillow"),
        ("PIL", "tlfast.utils.array_to_img([[[1.0]]])", "array_to_img", "pillow"),
        ("PIL", "decode('a.gif', None)", "reading images other than JPEG and PNG", "pillow"),
    ],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, module, code, purpose, package):
    import tlfast
    from tlfast.data._pillow import decode

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    m = tlfast.Sequential([tlfast.Input((2,)), tlfast.layers.Dense(1)])
    with pytest.raises(ImportError, match=f"^{purpose} needs {package}: pip install {package}. "):
        exec(code, {"m": m, "tlfast": tlfast, "decode": decode})
    assert list(tmp_path.iterdir()) == []
