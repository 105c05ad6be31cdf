"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import tlfast


def modules_with_examples() -> list[str]:
    names = [info.name for info in pkgutil.walk_packages(tlfast.__path__, "tlfast.")]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        name
        for name in names
        if not name.startswith("tlfast._core")
        and any(test.examples for test in finder.find(importlib.import_module(name)))
    ]


MODULES = modules_with_examples()


def test_the_users_own_network_is_an_example():
    assert "tlfast.models" in MODULES and "tlfast.data.dataset" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, capsys):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0, capsys.readouterr().out
