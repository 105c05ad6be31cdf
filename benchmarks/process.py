"""Contenders in processes of their own, and what is kept of a run."""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

# Flags of /proc/cpuinfo that decide what kernels are used, and their names.
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "BF16", "amx_bf16": "AMX"}


class Ended(SystemExit):
    """A contender's process is no more; ends the benchmark where nobody goes on without it."""


class Worker:
    """A contender's process: requests and answers are lines of JSON.

    Args:
        name: for messages.
        script: file of this folder that it runs, with its arguments.
        python: the interpreter to run it with.
        environment: variables to set.
    """

    def __init__(
        self, name: str, script: list[str], python: str, environment: dict[str, str]
    ) -> None:
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [python, str(HERE / script[0]), *script[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **environment},
        )
        self.versions = self.read()

    def read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise Ended(f"the process of {self.name} ended:\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def ask(self, what: str, **request: Any) -> Any:
        self.process.stdin.write(json.dumps({"what": what, **request}) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def peer(variable: str) -> str:
    """The Python that has a peer: $variable, or the one that runs this."""
    return os.environ.get(variable, sys.executable)


def middle(values: list[float]) -> tuple[float, float, float]:
    """(median, least, most)."""
    return statistics.median(values), min(values), max(values)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    found = {key.strip(): value.strip() for key, _, value in lines}
    flags = found.get("flags", "").split()
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return {
        "cpu": found.get("model name", platform.processor()),
        "instructions": ", ".join(name for flag, name in INSTRUCTIONS.items() if flag in flags),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "commit": commit or "unknown",
    }


def keep(name: str, kept: dict[str, Any]) -> Path:
    """Write a run to results/, with the command that made it, and return the file."""
    kept = {"command": f"python benchmarks/run.py {shlex.join(sys.argv[1:])}", **kept}
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    target = results / time.strftime(f"{name}-%Y%m%d-%H%M%S.json")
    target.write_text(json.dumps(kept, indent=1))
    return target
