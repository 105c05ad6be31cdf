"""Compiles and runs the programs of tests/c: the core without Python, under sanitizers.

With TLFAST_TEST_VALGRIND naming valgrind, those that do not replace malloc run under it instead."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, smooth_image
from PIL import Image
from test_decode import adam7, png

SOURCES = ["base/alloc.c", "base/os.c", "base/status.c"]
SOURCES += [str(p.relative_to(ROOT / "csrc")) for p in sorted(ROOT.glob("csrc/image/*.c"))]
SOURCES += [str(p.relative_to(ROOT / "csrc")) for p in sorted(ROOT.glob("csrc/data/*.c"))]
VALGRIND = os.environ.get("TLFAST_TEST_VALGRIND")
ADDRESS = [] if VALGRIND else ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
THREAD = ["-fsanitize=thread"]
MEMCHECK = ["--error-exitcode=1", "--leak-check=full", "--errors-for-leak-kinds=definite,possible"]
pytestmark = pytest.mark.unsanitized  # these programs bring their own sanitizers


@pytest.fixture(scope="module")
def compiler() -> str:
    found = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.fixture(scope="module")
def objects(compiler, tmp_path_factory):
    """objects(flags) compiles the sources once per set of flags and returns the object files."""
    made: dict[tuple[str, ...], list[str]] = {}

    def compile_all(flags: list[str]) -> list[str]:
        if tuple(flags) not in made:
            folder = tmp_path_factory.mktemp("objects")
            common = [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", *flags]
            sources = [str(ROOT / "csrc" / name) for name in SOURCES]
            done = subprocess.run(
                [*common, f"-I{ROOT / 'csrc'}", *pkg_config("--cflags"), "-c", *sources],
                cwd=folder,
                capture_output=True,
                text=True,
            )
            if "fsanitize" in done.stderr or "cannot find -l" in done.stderr:
                pytest.skip(f"this compiler has no {flags[0]}")
            assert done.returncode == 0, done.stderr
            made[tuple(flags)] = [str(p) for p in sorted(folder.glob("*.o"))]
        return made[tuple(flags)]

    return compile_all


def pkg_config(what: str) -> list[str]:
    if shutil.which("pkg-config"):
        command = ["pkg-config", what, "libjpeg", "libpng"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.split()
    return ["-ljpeg", "-lpng"] if what == "--libs" else []


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[str]:
    """Small files of every kind."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("images")
    image = Image.fromarray(smooth_image(rng, 19, 23))
    alpha = image.convert("RGBA")
    alpha.putalpha(image.convert("L"))
    jpeg = {"format": "JPEG", "quality": 60}
    image.save(folder / "a.jpg", subsampling=2, **jpeg)
    image.save(folder / "b.jpg", progressive=True, restart_marker_blocks=1, **jpeg)
    image.convert("CMYK").save(folder / "c.jpg", **jpeg)
    image.convert("L").save(folder / "d.jpg", **jpeg)
    alpha.save(folder / "e.png")
    image.quantize(7).save(folder / "f.png", transparency=2)
    (folder / "g.png").write_bytes(png(23, 19, 8, 2, adam7(np.asarray(image)), interlace=1))
    image.convert("1").save(folder / "h.png")
    return [str(p) for p in sorted(folder.iterdir())]


def run(
    compiler: str, objects: list[str], name: str, flags: list[str], files: list[str], folder: Path
) -> None:
    program = str(folder / name)
    source = str(ROOT / "tests" / "c" / f"{name}.c")
    command = [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", *flags, "-Wall", "-Wextra"]
    command += [f"-I{ROOT / 'csrc'}", *pkg_config("--cflags"), source, *objects]
    command += [*pkg_config("--libs"), "-lpthread", "-lm", "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip(f"this compiler has no runtime for {flags}")
    assert done.returncode == 0, done.stderr
    env = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    env |= {"ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1"}
    # Valgrind takes two neighbours of some SSE2 instructions for one: not for libjpeg's pixels.
    env |= {"JSIMD_FORCENONE": "1"} if VALGRIND else {}
    command = [VALGRIND, *MEMCHECK] if VALGRIND else []
    command += [program, *files]
    limit = 1800 if VALGRIND else 240
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=limit)
    if "ThreadSanitizer: unexpected memory mapping" in done.stderr:
        pytest.skip("this kernel's address layout does not suit the thread sanitizer")
    if "LeakSanitizer has encountered a fatal error" in done.stderr:
        pytest.skip("leaks cannot be looked for under this debugger or sandbox")
    assert done.returncode == 0 and "files" in done.stdout, done.stdout + done.stderr


def test_image(compiler, objects, images, tmp_path):
    run(compiler, objects(ADDRESS), "test_image", ADDRESS, images, tmp_path)


@pytest.mark.skipif(bool(VALGRIND), reason="it replaces malloc, and so does valgrind")
def test_library_memory(compiler, objects, images, tmp_path):
    run(compiler, objects(["-fno-builtin"]), "test_library_memory", [], images, tmp_path)


@pytest.mark.parametrize("flags", [ADDRESS, THREAD], ids=["address", "thread"])
def test_loader(compiler, objects, images, tmp_path, flags):
    if VALGRIND and flags:
        pytest.skip("a sanitizer does not run under valgrind")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(images[0]).read_bytes()[:-40])
    run(compiler, objects(flags), "test_loader", flags, [str(bad), *images], tmp_path)
