"""Runs a script or module as the `python` command does, with tlfast in TensorFlow's place."""

import builtins
import os
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType, TracebackType

from tlfast import _run_hook
from tlfast.commands import CommandError


def run_script(path: str, arguments: list[str]) -> int:
    """Run a file as `python path arguments...` does.

    Args:
        path: the script.
        arguments: what the script finds in `sys.argv[1:]`.

    Returns:
        The exit status: 0, or 1 after an exception, whose traceback is printed.

    Raises:
        CommandError: there is no such file.
        SystemExit: the script raised it.
    """
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise CommandError(f"cannot open the script {path!r}: {error.strerror}") from error
    full = os.path.abspath(path)
    main = ModuleType("__main__")
    main.__file__ = full
    main.__loader__ = SourceFileLoader("__main__", full)
    main.__dict__.update(__builtins__=builtins, __cached__=None)
    sys.modules["__main__"] = main
    _prepare([path, *arguments], os.path.dirname(os.path.realpath(path)))
    return _run(lambda: exec(compile(source, full, "exec"), main.__dict__))


def run_module(name: str, arguments: list[str]) -> int:
    """Run a module or package as `python -m name arguments...` does; see `run_script`."""
    _prepare([name, *arguments], os.getcwd())
    return _run(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))


def _prepare(argv: list[str], folder: str) -> None:
    sys.argv[:] = argv
    if not sys.flags.safe_path:
        sys.path[0] = folder
    print(_run_hook.install(), file=sys.stderr, flush=True)


def _run(call: Callable[[], object]) -> int:
    try:
        call()
    except SystemExit:
        raise
    except BaseException as error:
        error = error.with_traceback(_from_the_script_on(error.__traceback__))
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _from_the_script_on(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without the calls in this file that lead to the script."""
    while traceback is not None and traceback.tb_frame.f_globals is globals():
        traceback = traceback.tb_next
    return traceback
