"""In which number range are these pictures? A decision on a few statistics of a batch.

Every range is a scale: value = (pixel - mean) / std. Read backwards, values become pixels under
the assumption of a scale, and the assumption is judged by whether those look like pictures. A
batch of pictures reaches near black or near white somewhere, is not one flat grey, and lies in
0 to 255; grey pictures (cells, X-rays, scans) have three equal channels under the right scale only.

What is left undecided, and why, is listed in tests/test_input_range.py. A right range can be
called wrong where all pictures of the first batches are pale: no pixel below 112, none above 225.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlfast.applications._scales import SCALES, Scale

# All limits are in pixels 0 to 255 unless said otherwise.
_TAIL = 0.005  # share of the values left out at both ends: text in scans, overshoot of a resize
_OVERSHOOT = 30.0  # bicubic resizing goes beyond 0..255 by about this much
_STRICT = 0.05  # share of the contrast, the same for a range that is not the expected one
_FLAT = 6.0  # pictures with less contrast than this say nothing
_NAMED = 30.0  # less contrast, far from black and white, is a coincidence
_CLEAR = 20.0  # times more contrast: pixels divided by 64 and more, not pictures of one grey
_SCALED_TWICE = 2.5  # many different values within this contrast cannot come from whole pixels
_MANY_VALUES = 16
_BELOW_BLACK = 0.5
_DARK, _BRIGHT = 40.0, 225.0  # a batch of pictures reaches one of these
_BLACK = 15.0
_MID = 127.5
_PAPER = 215.0  # mean of mostly white pictures
_DARKEST = 75.0  # the darkest pixel of other pictures, and of white ones
_DARKEST_ON_PAPER = 30.0
_FEW_IMAGES = 4  # below this only a range used from end to end counts
_FULL = 240.0
_SAMPLED_SIDE = 40  # pixels of a side that are looked at

# The ranges that preparation in front of a network produces. Lite's is -1..1 but for 1/128.
_KNOWN = ("none", "unit", "tf", "torch", "caffe")
_ALIKE = {"lite": "tf"}


@dataclass(frozen=True)
class Statistics:
    """What is known of a few pictures (n, height, width, 3); a tuple has one entry per channel.

    Attributes:
        images: number of pictures.
        low, high: values below and above which 0.5 % lie.
        minimum, maximum, mean: of all values.
        distinct: number of different values in the first channel.
        whole: whether all values are whole numbers.
        grey: the scales, of those with different channels and "none" for all others, under which
            all pictures are grey.
    """

    images: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    mean: tuple[float, ...]
    distinct: int
    whole: bool
    grey: frozenset[str]


@dataclass(frozen=True)
class Verdict:
    """What `judge` found.

    Attributes:
        right: whether the values can be in the expected range.
        arrives: a key of SCALES if another range is recognized, else None.
    """

    right: bool
    arrives: str | None = None


RIGHT = Verdict(True)


def sample(images: np.ndarray) -> np.ndarray:
    """A grid of at most 40 x 40 pixels of each picture, as float32."""
    height, width = images.shape[1:3]
    rows = np.linspace(0, height - 1, min(height, _SAMPLED_SIDE)).astype(int)
    columns = np.linspace(0, width - 1, min(width, _SAMPLED_SIDE)).astype(int)
    return images[:, rows][:, :, columns].astype(np.float32)


def measure(images: np.ndarray) -> Statistics:
    """The statistics of pictures (n, height, width, 3)."""
    values = images.reshape(-1, 3)
    low, high = np.quantile(values, (_TAIL, 1 - _TAIL), axis=0)
    return Statistics(
        images=len(images),
        low=tuple(low),
        high=tuple(high),
        minimum=tuple(values.min(axis=0)),
        maximum=tuple(values.max(axis=0)),
        mean=tuple(values.mean(axis=0)),
        distinct=len(np.unique(values[:, 0])),
        whole=bool((values == np.rint(values)).all()),
        grey=frozenset(k for k in ("none", "torch", "caffe") if _is_grey(values, SCALES[k])),
    )


def _is_grey(values: np.ndarray, scale: Scale) -> bool:
    std, mean = np.array(scale.std, np.float32), np.array(scale.mean, np.float32)
    first, second, third = (values * std + mean).T
    limit = 1e-3 * max(np.ptp(first), 1e-9)
    coloured = (np.abs(second - first) > limit) | (np.abs(third - first) > limit)
    return bool(coloured.mean() <= _TAIL)


@dataclass(frozen=True)
class _Pixels:
    """Statistics read as pixels under a scale, all channels together.

    Attributes:
        contrast: of the channel that has most, without the tails.
    """

    low: float
    high: float
    minimum: float
    mean: float
    contrast: float

    def within(self, slack: float) -> bool:
        return self.low >= -slack and self.high <= 255.0 + slack

    @property
    def pictures(self) -> bool:
        """Whether a batch of pictures looks like this."""
        return self.contrast >= _FLAT and (self.low <= _DARK or self.high >= _BRIGHT)


def _as_pixels(stats: Statistics, scale: Scale) -> _Pixels:
    def pixels(values: Sequence[float]) -> np.ndarray:
        return np.asarray(values) * scale.std + scale.mean

    low, high = pixels(stats.low), pixels(stats.high)
    darkest, mean = pixels(stats.minimum).min(), pixels(stats.mean).mean()
    return _Pixels(low.min(), high.max(), darkest, mean, (high - low).max())


def judge(stats: Statistics, expected: str) -> Verdict:
    """Compare pictures with the range that a network expects.

    Args:
        stats: of the values that arrive at the network.
        expected: a key of SCALES.

    Returns:
        `right` unless another range, or none, is certain.
    """
    expected_kind = _ALIKE.get(expected, expected)
    own = _as_pixels(stats, SCALES[expected])
    others = {}
    for kind in _KNOWN:
        seen = _as_pixels(stats, SCALES[kind])
        if kind != expected_kind and seen.within(1.0 + _STRICT * seen.contrast):
            others[kind] = seen
    if not own.within(_OVERSHOOT):
        named = {k: s for k, s in others.items() if s.pictures or s.contrast >= _NAMED}
        return Verdict(False, _clearest(named))
    if own.contrast < _FLAT:
        return _judge_flat(stats, own, others)
    if len(stats.grey) == 1:
        (family,) = stats.grey
        if family in ("torch", "caffe") and family == expected_kind:
            return RIGHT
        same = {k: seen for k, seen in others.items() if _family(k) == family}
        if family != _family(expected_kind) and same:
            return Verdict(False, _clearest(same))
        others = same
    if expected_kind == "tf" and "unit" in others and _nothing_dark(stats, own, others["unit"]):
        return Verdict(False, "unit")
    if own.pictures:
        return RIGHT
    better = {
        kind: seen for kind, seen in others.items()
        if seen.pictures and _enough(stats, seen)
        and (seen.contrast >= 1.5 * own.contrast or seen.low <= _BLACK)
    }  # fmt: skip
    return Verdict(False, _clearest(better)) if better else RIGHT


def _judge_flat(stats: Statistics, own: _Pixels, others: dict[str, _Pixels]) -> Verdict:
    """One flat colour under the expected scale: pictures under another one, or scaled twice."""
    clear = {
        kind: seen for kind, seen in others.items()
        if seen.contrast >= max(_FLAT, _CLEAR * own.contrast)
    }  # fmt: skip
    # Whole numbers in a small range are black pixels, and not pixels divided by anything.
    if clear and not stats.whole:
        return Verdict(False, _clearest(clear))
    many = stats.images >= _FEW_IMAGES
    scaled = own.low < -_BELOW_BLACK or (many and own.contrast < _SCALED_TWICE)
    return Verdict(not (scaled and stats.distinct > _MANY_VALUES))


def _nothing_dark(stats: Statistics, own: _Pixels, unit: _Pixels) -> bool:
    """Pixels divided by 255, read as -1..1, have nothing below mid-grey, and black just there.

    White paper with print of just this mid-grey looks the same under the right scale.
    """
    darkest = _DARKEST if own.mean < _PAPER else _DARKEST_ON_PAPER
    nothing = own.low >= _MID - 1 and own.minimum >= _MID - _BLACK
    return nothing and unit.minimum <= darkest and _enough(stats, unit)


def _enough(stats: Statistics, seen: _Pixels) -> bool:
    return stats.images >= _FEW_IMAGES or seen.contrast >= _FULL


def _family(kind: str) -> str:
    return kind if kind in ("torch", "caffe") else "none"


def _clearest(kinds: dict[str, _Pixels]) -> str | None:
    """The range that the values fill best; plain pixels before BGR pixels minus means."""
    return max(kinds, key=lambda kind: kinds[kind].contrast, default=None)
