"""Which patterns each row contains: all rows walk the prefix tree of the patterns together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from ..ragged import offsets_from_lengths, row_of_position, take_positions
from .packing import cut_points, sort_triples
from .sampling import sample_per_row
from .trie import PatternTrie

__all__ = ["count_support", "match_patterns"]

_INTERACTIONS_A_SHARD = 1 << 17
# Steps tried at once: some 100 MB of working memory a job.
_STEPS_AT_ONCE = 1 << 20
# Looking a child's item up in a row costs about as much as stepping over so many positions of the row.
_POSITIONS_A_SEARCH = 16


@dataclass(frozen=True)
class _States:
    """Prefixes found so far: where each began, its node in the tree, its last item, and how far it may reach."""

    starts: np.ndarray
    nodes: np.ndarray
    lasts: np.ndarray
    limits: np.ndarray

    def take(self, which: np.ndarray) -> _States:
        return _States(self.starts[which], self.nodes[which], self.lasts[which], self.limits[which])


def match_patterns(
    items: np.ndarray,
    offsets: np.ndarray,
    trie: PatternTrie,
    *,
    window: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the patterns that each row contains.

    Parameters
    ----------
    items : int64 ndarray of shape (n_interactions,)
        Item codes below ``trie.n_codes``.
    offsets : int64 ndarray of shape (n_rows + 1,)
        Bounds of the rows.
    trie : PatternTrie
        The patterns.
    window : int, optional
        Count occurrences that fit in so many consecutive positions; by default anywhere in the row.
    limit : int, optional
        Keep at most so many patterns of each row, drawn uniformly; by default all.
    seed : int, default=0
        Decides the draw, together with the numbers of the row and of the pattern alone.
    n_jobs : int, optional
        joblib threads. The result does not depend on it.

    Returns
    -------
    offsets : int64 ndarray of shape (n_rows + 1,)
        Where the patterns of each row begin.
    patterns : int64 ndarray of shape (n_pairs,)
        Numbers of patterns, ascending within a row.

    Notes
    -----
    A prefix is kept once a row (once a start, with ``window``), at the place where it ends first: whatever
    continues it from a later place continues it from there. From a state the walk goes over the positions
    behind it or over the children of its node, whichever is less work, so a row of any length costs at most
    a search for each child of each prefix it holds.
    """
    lengths = np.diff(offsets)
    shard_size = min(_INTERACTIONS_A_SHARD, int(lengths.sum()) // effective_n_jobs(n_jobs) + 1)
    cuts = cut_points(lengths, shard_size)

    parts = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_match_shard)(
            items[offsets[first] : offsets[last]], offsets[first : last + 1], first, trie, window, limit, seed
        )
        for first, last in pairwise(cuts.tolist())
    )
    nothing = np.zeros(0, dtype=np.int64)
    rows = np.concatenate([nothing, *(part[0] for part in parts)])
    patterns = np.concatenate([nothing, *(part[1] for part in parts)])
    return offsets_from_lengths(np.bincount(rows, minlength=len(lengths))), patterns


def _match_shard(
    items: np.ndarray,
    offsets: np.ndarray,
    first_row: int,
    trie: PatternTrie,
    window: int | None,
    limit: int | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and patterns of what is kept of the matches in a few rows, by their items and their offsets among all."""
    rows, patterns = _match_rows(items, offsets - offsets[0], trie, window)
    return sample_per_row(rows + first_row, patterns, limit, seed)


def _match_rows(
    items: np.ndarray, offsets: np.ndarray, trie: PatternTrie, window: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and patterns of all matches in a few rows, sorted by row, then pattern."""
    row = row_of_position(offsets)
    search = _NextOccurrence(items)
    states = _first_states(items, row, offsets, trie, window)
    rows, patterns = [states.starts[:0]], [states.starts[:0]]
    while len(states.nodes):
        states = _advance(states, items, search, trie)
        ends = trie.pattern[states.nodes]
        rows.append(row[states.starts][ends >= 0])
        patterns.append(ends[ends >= 0])
        states = states.take(np.flatnonzero(trie.n_children(states.nodes)))
    found, pattern, _ = sort_triples(np.concatenate(rows), np.concatenate(patterns), np.zeros(sum(map(len, rows)), int))
    distinct = _new_pairs(found, pattern)
    return found[distinct], pattern[distinct]


def _first_states(
    items: np.ndarray, row: np.ndarray, offsets: np.ndarray, trie: PatternTrie, window: int | None
) -> _States:
    begins = trie.n_children(items) > 0
    starts = np.flatnonzero(begins)
    ends = offsets[1:][row[starts]]
    if window is not None:
        return _States(starts, items[starts], starts, np.minimum(starts + window, ends))
    # Anywhere in the row, the first occurrence of an item stands for all of them.
    holder, item, position = sort_triples(row[starts], items[starts], starts)
    first = _new_pairs(holder, item)
    holder, item, position = holder[first], item[first], position[first]
    # The row stands for the start: its first position, the same for every prefix of the row.
    return _States(offsets[:-1][holder], item, position, offsets[1:][holder])


class _NextOccurrence:
    """First position of an item behind a given position, in whatever row; its index is built when first asked for."""

    def __init__(self, items: np.ndarray) -> None:
        self._items = items
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, item: np.ndarray, behind: np.ndarray) -> np.ndarray:
        """Positions; the number of positions where an item does not come again anywhere."""
        if self._sorted is None:
            place = np.arange(len(self._items))
            codes, place, _ = sort_triples(self._items, place, np.zeros_like(place))
            self._sorted = codes * (len(self._items) + 1) + place, place
        keys, place = self._sorted
        found = np.searchsorted(keys, item * (len(self._items) + 1) + behind, side="right")
        inside = found < len(keys)
        found[~inside] = 0
        position = np.where(inside, place[found], len(self._items))
        return np.where(self._items[place[found]] == item, position, len(self._items))


def _advance(states: _States, items: np.ndarray, search: _NextOccurrence, trie: PatternTrie) -> _States:
    """The states one item further on."""
    positions_left = states.limits - states.lasts - 1
    children = trie.n_children(states.nodes)
    by_search = children * _POSITIONS_A_SEARCH < positions_left
    parts = [_scan(piece, items, trie) for piece in _pieces(states, ~by_search, positions_left)]
    parts += [_search_children(piece, search, trie) for piece in _pieces(states, by_search, children)]
    columns = zip(*((part.starts, part.nodes, part.lasts, part.limits) for part in parts), strict=True)
    return _States(*map(np.concatenate, columns)) if parts else states.take(np.zeros(0, dtype=np.int64))


def _pieces(states: _States, chosen: np.ndarray, costs: np.ndarray) -> Iterator[_States]:
    """The chosen states in pieces that cost few enough steps to be tried at once."""
    numbers = np.flatnonzero(chosen)
    cuts = cut_points(costs[numbers], _STEPS_AT_ONCE)
    return (states.take(numbers[begin:end]) for begin, end in pairwise(cuts.tolist()))


def _scan(states: _States, items: np.ndarray, trie: PatternTrie) -> _States:
    """Try every position that a state may reach."""
    counts = states.limits - states.lasts - 1
    state = np.repeat(np.arange(len(counts)), counts)
    positions, _ = take_positions(states.lasts + 1, counts)
    found, nodes = trie.step(states.nodes[state], items[positions])
    state, nodes, lasts = sort_triples(state[found], nodes, positions[found])
    # An item may come again within reach; the first time is the one to go on from.
    first = _new_pairs(state, nodes)
    state = state[first]
    return _States(states.starts[state], nodes[first], lasts[first], states.limits[state])


def _search_children(states: _States, search: _NextOccurrence, trie: PatternTrie) -> _States:
    """Try every child of a state's node."""
    counts = trie.n_children(states.nodes)
    state = np.repeat(np.arange(len(counts)), counts)
    places, _ = take_positions(trie.child_offsets[states.nodes], counts)
    lasts = search(trie.child_items[places], states.lasts[state])
    reached = np.flatnonzero(lasts < states.limits[state])
    state = state[reached]
    return _States(states.starts[state], trie.n_codes + places[reached], lasts[reached], states.limits[state])


def _new_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """True where a pair of sorted columns differs from the pair before it, and at the first."""
    new = np.ones(len(first), dtype=bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return new


def count_support(items: np.ndarray, offsets: np.ndarray, trie: PatternTrie, n_patterns: int) -> np.ndarray:
    """Rows that hold each of a tree's patterns, gaps allowed, int64 (n_patterns,)."""
    return np.bincount(match_patterns(items, offsets, trie)[1], minlength=n_patterns)
