"""The public API as a list: python tests/api.py prints it, with --write into tests/api.txt.

Public is what a name without underscore leads to from `tlfast`. A line names a thing and shows how
it is called; a class is followed by its methods and properties. A thing with several names is shown
once, its other names point to it.

The list changes only together with CHANGELOG.md: its first line counts the entries that were there,
and --write asks for one more when the list is another.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import tlfast
from tlfast import _tf

# Public modules that `tlfast` does not name.
BY_FULL_NAME = ("tlfast.comparison",)

ROOT = Path(__file__).resolve().parent.parent
LIST, CHANGELOG = ROOT / "tests" / "api.txt", ROOT / "CHANGELOG.md"
HEADER = "# The public API; `python tests/api.py --write` made it when CHANGELOG.md had {} entries."
COUNT = re.compile(re.escape(HEADER).replace(r"\{\}", r"(\d+)"))


def public_names(module: ModuleType) -> list[str]:
    """The names a module offers: its `__all__`, or what it defines itself."""
    own = [name for name, thing in vars(module).items()
           if getattr(thing, "__module__", None) == module.__name__]
    names = getattr(module, "__all__", None) or own
    return sorted(name for name in names if not name.startswith("_") and name != "keras")


def things(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """(path, thing) of everything in a module and in the modules it names."""
    yield module.__name__, module
    for name in public_names(module):
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            yield from things(thing)
        else:
            yield f"{module.__name__}.{name}", thing


def tensorflow_things() -> Iterator[tuple[str, Any]]:
    """(path, thing) of the names that `import tlfast as tf` serves beside Keras'."""
    for name, thing in _tf._NAMES.items():
        if isinstance(thing, _tf.Namespace):
            yield from ((f"tlfast.{name}.{part}", getattr(thing, part)) for part in dir(thing))
        else:
            yield f"tlfast.{name}", thing


def annotation(given: object) -> str:
    """An annotation as it stands in the source: classes without the modules they are in."""
    text = given if isinstance(given, str) else inspect.formatannotation(given)
    return re.sub(r"\b(?:typing|collections|builtins|tlfast)\.(?:\w+\.)*", "", text)


def default(value: object) -> str:
    """A default value: as Python shows it, functions and classes by name."""
    named = inspect.isroutine(value) or inspect.isclass(value)
    return f"{value.__module__}.{value.__qualname__}" if named else repr(value)


def call(name: str, function: Any) -> str:
    """How a function is called, "self" left out; one argument a line where a line is too short."""
    made = inspect.signature(function)
    shown: list[str] = []
    for key, p in made.parameters.items():
        if key in ("self", "cls"):
            continue
        starred = any(text.startswith("*") for text in shown)
        if p.kind is p.KEYWORD_ONLY and not starred:
            shown.append("*")
        text = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + key
        text += "" if p.annotation is p.empty else f": {annotation(p.annotation)}"
        shown.append(text + ("" if p.default is p.empty else f" = {default(p.default)}"))
    back = made.return_annotation
    end = ")" if back is made.empty else f") -> {annotation(back)}"
    line = f"{name}({', '.join(shown)}{end}"
    if len(line) <= 100:
        return line
    outer = " " * (len(name) - len(name.lstrip()))
    return "\n".join([f"{name}(", *(f"{outer}    {text}," for text in shown), outer + end])


def member(cls: type, name: str) -> str | None:
    """The lines of a class's member; None for what is neither called nor read by users."""
    thing = inspect.getattr_static(cls, name)
    if isinstance(thing, property):
        back = annotation(inspect.signature(thing.fget).return_annotation)
        return f"    {name}: {back}  # property{', can be set' if thing.fset else ''}"
    if isinstance(thing, (staticmethod, classmethod)):
        return call(f"    {type(thing).__name__} {name}", thing.__func__)
    if inspect.isfunction(thing):
        return call(f"    {name}", thing)
    return f"    {name} = {thing!r}" if isinstance(thing, (bool, int, float, str)) else None


def parts(cls: type, known: set[type]) -> tuple[list[type], list[type]]:
    """The class with those of its bases that are not public, which count as part of it; the bases
    that are public or somebody else's."""
    own, bases = [cls], []
    for base in cls.__bases__:
        if base in known or base.__module__.split(".")[0] != "tlfast":
            bases.append(base)
        else:
            more_own, more_bases = parts(base, known)
            own += more_own
            bases += more_bases
    return own, [base for base in dict.fromkeys(bases) if base is not object]


def class_lines(path: str, cls: type, known: set[type]) -> Iterator[str]:
    """Bases, constructor and members of a class."""
    own, bases = parts(cls, known)
    yield f"class {path}({', '.join(base.__name__ for base in bases)})"
    names = {name for part in own for name in vars(part)}
    for name in ("__init__", "__call__", *sorted(n for n in names if not n.startswith("_"))):
        line = member(cls, name) if name in names else None
        if line is not None:
            yield line


def homes(found: list[tuple[str, Any]]) -> dict[int, str]:
    """The path at which a class or function is shown, by its id: where it has its own name, in the
    innermost module."""
    best: dict[int, str] = {}
    for path, thing in found:
        if inspect.isclass(thing) or inspect.isroutine(thing):
            own_name = f".{thing.__name__}"
            best[id(thing)] = max(best.get(id(thing), path), path,
                                  key=lambda p: (p.endswith(own_name), p.count(".")))
    return best


def lines() -> Iterator[str]:
    """The list, one entry after the other."""
    modules = [tlfast, *map(importlib.import_module, BY_FULL_NAME)]
    found = [pair for module in modules for pair in things(module)]
    found = sorted([*found, *tensorflow_things()], key=lambda pair: pair[0])
    known = {thing for _, thing in found if inspect.isclass(thing)}
    home = homes(found)
    for path, thing in found:
        if isinstance(thing, ModuleType):
            yield f"module {path}"
        elif home.get(id(thing), path) != path:
            yield f"{path} = {home[id(thing)]}"
        elif inspect.isclass(thing) and thing.__module__.split(".")[0] == "tlfast":
            yield from class_lines(path, thing, known)
        elif inspect.isroutine(thing):
            yield call(path, thing)
        else:
            yield f"{path}: {type(thing).__name__}"


def text() -> str:
    """The list without its header."""
    return "\n".join(lines()) + "\n"


def changelog_entries() -> int:
    """The number of entries of CHANGELOG.md, which begin below the first version's heading."""
    versions = CHANGELOG.read_text().partition("\n## ")[2]
    return len(re.findall(r"^- ", versions, flags=re.MULTILINE))


def stored() -> tuple[int, str]:
    """The number of changelog entries under which tests/api.txt was written, and its list."""
    if not LIST.exists():
        return 0, ""
    header, _, body = LIST.read_text().partition("\n")
    match = COUNT.fullmatch(header)
    if match is None:
        sys.exit(f"{LIST}: the first line is not {HEADER!r}")
    return int(match[1]), body


def write() -> None:
    """Stores the list; asks for a changelog entry where the list is another."""
    entries, body = stored()
    if text() == body:
        return
    if changelog_entries() <= entries:
        sys.exit("the public API has changed: say so in a new entry of CHANGELOG.md, then again")
    LIST.write_text(HEADER.format(changelog_entries()) + "\n" + text())


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit(__doc__)
    write() if sys.argv[1:] else print(text(), end="")
