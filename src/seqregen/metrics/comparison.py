"""Is one model better than another on these users? The paired bootstrap says how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from sklearn.utils import check_random_state

from .ranking import check_cutoff, check_ranks, metric_of_each_row

__all__ = ["PairedBootstrap", "paired_bootstrap"]

# Counts drawn at once: 32 MB.
_COUNTS_PER_BLOCK = 2**22


@dataclass(frozen=True)
class PairedBootstrap:
    """What :func:`~seqregen.metrics.paired_bootstrap` finds.

    Attributes
    ----------
    metric : str
        Name of the metric, for example ``"ndcg@20"``.
    mean_a, mean_b : float
        Mean of the metric over users.
    difference : float
        ``mean_a - mean_b``.
    low, high : float
        Percentile confidence interval of the difference.
    p_value : float
        Two-sided: twice the share of resamples that show a difference of the other sign. Without ``seed_deviation`` it
        is a count: its standard error is about ``sqrt(2 * p_value / n_resamples)``, and it is never below
        ``2 / (n_resamples + 1)``.
    confidence : float
        Level of the interval.
    n_users, n_resamples : int
        Size of the sample, and number of resamples.
    """

    metric: str
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float
    confidence: float
    n_users: int
    n_resamples: int

    def __str__(self) -> str:
        return (
            f"{self.metric}: {self.mean_a:.4f} against {self.mean_b:.4f}, difference {self.difference:+.4f} "
            f"({100 * self.confidence:g}% interval {self.low:+.4f} to {self.high:+.4f}, p = {self.p_value:.4f}, "
            f"{self.n_users:,} users)"
        )


def paired_bootstrap(
    ranks_a: Any,
    ranks_b: Any,
    metric: str = "ndcg",
    k: int = 20,
    *,
    seed_deviation: float = 0.0,
    seed_freedom: float | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    random_state: Any = 0,
) -> PairedBootstrap:
    """Compare two models on the same users.

    Users are drawn with replacement, and the mean difference of the metric is taken over each draw (Efron and
    Tibshirani 1993, chapters 13 and 15). What is resampled is users: the answer is how much the difference
    depends on who happened to be in the data. How much it depends on the seed of a training is another question, and
    often the larger part: give the ranks of several seeds, which are averaged, and ``seed_deviation``.

    Parameters
    ----------
    ranks_a, ranks_b : integer array-likes of shape (n_users,) or (n_seeds, n_users)
        Ranks of the same targets under both models. The numbers of seeds may differ.
    metric : {"ndcg", "recall", "mrr"}, default="ndcg"
        What is compared.
    k : int, default=20
        Length of the list.
    seed_deviation : float, default=0
        Standard deviation of a model's mean metric between training seeds, as you know it from models trained more than
        once. Each resample's difference gets a normal error of this deviation times the square root of
        ``1 / n_seeds_a + 1 / n_seeds_b``; these errors are not drawn but integrated, so that small p values do not hang
        on a few draws. With 0 the answer holds for the models as they were trained, not for training them again.
    seed_freedom : float, optional
        Degrees of freedom that ``seed_deviation`` was estimated with: trained models less the groups whose means they
        were set against, 2 for three seeds of one model. The errors are Student's then, which are wider; without it the
        deviation is taken as known.
    n_resamples : int, default=10,000
        Number of resamples.
    confidence : float, default=0.95
        Level of the interval.
    random_state : int, RandomState or None, default=0
        Where the resamples come from.

    Returns
    -------
    PairedBootstrap

    Raises
    ------
    ValueError
        The numbers of users differ, or a parameter is out of its range.

    Examples
    --------
    >>> from seqregen.metrics import paired_bootstrap
    >>> result = paired_bootstrap([1, 1, 2, 30] * 50, [2, 3, 2, 25] * 50, metric="ndcg", k=10)
    >>> round(result.difference, 3), result.p_value < 0.01
    (0.217, True)
    """
    if not isinstance(n_resamples, (int, np.integer)) or n_resamples < 1:
        raise ValueError(f"n_resamples must be a positive integer; got {n_resamples!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence!r}.")
    if not 0 <= seed_deviation < np.inf:
        raise ValueError(f"seed_deviation must be a finite number, not negative; got {seed_deviation!r}.")
    if seed_freedom is not None and not 0 < seed_freedom < np.inf:
        raise ValueError(f"seed_freedom must be a positive number, or None; got {seed_freedom!r}.")
    k = check_cutoff(k)
    values_a, n_seeds_a = _mean_over_seeds(ranks_a, "ranks_a", metric, k)
    values_b, n_seeds_b = _mean_over_seeds(ranks_b, "ranks_b", metric, k)
    if len(values_a) != len(values_b):
        raise ValueError(f"ranks_a has {len(values_a)} users and ranks_b {len(values_b)}; rank the same users by both.")
    resampled = _resampled_means(values_a - values_b, int(n_resamples), check_random_state(random_state))
    tail = (1 - confidence) / 2
    if seed_deviation:
        scale = seed_deviation * np.sqrt(1 / n_seeds_a + 1 / n_seeds_b)
        low, high = (_quantile_with_errors(resampled, scale, seed_freedom, share) for share in (tail, 1 - tail))
        # Errors are symmetric: above a difference lies what lies below its negative.
        one_sided = min(_share_below(side * resampled / scale, seed_freedom) for side in (-1, 1))
    else:
        low, high = np.quantile(resampled, [tail, 1 - tail])
        # One is added so that a finite number of resamples never claims certainty.
        one_sided = (1 + min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))) / (n_resamples + 1)
    return PairedBootstrap(
        metric=f"{metric}@{k}",
        mean_a=float(values_a.mean()),
        mean_b=float(values_b.mean()),
        difference=float(values_a.mean() - values_b.mean()),
        low=float(low),
        high=float(high),
        p_value=float(min(1.0, 2 * one_sided)),
        confidence=float(confidence),
        n_users=len(values_a),
        n_resamples=int(n_resamples),
    )


def _mean_over_seeds(ranks: Any, name: str, metric: str, k: int) -> tuple[np.ndarray, int]:
    """The metric of each user, averaged over seeds, and the number of seeds."""
    ranks = check_ranks(ranks)
    if ranks.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (n_users,) or (n_seeds, n_users); got {ranks.shape}.")
    seeds = np.atleast_2d(ranks)
    return metric_of_each_row(seeds, metric, k).mean(axis=0), len(seeds)


def _resampled_means(values: np.ndarray, n_resamples: int, random: np.random.RandomState) -> np.ndarray:
    """Mean of each resample of ``values``, float64 (n_resamples,).

    How often each *distinct* value is drawn is multinomial too: few values stand for thousands of users,
    most of whom both models miss.
    """
    distinct, counts = np.unique(values, return_counts=True)
    # The commonest value first: once all draws are spent, a multinomial draw is done.
    order = np.argsort(-counts, kind="stable")
    distinct, shares = distinct[order], counts[order] / len(values)
    block = max(1, _COUNTS_PER_BLOCK // len(distinct))
    means = np.empty(n_resamples)
    for start in range(0, n_resamples, block):
        stop = min(start + block, n_resamples)
        means[start:stop] = random.multinomial(len(values), shares, size=stop - start) @ distinct
    # Differences that cancel leave what rounding leaves of them, which would put a tie on one side.
    means[np.abs(means) <= np.finfo(float).eps * len(distinct) * len(values) * np.abs(distinct).max()] = 0
    return means / len(values)


def _share_below(errors: np.ndarray, freedom: float | None) -> float:
    """How probable it is that a standard error, normal or Student's, is below one of these, drawn at random."""
    return float(np.mean(ndtr(errors) if freedom is None else stdtr(freedom, errors)))


def _quantile_with_errors(means: np.ndarray, scale: float, freedom: float | None, share: float) -> float:
    """Where so large a share of the sums of one of the means and an error lies below."""
    error = scale * float(ndtri(share) if freedom is None else stdtrit(freedom, share))
    # It lies between those of the lowest and the highest mean; one is added, as both are the same where all means are.
    return brentq(
        lambda value: _share_below((value - means) / scale, freedom) - share,
        means.min() + error - 1,
        means.max() + error + 1,
    )
