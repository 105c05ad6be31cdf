"""Facts about this machine and installation, and what follows from them for speed.

`examine` gathers; `tlfast.commands.doctor` prints. A fact that cannot be had is None.
"""

import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlfast import _environment

# What the kernel says stands below these; tests put folders of their own here.
PROC = Path("/proc")
SYS = Path("/sys")

# dnnl_cpu_isa_t of oneDNN 3.x, each with all bits of those before it.
_ISA = {
    0x0: "none", 0x1: "SSE4.1", 0x3: "AVX", 0x7: "AVX2", 0xF: "AVX2 with VNNI",
    0x1F: "AVX2 with VNNI 2", 0x27: "AVX-512", 0x67: "AVX-512 with VNNI",
    0xE7: "AVX-512 with bf16", 0x1EF: "AVX-512 with fp16", 0xFEF: "AMX", 0x1FEF: "AMX with fp16",
}  # fmt: skip
_AVX2, _AVX512 = 0x7, 0x27
# dnnl_runtime_kind_t; the core refuses all but OpenMP.
_RUNTIMES = {0: "none", 1: "sequential", 2: "OpenMP", 4: "TBB", 8: "thread pool"}
_LIBRARIES = ("_core.", "libdnnl", "libgomp", "libomp", "libiomp", "libjpeg", "libturbojpeg",
              "libpng")  # fmt: skip
_OPENMP = ("libgomp", "libomp", "libiomp")
# The flags of /proc/cpuinfo that decide about speed.
_FEATURES = ("sse4_1", "avx", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
_LITTLE_MEMORY = 1 << 30


def examine() -> dict[str, Any]:
    """Gather all facts, run the self-test, and judge.

    Returns:
        One dictionary per section; `broken` and `slow` are lists of
        `{"what": ..., "advice": ...}`. It consists of JSON's types.
    """
    facts: dict[str, Any] = {"broken": []}
    for name, gather in (
        ("versions", _versions), ("cpu", _cpu), ("threads", _threads), ("memory", _memory),
        ("folders", _folders), ("self_test", _self_test),
        # After the test, which loads what tlfast loads.
        ("libraries", _libraries),
    ):  # fmt: skip
        facts[name] = gather(facts["broken"])
    facts["variables"] = _environment.set_now()
    facts["slow"] = slow(facts)
    return facts


def _finding(what: str, advice: str) -> dict[str, str]:
    return {"what": what, "advice": advice}


# ---- facts ---------------------------------------------------------------------------------------


def _versions(broken: list[dict[str, str]]) -> dict[str, Any]:
    import numpy

    from tlfast import __version__, _core

    onednn = _core.onednn_info()
    return {
        "tlfast": __version__,
        "Python": platform.python_version(),
        "NumPy": numpy.__version__,
        "h5py": _imported_version("h5py", "saving models", broken),
        "Pillow": _imported_version("PIL", "reading images other than JPEG and PNG", broken),
        "oneDNN": ".".join(map(str, onednn["version"])),
        "oneDNN runtime": _RUNTIMES.get(onednn["cpu_runtime"], str(onednn["cpu_runtime"])),
        "oneDNN hash": onednn["hash"],
    }


def _imported_version(module: str, purpose: str, broken: list[dict[str, str]]) -> str | None:
    package = {"PIL": "pillow"}.get(module, module)
    try:
        return __import__(module).__version__
    except ImportError as error:
        broken.append(
            _finding(f"{package}, which {purpose} needs, does not load: {error}",
                     f"pip install --force-reinstall {package}")
        )  # fmt: skip
        return None


def _cpu(broken: list[dict[str, str]]) -> dict[str, Any]:
    from tlfast import _core

    text = _read(PROC / "cpuinfo") or ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    isa = _core.onednn_info()["isa"]
    return {
        "model": model[1].strip() if model else None,
        "features": [name for name in _FEATURES if name in has] if flags else None,
        "isa": isa,
        "in use": _ISA.get(isa, f"{isa:#x}"),
        "bfloat16": _core.has_bfloat16(),
    }


def _threads(broken: list[dict[str, str]]) -> dict[str, Any]:
    from tlfast import _core

    wanted = _leading_number(os.environ.get("OMP_NUM_THREADS", ""))
    usable = _core.cpu_count()
    facts = {
        "processors": os.cpu_count(),
        "affinity": len(os.sched_getaffinity(0)),
        "quota": _quota(),
        "usable": usable,
        "OMP_NUM_THREADS": wanted,
        "wanted": wanted or usable,
        "team": None,
    }
    try:
        facts["team"] = _core.num_threads()
    except OSError as error:
        broken.append(
            _finding(f"the thread that computes cannot be started: {error}",
                     "raise the limit on processes (ulimit -u, the container's pids limit)")
        )  # fmt: skip
    return facts


def _leading_number(text: str) -> int | None:
    """What C's atoi makes of a text, if that is more than 0."""
    match = re.match(r"\s*\+?(\d+)", text)
    return int(match[1]) or None if match else None


def _quota() -> float | None:
    """Processors that the container may use (cgroup v2 or v1), None for all."""
    two = (_read(SYS / "fs/cgroup/cpu.max") or "").split()
    if len(two) == 2 and two[0].isdigit():
        return int(two[0]) / int(two[1])
    quota = _read(SYS / "fs/cgroup/cpu/cpu.cfs_quota_us") or ""
    period = _read(SYS / "fs/cgroup/cpu/cpu.cfs_period_us") or ""
    if quota.strip().isdigit() and period.strip().isdigit():
        return int(quota) / int(period)
    return None


def _memory(broken: list[dict[str, str]]) -> dict[str, Any]:
    from tlfast import _core

    total = re.search(r"^MemTotal:\s+(\d+) kB", _read(PROC / "meminfo") or "", re.MULTILINE)
    limits = [_read(SYS / "fs/cgroup" / name) or "" for name in
              ("memory.max", "memory/memory.limit_in_bytes")]  # fmt: skip
    limit = next((int(text) for text in limits if text.strip().isdigit()), None)
    if limit is not None and limit >= 1 << 60:
        limit = None  # cgroup v1 writes "no limit" as a number
    pages = re.search(r"\[(\w+)\]", _read(SYS / "kernel/mm/transparent_hugepage/enabled") or "")
    available = _core.memory_available()
    return {
        "total": int(total[1]) * 1024 if total else None,
        # The core says "as much as there are addresses" where the kernel says nothing.
        "available": available if available < 1 << 60 else None,
        "container limit": limit,
        "huge pages": pages[1] if pages else None,
    }


def _folders(broken: list[dict[str, str]]) -> dict[str, Any]:
    from tlfast._cache import cache_folder, folder_bytes
    from tlfast.weights.locate import keras_home, user_folder

    named: dict[str, Callable[[], Path | None]] = {
        "cache": cache_folder,
        "weights, yours": user_folder,
        "weights, Keras'": lambda: keras_home() / "models",
    }
    facts: dict[str, Any] = {}
    for name, find in named.items():
        try:
            path = find()
        except OSError as error:  # no home folder: what needs one says so again
            facts[name] = {"path": None, "reason": str(error)}
            continue
        if path is not None:
            facts[name] = {
                "path": str(path), "bytes": folder_bytes(path), "exists": path.is_dir(),
                "writable": _writable(path),
            }  # fmt: skip
    return facts


def _writable(folder: Path) -> bool:
    """Whether a folder, or what has to be made for it to be there, can be written."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _libraries(broken: list[dict[str, str]]) -> list[str] | None:
    """Paths of the libraries in this process that matter; None where /proc does not say."""
    maps = _read(PROC / "self/maps")
    if maps is None:
        return None
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line}
    return sorted(p for p in paths if os.path.basename(p).startswith(_LIBRARIES))


def _self_test(broken: list[dict[str, str]]) -> dict[str, float | None]:
    """Milliseconds of a decode and a training step; what fails is told, whatever it is."""
    from tlfast import _self_test

    times: dict[str, float | None] = {}
    for name, test in (("decode", _self_test.decode), ("train step", _self_test.train_step)):
        began = time.perf_counter()
        try:
            times[name] = round(test(), 2)
        except Exception as error:
            seconds = time.perf_counter() - began
            times[name] = None
            broken.append(
                _finding(f"the self-test of a {name} failed after {seconds:.1f} s: "
                         f"{type(error).__name__}: {error}",
                         "install tlfast again; if that does not help, report it with the output "
                         "of `tlfast doctor --json`")
            )  # fmt: skip
    return times


def _read(path: Path) -> str | None:
    """The text of a file of the kernel, or None where it is missing or may not be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


# ---- what follows for speed ----------------------------------------------------------------------


def slow(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Reasons why tlfast is slower here than it could be, each with what to do."""
    return [
        _finding(*reason)
        for judge in (_slow_cpu, _slow_threads, _slow_memory, _slow_libraries, _slow_folders)
        for reason in judge(facts)
    ]


def _slow_cpu(facts: dict[str, Any]) -> list[tuple[str, str]]:
    cpu = facts["cpu"]
    isa, features = cpu["isa"], cpu["features"] or []
    held = facts["variables"].get("ONEDNN_MAX_CPU_ISA")
    better = (isa < _AVX2 and "avx2" in features) or (isa < _AVX512 and "avx512f" in features)
    if held and better:
        return [(f"ONEDNN_MAX_CPU_ISA={held} allows {cpu['in use']} only; the CPU has more",
                 "unset ONEDNN_MAX_CPU_ISA")]  # fmt: skip
    if isa == 0:
        return [("the CPU has no SSE4.1: oneDNN has only its slow reference loops for it",
                 "use a CPU with AVX2 (from 2013 on)")]  # fmt: skip
    if isa < _AVX2:
        return [(f"the CPU, or the virtual machine, has {cpu['in use']} but not AVX2, for which "
                 "the fast loops are written",
                 "use a CPU with AVX2 (from 2013 on), or let the virtual machine pass on the "
                 "host's CPU")]  # fmt: skip
    if facts["variables"].get("ONEDNN_VERBOSE", "0") not in ("", "0", "none"):
        return [("ONEDNN_VERBOSE makes oneDNN print a line for every step", "unset ONEDNN_VERBOSE")]
    return []


def _slow_threads(facts: dict[str, Any]) -> list[tuple[str, str]]:
    t = facts["threads"]
    reasons = []
    if t["team"] is not None and t["team"] < t["wanted"]:
        limit = facts["variables"].get("OMP_THREAD_LIMIT")
        cause = (f"OMP_THREAD_LIMIT={limit}", "unset OMP_THREAD_LIMIT") if limit else (
            "a limit on processes", "raise it (ulimit -u, the container's pids limit)")  # fmt: skip
        reasons.append((f"{t['team']} of {t['wanted']} threads could be had: {cause[0]}", cause[1]))
    if t["OMP_NUM_THREADS"] and t["OMP_NUM_THREADS"] < t["usable"]:
        reasons.append((f"OMP_NUM_THREADS={t['OMP_NUM_THREADS']}, though {t['usable']} processors "
                        "can be used", "unset OMP_NUM_THREADS"))  # fmt: skip
    if t["OMP_NUM_THREADS"] and t["OMP_NUM_THREADS"] > t["usable"]:
        reasons.append((f"OMP_NUM_THREADS={t['OMP_NUM_THREADS']} threads share {t['usable']} "
                        "processors and wait for each other", "unset OMP_NUM_THREADS"))  # fmt: skip
    if t["quota"] is not None and t["quota"] < t["affinity"]:
        pauses = "; below one, threads are stopped in between" if t["quota"] < 1 else ""
        reasons.append((f"the container may use {t['quota']:g} of {t['affinity']} processors"
                        f"{pauses}", "give the container more (docker run --cpus=N, resources."
                        "limits.cpu)"))  # fmt: skip
    if t["processors"] and t["affinity"] < t["processors"]:
        reasons.append((f"this process may use {t['affinity']} of {t['processors']} processors",
                        "start it without taskset, or ask the batch system or container for "
                        "more"))  # fmt: skip
    return reasons


def _slow_memory(facts: dict[str, Any]) -> list[tuple[str, str]]:
    memory = facts["memory"]
    reasons = []
    if memory["huge pages"] == "never":
        reasons.append(("transparent huge pages are off; with them large networks are a little "
                        "faster", "as root: echo madvise > "
                        "/sys/kernel/mm/transparent_hugepage/enabled"))  # fmt: skip
    if memory["available"] is None:
        reasons.append(("the kernel does not say how much memory there is (no /proc/meminfo): the "
                        "outputs of frozen layers are all kept in memory",
                        "mount /proc, or set TLFAST_CACHE_MEMORY to a number of MB"))  # fmt: skip
    elif memory["available"] < _LITTLE_MEMORY:
        reasons.append((f"only {memory['available'] >> 20} MB of memory are available",
                        "end other programs, or use smaller batches and images (model.plan() says "
                        "what fits)"))  # fmt: skip
    return reasons


def _slow_libraries(facts: dict[str, Any]) -> list[tuple[str, str]]:
    found = [p for p in facts["libraries"] or [] if os.path.basename(p).startswith(_OPENMP)]
    if len(found) < 2:
        return []
    return [(f"{len(found)} OpenMP libraries are loaded, whose waiting threads take time from each "
             f"other: {', '.join(found)}", "set OMP_WAIT_POLICY=passive before Python starts, or "
             "import fewer packages in this process")]  # fmt: skip


def _slow_folders(facts: dict[str, Any]) -> list[tuple[str, str]]:
    cache = facts["folders"]["cache"]
    if cache["path"] is None:
        return [(f"no cache folder: {cache['reason']}", "set TLFAST_CACHE_DIR")]
    if cache["writable"]:
        return []
    return [(f"the cache folder {cache['path']} cannot be written: outputs of frozen layers that "
             "do not fit into memory are computed again in every epoch",
             "set TLFAST_CACHE_DIR to a folder that can be written")]  # fmt: skip
