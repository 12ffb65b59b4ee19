"""The paired bootstrap against resampling users one by one, and its statistics."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from scipy.stats import norm, t

from seqregen.metrics import UNREACHABLE, ndcg_at_k, paired_bootstrap
from seqregen.metrics.comparison import _resampled_means


def ranks_of_two_models(shift, n_users=400, seed=0):
    random = np.random.default_rng(seed)
    first = random.integers(1, 60, n_users)
    return first, np.maximum(1, first + random.integers(-5, 6, n_users) + shift)


def test_resampling_distinct_values_is_resampling_users():
    values = np.random.default_rng(0).choice([0.0, 0.0, 0.0, 0.5, -0.3, 1.0], 300)
    means = _resampled_means(values, 20_000, np.random.RandomState(0))
    drawn = np.random.default_rng(1).choice(values, (20_000, 300)).mean(axis=1)
    assert means.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert means.std() == pytest.approx(drawn.std(), rel=0.03)
    assert means.std() == pytest.approx(values.std() / np.sqrt(300), rel=0.03)
    np.testing.assert_allclose(np.quantile(means, [0.025, 0.975]), np.quantile(drawn, [0.025, 0.975]), atol=3e-3)


def test_blocks_do_not_change_the_distribution_or_lose_resamples(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    monkeypatch.setattr("seqregen.metrics.comparison._COUNTS_PER_BLOCK", 170)
    means = _resampled_means(values, 1001, np.random.RandomState(0))
    assert means.shape == (1001,)
    assert means.mean() == pytest.approx(values.mean(), abs=0.03)
    assert means.std() == pytest.approx(values.std() / np.sqrt(50), rel=0.15)


def test_a_clear_difference():
    better, worse = ranks_of_two_models(shift=15)
    result = paired_bootstrap(better, worse, n_resamples=2000)
    assert result.metric == "ndcg@20"
    assert result.difference == pytest.approx(ndcg_at_k(better, 20) - ndcg_at_k(worse, 20), abs=1e-12)
    assert 0 < result.low < result.difference < result.high
    assert result.p_value == pytest.approx(2 / 2001)
    assert result.n_users == 400
    assert "ndcg@20" in str(result)
    mirrored = paired_bootstrap(worse, better, n_resamples=2000)
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low), abs=5e-3)


def test_no_difference():
    ranks, _ = ranks_of_two_models(shift=0)
    result = paired_bootstrap(ranks, ranks, n_resamples=100)
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_p_values_of_equal_models_are_uniform():
    p_values = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        a, b = random.integers(1, 40, (2, 100))
        p_values.append(paired_bootstrap(a, b, n_resamples=300, random_state=seed).p_value)
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.11
    assert 0.4 <= np.median(p_values) <= 0.6


def test_seeds_are_averaged_user_by_user():
    a, b = np.array([[1, 30], [30, 1]]), np.array([[1, UNREACHABLE]])
    result = paired_bootstrap(a, b, metric="recall", k=10, n_resamples=100)
    assert (result.mean_a, result.mean_b, result.difference) == (0.5, 0.5, 0.0)
    assert result.high == 0.5


def test_repeats_and_pickles():
    a, b = ranks_of_two_models(shift=2)
    result = paired_bootstrap(a, b, n_resamples=500, random_state=7)
    assert result == paired_bootstrap(a, b, n_resamples=500, random_state=7)
    assert result != paired_bootstrap(a, b, n_resamples=500, random_state=8)
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1]), "ranks_a has 2 users and ranks_b 1"),
        (([], [1]), "empty"),
        ((np.ones((1, 1, 1), int), [1]), "ranks_a must have shape"),
        (([1], [1], "precision"), "metric must be"),
        (([1], [1], "ndcg", 0), "k must be a positive integer"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(*arguments)


def test_bad_options():
    with pytest.raises(ValueError, match="n_resamples must be a positive integer"):
        paired_bootstrap([1], [1], n_resamples=0)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        paired_bootstrap([1], [1], confidence=95)
    for wrong in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="seed_deviation must be a finite number"):
            paired_bootstrap([1], [1], seed_deviation=wrong)
    for wrong in (0, np.nan, np.inf):
        with pytest.raises(ValueError, match="seed_freedom must be a positive number"):
            paired_bootstrap([1], [1], seed_deviation=0.1, seed_freedom=wrong)


def test_the_chance_of_training_adds_to_that_of_users():
    first, second = ranks_of_two_models(shift=2)
    alone = paired_bootstrap(first, second, n_resamples=20_000)
    both = paired_bootstrap(np.stack([first] * 4), np.stack([second] * 2), n_resamples=20_000, seed_deviation=0.02)
    assert both.difference == alone.difference
    # Variances add: of users, and of the means of four seeds and of two.
    width = 2 * 1.96
    expected = np.hypot((alone.high - alone.low) / width, 0.02 * np.sqrt(1 / 4 + 1 / 2))
    assert (both.high - both.low) / width == pytest.approx(expected, rel=0.03)
    assert both.p_value > alone.p_value


def test_a_deviation_that_few_seeds_told_is_less_sure():
    ranks = ranks_of_two_models(shift=2)
    widths = [
        np.subtract(*[getattr(found, end) for end in ("high", "low")])
        for found in (
            paired_bootstrap(*ranks, n_resamples=20_000, seed_deviation=1.0, seed_freedom=freedom)
            for freedom in (None, 3)
        )
    ]
    # Of Student's law with three degrees of freedom 95 % lie within 3.182 deviations, of the normal one within 1.960.
    assert widths[1] / widths[0] == pytest.approx(3.182 / 1.960, rel=0.05)


def test_small_p_values_do_not_hang_on_the_draws():
    better, worse = ranks_of_two_models(shift=15)
    found = [paired_bootstrap(better, worse, seed_deviation=0.02, random_state=seed) for seed in range(5)]
    differences = dcg(better) - dcg(worse)
    deviation = np.hypot(differences.std() / np.sqrt(len(differences)), 0.02 * np.sqrt(2))
    expected = 2 * norm.sf(differences.mean() / deviation)
    assert expected < 0.01
    assert [result.p_value for result in found] == pytest.approx([expected] * 5, rel=0.05)


def dcg(ranks):
    return np.where(ranks <= 20, 1 / np.log2(1 + ranks), 0)


@pytest.mark.parametrize("freedom", [None, 0.5, 1.5, 8])
def test_errors_of_seeds_alone(freedom):
    ranks, _ = ranks_of_two_models(shift=0)
    result = paired_bootstrap(ranks, ranks, n_resamples=100, seed_deviation=0.01, seed_freedom=freedom)
    errors = norm(scale=0.01 * np.sqrt(2)) if freedom is None else t(freedom, scale=0.01 * np.sqrt(2))
    assert (result.low, result.high) == pytest.approx(errors.interval(0.95))
    assert (result.difference, result.p_value) == (0, pytest.approx(1))


@pytest.mark.parametrize(
    ("better", "worse", "metric"),
    [((1, 3), (3, 1), "mrr"), ((1, 2), (2, 1), "ndcg")],
)
def test_ties_of_small_samples_count_on_both_sides(better, worse, metric):
    # As many users on each side again is no difference; what rounding leaves of it is none either.
    ranks_a, ranks_b = [better[0]] * 11 + [better[1]] * 3, [worse[0]] * 11 + [worse[1]] * 3
    exact = 2 * sum(math.comb(14, n) * (11 / 14) ** n * (3 / 14) ** (14 - n) for n in range(8))
    result = paired_bootstrap(ranks_a, ranks_b, metric, 20, n_resamples=50_000)
    assert result.p_value == pytest.approx(exact, rel=0.1)


def test_the_level_is_shown_as_it_is():
    for level, shown in ((0.95, "(95% interval"), (0.995, "(99.5% interval"), (0.999, "(99.9% interval")):
        assert shown in str(paired_bootstrap([1, 2], [2, 2], confidence=level, n_resamples=10))


def test_the_p_value_is_of_students_law_where_seeds_are_few():
    found = paired_bootstrap([1] * 50, [2] * 50, "recall", 1, seed_deviation=0.5, seed_freedom=3, n_resamples=10)
    assert found.p_value == pytest.approx(2 * t(3).sf(1 / (0.5 * np.sqrt(2))))
