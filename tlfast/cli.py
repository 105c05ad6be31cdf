"""The command `tlfast`."""

import argparse
import importlib
import os
import select
import signal
import sys

from tlfast._version import __version__
from tlfast.commands import NAMES, CommandError

_OUTPUT = 1  # descriptor of the standard output


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: words after `tlfast`; default: those of the process.

    Returns:
        0 when all went well, 1 when something did not (one sentence on stderr says what),
        2 when the words are not understood (argparse), 130 after Ctrl-C, 141 when nobody reads the
        output to its end, as in `tlfast weights list | head`.
    """
    try:
        try:
            return _run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # Python would do it later, where nobody catches the error
    except (CommandError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            os.dup2(os.open(os.devnull, os.O_WRONLY), _OUTPUT)  # for what Python writes at exit
            return 128 + signal.SIGPIPE
        print(f"tlfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tlfast: stopped by Ctrl-C", file=sys.stderr)
        return 130


def _run(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="tlfast", description="Transfer learning for image classifiers, fast on CPUs."
    )
    parser.add_argument("--version", action="version", version=f"tlfast {__version__}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands = {name: importlib.import_module(f"tlfast.commands.{name}") for name in NAMES}
    for name, command in commands.items():
        command.add_options(
            parsers.add_parser(name, help=command.HELP, description=command.DESCRIPTION)
        )
    options = parser.parse_args(arguments)
    status: int = commands[options.command].run(options)
    return status


def _reader_has_gone() -> bool:
    """Whether the standard output is a pipe that nobody reads; another one may have broken."""
    poll = select.poll()
    poll.register(_OUTPUT, 0)
    return bool(poll.poll(0))


if __name__ == "__main__":
    sys.exit(main())
