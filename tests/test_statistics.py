"""Scores, bootstrap and Holm's correction against brute force, SciPy and known numbers."""

import itertools

import numpy as np
import pytest
from calibrate_verdict import LEAST_FOUND, MOST_CLAIMS, calibrate, plant

from tlfast import _statistics
from tlfast._statistics import Difference, bootstrap, compare_pairs, holm, two_sided_p


def answers(rng, seeds, images, wrong):
    """(truth, said): each row of `said` is wrong with the given probability."""
    truth = np.arange(images) % 3
    said = np.where(rng.random((seeds, images)) < wrong, (truth + 1) % 3, truth)
    return truth, said


def test_scores_of_a_small_table():
    # 6 images of class 0, of which 5 are found; 2 of class 1, of which 1 is found
    truth = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    said = np.array([0, 0, 0, 0, 0, 1, 1, 0])
    assert _statistics.accuracy(truth, said) == 6 / 8
    assert _statistics.balanced_accuracy(truth, said) == pytest.approx((5 / 6 + 1 / 2) / 2)
    f1 = 2 * 5 / (6 + 6), 2 * 1 / (2 + 2)  # 2 hits / (true + said)
    assert _statistics.macro_f1(truth, said) == pytest.approx(np.mean(f1))


def test_macro_f1_counts_a_class_that_is_only_said():
    assert _statistics.macro_f1(np.array([0, 0]), np.array([0, 2])) == pytest.approx(
        (2 / 3 + 0) / 2
    )


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy"])
def test_image_weights_give_the_score(rng, score):
    truth, said = answers(rng, 1, 50, 0.3)
    truth[:20] = 0
    weights = _statistics.image_weights(truth, score)
    assert weights.sum() == pytest.approx(1)
    assert weights @ (said[0] == truth) == pytest.approx(_statistics.SCORES[score](truth, said[0]))


def test_bootstrap_of_images_has_every_draw_by_its_probability(rng):
    """One seed, 3 + 2 images: all 27 * 4 ways to draw them, counted."""
    truth = np.array([0, 0, 0, 1, 1])
    difference = np.array([[0.5, -0.25, 0.125, 1.0, -2.0]])
    sums = [
        sum(difference[0, i] for i in (*first, *second))
        for first in itertools.product(range(3), repeat=3)
        for second in itertools.product((3, 4), repeat=2)
    ]
    expected = {value: sums.count(value) / len(sums) for value in sums}
    draws = bootstrap(difference, truth, 40_000, seed=1)
    found, counts = np.unique(draws, return_counts=True)
    assert set(found) == set(expected)
    for value, count in zip(found, counts, strict=True):
        assert count / len(draws) == pytest.approx(expected[value], abs=0.01)


def test_bootstrap_of_seeds_is_as_wide_as_students_interval():
    """All images agree, so only the seeds differ: the t interval of 5 numbers."""
    stats = pytest.importorskip("scipy.stats")
    values = np.array([0.01, 0.03, -0.02, 0.05, 0.0])
    difference = np.repeat(values[:, None], 8, axis=1) / 8
    draws = bootstrap(difference, np.zeros(8, int), 100_000, seed=2)
    low, high = np.quantile(draws, [0.025, 0.975])
    known = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert low == pytest.approx(known[0], abs=0.15 * (known[1] - known[0]))
    assert high == pytest.approx(known[1], abs=0.15 * (known[1] - known[0]))


def test_bootstrap_draws_images_of_both_arms_together(rng):
    """Arms that are right on the same images differ in nothing, however wrong they are."""
    truth, said = answers(rng, 3, 90, 0.4)
    (same,) = compare_pairs([(said, said)], truth)
    assert (same.value, same.low, same.high, same.p_holm) == (0, 0, 0, 1)
    assert not same.found
    assert same.verdict == (
        "no difference larger than 3.3 shown; this test set can show differences of about 3.3"
    )


def test_draws_are_the_same_in_every_chunk_size(rng, monkeypatch):
    truth, said = answers(rng, 1, 40, 0.3)
    difference = (said == truth) / 40.0
    monkeypatch.setattr(_statistics, "_CHUNK_ELEMENTS", 40 * 7)
    draws = bootstrap(difference, truth, 3000, 0)
    assert draws.mean() == pytest.approx(difference.sum(), abs=0.01)
    assert draws.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 40), rel=0.2)


def test_the_same_figures_give_the_same_interval(rng):
    truth, a = answers(rng, 4, 60, 0.3)
    _, b = answers(rng, 4, 60, 0.2)
    assert compare_pairs([(a, b)], truth) == compare_pairs([(a, b)], truth)


def test_holm_against_its_definition():
    # Holm 1979, by hand: 4 * .01, 3 * .013, 2 * .03, 1 * .2, each at least the one before
    adjusted, levels = holm([0.2, 0.01, 0.03, 0.013])
    assert adjusted == pytest.approx([0.2, 0.04, 0.06, 0.04])
    assert levels == pytest.approx([0.025, 0.05 / 4, 0.025, 0.05 / 3])


def test_holm_keeps_the_rate_of_any_false_claim(rng):
    """Four true null hypotheses: at least one is rejected in about 5 of 100 cases."""
    claims = [min(holm(rng.random(4).tolist())[0]) < 0.05 for _ in range(4000)]
    assert 0.035 < np.mean(claims) < 0.065


def test_interval_and_verdict_agree(rng):
    """An interval leaves out 0 where, and only where, a difference is claimed."""
    seen = set()
    for wrong in np.linspace(0.05, 0.35, 7):
        truth, reference = answers(rng, 5, 120, 0.2)
        arms = [answers(rng, 5, 120, wrong + extra)[1] for extra in (0.0, 0.05, 0.1)]
        for found in compare_pairs([(reference, arm) for arm in arms], truth, draws=2000):
            assert found.found == (found.low > 0 or found.high < 0)
            seen.add(found.found)
    assert seen == {True, False}


def test_verdict_sentences():
    better = Difference(0.061, 0.022, 0.104, 0.001, 0.004, 0.05, 5, 300)
    assert better.verdict == "better by 6.1 (2.2 to 10.4)"
    worse = Difference(-0.061, -0.104, -0.022, 0.001, 0.004, 0.05, 5, 300)
    assert worse.verdict == "worse by 6.1 (2.2 to 10.4)"
    none = Difference(0.01, -0.012, 0.031, 0.2, 0.4, 0.035, 5, 300)
    assert none.verdict == (
        "no difference larger than 3.1 shown; this test set can show differences of about 3.5"
    )


def test_one_seed_claims_nothing(rng):
    truth, right = answers(rng, 1, 200, 0.0)
    _, wrong = answers(rng, 1, 200, 0.5)
    (found,) = compare_pairs([(wrong, right)], truth)
    assert found.low > 0 and not found.found
    assert found.verdict.endswith("one seed does not show what others would give")


def test_p_value_is_never_zero():
    assert two_sided_p(np.full(999, 0.5)) == pytest.approx(2 / 1000)
    assert two_sided_p(np.array([-1.0, 1.0])) == 1


@pytest.mark.parametrize(
    ("reference", "arm"), [((2, 9), (2, 10)), ((2, 10), (3, 10)), ((0, 10),) * 2]
)
def test_shapes_that_do_not_fit_are_named(reference, arm):
    truth = np.zeros(10, int)
    with pytest.raises(ValueError, match=r"\(seeds, 10\), with the same seeds"):
        compare_pairs([(np.zeros(reference, int), np.zeros(arm, int))], truth)


def test_unknown_score():
    with pytest.raises(ValueError, match="'accuracy' or 'balanced_accuracy'. Received: 'f1'"):
        _statistics.image_weights(np.zeros(3, int), "f1")


# ---- the verdict as a whole; the long version is calibrate_verdict.py ----


def test_planted_points(rng):
    truth, said = answers(rng, 3, 200, 0.2)
    said[:] = said[0]
    worse = plant(said, truth, rng)
    assert np.mean(said == truth) - np.mean(worse == truth) == pytest.approx(0.06)


def test_identical_arms_and_a_planted_difference(rng):
    """Real trainings of a softmax layer, 10 comparisons: see calibrate_verdict.py."""
    labels = np.arange(1600) % 2
    features = rng.normal(0, 1, (1600, 12)).astype(np.float32)
    features[:, 0] += 1.5 * labels
    claims, found = calibrate(
        features, labels, 10, 5, epochs=3, rng=rng, rates=(0.1,), pool_size=12
    )
    assert claims <= MOST_CLAIMS and found >= LEAST_FOUND


def test_two_seeds_far_apart_show_nothing(rng):
    truth = np.arange(60) % 2
    said = np.stack([truth, np.where(rng.random(60) < 0.3, 1 - truth, truth)])
    (found,) = compare_pairs([(np.stack([truth, truth]), said)], truth)
    assert found.verdict == "nothing shown: 2 seeds that differ this much are too few"
    assert -1 <= found.low < found.high <= 1
