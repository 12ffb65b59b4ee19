"""What make_sequences plants is there, and repeatable."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from seqregen.datasets import make_sequences


def test_shape_and_vocabulary():
    data = make_sequences(n_sequences=300, n_items=50, random_state=0)
    assert len(data) == 300
    assert data.vocabulary.tolist() == list(range(1, 51))
    assert data.lengths.min() >= 5


def test_repeatable():
    assert make_sequences(random_state=3) == make_sequences(random_state=3)
    assert make_sequences(random_state=3) != make_sequences(random_state=4)
    assert make_sequences(random_state=np.random.RandomState(3)) == make_sequences(random_state=3)


@pytest.mark.parametrize("mean_length", [5, 8, 12.5])
def test_mean_length(mean_length):
    data = make_sequences(n_sequences=4000, n_items=300, mean_length=mean_length, random_state=0)
    assert data.lengths.mean() == pytest.approx(mean_length, rel=0.05)


def test_no_item_twice_in_a_row_even_when_rows_hold_the_whole_catalogue():
    data = make_sequences(n_sequences=200, n_items=6, mean_length=6, min_length=5, random_state=0)
    for row in data.to_lists():
        assert len(set(row)) == len(row)


def test_every_step_is_planted_without_noise():
    data, transitions = make_sequences(
        n_items=500, n_tastes=1, n_successors=3, transition_strength=1.0, return_transitions=True, random_state=0
    )
    assert transitions.shape == (1, 500, 3)
    for row in data.to_lists():
        for item, following in pairwise(row):
            assert following in transitions[0, item - 1]


def test_the_first_successor_is_the_likeliest():
    data, transitions = make_sequences(
        3000, 500, n_tastes=1, n_successors=2, transition_strength=1.0, return_transitions=True, random_state=0
    )
    inside = np.ones(data.n_interactions, dtype=bool)
    inside[data.offsets[1:] - 1] = False
    steps = np.flatnonzero(inside)
    first = transitions[0, data.items[steps] - 1, 0] == data.items[steps + 1]
    assert first.mean() == pytest.approx(2 / 3, abs=0.02)


def test_without_transitions_popular_items_lead():
    data = make_sequences(2000, 100, transition_strength=0.0, popularity_exponent=1.0, random_state=0)
    counts = np.sort(np.bincount(data.items, minlength=101))[::-1]
    assert counts[:10].sum() > 3 * counts[50:60].sum()


def hit_rates(data):
    """Hit rate at 10 of the last items: by popularity, and by what followed the last item but one."""
    rows = [row.tolist() for row in data]
    popularity = np.zeros(data.n_items + 1)
    follows = np.zeros((data.n_items + 1, data.n_items + 1))
    for row in rows:
        np.add.at(popularity, row[:-1], 1)
        np.add.at(follows, (row[:-2], row[1:-1]), 1)
    hits = np.zeros(2)
    for row in rows:
        for place, scores in enumerate((popularity.copy(), follows[row[-2]] + 1e-6 * popularity)):
            scores[row[:-1]] = -1
            hits[place] += np.count_nonzero(scores[1:] >= scores[row[-1]]) <= 10
    return hits / len(rows)


def test_the_default_has_something_to_learn():
    by_popularity, by_last_item = hit_rates(make_sequences(random_state=0))
    assert by_popularity < 0.25
    assert by_last_item > 2 * by_popularity
    assert by_last_item < 0.8


def test_memory_is_linear_in_interactions():
    tracemalloc.start()
    try:
        data = make_sequences(100_000, 100_000, random_state=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * data.n_interactions


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_sequences": 0}, "n_sequences must be an integer of at least 1; got 0"),
        ({"n_items": 2.5}, "n_items must be an integer of at least 1; got 2.5"),
        ({"n_tastes": True}, "n_tastes must be an integer"),
        ({"transition_strength": 1.5}, r"transition_strength must lie in \[0, 1\]"),
        ({"mean_length": "a"}, "mean_length must lie between"),
        ({"popularity_exponent": float("nan")}, r"popularity_exponent must lie in \[-40, 40\]; got nan"),
        ({"popularity_exponent": "a"}, "popularity_exponent must lie in"),
        ({"return_transitions": "no"}, "return_transitions must be True or False; got 'no'"),
        ({"mean_length": 3}, r"mean_length must lie between min_length \(5\)"),
        ({"n_items": 6, "mean_length": 9}, r"and n_items \(6\)"),
        ({"n_items": 10, "n_successors": 10}, "n_successors must be less than n_items"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_sequences(**parameters)
