"""RankFilter: added rows that a recommender does not expect are left away."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..inputs import check_sequences
from ..metrics import UNREACHABLE
from ..model_selection import leave_one_out
from ..parameters import check_flag, check_integer, draw_seed, remember_columns, with_plain_numbers
from ..sequences import Origin, SequenceDataset
from ..targets import SASRec
from ..training.checkpoints import warn_of_unrepeatable_runs
from ..training.run_parameters import check_run_parameters
from ..transformers import SequenceTransformer
from .originals import check_is_ranker, with_originals

__all__ = ["RankFilter"]


class RankFilter(MetaEstimatorMixin, SequenceTransformer, BaseEstimator):
    """Keep of the added rows those that a recommender expects.

    A recommender is trained on the original rows. Of the mined and regenerated rows those stay whose last item it ranks
    among the first ``highest_rank`` of all items, after the items before it. Patterns that few users happened to share,
    and decodes that are close to random, go.

    Parameters
    ----------
    recommender : recommender, optional
        Anything that trains on a SequenceDataset and has ``rank``: the targets and adapters of this library. Default
        ``SASRec(refit=True)`` with the last four parameters below.
    highest_rank : int, default=100
        The worst rank of a last item that is expected.
    exclude_history : bool, default=True
        Whether the items before the last one are left out of its ranking, as they are when a recommender is used. A
        row that ends with an item that it has already goes then.
    device : str, default="auto"
        "auto" takes CUDA where there is one, else the CPU. This and what follows is for the default recommender;
        another one has its own.
    random_state : int, RandomState instance or None, default=None
        An integer makes fits repeat, bit for bit on one CPU.
    checkpoint_dir : path-like, optional
        Where the default recommender keeps checkpoints; a fit that was interrupted goes on from there.
    verbose : bool, default=False
        A progress bar.

    Attributes
    ----------
    recommender_ : recommender
        Fitted on the original rows.
    vocabulary_ : ndarray of shape (n_items,)

    See Also
    --------
    DatasetRegenerator, PatternMiner : what makes rows that are worth a filter.
    TeacherRegenerator : rows that a recommender makes by itself.

    Notes
    -----
    Not part of DR4SR. ``X.validation`` is never read: the recommender stops early on the last items of the rows
    themselves. Pairs that a regenerator learns from stay: put the filter behind it.

    Examples
    --------
    >>> import seqregen as sr
    >>> data = sr.datasets.make_sequences(n_sequences=100, n_items=30, random_state=0)
    >>> mined = sr.PatternMiner(window=3, random_state=0).fit_transform(data)
    >>> recommender = sr.targets.SASRec(embedding_dim=8, max_epochs=4, batch_size=32, random_state=0)
    >>> kept = sr.RankFilter(recommender, highest_rank=10).fit_transform(mined)
    >>> kept.n_original, len(kept) < len(mined)
    (100, True)
    """

    def __init__(
        self,
        recommender: Any = None,
        *,
        highest_rank: int = 100,
        exclude_history: bool = True,
        device: str = "auto",
        random_state: Any = None,
        checkpoint_dir: Any = None,
        verbose: bool = False,
    ) -> None:
        self.recommender = recommender
        self.highest_rank = highest_rank
        self.exclude_history = exclude_history
        self.device = device
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.verbose = verbose

    def _check_filter_parameters(self) -> None:
        """Those that ``transform`` reads."""
        check_integer(self, "highest_rank", 1)
        check_flag(self, "exclude_history")

    def _check_parameters(self) -> None:
        self._check_filter_parameters()
        check_run_parameters(self)
        check_is_ranker(self, "recommender", "rank")

    @with_plain_numbers
    def fit(self, X: Any, y: Any = None) -> RankFilter:
        """Train the recommender.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Its original rows are read, its validation items are not.
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            The recommender is none.
        ValueError
            No original row has two items.
        """
        self._check_parameters()
        warn_of_unrepeatable_runs(self)
        data, originals = with_originals(self, X)
        recommender = self._default_recommender() if self.recommender is None else clone(self.recommender)
        # Frozen estimators insist on a y.
        recommender.fit(originals, None)
        remember_columns(self, X)
        self.recommender_ = recommender
        self.vocabulary_ = data.vocabulary
        return self

    def _default_recommender(self) -> SASRec:
        return SASRec(
            refit=True,
            device=self.device,
            random_state=draw_seed(self.random_state),
            checkpoint_dir=self.checkpoint_dir,
            verbose=self.verbose,
        )

    @with_plain_numbers
    def transform(self, X: Any) -> SequenceDataset:
        """Leave away added rows that are not expected.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Items not seen in fit are ignored with one warning.

        Returns
        -------
        SequenceDataset
            The original rows, all of them, and in their order the added rows that stay. Rows of one item, which
            teach nothing, stay.
        """
        check_is_fitted(self, "recommender_")
        self._check_filter_parameters()
        data = check_sequences(X, vocabulary=self.vocabulary_)
        numbers = np.flatnonzero((data.origin != Origin.ORIGINAL) & (data.lengths > 1))
        if len(numbers) == 0:
            return data
        added = data[numbers]
        # An added row belongs to the user of its source, whom a recommender may know.
        owners = np.where(data.source >= 0, data.source, np.arange(len(data)))[numbers]
        users = None if data.users is None else data.users[owners]
        fronts, last = leave_one_out(SequenceDataset(added.items, added.offsets, self.vocabulary_, users=users))
        ranks = np.asarray(self.recommender_.rank(fronts, last, exclude_history=self.exclude_history))
        if ranks.shape != (len(numbers),):
            raise ValueError(
                f"RankFilter: {type(self.recommender_).__name__}.rank must give one rank for each of {len(numbers)} "
                f"rows; got the shape {ranks.shape}."
            )
        kept = np.ones(len(data), dtype=bool)
        kept[numbers] = (ranks <= self.highest_rank) & (ranks != UNREACHABLE)
        return data[kept]
