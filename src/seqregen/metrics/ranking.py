"""Metrics of ranks: one target a row, under full ranking."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

__all__ = ["mean_reciprocal_rank", "metric_of_each_row", "ndcg_at_k", "ranking_metrics", "recall_at_k"]


def recall_at_k(ranks: Any, k: int) -> float:
    """Share of rows whose target is among the first ``k`` items.

    With one target a row this is also the hit rate.

    Parameters
    ----------
    ranks : integer array-like of shape (n_rows,)
        1-based ranks of the targets, as :func:`rank_targets` gives them.
    k : int
        Length of the list.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        There is no rank, a rank is below 1, or ``k`` is no positive integer.

    Examples
    --------
    >>> from seqregen.metrics import recall_at_k
    >>> recall_at_k([1, 3, 12, 40], k=10)
    0.5
    """
    return float(np.mean(metric_of_each_row(ranks, "recall", k)))


def ndcg_at_k(ranks: Any, k: int) -> float:
    """Mean of ``1 / log2(rank + 1)`` over rows, 0 where the target is not among the first ``k`` items.

    The normalised discounted cumulative gain of Järvelin and Kekäläinen (2002) for one relevant item a row,
    whose ideal gain is 1.

    Parameters
    ----------
    ranks : integer array-like of shape (n_rows,)
        1-based ranks of the targets.
    k : int
        Length of the list.

    Returns
    -------
    float
        Between 0 and :func:`recall_at_k`.

    Raises
    ------
    ValueError
        There is no rank, a rank is below 1, or ``k`` is no positive integer.

    Examples
    --------
    >>> from seqregen.metrics import ndcg_at_k
    >>> ndcg_at_k([1, 3, 12, 40], k=10)
    0.375
    """
    return float(np.mean(metric_of_each_row(ranks, "ndcg", k)))


def mean_reciprocal_rank(ranks: Any, k: int | None = None) -> float:
    """Mean of ``1 / rank`` over rows, 0 for targets that cannot be reached.

    Parameters
    ----------
    ranks : integer array-like of shape (n_rows,)
        1-based ranks of the targets.
    k : int, optional
        Count a target as missed behind the first ``k`` items. By default the whole ranking counts.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        There is no rank, a rank is below 1, or ``k`` is no positive integer.

    Examples
    --------
    >>> from seqregen.metrics import mean_reciprocal_rank
    >>> mean_reciprocal_rank([1, 2, 4])
    0.5833333333333334
    """
    return float(np.mean(metric_of_each_row(ranks, "mrr", k)))


def ranking_metrics(ranks: Any, k: Iterable[int] | int = (10, 20)) -> dict[str, float]:
    """Recall and NDCG at every cut-off.

    Parameters
    ----------
    ranks : integer array-like of shape (n_rows,)
        1-based ranks of the targets.
    k : int or iterable of int, default=(10, 20)
        Lengths of the list.

    Returns
    -------
    dict of str to float
        Keys ``recall@10``, ``ndcg@10``, ``recall@20``, ...

    Raises
    ------
    ValueError
        There is no rank, a rank is below 1, or a cut-off is no positive integer.

    Examples
    --------
    >>> from seqregen.metrics import ranking_metrics
    >>> ranking_metrics([1, 3, 12, 40], k=10)
    {'recall@10': 0.5, 'ndcg@10': 0.375}
    """
    ranks = check_ranks(ranks)
    values: dict[str, float] = {}
    for cutoff in check_cutoffs(k):
        values[f"recall@{cutoff}"] = recall_at_k(ranks, cutoff)
        values[f"ndcg@{cutoff}"] = ndcg_at_k(ranks, cutoff)
    return values


def metric_of_each_row(ranks: Any, metric: str, k: int | None) -> np.ndarray:
    """The metric of every single rank, float64 of the same shape.

    Parameters
    ----------
    ranks : integer array-like of any shape
        1-based ranks.
    metric : {"recall", "ndcg", "mrr"}
        Which metric.
    k : int or None
        Length of the list; None, for the whole ranking, is understood by "mrr" alone.

    Returns
    -------
    float64 ndarray
    """
    ranks = check_ranks(ranks)
    if metric not in ("recall", "ndcg", "mrr"):
        raise ValueError(f"metric must be 'recall', 'ndcg' or 'mrr'; got {metric!r}.")
    # The largest integer marks targets that cannot be reached.
    longest = np.iinfo(np.int64).max - 1
    hit = ranks <= (longest if k is None and metric == "mrr" else min(check_cutoff(k), longest))
    if metric == "recall":
        return hit.astype(np.float64)
    places = np.where(hit, ranks, 1).astype(np.float64)
    return np.where(hit, 1 / (np.log2(places + 1) if metric == "ndcg" else places), 0.0)


def check_ranks(ranks: Any) -> np.ndarray:
    """Integer ranks from 1, at least one of them."""
    ranks = np.asarray(ranks)
    if ranks.size == 0:
        raise ValueError("there is no rank to average: ranks is empty.")
    if ranks.dtype.kind not in "iu":
        raise ValueError(f"ranks must be integers from 1; got dtype {ranks.dtype}.")
    if ranks.min() < 1:
        place = np.unravel_index(int(np.argmax(ranks < 1)), ranks.shape)
        shown = int(place[0]) if len(place) == 1 else tuple(map(int, place))
        raise ValueError(f"ranks must be integers from 1; the one at {shown} is {ranks[place]}.")
    return ranks


def check_cutoff(k: Any) -> int:
    """A positive integer."""
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a positive integer; got {k!r}.")
    return int(k)


def check_cutoffs(k: Any) -> tuple[int, ...]:
    """Positive integers, at least one, given as one integer or several."""
    cutoffs = tuple(k) if isinstance(k, Iterable) and not isinstance(k, str) else (k,)
    if not cutoffs:
        raise ValueError("k must hold at least one cut-off; it is empty.")
    return tuple(map(check_cutoff, cutoffs))
