"""Random numbers as tf.data draws them, so that a seed gives the same order as in Keras.

Philox4x32-10 after Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011); how the two
seeds become key and counter, and the default seed 87654321, follow TensorFlow's random module.
"""

import random
import secrets
from typing import Any

import numpy as np

from tlfast.saving.checks import row, whole

_DEFAULT_GRAPH_SEED = 87654321
_MAX_INT32 = 2**31 - 1
_MASK = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)


class Philox:
    """Stream of 32-bit numbers from two 64-bit seeds."""

    def __init__(self, seed: int, seed2: int) -> None:
        seed, seed2 = int(seed) % 2**64, int(seed2) % 2**64  # NumPy integers overflow
        self._key = (seed & _MASK, seed >> 32)
        self._high = (seed2 & _MASK, seed2 >> 32)
        self._counter = 0
        self._ready: list[int] = []
        self._size = 4  # blocks per refill; grows, since most streams are read for two numbers only

    def __call__(self) -> int:
        """The next number, 0 to 2**32 - 1."""
        if not self._ready:
            self._refill()
        return self._ready.pop()

    def _refill(self) -> None:
        self._ready = _blocks(self._key, self._high, self._counter, self._size)[::-1]
        self._counter += self._size
        self._size = min(2 * self._size, 1024)

    def get_state(self) -> list[int]:
        """The seeds and how many numbers were drawn, for `set_state`."""
        return [
            self._key[0] | self._key[1] << 32,
            self._high[0] | self._high[1] << 32,
            4 * self._counter - len(self._ready),
        ]

    def check_state(self, value: Any, where: str) -> None:
        """Raise FormatError for what `get_state` never returns."""
        seed = whole(0, 2**64 - 1)
        row(seed, seed, whole(0, 1 << 62))(value, where)

    def set_state(self, state: list[int]) -> None:
        """Go to where `get_state` was called."""
        seed, seed2, drawn = state
        self.__init__(seed, seed2)  # type: ignore[misc]
        self._counter = drawn // 4
        for _ in range(drawn % 4):
            self()

    def copy(self) -> "Philox":
        """A generator that will give the same numbers from here on."""
        twin = object.__new__(Philox)
        twin.__dict__.update(self.__dict__)
        twin._ready = list(self._ready)
        return twin

    def skip_to_block(self) -> None:
        """Drop the rest of the current block of four, as an op that reserves whole blocks does."""
        rest = len(self._ready) % 4
        if rest:
            del self._ready[-rest:]


def _blocks(key: tuple[int, int], high: tuple[int, int], first: int, count: int) -> list[int]:
    """Numbers of `count` consecutive counters from `first`, four for each."""
    counters = np.arange(first, first + count, dtype=np.uint64)
    mask, half = np.uint64(_MASK), np.uint64(32)
    x = [
        counters & mask,
        counters >> half,
        np.full(count, high[0], np.uint64),
        np.full(count, high[1], np.uint64),
    ]
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * x[0], _MULTIPLIERS[1] * x[2]
        x = [
            (p1 >> half) ^ x[1] ^ np.uint64(k0),
            p1 & mask,
            (p0 >> half) ^ x[3] ^ np.uint64(k1),
            p0 & mask,
        ]
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return np.stack(x, axis=1).ravel().tolist()


class _GlobalSeed:
    """What `set_random_seed` leaves for later: the seed, and a stream for unseeded steps."""

    seed: int | None = None
    stream: Any = None  # random.Random, once a seed was set


def set_global_seed(seed: int) -> None:
    """Fix the seed of every dataset operation created from now on without a seed of its own."""
    _GlobalSeed.seed = seed
    _GlobalSeed.stream = random.Random(seed)


def global_seed() -> int | None:
    """The seed given to `set_random_seed`, or None."""
    return _GlobalSeed.seed


def op_seeds(seed: int | None) -> tuple[int, int]:
    """The two Philox seeds of a new dataset operation that was given `seed`."""
    if _GlobalSeed.seed is not None:
        if seed is None:
            seed = _GlobalSeed.stream.randint(0, _MAX_INT32)
        pair = (_GlobalSeed.seed % _MAX_INT32, seed % _MAX_INT32)
    elif seed is not None:
        pair = (_DEFAULT_GRAPH_SEED, seed % _MAX_INT32)
    else:
        pair = (secrets.randbits(64), secrets.randbits(64))
    return pair if pair != (0, 0) else (0, _MAX_INT32)


def shuffled(items: np.ndarray, draw: Philox) -> np.ndarray:
    """A copy of 1-D `items` in the order of tf.random.shuffle (Fisher-Yates, from the front)."""
    items = items.tolist()
    for i in range(len(items) - 1):
        j = i + draw() % (len(items) - i)
        items[i], items[j] = items[j], items[i]
    return np.array(items, dtype=np.int64)
