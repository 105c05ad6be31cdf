"""The arms of a comparison: backbone, what is frozen, optimizer; and how a name becomes layers."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlfast import optimizers
from tlfast._errors import did_you_mean
from tlfast.applications import _registry

Freeze = str | int
# How scripts feed pixels 0 to 255, and the name of that scale in tlfast.applications._scales.
PIXELS = {"raw": "none", "/255": "unit", "-1..1": "tf"}
_TOP = re.compile(r"top(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        backbone: name of the application.
        freeze: "all", "none", "topP%", a number of layers or a layer's name.
        optimizer: class name and configuration of the optimizer.
        label: name of the optimizer in the table.
        own_rate: the learning rate of an optimizer object that was given one, else None.
        pixels: None for the backbone's own preprocessing, or a key of PIXELS.
    """

    backbone: str
    freeze: Freeze
    optimizer: dict[str, Any]
    label: str
    own_rate: float | None = None
    pixels: str | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        ending = f", pixels {self.pixels} as in your script" if self.pixels else ""
        return f"{self.backbone}, {describe_freeze(self.freeze)}, {self.label}{ending}"

    @property
    def key(self) -> str:
        """The name in file names."""
        words = f"{self.backbone}-{self.freeze}-{self.label}"
        if self.pixels:
            words += f"-script-{PIXELS[self.pixels]}"
        return re.sub(r"[^A-Za-z0-9.%_-]+", "-", words)

    def make_optimizer(self, learning_rate: float) -> Any:
        """A new optimizer of this arm."""
        config = {**self.optimizer["config"], "learning_rate": learning_rate}
        return optimizers.get({"class_name": self.optimizer["class_name"], "config": config})


def describe_freeze(freeze: Freeze) -> str:
    """What is trained, in words."""
    if freeze == "all":
        return "frozen"
    if freeze == "none":
        return "unfrozen"
    if isinstance(freeze, int):
        return f"last {freeze} layers trained"
    if _TOP.fullmatch(freeze):
        return f"{freeze.removeprefix('top')} trained"
    return f"trained from {freeze}"


def make_arms(
    backbones: Sequence[str],
    freeze: Freeze | Sequence[Freeze],
    optimizer: Any,
    script_pixels: Mapping[str, str] | None = None,
) -> list[Arm]:
    """All combinations, cheap ones first: the frozen arms, then those that train more.

    Args:
        backbones: names of applications.
        freeze: freeze levels.
        optimizer: a name or an optimizer, or a list of them.
        script_pixels: for each backbone that gets further arms, how pixels are fed to them.

    Raises:
        ValueError: an unknown name, or the same arm twice.
    """
    backbones, freeze = _listed(backbones), _listed(freeze)
    for name in backbones:
        _registry.lookup(name)
    for level in freeze:
        check_freeze(level)
    made = [_optimizer(given) for given in _listed(optimizer)]
    for what, values in (("backbones", backbones), ("freeze", freeze), ("optimizer", made)):
        if not values:
            raise ValueError(f"`{what}` is empty: there is nothing to compare.")
    arms = [
        Arm(backbone, level, config, label, own_rate, pixels)
        for level in sorted(freeze, key=_cost)
        for backbone in backbones
        for pixels in dict.fromkeys((None, (script_pixels or {}).get(backbone)))
        for label, config, own_rate in made
    ]
    names = [arm.key for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"These arms are given more than once: {', '.join(twice)}")
    return arms


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _optimizer(given: Any) -> tuple[str, dict[str, Any], float | None]:
    """(label, configuration, own learning rate); the label names what is not the default."""
    made: Any = optimizers.get(given)
    if made is None:
        raise ValueError('`optimizer` holds None; name one, for example "adam".')
    config = made.get_config()
    own = type(made)().get_config()
    changed = [
        f"{key}={value}"
        for key, value in config.items()
        if key not in ("name", "learning_rate") and value != own[key]
    ]
    name = type(made).__name__
    config.pop("name")
    rate = config.pop("learning_rate")
    if not isinstance(rate, float):
        raise ValueError(
            f"optimizer={given!r}: the learning rates compared are numbers; leave the schedule out."
        )
    own_rate = None if rate == own["learning_rate"] else rate
    if own_rate is not None:
        changed.insert(0, f"learning_rate={own_rate:g}")
    label = f"{name}({', '.join(changed)})" if changed else name
    return label, {"class_name": name, "config": config}, own_rate


def check_freeze(freeze: Freeze) -> None:
    """Raises ValueError unless this is a freeze level; layer names are checked with the network."""
    if isinstance(freeze, int) and not isinstance(freeze, bool) and freeze > 0:
        return
    if isinstance(freeze, str):
        match = _TOP.fullmatch(freeze)
        if match is None and not freeze.startswith("top"):
            return
        if match and 0 < float(match[1]) < 100:
            return
    raise ValueError(
        '`freeze` is "all", "none", "topP%" (the last P percent of the layers are trained, for '
        'example "top25%"), a number of layers to train, or the name of the first layer to train. '
        f"Received: {freeze!r}"
    )


def _cost(freeze: Freeze) -> float:
    """For the order of the arms: how much is trained, as far as the level alone tells."""
    if freeze == "all":
        return 0.0
    if freeze == "none":
        return 3.0
    if isinstance(freeze, int):
        return 1.0 + freeze / 1e6
    match = _TOP.fullmatch(freeze)
    return 2.0 + float(match[1]) / 100 if match else 1.5


def trained_layers(base: Any, freeze: Freeze) -> list[Any]:
    """The layers of a backbone that a freeze level trains.

    The last quarter of the layers ("top25%") is what
    `for layer in base.layers[:-n]: layer.trainable = False` leaves, with n a quarter of
    `len(base.layers)`, rounded up. Layers are counted as `base.layers` lists them, with or without
    weights.

    Args:
        base: the backbone.
        freeze: see `check_freeze`.

    Raises:
        ValueError: no such layer, or more layers than there are.
    """
    layers = list(base.layers)
    if freeze == "all":
        return []
    if freeze == "none":
        return layers
    if isinstance(freeze, int):
        if freeze > len(layers):
            raise ValueError(
                f'freeze={freeze}: {base.name} has {len(layers)} layers; "none" trains all.'
            )
        return layers[-freeze:]
    match = _TOP.fullmatch(freeze)
    if match:
        return layers[-math.ceil(len(layers) * float(match[1]) / 100) :]
    names = [layer.name for layer in layers]
    if freeze not in names:
        raise ValueError(
            f"freeze={freeze!r}: {base.name} has no such layer."
            f'{did_you_mean(freeze, ["all", "none", "top25%", *names])} Freeze levels are "all", '
            '"none", "topP%", a number of layers, or the name of a layer.'
        )
    return layers[names.index(freeze) :]


def set_flags(base: Any, freeze: Freeze) -> None:
    """Set the `trainable` flags of a backbone's layers."""
    trained = {id(layer) for layer in trained_layers(base, freeze)}
    base.trainable = bool(trained)
    for layer in base.layers:
        layer.trainable = id(layer) in trained
