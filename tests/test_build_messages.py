"""The build ends with one sentence where it cannot work; each probe of setup.py is faked."""

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig

import pytest
from conftest import ROOT


@pytest.fixture
def build():
    """setup.py as a module, without building anything."""
    spec = importlib.util.spec_from_file_location("tlfast_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sentence(stopped) -> str:
    text = stopped.value.code
    assert re.fullmatch(r"tlfast: [^\n]+[^.]\.", text), text
    return text


@pytest.mark.parametrize(
    ("probe", "answer", "words"),
    [
        ("platform.machine", "aarch64", ["x86-64 Linux", "this is aarch64", "64-bit x86"]),
        ("platform.system", "Darwin", ["x86-64 Linux", "this is Darwin", "Colab"]),
        ("platform.system", "Windows", ["x86-64 Linux", "this is Windows", "WSL2"]),
        ("platform.libc_ver", ("", ""), ["glibc", "musl", "Debian"]),
        ("platform.python_implementation", "PyPy", ["CPython 3.11", "PyPy", "python3.11"]),
    ],
)
def test_other_platforms(build, monkeypatch, probe, answer, words):
    monkeypatch.setattr(probe, lambda: answer)
    with pytest.raises(SystemExit) as stopped:
        build.check_platform()
    for word in words:
        assert word in sentence(stopped)


def test_old_python(build, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 14, "final", 0))
    monkeypatch.setattr("platform.python_version", lambda: "3.10.14")
    with pytest.raises(SystemExit) as stopped:
        build.check_platform()
    assert "CPython 3.11 or newer, this is CPython 3.10.14" in sentence(stopped)


def test_32_bit_python(build, monkeypatch):
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(SystemExit) as stopped:
        build.check_platform()
    assert "64-bit x86" in sentence(stopped)


def test_this_platform_passes(build):
    build.check_platform()


def test_no_compiler(build):
    with pytest.raises(SystemExit) as stopped:
        build.check_tools(["no-such-cc", "-O2"])
    text = sentence(stopped)
    assert "no C compiler (no-such-cc)" in text and "apt-get install -y build-essential" in text


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("omp.h", ["not a GCC with OpenMP", "CC=gcc"]),
        ("Python.h", ["Python.h", "python3-dev"]),
        ("jpeglib.h", ["libjpeg-turbo", "is missing", "libjpeg-dev"]),
        ("LIBJPEG_TURBO_VERSION", ["is not libjpeg-turbo", "libjpeg-turbo's headers"]),
        ("png.h", ["libpng", "is missing", "libpng-dev"]),
    ],
)
def test_missing_headers(build, monkeypatch, missing, words):
    monkeypatch.setattr(build, "compiles", lambda compiler, code, flags: missing not in code)
    with pytest.raises(SystemExit) as stopped:
        build.check_tools([sys.executable])
    for word in words:
        assert word in sentence(stopped)


def test_plain_libjpeg_is_told_from_turbo_by_its_header(build, tmp_path):
    """A jpeglib.h without turbo's version macro stands first on the include path."""
    (tmp_path / "jpeglib.h").write_text(
        "struct jpeg_error_mgr;\nstruct jpeg_error_mgr *jpeg_std_error(struct jpeg_error_mgr *);\n"
    )
    flags = [f"-I{tmp_path}", "-ljpeg"]
    assert build.compiles(["cc"], build.JPEG % "", flags)
    assert not build.compiles(["cc"], build.JPEG % build.TURBO, flags)
    assert build.compiles(["cc"], build.JPEG % build.TURBO, ["-ljpeg"])


def test_no_onednn(build, monkeypatch):
    def absent(name):
        raise build.PackageNotFoundError(name)

    monkeypatch.setattr(build, "distribution", absent)
    with pytest.raises(SystemExit) as stopped:
        build.onednn_file("onednn-devel-cpu-gomp", "oneapi/dnnl/dnnl.h")
    text = sentence(stopped)
    assert "onednn-devel-cpu-gomp" in text and "pip install ." in text


def test_the_sentence_ends_a_real_build(clone, tmp_path):
    """`setup.py` run as pip runs it: exit status 1, the sentence, no traceback."""
    (tmp_path / "sitecustomize.py").write_text(
        "import platform\nplatform.machine = lambda: 'aarch64'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "setup.py", "build_ext"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("tlfast: ") and done.stderr.count("\n") == 1, done.stderr


def test_import_without_a_build(clone):
    command = [sys.executable, "-S", "-c", "import tlfast"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ") and "pip install" in last, done.stderr


def test_an_object_is_made_again_only_when_needed(build, tmp_path):
    header, target = tmp_path / "a.h", tmp_path / "a.o"
    header.write_text("")
    (tmp_path / "a.o.cmd").write_text("cc -O2")
    (tmp_path / "a.d").write_text(f"a.o: {header} \\\n {header}\n")
    target.write_text("")
    os.utime(header, (1, 1))
    assert build.up_to_date(str(target), "cc -O2")
    assert not build.up_to_date(str(target), "cc -O0")
    os.utime(header, (2e9, 2e9))
    assert not build.up_to_date(str(target), "cc -O2")
    header.unlink()
    assert not build.up_to_date(str(target), "cc -O2")


@pytest.mark.parametrize(
    ("switch", "value", "flag"),
    [
        ("TLFAST_DEBUG", "1", "-UNDEBUG"),
        ("TLFAST_SANITIZE", "address,undefined", "-fsanitize=address,undefined"),
        ("TLFAST_WERROR", "1", "-Werror"),
    ],
)
def test_switches(build, monkeypatch, switch, value, flag):
    for name in ("TLFAST_DEBUG", "TLFAST_SANITIZE", "TLFAST_WERROR"):
        monkeypatch.delenv(name, raising=False)
    assert flag not in build.flags()[0]
    monkeypatch.setenv(switch, value)
    assert flag in build.flags()[0]


def test_baseline_x86_64(build):
    assert not [f for f in build.flags()[0] if f.startswith(("-march", "-mtune", "-ffast-math"))]
