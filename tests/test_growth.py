"""A short run of tests/growth.py; the long one is a named command in tests/README.md."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.unsanitized  # a sanitizer keeps what was freed
def test_memory_does_not_grow():
    script = Path(__file__).parent / "growth.py"
    done = subprocess.run(
        [sys.executable, script, "--network", "MobileNetV2", "--cycles", "10",
         "--predictions", "300"],
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" MB (limit") == 2
