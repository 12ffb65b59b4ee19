"""Original rows: alone, as what a recommender is trained on to regenerate, and in front of the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inputs import check_sequences, require_two_items
from ..mining import PatternMiner
from ..sequences import Origin, SequenceDataset
from .pretraining import pairs_of

__all__ = ["by_origin", "check_is_ranker", "with_mined_rows", "with_originals"]


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


def with_mined_rows(
    data: SequenceDataset, miner: PatternMiner | None, patterns: tuple[np.ndarray, np.ndarray]
) -> SequenceDataset:
    """What is to be regenerated: rows in the order of their origins, with pairs, and with mined rows.

    Rows that another DatasetRegenerator made go; where there are no mined rows, the patterns become some; where there
    are no pairs, the miner finds them.
    """
    if data.memory is not None and (data.memory >= 0).any():
        data = data[data.memory < 0]
    if data.pairs is None and miner is not None:
        pairs = pairs_of(miner.transform(data.originals()).originals())
        data = by_origin(data).replace(pairs=pairs.extend(len(data)))
    if not (data.origin == Origin.MINED).any() and len(patterns[1]) > 1:
        data = data.append(*patterns, Origin.MINED)
    return by_origin(data)


def check_is_ranker(owner: Any, name: str, method: str) -> None:
    """Refuse a parameter that is neither None nor a recommender with the method that is needed."""
    value = getattr(owner, name)
    if value is not None and (isinstance(value, type) or not hasattr(value, method)):
        raise TypeError(
            f"{type(owner).__name__}: {name} must be a recommender, an instance that has {method}, or None; got "
            f"{value!r}."
        )
