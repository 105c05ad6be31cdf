"""docs/, CONTRIBUTING.md and the other pages: examples run as they stand, links lead somewhere.

A block is marked by a comment in front of it: `<!-- file: NAME -->` (its content is that file),
`<!-- patch -->` (a diff) or `<!-- run -->` (shell commands). All blocks of a section are carried
out in their order.
"""

import re
import resource
import subprocess
import sys
import time

import pytest
from conftest import ROOT

_BLOCK = re.compile(
    r"<!-- (?P<kind>file|patch|run)(?:: (?P<name>\S+))? -->\n```\w*\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")])


def section(page, title):
    """The text below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S)
    assert found, f"{page.name} has no section {title!r}"
    return found[1]


def blocks(page, title):
    """[(kind, name, text), ...] of a section."""
    found = [(m["kind"], m["name"], m["text"]) for m in _BLOCK.finditer(section(page, title))]
    assert found, f"nothing in section {title!r} of {page.name} is marked"
    return found


# --- docs/testing.md ---------------------------------------------------------------------------


@pytest.mark.unsanitized
def test_the_users_test_file_takes_under_3_seconds(tmp_path):
    """Processor time, of all threads, of `pytest` from its start to its exit.

    That is at least the time on the clock of a machine that does nothing else, with Python's
    start, imports, images and training; other processes on the machine do not change it.
    """
    ((_, name, text),) = blocks(ROOT / "docs" / "testing.md", "A whole test file")
    (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir", ".", name]

    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 failed, 4 passed" in first.stdout, first.stdout + first.stderr
    assert "reference.keras was missing and is written now: commit it" in first.stdout

    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    after, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    assert second.returncode == 0 and "5 passed" in second.stdout, second.stdout + second.stderr
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(f"processor time {processor:.2f} s, on the clock {clock:.2f} s")
    assert processor < 3
