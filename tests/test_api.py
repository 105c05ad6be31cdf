"""The public API: its list, its names for type checkers, its version."""

import ast
import difflib
import importlib
import inspect
import re
import subprocess
import sys
from importlib.metadata import version

import api
import pytest

import tlfast
from tlfast import _version

LAZY = ["tlfast", "tlfast.applications", "tlfast.models", "tlfast.saving", "tlfast.utils"]


def test_api_is_the_stored_list():
    """An unwanted change shows as a diff; a wanted one needs an entry in CHANGELOG.md."""
    _, stored = api.stored()
    diff = "\n".join(difflib.unified_diff(
        stored.splitlines(), api.text().splitlines(), "tests/api.txt", "the code", "", "", 2, ""))
    assert not diff, (
        f"the public API is not the one in tests/api.txt:\n{diff}\n"
        "If this is meant: add an entry to CHANGELOG.md, then `python tests/api.py --write`."
    )


def test_changelog_kept_its_entries():
    entries, _ = api.stored()
    assert 0 < entries <= api.changelog_entries(), "entries were taken out of CHANGELOG.md"


def test_write_asks_for_a_changelog_entry(monkeypatch, tmp_path):
    changelog, listed = tmp_path / "CHANGELOG.md", tmp_path / "api.txt"
    monkeypatch.setattr(api, "CHANGELOG", changelog)
    monkeypatch.setattr(api, "LIST", listed)
    changelog.write_text("# Changelog\n- A rule.\n## [Unreleased]\n- One.\n")
    api.write()
    assert api.stored() == (1, api.text())
    listed.write_text(listed.read_text().replace("module tlfast.utils\n", ""))
    with pytest.raises(SystemExit, match="new entry of CHANGELOG.md"):
        api.write()
    changelog.write_text("# Changelog\n- A rule.\n## [Unreleased]\n- One.\n- Two.\n")
    api.write()
    assert api.stored() == (2, api.text())


def test_list_shows_what_changes():
    """A new argument, default, method, property, base or name is another line."""
    listed = api.text()
    for line in [
        "class tlfast.models.Sequential(Model)",
        "tlfast.set_num_threads(n: int) -> None",
        "        batch_size: int | None = None,",
        "    class_names: list[str] | None  # property, can be set",
        "    classmethod from_config(config: dict[str, Any]) -> Regularizer",
        "tlfast.Model = tlfast.models.Model",
    ]:
        assert f"\n{line}\n" in listed
    assert " at 0x" not in listed  # an address would be another in every process


def bound_names(module):
    """The names that a module's source binds, and those of them bound for type checkers only."""
    plain, typed = set(), {}
    for line in ast.parse(inspect.getsource(module)).body:
        if isinstance(line, ast.If) and ast.unparse(line.test) == "TYPE_CHECKING":
            typed = {name.asname: (getattr(part, "module", name.name), name.name)
                     for part in line.body for name in part.names}
        elif isinstance(line, (ast.Import, ast.ImportFrom)):
            plain |= {name.asname or name.name for name in line.names}
        elif isinstance(line, (ast.FunctionDef, ast.ClassDef)):
            plain.add(line.name)
        elif isinstance(line, ast.Assign):
            plain |= {target.id for target in line.targets}
    return plain, typed


@pytest.mark.parametrize("name", LAZY)
def test_type_checkers_see_the_names_of_the_running_package(name):
    module = importlib.import_module(name)
    plain, typed = bound_names(module)
    served = {*module.__all__, *getattr(module, "_SAVING", ())}
    assert set(typed) == served - plain
    for public, (source, target) in typed.items():
        there = importlib.import_module(source)
        assert getattr(module, public) is (there if source == target else getattr(there, target))


def test_keras_is_the_package_for_type_checkers_too():
    assert bound_names(tlfast)[1]["keras"] == ("tlfast", "tlfast")


def test_one_version():
    """Of the file, the package, the installed metadata and the command."""
    command = [sys.executable, "-m", "tlfast.cli", "--version"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {_version.__version__, tlfast.__version__, version("tlfast"), printed.split()[-1]}
    assert len(found) == 1
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", _version.__version__)


def test_version_is_in_the_changelog():
    """Released versions have a heading of their own, the one in the making is named."""
    assert _version.__version__ in api.CHANGELOG.read_text()
