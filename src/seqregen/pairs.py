"""The supervised pairs (sequence -> pattern) that a regenerator learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .ragged import concatenate_offsets, offsets_from_lengths, read_only, take_positions

__all__ = ["PatternPairs"]


@dataclass(frozen=True, eq=False)
class PatternPairs:
    """For every row of a dataset, the patterns that it contains.

    Row ``r`` contains the patterns ``patterns[offsets[r]:offsets[r + 1]]``, and pattern ``p`` is the item
    codes ``pattern_items[pattern_offsets[p]:pattern_offsets[p + 1]]``. The pattern table is shared by all
    slices of a dataset.

    Parameters
    ----------
    offsets : int64 ndarray of shape (n_rows + 1,)
        Where the patterns of each row begin.
    patterns : int64 ndarray of shape (n_pairs,)
        Numbers of patterns.
    pattern_items : int64 ndarray of shape (n_pattern_items,)
        Item codes of all patterns, one behind the other.
    pattern_offsets : int64 ndarray of shape (n_patterns + 1,)
        Where each pattern begins.
    """

    offsets: np.ndarray
    patterns: np.ndarray
    pattern_items: np.ndarray
    pattern_offsets: np.ndarray

    def __post_init__(self) -> None:
        for name, given in vars(self).items():
            column = np.asarray(given, dtype=np.int64)
            # Whoever gave an array that can be written may go on writing to it.
            object.__setattr__(self, name, read_only(column.copy() if column.flags.writeable else column))

    def __setstate__(self, state: dict[str, np.ndarray]) -> None:
        # An unpickled array may be written to.
        vars(self).update(state)
        self.__post_init__()

    def check(self, n_items: int) -> None:
        """Refuse parts that do not fit together, or item codes outside 1..n_items."""
        for name, offsets, n_parts in (
            ("offsets", self.offsets, len(self.patterns)),
            ("pattern_offsets", self.pattern_offsets, len(self.pattern_items)),
        ):
            if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != n_parts or (offsets[1:] < offsets[:-1]).any():
                raise ValueError(f"pairs: {name} must start with 0, never fall, and end at {n_parts}.")
        for name, values, lowest, highest in (
            ("patterns", self.patterns, 0, self.n_patterns - 1),
            ("pattern_items", self.pattern_items, 1, n_items),
        ):
            wrong = (values < lowest) | (values > highest)
            if wrong.any():
                place = int(np.argmax(wrong))
                raise ValueError(f"pairs: {name} must lie in {lowest}..{highest}; got {values[place]} at {place}.")

    @property
    def n_rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_patterns(self) -> int:
        return len(self.pattern_offsets) - 1

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.patterns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PatternPairs):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("offsets", "patterns", "pattern_items", "pattern_offsets")
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PatternPairs({len(self):,} pairs of {self.n_rows:,} rows and {self.n_patterns:,} patterns)"

    def take(self, rows: np.ndarray) -> PatternPairs:
        """The pairs of the given rows, in their order."""
        positions, offsets = take_positions(self.offsets[rows], np.diff(self.offsets)[rows])
        patterns = read_only(self.patterns[positions])
        return PatternPairs(read_only(offsets), patterns, self.pattern_items, self.pattern_offsets)

    def extend(self, n_rows: int) -> PatternPairs:
        """The same pairs with rows that have none added behind, up to ``n_rows`` rows in all."""
        added = np.full(n_rows - self.n_rows, self.offsets[-1], dtype=np.int64)
        offsets = np.concatenate([self.offsets, added])
        return PatternPairs(offsets, self.patterns, self.pattern_items, self.pattern_offsets)

    def has_table_of(self, other: PatternPairs) -> bool:
        """Whether the patterns of both have the same numbers."""
        return self.pattern_items is other.pattern_items or (
            np.array_equal(self.pattern_offsets, other.pattern_offsets)
            and np.array_equal(self.pattern_items, other.pattern_items)
        )

    @classmethod
    def empty(cls, n_rows: int) -> PatternPairs:
        """No pattern and no pair for ``n_rows`` rows."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(np.zeros(n_rows + 1, dtype=np.int64), nothing, nothing, offsets_from_lengths(nothing))

    @classmethod
    def concatenate(cls, parts: list[PatternPairs]) -> PatternPairs:
        """The rows of all parts; tables that differ are put one behind the other."""
        offsets = concatenate_offsets([part.offsets for part in parts])
        first = parts[0]
        if all(part.has_table_of(first) for part in parts):
            patterns = np.concatenate([part.patterns for part in parts])
            return cls(read_only(offsets), read_only(patterns), first.pattern_items, first.pattern_offsets)
        shifts = offsets_from_lengths(np.array([part.n_patterns for part in parts]))
        patterns = np.concatenate([part.patterns + shift for part, shift in zip(parts, shifts, strict=False)])
        pattern_items = np.concatenate([part.pattern_items for part in parts])
        pattern_offsets = concatenate_offsets([part.pattern_offsets for part in parts])
        return cls(offsets, patterns, pattern_items, pattern_offsets)
