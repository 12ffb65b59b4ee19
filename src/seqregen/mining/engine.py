"""The vectorised exact mining engine: level by level over arrays of occurrences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from ..ragged import offsets_from_lengths, row_of_position, take_positions
from .packing import bits_for, cut_points, sort_triples
from .table import PatternTable

__all__ = ["mine_patterns"]

# Candidate extensions held at once: some 200 MB of working memory a job.
_CANDIDATES_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class _Rows:
    """What every step reads: the items, the bounds of their rows, and the limits of the search."""

    items: np.ndarray
    row: np.ndarray
    row_end: np.ndarray
    item_bits: int
    window: int
    min_support: int


@dataclass(frozen=True)
class _Block:
    """Frequent patterns of one length, sorted by their items, and where they occur.

    Of the occurrences of one pattern from one start only the one that ends first is kept: whatever extends
    a later one within the window extends this one too.
    """

    patterns: np.ndarray  # item codes (n_patterns, length)
    support: np.ndarray
    rows: np.ndarray  # the distinct rows of each pattern, support[p] of them
    offsets: np.ndarray  # the occurrences of each pattern
    starts: np.ndarray
    lasts: np.ndarray

    def part(self, begin: int, end: int) -> _Block:
        """The patterns ``begin:end`` alone, for extending."""
        first, last = self.offsets[begin], self.offsets[end]
        return _Block(
            self.patterns[begin:end],
            self.support[begin:end],
            self.rows[:0],
            self.offsets[begin : end + 1] - first,
            self.starts[first:last],
            self.lasts[first:last],
        )


@dataclass(frozen=True)
class _Followers:
    """For each position, the later positions within the window that it forms a frequent pair with."""

    offsets: np.ndarray
    positions: np.ndarray


def mine_patterns(
    items: np.ndarray,
    offsets: np.ndarray,
    *,
    window: int,
    min_support: int,
    max_length: int | None = None,
    n_jobs: int | None = None,
) -> PatternTable:
    """Find all frequent ordered sub-sequences within a window.

    A pattern of at least two items occurs in a row where its items stand in order, gaps allowed, with at most
    ``window - 1`` between the first index and the last. Its support is the number of distinct rows with an
    occurrence. The search goes level by level and each pattern is grown from one place: the work is divided by
    first items, so supports are exact in every part and nothing has to be merged.

    Parameters
    ----------
    items : int64 ndarray of shape (n_interactions,)
        Item codes from 1.
    offsets : int64 ndarray of shape (n_rows + 1,)
        Bounds of the rows.
    window : int
        Number of consecutive positions that an occurrence must fit in, at least 2.
    min_support : int
        Smallest support of a pattern that is kept, at least 1.
    max_length : int, optional
        Longest pattern looked for; by default ``window``, the longest there can be.
    n_jobs : int, optional
        joblib threads. The result does not depend on it.

    Returns
    -------
    PatternTable
        With the rows of each pattern.

    Examples
    --------
    >>> import numpy as np
    >>> table = mine_patterns(np.array([1, 2, 3, 1, 3]), np.array([0, 3, 5]), window=3, min_support=2)
    >>> table.items, table.support, table.rows
    (array([1, 3]), array([2]), array([0, 1]))
    """
    rows = _Rows(
        items,
        row_of_position(offsets),
        np.repeat(offsets[1:], np.diff(offsets)),
        bits_for(items.max(initial=1)),
        window,
        min_support,
    )
    longest = window if max_length is None else min(window, max_length)
    if longest < 2 or len(items) == 0:
        return PatternTable.from_blocks([], [], [])
    run = Parallel(n_jobs=n_jobs, prefer="threads")
    pieces = _divide(rows, _single_items(rows), None, n_jobs)
    pairs = [block for block in run(delayed(_extend)(rows, piece, None) for piece in pieces) if len(block.support)]
    found = list(pairs)
    if longest > 2:
        followers = _followers(len(items), pairs)
        deeper = [piece for block in pairs for piece in _divide(rows, block, followers, n_jobs)]
        for blocks in run(delayed(_grow)(rows, piece, followers, longest) for piece in deeper):
            found.extend(blocks)
    return PatternTable.from_blocks(
        [block.patterns for block in found], [block.support for block in found], [block.rows for block in found]
    )


def _single_items(rows: _Rows) -> _Block:
    """Every position as an occurrence of its item; items that occur too seldom to be in any pattern left out."""
    counts = np.bincount(rows.items)
    position = np.flatnonzero(counts[rows.items] >= rows.min_support)
    _, position, _ = sort_triples(rows.items[position], position, np.zeros_like(position))
    distinct = np.flatnonzero((counts >= rows.min_support) & (counts > 0))
    return _Block(
        distinct[:, None], counts[distinct], position[:0], offsets_from_lengths(counts[distinct]), position, position
    )


def _followers(n_positions: int, pairs: list[_Block]) -> _Followers:
    starts = np.concatenate([np.zeros(0, dtype=np.int64), *(block.starts for block in pairs)])
    lasts = np.concatenate([np.zeros(0, dtype=np.int64), *(block.lasts for block in pairs)])
    starts, lasts, _ = sort_triples(starts, lasts, np.zeros_like(starts))
    return _Followers(offsets_from_lengths(np.bincount(starts, minlength=n_positions)), lasts)


def _candidate_counts(rows: _Rows, block: _Block, followers: _Followers | None) -> np.ndarray:
    if followers is None:
        return np.minimum(block.starts + rows.window, rows.row_end[block.starts]) - block.lasts - 1
    return followers.offsets[block.lasts + 1] - followers.offsets[block.lasts]


def _divide(rows: _Rows, block: _Block, followers: _Followers | None, n_jobs: int | None) -> Iterator[_Block]:
    """Pieces of a block, whole patterns each, that are small enough to extend at once and enough for all jobs."""
    counts = _candidate_counts(rows, block, followers)
    by_pattern = np.add.reduceat(counts, block.offsets[:-1]) if len(block.support) else counts
    n_jobs = effective_n_jobs(n_jobs)
    # Several pieces a job even out the load; a single job gains nothing from small pieces.
    wanted = int(by_pattern.sum()) // (4 * n_jobs) + 1 if n_jobs > 1 else _CANDIDATES_AT_ONCE
    cuts = cut_points(by_pattern, min(wanted, _CANDIDATES_AT_ONCE))
    return (block.part(begin, end) for begin, end in pairwise(cuts.tolist()))


def _grow(rows: _Rows, block: _Block, followers: _Followers, longest: int) -> list[_Block]:
    """All frequent patterns that begin with the patterns of the block."""
    found = []
    waiting = [block]
    while waiting:
        block = waiting.pop()
        for piece in _divide(rows, block, followers, 1):
            extended = _extend(rows, piece, followers)
            if len(extended.support):
                found.append(extended)
                if extended.patterns.shape[1] < longest:
                    waiting.append(extended)
    return found


def _extend(rows: _Rows, block: _Block, followers: _Followers | None) -> _Block:
    """The frequent patterns that have one item more than those of the block."""
    counts = _candidate_counts(rows, block, followers)
    parent = np.repeat(np.arange(len(counts)), counts)
    if followers is None:
        following, _ = take_positions(block.lasts + 1, counts)
    else:
        following = followers.positions[take_positions(followers.offsets[block.lasts], counts)[0]]
        inside = following - block.starts[parent] < rows.window
        parent, following = parent[inside], following[inside]
    pattern = np.repeat(np.arange(len(block.support)), np.diff(block.offsets))
    child = (pattern[parent] << rows.item_bits) | rows.items[following]
    child, parent, gap = sort_triples(child, parent, following - block.lasts[parent])
    begins = np.flatnonzero(np.concatenate([[True], child[1:] != child[:-1]])) if len(child) else child
    sizes = np.diff(begins, append=len(child))
    # Most candidates occur once or twice; dropping those first spares the exact count of rows on them.
    often = np.repeat(sizes >= rows.min_support, sizes)
    return _count_rows(rows, block, child[often], parent[often], gap[often])


def _count_rows(rows: _Rows, block: _Block, child: np.ndarray, parent: np.ndarray, gap: np.ndarray) -> _Block:
    """Turn sorted candidate occurrences into the block of those patterns that enough rows hold."""
    new_child = _changes(child)
    # Of several ends from one start, the sort has put the first one in front.
    first_end = new_child | _changes(parent)
    child, parent, gap, new_child = (column[first_end] for column in (child, parent, gap, new_child))
    starts = block.starts[parent]
    row = rows.row[starts]
    new_row = new_child | _changes(row)
    begins = np.flatnonzero(new_child)
    sizes = np.diff(begins, append=len(child))
    support = np.add.reduceat(new_row.astype(np.int64), begins) if len(begins) else begins
    frequent = support >= rows.min_support
    kept = np.repeat(frequent, sizes)
    heads = child[begins[frequent]]
    last_items = heads & ((1 << rows.item_bits) - 1)
    return _Block(
        np.column_stack([block.patterns[heads >> rows.item_bits], last_items]),
        support[frequent],
        row[kept & new_row],
        offsets_from_lengths(sizes[frequent]),
        starts[kept],
        (block.lasts[parent] + gap)[kept],
    )


def _changes(column: np.ndarray) -> np.ndarray:
    """True where a value differs from the one before it, and at the first."""
    changed = np.ones(len(column), dtype=bool)
    np.not_equal(column[1:], column[:-1], out=changed[1:])
    return changed
