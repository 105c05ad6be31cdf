"""`tlfast port`: what a script written for TensorFlow or Keras needs to become one for tlfast."""

import argparse

HELP = "print what turns a TensorFlow or Keras script into a tlfast script, and its traps"
DESCRIPTION = (
    "Prints the diff of the import lines that make FILE a tlfast script (nothing else has to "
    "change), the names and calls that tlfast lacks, and traps: lines that run and do something "
    "else than is meant, each with the line to write. The status is 0 when the script will run and "
    "1 when something is missing."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast port`."""
    parser.add_argument("file", metavar="FILE", help="a script (.py) or a notebook (.ipynb)")
    parser.add_argument(
        "--write",
        action="store_true",
        help="also change the import lines in FILE; the old content is kept as FILE.bak",
    )


def run(options: argparse.Namespace) -> int:
    """Report on the file that the command line names; returns the exit status."""
    from tlfast import _port

    return _port.port(options.file, options.write)
