"""A recommender trained on regenerated data: the estimator for real use."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .inputs import check_sequences
from .labels import same_vocabulary
from .model_selection import hold_out_last
from .parameters import remember_columns, takes
from .sequences import SequenceDataset

__all__ = ["RegeneratedRecommender"]


def _recommender_has(method: str) -> Any:
    """Whether the recommender, the fitted one if there is one, has a method."""

    def check(self: Any) -> bool:
        # The attribute's own error says more than a False would.
        getattr(getattr(self, "recommender_", self.recommender), method)
        return True

    return check


class RegeneratedRecommender(MetaEstimatorMixin, BaseEstimator):
    """Regenerate the training sequences, train a recommender on the result, predict after raw histories.

    Three steps in ``fit``: each row's last item moves out of the rows into ``validation``; ``regeneration`` sees
    the rest alone; ``recommender`` trains on what comes out, original and added rows, and stops by the
    validation items, which no mined or regenerated row can show. ``predict`` goes to the recommender directly,
    after the full histories: nothing is regenerated then.

    Parameters
    ----------
    regeneration : transformer, "passthrough" or None
        Any transformer of sequences or ``Pipeline`` of them whose ``fit_transform`` gives a
        :class:`~seqregen.SequenceDataset`, the rows it was given first and in order. "passthrough" or None train on
        the original rows: as a value in a grid search, the control without regeneration.
    recommender : recommender
        An estimator with ``fit(X)``, ``predict(X, k, exclude_history)``, ``rank(X, y, exclude_history)``
        and ``score(X, y)``, such as those of ``seqregen.targets``.
    validation : {"last_item", None}, default="last_item"
        "last_item" moves each row's last item into ``validation``, unless the data has validation items
        already; rows of one item keep it. None hands the rows on as they are, and the recommender decides by
        itself when to stop.

    Attributes
    ----------
    regeneration_ : transformer or None
        The fitted regeneration.
    recommender_ : recommender
        The fitted recommender.
    vocabulary_ : ndarray of shape (n_items,)
        Labels of all items that are ranked; there if the recommender has it.

    See Also
    --------
    seqregen.model_selection.LeaveLastOut : Evaluate it by ``cross_validate``.

    Notes
    -----
    ``y`` is never read in ``fit``: the sequences supervise themselves.

    Examples
    --------
    >>> import seqregen as sr
    >>> from sklearn.pipeline import make_pipeline
    >>> sequences = sr.datasets.make_sequences(n_sequences=100, n_items=30, random_state=0)
    >>> regenerator = sr.DatasetRegenerator(n_memories=2, max_epochs=1, item_embeddings=None, random_state=0)
    >>> regeneration = make_pipeline(sr.PatternMiner(random_state=0), regenerator)
    >>> target = sr.targets.SASRec(embedding_dim=8, max_epochs=1, random_state=0)
    >>> model = sr.RegeneratedRecommender(regeneration, target).fit(sequences)
    >>> model.predict(sequences, k=10).shape
    (100, 10)
    """

    # A list's length and what it leaves out are no data that needs routing: they may be passed through a Pipeline.
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"k": True, "exclude_history": True}
    # With routing on, Pipeline.score passes sample_weight=None to every last step and fails where it is not known.
    __metadata_request__score: ClassVar[dict[str, None]] = {"sample_weight": None}

    def __init__(self, regeneration: Any, recommender: Any, validation: str | None = "last_item") -> None:
        self.regeneration = regeneration
        self.recommender = recommender
        self.validation = validation

    def fit(self, X: Any, y: Any = None) -> RegeneratedRecommender:
        """Regenerate ``X`` without its held-out items and train the recommender on the result.

        Parameters
        ----------
        X : array-like of sequences
            Raw histories, oldest item first.
        y : ignored

        Returns
        -------
        RegeneratedRecommender

        Raises
        ------
        ValueError
            ``validation`` is unknown; ``X`` holds mined or regenerated rows with no validation items (they may
            show what is to be held out); the regeneration lost or changed rows or validation items.
        TypeError
            The regeneration is no transformer, or gives no :class:`~seqregen.SequenceDataset`; or the recommender is
            none.
        """
        if self.validation not in ("last_item", None):
            raise ValueError(f"validation must be 'last_item' or None; got {self.validation!r}.")
        _check_recommender(self.recommender)
        rows = check_sequences(X, require_items=True)
        if self.validation == "last_item":
            rows = hold_out_last(rows)
        regeneration, training_rows = _regenerate(self.regeneration, rows)
        recommender = clone(self.recommender).fit(training_rows, None)
        remember_columns(self, X)
        self.regeneration_, self.recommender_ = regeneration, recommender
        return self

    def predict(self, X: Any, k: int = 10, exclude_history: bool = True) -> np.ndarray:
        """The ``k`` best next items of each row.

        Parameters
        ----------
        X : array-like of sequences
            Full histories, oldest item first.
        k : int, default=10
            How many items.
        exclude_history : bool, default=True
            Put what is in the row's history behind all else.

        Returns
        -------
        ndarray of shape (n_rows, k)
            Item labels, best first.
        """
        check_is_fitted(self)
        return self.recommender_.predict(X, k=k, exclude_history=exclude_history)

    @available_if(_recommender_has("rank"))
    def rank(self, X: Any, y: Any, exclude_history: bool = True) -> np.ndarray:
        """Rank each row's next item among all items.

        Parameters
        ----------
        X : array-like of sequences
            Full histories.
        y : array-like of shape (n_rows,)
            Label of the item that follows each history.
        exclude_history : bool, default=True
            Leave the items of a row's history out of its ranking.

        Returns
        -------
        int64 ndarray of shape (n_rows,)
            Ranks from 1, ties against the model.
        """
        check_is_fitted(self)
        return self.recommender_.rank(X, y, exclude_history=exclude_history)

    @available_if(_recommender_has("score"))
    def score(self, X: Any, y: Any) -> float:
        """The recommender's own score, NDCG@10 for those of this package.

        Parameters
        ----------
        X : array-like of sequences
            Full histories.
        y : array-like of shape (n_rows,)
            Label of the item that follows each history.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return self.recommender_.score(X, y)

    @available_if(_recommender_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """The recommender's scores of all items.

        Parameters
        ----------
        X : array-like of sequences
            Full histories.

        Returns
        -------
        ndarray of shape (n_rows, n_items)
        """
        check_is_fitted(self)
        return self.recommender_.decision_function(X)

    @property
    def vocabulary_(self) -> np.ndarray:
        """Labels of all items that are ranked."""
        return self.recommender_.vocabulary_


def _check_recommender(recommender: Any) -> None:
    """Refuse what could not be trained: regenerating takes minutes, and comes first."""
    if isinstance(recommender, type) or not (hasattr(recommender, "fit") and hasattr(recommender, "predict")):
        raise TypeError(
            f"recommender must be an estimator with fit and predict, such as SASRec(); got {recommender!r}."
        )
    if not takes(recommender.predict, "k"):
        raise TypeError(
            "recommender must have predict(X, k), as the recommenders of this library do; got "
            f"a {type(recommender).__name__}. A search goes around all of it: "
            "GridSearchCV(RegeneratedRecommender(...), {'recommender__learning_rate': ...})."
        )
    # Not at the top: importing this module must not import torch.
    from .targets.ranker import Ranker

    if isinstance(recommender, Ranker):
        # Its own fit would say so after the regeneration.
        recommender._check_parameters()


def _regenerate(regeneration: Any, rows: SequenceDataset) -> tuple[Any, SequenceDataset]:
    if regeneration is None or (isinstance(regeneration, str) and regeneration == "passthrough"):
        return None, rows
    if not (hasattr(regeneration, "fit_transform") or hasattr(regeneration, "transform")):
        raise TypeError(
            f"regeneration must be a transformer of sequences, 'passthrough' or None; got {regeneration!r}."
        )
    fitted = clone(regeneration)
    at_once = hasattr(fitted, "fit_transform")
    regenerated = fitted.fit_transform(rows, None) if at_once else fitted.fit(rows, None).transform(rows)
    if not isinstance(regenerated, SequenceDataset):
        raise TypeError(
            f"regeneration must give a SequenceDataset, the given rows first; {type(regeneration).__name__} "
            f"gave {type(regenerated).__name__}."
        )
    _check_rows_kept(rows, regenerated, type(regeneration).__name__)
    return fitted, regenerated


def _check_rows_kept(rows: SequenceDataset, regenerated: SequenceDataset, name: str) -> None:
    """Predictions and early stopping count on the original rows being there, each with its validation item."""
    if regenerated.n_original != rows.n_original:
        raise ValueError(
            f"{name} was given {rows.n_original} original rows and gave {regenerated.n_original}; "
            "original rows must stay, first and in order, with added rows behind them."
        )
    if not same_vocabulary(regenerated.vocabulary, rows.vocabulary):
        raise ValueError(f"{name} changed the vocabulary; it is the catalogue that is ranked, and must stay whole.")
    before, after = rows.originals(), regenerated.originals()
    if not (np.array_equal(before.offsets, after.offsets) and np.array_equal(before.items, after.items)):
        row = next(row for row in range(len(before)) if not np.array_equal(before.row_codes(row), after.row_codes(row)))
        raise ValueError(
            f"{name} changed the original row {row}, {before[row].tolist()}, to {after[row].tolist()}; original rows "
            "must stay as they are, first and in order, with added rows behind them."
        )
    if rows.validation is None:
        return
    kept = None if regenerated.validation is None else regenerated.validation[: rows.n_original]
    if kept is None or not np.array_equal(kept, rows.validation[: rows.n_original]):
        raise ValueError(f"{name} lost or changed validation items; it must carry the column along as it is.")
