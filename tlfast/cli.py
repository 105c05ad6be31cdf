"""The command `tlfast`."""

import argparse
import importlib
import sys

from tlfast._version import __version__
from tlfast.commands import NAMES, CommandError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: words after `tlfast`; default: those of the process.

    Returns:
        0 when all went well, 1 when something did not (one sentence on stderr says what),
        2 when the words are not understood (argparse), 130 after Ctrl-C.
    """
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
    try:
        return commands[options.command].run(options)
    except (CommandError, OSError) as error:
        print(f"tlfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tlfast: stopped by Ctrl-C", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
