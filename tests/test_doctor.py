"""`tlfast doctor`: facts of this machine, of faked ones, what is broken and what is slow."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tlfast
from tlfast import _core, _doctor, _self_test, cli
from tlfast.commands.doctor import report

VARIABLES = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_DYNAMIC", "ONEDNN_MAX_CPU_ISA",
             "ONEDNN_VERBOSE", "TLFAST_CACHE_DIR")  # fmt: skip


def doctor(*words: str, **variables: str):
    env = {k: v for k, v in os.environ.items() if k not in VARIABLES} | variables
    return subprocess.run([sys.executable, "-m", "tlfast.cli", "doctor", *words], env=env,
                          capture_output=True, text=True, timeout=120)  # fmt: skip


@pytest.fixture(scope="module")
def facts():
    """What the doctor says of this machine, in a process of its own."""
    done = doctor("--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return json.loads(done.stdout)


def whats(findings) -> str:
    return "\n".join(finding["what"] for finding in findings)


# ---- this machine --------------------------------------------------------------------------------


def test_facts_of_this_machine(facts):
    assert facts["broken"] == []
    for name, package in (("NumPy", "numpy"), ("h5py", "h5py"), ("Pillow", "pillow")):
        assert facts["versions"][name] == importlib.metadata.version(package)
    assert facts["versions"]["tlfast"] == tlfast.__version__
    assert facts["versions"]["oneDNN runtime"] == "OpenMP"
    assert facts["versions"]["oneDNN"].startswith("3.")
    assert facts["threads"]["affinity"] == len(os.sched_getaffinity(0))
    assert facts["threads"]["usable"] == _core.cpu_count() == facts["threads"]["team"]
    assert 0 < facts["memory"]["available"] <= facts["memory"]["total"]
    assert all(took > 0 for took in facts["self_test"].values())
    assert set(facts["self_test"]) == {"decode", "train step"}


def test_libraries_are_named_with_their_places(facts):
    names = [os.path.basename(path) for path in facts["libraries"]]
    assert all(os.path.isfile(path) for path in facts["libraries"])
    for start in ("_core.", "libdnnl.so", "libgomp", "libjpeg", "libpng"):
        assert [name for name in names if name.startswith(start)], start
    ours = Path(_core.__file__).parent
    assert str(ours / "libdnnl.so.3") in facts["libraries"]


def test_the_report_is_short(facts):
    lines = report(facts).splitlines()
    assert lines[0] == f"tlfast {tlfast.__version__} works here"
    assert len(lines) < 40
    text = "\n".join(lines)
    for section in ("versions", "CPU", "threads", "memory", "libraries", "folders", "self-test"):
        assert f"\n{section} " in text
    assert "train step good (" in text and "decode good (" in text


def test_variables_that_slow_it_down():
    done = doctor("--json", OMP_NUM_THREADS="5", OMP_THREAD_LIMIT="1", ONEDNN_MAX_CPU_ISA="SSE41")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    said = whats(facts["slow"])
    assert "1 of 5 threads could be had: OMP_THREAD_LIMIT=1" in said
    assert "OMP_NUM_THREADS=5 threads share" in said or facts["threads"]["usable"] >= 5
    assert "ONEDNN_MAX_CPU_ISA=SSE41 allows SSE4.1 only" in said
    assert facts["variables"]["ONEDNN_MAX_CPU_ISA"] == "SSE41"


# ---- other machines ------------------------------------------------------------------------------

GOOD = {
    "cpu": {"isa": 7, "in use": "AVX2", "bfloat16": False, "features": ["avx2"], "model": "a CPU"},
    "threads": {"processors": 8, "affinity": 8, "quota": None, "usable": 8,
                "OMP_NUM_THREADS": None, "wanted": 8, "team": 8},
    "memory": {"total": 1 << 34, "available": 1 << 33, "container limit": None,
               "huge pages": "madvise"},
    "libraries": ["/usr/lib/libgomp.so.1"],
    "folders": {"cache": {"path": "/c", "bytes": 0, "exists": True, "writable": True}},
    "variables": {},
}  # fmt: skip


def altered(section: str, **values):
    """A good machine's facts with some others."""
    return {**GOOD, section: {**GOOD[section], **values}}


def test_a_good_machine_has_nothing_slow():
    assert _doctor.slow(GOOD) == []


@pytest.mark.parametrize(
    ("section", "values", "what", "advice"),
    [
        ("cpu", {"isa": 0, "in use": "none", "features": []}, "no SSE4.1", "AVX2"),
        ("cpu", {"isa": 3, "in use": "AVX", "features": ["avx"]}, "AVX but not AVX2", "virtual"),
        ("threads", {"OMP_NUM_THREADS": 1, "wanted": 1, "team": 1}, "OMP_NUM_THREADS=1, though 8",
         "unset OMP_NUM_THREADS"),
        ("threads", {"OMP_NUM_THREADS": 9, "wanted": 9, "team": 9}, "9 threads share 8 proc",
         "unset OMP_NUM_THREADS"),
        ("threads", {"team": 3}, "3 of 8 threads could be had: a limit on processes", "ulimit -u"),
        ("threads", {"quota": 0.5, "usable": 1, "wanted": 1, "team": 1},
         "0.5 of 8 processors; below one, threads are stopped", "--cpus=N"),
        ("threads", {"processors": 64}, "8 of 64 processors", "taskset"),
        ("memory", {"huge pages": "never"}, "huge pages are off", "echo madvise"),
        ("memory", {"available": 100 << 20}, "only 100 MB", "smaller batches"),
        ("memory", {"available": None}, "no /proc/meminfo", "TLFAST_CACHE_MEMORY"),
    ],
)  # fmt: skip
def test_what_slows_down(section, values, what, advice):
    found = _doctor.slow(altered(section, **values))
    assert len(found) == 1
    assert what in found[0]["what"] and advice in found[0]["advice"]


def test_two_openmp_libraries():
    found = _doctor.slow({**GOOD, "libraries": ["/a/libgomp.so.1", "/b/libiomp5.so", "/c/libpng"]})
    assert len(found) == 1 and found[0]["what"].startswith("2 OpenMP libraries are loaded")
    assert "/a/libgomp.so.1, /b/libiomp5.so" in found[0]["what"]
    assert "OMP_WAIT_POLICY" in found[0]["advice"]


@pytest.mark.parametrize(
    ("cache", "what"),
    [
        ({"path": "/c", "writable": False}, "/c cannot be written"),
        ({"path": None, "reason": "this user has no home folder"}, "this user has no home folder"),
    ],
)
def test_no_use_of_the_cache_folder(cache, what):
    found = _doctor.slow({**GOOD, "folders": {"cache": cache}})
    assert len(found) == 1 and what in found[0]["what"]
    assert "set TLFAST_CACHE_DIR" in found[0]["advice"]


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """kernel("sys/fs/cgroup/cpu.max", text): files of a faked /proc and /sys, empty at first."""
    monkeypatch.setattr(_doctor, "PROC", tmp_path / "proc")
    monkeypatch.setattr(_doctor, "SYS", tmp_path / "sys")

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
    ],
)
def test_quota(kernel, files, quota):
    for name, text in files.items():
        kernel(f"sys/fs/cgroup/{name}", text)
    assert _doctor._quota() == quota


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("memory.max", "max\n", None),
        ("memory.max", "1000000\n", 1000000),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("memory/memory.limit_in_bytes", "2000000\n", 2000000),
    ],
)
def test_memory_limit(kernel, name, text, limit):
    kernel(f"sys/fs/cgroup/{name}", text)
    assert _doctor._memory([])["container limit"] == limit


@pytest.mark.parametrize(
    ("text", "value"), [("", None), ("4", 4), (" 2,1", 2), ("x", None), ("0", None)]
)
def test_threads_as_the_core_reads_them(text, value):
    assert _doctor._leading_number(text) == value


def test_without_proc(kernel, monkeypatch, capsys):
    """Nothing of the kernel can be read: the facts are unknown, the rest works."""
    monkeypatch.setattr(_core, "memory_available", lambda: 2**64 - 1)
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "no /proc/meminfo" in said and "mount /proc" in said
    for words in ("unknown; in use:", "features unknown", "unknown of unknown available",
                  "unknown: /proc is not mounted", "huge pages unknown"):  # fmt: skip
        assert words in said


# ---- broken --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("h5py", ["h5py, which saving models needs, does not load", "h5py missing"]),
        ("PIL", ["pillow, which reading images other than JPEG and PNG needs", "Pillow missing"]),
    ],
)
def test_a_missing_package(monkeypatch, capsys, module, words):
    monkeypatch.setitem(sys.modules, module, None)  # import raises ImportError
    monkeypatch.setattr(_self_test.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    package = {"PIL": "pillow"}.get(module, module)
    assert said.startswith(f"tlfast {tlfast.__version__} does not work here\nBroken: ")
    assert f"-> pip install --force-reinstall {package}" in said
    for word in words:
        assert word in said
    assert said.count("Broken: ") == 1


def test_wrong_results_are_noticed(monkeypatch, capsys):
    """Pixels one off, and a loss that is not NumPy's."""
    right = _core.decode_image
    monkeypatch.setattr(_core, "decode_image", lambda content: right(content) ^ 1)
    monkeypatch.setattr(_self_test, "_loss", lambda *args: 2.0)
    assert cli.main(["doctor", "--json"]) == 1
    broken = json.loads(capsys.readouterr().out)["broken"]
    assert "self-test of a decode failed" in broken[0]["what"]
    assert "other pixels than were written" in broken[0]["what"]
    assert "NumPy computes 2.0" in broken[1]["what"]
    assert all("tlfast doctor --json" in finding["advice"] for finding in broken)


def test_no_compute_thread(monkeypatch):
    def refuse():
        raise OSError(11, "cannot start the compute thread")

    monkeypatch.setattr(_core, "num_threads", refuse)
    broken = []
    assert _doctor._threads(broken)["team"] is None
    assert "cannot start the compute thread" in broken[0]["what"]
    assert "ulimit -u" in broken[0]["advice"]


def test_an_unwritable_cache_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TLFAST_CACHE_DIR", str(tmp_path / "file" / "cache"))
    cache = _doctor._folders([])["cache"]
    assert cache["writable"] is False and cache["exists"] is False
    monkeypatch.setenv("TLFAST_CACHE_DIR", str(tmp_path / "not" / "yet"))
    assert _doctor._folders([])["cache"]["writable"] is True
    assert not (tmp_path / "not").exists()  # looking makes nothing
