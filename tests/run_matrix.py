"""Named runs of the test suite: python tests/run_matrix.py NAME [pytest arguments].

release    what is installed, as it is
avx2       oneDNN and our own kernels limited to AVX2
one-thread OMP_NUM_THREADS=1
sanitize   AddressSanitizer and UndefinedBehaviorSanitizer (also asan, ubsan alone)
debug      -O0 with assertions
werror     compiles with every warning an error, runs nothing
valgrind   the programs of tests/c under valgrind (apt-get install valgrind)
types      mypy, stubtest and pyright --verifytypes; runs nothing (pip install -e '.[dev]')
tidy       clang-tidy over csrc/; runs nothing (apt-get install clang-tidy libomp-dev)

sanitize, debug and werror build into build/NAME, beside the ordinary build, and need what pip's
build environment has: pip install setuptools numpy onednn-devel-cpu-gomp==2023.2.0
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import static_checks

ROOT = Path(__file__).resolve().parent.parent
BUILDS = {
    "sanitize": {"TLFAST_SANITIZE": "address,undefined"},
    "asan": {"TLFAST_SANITIZE": "address"},
    "ubsan": {"TLFAST_SANITIZE": "undefined"},
    "debug": {"TLFAST_DEBUG": "1"},
    "werror": {"TLFAST_WERROR": "1"},
}
RUNS = {
    "release": {},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "one-thread": {"OMP_NUM_THREADS": "1"},
    "valgrind": {"TLFAST_TEST_VALGRIND": "valgrind"},
}
CHECKS = {"types": static_checks.types, "tidy": static_checks.tidy}
# Python itself does not free everything at exit, so leaks are looked for in tests/c alone.
# A size that cannot be allocated is to be our error, not the sanitizer's; a crash is to be the
# sanitizer's report, not faulthandler's.
ASAN_OPTIONS = "detect_leaks=0:allocator_may_return_null=1:handle_segv=2"
UBSAN_OPTIONS = "print_stacktrace=1:halt_on_error=1"


def build(name: str) -> Path:
    """Builds the package into build/NAME and returns the folder to import it from."""
    base = ROOT / "build" / name
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(base)]
    command += ["--build-lib", str(base / "lib")]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **BUILDS[name]}, check=True)
    return base / "lib"


def preload(*libraries: str) -> str:
    """LD_PRELOAD for runtimes that have to come first in a process started by plain Python."""
    paths = []
    for library in libraries:
        command = ["gcc", f"-print-file-name={library}"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        paths.append(found.stdout.strip())
    return ":".join(paths)


def environment(name: str) -> dict[str, str]:
    """The environment of a run; builds what the run needs."""
    if name in RUNS:
        return RUNS[name]
    # PYTHONSAFEPATH: without it the clone's own tlfast/ would be found first.
    made = {"PYTHONPATH": str(build(name)), "PYTHONSAFEPATH": "1"}
    if "TLFAST_SANITIZE" in BUILDS[name]:
        made |= {"ASAN_OPTIONS": ASAN_OPTIONS, "UBSAN_OPTIONS": UBSAN_OPTIONS}
        made |= {"PYTHONMALLOC": "malloc", "TLFAST_SANITIZED": "1"}
        if "address" in BUILDS[name]["TLFAST_SANITIZE"]:
            # libstdc++ too: the sanitizer looks for its throw before oneDNN brings it.
            made["LD_PRELOAD"] = preload("libasan.so", "libstdc++.so")
    return made


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in (*RUNS, *BUILDS, *CHECKS):
        print(__doc__)
        return 2
    name, *rest = arguments
    if name in CHECKS:
        return 0 if CHECKS[name]() else 1
    extra = environment(name)
    if name == "werror":
        return 0
    if name == "valgrind":
        if shutil.which("valgrind") is None:
            print("there is no valgrind here: apt-get install valgrind")
            return 1
        rest = ["tests/test_c.py", *rest]
    if name in BUILDS:
        check = "import tlfast._core as core; print(core.__file__)"
        command, env = [sys.executable, "-c", check], {**os.environ, **extra}
        found = subprocess.run(command, env=env, capture_output=True, text=True)
        if str(ROOT / "build" / name) not in found.stdout:
            print(found.stdout, found.stderr, "this is not the build that was asked for")
            return 1
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *rest]
    if "TLFAST_SANITIZED" in extra:
        # The slow ones run whole scripts, many times slower here, through code that others test.
        command += ["-m", "not unsanitized and not peer and not slow"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **extra}).returncode


if __name__ == "__main__":
    sys.exit(main())
