"""Sets of patterns against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqregen.regeneration.patterns import contiguous_in, first_occurrences, number_distinct, share_of_new

some_rows = st.lists(st.lists(st.integers(1, 4), max_size=5), max_size=15)


def ragged(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([code for row in rows for code in row], dtype=np.int64), np.cumsum([0, *map(len, rows)])


def is_piece(row: list[int], of: list[int]) -> bool:
    return any(of[start : start + len(row)] == row for start in range(len(of) - len(row) + 1))


@given(some_rows)
def test_equal_rows_have_equal_numbers(rows):
    numbers = number_distinct(*ragged(rows)).tolist()
    pairs = [(first, second) for first in range(len(rows)) for second in range(first)]
    assert all((numbers[a] == numbers[b]) == (rows[a] == rows[b]) for a, b in pairs)


@given(some_rows)
def test_first_occurrences(rows):
    assert first_occurrences(*ragged(rows)).tolist() == [n for n, row in enumerate(rows) if row not in rows[:n]]


@given(some_rows, some_rows)
def test_contiguous_pieces(rows, sources):
    found = contiguous_in(*ragged(rows), ragged(sources))
    expected = [bool(row) and any(is_piece(row, source) for source in sources) for row in rows]
    assert found.tolist() == expected


@given(some_rows, some_rows, some_rows)
def test_share_of_new(rows, mined, sources):
    rows = [row for row in rows if row]
    new = [row not in mined and not any(is_piece(row, source) for source in sources) for row in rows]
    assert share_of_new(*ragged(rows), [ragged(mined[:2]), ragged(mined[2:])], ragged(sources)) == (
        np.mean(new) if rows else 0.0
    )


def test_pieces_do_not_reach_over_the_end_of_a_row():
    assert contiguous_in(*ragged([[2, 3], [1, 2], [3, 4, 5]]), ragged([[1, 2], [3, 4]])).tolist() == [
        False,
        True,
        False,
    ]


def test_many_rows_are_told_apart():
    random = np.random.default_rng(0)
    rows = random.integers(1, 20_000, (50_000, 3))
    offsets = np.arange(50_001) * 3
    assert len(np.unique(number_distinct(rows.ravel(), offsets))) == len(np.unique(rows, axis=0))
    swapped = rows[:, [1, 0, 2]]
    known = {tuple(row) for row in rows.tolist()}
    expected = [tuple(row) in known for row in swapped.tolist()]
    found = contiguous_in(swapped.ravel(), offsets, (rows.ravel(), offsets))
    assert found.tolist() == expected
