"""The estimator: what it returns, what it refuses, and that it reads nothing it should not."""

from __future__ import annotations

import importlib.util
import pickle
import sys
import warnings

import numpy as np
import pytest
from brute_force_mining import as_dataset, contains, pairs_as_lists, patterns_within, support_of_patterns
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from seqregen import Origin, PatternMiner, SequenceDataset
from seqregen.inputs import UnseenItemsWarning

needs_seq2pat = pytest.mark.skipif(importlib.util.find_spec("sequential") is None, reason="seq2pat is not installed")

SEQUENCES = [
    ["tea", "milk", "cup", "tea"],
    [],
    ["tea", "sugar", "milk"],
    ["cup"],
    ["cup", "tea", "milk"],
]


@pytest.fixture
def random_rows():
    rng = np.random.default_rng(0)
    return [rng.integers(1, 8, rng.integers(0, 15)).tolist() for _ in range(80)]


def test_patterns_by_support_with_the_labels_of_the_user():
    miner = PatternMiner(window=3)
    assert miner.fit(SEQUENCES) is miner
    assert miner.patterns_.to_lists() == [["tea", "milk"], ["cup", "tea"]]
    assert miner.support_.tolist() == [3, 2]
    assert miner.support_.dtype == np.int64
    assert miner.patterns_.origin.tolist() == [Origin.MINED] * 2
    assert miner.vocabulary_.tolist() == ["cup", "milk", "sugar", "tea"]
    assert miner.patterns_.n_items == 4
    frame = miner.to_frame()
    assert frame["pattern"].tolist() == [("tea", "milk"), ("cup", "tea")]
    assert frame["support"].tolist() == [3, 2]
    assert frame["length"].tolist() == [2, 2]


def test_rows_of_several_miners_are_put_one_behind_the_other(random_rows):
    narrow, wide = PatternMiner(window=2), PatternMiner(window=4, include=("mined",))
    first, second = narrow.fit_transform(random_rows), wide.fit_transform(random_rows)
    both = SequenceDataset.concatenate([first, second])
    assert both.to_lists() == random_rows + narrow.patterns_.to_lists() + wide.patterns_.to_lists()
    assert both.n_original == len(random_rows)
    assert len(both.pairs) == len(first.pairs)


def test_rows_stay_in_place_and_patterns_come_behind():
    mined = PatternMiner(window=3).fit_transform(SEQUENCES)
    assert mined.to_lists() == [*SEQUENCES, ["tea", "milk"], ["cup", "tea"]]
    assert mined.origin.tolist() == [Origin.ORIGINAL] * 5 + [Origin.MINED] * 2
    assert pairs_as_lists(mined.pairs) == [[0, 1], [], [0], [], [0, 1], [], []]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 5), max_size=10), min_size=1, max_size=6),
    st.integers(2, 5),
    st.sampled_from(["anywhere", "window"]),
    st.none() | st.integers(2, 6),
)
def test_pairs_are_those_of_the_definition(rows, window, match, pair_length):
    X = as_dataset(rows, 5)
    miner = PatternMiner(
        window=window, min_support=1, match=match, pair_length=pair_length, max_patterns_per_sequence=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        at_once = miner.fit_transform(X)
        assert miner.fit(X).transform(X) == at_once
    patterns = list(support_of_patterns(rows, window, 1))
    assert [tuple(pattern) for pattern in miner.patterns_.to_lists()] == patterns
    for row, numbers in zip(rows, pairs_as_lists(at_once.pairs), strict=False):
        end = row if pair_length is None else row[-pair_length:]
        inside = patterns_within(end, window) if match == "window" else {p for p in patterns if contains(end, p)}
        assert numbers == [number for number, pattern in enumerate(patterns) if pattern in inside]


@pytest.mark.parametrize("match", ["anywhere", "window"])
@pytest.mark.parametrize("random_state", [3, np.random.RandomState(3), None])
def test_fit_transform_is_fit_and_transform(random_rows, match, random_state):
    miner = PatternMiner(match=match, max_patterns_per_sequence=2, random_state=random_state)
    at_once = miner.fit_transform(random_rows)
    assert at_once == miner.transform(random_rows)
    assert np.diff(at_once.pairs.offsets).max() == 2


def test_the_seed_decides_the_draw_and_nothing_else(random_rows):
    first, again, other = (
        PatternMiner(max_patterns_per_sequence=3, random_state=seed).fit_transform(random_rows) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert first.replace(pairs=None) == other.replace(pairs=None)
    np.testing.assert_array_equal(first.pairs.offsets, other.pairs.offsets)


@pytest.mark.parametrize("match", ["anywhere", "window"])
def test_jobs_change_nothing(random_rows, match):
    one, two = (
        PatternMiner(match=match, max_patterns_per_sequence=3, random_state=0, n_jobs=n_jobs).fit_transform(random_rows)
        for n_jobs in (1, 2)
    )
    assert one == two


@needs_seq2pat
@pytest.mark.parametrize("match", ["anywhere", "window"])
def test_engines_agree(random_rows, match):
    ours, theirs = (
        PatternMiner(window=4, engine=engine, match=match, random_state=0).fit_transform(random_rows)
        for engine in ("vectorised", "seq2pat")
    )
    assert ours == theirs


def test_window_matches_are_the_narrower_ones():
    rows = [[1, 2], [1, 2], [1, 3, 3, 3, 3, 2]]
    anywhere = PatternMiner(window=2).fit_transform(rows)
    window = PatternMiner(window=2, match="window").fit_transform(rows)
    assert pairs_as_lists(anywhere.pairs)[:3] == [[0], [0], [0]]
    assert pairs_as_lists(window.pairs)[:3] == [[0], [0], []]


def test_only_the_last_items_of_a_long_row_are_paired_but_all_are_mined():
    rows = [[1, 2, *range(10, 20)], [1, 2, *range(20, 30)]]
    miner = PatternMiner(window=2, pair_length=11)
    assert len(miner.fit_transform(rows).pairs) == 0
    assert miner.patterns_.to_lists() == [[1, 2]]
    assert len(miner.set_params(pair_length=12).fit_transform(rows).pairs) == 2


def test_unseen_items_are_left_out_with_one_warning():
    miner = PatternMiner(window=3).fit(SEQUENCES)
    with pytest.warns(UnseenItemsWarning, match="'jam'") as caught:
        mined = miner.transform([["tea", "jam", "milk"], ["jam"]])
    assert len(caught) == 1
    assert mined.to_lists() == [["tea", "milk"], [], *miner.patterns_.to_lists()]
    assert pairs_as_lists(mined.pairs)[:2] == [[0], []]


def test_a_dataset_over_another_vocabulary_is_encoded_again():
    miner = PatternMiner(window=3).fit(SEQUENCES)
    part = SequenceDataset.from_sequences([["tea", "milk"]])
    assert part.n_items == 2
    mined = miner.transform(part)
    assert mined.n_items == 4
    assert pairs_as_lists(mined.pairs) == [[0], [], []]


def test_y_is_ignored(random_rows):
    y = np.arange(len(random_rows))
    first = PatternMiner(random_state=0).fit_transform(random_rows, y)
    assert first == PatternMiner(random_state=0).fit(random_rows, y[::-1]).transform(random_rows)
    assert first == PatternMiner(random_state=0).fit(random_rows).transform(random_rows)


def test_held_out_items_are_never_read():
    rows = [[1, 2], [1, 2], [3]]
    # Appended to the rows, the validation items would make the patterns (1, 4), (2, 4) and (1, 2, 4).
    X = as_dataset(rows, 4, validation=np.array([4, 4, 4]))
    miner = PatternMiner()
    mined = miner.fit_transform(X)
    assert miner.patterns_.to_lists() == [[1, 2]]
    assert mined.validation.tolist() == [4, 4, 4, 0]
    assert PatternMiner().fit_transform(X.replace(validation=None)) == mined.replace(validation=None)


def test_columns_of_the_input_are_carried_through():
    X = as_dataset([[1, 2], [1, 2]], 2, weights=np.array([1, 2, 3, 4], dtype=np.float32), users=np.array(["a", "b"]))
    mined = PatternMiner().fit_transform(X)
    assert mined.weights.tolist() == [1, 2, 3, 4, 1, 1]
    assert mined.users[:2].tolist() == ["a", "b"]


@pytest.fixture
def regenerated():
    """Two original rows, a mined one, and two regenerated ones that come from the original rows."""
    origin = np.array([Origin.ORIGINAL, Origin.ORIGINAL, Origin.MINED, Origin.REGENERATED, Origin.REGENERATED])
    rows = [[1, 2, 3], [1, 2], [3, 1], [3, 1], [2, 3]]
    return as_dataset(rows, 3, origin=origin.astype(np.int8), source=np.array([-1, -1, -1, 1, 0]))


def test_only_original_rows_are_mined_and_paired(regenerated):
    miner = PatternMiner(min_support=2)
    mined = miner.fit_transform(regenerated)
    assert miner.patterns_.to_lists() == [[1, 2]]
    assert pairs_as_lists(mined.pairs) == [[0], [0], [], [], []]


def test_mined_rows_are_replaced_and_regenerated_rows_stay_behind(regenerated):
    miner = PatternMiner()
    mined = miner.fit_transform(regenerated)
    assert mined.to_lists() == [[1, 2, 3], [1, 2], [1, 2], [3, 1], [2, 3]]
    assert mined.origin.tolist() == [0, 0, 1, 2, 2]
    assert mined.source.tolist() == [-1, -1, -1, 1, 0]
    assert miner.transform(mined) == mined
    assert miner.fit_transform(mined) == mined


def test_rows_out_of_order_are_put_in_order(regenerated):
    shuffled = regenerated[[4, 2, 0, 3, 1]]
    mined = PatternMiner().fit_transform(shuffled)
    assert mined.to_lists() == [[1, 2, 3], [1, 2], [1, 2], [2, 3], [3, 1]]
    assert mined.source.tolist() == [-1, -1, -1, 0, 1]


def test_include_chooses_the_rows(regenerated):
    annotated = PatternMiner(include=("original",)).fit_transform(regenerated)
    assert annotated.to_lists() == [[1, 2, 3], [1, 2], [3, 1], [2, 3]]
    assert annotated.origin.tolist() == [0, 0, 2, 2]
    assert pairs_as_lists(annotated.pairs) == [[0], [0], [], []]
    alone = PatternMiner(include=["mined"]).fit_transform([[1, 2, 3], [1, 2]])
    assert alone.to_lists() == [[1, 2]]
    assert alone.origin.tolist() == [Origin.MINED]
    assert len(alone.pairs) == 0


def test_no_pattern_is_no_error():
    miner = PatternMiner(min_support=10)
    with pytest.warns(UserWarning, match="min_support=10 of the 5 original rows"):
        mined = miner.fit_transform(SEQUENCES)
    assert mined.to_lists() == SEQUENCES
    assert len(mined.pairs) == 0
    assert len(miner.patterns_) == len(miner.support_) == len(miner.to_frame()) == 0
    assert miner.transform(SEQUENCES) == mined


def test_rows_that_are_all_empty_are_no_error():
    with pytest.warns(UserWarning, match="no pattern"):
        mined = PatternMiner(min_support=1).fit_transform([[], []])
    assert mined.to_lists() == [[], []]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 1}, "window must be an integer >= 2; got 1"),
        ({"window": 2.0}, "window must be an integer >= 2; got 2.0"),
        ({"window": True}, "window must be"),
        ({"min_support": 0}, "min_support must be an integer >= 1; got 0"),
        ({"min_support": 0.1}, "min_support must be an integer >= 1; got 0.1"),
        ({"max_length": 1}, "max_length must be an integer >= 2 or None"),
        ({"max_patterns_per_sequence": 0}, "max_patterns_per_sequence must be"),
        ({"pair_length": 1}, "pair_length must be"),
        ({"match": "somewhere"}, "match must be one of 'anywhere', 'window'; got 'somewhere'"),
        ({"engine": "spade"}, "engine must be one of 'vectorised', 'seq2pat'; got 'spade'"),
        ({"n_jobs": 0}, "n_jobs must be an integer, -1 for all"),
        ({"n_jobs": "two"}, "n_jobs must be an integer, -1 for all"),
        ({"include": "mined"}, "include must be a tuple"),
        ({"include": ()}, "include must be a tuple"),
        ({"include": ("original", "regenerated")}, r"got \('original', 'regenerated'\); 'regenerated' is none of them"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "fit_transform"])
def test_bad_parameters_are_named_in_fit(parameters, message, method):
    miner = PatternMiner(**parameters)
    with pytest.raises(ValueError, match=message):
        getattr(miner, method)(SEQUENCES)


def test_a_bad_parameter_that_is_set_behind_fit_is_named_in_transform():
    miner = PatternMiner().fit(SEQUENCES).set_params(pair_length=-1)
    with pytest.raises(ValueError, match="PatternMiner: pair_length must be an integer >= 2 or None; got -1"):
        miner.transform(SEQUENCES)


@pytest.mark.parametrize("match", ["anywhere", "window"])
@pytest.mark.parametrize("span", [sys.maxsize, 10**30])
def test_spans_longer_than_any_row_reach_as_far_as_rows_do(random_rows, match, span):
    longest = max(map(len, random_rows))
    common = {"match": match, "min_support": 1, "max_length": 2, "random_state": 0}
    widest = PatternMiner(window=longest, pair_length=longest, **common).fit_transform(random_rows)
    assert PatternMiner(window=span, pair_length=span, **common).fit_transform(random_rows) == widest


def test_integers_of_numpy_are_integers():
    miner = PatternMiner(window=np.int32(3), min_support=np.int64(2), max_length=np.int16(2)).fit(SEQUENCES)
    assert miner.support_.tolist() == [3, 2]


@pytest.mark.parametrize("call", [lambda miner: miner.transform(SEQUENCES), lambda miner: miner.to_frame()])
def test_not_fitted(call):
    with pytest.raises(NotFittedError):
        call(PatternMiner())


def test_clone_pickle_and_pipeline(random_rows):
    miner = PatternMiner(window=4, random_state=0)
    expected = miner.fit_transform(random_rows)
    assert clone(miner).get_params() == miner.get_params()
    assert not hasattr(clone(miner), "patterns_")
    assert pickle.loads(pickle.dumps(miner)).transform(random_rows) == expected
    # The second miner replaces what the first one added.
    assert make_pipeline(clone(miner), clone(miner)).fit_transform(random_rows) == expected


def test_equal_rows_may_come_as_an_array():
    miner = PatternMiner().fit(np.array([[5, 0, -1], [5, 7, -1]]))
    assert miner.n_features_in_ == 3
    assert miner.patterns_.to_lists() == [[5, -1]]
    assert not hasattr(miner.fit(SEQUENCES), "n_features_in_")


def test_verbose_says_what_was_found(capsys):
    PatternMiner(window=3, verbose=True).fit_transform(SEQUENCES)
    said = capsys.readouterr().out
    assert "2 patterns in 5 sequences (by length from 2: 2)" in said
    assert "5 pairs; 3 of 5 sequences" in said


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "window", "counts"),
    [
        ("amazon-beauty", 5, (206181, 44471, 11457)),
        ("amazon-toys", 10, (107027, 39095, 10534)),
        ("amazon-toys", 5, (54227, 32336, 9703)),
        ("amazon-sports", 10, (110836, 65618, 19057)),
        ("yelp", 10, (150941, 79682, 18872)),
    ],
)
def test_pairs_on_real_data_are_as_many_as_published(training_part, name, window, counts):
    n_pairs, n_capped, n_rows = counts
    X = training_part(name)
    miner = PatternMiner(window=window, random_state=0)
    mined = miner.fit_transform(X)
    assert len(mined.pairs) == n_capped
    assert np.count_nonzero(np.diff(mined.pairs.offsets)) == n_rows
    assert len(miner.set_params(max_patterns_per_sequence=None).transform(X).pairs) == n_pairs
    assert len(mined) == len(X) + len(miner.support_)


SEQUENCES_DIFFER_IN_LENGTH = "rows are sequences: another number of columns is another length, not an error"
EXPECTED_FAILURES = {
    "check_n_features_in_after_fitting": SEQUENCES_DIFFER_IN_LENGTH,
    "check_transformer_general": SEQUENCES_DIFFER_IN_LENGTH,
}


@pytest.mark.filterwarnings("ignore:no pattern of two or more items:UserWarning")
@pytest.mark.filterwarnings("ignore::seqregen.inputs.UnseenItemsWarning")
@parametrize_with_checks([PatternMiner()], expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
