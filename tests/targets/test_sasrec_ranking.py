"""Lists, ranks and scores: that they agree with one another, and what odd histories get."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from seqregen import Origin, SequenceDataset
from seqregen.inputs import UnseenItemsWarning
from seqregen.metrics import UNREACHABLE, ndcg_at_k
from seqregen.model_selection import leave_one_out
from seqregen.targets import base, ranker

N_ITEMS = 24


@pytest.fixture
def model(tiny, sequences):
    return tiny().fit(sequences)


def test_items_without_a_score_come_last_in_the_order_of_the_vocabulary(model, sequences, monkeypatch):
    scores = model._scores

    def some_scores(histories):
        block = scores(histories)
        return lambda start, stop: block(start, stop).index_fill(1, torch.arange(5, N_ITEMS), -torch.inf)

    monkeypatch.setattr(model, "_scores", some_scores)
    for exclude_history in (True, False):
        for row in model.predict(sequences, N_ITEMS - 2, exclude_history).tolist():
            assert len(set(row)) == N_ITEMS - 2
            assert row[-5:] == sorted(row[-5:])
    assert set(model.predict(sequences, 5, False).ravel().tolist()) == set(model.vocabulary_[:5].tolist())


def test_no_rows_have_no_scores(model, sequences):
    rows = sequences.append(np.array([1, 2]), np.array([0, 2]), Origin.MINED)[-1:]
    assert model.decision_function(rows).shape == (0, N_ITEMS)


def test_scores_are_inner_products_of_states_and_items(model, sequences):
    expected = model.encode(sequences) @ model.item_embeddings_.T
    scores = model.decision_function(sequences)
    assert scores.shape == (60, N_ITEMS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    blocks = list(model.score_blocks(sequences, block_rows=25))
    assert [len(block) for block in blocks] == [25, 25, 10]
    np.testing.assert_allclose(np.concatenate(blocks), scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("exclude_history", [True, False])
def test_the_list_is_the_order_of_the_scores(model, sequences, exclude_history):
    scores = model.decision_function(sequences).astype(np.float64)
    if exclude_history:
        for row, items in zip(scores, sequences.to_lists(), strict=True):
            row[np.array(items) - 1] -= 1e6
    expected = model.vocabulary_[np.argsort(-scores, axis=1)]
    for k in (1, 5, N_ITEMS):
        np.testing.assert_array_equal(model.predict(sequences, k, exclude_history), expected[:, :k])
    assert model.predict(sequences).shape == (60, 10)


@pytest.mark.parametrize("exclude_history", [True, False])
def test_the_rank_is_the_place_in_the_list(model, sequences, exclude_history):
    X, y = leave_one_out(sequences)
    # Some come back to the item that they began with.
    y[::7] = X.vocabulary[X.items[X.offsets[:-1:7]] - 1]
    places = model.predict(X, N_ITEMS, exclude_history) == y[:, None]
    expected = places.argmax(axis=1) + 1
    if exclude_history:
        seen = np.array([label in row for label, row in zip(y, X.to_lists(), strict=True)])
        assert 0 < seen.sum() < 60
        expected[seen] = UNREACHABLE
    np.testing.assert_array_equal(model.rank(X, y, exclude_history), expected)


def test_the_score_is_ndcg_at_10_of_the_ranks(model, sequences):
    X, y = leave_one_out(sequences)
    assert model.score(X, y) == ndcg_at_k(model.rank(X, y), 10)
    assert model.score(X, y) != ndcg_at_k(model.rank(X, y, exclude_history=False), 10)


def test_history_is_never_recommended_while_anything_else_is_left(model, sequences):
    for row, predicted in zip(sequences.to_lists(), model.predict(sequences, k=8).tolist(), strict=True):
        assert len(set(predicted)) == 8
        if len(set(row)) <= N_ITEMS - 8:
            assert not set(row) & set(predicted)


def test_a_history_of_all_items_gets_them_again(model):
    everything = [list(range(1, N_ITEMS + 1)), list(range(1, N_ITEMS))]
    predicted = model.predict(everything, k=5)
    assert predicted[1][0] == N_ITEMS
    scores = model.decision_function(everything)
    np.testing.assert_array_equal(predicted[0], np.argsort(-scores[0])[:5] + 1)
    np.testing.assert_array_equal(predicted[1][1:], np.argsort(-scores[1][:-1])[:4] + 1)


def test_empty_rows_keep_their_place_and_get_what_is_popular(model, sequences):
    rows = [[], *sequences.to_lists()[:3], []]
    data = SequenceDataset.from_sequences(rows, vocabulary=model.vocabulary_)
    predicted = model.predict(data, k=6)
    np.testing.assert_array_equal(predicted[1:4], model.predict(sequences[:3], k=6))
    counts = model.item_counts_[predicted[0] - 1]
    assert counts.tolist() == sorted(model.item_counts_, reverse=True)[:6]
    np.testing.assert_array_equal(predicted[0], predicted[4])
    rarest = model.vocabulary_[model.item_counts_.argmin()]
    assert model.rank(data, [rarest] * 5)[0] == N_ITEMS
    assert not model.encode(data)[[0, 4]].any()


def test_rows_of_one_item(model):
    predicted = model.predict([[3], [4], [3]], k=5)
    np.testing.assert_array_equal(predicted[0], predicted[2])
    assert 3 not in predicted[0]


def test_rows_do_not_depend_on_their_mates(model, sequences):
    together = model.decision_function(sequences)
    for row in (0, 17, 59):
        np.testing.assert_allclose(model.decision_function(sequences[[row]])[0], together[row], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.decision_function(sequences[::-1]), together[::-1], rtol=1e-4, atol=1e-6)


def test_only_the_last_items_are_read(model):
    long = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(model.encode([long]), model.encode([long[-6:]]), rtol=1e-5, atol=1e-6)
    assert not np.allclose(model.encode([long]), model.encode([long[:6]]))
    # What is older is still history.
    assert 1 not in model.predict([long], k=N_ITEMS - 9)[0]


def test_the_validation_item_belongs_to_the_history(model, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    full = [[*row, code] for row, code in zip(X.to_lists(), X.validation.tolist(), strict=True)]
    np.testing.assert_array_equal(model.predict(X, k=6), model.predict(full, k=6))
    np.testing.assert_array_equal(model.rank(X, np.ones(60, int)), model.rank(full, np.ones(60, int)))


def test_original_rows_alone_are_predicted(model, sequences):
    added = sequences.append(np.array([1, 2]), np.array([0, 2]), Origin.MINED)
    np.testing.assert_array_equal(model.predict(added), model.predict(sequences))
    assert len(model.rank(added, np.ones(60, int))) == len(model.encode(added)) == 60


def test_unseen_items_are_left_out_with_one_warning(model):
    rows = [[1, 99, 2], [-7], [1, 2]]
    with pytest.warns(UnseenItemsWarning, match=r"2 item\(s\) that were not seen in fit \(-7, 99\)") as caught:
        predicted = model.predict(rows, k=5)
    assert len(caught) == 1
    np.testing.assert_array_equal(predicted[0], predicted[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(predicted[1:], model.predict([[], [1, 2]], k=5))


def test_a_target_outside_the_vocabulary_is_a_miss(model):
    ranks = model.rank([[1], [1]], [99, 2])
    assert ranks[0] == UNREACHABLE
    assert 1 <= ranks[1] <= N_ITEMS
    with pytest.warns(UserWarning, match=r"none of the 2 label\(s\) of y .* y holds 99 \(int\)") as caught:
        assert model.score([[1], [1]], [99, 99]) == 0
    assert caught[0].filename == __file__


@pytest.mark.parametrize("k", [0, -1, N_ITEMS + 1, 2.0, True, None, "3"])
def test_lengths_that_cannot_be(model, k):
    with pytest.raises(ValueError, match=r"k must be an integer from 1 to the size of the vocabulary \(24\)"):
        model.predict([[1, 2]], k=k)


def test_numpy_integers_are_lengths(model):
    assert model.predict([[1, 2]], k=np.int16(3)).shape == (1, 3)


def test_targets_that_do_not_fit(model):
    with pytest.raises(ValueError, match="one label for each of the 2 original rows; got 3"):
        model.rank([[1], [2]], [1, 2, 3])
    with pytest.raises(ValueError, match="y is required"):
        model.score([[1]], None)
    with pytest.raises(ValueError, match="y cannot be read at position 1: the item is missing"):
        model.score([[1], [2]], [1, None])
    with pytest.raises(ValueError, match=r"y must be one-dimensional, .* got shape \(2, 1\)"):
        model.score([[1], [2]], np.array([[1], [2]]))


@pytest.mark.parametrize("make", [pa.array, torch.tensor, pd.Series, pl.Series, lambda y: list(torch.tensor(y))])
def test_targets_may_be_an_array_of_any_library(model, sequences, make):
    X, y = leave_one_out(sequences)
    assert model.score(X, make(y)) == model.score(X, y) > 0


@pytest.mark.parametrize("block_rows", [0, -1, 2.5, True])
def test_blocks_that_cannot_be(model, block_rows):
    with pytest.raises(ValueError, match=f"block_rows must be an integer >= 1; got {block_rows}"):
        model.score_blocks([[1]], block_rows)


def test_too_many_scores_at_once_are_refused(model, sequences, monkeypatch):
    monkeypatch.setattr(ranker, "_MOST_SCORES", 59 * N_ITEMS)
    with pytest.raises(ValueError, match=r"60 rows x 24 items are too many scores.*score_blocks"):
        model.decision_function(sequences)
    assert sum(len(block) for block in model.score_blocks(sequences)) == 60


def test_many_rows_are_encoded_in_pieces(model, sequences, monkeypatch):
    whole = model.encode(sequences)
    monkeypatch.setattr(base, "ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(model.encode(sequences), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], ValueError, "0 sample"),
        ([[1, None]], ValueError, "row 0, position 1"),
        ([[1.0, float("nan")]], ValueError, "row 0, position 1"),
        ([[1, "a"]], ValueError, "row 0, position 1"),
        ("abc", TypeError, "single string"),
        (3, TypeError, "one sequence of items a row"),
    ],
)
def test_bad_input(model, tiny, rows, error, message):
    with pytest.raises(error, match=message):
        model.predict(rows)
    with pytest.raises(error, match=message):
        tiny().fit(rows)
