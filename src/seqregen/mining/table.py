"""The table of mined patterns: what both engines return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ragged import offsets_from_lengths, take_positions

__all__ = ["PatternTable"]


@dataclass(frozen=True, eq=False)
class PatternTable:
    """Frequent patterns, most frequent first, ties in the order of their item codes.

    Parameters
    ----------
    items : int64 ndarray of shape (n_pattern_items,)
        Item codes of all patterns, one behind the other.
    offsets : int64 ndarray of shape (n_patterns + 1,)
        Pattern ``p`` is ``items[offsets[p]:offsets[p + 1]]``.
    support : int64 ndarray of shape (n_patterns,)
        Number of distinct rows that hold the pattern.
    rows : int64 ndarray of shape (support.sum(),), or None
        The rows that hold each pattern, ascending, pattern behind pattern: where the engine knows them.
    """

    items: np.ndarray
    offsets: np.ndarray
    support: np.ndarray
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.support)

    @property
    def lengths(self) -> np.ndarray:
        """Number of items of each pattern."""
        return np.diff(self.offsets)

    @classmethod
    def from_blocks(cls, blocks: list[np.ndarray], supports: list[np.ndarray], rows: list[np.ndarray] | None = None):
        """Join blocks of equally long patterns and put them in order.

        Parameters
        ----------
        blocks : list of int64 ndarrays of shape (n_patterns, length)
            The patterns; ``length`` may differ between blocks.
        supports : list of int64 ndarrays of shape (n_patterns,)
            Their supports.
        rows : list of int64 ndarrays of shape (support.sum(),), optional
            The rows that hold them.
        """
        nothing = np.zeros(0, dtype=np.int64)
        lengths = np.concatenate([nothing, *(np.full(len(block), block.shape[1]) for block in blocks)])
        support = np.concatenate([nothing, *supports])
        items = np.concatenate([nothing, *(block.ravel() for block in blocks)])
        offsets = offsets_from_lengths(lengths)
        order = _canonical_order(items, offsets, support)
        positions, new_offsets = take_positions(offsets[:-1][order], lengths[order])
        holders = None
        if rows is not None:
            starts = offsets_from_lengths(support)[:-1]
            holders = np.concatenate([nothing, *rows])[take_positions(starts[order], support[order])[0]]
        return cls(items[positions], new_offsets, support[order], holders)

    def patterns_of_rows(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The patterns of every row, ascending, as ragged columns.

        Returns
        -------
        offsets : int64 ndarray of shape (n_rows + 1,)
        patterns : int64 ndarray of shape (support.sum(),)

        Raises
        ------
        ValueError
            The engine did not record rows.
        """
        if self.rows is None:
            raise ValueError("this table was mined without recording rows.")
        order = np.argsort(self.rows, kind="stable")
        patterns = np.repeat(np.arange(len(self)), self.support)[order]
        return offsets_from_lengths(np.bincount(self.rows, minlength=n_rows)), patterns


def _canonical_order(items: np.ndarray, offsets: np.ndarray, support: np.ndarray) -> np.ndarray:
    lengths = np.diff(offsets)
    longest = int(lengths.max(initial=0))
    keys = []
    for depth in range(longest):
        # Code 0 stands behind the end of a pattern, so that a prefix comes before what it begins.
        column = np.zeros(len(lengths), dtype=np.int64)
        reaching = lengths > depth
        column[reaching] = items[offsets[:-1][reaching] + depth]
        keys.append(column)
    return np.lexsort((*reversed(keys), -support))
