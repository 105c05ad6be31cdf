"""Penalties on weights, added to the loss."""

from typing import Any

import numpy as np

from tlfast._errors import did_you_mean


def _checked(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"`{name}` of a regularizer is a number >= 0. Received: {name}={value!r}")
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"`{name}` of a regularizer is a number >= 0. Received: {name}={value!r}")
    return float(value)


class Regularizer:
    """Base of the regularizers: call with an array, get the penalty as a float."""

    _module = "keras.regularizers"
    _registered_name = None
    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, x: Any) -> float:
        """Return l1 * sum|x| + l2 * sum x^2."""
        values = np.asarray(x, np.float64)
        return float(self.l1 * np.abs(values).sum() + self.l2 * np.square(values).sum())

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the regularizer."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_config()")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Regularizer":
        """Rebuild a regularizer from `get_config()`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} l1={self.l1}, l2={self.l2}>"


class L1(Regularizer):
    """Penalty l1 * sum|w|.

    Args:
        l1: factor, at least 0.
    """

    def __init__(self, l1: float = 0.01) -> None:
        # Keras keeps this one factor in float32, which shows in its files.
        self.l1: float = float(np.float32(_checked("l1", 0.01 if l1 is None else l1)))

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(Regularizer):
    """Penalty l2 * sum w^2 (without a factor 1/2).

    Args:
        l2: factor, at least 0.
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2: float = _checked("l2", 0.01 if l2 is None else l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class L1L2(Regularizer):
    """Penalty l1 * sum|w| + l2 * sum w^2.

    Args:
        l1: factor of the first term, at least 0.
        l2: factor of the second term, at least 0.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1: float = _checked("l1", 0.0 if l1 is None else l1)
        self.l2: float = _checked("l2", 0.0 if l2 is None else l2)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


l1 = L1
l2 = L2
l1_l2 = L1L2
_CLASSES = {"L1": L1, "L2": L2, "L1L2": L1L2}
_NAMES = {**_CLASSES, "l1": L1, "l2": L2, "l1_l2": L1L2, "l1l2": L1L2}


def get(identifier: Any) -> Any:
    """Return the regularizer for a name, config, class or instance; None for None.

    Args:
        identifier: "l1", "l2", "l1_l2", a `Regularizer`, or None.

    Raises:
        ValueError: if the name is not known.
        NotImplementedError: for functions of one's own, whose gradient the core cannot know.
    """
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, dict):
        from tlfast._serialization import deserialize

        found = deserialize(identifier, kind="regularizers")
        if isinstance(found, Regularizer):
            return found
    if isinstance(identifier, str) and identifier in _NAMES:
        return _NAMES[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier()
    if callable(identifier):
        raise NotImplementedError(
            "tlfast supports the regularizers L1, L2 and L1L2; functions of one's own have no "
            f"gradient in the core. Received: {identifier!r}"
        )
    raise ValueError(
        f"Could not interpret regularizer identifier: {identifier!r}."
        + did_you_mean(identifier, _NAMES)
    )


def serialize(regularizer: Any) -> Any:
    """Return the config of a regularizer, as stored in model files."""
    from tlfast._serialization import serialize as serialize_object

    return serialize_object(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Return the regularizer of a config made by `serialize`."""
    from tlfast._serialization import deserialize as deserialize_object

    return deserialize_object(config, custom_objects=custom_objects, kind="regularizers")
