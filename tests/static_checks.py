"""Checks that read the source and run nothing: see `run_matrix.py`, which starts them.

They need the tools of the extra `dev` (pip install -e '.[dev]'); `tidy` needs Debian's packages
clang-tidy and libomp-dev, which bring the headers that PyPI's clang-tidy lacks.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str) -> bool:
    """Runs a tool of this environment and says which; True if it found nothing."""
    print("$", *command, flush=True)
    # PYTHONPATH: the finder of an editable install is not seen by a program that only reads files.
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=env).returncode == 0


def types() -> bool:
    """mypy strict, the stub of _core beside the compiled module, the types that users see."""
    return all([
        run("mypy"),
        run("mypy.stubtest", "tlfast._core", "--allowlist", "tests/api_core_allowlist.txt"),
        run("pyright", "--verifytypes", "tlfast", "--ignoreexternal"),
    ])


def include_flags() -> list[str]:
    """Where the headers of the core are."""
    header = "oneapi/dnnl/dnnl.h"
    files = importlib.metadata.distribution("onednn-devel-cpu-gomp").files or []
    onednn = next(str(f.locate()) for f in files if str(f).endswith(header)).removesuffix(header)
    flags = ["-Icsrc"]
    for folder in (onednn, np.get_include(), sysconfig.get_paths()["include"]):
        flags += ["-isystem", folder]
    return flags


def tidy() -> bool:
    """clang-tidy over csrc/ with the checks of csrc/.clang-tidy; a finding is an error."""
    if shutil.which("clang-tidy") is None:
        print("there is no clang-tidy here: apt-get install clang-tidy libomp-dev")
        return False
    sources = sorted(str(f.relative_to(ROOT)) for f in (ROOT / "csrc").rglob("*.c"))
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-fopenmp", *include_flags()]
    command = ["clang-tidy", "--quiet", "--warnings-as-errors=*", *sources, "--", *flags]
    return subprocess.run(command, cwd=ROOT).returncode == 0
