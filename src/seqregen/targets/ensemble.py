"""Ensemble: several recommenders that rank together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from sklearn.base import MetaEstimatorMixin, clone
from torch import Tensor

from ..inputs import check_sequences, require_two_items
from ..parameters import remember_columns
from ..sequences import SequenceDataset
from .ranker import Ranker, ScoreBlock

__all__ = ["Ensemble"]


class Ensemble(MetaEstimatorMixin, Ranker):
    """Several recommenders, each trained on the same rows, that rank by the mean of their probabilities.

    Models that start from other random numbers, or are built otherwise, err in other places: together they rank better
    than each alone. It takes as long as all of them; :class:`~seqregen.TeacherRegenerator` hands what it knows to one.

    Parameters
    ----------
    recommenders : list of recommenders
        Targets or adapters of this library. Their scores are read as logarithms of probabilities, which the softmax
        losses make them.

    Attributes
    ----------
    recommenders_ : list
        Fitted.
    vocabulary_ : ndarray of shape (n_items,)

    Examples
    --------
    >>> import seqregen as sr
    >>> data = sr.datasets.make_sequences(n_sequences=100, n_items=30, random_state=0)
    >>> X, y = sr.model_selection.leave_one_out(data, validation=True)
    >>> models = [
    ...     sr.targets.SASRec(embedding_dim=8, max_epochs=4, batch_size=32, random_state=seed) for seed in range(2)
    ... ]
    >>> sr.targets.Ensemble(models).fit(X).predict(X, k=5).shape
    (100, 5)
    """

    def __init__(self, recommenders: Any) -> None:
        self.recommenders = recommenders

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train every recommender.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            There is no recommender, or one of them is none.
        ValueError
            No row has two items.
        """
        self._check_parameters()
        data = check_sequences(X, require_items=True)
        require_two_items(self, data, X)
        self.recommenders_ = [clone(recommender).fit(data) for recommender in self.recommenders]
        remember_columns(self, X)
        self.vocabulary_ = data.vocabulary
        return self

    def _check_parameters(self) -> None:
        given = self.recommenders
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) == 0:
            raise TypeError(f"Ensemble: recommenders must be a list of one recommender or more; got {given!r}.")
        for number, recommender in enumerate(given):
            if not isinstance(recommender, Ranker):
                raise TypeError(f"Ensemble: recommenders[{number}] must be a recommender; got {recommender!r}.")
            recommender._check_parameters()

    def _scores(self, histories: SequenceDataset) -> ScoreBlock:
        blocks = [recommender._scores(histories) for recommender in self.recommenders_]

        def block(start: int, stop: int) -> Tensor:
            # Logarithms throughout: probabilities of single precision would be 0, and tie, far down the list.
            total = torch.log_softmax(blocks[0](start, stop), dim=1)
            for others in blocks[1:]:
                total = torch.logaddexp(total, torch.log_softmax(others(start, stop), dim=1).to(total))
            return total.sub_(math.log(len(blocks)))

        return block
