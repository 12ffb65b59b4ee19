"""Batches: which positions are trained on, and in what company."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqregen import SequenceDataset
from seqregen.training import next_item_rows
from seqregen.training.batches import history_batches

CPU = torch.device("cpu")
some_rows = st.lists(st.lists(st.integers(1, 6), max_size=12), min_size=1, max_size=20)


def dataset_of(rows: list[list[int]], **columns) -> SequenceDataset:
    offsets = np.cumsum([0, *map(len, rows)])
    return SequenceDataset(
        np.array([item for row in rows for item in row], dtype=np.int64), offsets, np.arange(1, 7), **columns
    )


@settings(deadline=None)
@given(some_rows, st.integers(1, 5), st.integers(1, 8), st.integers(0, 100))
def test_every_position_once_an_epoch(rows, batch_size, max_length, seed):
    table = next_item_rows(dataset_of(rows), max_length)
    used = [row[-max_length - 1 :] for row in rows]
    expected = Counter(
        (item, target, place) for row in used for place, (item, target) in enumerate(itertools.pairwise(row))
    )
    assert table.n_positions == expected.total()
    assert len(table) == sum(len(row) > 1 for row in rows)
    seen = Counter()
    for batch in table.shuffled(batch_size, np.random.default_rng(seed), CPU):
        assert len(batch.rows) <= batch_size
        seen.update(zip(batch.items.tolist(), batch.targets.tolist(), batch.positions.tolist(), strict=True))
    assert seen == expected


@settings(deadline=None)
@given(some_rows, st.integers(1, 8))
def test_a_batch_holds_its_rows_in_the_order_it_says(rows, max_length):
    rows.append([1, 2, 3])
    long = [row[-max_length - 1 :] for row in rows if len(row) > 1]
    batch = next_item_rows(dataset_of(rows), max_length).batch(np.arange(len(long)), CPU)
    lengths = [len(long[row]) - 1 for row in batch.rows]
    assert lengths == sorted(lengths)
    assert batch.items.tolist() == [item for row in batch.rows for item in long[row][:-1]]
    assert batch.targets.tolist() == [item for row in batch.rows for item in long[row][1:]]
    assert batch.last.tolist() == (np.cumsum(lengths) - 1).tolist()
    assert batch.lengths.tolist() == list(lengths)
    assert batch.groups.n_tokens == sum(lengths)
    assert batch.weights is None


def test_weights_are_those_of_the_targets():
    rows = [[1, 2, 3, 4], [5, 6], [1]]
    data = dataset_of(rows, weights=np.arange(7, dtype=np.float32))
    batch = next_item_rows(data, 2).batch(np.arange(2), CPU)
    assert batch.targets.tolist() == [6, 3, 4]
    assert batch.weights.tolist() == [5, 2, 3]
    assert batch.positions.tolist() == [0, 0, 1]


def test_batches_are_random_rows_not_rows_of_like_length():
    rows = [[1] * (2 + row % 10) for row in range(400)]
    table = next_item_rows(dataset_of(rows), 50)
    batches = [batch.rows for batch in table.shuffled(40, np.random.default_rng(0), CPU)]
    assert [len(batch) for batch in batches] == [40] * 10
    for batch in batches:
        # Of 40 random rows out of ten lengths, about four have each.
        assert len(np.unique(table.lengths[batch])) >= 8
    again = [batch.rows for batch in table.shuffled(40, np.random.default_rng(0), CPU)]
    other = [batch.rows for batch in table.shuffled(40, np.random.default_rng(1), CPU)]
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(batches, other, strict=True))


@settings(deadline=None)
@given(some_rows, st.integers(1, 5), st.integers(1, 8))
def test_histories_are_the_last_items_of_rows_that_have_any(rows, batch_size, max_length):
    seen = {}
    for batch in history_batches(dataset_of(rows), max_length, batch_size, CPU):
        assert batch.targets is None
        bounds = [0, *(batch.last + 1).tolist()]
        for row, start, stop in zip(batch.rows.tolist(), bounds, bounds[1:], strict=False):
            seen[row] = (batch.items[start:stop].tolist(), batch.positions[start:stop].tolist())
    expected = {
        number: (row[-max_length:], list(range(len(row[-max_length:])))) for number, row in enumerate(rows) if row
    }
    assert seen == expected


@pytest.mark.parametrize("rows", [[[]], [[1], []]])
def test_nothing_to_train_on(rows):
    table = next_item_rows(dataset_of(rows), 5)
    assert len(table) == table.n_positions == 0
    assert list(table.shuffled(4, np.random.default_rng(0), CPU)) == []
