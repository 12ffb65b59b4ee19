"""What the published models have in common."""

from __future__ import annotations

from typing import Any, Self

from .base import SequentialRecommender

__all__ = ["PublishedModel"]


class PublishedModel(SequentialRecommender):
    """Base of the five models of DR4SR's experiments, whose defaults but for the loss are the published ones."""

    @classmethod
    def reference(cls, **changes: Any) -> Self:
        """Make the model of DR4SR's published experiments: binary cross-entropy with one negative.

        Parameters
        ----------
        **changes
            Parameters that are to be otherwise.

        Returns
        -------
        estimator
            Not fitted.
        """
        published: dict[str, Any] = {"loss": "bce", "n_negatives": 1}
        return cls(**(published | changes))
