"""Counts direct calls of layers and models: each draws other random numbers than the one before."""

number = 0


def next_seed() -> int:
    """The seed of a new call: 1, 2, ..."""
    global number
    number += 1
    return number
