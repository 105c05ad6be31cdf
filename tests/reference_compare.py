"""Comparing what tlfast returns with what Keras returned (tests/reference/training.json)."""

import functools
import json
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "reference"
sys.path.insert(0, str(FOLDER))

import callback_cases  # noqa: E402, F401 - found through the path above
import training_models as cases  # noqa: E402, F401


@functools.cache
def stored() -> dict:
    """Keras' results by case."""
    return json.loads((FOLDER / "training.json").read_text())


def differences(got, want, rtol=1e-5, atol=1e-6, where="") -> list[str]:
    """Where two nested results differ: numbers by tolerance, the rest exactly."""
    if isinstance(want, dict) and isinstance(got, dict):
        found = [f"{where}: keys {list(got)} instead of {list(want)}"] * (set(got) != set(want))
        for key in want:
            if key in got:
                found += differences(got[key], want[key], rtol, atol, f"{where}.{key}")
        return found
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(got) != len(want):
            return [f"{where}: {len(got)} items instead of {len(want)}: {got} / {want}"]
        pairs = enumerate(zip(got, want, strict=True))
        return [d for i, (g, w) in pairs for d in differences(g, w, rtol, atol, f"{where}[{i}]")]
    exact = (bool, str, type(None))
    if isinstance(want, exact) or isinstance(got, exact):
        return [] if got == want else [f"{where}: {got!r} instead of {want!r}"]
    close = np.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    return [] if close else [f"{where}: {got!r} instead of {want!r}"]
