"""`tlfast doctor`: what tlfast finds here, whether it works, and what is slow."""

import argparse
import json
from typing import Any

HELP = "say what is installed here, whether it works, and what is slow and why"
DESCRIPTION = (
    "Prints versions, CPU, threads, memory, libraries, folders and environment variables, runs a "
    "training step and a decode, and names what slows tlfast down. Exit status 1 where tlfast "
    "does not work. Nothing is sent anywhere."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast doctor`."""
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")


def run(options: argparse.Namespace) -> int:
    """Examine and print; returns 0 where everything works, 1 where something does not."""
    from tlfast._doctor import examine

    facts = examine()
    print(json.dumps(facts, indent=2) if options.json else report(facts))
    return 1 if facts["broken"] else 0


def report(facts: dict[str, Any]) -> str:
    """The facts as text: first the verdict, then what is slow, then everything else."""
    works = not facts["broken"]
    lines = [f"tlfast {facts['versions']['tlfast']} {'works' if works else 'does not work'} here"]
    for title, findings in (("Broken", facts["broken"]), ("Slow", facts["slow"])):
        for finding in findings:
            lines += [f"{title}: {finding['what']}", f"    -> {finding['advice']}"]
    if works and not facts["slow"]:
        lines.append("nothing slows it down")
    lines.append("")
    for title, rows in _sections(facts):
        lines += [f"{title if n == 0 else '':10} {row}" for n, row in enumerate(rows)]
    return "\n".join(lines)


def _sections(facts: dict[str, Any]) -> list[tuple[str, list[str]]]:
    cpu = facts["cpu"]
    return [
        ("versions", _versions(facts["versions"])),
        ("CPU", [f"{cpu['model'] or 'unknown'}; in use: {cpu['in use']}; bfloat16 "
                 f"(mixed_bfloat16): {'yes' if cpu['bfloat16'] else 'no, it would be emulated'}",
                 f"has {' '.join(cpu['features'])}" if cpu["features"] else "features unknown"]),
        ("threads", _threads(facts["threads"])),
        ("memory", _memory(facts["memory"])),
        ("libraries", facts["libraries"] or ["unknown: /proc is not mounted"]),
        ("folders", _folders(facts["folders"])),
        ("variables", [f"{n}={v}" for n, v in facts["variables"].items()] or ["none is set"]),
        ("self-test", [_self_test(facts["self_test"])]),
    ]  # fmt: skip


def _versions(versions: dict[str, str | None]) -> list[str]:
    names = ("Python", "NumPy", "h5py", "Pillow")
    return [
        ", ".join(f"{name} {versions[name] or 'missing'}" for name in names),
        f"oneDNN {versions['oneDNN']} ({versions['oneDNN runtime']}, {versions['oneDNN hash']})",
    ]


def _threads(t: dict[str, Any]) -> list[str]:
    quota = "none" if t["quota"] is None else f"{t['quota']:g} processors"
    omp = t["OMP_NUM_THREADS"] or "not set"
    got = "no thread could be started" if t["team"] is None else f"{t['team']} compute"
    return [f"{got}; affinity {t['affinity']} of {t['processors']} processors, container quota "
            f"{quota}, OMP_NUM_THREADS {omp}"]  # fmt: skip


def _memory(memory: dict[str, Any]) -> list[str]:
    limit = memory["container limit"]
    return [f"{_gigabytes(memory['available'])} of {_gigabytes(memory['total'])} available, "
            f"container limit {'none' if limit is None else _gigabytes(limit)}, "
            f"huge pages {memory['huge pages'] or 'unknown'}"]  # fmt: skip


def _gigabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:.1f} GB"


def _folders(folders: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, folder in folders.items():
        if folder["path"] is None:
            lines.append(f"{name}: none ({folder['reason']})")
            continue
        state = f"{folder['bytes'] / 1e6:.1f} MB" if folder["exists"] else "not made yet"
        lines.append(f"{name}: {folder['path']} ({state})")
    return lines


def _self_test(times: dict[str, float | None]) -> str:
    return ", ".join(
        f"{name} {'FAILED' if ms is None else f'good ({ms:.1f} ms)'}" for name, ms in times.items()
    )
