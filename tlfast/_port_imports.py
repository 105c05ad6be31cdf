"""The edits that make the import lines of a script those of tlfast."""

import ast
import re

from tlfast._port_script import own
from tlfast._port_source import Source
from tlfast._run_hook import ROOTS

_FROM = re.compile(r"from[\s\\]+([\w.]+)")  # a line may end in \ before the name


def edits(source: Source, tree: ast.Module) -> list[tuple[int, int, str]]:
    """Return (start, end, new text) for `Source.edited`."""
    made = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                if root in ROOTS:
                    # `import keras.layers` brings the name `keras`.
                    new = f"{own(alias.name if alias.asname else root)} as {alias.asname or root}"
                    made.append((*_span(source, alias), new))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            found = _FROM.match(source.text, source.offset(node.lineno, node.col_offset))
            if found is not None and module.partition(".")[0] in ROOTS:
                made.append((*found.span(1), own(module)))
    return made


def _span(source: Source, node: ast.alias) -> tuple[int, int]:
    return (
        source.offset(node.lineno, node.col_offset),
        source.offset(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset),
    )
