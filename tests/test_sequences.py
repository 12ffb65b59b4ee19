"""The container: indexing, sums, and that nothing changes under one's hands."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from dataset_strategies import full_datasets, plain_datasets
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import _safe_indexing, resample
from sklearn.utils.validation import _num_samples, indexable

from seqregen import Origin, SequenceDataset, columns
from seqregen.datasets import load_sequences
from seqregen.inputs import check_sequences, recode
from seqregen.mining import PatternMiner
from seqregen.pairs import PatternPairs

ROWS = [["tea", "milk", "tea"], ["salt"], [], ["milk", "salt"], ["tea", "salt", "milk", "tea"]]


@pytest.fixture
def data():
    return SequenceDataset.from_sequences(ROWS)


@pytest.fixture
def regenerated(data):
    """Five original rows, one mined, two regenerated from rows 0 and 3."""
    mined = data.append(np.array([1, 2]), np.array([0, 2]), Origin.MINED)
    return mined.append(
        np.array([3, 1, 2, 2, 1]),
        np.array([0, 3, 5]),
        Origin.REGENERATED,
        source=np.array([0, 3]),
        memory=np.array([0, 4]),
        free_steps=np.array([1, 0]),
    )


# Indexing


def test_a_row_is_an_array_of_labels(data):
    assert [row.tolist() for row in data] == ROWS
    assert data[0].tolist() == ROWS[0]
    assert data[-1].tolist() == ROWS[-1]
    assert data[np.int64(3)].tolist() == ROWS[3]
    assert len(data) == 5
    assert data.shape == (5,)


KEYS = {
    "slice": slice(1, 4),
    "stepped slice": slice(None, None, -2),
    "slice beyond the end": slice(3, 99),
    "backward empty slice": slice(4, 1),
    "integer array": np.array([3, 0, 0, 2]),
    "negative integers": np.array([-1, -5]),
    "unsigned integers": np.array([3, 1], dtype=np.uint8),
    "boolean array": np.array([True, False, True, False, True]),
    "list of integers": [4, 2],
    "list of booleans": [False, True, True, False, False],
    "empty list": [],
    "range": range(2, 5),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_indexing_agrees_with_an_array_of_rows(data, key):
    expected = np.fromiter(ROWS, dtype=object)[key].tolist()
    assert data[key].to_lists() == expected
    assert data[key, ...].to_lists() == expected
    assert _safe_indexing(data, key if not isinstance(key, range) else list(key)).to_lists() == expected
    assert data[key].vocabulary is data.vocabulary


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (5, "row 5 of a dataset of 5 rows"),
        (-6, "row -6 of a dataset of 5 rows"),
        ([0, 7], "row 7 of a dataset of 5 rows"),
        (np.array([-6]), "row -6 of a dataset of 5 rows"),
        (np.array([2**64 - 1], dtype=np.uint64), "row 18446744073709551615 of a dataset of 5 rows"),
        ([True, False], "one value a row"),
        ([0.5, 1.5], "must be integers or booleans"),
        (["tea"], "must be integers or booleans"),
        (np.zeros((2, 2), dtype=int), "one-dimensional"),
        ((0, 1), "one axis"),
        (None, "one-dimensional"),
    ],
)
def test_wrong_keys_say_what_is_wrong(data, key, message):
    with pytest.raises(IndexError, match=message):
        data[key]


def test_slices_and_rows_share_memory(data):
    data = data.replace(weights=np.ones(data.n_interactions))
    part = data[1:4]
    assert np.shares_memory(part.items, data.items)
    assert np.shares_memory(part.weights, data.weights)
    assert np.shares_memory(data.row_codes(0), data.items)
    assert np.shares_memory(data.replace(weights=None).items, data.items)


@given(st.data())
def test_indexing_twice_is_indexing_once(draw):
    data = draw.draw(full_datasets().filter(len))
    # Distinct rows: of a row taken twice, sources point to the first copy that is there.
    rows = st.permutations(range(len(data)))
    first = np.array(draw.draw(rows)[: draw.draw(st.integers(1, len(data)))])
    second = np.array(draw.draw(st.permutations(range(len(first))))[: draw.draw(st.integers(0, len(first)))], dtype=int)
    assert data[first][second] == data[first[second]]


@given(plain_datasets().filter(len), st.data())
def test_indexing_with_repeated_rows_twice_is_indexing_once(data, draw):
    first = np.array(draw.draw(st.lists(st.integers(-len(data), len(data) - 1), min_size=1, max_size=9)))
    second = np.array(draw.draw(st.lists(st.integers(0, len(first) - 1), max_size=9)), dtype=int)
    assert data[first][second] == data[first[second]]
    assert data[first].to_lists() == [data.to_lists()[row] for row in first]


@given(full_datasets(), st.integers(-9, 9), st.integers(-9, 9))
def test_a_slice_is_a_gather(data, start, stop):
    assert data[start:stop] == data[np.arange(len(data))[start:stop]]


# What scikit-learn does with it


def test_scikit_learn_splits_it(data):
    assert _num_samples(data) == 5
    assert indexable(data, None)[0] is data
    train, test = train_test_split(data, test_size=2, random_state=0)
    assert isinstance(train, SequenceDataset)
    assert sorted(map(str, train.to_lists() + test.to_lists())) == sorted(map(str, ROWS))
    for train_rows, test_rows in KFold(5).split(data):
        assert len(data[train_rows]) == 4
        assert data[test_rows].to_lists() == [ROWS[test_rows[0]]]
    assert len(resample(data, n_samples=9, random_state=0)) == 9


def test_numpy_does_not_take_it_for_an_array(data):
    assert not hasattr(data, "__array__")


# Equality, immutability, copies


def test_equality(data):
    assert data == SequenceDataset.from_sequences(ROWS)
    assert data != SequenceDataset.from_sequences(ROWS[:4])
    assert data != data.replace(weights=np.ones(data.n_interactions))
    assert data != data.replace(vocabulary=np.array(["a", "b", "c"], dtype=object))
    assert data != data.replace(pairs=PatternPairs.empty(len(data)))
    assert data != ROWS
    missing = data.replace(timestamps=np.full(data.n_interactions, np.nan))
    assert missing == missing.replace(timestamps=missing.timestamps.copy())
    with pytest.raises(TypeError, match="unhashable"):
        hash(data)


def test_it_cannot_be_changed(data):
    with pytest.raises(AttributeError, match=r"replace\(items=...\)"):
        data.items = np.zeros(3)
    with pytest.raises(ValueError, match="read-only"):
        data.items[0] = 2
    with pytest.raises(ValueError, match="read-only"):
        data[1:].items[0] = 2


def test_pairs_cannot_be_changed(data):
    mined = PatternMiner(min_support=1, random_state=0).fit_transform(data)
    for pairs in (mined.pairs, mined[1:].pairs):
        for name in ("offsets", "patterns", "pattern_items", "pattern_offsets"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(pairs, name)[0] = 1


def test_the_callers_array_stays_writeable():
    items = np.array([1, 2])
    SequenceDataset(items, np.array([0, 2]), np.array([5, 6]))
    items[0] = 2
    assert items.flags.writeable


def test_replace_names_unknown_columns(data):
    with pytest.raises(TypeError, match="unknown column 'weight'"):
        data.replace(weight=None)


@given(full_datasets())
def test_pickling_keeps_everything(data):
    again = pickle.loads(pickle.dumps(data))
    assert again == data
    assert not again.items.flags.writeable
    assert again.pairs is None or not again.pairs.patterns.flags.writeable


def test_works_on_read_only_memory_maps(data, tmp_path):
    data = data.replace(weights=np.arange(data.n_interactions))
    joblib.dump(data, tmp_path / "data.joblib")
    mapped = joblib.load(tmp_path / "data.joblib", mmap_mode="r")
    assert not mapped.items.flags.writeable
    assert mapped == data
    assert mapped[[4, 0]] == data[[4, 0]]
    assert mapped[1:3] == data[1:3]
    np.save(tmp_path / "items.npy", data.items)
    items = np.load(tmp_path / "items.npy", mmap_mode="r")
    opened = SequenceDataset(items, data.offsets, data.vocabulary)
    assert opened.to_lists() == ROWS
    assert np.shares_memory(opened.items, items)


UTC_TIMES = pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"], utc=True)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (UTC_TIMES, np.array(["2020", "2021", "2022"], "M8[s]")),
        (pd.Series(UTC_TIMES.tz_convert("Europe/Berlin")), np.array(["2020", "2021", "2022"], "M8[s]")),
        ([datetime(2020, 1, 1, tzinfo=UTC), date(2021, 1, 1), None], np.array(["2020", "2021", "NaT"], "M8[s]")),
        ([3, None, 2**62], np.array([3, np.iinfo(np.int64).min, 2**62])),
        ([0.5, None, 2], np.array([0.5, np.nan, 2])),
        ([timedelta(hours=1), None, pd.Timedelta("2h")], np.array([1, "NaT", 2], "m8[h]")),
        ([np.timedelta64(1, "h"), timedelta(hours=2), None], np.array([1, 2, "NaT"], "m8[h]")),
        (pd.array([3, None, 5], "Int64"), np.array([3, np.iinfo(np.int64).min, 5])),
    ],
)
def test_times_may_be_objects(times, expected):
    rows = SequenceDataset.from_sequences([[1, 2], [3]]).replace(timestamps=times)
    assert rows.timestamps.dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(rows.timestamps, expected)


@pytest.mark.parametrize("times", [["1", "2", "3"], [True, False, True], [1, "x", 2], [1j, 2, 3], [2**70, 1, 2]])
def test_what_is_no_time_is_refused(times):
    with pytest.raises(ValueError, match=r"timestamps cannot be read at position 0: (times must be|the time 11805)"):
        SequenceDataset.from_sequences([[1, 2], [3]]).replace(timestamps=times)


def test_moments_and_durations_are_no_times_of_one_kind():
    with pytest.raises(ValueError, match=r"at position 2: times must be all moments or all durations; got .*3600"):
        SequenceDataset.from_sequences([[1, 2], [3]]).replace(timestamps=[date(2020, 1, 1), None, timedelta(hours=1)])


@pytest.mark.parametrize("key", [np.array(1), np.array(-1, np.int8), np.uint16(1), torch.tensor(1)])
def test_a_row_may_be_chosen_by_an_integer_without_a_dimension(key):
    assert SequenceDataset.from_sequences([["a", "b"], ["c"]])[key].tolist() == ["c"]


@pytest.mark.parametrize("key", [True, np.True_, np.array(True), torch.tensor(True), 1.0, np.array(1.0), "1", None])
def test_what_is_no_row_number_is_refused(key):
    with pytest.raises(IndexError, match="rows are chosen by an integer"):
        SequenceDataset.from_sequences([["a", "b"], ["c"]])[key]


def test_a_tensor_chooses_rows():
    dataset = SequenceDataset.from_sequences([["a", "b"], ["c"]])
    assert dataset[torch.tensor([1])].to_lists() == [["c"]]
    assert dataset[torch.tensor([True, False])].to_lists() == [["a", "b"]]


def test_times_that_a_sum_would_change_are_refused():
    rows = SequenceDataset.from_sequences([[1]])
    for first, second in (
        (np.array(["9999-12-31"], "M8[us]"), np.array(["2020-01-01"], "M8[ns]")),
        (np.array([1700000000123456789]), np.array([0.5])),
    ):
        with pytest.raises(ValueError, match="cannot be put in one column with those of other datasets"):
            SequenceDataset.concatenate([rows.replace(timestamps=first), rows.replace(timestamps=second)])


@pytest.mark.parametrize("labels", [{1, 2}, {1: 2, 3: 4}, [[1], [2]]])
def test_users_that_are_no_labels_in_order_are_refused(labels):
    with pytest.raises(TypeError, match=r"users must list one label|labels must be hashable; got \[1\] at position 0"):
        SequenceDataset.from_sequences([[1, 2], [3]]).replace(users=labels)


@pytest.mark.parametrize("name", ["items", "offsets", "vocabulary"])
def test_what_every_dataset_has_must_be_given(data, name):
    with pytest.raises(TypeError, match=f"{name} must be given"):
        data.replace(**{name: None})


def test_columns_cannot_be_deleted(data):
    with pytest.raises(AttributeError, match="items cannot be deleted"):
        del data.items


@pytest.mark.parametrize("library", ["numpy", "pandas", "torch"])
def test_what_a_caller_writes_later_changes_nothing(data, library):
    wrap = {"numpy": np.asarray, "pandas": pd.Series, "torch": torch.as_tensor}[library]
    columns_given = {
        "items": data.items.copy(),
        "offsets": data.offsets.copy(),
        "vocabulary": np.arange(data.n_items),
        "weights": np.ones(data.n_interactions, dtype=np.float32),
        "timestamps": np.arange(data.n_interactions),
        "users": np.arange(len(data)),
        "validation": np.zeros(len(data), dtype=np.int64),
    }
    made = SequenceDataset(**{name: wrap(values) for name, values in columns_given.items()})
    replaced = data.replace(**{name: wrap(values) for name, values in columns_given.items() if name != "offsets"})
    converted = SequenceDataset.from_sequences([[1, 0]], vocabulary=wrap(columns_given["vocabulary"]))
    before = {name: values.copy() for name, values in columns_given.items()}
    for values in columns_given.values():
        values[:] = 7
    for name, values in before.items():
        assert np.array_equal(getattr(made, name), values), name
        assert np.array_equal(getattr(replaced, name), values), name
    assert converted.vocabulary.tolist() == before["vocabulary"].tolist()
    assert converted.to_lists() == [[1, 0]]


# Sums


def test_sources_follow_their_rows(regenerated):
    assert regenerated.source.tolist() == [-1] * 6 + [0, 3]
    part = regenerated[[7, 3, 6]]
    assert part.source.tolist() == [1, -1, -1]
    assert part.memory.tolist() == [4, -1, 0]
    assert regenerated[3:].source.tolist() == [-1, -1, -1, -1, 0]


def test_append_puts_rows_behind(data, regenerated):
    assert regenerated[:5].to_lists() == ROWS
    assert regenerated.origin.tolist() == [0] * 5 + [1, 2, 2]
    assert regenerated.free_steps.tolist() == [0] * 6 + [1, 0]
    assert regenerated.originals().to_lists() == ROWS
    assert regenerated.n_original == 5
    assert data.originals() is data


def test_originals_must_come_first(regenerated):
    with pytest.raises(ValueError, match="original rows must come first; row 0 is regenerated"):
        _ = regenerated[[7, 0]].n_original


def test_concatenation_fills_what_a_part_does_not_have(data):
    weighted = data[:2].replace(
        weights=np.full(4, 0.5), users=np.array([8, 9]), timestamps=np.arange(4).astype("datetime64[s]")
    )
    joined = SequenceDataset.concatenate([weighted, data[2:]])
    assert joined.to_lists() == ROWS
    assert joined.weights.tolist() == [0.5] * 4 + [1.0] * 6
    assert joined.users.tolist() == [8, 9, None, None, None]
    assert np.isnat(joined.timestamps[4:]).all()
    assert joined.validation is None


@pytest.mark.parametrize("name", ["users", "domains"])
def test_text_and_numbers_concatenate_as_they_are(name):
    parts = [SequenceDataset.from_sequences([["a"]]).replace(**{name: values}) for values in (["x"], [7], [2**64 - 1])]
    joined = getattr(SequenceDataset.concatenate(parts), name)
    assert joined.tolist() == ["x", 7, 2**64 - 1]
    assert getattr(SequenceDataset.concatenate(parts[1:]), name).tolist() == [7, 2**64 - 1]


def test_missing_times_stay_missing_beside_longer_numbers():
    short = SequenceDataset.from_sequences([["a"]]).replace(timestamps=np.array([-128], dtype=np.int8))
    long = short.replace(timestamps=np.array([5]))
    joined = SequenceDataset.concatenate([short, long])
    assert joined.timestamps.tolist() == [np.iinfo(np.int64).min, 5]
    joined = SequenceDataset.concatenate([joined, short.replace(timestamps=np.array([0.5]))])
    assert np.isnan(joined.timestamps[0])
    with pytest.raises(ValueError, match=r"times of dtype int8 and datetime64\[s\] cannot be put in one column"):
        SequenceDataset.concatenate([short, short.replace(timestamps=np.array([0], dtype="datetime64[s]"))])


def test_domains_that_have_no_missing_value_become_objects_or_longer():
    data = SequenceDataset.from_sequences([["a", "b"]])
    added = np.array([1]), np.array([0, 1]), Origin.MINED
    for domains in ([True, False], ["x", "y"]):
        assert data.replace(domains=np.array(domains)).append(*added).domains.tolist() == [*domains, None]
    unsigned = data.replace(domains=np.array([1, 0], dtype=np.uint8)).append(*added)
    assert unsigned.domains.tolist() == [1, 0, np.iinfo(np.int64).min]


def test_unsigned_times_become_signed_or_are_refused():
    data = SequenceDataset.from_sequences([["a", "b"]])
    assert data.replace(timestamps=np.array([0, 255], dtype=np.uint8)).timestamps.dtype == np.int64
    with pytest.raises(ValueError, match="timestamps cannot be read at position 1: the time 18446744073709551615 is"):
        data.replace(timestamps=np.array([0, 2**64 - 1], dtype=np.uint64))


def test_concatenation_moves_sources(regenerated):
    joined = SequenceDataset.concatenate([regenerated, regenerated])
    assert joined.source[8:].tolist() == [-1] * 6 + [8, 11]


@given(full_datasets(), st.integers(0, 6))
def test_parts_concatenate_to_the_whole(data, cut):
    joined = SequenceDataset.concatenate([data[:cut], data[cut:]])
    assert joined.replace(source=data.source) == data
    # A row that lost its source, because that is in the other part, does not get it back.
    kept = (data.source < cut) == (np.arange(len(data)) < cut)
    assert np.array_equal(joined.source, np.where(kept, data.source, -1))


def test_concatenation_of_pairs(data):
    first = PatternPairs(np.array([0, 1, 1]), np.array([0]), np.array([1, 2]), np.array([0, 2]))
    second = PatternPairs(np.array([0, 0, 2, 2]), np.array([0, 1]), np.array([2, 3, 3, 1]), np.array([0, 2, 4]))
    joined = SequenceDataset.concatenate([data[:2].replace(pairs=first), data[2:].replace(pairs=second)])
    assert joined.pairs.patterns.tolist() == [0, 1, 2]
    assert joined.pairs.offsets.tolist() == [0, 1, 1, 1, 3, 3]
    assert joined[3:4].pairs.patterns.tolist() == [1, 2]


def test_concatenation_refuses_other_vocabularies_and_nothing(data):
    with pytest.raises(ValueError, match="dataset 1 has another vocabulary"):
        SequenceDataset.concatenate([data, SequenceDataset.from_sequences([["x"]])])
    with pytest.raises(ValueError, match="nothing to concatenate"):
        SequenceDataset.concatenate([])
    with pytest.raises(TypeError, match=r"part 1 is a list, not a SequenceDataset; convert it .* first"):
        SequenceDataset.concatenate([data, [["tea"]]])


def test_histories_end_with_the_validation_item(regenerated):
    held_out = regenerated.replace(validation=np.array([2, 0, 3, 1, 1, 0, 0, 0]), users=np.arange(8))
    histories = held_out.histories()
    labels = [None, *held_out.vocabulary]
    expected = [row + ([labels[code]] if code else []) for row, code in zip(ROWS, [2, 0, 3, 1, 1], strict=True)]
    assert histories.to_lists() == expected
    assert histories.validation is None
    assert histories.users.tolist() == [0, 1, 2, 3, 4]


# Columns that do not fit together


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.array([1, 3])}, "start with 0"),
        ({"offsets": 10}, "offsets must be one-dimensional"),
        ({"offsets": []}, "offsets must be one-dimensional and start with 0"),
        ({"offsets": np.array([0, 3, 1, 10])}, "row 1 would have a negative length"),
        ({"offsets": np.array([0, 9])}, "offsets end at 9, but there are 10 items"),
        ({"items": np.zeros(10, dtype=int)}, r"lie in 1\.\.3 .* got 0 in row 0, position 0"),
        ({"items": np.array([1] * 9 + [4])}, "got 4 in row 4, position 3"),
        ({"weights": np.ones(3)}, "weights must have one value for each interaction"),
        ({"users": np.arange(3)}, r"users must have one value for each row, shape \(5,\); got \(3,\)"),
        ({"pairs": PatternPairs.empty(2)}, "pairs are given for 2 rows, the dataset has 5"),
        ({"items": [1.0] * 9 + [1.7]}, "items must hold integers of 64 bits; got 1.7 at position 9"),
        ({"items": [1.0] * 9 + [np.nan]}, "items must hold integers of 64 bits; got nan at position 9"),
        ({"items": ["1"] * 10}, "items must hold integers; got dtype"),
        ({"items": [None] * 10}, "items cannot be read at position 0: the item is missing"),
        ({"items": np.ones((10, 1), dtype=int)}, r"items must be one-dimensional.* got shape \(10, 1\)"),
        ({"offsets": [0, 3, 4.5, 4.5, 6, 10]}, "offsets must hold integers of 64 bits; got 4.5 at position 2"),
        ({"memory": [0, 1, 70_000, 0, 0]}, "memory must hold integers of 16 bits; got 70000 in row 2"),
        ({"origin": [0, 0, 0, 3, 0]}, r"origin must lie in 0\.\.2 \(original, mined, regenerated\); got 3 in row 3"),
        ({"origin": [0, 0, 0, 0, 256]}, "origin must hold integers of 8 bits; got 256 in row 4"),
        ({"source": [-1, 5, 0, 0, 0]}, r"source must lie in -1\.\.4 .*; got 5 in row 1"),
        ({"source": [-1, 0, 0, 0, -2]}, "got -2 in row 4"),
        ({"validation": [0, 1, 4, 0, 0]}, r"validation must lie in 0\.\.3 .*; got 4 in row 2"),
        ({"validation": [0, 0, 0, 0, -1]}, "got -1 in row 4"),
        ({"vocabulary": ["tea", "milk"]}, r"lie in 1\.\.2"),
        ({"vocabulary": ["tea", "milk", "tea"]}, "hold each label once; got 'tea' at positions 0 and 2"),
        ({"vocabulary": [3, 1, 3]}, "hold each label once; got 3 at positions 0 and 2"),
        ({"vocabulary": [3, 1, None]}, "vocabulary cannot be read at position 2: the item is missing"),
        ({"vocabulary": np.ones((3, 2))}, r"vocabulary must be one-dimensional, .* got shape \(3, 2\)"),
    ],
)
def test_columns_that_do_not_fit_are_refused(data, change, message):
    with pytest.raises(ValueError, match=message):
        data.replace(**change)
    given = {name: getattr(data, name) for name in data.__slots__} | change
    with pytest.raises(ValueError, match=message):
        SequenceDataset(**given)


@pytest.mark.parametrize("change", [{"vocabulary": ["tea", "milk"]}, {"offsets": np.array([0, 10])}])
def test_a_changed_column_is_checked_against_those_that_stay(data, change):
    data = data.replace(items=np.ones(10), validation=[0, 0, 0, 0, 3], source=[-1, -1, -1, -1, 2])
    with pytest.raises(ValueError, match=r"validation must|origin must have one value for each row"):
        data.replace(**change)


@pytest.mark.parametrize("offsets", [[], 5])
def test_offsets_that_are_none_are_refused_before_they_are_counted(offsets):
    with pytest.raises(ValueError, match="offsets must be one-dimensional and start with 0"):
        SequenceDataset([1], offsets, [7])


def test_whole_numbers_of_any_kind_are_codes():
    data = SequenceDataset([1.0, 2.0], np.array([0, 2], dtype=object), [5, 6], validation=[np.uint8(1)])
    assert (data.items.dtype, data.offsets.dtype, data.validation.dtype) == (np.int64,) * 3
    assert data.to_lists() == [[5, 6]]


@pytest.mark.parametrize(
    ("weights", "place"),
    [
        ([0.5, None], "None at position 1"),
        (np.array([0.5, 1j]), r".*0\.5.* at position 0"),
        (np.array(["2020", "2021"], dtype="datetime64[us]"), ".*2020.* at position 0"),
        (np.array([1, 2], dtype="timedelta64[s]"), ".*1.* at position 0"),
        (["0.5", "1"], ".*'0.5'.* at position 0"),
    ],
    ids=["None", "complex", "datetime", "timedelta", "text"],
)
def test_weights_that_are_no_numbers_are_refused(weights, place):
    with pytest.raises(ValueError, match=rf"weights must hold numbers; got {place}"):
        SequenceDataset([1, 1], [0, 2], ["a"], weights=weights)


def test_numbers_of_any_kind_are_weights():
    weights = np.array([1, 0.5, np.int8(3), Fraction(1, 4), Decimal("0.25"), True], dtype=object)
    dataset = SequenceDataset([1] * 6, [0, 6], ["a"], weights=weights)
    assert dataset.weights.tolist() == [1, 0.5, 3, 0.25, 0.25, 1]


@pytest.mark.parametrize("name", ["users", "domains"])
@pytest.mark.parametrize(
    "given",
    [
        ["x", 1, ("y", 2), None, 2.5],
        [("x", 1), ("y", 2), ("x", 2), ("z", 1), ("z", 2)],
        [True, "x", 1, 0, False],
        [2**63, -1, 5, 6, 7],
        ["a", "b", "c", "d", "e"],
    ],
    ids=["kinds", "tuples", "booleans", "large", "text"],
)
def test_listed_labels_stay_what_they_are(name, given):
    rows = SequenceDataset.from_sequences([[1]] * 5)
    found = getattr(rows.replace(**{name: given}), name)
    assert found.shape == (5,)
    assert [(type(label), label) for label in found.tolist()] == [(type(label), label) for label in given]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_users_that_are_missing_are_none(missing, tmp_path):
    rows = SequenceDataset.from_sequences([[1, 2], [2, 1]])
    for users in (["x", missing], np.array(["x", missing], dtype=object), pd.Series(["x", missing], dtype=object)):
        named = rows.replace(users=users)
        assert named.users.tolist() == ["x", None]
        assert named == rows.replace(users=np.array(["x", None], dtype=object))
        named.to_recbole(tmp_path, "named")


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([b"a", b"b"]), [b"a", b"b"]),
        (np.array([3, 5], dtype=np.int32), [3, 5]),
        (np.array([3, 5], dtype=np.uint8), [3, 5]),
        (np.array([0.5, 2.5], dtype=np.float32), [0.5, 2.5]),
        (np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"), [date(2020, 1, 1), date(2020, 1, 2)]),
    ],
)
def test_a_vocabulary_of_any_dtype_holds_the_same_labels(typed, same):
    made = SequenceDataset(np.array([1, 2, 2]), np.array([0, 2, 3]), typed)
    assert made == SequenceDataset.from_sequences([same, same[1:]])
    assert len(SequenceDataset.concatenate([made, SequenceDataset.from_sequences([same])])) == 3


def test_times_that_another_units_one_has_no_room_for_are_placed():
    moment = np.datetime64("2020-01-01", "ns")
    for never in (np.datetime64("9999-01-01", "D"), datetime(2300, 1, 1)):
        with pytest.raises(ValueError, match=r"timestamps cannot be read at position 1: .* does not fit in the unit"):
            SequenceDataset(np.array([1, 1]), np.array([0, 2]), ["a"], timestamps=[moment, never])
    for times in (pa.array([moment.item() // 10**9, None], pa.timestamp("s")), [datetime(2020, 1, 1), None]):
        assert SequenceDataset(np.array([1, 1]), np.array([0, 2]), ["a"], timestamps=times).timestamps[0] == moment
    nested = [[datetime(2020, 1, 1), datetime(2020, 1, 2)]]
    with pytest.raises(ValueError, match=r"timestamps must have one value for each interaction, shape \(2,\)"):
        SequenceDataset(np.array([1, 1]), np.array([0, 2]), ["a"], timestamps=nested)
    days = SequenceDataset(np.array([1, 1]), np.array([0, 2]), ["a"], timestamps=[moment, np.datetime64("2021", "D")])
    assert days.timestamps.tolist()[1] == np.datetime64("2021-01-01", "ns").item()


def test_pairs_do_not_change_with_what_they_were_made_of():
    items = np.array([1, 1])
    pairs = PatternPairs([0, 1], [0], items, np.array([0, 2]))
    items[0] = 77
    assert pairs.pattern_items.tolist() == [1, 1]
    assert pairs.take(np.array([0])) == pairs


def test_times_of_nanoseconds_are_seen_again():
    labels = np.array([10, 20, 30]).astype("M8[ns]")
    rows = SequenceDataset(np.array([1, 2, 3, 2, 3, 1]), np.array([0, 3, 6]), labels)
    assert recode(rows, rows.vocabulary.copy()) == rows
    assert rows.to_lists()[0] == list(labels)


@pytest.mark.parametrize("given", [{"a", "b"}, {"a": 1, "b": 2}])
def test_a_vocabulary_without_an_order_is_refused(given):
    with pytest.raises(TypeError, match="vocabulary must list one label an item, in order"):
        check_sequences([["a", "b"]], vocabulary=given)
    with pytest.raises(TypeError, match="vocabulary must list one label an item, in order"):
        SequenceDataset(np.array([1, 2]), np.array([0, 2]), given)


def test_labels_that_are_tuples_stay_one_column(data):
    labels = [(1, 2), (3, 4)]
    assert SequenceDataset([1, 2], [0, 1, 2], labels).to_lists() == [[(1, 2)], [(3, 4)]]
    renamed = data.replace(vocabulary=[*labels, (5, 6)])
    assert renamed.vocabulary.shape == (3,)
    assert renamed[1].tolist() == [(3, 4)]


def test_a_copy_with_other_weights_checks_no_item_again(data, monkeypatch):
    checked = []
    monkeypatch.setattr(columns, "_check_range", lambda name, *_: checked.append(name))
    monkeypatch.setattr(columns, "require_distinct", lambda _: checked.append("vocabulary"))
    data.replace(weights=np.ones(10), users=np.arange(5))
    assert checked == []
    data.replace(vocabulary=[4, 5, 6], validation=np.zeros(5))
    assert checked == ["vocabulary", "validation"]


# What it says


def test_repr_and_html(data, regenerated):
    assert repr(data) == "SequenceDataset(5 rows, 3 items, 10 interactions, mean length 2.0)"
    assert "8 rows (5 original, 1 mined, 2 regenerated)" in repr(regenerated)
    assert "validation items held out" in repr(data.replace(validation=np.array([1, 0, 0, 0, 0])))
    assert "held out" not in repr(data.replace(validation=np.zeros(5, dtype=int)))
    html = regenerated._repr_html_()
    assert html.count("<tr>") == html.count("</tr>") == 8
    assert "<td>17</td>" in html


def test_describe_of_no_rows(data):
    facts = data[:0].describe()
    assert (facts.rows, facts.interactions, facts.mean_length, facts.sparsity) == (0, 0, 0.0, 1.0)
    assert "0 rows" in repr(data[:0])


@given(full_datasets())
def test_sparsity_is_the_share_of_empty_cells(data):
    rows = data.to_lists()
    filled = sum(len(set(row)) for row in rows)
    assert data.describe().sparsity == pytest.approx(1 - filled / (len(rows) * data.n_items) if rows else 1)


def test_statistics_of_mined_rows_are_of_all_rows():
    data = SequenceDataset.from_sequences([[1, 2, 3, 4]] * 3)
    facts = PatternMiner(window=4).fit_transform(data).describe()
    assert (facts.rows, facts.users, facts.mined) == (14, 3, 11)
    assert facts.interactions == 3 * 4 + 6 * 2 + 4 * 3 + 4
    assert facts.sparsity == pytest.approx(1 - facts.interactions / (14 * 4))
    assert 0 < facts.sparsity < 1


@pytest.mark.data
def test_describe_gives_the_published_table_of_beauty(real_file):
    facts = load_sequences(real_file("amazon-beauty.txt")).describe()
    assert (facts.users, facts.items, facts.interactions) == (22363, 12101, 198502)
    assert round(facts.mean_length, 1) == 8.9
    assert f"{facts.sparsity:.2%}" == "99.93%"
    assert "198,502" in str(facts)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([1], TypeError, "pairs must be PatternPairs or None; got a list"),
        (
            PatternPairs(*map(np.array, ([0, 1], [0], [1, 99], [0, 2]))),
            ValueError,
            "pattern_items .* got 99 at 1",
        ),
        (PatternPairs(*map(np.array, ([0, 1], [7], [1, 2], [0, 2]))), ValueError, r"patterns .* 0\.\.0; got 7 at 0"),
        (PatternPairs(*map(np.array, ([0, 2], [0], [1, 2], [0, 2]))), ValueError, "offsets must .* end at 1"),
        (PatternPairs(*map(np.array, ([0, 1], [0], [1, 2], [0, 3]))), ValueError, "pattern_offsets must .* end at 2"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(pairs, error, message):
    data = SequenceDataset.from_sequences([[1, 2, 3]])
    with pytest.raises(error, match=message):
        data.replace(pairs=pairs)
    with pytest.raises(error, match=message):
        SequenceDataset(data.items, data.offsets, data.vocabulary, pairs=pairs)
