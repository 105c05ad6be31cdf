"""The command `tlfast`."""

import argparse
import sys

from tlfast._version import __version__


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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_compare(commands)
    options = parser.parse_args(arguments)

    from tlfast import demo
    from tlfast.comparison import _command

    run = {"demo": demo.run, "compare": _command.run}[options.command]
    try:
        return run(options)
    except (demo.DemoError, _command.CompareError, OSError) as error:
        print(f"tlfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tlfast: stopped by Ctrl-C", file=sys.stderr)
        return 130


def _add_demo(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        "demo",
        help="train, evaluate, predict, save and load on photographs of solar cells or your own",
        description="Puts a new head on a frozen EfficientNet-Lite0 with ImageNet weights and "
        "trains it on photographs of solar cells, or on your own folders of images; then "
        "evaluates it on images it has not seen, predicts single ones, saves, loads, and checks "
        "that the numbers are the same. Works offline and writes to ./tlfast-demo/.",
    )
    demo.add_argument(
        "--data",
        metavar="DIR",
        help="your own JPEG or PNG images: DIR/<class>, or DIR/train/<class> and DIR/test/<class>",
    )
    demo.add_argument("--quick", action="store_true", help="few images, 3 epochs: does it run?")
    demo.add_argument(
        "--split",
        choices=("random", "group"),
        default="random",
        help="solar cells: which quarter is the test part; random, or group: whole runs of "
        "neighbouring cells, which is stricter (default: random)",
    )
    demo.add_argument("--fold", type=int, choices=range(4), default=3, help="for --split group")
    demo.add_argument("--seed", type=int, default=0, help="of the split and the head (default: 0)")
    demo.add_argument(
        "--seeds",
        action="store_true",
        help="solar cells: also the mean over split seeds 0, 1, 2 and over the folds of group",
    )
    demo.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the images (default: 20, quick: 3)"
    )


def _add_compare(commands: argparse._SubParsersAction) -> None:
    from tlfast.comparison import _command

    compare = commands.add_parser(
        "compare",
        usage="tlfast compare DIR [options]",
        help="train frozen, partly frozen and unfrozen networks on your images and compare them",
        description="Trains networks with all, some or no layers frozen on a folder of images, "
        "chooses learning rate and epoch on a validation part, and says on a test part which is "
        "better, by how much, and at what cost. A run that was ended goes on where it was.",
    )
    _command.add_options(compare)


if __name__ == "__main__":
    sys.exit(main())
