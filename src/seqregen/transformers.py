"""What transformers of sequences have in common."""

from __future__ import annotations

from typing import Any

from sklearn.base import TransformerMixin

from .inputs import reusable

__all__ = ["SequenceTransformer"]


class SequenceTransformer(TransformerMixin):
    """A transformer that reads its input in ``fit`` and again in ``transform``."""

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit to ``X`` and transform it: ``fit(X).transform(X)``.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            As for ``fit``; also an iterator, whose rows come but once.
        y : ignored
        **fit_params
            Handed to ``fit``.

        Returns
        -------
        SequenceDataset
            As of ``transform``.
        """
        return super().fit_transform(reusable(X), y, **fit_params)
