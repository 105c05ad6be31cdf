"""The README's figures: every table is what the results say that it names."""

import json
import shutil
import subprocess
import sys

from conftest import ROOT


def tables(root, *options):
    command = [sys.executable, str(root / "benchmarks" / "run.py"), "tables", *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_tables_are_those_of_the_files_they_name():
    done = tables(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_a_figure_of_another_result_is_noticed(tmp_path):
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    shutil.copy(ROOT / "README.md", tmp_path)
    results = sorted((tmp_path / "benchmarks" / "results").glob("train-2*.json"))
    assert tables(tmp_path, "--check").returncode == 0
    content = json.loads(results[-1].read_text())
    content["networks"]["ResNet50"]["seconds"]["tlfast"] = [9.0]
    results[-1].write_text(json.dumps(content))
    done = tables(tmp_path, "--check")
    assert done.returncode != 0 and "benchmarks/results/" in done.stderr
    assert tables(tmp_path).returncode == tables(tmp_path, "--check").returncode == 0
