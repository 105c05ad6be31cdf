"""`tlfast cache`: where tlfast keeps things on disk, how much, and how to remove it."""

import argparse
import os
import sys

from tlfast.commands import CommandError

HELP = "show or empty the folder in which tlfast keeps things on disk"
DESCRIPTION = (
    "tlfast keeps the outputs of frozen layers that do not fit into memory in one folder while a "
    "process runs. Pretrained weights are in Keras' folder, which `clear` never touches."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast cache`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="dir | info | clear")
    actions.add_parser("dir", help="print the folder's path")
    actions.add_parser("info", help="what it holds, its size, and where weights are kept")
    clear = actions.add_parser("clear", help="remove what it holds")
    clear.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit status."""
    return {"dir": _dir, "info": _info, "clear": _clear}[options.action](options)


def _dir(options: argparse.Namespace) -> int:
    from tlfast._cache import cache_folder

    print(cache_folder())
    return 0


def _info(options: argparse.Namespace) -> int:
    from tlfast._cache import cache_folder, entries, folder_bytes
    from tlfast._features import memory_budget
    from tlfast.weights.locate import keras_home

    folder = cache_folder()
    try:
        budget = memory_budget()
    except ValueError as error:
        raise CommandError(str(error)) from error
    state = f"{_size(folder_bytes(folder))}, {_count(len(entries(folder)))}"
    print(f"{folder}  ({state if folder.exists() else 'not made yet'})")
    print(f"  chosen by {_chosen_by()}; `tlfast cache clear` empties it")
    print("  holds outputs of frozen layers while a process runs, beyond the first")
    print(f"  {budget >> 20} MB of a data set, which stay in memory (TLFAST_CACHE_MEMORY)")
    models = keras_home() / "models"
    print(f"{models}  ({_size(folder_bytes(models))})")
    print("  pretrained weights, shared with Keras (KERAS_HOME); `clear` does not touch them;")
    print("  `tlfast weights list` shows them")
    return 0


def _clear(options: argparse.Namespace) -> int:
    from tlfast._cache import cache_folder, clear, folder_bytes, removable

    folder = cache_folder()
    found = removable(folder)
    if not found:
        print(f"{folder}: nothing to remove")
        return 0
    total = sum(folder_bytes(e) if e.is_dir() else e.lstat().st_blocks * 512 for e in found)
    for entry in found:
        print(entry)
    if not options.yes and not _agreed(f"Remove {_count(len(found))}, {_size(total)}? [y/N] "):
        print("nothing was removed")
        return 0
    clear(found)
    print(f"removed {_count(len(found))}, {_size(total)}")
    return 0


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise CommandError("nobody can be asked here; `tlfast cache clear --yes` removes this")
    return input(question).strip().lower() in ("y", "yes")


def _chosen_by() -> str:
    if os.environ.get("TLFAST_CACHE_DIR"):
        return "TLFAST_CACHE_DIR"
    by_xdg = os.path.isabs(os.environ.get("XDG_CACHE_HOME", ""))
    return "XDG_CACHE_HOME" if by_xdg else "default (TLFAST_CACHE_DIR names another one)"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _count(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"
