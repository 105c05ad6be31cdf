"""`tlfast run`: a script written for TensorFlow or Keras, unchanged."""

import argparse

HELP = "run a script written for TensorFlow or Keras, unchanged"
DESCRIPTION = (
    "Runs a script as `python script.py` does, while tlfast stands in for tensorflow, "
    "tensorflow.keras and keras: `import tensorflow as tf` in the script and in what it imports "
    "brings tlfast, whether TensorFlow is installed or not. A name that tlfast lacks raises with "
    "the name, the line and what there is instead; `tlfast port` lists them all."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast run`."""
    parser.add_argument(
        "-m", dest="module", action="store_true", help="SCRIPT is a module, as in `python -m`"
    )
    parser.add_argument("script", metavar="SCRIPT", help="the file to run")
    parser.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="arguments of the script"
    )


def run(options: argparse.Namespace) -> int:
    """Run the script that the command line asks for; returns its exit status."""
    from tlfast import _run_script

    start = _run_script.run_module if options.module else _run_script.run_script
    return start(options.script, options.arguments)
