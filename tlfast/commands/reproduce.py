"""`tlfast reproduce`: train the model of a file again by its recipe, and compare bit by bit."""

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from tlfast.commands import CommandError

if TYPE_CHECKING:
    from tlfast._recipe._again import Outcome

HELP = "train a saved model again by the recipe in its file, and compare"
DESCRIPTION = (
    "Trains the model of a file again as its recipe says and compares all weights bit by bit. "
    "Images and arrays are found by the hashes of their content: their names and folders do not "
    "matter. Exit status: 0 identical, 1 different, 2 not possible."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast reproduce`."""
    parser.add_argument("model", metavar="MODEL", help="a .keras or .h5 file")
    parser.add_argument("--data", metavar="DIR",
                        help="folder that holds the training images, at any depth")  # fmt: skip
    parser.add_argument("--arrays", metavar="FILE", nargs="+", default=[],
                        help=".npz or .npy files that hold the training arrays")  # fmt: skip
    parser.add_argument("--start", metavar="FILE", nargs="+", default=[],
                        help="model or weight files that the training began with, where it did not "
                        "begin with random or ImageNet weights")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(options: argparse.Namespace) -> int:
    """Train again and tell the outcome; returns the exit status."""
    from tlfast._recipe._again import reproduce
    from tlfast._recipe._errors import CannotReproduce
    from tlfast.saving.errors import FormatError

    say = _to_stderr if options.json else _to_stdout
    try:
        outcome = reproduce(options.model, options.data, options.arrays, options.start, say)
    except BrokenPipeError:
        raise  # nobody reads what is said
    except (CannotReproduce, FormatError, OSError) as error:
        print(f"tlfast: {error}", file=sys.stderr)
        if options.json:
            print(json.dumps({"error": str(error)}, indent=2))
        return 2
    except MemoryError as error:
        raise CommandError(str(error)) from error
    if options.json:
        print(json.dumps(dataclasses.asdict(outcome), indent=2))
    else:
        _tell(outcome)
    return 0 if outcome.identical else 1


def _to_stdout(line: str) -> None:
    print(line, flush=True)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _tell(outcome: "Outcome") -> None:
    if outcome.identical:
        print(f"identical: sha256 {outcome.sha256}")
        return
    print(f"different: {outcome.difference}")
    for line in outcome.details:
        print(f"  {line}")
