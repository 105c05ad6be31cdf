"""`tlfast strip`: take what a model file tells of its training out of it."""

import argparse

from tlfast.commands import CommandError

HELP = "take recipe, hashes and history out of a model file"
DESCRIPTION = (
    "A saved model carries how it was trained: recipe, hashes of the training files, history. This "
    "takes all of it out; weights, predictions, names of classes and the state of the optimizer "
    "stay. `tlfast reproduce` cannot repeat the training of such a file."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast strip`."""
    parser.add_argument("model", metavar="MODEL", help="a .keras, .h5 or .weights.h5 file")
    parser.add_argument("--output", metavar="FILE",
                        help="write there and leave MODEL (default: replace it)")  # fmt: skip
    parser.add_argument("--class-names", action="store_true",
                        help="take the names of the classes out, too")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Strip the file; returns the exit status."""
    from tlfast._recipe._strip import strip
    from tlfast.saving.errors import FormatError

    target = options.output or options.model
    try:
        removed = strip(options.model, target, options.class_names)
    except FormatError as error:
        raise CommandError(str(error)) from error
    for name, size in sorted(removed.items()):
        print(f"taken out: {name} ({size:,} characters)")
    print(f"{target}: {'nothing to take out' if not removed else 'stripped'}")
    return 0
