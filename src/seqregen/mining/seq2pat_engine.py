"""The reference mining engine: the seq2pat library."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..optional import require_package
from .table import PatternTable

__all__ = ["mine_patterns_with_seq2pat"]


def mine_patterns_with_seq2pat(
    items: np.ndarray, offsets: np.ndarray, *, window: int, min_support: int, max_length: int | None = None
) -> PatternTable:
    """Find the same patterns and supports as :func:`seqregen.mining.engine.mine_patterns` with seq2pat.

    Parameters
    ----------
    items, offsets, window, min_support, max_length
        As of the default engine.

    Returns
    -------
    PatternTable
        Without the rows of each pattern, which seq2pat does not tell.

    Raises
    ------
    ImportError
        seq2pat is not installed.
    """
    # Imported first, so that a missing library shows on any input.
    miner = _load_seq2pat()
    bounds, codes = offsets.tolist(), items.tolist()
    # seq2pat refuses empty sequences; they support nothing.
    rows = [codes[start:stop] for start, stop in pairwise(bounds) if stop > start]
    if len(rows) < min_support:
        return PatternTable.from_blocks([], [])
    # Its batches lower the threshold inside each batch, far slower; one batch is exact mining.
    # A span beyond the longest row says the same as that row's length.
    span = min(window, max(2, *map(len, rows)))
    found = miner(sequences=rows, max_span=span, batch_size=None, n_jobs=1).get_patterns(min_frequency=min_support)
    by_length: dict[int, list[list[int]]] = {}
    for pattern in found:
        length = len(pattern) - 1
        if max_length is None or length <= max_length:
            by_length.setdefault(length, []).append(pattern)
    blocks = [np.array(patterns, dtype=np.int64) for patterns in by_length.values()]
    return PatternTable.from_blocks([block[:, :-1] for block in blocks], [block[:, -1] for block in blocks])


def _load_seq2pat() -> Any:
    advice = "engine='vectorised' finds the same patterns without it."
    require_package("sequential.seq2pat", "engine='seq2pat'", "seq2pat", advice)
    from sequential.seq2pat import Seq2Pat

    return Seq2Pat
