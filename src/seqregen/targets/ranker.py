"""Ranking the whole vocabulary after histories: what every recommender does once it can score items."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..inputs import check_sequences, encode_targets
from ..metrics import ndcg_at_k
from ..metrics.full_ranking import rank_targets_in_blocks, top_items_in_blocks
from ..parameters import require_flag
from ..sequences import SequenceDataset

__all__ = ["ROWS_AT_ONCE", "Ranker", "ScoreBlock"]

# Scores, (stop - start, n_items), of the histories from start to stop.
ScoreBlock: TypeAlias = Callable[[int, int], Tensor]
# Rows encoded or scored at once when nothing is learnt, and how many of their scores are held at once.
ROWS_AT_ONCE = 1024
_MOST_SCORES = 1 << 28


class Ranker(BaseEstimator, metaclass=ABCMeta):
    """Base of everything that ranks items: ``predict(X, k)``, ``rank(X, y)``, ``score(X, y)``, raw scores.

    A subclass has a ``fit`` that sets ``vocabulary_``, and scores blocks of histories.

    Attributes
    ----------
    vocabulary_ : ndarray of shape (n_items,)
        Item labels; the catalogue that is ranked.
    """

    # Lets predict(X, k=...) pass through a Pipeline whether metadata routing is on or off.
    __metadata_request__predict = {"k": True, "exclude_history": True}  # noqa: RUF012
    # With routing on, Pipeline.score passes sample_weight=None to every last step and fails where it is not known.
    __metadata_request__score = {"sample_weight": None}  # noqa: RUF012

    def _check_parameters(self) -> None:
        """Refuse the parameters that ``fit`` would refuse, before what comes ahead of it takes its time."""

    @abstractmethod
    def _scores(self, histories: SequenceDataset) -> ScoreBlock:
        """What scores blocks of the given histories, codes of ``vocabulary_``."""

    def predict(self, X: Any, k: int = 10, exclude_history: bool = True) -> np.ndarray:
        """The ``k`` best items after each history.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Histories; new users are welcome. Items not seen in fit are ignored with one warning. Of a
            dataset, the original rows are read, each followed by its validation item.
        k : int, default=10
            Length of the list; at most the size of the vocabulary.
        exclude_history : bool, default=True
            Put items that are in the history behind all others.

        Returns
        -------
        ndarray of shape (n_original, k)
            Item labels, best first.

        Raises
        ------
        ValueError
            ``k`` is not between 1 and the size of the vocabulary.
        NotFittedError
            ``fit`` was not called.
        """
        require_flag("exclude_history", exclude_history)
        histories = self._histories(X)
        n_items = len(self.vocabulary_)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= n_items:
            raise ValueError(f"k must be an integer from 1 to the size of the vocabulary ({n_items}); got {k!r}.")
        codes = self._top_items(histories, int(k), exclude_history)
        short = np.flatnonzero((codes == 0).any(axis=1))
        if len(short):
            codes[short] = self._filled(codes[short], histories[short], int(k))
        return self.vocabulary_[codes - 1]

    def rank(self, X: Any, y: Any, exclude_history: bool = True) -> np.ndarray:
        """Rank of each target among all items of the vocabulary: 1 is the best.

        Ties count against the model. A target outside the vocabulary, or one excluded because it is in its
        own history, has the largest int64.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            As in :meth:`predict`.
        y : array-like of shape (n_original,)
            Labels of the next items.
        exclude_history : bool, default=True
            Leave items that are in the history out of the ranking.

        Returns
        -------
        int64 ndarray of shape (n_original,)

        Raises
        ------
        ValueError
            There is not one target for each original row.
        """
        require_flag("exclude_history", exclude_history)
        histories = self._histories(X)
        targets = encode_targets(y, self.vocabulary_, len(histories))
        return rank_targets_in_blocks(
            self._scores(histories),
            len(histories),
            targets,
            (histories.items, histories.offsets),
            exclude_history=exclude_history,
        )

    def score(self, X: Any, y: Any) -> float:
        """NDCG@10 under full ranking, history excluded.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
        y : array-like of shape (n_original,)
            Labels of the next items.

        Returns
        -------
        float
        """
        return float(ndcg_at_k(self.rank(X, y), 10))

    def score_blocks(self, X: Any, block_rows: int = ROWS_AT_ONCE) -> Iterator[np.ndarray]:
        """Raw scores of all items, some rows at a time; history is not excluded.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
        block_rows : int, default=1024
            Rows at a time, at least 1.

        Returns
        -------
        iterator of float32 ndarrays of shape (<= block_rows, n_items)
            Column ``j`` is ``vocabulary_[j]``.
        """
        if isinstance(block_rows, bool) or not isinstance(block_rows, (int, np.integer)) or block_rows < 1:
            raise ValueError(f"block_rows must be an integer >= 1; got {block_rows!r}.")
        histories = self._histories(X)
        block = self._scores(histories)
        starts = range(0, len(histories), int(block_rows))
        return (block(start, min(start + block_rows, len(histories))).cpu().numpy() for start in starts)

    def decision_function(self, X: Any) -> np.ndarray:
        """Raw scores of all items, computed by blocks; history is not excluded.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset

        Returns
        -------
        float32 ndarray of shape (n_original, n_items)

        Raises
        ------
        ValueError
            More than 2**28 scores (1 GiB) are asked for; take them from :meth:`score_blocks`.
        """
        histories = self._histories(X)
        if len(histories) * len(self.vocabulary_) > _MOST_SCORES:
            raise ValueError(
                f"{len(histories):,} rows x {len(self.vocabulary_):,} items are too many scores to hold at once; "
                "use score_blocks(X), predict(X, k) or rank(X, y)."
            )
        if len(histories) == 0:
            return np.zeros((0, len(self.vocabulary_)), dtype=np.float32)
        return np.concatenate(list(self.score_blocks(histories)))

    def _histories(self, X: Any) -> SequenceDataset:
        check_is_fitted(self, "vocabulary_")
        return check_sequences(X, vocabulary=self.vocabulary_).histories()

    def _top_items(self, histories: SequenceDataset, k: int, exclude_history: bool) -> np.ndarray:
        codes, _ = top_items_in_blocks(
            self._scores(histories),
            len(histories),
            (histories.items, histories.offsets),
            k,
            exclude_history=exclude_history,
        )
        return codes

    def _filled(self, codes: np.ndarray, histories: SequenceDataset, k: int) -> np.ndarray:
        """Lists that the exclusion left short, with the best of the excluded items behind.

        Items that are never recommended, whose score is -inf, come last, in the order of the vocabulary.
        """
        n_items = len(self.vocabulary_)
        # A list is short where fewer than k items outside the history have a score: so many have one in all.
        most = min(n_items, k + int(histories.lengths.max()))
        everything = self._top_items(histories, most, exclude_history=False)
        others = np.arange(1, min(n_items, k + most) + 1)
        for row, (found, ranked) in enumerate(zip(codes, everything, strict=True)):
            in_order = np.concatenate([found, ranked, others])
            in_order = in_order[in_order > 0]
            _, first = np.unique(in_order, return_index=True)
            codes[row] = in_order[np.sort(first)][:k]
        return codes
