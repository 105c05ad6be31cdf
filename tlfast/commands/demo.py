"""`tlfast demo`: the main job on photographs of solar cells or the user's own."""

import argparse

HELP = "train, evaluate, predict, save and load on photographs of solar cells or your own"
DESCRIPTION = (
    "Puts a new head on a frozen EfficientNet-Lite0 with ImageNet weights and trains it on "
    "photographs of solar cells, or on your own folders of images; then evaluates it on images it "
    "has not seen, predicts single ones, saves, loads, and checks that the numbers are the same. "
    "Works offline and writes to ./tlfast-demo/."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast demo`."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="your own JPEG or PNG images: DIR/<class>, or DIR/train/<class> and DIR/test/<class>",
    )
    parser.add_argument("--quick", action="store_true", help="few images, 3 epochs: does it run?")
    parser.add_argument(
        "--split",
        choices=("random", "group"),
        default="random",
        help="solar cells: which quarter is the test part; random, or group: whole runs of "
        "neighbouring cells, which is stricter (default: random)",
    )
    parser.add_argument("--fold", type=int, choices=range(4), default=3, help="for --split group")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the split and the head (default: 0)"
    )
    parser.add_argument(
        "--seeds",
        action="store_true",
        help="solar cells: also the mean over split seeds 0, 1, 2 and over the folds of group",
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the images (default: 20, quick: 3)"
    )


def run(options: argparse.Namespace) -> int:
    """Run the demo that the command line asks for; returns the exit status."""
    from tlfast import demo

    return demo.run(options)
