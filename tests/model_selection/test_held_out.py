"""Leave-one-out: what moves where, and that it comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, cross_validate

from seqregen import Origin, SequenceDataset
from seqregen.model_selection import LeaveLastOut, append_targets, hold_out_last, leave_one_out
from seqregen.pairs import PatternPairs

some_rows = st.lists(st.lists(st.integers(-3, 9), min_size=1, max_size=6), min_size=1, max_size=12)


def with_columns():
    """Three users with every column that is carried."""
    data = SequenceDataset.from_sequences([["a", "b", "c"], ["b"], ["c", "a"]])
    return data.replace(
        users=np.array(["x", "y", "z"], dtype=object),
        weights=np.arange(6, dtype=np.float32),
        timestamps=np.arange(6).astype("datetime64[s]"),
        domains=np.array([0, 1, 0, 1, 0, 1]),
    )


@given(some_rows)
def test_train_and_target_make_the_original(rows):
    X, y = leave_one_out(rows)
    assert [*map(list, zip(X.to_lists(), y.tolist(), strict=True))] == [[row[:-1], row[-1]] for row in rows]
    assert set(X.vocabulary.tolist()) == {label for row in rows for label in row}
    assert X.validation is None


@given(some_rows)
def test_validation_items(rows):
    X, y = leave_one_out(rows, validation=True)
    assert X.to_lists() == [row[:-2] for row in rows]
    labels = [None if code == 0 else X.vocabulary[code - 1] for code in X.validation]
    assert labels == [row[-2] if len(row) > 1 else None for row in rows]
    assert y.tolist() == [row[-1] for row in rows]
    assert X.histories().to_lists() == [row[:-1] for row in rows]


@given(some_rows, st.booleans())
def test_round_trip_is_exact(rows, validation):
    data = SequenceDataset.from_sequences(rows).replace(users=np.arange(len(rows)))
    assert append_targets(*leave_one_out(data, validation=validation)) == data


def test_columns_are_carried():
    data = with_columns()
    X, y = leave_one_out(data)
    assert X.to_lists() == [["a", "b"], [], ["c"]]
    assert y.tolist() == ["c", "b", "a"]
    assert X.users is data.users
    assert X.weights.tolist() == [0, 1, 4]
    assert X.timestamps.astype(int).tolist() == [0, 1, 4]
    assert X.domains.tolist() == [0, 1, 0]
    X, y = leave_one_out(data, validation=True)
    assert X.weights.tolist() == [0]
    assert X.timestamps.astype(int).tolist() == [0]
    back = append_targets(X, y)
    assert back.to_lists() == data.to_lists()
    assert back.weights.tolist() == [0, 1, 1, 1, 1, 1]
    assert np.isnat(back.timestamps).tolist() == [False, True, True, True, True, True]
    assert back.domains.tolist()[0] == 0


def test_pairs_are_dropped_since_they_show_held_out_items():
    data = SequenceDataset.from_sequences([[1, 2], [2, 1]])
    pairs = PatternPairs(np.array([0, 1, 1]), np.array([0]), np.array([1, 2]), np.array([0, 2]))
    data = data.replace(pairs=pairs)
    assert leave_one_out(data)[0].pairs is None
    assert hold_out_last(data).pairs is None


def test_empty_rows_are_refused_with_the_remedy():
    data = SequenceDataset.from_sequences([[1], [2], [], []])
    with pytest.raises(ValueError, match=r"row 2 is empty.*sequences\[sequences.lengths > 0\]"):
        leave_one_out(data)
    assert leave_one_out(data[data.lengths > 0])[1].tolist() == [1, 2]


def test_a_text_is_neither_true_nor_false():
    with pytest.raises(ValueError, match="validation must be True or False; got 'no'"):
        leave_one_out([[1, 2]], validation="no")


def test_rows_that_show_what_is_held_out_are_refused():
    data = SequenceDataset.from_sequences([[1, 2], [2, 3]])
    mined = data.append(np.array([1]), np.array([0, 1]), Origin.MINED)
    for refuse in (leave_one_out, hold_out_last, lambda dataset: append_targets(dataset, [1, 1, 1])):
        with pytest.raises(ValueError, match="row 2 is mined"):
            refuse(mined)
    X, _ = leave_one_out(data, validation=True)
    with pytest.raises(ValueError, match="already hold validation items"):
        leave_one_out(X)


def test_hold_out_last_keeps_rows_of_one_item():
    data = SequenceDataset.from_sequences([[7, 8, 9], [8], [], [9, 7]])
    held = hold_out_last(data)
    assert held.to_lists() == [[7, 8], [8], [], [9]]
    assert held.validation.tolist() == [3, 0, 0, 1]
    assert hold_out_last(held) is held
    assert data.validation is None


def test_hold_out_last_of_longer_rows_alone():
    held = hold_out_last([[7, 8, 9], [8], [9, 7], []], min_length=3)
    assert held.to_lists() == [[7, 8], [8], [9, 7], []]
    assert held.validation.tolist() == [3, 0, 0, 0]
    for wrong in (1, True, 2.0, None):
        with pytest.raises(ValueError, match=r"min_length must be an integer >= 2; got"):
            hold_out_last([[1, 2, 3]], min_length=wrong)


def test_hold_out_last_reads_lists():
    held_out = hold_out_last([[1, 2, 3], [2]])
    assert held_out.to_lists() == [[1, 2], [2]]
    assert held_out.validation.tolist() == [3, 0]
    with pytest.raises(ValueError, match="sequences must hold one sequence of items a row; row 0 is"):
        hold_out_last([1, 2, 3])


def test_unknown_targets_grow_the_vocabulary_behind_it():
    X = SequenceDataset.from_sequences([["b", "a"], ["c"], []])
    data = append_targets(X, ["z", "a", "y"])
    assert data.to_lists() == [["b", "a", "z"], ["c", "a"], ["y"]]
    assert data.vocabulary.tolist() == ["a", "b", "c", "z", "y"]
    assert append_targets([[1], [2]], np.array([5, 1])).to_lists() == [[1, 5], [2, 1]]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1], "got 1 labels for 2 rows"),
        (["a", "b"], "the vocabulary of X and y together cannot be read"),
        ([1, None], "y cannot be read at position 1: the item is missing"),
        (np.ones((2, 1)), "y must be one-dimensional"),
    ],
)
def test_bad_targets(y, message):
    with pytest.raises(ValueError, match=message):
        append_targets([[1, 2], [2]], y)


@pytest.mark.parametrize(
    ("domains", "missing"),
    [
        (np.array(["x", "yy", "x"]), None),
        (np.array([True, False, True]), None),
        (np.array([1, 0, 1], dtype=np.uint8), np.iinfo(np.int64).min),
    ],
    ids=["text", "bool", "unsigned"],
)
def test_appended_items_have_no_domain_and_no_time(domains, missing):
    data = SequenceDataset.from_sequences([["a", "b", "a"]])
    data = data.replace(domains=domains, timestamps=np.array([1, 0, 2], dtype=np.uint8))
    whole = append_targets(*leave_one_out(data))
    assert whole.domains.tolist() == [*domains[:2].tolist(), missing]
    assert whole.timestamps.tolist() == [1, 0, np.iinfo(np.int64).min]


def test_targets_from_pandas():
    pandas = pytest.importorskip("pandas")
    assert append_targets([["a"], ["b"]], pandas.Series(["b", "c"], index=[5, 6])).to_lists() == [
        ["a", "b"],
        ["b", "c"],
    ]


@pytest.mark.data
def test_real_beauty(request):
    """All but the last two items of each row of the real file."""
    import os
    from pathlib import Path

    folder = Path(os.environ.get("SEQREGEN_DATA", request.config.rootpath.parent / "shared" / "data"))
    path = folder / "amazon-beauty.txt"
    if not path.exists():
        pytest.skip("the real datasets are not here")
    rows = [line.split()[1:] for line in path.read_text().splitlines()]
    X, y = leave_one_out(rows, validation=True)
    assert (len(X), X.n_items) == (22_363, 12_101)
    assert X.n_interactions == 198_502 - 2 * 22_363
    assert append_targets(X, y).to_lists() == rows


def test_splitter():
    splitter = LeaveLastOut()
    assert splitter.get_n_splits() == 1
    ((train, test),) = splitter.split(with_columns())
    assert train.tolist() == test.tolist() == [0, 1, 2]
    assert repr(splitter) == "LeaveLastOut()"


@pytest.mark.parametrize("cv", [LeaveLastOut(), KFold(2)])
def test_splits_keep_the_type_and_the_columns(cv):
    from sklearn.base import BaseEstimator

    class Watcher(BaseEstimator):
        def fit(self, X, y=None):
            assert type(X) is SequenceDataset
            assert X.weights is not None
            assert X.timestamps is not None
            assert X.users is not None
            assert X.n_items == 3
            self.fitted_ = True
            return self

        def score(self, X, y):
            return float(type(X) is SequenceDataset and X.domains is not None and len(X) == len(y))

    X, y = leave_one_out(with_columns())
    result = cross_validate(Watcher(), X, y, cv=cv, error_score="raise")
    assert (result["test_score"] == 1).all()
