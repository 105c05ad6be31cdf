"""The fuzzer of model files in short, and that it notices what it looks for."""

import subprocess
import sys
from pathlib import Path

import fuzz_files
import pytest

TESTS = Path(__file__).parent


def fuzz(folder: Path, *options: str) -> str:
    command = [sys.executable, TESTS / "fuzz_files.py", "--seed", "6", "--seconds", "500"]
    done = subprocess.run(
        [*command, "--out", folder, *options], capture_output=True, text=True, timeout=550
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.unsanitized
@pytest.mark.parametrize(
    ("readers", "count"),
    [
        (list(fuzz_files.READERS), 30),
        pytest.param(list(fuzz_files.READERS), 150, marks=pytest.mark.slow),
        pytest.param(["hdf5", "torch"], 1000, marks=pytest.mark.slow),
    ],
)
def test_no_findings(tmp_path, readers, count):
    chosen = [word for reader in readers for word in ("--reader", reader)]
    text = fuzz(tmp_path, "--count", str(count), *chosen)
    assert f"{count * len(readers)} mutants, seed 6: 0 findings" in text, text
    # Neither is everything refused, nor everything read; torch files have no room for harm.
    for line in text.splitlines()[:-1]:
        assert " refused" in line, line
        assert " predicted" in line or " loaded" in line or line.startswith("torch"), line


def test_mutants_are_the_same_again():
    for reader in fuzz_files.READERS:
        made = [fuzz_files.mutant(reader, 3, number) for number in range(8)]
        assert made == [fuzz_files.mutant(reader, 3, number) for number in range(8)], reader
        assert len(set(made)) > 4, reader
        assert made != [fuzz_files.mutant(reader, 4, number) for number in range(8)], reader


BUGS = {
    1: ("KeyError: 'bug'", "raise KeyError('bug')"),
    2: ("hang", "while True: pass"),
    3: ("crash", "import os; os.abort()"),
    4: ("MemoryError", "bytearray(1 << 30)"),
}


@pytest.mark.unsanitized
def test_bugs_are_found(tmp_path):
    """A reader with planted bugs, which four of six mutants meet."""
    planted = "".join(
        f"    if data == fuzz_files.mutant('torch', 6, {number}):\n        {code}\n"
        for number, (_, code) in BUGS.items()
    )
    script = tmp_path / "bug.py"
    script.write_text(f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import fuzz_files
fuzz_files.SECONDS = 0.5
fuzz_files.__file__ = __file__
good = fuzz_files.outcome
def outcome(reader, data, path, use=True):
{planted}
    return good(reader, data, path, use)
fuzz_files.outcome = outcome
sys.exit(fuzz_files.main())
""")
    command = [sys.executable, script, "--reader", "torch", "--count", "6", "--seed", "6", "--out"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    for number, (kind, _) in BUGS.items():
        assert f"torch {number}: {kind}" in done.stdout, done.stdout
        found = tmp_path / f"torch-6-{number}"
        assert found.read_bytes() == fuzz_files.mutant("torch", 6, number)
    assert "4 findings" in done.stdout and " 2 mutants" in done.stdout, done.stdout
