"""Pretrained weights: finding, downloading and reading them."""

from typing import Any


def load_pretrained(
    model: Any, application: str, weights: Any, include_top: bool, **options: Any
) -> str | None:
    """Load the weights that an application was asked for; see `tlfast.weights.load`."""
    from tlfast.weights.load import load_pretrained as load

    return load(model, application, weights, include_top, **options)


def get_file(*args: Any, **kwargs: Any) -> str:
    """Download a file into Keras' cache; see `tlfast.weights.get_file`."""
    from tlfast.weights.files import get_file as get

    return get(*args, **kwargs)
