"""Builds tlfast._core and puts oneDNN beside it; pyproject.toml holds everything else.

Environment switches: TLFAST_DEBUG=1 (-O0 -g, assertions), TLFAST_SANITIZE=address,undefined,
TLFAST_WERROR=1 (warnings are errors; for CI). `tests/test_build_messages.py` imports this file.
"""

import glob
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, NoReturn

SUPPORTED = "tlfast needs x86-64 Linux with glibc and CPython 3.11 or newer"
# One binary for this Python and all later ones.
STABLE_ABI, STABLE_ABI_HEX = "cp311", "0x030B0000"
# What a source distribution holds beyond what the build reads: a packager runs the tests.
SOURCES = [f"{folder}/**" for folder in (".ci", "benchmarks", "csrc", "docs", "notebooks", "tests")]
SOURCES += ["*.md", "*.cff", ".clang-format"]
INSTALL = "build-essential pkg-config libjpeg-dev libpng-dev python3-dev"
WARNINGS = """-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla
    -Wpointer-arith -Wimplicit-fallthrough -Wno-unused-parameter""".split()
# Contraction would change the pixels that are to equal TensorFlow's (resize), so image/ forbids it.
FOLDER_FLAGS = {"csrc/image": ["-ffp-contract=off"]}
JPEG = "#include <stdio.h>\n#include <jpeglib.h>\n%s\nint main(void) { return !jpeg_std_error; }"
TURBO = "#ifndef LIBJPEG_TURBO_VERSION\n#error plain libjpeg\n#endif"
PNG = "#include <png.h>\nint main(void) { return !png_access_version_number(); }"
OPENMP = "#include <omp.h>\n#ifdef __clang__\n#error libomp\n#endif\n" + (
    "int main(void) { return omp_get_max_threads() < 1; }"
)


def stop(reason: str, advice: str) -> NoReturn:
    """Ends the build with one sentence (pip shows it at the end of its own report)."""
    sys.exit(f"tlfast: {reason}: {advice}.")


def check_platform() -> None:
    """Says what is supported where this is something else."""
    system, machine = platform.system(), platform.machine()
    if system == "Windows":
        stop(f"{SUPPORTED}, this is Windows", "run `wsl --install` and the same commands in WSL2")
    if system != "Linux":
        stop(f"{SUPPORTED}, this is {system}", "use an x86-64 Linux machine or Google Colab")
    if machine not in ("x86_64", "AMD64") or sys.maxsize < 2**32:
        stop(f"{SUPPORTED}, this is {machine}", "use a 64-bit x86 machine or Google Colab")
    if platform.libc_ver()[0] != "glibc":
        stop(f"{SUPPORTED}, this system has another C library (musl?)", "use Debian 12 or the like")
    if platform.python_implementation() != "CPython" or sys.version_info < (3, 11):
        name = f"{platform.python_implementation()} {platform.python_version()}"
        stop(f"{SUPPORTED}, this is {name}", "make the environment with python3.11 or newer")


def compiles(compiler: list[str], code: str, flags: list[str]) -> bool:
    """True where the compiler and the linker accept a program."""
    with tempfile.TemporaryDirectory() as folder:
        with open(source := os.path.join(folder, "probe.c"), "w") as file:
            file.write(code)
        command = [*compiler, source, "-o", os.path.join(folder, "probe"), *flags]
        return subprocess.run(command, capture_output=True).returncode == 0


def package_flags(name: str, default: str) -> list[str]:
    """Compiler and linker flags of a library: pkg-config's where it knows the library."""
    command = ["pkg-config", "--cflags", "--libs", name]
    if shutil.which(command[0]):
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.split()
    return [default]


def check_tools(compiler: list[str]) -> list[str]:
    """Returns the flags of libjpeg and libpng, or ends with a sentence on what is missing."""
    install = f"install it (Debian, Ubuntu: apt-get install -y {INSTALL})"
    if not shutil.which(compiler[0]):
        stop(f"no C compiler ({compiler[0]})", install)
    if not compiles(compiler, OPENMP, ["-fopenmp"]):
        stop(f"{compiler[0]} is not a GCC with OpenMP", f"{install} and set CC=gcc")
    header = f"#include <Python.h>\nint main(void) {{ return {sys.maxsize % 2 - 1}; }}"
    if not compiles(compiler, header, ["-I" + sysconfig.get_path("include")]):
        stop("Python.h of this Python is missing", install)
    jpeg, png = package_flags("libjpeg", "-ljpeg"), package_flags("libpng", "-lpng")
    if not compiles(compiler, JPEG % "", jpeg):
        stop("libjpeg-turbo (jpeglib.h) is missing", install)
    if not compiles(compiler, JPEG % TURBO, jpeg):
        stop("the libjpeg found here is not libjpeg-turbo", "install libjpeg-turbo's headers")
    if not compiles(compiler, PNG, png):
        stop("libpng (png.h) is missing", install)
    return jpeg + png


def onednn_file(package: str, ending: str) -> str:
    """Path of a file of an installed oneDNN package."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        advice = "build with `pip install .`, or install onednn-devel-cpu-gomp==2023.2.0 first"
        stop(f"the package {package} is not in the build environment", advice)
    for entry in files:
        if str(entry).endswith(ending):
            return os.path.realpath(entry.locate())
    stop(f"the package {package} has no {ending}", "install it again")


def copy_onednn(ending: str, target: str) -> None:
    """Puts a file of oneDNN's package into ours; renamed into place, it may be in use."""
    shutil.copyfile(onednn_file("onednn-cpu-gomp", ending), target + ".part")
    if ending.endswith(".so.3") and shutil.which("strip"):
        subprocess.run(["strip", "--strip-unneeded", target + ".part"], check=True)
    os.replace(target + ".part", target)


def remove_stale(core: str) -> None:
    """Removes the core that an older build left under a name that Python looks for first."""
    for path in glob.glob(os.path.join(os.path.dirname(core), "_core.*.so")):
        if os.path.basename(path) != os.path.basename(core):
            os.remove(path)


def flags() -> tuple[list[str], list[str]]:
    """(compiler flags, linker flags) of the build that the environment asks for."""
    compile_flags = ["-std=gnu11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-fopenmp", "-pthread"]
    compile_flags += WARNINGS
    link_flags = ["-fopenmp", "-pthread", "-ldl", "-lm"]
    debug, sanitize = os.environ.get("TLFAST_DEBUG") == "1", os.environ.get("TLFAST_SANITIZE")
    compile_flags += ["-O0", "-g", "-UNDEBUG"] if debug else ["-O2", "-DNDEBUG"]
    if sanitize:
        compile_flags += ["-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
        compile_flags += [f"-fsanitize={sanitize}"]
        link_flags += [f"-fsanitize={sanitize}"]
    if os.environ.get("TLFAST_WERROR") == "1":
        compile_flags += ["-Werror"]
    return compile_flags, link_flags


def up_to_date(target: str, command: str) -> bool:
    """True where an object came from this command and is newer than every file it was made of."""
    try:
        with open(target + ".cmd") as made_by, open(target[:-2] + ".d") as rule:
            if made_by.read() != command:
                return False
            sources = rule.read().replace("\\\n", " ").split(": ", 1)[1].split()
        return all(os.path.getmtime(s) <= os.path.getmtime(target) for s in sources)
    except (OSError, IndexError):
        return False


def main() -> None:
    check_platform()
    import numpy
    from setuptools import Extension, setup
    from setuptools.command.build_ext import build_ext
    from setuptools.command.sdist import sdist

    class Build(build_ext):
        def finalize_options(self) -> None:
            super().finalize_options()
            self.force = True  # compile() below knows what is out of date, by header

        def build_extensions(self) -> None:
            for ext in self.extensions:
                libraries = check_tools(self.compiler.compiler)
                ext.extra_compile_args += [flag for flag in libraries if flag.startswith("-I")]
                ext.extra_link_args += [flag for flag in libraries if not flag.startswith("-I")]
            self.compiler.compile = self.compile
            super().build_extensions()

        def compile(self, sources: list[str], output_dir: str, **options: Any) -> list[str]:
            """Replaces distutils' loop: what is out of date, on all cores."""
            extra = [*options.pop("extra_postargs"), "-MMD"]

            def make(source: str, target: str) -> None:
                args = extra + FOLDER_FLAGS.get(os.path.dirname(source), [])
                command = shlex.join([*self.compiler.compiler_so, *args, sys.prefix])
                if not up_to_date(target, command):
                    type(self.compiler).compile(
                        self.compiler, [source], output_dir, extra_postargs=args, **options
                    )
                    with open(target + ".cmd", "w") as file:
                        file.write(command)

            objects = self.compiler.object_filenames(sources, output_dir=output_dir)
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                list(pool.map(make, sources, objects))
            return objects

        def run(self) -> None:
            super().run()
            # Beside _core: in the source folder where the install is editable.
            core = self.get_ext_fullpath("tlfast._core")
            remove_stale(core)
            copy_onednn("libdnnl.so.3", os.path.join(os.path.dirname(core), "libdnnl.so.3"))

    class Sdist(sdist):
        def make_distribution(self) -> None:
            for pattern in SOURCES:
                found = glob.glob(pattern, recursive=True, include_hidden=True)
                found = [path for path in found if "__pycache__" not in path]
                self.filelist.extend(filter(os.path.isfile, found))
            self.filelist.sort()
            self.filelist.remove_duplicates()
            super().make_distribution()

    # Before setup() reads pyproject.toml, whose license-files names them.
    for name in ("LICENSE", "THIRD-PARTY-PROGRAMS"):
        copy_onednn(f"onednn/{name}", f"tlfast/licenses/onednn-{name}")
    compile_flags, link_flags = flags()
    header = "oneapi/dnnl/dnnl.h"
    include = onednn_file("onednn-devel-cpu-gomp", header).removesuffix(header)
    # The free-threaded Python has no stable ABI.
    stable_abi = not sysconfig.get_config_var("Py_GIL_DISABLED")
    core = Extension(
        "tlfast._core",
        sorted(glob.glob("csrc/**/*.c", recursive=True)),
        include_dirs=["csrc"],
        depends=[f for end in ("h", "def") for f in glob.glob(f"csrc/**/*.{end}", recursive=True)],
        extra_compile_args=[*compile_flags, "-isystem", include, "-isystem", numpy.get_include()],
        extra_link_args=link_flags,
        define_macros=[("Py_LIMITED_API", STABLE_ABI_HEX)] if stable_abi else [],
        py_limited_api=stable_abi,
    )
    setup(
        ext_modules=[core],
        cmdclass={"build_ext": Build, "sdist": Sdist},
        options={"bdist_wheel": {"py_limited_api": STABLE_ABI}} if stable_abi else {},
    )


if __name__ == "__main__":
    main()
