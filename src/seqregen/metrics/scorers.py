"""scikit-learn scorers under full ranking: one ranking pass for all metrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..callers import stacklevel_of_caller
from ..labels import as_numpy, python_value, read_labels, require_order
from ..parameters import require_flag, takes
from .full_ranking import UNREACHABLE
from .ranking import check_cutoff, check_cutoffs, metric_of_each_row, ranking_metrics

__all__ = ["RankingScorer", "RankingScorers", "rank_held_out", "ranking_scorer", "ranking_scorers"]


@dataclass(frozen=True, repr=False)
class RankingScorers:
    """Scorer that gives several metrics; made by :func:`ranking_scorers`."""

    k: int | tuple[int, ...]
    exclude_history: bool

    def __call__(self, estimator: Any, X: Any, y: Any) -> dict[str, float]:
        """Score a fitted estimator: histories ``X``, the item that follows each in ``y``."""
        cutoffs = check_cutoffs(self.k)
        ranks = rank_held_out(estimator, X, y, k=max(cutoffs), exclude_history=self.exclude_history)
        return ranking_metrics(ranks, cutoffs)

    def __repr__(self) -> str:
        return f"ranking_scorers(k={self.k!r}, exclude_history={self.exclude_history})"


@dataclass(frozen=True, repr=False)
class RankingScorer:
    """Scorer that gives one metric; made by :func:`ranking_scorer`."""

    metric: str
    k: int
    exclude_history: bool

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Score a fitted estimator: histories ``X``, the item that follows each in ``y``."""
        k = check_cutoff(self.k)
        ranks = rank_held_out(estimator, X, y, k=k, exclude_history=self.exclude_history)
        return float(metric_of_each_row(ranks, self.metric, k).mean())

    def __repr__(self) -> str:
        return f"ranking_scorer({self.metric!r}, k={self.k!r}, exclude_history={self.exclude_history})"


def ranking_scorers(k: int | Iterable[int] = (10, 20), exclude_history: bool = True) -> RankingScorers:
    """Make the scorer that gives recall and NDCG at every cut-off.

    For ``scoring=`` of ``cross_validate``, ``GridSearchCV(refit="ndcg@10")`` and the like; what takes one metric alone,
    as searches by halving and ``learning_curve`` do, is given :func:`ranking_scorer`. Every item of the catalogue is
    ranked once for all metrics, ties against the model. A held-out item that the model does not know is a miss, never
    dropped from the average.

    Parameters
    ----------
    k : int or iterable of int, default=(10, 20)
        Lengths of the list.
    exclude_history : bool, default=True
        Leave the items of a user's history out of the ranking. Published figures for the Amazon and Yelp files
        do so; where people come back to the same items, it puts those targets out of reach.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)`` gives a dict with the keys ``recall@10``, ``ndcg@10``, ``recall@20``, ...

    Raises
    ------
    ValueError
        A cut-off is no positive integer; at scoring time, a cut-off is larger than the vocabulary.

    Notes
    -----
    An estimator with ``rank(X, y, exclude_history=...)`` is asked for ranks; a ``Pipeline`` that ends in one
    transforms ``X`` first, and a fitted search is asked for its best estimator. Any other estimator is asked for
    ``predict(X, k=...)``: the rank is then the place in that list, and a target outside it is a miss. History
    is left out there only if ``predict`` has the parameter ``exclude_history``; otherwise the
    estimator alone decides what it lists.

    Examples
    --------
    >>> from seqregen.metrics import ranking_scorers
    >>> ranking_scorers(k=(10, 20))
    ranking_scorers(k=(10, 20), exclude_history=True)
    """
    require_flag("exclude_history", exclude_history)
    cutoffs = check_cutoffs(k)
    return RankingScorers(cutoffs if isinstance(k, Iterable) else cutoffs[0], exclude_history)


def ranking_scorer(metric: str = "ndcg", k: int = 10, exclude_history: bool = True) -> RankingScorer:
    """Make the scorer that gives one metric at one cut-off.

    Parameters
    ----------
    metric : {"ndcg", "recall", "mrr"}, default="ndcg"
        Which metric.
    k : int, default=10
        Length of the list.
    exclude_history : bool, default=True
        As in :func:`ranking_scorers`.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)`` gives a float.

    Raises
    ------
    ValueError
        The metric is unknown or ``k`` is no positive integer; at scoring time, ``k`` is larger than the vocabulary.

    Examples
    --------
    >>> from seqregen.metrics import ranking_scorer
    >>> ranking_scorer("ndcg", k=20)
    ranking_scorer('ndcg', k=20, exclude_history=True)
    """
    # Refused here already, not hours later when the first model is trained.
    require_flag("exclude_history", exclude_history)
    metric_of_each_row(np.ones(1, dtype=np.int64), metric, check_cutoff(k))
    return RankingScorer(metric, k, exclude_history)


def rank_held_out(estimator: Any, X: Any, y: Any, *, k: int, exclude_history: bool) -> np.ndarray:
    """Rank each row's held-out item by a fitted estimator, int64 (n_rows,).

    Parameters
    ----------
    estimator : fitted estimator
        Any of those that :func:`ranking_scorers` names.
    X : array-like of sequences
        The histories.
    y : array-like of shape (n_rows,)
        Label of the item that follows each history.
    k : int
        Length of the longest list that is of interest.
    exclude_history : bool
        Leave the items of a row's history out of its ranking.

    Returns
    -------
    int64 ndarray of shape (n_rows,)
        Ranks from 1; :data:`UNREACHABLE` for a miss.
    """
    estimator, X = _unrolled(estimator, X)
    if not hasattr(estimator, "rank"):
        return _places_in_list(estimator, X, y, k, exclude_history)
    vocabulary = getattr(estimator, "vocabulary_", None)
    if vocabulary is not None and k > len(vocabulary):
        raise ValueError(f"k={k} is larger than the vocabulary, which has {len(vocabulary)} items.")
    ranks = np.asarray(estimator.rank(X, y, exclude_history=exclude_history))
    if ranks.shape != (len(y),):
        raise ValueError(
            f"{type(estimator).__name__}.rank must give one rank for each of the {len(y)} held-out items; "
            f"got shape {ranks.shape}."
        )
    return ranks


def _unrolled(estimator: Any, X: Any) -> tuple[Any, Any]:
    """The estimator that ranks, and what it ranks, out of pipelines and fitted searches."""
    from sklearn.pipeline import Pipeline

    while not hasattr(estimator, "rank"):
        if isinstance(estimator, Pipeline):
            if len(estimator) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            break
    return estimator, X


def _places_in_list(estimator: Any, X: Any, y: Any, k: int, exclude_history: bool) -> np.ndarray:
    options = {"exclude_history": exclude_history} if takes(estimator.predict, "exclude_history") else {}
    predicted = _label_table(estimator.predict(X, k=k, **options))
    require_order(y, "y", "one label a row")
    labels = read_labels(y, "y")
    if predicted.shape != (len(labels), k):
        raise ValueError(
            f"{type(estimator).__name__}.predict(X, k={k}) must give {k} labels for each of the {len(labels)} rows, "
            f"shape ({len(labels)}, {k}); got {predicted.shape}. If there are fewer than {k} items, lower k."
        )
    hit = predicted == labels[:, None]
    if len(labels) and not hit.any():
        _warn_of_other_kinds(predicted.flat[0], labels[:1].tolist()[0], type(estimator).__name__)
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, UNREACHABLE).astype(np.int64)


def _warn_of_other_kinds(listed: Any, target: Any, name: str) -> None:
    listed = listed.item() if isinstance(listed, np.generic) else listed
    if isinstance(listed, type(target)) or (isinstance(listed, Real) and isinstance(target, Real)):
        return
    warnings.warn(
        f"every target is a miss: y holds {target!r} ({type(target).__name__}), and {name} lists such as {listed!r} "
        f"({type(listed).__name__}).",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )


def _label_row(labels: Any) -> np.ndarray:
    labels = as_numpy(labels)
    if isinstance(labels, np.ndarray):
        return labels
    # Label by label: numpy would make a second dimension of labels that are tuples.
    return np.fromiter(map(python_value, labels), dtype=object, count=len(labels))


def _label_table(labels: Any) -> np.ndarray:
    labels = as_numpy(labels)
    if isinstance(labels, np.ndarray):
        # As labels of times are read: numpy compares nanoseconds with them as bare numbers.
        return labels if labels.dtype.kind not in "mM" else np.stack([_label_row(list(row)) for row in labels])
    rows = [_label_row(row) for row in labels]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"predict must give lists of one length for all rows; got lengths {sorted(lengths)[:5]}.")
    return np.stack(rows)
