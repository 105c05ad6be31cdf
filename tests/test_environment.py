"""The table of environment variables, the page that shows it, and manners: log, import, network."""

import ast
import logging
import re
import socket
import subprocess
import sys

import pytest
from conftest import ROOT

import tlfast
from tlfast import _environment, _warnings

PAGE = ROOT / "docs" / "environment.md"
PYTHON = [ROOT / "setup.py", *sorted((ROOT / "tlfast").rglob("*.py"))]


def strings(node, tree) -> set[str]:
    """The strings a name of the environment may be: a literal, or what is given to a variable."""
    if isinstance(node, ast.Constant):
        return {node.value}
    if isinstance(node, ast.Tuple | ast.List):
        return set().union(*(strings(e, tree) for e in node.elts))
    assert isinstance(node, ast.Name), ast.dump(node)
    given = [
        getattr(n, "value", None) or n.iter
        for n in ast.walk(tree)
        if (isinstance(n, ast.Assign) and node.id in [getattr(t, "id", "") for t in n.targets])
        or (isinstance(n, ast.comprehension) and getattr(n.target, "id", "") == node.id)
    ]
    assert given, f"{node.id} gets no value"
    return set().union(*(strings(v, tree) for v in given))


def names_read(tree) -> set[str]:
    """Names that a file reads with os.environ or getenv."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"):
            found |= strings(node.args[0], tree)
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            found |= strings(node.slice, tree)
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
            found |= strings(node.left, tree)
    return found


def test_every_variable_read_is_in_the_table():
    known, read = set(_environment.names()), set()
    for path in PYTHON:
        if path.name != "_environment.py":  # reads the names of its own table
            read |= names_read(ast.parse(path.read_text()))
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        read |= set(re.findall(r'getenv\("(\w+)"\)', path.read_text()))
    for path in [*PYTHON, *(ROOT / "tests").rglob("*.py")]:
        read |= set(re.findall(r"""["'](TLFAST_[A-Z_]+)["'=]""", path.read_text()))
    assert {"TLFAST_DNNL", "OMP_NUM_THREADS", "CURL_CA_BUNDLE", "TLFAST_CACHE_MEMORY",
            "PYCHARM_HOSTED", "TLFAST_WERROR"} <= read  # fmt: skip
    assert not read - known, "add these to tlfast/_environment.py"


def test_no_variable_of_ours_is_made_up():
    text = "".join(p.read_text() for p in [*PYTHON, *(ROOT / "tests").rglob("*.py")]
                   if p.name not in ("_environment.py", "test_environment.py"))  # fmt: skip
    ours = [name for name in _environment.names() if name.startswith("TLFAST_")]
    assert len(ours) == len(set(ours)) > 10
    assert not [name for name in ours if name not in text]


def test_the_page_shows_the_table():
    page = PAGE.read_text()
    assert _environment.with_table(page) == page, (
        "python -m tlfast._environment docs/environment.md writes it again"
    )
    for name in _environment.names():
        assert f"| `{name}` |" in page


def test_the_page_names_every_warning():
    categories = [n for n, v in vars(_warnings).items() if isinstance(v, type)]
    assert "DataWarning" in categories
    page = PAGE.read_text()
    assert not [name for name in categories if f"`tlfast.{name}`" not in page]
    assert all(issubclass(getattr(tlfast, n), tlfast.TlfastWarning) for n in categories)


def test_passwords_are_left_out(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:8080/")
    assert _environment.set_now()["https_proxy"] == "http://...@proxy:8080/"
    monkeypatch.delenv("https_proxy")
    assert "https_proxy" not in _environment.set_now()


# ---- manners -------------------------------------------------------------------------------------


def python(code: str):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True,
                          text=True, timeout=60)  # fmt: skip


def test_nothing_is_printed_at_import_and_no_handler_is_added():
    done = python(
        "import tlfast, logging\n"
        "from tlfast import keras\n"
        "[getattr(tlfast, n) for n in tlfast.__all__]\n"
        "assert not logging.getLogger('tlfast').handlers and not logging.root.handlers"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("setup", "lines"),
    [
        ("pass", ["text"]),
        ("logging.basicConfig()", ["WARNING:tlfast:text"]),
        ("logging.getLogger('tlfast').setLevel('ERROR')", []),
    ],
)
def test_a_record_is_printed_once(setup, lines):
    say = "logging.getLogger('tlfast').warning('text')"
    done = python(f"import logging, tlfast._features\n{setup}\n{say}")
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.splitlines() == lines


def test_there_is_one_logger():
    """Every module that logs does so as "tlfast", so that one name silences it."""
    used = [p for p in PYTHON if "getLogger" in p.read_text()]
    assert used
    for path in used:
        assert re.findall(r"getLogger\((.*?)\)", path.read_text()) == ['"tlfast"'], path
    assert logging.getLogger("tlfast").propagate


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
def test_the_suite_has_no_network(call):
    with (
        socket.socket() as made,
        pytest.raises(AssertionError, match=r"a test connects to \('192.0.2.1', 80\)"),
    ):
        getattr(made, call)(("192.0.2.1", 80))
