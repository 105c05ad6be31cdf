"""Scores of a classifier, and whether two sets of trainings differ: paired bootstrap and Holm.

Every arm is trained with the same seeds and says something about the same test images, so the
difference of two arms is known for each pair (seed, image). A draw of the bootstrap takes seeds and
images together, with repetition (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
2007); images are drawn within their classes, whose numbers the split fixed.

A few seeds show less of their spread than there is: the plain bootstrap of 5 numbers misses the
truth about 15 times in 100, not 5. So each draw stretches the part of the seeds by
sqrt(seeds / chi-square with seeds - 1 degrees of freedom), which gives it Student's tails.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
SEED = 20260101  # of the draws: the same figures give the same intervals
ALPHA = 0.05
# Standard normal quantiles at 97.5 % and 80 %: a difference of (1 + 0.842 / 1.960) half widths is
# found in four of five comparisons.
_REACH = 1 + 0.8416 / 1.9600
_CHUNK_ELEMENTS = 4 << 20  # of one block of draws, which bounds the memory


# ---- scores ----


def accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    """Share of the images that are named rightly.

    Args:
        truth: class numbers (n,).
        said: class numbers (n,).
    """
    return float(np.mean(truth == said))


def balanced_accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean over the classes in `truth` of the share of their images that is found."""
    return float(np.mean([np.mean(said[truth == c] == c) for c in np.unique(truth)]))


def macro_f1(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean F1 over the classes that occur in `truth` or `said`, as scikit-learn defines it."""
    scores = []
    for c in np.union1d(truth, said):
        hits = np.sum((truth == c) & (said == c))
        scores.append(2 * hits / (np.sum(truth == c) + np.sum(said == c)))
    return float(np.mean(scores))


SCORES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1}


def image_weights(truth: np.ndarray, score: str) -> np.ndarray:
    """What one image counts in a score, (n,), with sum 1.

    Args:
        truth: class numbers (n,).
        score: "accuracy" or "balanced_accuracy".

    Raises:
        ValueError: another score.
    """
    if score == "accuracy":
        return np.full(len(truth), 1 / len(truth))
    if score == "balanced_accuracy":
        _, place, counts = np.unique(truth, return_inverse=True, return_counts=True)
        return 1 / (len(counts) * counts[place])
    raise ValueError(
        f"Differences are tested for 'accuracy' or 'balanced_accuracy'. Received: {score!r}"
    )


# ---- differences ----


@dataclass(frozen=True)
class Difference:
    """One arm against the reference.

    Attributes:
        value: mean difference of the score, arm minus reference, in shares of 1.
        low, high: ends of the interval, at the level of the arm's step in Holm's procedure.
        p: two-sided, not corrected.
        p_holm: corrected for the number of arms.
        reach: a difference of this size would be found in about 80 % of such comparisons.
        seeds, images: what the comparison rests on.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float
    reach: float
    seeds: int
    images: int

    @property
    def found(self) -> bool:
        """Whether the two differ; never said of one seed, which tells nothing about others."""
        return self.seeds > 1 and self.p_holm < ALPHA

    @property
    def verdict(self) -> str:
        """The sentence of the table; differences in points (hundredths)."""
        if self.seeds == 1:
            return (
                f"{100 * self.value:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f}) for "
                "these two trainings; one seed does not show what others would give"
            )
        if self.found:
            word = "better" if self.value > 0 else "worse"
            ends = sorted((abs(self.low), abs(self.high)))
            return (
                f"{word} by {_points(abs(self.value))} ({_points(ends[0])} to {_points(ends[1])})"
            )
        # Where both say the same about every image the bootstrap sees no spread at all; an event
        # not seen among n has a probability up to 3 / n ("rule of three").
        least = 3 / self.images
        if self.reach >= 1:
            return f"nothing shown: {self.seeds} seeds that differ this much are too few"
        return (
            f"no difference larger than {_points(max(-self.low, self.high, least))} shown; this "
            f"test set can show differences of about {_points(max(self.reach, least))}"
        )


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def compare_pairs(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    truth: np.ndarray,
    score: str = "accuracy",
    draws: int = DRAWS,
    seed: int = SEED,
) -> list[Difference]:
    """Compare arms with a reference.

    Args:
        pairs: for each arm what the reference and what the arm said: two arrays of class numbers
            (seeds, images), rows of the same seeds in the same order.
        truth: class numbers, (images,).
        score: "accuracy" or "balanced_accuracy".
        draws: number of bootstrap draws.
        seed: of the draws.

    Returns:
        One difference per arm, corrected over all of them.

    Raises:
        ValueError: arrays whose shapes do not fit.
    """
    truth = np.asarray(truth)
    weights = image_weights(truth, score)
    differences = [_differences(pair, truth) * weights for pair in pairs]
    drawn = [bootstrap(difference, truth, draws, seed) for difference in differences]
    p_values = [two_sided_p(d) for d in drawn]
    adjusted, levels = holm(p_values)
    found = []
    for i, difference in enumerate(differences):
        low, high = np.quantile(drawn[i], [levels[i] / 2, 1 - levels[i] / 2]).tolist()
        reach = _REACH * (high - low) / 2
        low, high = max(low, -1.0), min(high, 1.0)  # Student's tails go on, scores do not
        found.append(Difference(
            value=float(difference.sum(axis=1).mean()), low=low, high=high, p=p_values[i],
            p_holm=adjusted[i], reach=reach, seeds=len(difference),
            images=len(truth),
        ))  # fmt: skip
    return found


def _differences(pair: tuple[np.ndarray, np.ndarray], truth: np.ndarray) -> np.ndarray:
    """1 where only the arm is right, -1 where only the reference is, else 0: (seeds, images)."""
    reference, arm = (np.asarray(said) for said in pair)
    expected = (len(reference), len(truth))
    if not len(reference) or reference.shape != expected or arm.shape != expected:
        raise ValueError(
            f"Expected two arrays of class numbers, (seeds, {len(truth)}), with the same seeds. "
            f"Received: shapes {reference.shape} and {arm.shape}"
        )
    return (arm == truth).astype(float) - (reference == truth)


def bootstrap(difference: np.ndarray, truth: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draws of the mean over seeds of the sum over images.

    Args:
        difference: (seeds, images), weighted so that a row's sum is the difference of the score.
        truth: class numbers (images,); images are drawn within their classes.
        draws: number of draws.
        seed: of the generator.

    Returns:
        The draws, (draws,).
    """
    seeds, images = difference.shape
    generator = np.random.default_rng(seed)
    by_seed = difference.sum(axis=1)
    found = np.empty(draws)
    step = max(1, _CHUNK_ELEMENTS // images)
    for at in range(0, draws, step):
        count = min(step, draws - at)
        shares = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
        drawn = _draw_images(truth, count, generator) @ difference.T  # (count, seeds)
        found[at : at + count] = np.sum(shares * drawn, axis=1)
        if seeds > 1:
            stretch = np.sqrt(seeds / generator.chisquare(seeds - 1, size=count))
            found[at : at + count] += (stretch - 1) * (shares @ (by_seed - by_seed.mean()))
    return found


def _draw_images(truth: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """How often each image is drawn, (count, images)."""
    times = np.empty((count, len(truth)))
    for c in np.unique(truth):
        places = np.flatnonzero(truth == c)
        n = len(places)
        chosen = generator.integers(0, n, size=(count, n)) + n * np.arange(count)[:, None]
        times[:, places] = np.bincount(chosen.ravel(), minlength=count * n).reshape(count, n)
    return times


def two_sided_p(draws: np.ndarray) -> float:
    """Two-sided p-value of "no difference" from bootstrap draws; never 0."""
    n = len(draws)
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0))
    return float(min(1.0, 2 * (tail + 1) / (n + 1)))


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> tuple[list[float], list[float]]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_values: one per comparison.
        alpha: probability of any false claim.

    Returns:
        (corrected p-values, the level of each comparison's step). A comparison whose step is not
        reached has the level at which the procedure stopped, so that an interval of that level
        leaves out 0 where, and only where, the difference is claimed.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, levels = [0.0] * len(order), [alpha] * len(order)
    highest, level, going = 0.0, alpha, True
    for rank, i in enumerate(order):
        left = len(order) - rank
        highest = max(highest, min(1.0, left * p_values[i]))
        if going:
            level = alpha / left
            going = highest < alpha
        adjusted[i], levels[i] = highest, level
    return adjusted, levels
