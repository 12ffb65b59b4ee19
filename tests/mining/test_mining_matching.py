"""Matching against a search of every pattern in every row, and the draw of a few patterns a row."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force_mining import columns, contains, patterns_within
from hypothesis import given, settings
from hypothesis import strategies as st

from seqregen.mining import matching
from seqregen.mining.matching import match_patterns
from seqregen.mining.sampling import sample_per_row
from seqregen.mining.trie import PatternTrie

N_CODES = 6
rows_of_items = st.lists(st.lists(st.integers(1, N_CODES - 1), max_size=12), min_size=1, max_size=6)
# Not closed under prefixes, unlike mined ones: the tree must not count on it.
some_patterns = st.lists(
    st.lists(st.integers(1, N_CODES - 1), min_size=2, max_size=5).map(tuple), unique=True, max_size=12
)


def as_lists(offsets, patterns):
    return [part.tolist() for part in np.split(patterns, offsets[1:-1])]


@settings(max_examples=200, deadline=None)
@given(
    rows_of_items, some_patterns, st.none() | st.integers(2, 6), st.sampled_from([0, 2, 16]), st.sampled_from([2, 1000])
)
def test_matches_are_those_of_the_definition(rows, patterns, window, positions_a_search, steps_at_once):
    with pytest.MonkeyPatch.context() as patch:
        # 0: always look the children up; 16: with such short rows always scan.
        patch.setattr(matching, "_POSITIONS_A_SEARCH", positions_a_search)
        patch.setattr(matching, "_STEPS_AT_ONCE", steps_at_once)
        patch.setattr(matching, "_INTERACTIONS_A_SHARD", steps_at_once)
        found = match_patterns(*columns(rows), PatternTrie(*columns(patterns), N_CODES), window=window)
    for row, numbers in zip(rows, as_lists(*found), strict=True):
        inside = patterns_within(row, window) if window else {p for p in patterns if contains(row, p)}
        assert numbers == [number for number, pattern in enumerate(patterns) if pattern in inside]


def test_a_very_long_row_is_not_walked_position_by_position(monkeypatch):
    tried = []
    step = PatternTrie.step
    monkeypatch.setattr(
        PatternTrie, "step", lambda self, nodes, items: tried.append(len(nodes)) or step(self, nodes, items)
    )
    rng = np.random.default_rng(0)
    length = 100_000
    items = rng.integers(1, 5001, length)
    patterns = np.unique(rng.integers(1, 5001, (10_000, 2)), axis=0)
    trie = PatternTrie(patterns.ravel(), np.arange(len(patterns) + 1) * 2, 5001)
    _, found = match_patterns(items, np.array([0, length]), trie)
    assert sum(tried) < 40 * length
    first = np.full(5001, length)
    first[items[::-1]] = np.arange(length)[::-1]
    last = np.full(5001, -1)
    last[items] = np.arange(length)
    np.testing.assert_array_equal(found, np.flatnonzero(first[patterns[:, 0]] < last[patterns[:, 1]]))


def test_the_draw_depends_neither_on_jobs_nor_on_shards(monkeypatch):
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, N_CODES, 8).tolist() for _ in range(60)]
    patterns = [(a, b) for a in range(1, N_CODES) for b in range(1, N_CODES)]
    trie = PatternTrie(*columns(patterns), N_CODES)
    once = as_lists(*match_patterns(*columns(rows), trie, limit=3, seed=5))
    assert as_lists(*match_patterns(*columns(rows), trie, limit=3, seed=5, n_jobs=2)) == once
    monkeypatch.setattr(matching, "_INTERACTIONS_A_SHARD", 10)
    assert as_lists(*match_patterns(*columns(rows), trie, limit=3, seed=5)) == once
    assert as_lists(*match_patterns(*columns(rows), trie, limit=3, seed=6)) != once
    everything = as_lists(*match_patterns(*columns(rows), trie))
    assert [min(3, len(numbers)) for numbers in everything] == list(map(len, once))
    assert all(set(some) <= set(numbers) for some, numbers in zip(once, everything, strict=True))


def test_every_choice_is_equally_likely():
    # 3 of 6 patterns for each of 20,000 rows: 20 choices, about 1,000 rows each.
    n_rows = 20_000
    rows, patterns = np.repeat(np.arange(n_rows), 6), np.tile(np.arange(6), n_rows)
    _, kept = sample_per_row(rows, patterns, 3, seed=12)
    choices, counts = np.unique(kept.reshape(n_rows, 3), axis=0, return_counts=True)
    assert len(choices) == 20
    chi_square = np.sum((counts - n_rows / 20) ** 2 / (n_rows / 20))
    # 19 degrees of freedom: 43.8 is exceeded once in a thousand seeds, and the seed is fixed.
    assert chi_square < 43.8


def test_draws_of_neighbouring_seeds_are_independent():
    rows, patterns = np.repeat(np.arange(20_000), 2), np.tile(np.arange(2), 20_000)
    first, second = (sample_per_row(rows, patterns, 1, seed)[1] for seed in (7, 8))
    assert abs(np.mean(first == second) - 0.5) < 0.015


@given(st.lists(st.integers(0, 6), max_size=8), st.none() | st.integers(1, 4), st.integers(0, 9))
def test_rows_with_few_patterns_keep_all(sizes, limit, seed):
    rows = np.repeat(np.arange(len(sizes)), np.array(sizes, dtype=np.int64))
    kept_rows, kept = sample_per_row(rows, np.arange(len(rows)), limit, seed)
    expected = [size if limit is None else min(size, limit) for size in sizes]
    assert np.bincount(kept_rows, minlength=len(sizes)).tolist() == expected
    assert np.all(np.diff(kept) > 0)
    np.testing.assert_array_equal(rows[kept], kept_rows)


def test_a_tree_without_patterns_leads_nowhere():
    nothing = np.zeros(0, dtype=np.int64)
    trie = PatternTrie(nothing, np.zeros(1, dtype=np.int64), N_CODES)
    found, children = trie.step(np.array([1, 2]), np.array([2, 3]))
    assert len(found) == len(children) == 0
    offsets, patterns = match_patterns(*columns([[1, 2], []]), trie)
    assert offsets.tolist() == [0, 0, 0]
    assert len(patterns) == 0
