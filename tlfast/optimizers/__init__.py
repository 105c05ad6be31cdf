"""Optimizers: `SGD`, `Adam`, `AdamW`, `RMSprop` and learning-rate `schedules`."""

from typing import Any

from tlfast import _keras2, _registry
from tlfast.optimizers import schedules
from tlfast.optimizers._adam import Adam, AdamW
from tlfast.optimizers._optimizer import Optimizer
from tlfast.optimizers._rmsprop import RMSprop
from tlfast.optimizers._sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_TABLE = {cls.__name__.lower(): cls for cls in (SGD, Adam, AdamW, RMSprop)}
# Of Keras, not of tlfast: named in the message so that nobody looks for a spelling mistake.
_MISSING_NAMES = ("Adadelta", "Adafactor", "Adagrad", "Adamax", "Ftrl", "Lion", "Muon", "Nadam")
_MISSING = tuple(name.lower() for name in _MISSING_NAMES)


def __getattr__(name: str) -> Any:
    found = _keras2.old_name(__name__, name)
    if found is not None:
        return found
    raise _registry.no_attribute(__name__, name, __all__, _MISSING_NAMES)


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Store an optimizer's configuration in Keras' layout (without its variables)."""
    return _registry.serialize(optimizer, "keras.optimizers")


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
    """Make an optimizer from `serialize()`; class names are taken in any case.

    Args:
        config: the stored dictionary.
        custom_objects: further optimizer classes by name.

    Raises:
        ValueError: the class is not known.
    """
    if "class_name" in config:
        name = str(config["class_name"])
        if name not in (custom_objects or {}):
            if name.lower() in _MISSING:
                raise ValueError(
                    f"The optimizer {name!r} is not part of tlfast. Available: SGD, Adam, AdamW, "
                    "RMSprop."
                )
            config = {**config, "class_name": name.lower()}
    return _registry.deserialize(config, _TABLE, "optimizer", custom_objects)


def get(identifier: str | dict[str, Any] | Optimizer | type | None) -> Optimizer | None:
    """Return an optimizer for a name ("adam", in any case), a stored form or an optimizer.

    Args:
        identifier: the name, dictionary, class or object; None gives None.

    Raises:
        ValueError: it is none of these, or not known.
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        made: Any = identifier
        return made()
    raise ValueError(
        f"Could not interpret optimizer identifier: {identifier!r}. Pass a name such as 'adam', "
        "or an object such as `tlfast.optimizers.Adam(learning_rate=1e-4)`."
    )
