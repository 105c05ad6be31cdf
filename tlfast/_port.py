"""`tlfast port`: the report on a script, and its import lines changed."""

import textwrap

from tlfast import _port_imports, _port_names, _port_traps
from tlfast._port_script import Script
from tlfast._port_source import Source


def port(path: str, write: bool = False) -> int:
    """Print what a script needs to run on tlfast, and its traps.

    Args:
        path: a .py or .ipynb file.
        write: whether to change its import lines; the old file is kept as FILE.bak.

    Returns:
        0 when the script will run, 1 when names or calls are missing.

    Raises:
        CommandError: the file cannot be read or written, or is no Python.
    """
    source = Source(path)
    tree = source.tree()
    script = Script(tree, source.text)
    text = source.edited(_port_imports.edits(source, tree))
    diff = source.diff(text)
    print(diff or f"{source.name}: no import of tensorflow or keras to change\n", end="")
    lacks = _port_names.missing(script)
    _show(
        f"tlfast lacks {len(lacks)} of the names and calls in it:",
        [f"{source.place(line)}: {sentence}" for line, sentence in lacks],
    )
    traps = _port_traps.traps(script)
    _show(
        f"Traps, {len(traps)} of them:",
        [
            f"{source.place(trap.line)}: {trap.kind}: {trap.text}"
            + textwrap.indent(f"\nWrite: {trap.write}", "    ")
            for trap in traps
        ],
    )
    if write and diff:
        source.write(text)
        print(f"\nwrote {path}; the file as it was is {path}.bak")
    return 1 if lacks else 0


def _show(head: str, entries: list[str]) -> None:
    if entries:
        print(f"\n{head}")
        for entry in entries:
            print(textwrap.indent(entry, "  "))
