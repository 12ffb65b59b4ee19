"""Both engines against the definition, against each other, and against the published counts."""

from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise

import numpy as np
import pytest
from brute_force_mining import columns, patterns_within, support_of_patterns
from hypothesis import given, settings
from hypothesis import strategies as st

from seqregen.mining import engine as engine_module
from seqregen.mining.engine import mine_patterns
from seqregen.mining.packing import cut_points, sort_triples
from seqregen.mining.seq2pat_engine import mine_patterns_with_seq2pat

needs_seq2pat = pytest.mark.skipif(importlib.util.find_spec("sequential") is None, reason="seq2pat is not installed")
# Few items, so that rows repeat items and share patterns.
small_rows = st.lists(st.lists(st.integers(1, 4), max_size=9), min_size=1, max_size=7)


def as_dict(table):
    patterns = np.split(table.items, table.offsets[1:-1]) if len(table) else []
    return {tuple(pattern.tolist()): int(count) for pattern, count in zip(patterns, table.support, strict=True)}


@settings(max_examples=200, deadline=None)
@given(small_rows, st.integers(2, 10), st.integers(1, 4), st.none() | st.integers(2, 5))
def test_patterns_and_supports_are_those_of_the_definition(rows, window, min_support, max_length):
    table = mine_patterns(*columns(rows), window=window, min_support=min_support, max_length=max_length)
    expected = support_of_patterns(rows, window, min_support, max_length)
    assert list(as_dict(table).items()) == list(expected.items())


@settings(max_examples=100, deadline=None)
@given(small_rows, st.integers(2, 6), st.integers(1, 3))
def test_mining_tells_the_patterns_of_each_row(rows, window, min_support):
    table = mine_patterns(*columns(rows), window=window, min_support=min_support)
    patterns = list(as_dict(table))
    offsets, found = table.patterns_of_rows(len(rows))
    for row, part in zip(rows, np.split(found, offsets[1:-1]), strict=True):
        inside = patterns_within(row, window)
        assert part.tolist() == [number for number, pattern in enumerate(patterns) if pattern in inside]


@settings(max_examples=60, deadline=None)
@given(small_rows, st.integers(2, 6), st.integers(1, 3))
def test_small_pieces_and_many_jobs_find_the_same(rows, window, min_support):
    whole = mine_patterns(*columns(rows), window=window, min_support=min_support)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "_CANDIDATES_AT_ONCE", 3)
        pieces = mine_patterns(*columns(rows), window=window, min_support=min_support)
        jobs = mine_patterns(*columns(rows), window=window, min_support=min_support, n_jobs=2)
    for name in ("items", "offsets", "support", "rows"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(jobs, name), getattr(whole, name))


def test_a_pattern_may_repeat_an_item_and_any_embedding_counts():
    # The occurrence of (1, 2) that begins first is too wide; the second one fits.
    table = mine_patterns(*columns([[1, 3, 3, 1, 2], [1, 2], [1, 1]]), window=2, min_support=1)
    assert as_dict(table) == {(1, 2): 2, (1, 1): 1, (1, 3): 1, (3, 1): 1, (3, 3): 1}


def test_a_window_far_beyond_the_longest_row_is_no_limit():
    rows = [[1, 2, 3, 4], [1, 4], [4, 1]]
    table = mine_patterns(*columns(rows), window=10**12, min_support=1)
    assert as_dict(table) == support_of_patterns(rows, 10, 1)


def test_columns_too_wide_for_one_word_are_sorted_all_the_same():
    first, second, third = sort_triples(2**61 + np.array([2, 0, 1, 0]), np.array([7, 9, 8, 2**20]), np.arange(4))
    np.testing.assert_array_equal(first, 2**61 + np.array([0, 0, 1, 2]))
    assert second.tolist() == [9, 2**20, 8, 7]
    assert third.tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("rows", [[[]], [[], [1]], [[1], [1]]])
@pytest.mark.parametrize("mine", [mine_patterns, pytest.param(mine_patterns_with_seq2pat, marks=needs_seq2pat)])
def test_rows_too_short_for_a_pattern_have_none(rows, mine):
    table = mine(*columns(rows), window=5, min_support=1)
    assert len(table) == 0
    assert table.offsets.tolist() == [0]


@needs_seq2pat
@settings(max_examples=40, deadline=None)
@given(small_rows, st.integers(2, 12), st.integers(1, 4), st.none() | st.integers(2, 4))
def test_seq2pat_finds_the_same(rows, window, min_support, max_length):
    limits = {"window": window, "min_support": min_support, "max_length": max_length}
    ours, theirs = mine_patterns(*columns(rows), **limits), mine_patterns_with_seq2pat(*columns(rows), **limits)
    assert list(as_dict(ours).items()) == list(as_dict(theirs).items())


def test_seq2pat_missing_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sequential", None)
    monkeypatch.setitem(sys.modules, "sequential.seq2pat", None)
    with pytest.raises(ImportError, match=r"pip install 'seqregen\[seq2pat\]'"):
        mine_patterns_with_seq2pat(*columns([[1, 2]]), window=2, min_support=1)


def test_a_table_mined_without_rows_says_so():
    table = mine_patterns(*columns([[1, 2]]), window=2, min_support=1)
    with pytest.raises(ValueError, match="without recording rows"):
        type(table)(table.items, table.offsets, table.support).patterns_of_rows(1)


@given(st.lists(st.integers(0, 20)), st.integers(1, 30))
def test_pieces_are_whole_things_in_order_and_near_the_budget(sizes, budget):
    cuts = cut_points(np.array(sizes, dtype=np.int64), budget)
    assert cuts[0] == 0
    assert cuts[-1] == len(sizes)
    assert np.all(np.diff(cuts) > 0)
    largest = max(sizes, default=0)
    assert all(sum(sizes[a:b]) <= budget + 2 * largest for a, b in pairwise(cuts))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "window", "by_length", "n_items"),
    [
        ("amazon-beauty", 5, [28108, 10210, 2091, 255], 96485),
        ("amazon-beauty", 10, [49518, 62045, 48730, 33953, 21948, 11365, 4003, 835, 78], None),
        ("amazon-toys", 10, [33046, 7449, 1527, 304, 53, 5], 96420),
        ("amazon-toys", 5, [18041, 1549, 128, 8], 41281),
        ("amazon-sports", 10, [35054, 4335, 1910, 797, 224, 39, 3], 96379),
        ("yelp", 10, [56952, 5350, 3176, 2078, 950, 271, 40, 2], 160983),
    ],
)
def test_counts_on_real_data_are_the_published_ones(training_part, name, window, by_length, n_items):
    X = training_part(name)
    table = mine_patterns(X.items, X.offsets, window=window, min_support=2)
    assert np.bincount(table.lengths)[2:].tolist() == by_length
    assert n_items is None or len(table.items) == n_items


@pytest.mark.data
def test_patterns_with_a_repeated_item_on_yelp(training_part):
    X = training_part("yelp")
    patterns = as_dict(mine_patterns(X.items, X.offsets, window=10, min_support=2))
    assert sum(len(set(pattern)) < len(pattern) for pattern in patterns) == 964


@needs_seq2pat
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "window"), [("amazon-beauty", 5), ("yelp", 10)])
def test_seq2pat_finds_the_same_on_real_data(training_part, name, window):
    X = training_part(name)
    ours = mine_patterns(X.items, X.offsets, window=window, min_support=2)
    theirs = mine_patterns_with_seq2pat(X.items, X.offsets, window=window, min_support=2)
    for column in ("items", "offsets", "support"):
        np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))
