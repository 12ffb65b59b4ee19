"""Original rows: alone, as what a recommender is trained on to regenerate, and in front of the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inputs import check_sequences, require_two_items
from ..sequences import SequenceDataset

__all__ = ["by_origin", "check_is_ranker", "with_originals"]


def with_originals(owner: Any, X: Any) -> tuple[SequenceDataset, SequenceDataset]:
    """The given rows as a dataset, and the original ones among them without validation items."""
    data = check_sequences(X, require_items=True)
    originals = data.originals().replace(validation=None, pairs=None)
    require_two_items(owner, originals, X)
    return data, originals


def by_origin(rows: SequenceDataset) -> SequenceDataset:
    """The rows in the order of their origins: original, mined, regenerated."""
    in_order = (rows.origin[1:] >= rows.origin[:-1]).all()
    return rows if in_order else rows[np.argsort(rows.origin, kind="stable")]


def check_is_ranker(owner: Any, name: str, method: str) -> None:
    """Refuse a parameter that is neither None nor a recommender with the method that is needed."""
    value = getattr(owner, name)
    if value is not None and (isinstance(value, type) or not hasattr(value, method)):
        raise TypeError(
            f"{type(owner).__name__}: {name} must be a recommender, an instance that has {method}, or None; got "
            f"{value!r}."
        )
