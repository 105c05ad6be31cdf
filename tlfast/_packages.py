"""Packages that only some calls need: imported late, and missed with a sentence."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed(purpose: str, package: str) -> Iterator[None]:
    """Say what to install where an import inside the block fails.

    Args:
        purpose: what needs the package, such as "saving models".
        package: name of the package for pip.

    Raises:
        ImportError: the package is missing or does not load.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {package}: pip install {package}. ({error})", name=error.name
        ) from error
