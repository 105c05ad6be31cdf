"""What contenders' processes share: answering requests, and their own memory."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def memory(field: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def serve(contender: Any) -> None:
    """Answer requests, lines of JSON that name a method and its arguments, until there are no more.

    Args:
        contender: object with `versions()`, which is answered first.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a framework prints goes to stderr
    answers.write(json.dumps(contender.versions()) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(contender, request.pop("what"))(**request)
        answers.write(json.dumps(answer) + "\n")


def timed(work: Callable[[], Any], calls: int) -> list[float]:
    """Seconds of calls in a row, after one that wakes the threads."""
    work()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds
