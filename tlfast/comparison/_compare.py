"""`tlfast.compare`."""

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlfast import _statistics
from tlfast._arguments import checked_arguments
from tlfast._errors import did_you_mean
from tlfast.applications import _registry
from tlfast.applications._backbone import check_weights
from tlfast.comparison import _parts
from tlfast.comparison._arms import PIXELS, Arm, Freeze, make_arms
from tlfast.comparison._cells import RunFolder, read_json, write_json
from tlfast.comparison._images import Images
from tlfast.comparison._network import Network, range_is_wrong
from tlfast.comparison._result import Comparison, add_differences, arm_result, duration
from tlfast.comparison._runner import Runner
from tlfast.data.directory import check_choice, check_size

# Two decades: for a head on frozen features and for a network trained through.
LEARNING_RATES = (1e-4, 1e-3, 1e-2)
FOLDER = "tlfast-compare"
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)min)?(?:(\d+(?:\.\d+)?)s)?")


@checked_arguments
def compare(
    data: str | os.PathLike[str],
    backbones: str | Sequence[str] = "EfficientNetLite0",
    freeze: Freeze | Sequence[Freeze] = ("all", "top25%", "none"),
    optimizer: Any = "adam",
    learning_rate: float | Sequence[float] | None = None,
    epochs: int = 10,
    seeds: int | Sequence[int] = 5,
    budget: str | float | None = None,
    image_size: int | tuple[int, int] = 224,
    batch_size: int = 32,
    weights: str | os.PathLike[str] | None = "imagenet",
    train_bn: bool = False,
    script_pixels: str | None = None,
    validation: float = 0.2,
    test: float = 0.25,
    split_seed: int = 0,
    reference: str | None = None,
    score: str = "accuracy",
    run_folder: str | os.PathLike[str] | None = None,
    verbose: bool = True,
) -> Comparison:
    """Train frozen, partly frozen and unfrozen networks on a folder of images and compare them.

    The protocol, which is printed at the head of every table:

    - Train, validation and test parts are drawn class by class and share no image (files with the
      same bytes count once). Folders DIR/train and DIR/test are taken as they are.
    - Every arm sees the same parts and seeds. A seed gives the first weights of the head and the
      order of the images.
    - Every arm picks its learning rate from the same grid: each rate is trained for all epochs
      with the first seed, and the highest validation accuracy wins. The epoch of each training is
      the first with the highest validation accuracy. Verdicts are about the rates chosen: that
      other seeds might have chosen another rate is not in the intervals.
    - The test part is used once, for the rate and epoch chosen. All scores are those of the test
      part, mean and standard deviation over the seeds.
    - Pixels are prepared as each backbone's own `preprocess_input` does, in every arm.
    - Batch norm keeps its moving statistics and the backbone's dropout is off, in every arm,
      unless `train_bn`; gamma and beta are trained with their layer.
    - Difference to the reference: bootstrap over seeds and test images together, paired, 10,000
      draws with a fixed seed; 95 % intervals and verdicts are corrected for the number of arms
      (Holm). With one seed there is no verdict.

    Frozen arms run first. Decoded pixels are kept where they fit into a quarter of the free memory,
    outputs of frozen layers are kept between seeds, rates and optimizers. Every finished training
    is written to the run folder: the same call goes on where an earlier one was ended, also with
    more arms, seeds or rates.

    Args:
        data: folder DIR with DIR/<class>/*.jpg, or DIR/train/<class> and DIR/test/<class>.
        backbones: one or more names of `tlfast.applications`.
        freeze: one or more of "all" (only the head is trained), "topP%" (the last P percent of
            `base.layers` are trained too, rounded up), a number of layers at the end, the name of
            the first layer to train, "none" (everything is trained).
        optimizer: names or optimizer objects. An object with a learning rate other than its
            class's default keeps that rate.
        learning_rate: one rate, or the grid. None: 0.0001, 0.001, 0.01.
        epochs: passes over the training part, in every training.
        seeds: how many (0, 1, ...), or a list of them. 5 or more for verdicts that can find
            something.
        budget: time this call may take: "2h", "1h30min", "90s" or seconds. What does not fit is
            skipped and shown as skipped. None: no limit.
        image_size: (height, width) in pixels, or one number for both.
        batch_size: images per step.
        weights: as the application takes it: "imagenet", a file, or None for random ones.
        train_bn: True lets batch norm of trained layers use and update the batch's statistics, and
            the backbone's dropout act.
        script_pixels: how your script feeds pixels: "raw" (0 to 255), "/255" or "-1..1". A backbone
            whose weights expect another range, as `tlfast.InputRangeWarning` would say, gets a
            second set of arms fed that way. None: none.
        validation: share of each class's training images that become the validation part.
        test: share of each class that becomes the test part, without DIR/test.
        split_seed: of the draw of the parts.
        reference: name of the arm the others are compared with, as the table has it. None: the
            first.
        score: "accuracy" or "balanced_accuracy": what the verdicts are about.
        run_folder: where results are kept. None: tlfast-compare/<key of data and settings>.
        verbose: print the protocol and a line per training.

    Returns:
        The result: print it, or let a notebook show it; `.to_json()`. result.json, result.txt and
        best.keras (best on the validation part) are in the run folder.

    Raises:
        ValueError: an argument that is not allowed, too few images, the same image in two
            classes, or a run folder of other data or settings.
        OSError: a folder or file cannot be read or written.
    """
    began = time.monotonic()
    deadline = began + seconds_of(budget)
    arms = make_arms(backbones, freeze, optimizer)
    check_choice("script_pixels", script_pixels, (None, *PIXELS))
    rates = _rates(learning_rate)
    seeds = _seeds(seeds)
    size = check_size("image_size", image_size)
    _check(arms, size, epochs, batch_size, weights, score, reference)
    parts = _parts.divide(data, validation, test, split_seed)
    settings = {
        "data": parts.digest,
        "image_size": list(size),
        "batch_size": batch_size,
        "epochs": epochs,
        "weights": _weights_key(weights),
        "train_bn": train_bn,
    }
    folder = RunFolder(_run_folder(run_folder, settings))
    images = Images(parts, size, batch_size)
    if script_pixels is not None:
        some = next(iter(images.fixed("validation")))[0]
        names = dict.fromkeys(arm.backbone for arm in arms)
        wrong = {n: script_pixels for n in names if range_is_wrong(n, script_pixels, weights, some)}
        arms = make_arms(backbones, freeze, optimizer, wrong)
    head = [
        *parts.describe(),
        *_protocol(arms, rates, seeds, size, batch_size, epochs, weights, train_bn),
        *_script_lines(arms, script_pixels),
    ]
    say = print if verbose else _say_nothing
    for line in [*head, f"run folder: {folder.path}"]:
        say(line)

    def network(arm: Arm) -> Network:
        n_classes = len(parts.class_names)
        return Network(arm.backbone, arm.freeze, weights, size, n_classes, train_bn, arm.pixels)

    runs = Runner(folder, images, network, epochs, seeds, deadline, say).run(arms, rates)
    truth = images.labels("test")
    results = [arm_result(run, truth) for run in runs]
    chosen = next(r for r in results if reference in (None, r.name))
    add_differences(results, chosen, truth, score)
    top = os.path.realpath(data)
    result = Comparison(
        protocol=[*head, _statistics_line(score)],
        class_names=parts.class_names,
        truth=truth,
        arms=results,
        reference=chosen.name,
        score=score,
        folder=folder.path,
        parts={
            name: _parts.relative([os.path.realpath(i.path) for i in listed], top)
            for name, listed in parts.images.items()
        },
        best=read_json(folder.path / "best.json"),
        settings=settings,
    )
    result.to_json(folder.path / "result.json")
    _write_text(folder.path / "result.txt", str(result))
    say(f"took {duration(time.monotonic() - began)}")
    return result


def _say_nothing(line: str) -> None:
    """What `verbose=False` prints."""


def seconds_of(budget: str | float | None) -> float:
    """A budget in seconds; infinity for None.

    Raises:
        ValueError: not a time.
    """
    if budget is None:
        return math.inf
    if isinstance(budget, str):
        match = _TIME.fullmatch(budget.replace(" ", ""))
        if match and any(match.groups()):
            hours, minutes, seconds = (float(text or 0) for text in match.groups())
            budget = 3600 * hours + 60 * minutes + seconds
    if isinstance(budget, (int, float)) and not isinstance(budget, bool) and budget > 0:
        return float(budget)
    raise ValueError(
        '`budget` is a time such as "2h", "1h30min", "90s", or seconds above 0. Received: '
        f"{budget!r}"
    )


def _rates(given: Any) -> list[float]:
    listed = LEARNING_RATES if given is None else given
    listed = list(listed) if isinstance(listed, (list, tuple)) else [listed]
    good = [isinstance(r, (int, float)) and not isinstance(r, bool) and 0 < r < math.inf
            for r in listed]  # fmt: skip
    if not listed or not all(good) or len(set(listed)) < len(listed):
        raise ValueError(
            f"`learning_rate` is a positive number or several different ones. Received: {given!r}"
        )
    return [float(rate) for rate in listed]


def _seeds(given: Any) -> list[int]:
    listed = list(range(given)) if isinstance(given, int) and not isinstance(given, bool) else given
    good = isinstance(listed, (list, tuple)) and all(
        isinstance(s, int) and not isinstance(s, bool) and 0 <= s < 2**32 for s in listed
    )
    if not good or not listed or len(set(listed)) < len(listed):
        raise ValueError(
            "`seeds` is a number of seeds, 1 or more, or a list of different whole numbers. "
            f"Received: {given!r}"
        )
    return list(listed)


def _check(
    arms: Sequence[Arm],
    size: tuple[int, int],
    epochs: int,
    batch_size: int,
    weights: Any,
    score: str,
    reference: str | None,
) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` is a whole number, 1 or more. Received: {value!r}")
    check_weights(weights)
    for arm in arms:
        least = _registry.lookup(arm.backbone).min_size
        if min(size) < least:
            raise ValueError(
                f"image_size={size}: {arm.backbone} needs at least {least}x{least} pixels."
            )
    if score not in ("accuracy", "balanced_accuracy"):
        raise ValueError(
            f"`score` is 'accuracy' or 'balanced_accuracy'. Received: {score!r}"
            f"{did_you_mean(score, ['accuracy', 'balanced_accuracy'])}"
        )
    names = [arm.name for arm in arms]
    if reference is not None and reference not in names:
        raise ValueError(
            f"reference={reference!r} is no arm.{did_you_mean(reference, names)} The arms are: "
            f"{'; '.join(names)}"
        )


def _weights_key(weights: Any) -> str | None:
    """What the weights are, for the run folder: a name, or the hash of a file."""
    if weights is None or weights == "imagenet":
        return weights
    return _parts.file_digest(os.fspath(weights))


def _run_folder(given: Any, settings: dict[str, Any]) -> Path:
    """The run folder, with the settings in it; an error if it belongs to others."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    path = Path(FOLDER) / key if given is None else Path(given)
    there = read_json(path / "plan.json")
    if there is None:
        write_json(path / "plan.json", settings)
    elif there != settings:
        other = [name for name in settings if there.get(name) != settings[name]]
        raise ValueError(
            f"The run folder {os.fspath(path)!r} belongs to another comparison: "
            f"{', '.join(f'{n} was {there.get(n)!r}, now {settings[n]!r}' for n in other)}. Give "
            "another `run_folder`, or leave it out."
        )
    return path


def _protocol(
    arms: Sequence[Arm],
    rates: Sequence[float],
    seeds: Sequence[int],
    size: tuple[int, int],
    batch_size: int,
    epochs: int,
    weights: Any,
    train_bn: bool,
) -> list[str]:
    named = "random weights" if weights is None else f"weights {os.fspath(weights)}"
    grid = ", ".join(f"{rate:g}" for rate in rates)
    own = [f"{arm.name}: {arm.own_rate:g}" for arm in arms if arm.own_rate is not None]
    chosen = (
        f"learning rate: {grid}, as given" if len(rates) == 1 else
        f"learning rate: for every arm the best of {grid} on validation, seed {seeds[0]}, all "
        "epochs"
    )  # fmt: skip
    return [
        f"network: backbone ({named}) with its own preprocessing, average pooling, "
        "one softmax layer",
        f"training: {size[0]}x{size[1]} pixels, batches of {batch_size}, {epochs} epochs; the "
        "first epoch with the highest validation accuracy counts",
        chosen + (f"; its optimizer's own for {'; '.join(own)}" if own else ""),
        "batch norm: trained layers use and update the batch's statistics, the backbone's dropout "
        "acts" if train_bn else
        "batch norm: moving statistics kept, the backbone's dropout off, in every arm",
        f"seeds: {', '.join(map(str, seeds))}, the same for every arm; they give the head's first "
        "weights and the order of the images",
        "scores: test part, used once per training; percent, mean ± standard deviation over seeds",
        "time: all trainings of the arm, choice of the rate included; features computed for an "
        "earlier arm are not counted again. memory: peak of the process",
    ]  # fmt: skip


def _script_lines(arms: Sequence[Arm], script_pixels: str | None) -> list[str]:
    """Which backbones get the pixels of the user's script too."""
    if script_pixels is None:
        return []
    wrong = dict.fromkeys(arm.backbone for arm in arms if arm.pixels)
    fits = [n for n in dict.fromkeys(arm.backbone for arm in arms) if n not in wrong]
    lines = []
    if wrong:
        lines.append(
            f"pixels {script_pixels} as in your script: further arms of {', '.join(wrong)}, whose "
            "weights expect another range"
        )
    if fits:
        lines.append(
            f"pixels {script_pixels} as in your script: nothing wrong seen for {', '.join(fits)}"
        )
    return lines


def _statistics_line(score: str) -> str:
    return (
        f"difference: {score.replace('_', ' ')}, paired bootstrap over seeds and test images "
        f"together, {_statistics.DRAWS:,} draws; 95 % intervals, corrected over arms (Holm)"
    )


def _write_text(path: Path, text: str) -> None:
    from tlfast.saving.atomic import replacing

    with replacing(path) as file:
        file.write((text + "\n").encode())
