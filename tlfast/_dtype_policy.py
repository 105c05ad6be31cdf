"""What layers compute in: the policies "float32" and "mixed_bfloat16" of Keras."""

from typing import Any

import numpy as np

from tlfast import _core

_COMPUTE = {"float32": "float32", "mixed_bfloat16": "bfloat16"}
_CLASSES = ("DTypePolicy", "Policy", "FloatDTypePolicy", "PolicyV1")  # in files of all versions


class DTypePolicy:
    """What a layer computes in and what its weights are kept in.

    "float32" is the default. With "mixed_bfloat16" convolutions and what follows them compute in
    bfloat16, on AVX512-BF16 and AMX machines up to twice as fast; weights, gradients of weights,
    statistics, dense layers, losses and outputs stay float32.

    Args:
        name: "float32" or "mixed_bfloat16"; None is the global policy.

    Raises:
        NotImplementedError: for another policy.
    """

    def __init__(self, name: str | None = None) -> None:
        name = _global.name if name is None else name
        if name not in _COMPUTE:
            raise NotImplementedError(
                f"the dtype policy {name!r} is not supported; available: 'float32', "
                "'mixed_bfloat16'"
            )
        self._name = name

    @property
    def name(self) -> str:
        """ "float32" or "mixed_bfloat16"."""
        return self._name

    @property
    def compute_dtype(self) -> str:
        """The type of computations, "float32" or "bfloat16"."""
        return _COMPUTE[self._name]

    @property
    def variable_dtype(self) -> str:
        """The type of weights, "float32"."""
        return "float32"

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the policy."""
        return {"name": self._name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DTypePolicy":
        """Rebuild a policy from `get_config()`."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self._name}">'


_global = DTypePolicy("float32")


def dtype_policy() -> DTypePolicy:
    """Return the policy of layers that are made without `dtype`."""
    return _global


def set_dtype_policy(policy: Any) -> None:
    """Choose the policy of layers that are made from now on without `dtype`.

    Args:
        policy: "float32", "mixed_bfloat16", or a `DTypePolicy`.

    Raises:
        NotImplementedError: another policy, or bfloat16 on a machine that would emulate it.
    """
    global _global
    _global = supported(get(policy))


def supported(policy: DTypePolicy) -> DTypePolicy:
    """Return the policy if this machine computes in it.

    Raises:
        NotImplementedError: this machine would emulate it.
    """
    if policy.compute_dtype == "bfloat16" and not _core.has_bfloat16():
        raise NotImplementedError(
            f"the policy {policy.name!r}: this machine has no instructions for bfloat16 "
            "(AVX512-BF16 or AMX) and would emulate them slower than float32; use 'float32'"
        )
    return policy


def get(identifier: Any, where: str = "") -> DTypePolicy:
    """Return the policy that a `dtype` argument or a config of Keras means.

    Args:
        identifier: None for the global policy, a name, a policy, or a config of one.
        where: what gets it, for messages.

    Raises:
        NotImplementedError: for any other type.
    """
    name = identifier
    if isinstance(identifier, dict) and identifier.get("class_name", "DTypePolicy") in _CLASSES:
        config = identifier.get("config")
        name = config.get("name") if isinstance(config, dict) else config
    name = getattr(name, "name", name)
    if name is np.float32:
        name = "float32"
    if name is None:
        return _global
    if isinstance(name, str) and name in _COMPUTE:
        return DTypePolicy(name)
    raise NotImplementedError(
        f"{where}{': ' if where else ''}dtype={identifier!r} is not supported; allowed are "
        "'float32' and 'mixed_bfloat16' (weights float32, activations bfloat16)"
    )


def config_of(policy: DTypePolicy) -> dict[str, Any]:
    """Return how Keras 3 writes a policy."""
    return {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": policy.get_config(),
        "registered_name": None,
    }


# Grows when a layer that may be part of a plan gets another policy.
_changes = 0


def changes() -> int:
    """How many times the policy of a finished layer was changed in this process."""
    return _changes


def note_change() -> None:
    """To be called when the policy of a finished layer was changed."""
    global _changes
    _changes += 1
