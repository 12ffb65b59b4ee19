"""Uniform draws of a few patterns for every row that do not depend on how the work is divided."""

from __future__ import annotations

import numpy as np

__all__ = ["STEP", "mix_bits", "sample_per_row"]

# What SplitMix64 counts by: numbers that lie so far apart are mixed best.
STEP = np.uint64(0x9E3779B97F4A7C15)


def sample_per_row(
    rows: np.ndarray, patterns: np.ndarray, limit: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most ``limit`` patterns of each row, every choice of so many being equally likely.

    Each pair gets a key that is a hash of the seed, the row and the pattern, and the smallest keys of a row are
    kept. The draw therefore is the same for any division of the rows into shards and any number of jobs.

    Parameters
    ----------
    rows : int64 ndarray of shape (n_pairs,)
        Row of each pair, ascending.
    patterns : int64 ndarray of shape (n_pairs,)
        Pattern of each pair, ascending within a row.
    limit : int or None
        Most patterns of a row; None keeps all.
    seed : int
        Non-negative, below 2**63.

    Returns
    -------
    rows, patterns : int64 ndarrays of shape (n_kept,)
        The pairs kept, in their order.

    Examples
    --------
    >>> import numpy as np
    >>> rows, patterns = sample_per_row(np.array([0, 0, 0, 2]), np.array([4, 5, 6, 5]), limit=2, seed=0)
    >>> rows
    array([0, 0, 2])
    """
    if limit is None or len(rows) == 0:
        return rows, patterns
    # Counted from the first row on: a shard's work does not grow with the rows before it.
    sizes = np.bincount(rows - rows[0])
    crowded = np.flatnonzero(sizes[rows - rows[0]] > limit)
    if len(crowded) == 0:
        return rows, patterns
    counts = sizes[sizes > limit]
    place = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    # One number to sort by: which row, then as much of the hash as there is room for behind it.
    n_bits = np.uint64(len(counts).bit_length())
    hashes = _hash(seed, rows[crowded], patterns[crowded]) >> n_bits
    order = np.argsort((place << (np.uint64(64) - n_bits)) | hashes, kind="stable")
    # In this order the pairs of a row are neighbours, so the rank in a row is the distance from its first pair.
    rank = np.arange(len(crowded)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.ones(len(rows), dtype=bool)
    kept[crowded[order[rank >= limit]]] = False
    return rows[kept], patterns[kept]


def _hash(seed: int, rows: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    mixed = mix_bits(np.full(1, seed, dtype=np.uint64) + STEP)
    mixed = mix_bits((mixed ^ rows.astype(np.uint64)) + STEP)
    return mix_bits((mixed ^ patterns.astype(np.uint64)) + STEP)


def mix_bits(values: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014) of uint64: every bit moves half of the others."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
