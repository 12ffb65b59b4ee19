"""Sets of patterns: which of many ragged rows are the same."""

from __future__ import annotations

import numpy as np

from ..ragged import concatenate_offsets, take_positions

__all__ = ["contiguous_in", "distinct_patterns", "first_occurrences", "number_distinct", "share_of_new"]


def number_distinct(items: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Give equal rows equal numbers.

    Parameters
    ----------
    items : int64 ndarray of shape (n_items,)
    offsets : int64 ndarray of shape (n_rows + 1,)

    Returns
    -------
    int64 ndarray of shape (n_rows,)
        Numbers from 0; the order of the numbers means nothing.
    """
    lengths = np.diff(offsets)
    numbers = np.empty(len(lengths), dtype=np.int64)
    used = 0
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        if length == 0:
            numbers[rows], used = used, used + 1
            continue
        places, _ = take_positions(offsets[rows], lengths[rows])
        distinct, inverse = np.unique(items[places].reshape(len(rows), length), axis=0, return_inverse=True)
        numbers[rows] = used + inverse.reshape(-1)
        used += len(distinct)
    return numbers


def first_occurrences(items: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Numbers, ascending, of the rows that no earlier row equals."""
    _, first = np.unique(number_distinct(items, offsets), return_index=True)
    return np.sort(first)


def distinct_patterns(items: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items and offsets of the distinct rows of two items or more, each where it stands first."""
    distinct = first_occurrences(items, offsets)
    distinct = distinct[np.diff(offsets)[distinct] >= 2]
    places, offsets = take_positions(offsets[distinct], np.diff(offsets)[distinct])
    return items[places], offsets


def share_of_new(
    items: np.ndarray,
    offsets: np.ndarray,
    mined: list[tuple[np.ndarray, np.ndarray]],
    sources: tuple[np.ndarray, np.ndarray],
) -> float:
    """Share of rows that are neither in one of the sets of mined patterns nor a contiguous piece of a source row."""
    n_rows = len(offsets) - 1
    if n_rows == 0:
        return 0.0
    parts = [(items, offsets), *mined]
    together = concatenate_offsets([part[1] for part in parts])
    numbers = number_distinct(np.concatenate([part[0] for part in parts]), together)
    known = np.isin(numbers[:n_rows], numbers[n_rows:])
    return float(np.mean(~(known | contiguous_in(items, offsets, sources))))


def contiguous_in(items: np.ndarray, offsets: np.ndarray, sources: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Whether each row is a contiguous piece of some source row: bool (n_rows,).

    Pieces are compared by a 64-bit hash, so memory does not grow with their length.
    """
    lengths, found = np.diff(offsets), np.zeros(len(offsets) - 1, dtype=bool)
    source_items, source_offsets = sources
    left = np.repeat(source_offsets[1:], np.diff(source_offsets)) - np.arange(len(source_items))
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        starts = np.flatnonzero(left >= length)
        found[rows] = np.isin(_hashes(items, offsets[rows], length), _hashes(source_items, starts, length))
    return found


def _hashes(items: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    hashes = np.zeros(len(starts), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for step in range(length):
            hashes = (hashes ^ items[starts + step].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            hashes ^= hashes >> np.uint64(29)
    return hashes
