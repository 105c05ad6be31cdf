"""`tlfast compare`: the words of the command line, and what they run."""

import argparse

from tlfast.commands import CommandError

HELP = "train frozen, partly frozen and unfrozen networks on your images and compare them"
DESCRIPTION = (
    "Trains networks with all, some or no layers frozen on a folder of images, chooses learning "
    "rate and epoch on a validation part, and says on a test part which is better, by how much, "
    "and at what cost. A run that was ended goes on where it was."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast compare`; their meaning is that of `tlfast.compare`'s arguments."""
    parser.usage = "tlfast compare DIR [options]"
    parser.add_argument(
        "data", metavar="DIR", help="DIR/<class>, or DIR/train/<class> and DIR/test/<class>"
    )
    parser.add_argument(
        "--backbones", nargs="+", default=["EfficientNetLite0"], metavar="NAME",
        help="networks of tlfast.applications (default: EfficientNetLite0)",
    )  # fmt: skip
    parser.add_argument(
        "--freeze", nargs="+", default=["all", "top25%", "none"], type=_freeze, metavar="LEVEL",
        help="all, topP%%, a number of layers to train, the first layer to train, none (default: "
        "all top25%% none)",
    )  # fmt: skip
    parser.add_argument("--optimizer", nargs="+", default=["adam"], metavar="NAME",
                        help="names of optimizers (default: adam)")  # fmt: skip
    parser.add_argument(
        "--learning-rate", nargs="+", type=float, metavar="RATE",
        help="one, or the grid to choose from (default: tlfast.compare's)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument("--seeds", type=int, default=5, metavar="N",
                        help="trainings per arm (default: 5)")  # fmt: skip
    parser.add_argument("--budget", metavar="TIME", help="2h, 30min, ...: what does not fit is "
                        "skipped (default: no limit)")  # fmt: skip
    parser.add_argument("--size", type=int, nargs="+", default=[224], metavar="PIXELS",
                        help="height and width of the images (default: 224)")  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="default: 32")
    parser.add_argument("--train-bn", action="store_true",
                        help="let trained batch norm use the batch's statistics")  # fmt: skip
    parser.add_argument("--script-pixels", metavar="RANGE",
                        help="how your script feeds pixels, raw, /255 or -1..1: further arms where "
                        "that is not what the weights expect")  # fmt: skip
    parser.add_argument("--score", default="accuracy",
                        help="accuracy or balanced_accuracy: what the verdicts are about "
                        "(default: accuracy)")  # fmt: skip
    parser.add_argument("--run-folder", metavar="DIR",
                        help="where results are kept and found again (default: below "
                        "./tlfast-compare)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="also write the result here")


def _freeze(word: str) -> str | int:
    return int(word) if word.isdigit() else word


def run(options: argparse.Namespace) -> int:
    """Run the comparison that the command line asks for; returns the exit status."""
    from tlfast.comparison import compare

    size = options.size[0] if len(options.size) == 1 else tuple(options.size)
    try:
        result = compare(
            options.data,
            backbones=options.backbones,
            freeze=options.freeze,
            optimizer=options.optimizer,
            learning_rate=options.learning_rate,
            epochs=options.epochs,
            seeds=options.seeds,
            budget=options.budget,
            image_size=size,
            batch_size=options.batch_size,
            train_bn=options.train_bn,
            script_pixels=options.script_pixels,
            score=options.score,
            run_folder=options.run_folder,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(f"\n{result}")
    if options.json:
        result.to_json(options.json)
    return 0
