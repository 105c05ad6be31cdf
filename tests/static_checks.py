"""Checks that read the source and run nothing: see `run_matrix.py`, which starts them.

They need the tools of the extra `dev`: pip install -e '.[dev]'
"""

import os
import subprocess
import sys
from pathlib import Path

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
