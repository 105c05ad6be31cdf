"""A script or notebook as one text, with the place of every line, its edits and its diff."""

import ast
import difflib
import io
import json
import os
import re
import tokenize
from dataclasses import dataclass
from typing import Any

from tlfast.commands import CommandError

_MAGIC = re.compile(r"^(\s*)(?:[%!?].*|.*\?\s*)$")


@dataclass
class _Part:
    """A script, or a code cell: its title, and its lines with their ends."""

    title: str
    lines: list[str]
    cell: dict[str, Any] | None = None


class Source:
    """The Python text of a file.

    Args:
        path: a .py or .ipynb file.

    Raises:
        CommandError: no such file, or not what its ending says.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.basename(path)
        self._notebook: dict[str, Any] | None = None
        try:
            with open(path, "rb") as file:
                self.raw = file.read()
        except OSError as error:
            raise CommandError(f"cannot read {path!r}: {error.strerror}") from error
        if path.endswith(".ipynb"):
            self._read_notebook()
        elif path.endswith(".py"):
            self._read_script()
        else:
            raise CommandError(f"{path!r} ends in neither .py nor .ipynb: nothing else is ported")
        self.text = "".join(line for part in self._parts for line in part.lines)
        self._starts = [0]
        for line in self.text.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def _read_script(self) -> None:
        try:
            self._encoding = tokenize.detect_encoding(io.BytesIO(self.raw).readline)[0]
            text = self.raw.decode(self._encoding)
        except (SyntaxError, UnicodeDecodeError) as error:
            raise CommandError(f"{self.path!r} is no Python text: {error}") from error
        self._parts = [_Part("", _lines(text))]

    def _read_notebook(self) -> None:
        try:
            notebook: dict[str, Any] = json.loads(self.raw)
            cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"{self.path!r} is no notebook: {error!r}") from error
        self._notebook, self._parts = notebook, []
        for number, cell in enumerate(cells, 1):
            lines = _lines("".join(cell["source"]))
            if lines and lines[0].startswith("%%"):  # another language
                continue
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            self._parts.append(_Part(f"cell {number}", lines, cell))

    def tree(self) -> ast.Module:
        """The syntax tree; magics of notebooks count as `pass`.

        Raises:
            CommandError: the text is no Python; names the line.
        """
        text = self.text
        if self._parts and self._parts[0].cell is not None:
            text = "\n".join(_MAGIC.sub(r"\1pass", line) for line in text.split("\n"))
        try:
            return ast.parse(text)
        except SyntaxError as error:
            place = self.place(error.lineno or 1)
            raise CommandError(f"{place}: not Python 3: {error.msg}") from error

    def place(self, line: int) -> str:
        """ "train.py:12", or "hot_dog.ipynb, cell 3:2"."""
        for part in self._parts:
            if line <= len(part.lines):
                break
            line -= len(part.lines)
        return f"{self.name}, {part.title}:{line}" if part.title else f"{self.name}:{line}"

    def offset(self, line: int, column: int) -> int:
        """The index in `text` of a place in the tree, whose columns count bytes."""
        start = self._starts[line - 1]
        whole = self.text[start : self._starts[line] - 1]
        return start + len(whole.encode()[:column].decode())

    def edited(self, edits: list[tuple[int, int, str]]) -> str:
        """The text with parts (start, end, new) replaced; no edit changes the number of lines."""
        text = self.text
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def diff(self, text: str) -> str:
        """The unified diff from this source to `text`; empty when they are the same."""
        made = ""
        for part, lines in self._split(text):
            title = f"{self.path} {part.title}".rstrip()
            made += "".join(
                line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
                for line in difflib.unified_diff(part.lines, lines, title, title, n=1)
            )
        return made

    def write(self, text: str) -> None:
        """Replace the file by one with `text`; its old content becomes FILE.bak.

        Raises:
            CommandError: there is a FILE.bak already.
        """
        from tlfast.saving.atomic import replacing

        backup = f"{self.path}.bak"
        if os.path.exists(backup):
            raise CommandError(f"{backup!r} is there already and would be overwritten: move it")
        with replacing(backup) as file:
            file.write(self.raw)
        with replacing(self.path) as file:
            file.write(self._content(text))

    def _content(self, text: str) -> bytes:
        if self._notebook is None:
            return text.encode(self._encoding)
        layout = _layout(self.raw, self._notebook)
        for part, lines in self._split(text):
            assert part.cell is not None  # of a notebook
            old = part.cell["source"]
            if not "".join(old).endswith("\n"):
                lines[-1:] = [line.removesuffix("\n") for line in lines[-1:]]
            part.cell["source"] = lines if isinstance(old, list) else "".join(lines)
        return _dump(self._notebook, *layout)

    def _split(self, text: str) -> list[tuple[_Part, list[str]]]:
        lines = _lines(text)
        made = []
        for part in self._parts:
            made.append((part, lines[: len(part.lines)]))
            lines = lines[len(part.lines) :]
        return made


def _lines(text: str) -> list[str]:
    """Lines with their ends, divided as Python's parser divides them."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _dump(notebook: dict[str, Any], indent: int | None, ascii_only: bool, end: str) -> bytes:
    return (json.dumps(notebook, indent=indent, ensure_ascii=ascii_only) + end).encode()


def _layout(raw: bytes, notebook: dict[str, Any]) -> tuple[int | None, bool, str]:
    """How a notebook's JSON is laid out, so that only import lines change; else as Jupyter does."""
    for indent in (1, 2, 4, None):
        for ascii_only in (False, True):
            for end in ("\n", ""):
                if _dump(notebook, indent, ascii_only, end) == raw:
                    return indent, ascii_only, end
    return 1, False, "\n"
