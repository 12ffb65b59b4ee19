"""Arithmetic on ragged columns: a flat array of values and the offsets of its rows."""

from __future__ import annotations

import numpy as np

__all__ = [
    "concatenate_offsets",
    "offsets_from_lengths",
    "position_in_row",
    "read_only",
    "row_of_position",
    "take_positions",
]


def offsets_from_lengths(lengths: np.ndarray) -> np.ndarray:
    """Offsets, int64 (n_rows + 1,), of rows with the given lengths."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written through; the array that the caller holds stays as it was.

    A dataset copies what it is given to hold, but for what is read-only: this hands over an array of one's own.
    """
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def take_positions(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of the pieces ``[start, start + length)``, one after the other, and the pieces' offsets."""
    offsets = offsets_from_lengths(lengths)
    positions = np.arange(offsets[-1], dtype=np.int64)
    positions += np.repeat(starts - offsets[:-1], lengths)
    return positions, offsets


def row_of_position(offsets: np.ndarray) -> np.ndarray:
    """The row, int64, that each flat position lies in."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def position_in_row(offsets: np.ndarray) -> np.ndarray:
    """The place, int64 from 0, of each flat position within its row."""
    return np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], np.diff(offsets))


def concatenate_offsets(parts: list[np.ndarray]) -> np.ndarray:
    """Offsets of all rows of several ragged columns put one behind the other."""
    return offsets_from_lengths(np.concatenate([np.diff(offsets) for offsets in parts]))
