"""Labels become codes, whatever kind they are."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from dataset_strategies import FLOATS, INTEGERS, WORDS
from hypothesis import given
from hypothesis import strategies as st

from seqregen.labels import (
    LabelError,
    as_label_array,
    blocks,
    build_vocabulary,
    encode_labels,
    is_missing,
    read_labels,
    same_vocabulary,
)

TUPLES = st.tuples(st.integers(0, 3), WORDS)
KINDS = st.sampled_from([INTEGERS, st.integers(-5, 5), FLOATS, WORDS, TUPLES, st.booleans(), st.binary(max_size=3)])


@given(KINDS.flatmap(st.lists))
def test_codes_stand_for_the_labels(labels):
    vocabulary, codes = build_vocabulary(as_label_array(labels))
    assert vocabulary[codes - 1].tolist() == labels
    assert len(set(vocabulary.tolist())) == len(vocabulary)
    assert set(vocabulary.tolist()) == set(labels)
    assert vocabulary.tolist() == sorted(set(labels))
    assert encode_labels(as_label_array(labels), vocabulary).tolist() == codes.tolist()


@given(KINDS.flatmap(lambda kind: st.tuples(st.lists(kind, unique=True), st.lists(kind))))
def test_unknown_labels_have_code_zero(catalogue_and_labels):
    catalogue, labels = catalogue_and_labels
    codes = encode_labels(as_label_array(labels), as_label_array(catalogue))
    assert codes.tolist() == [catalogue.index(label) + 1 if label in catalogue else 0 for label in labels]


@pytest.mark.parametrize(
    "labels", [np.array([-(2**63), 0, 2**63 - 1]), np.array([0, 10**9]), np.array([7]), np.arange(70_000) * 3]
)
def test_narrow_and_wide_integers(labels):
    vocabulary, codes = build_vocabulary(labels)
    assert vocabulary.tolist() == sorted(labels.tolist())
    assert np.array_equal(vocabulary[codes - 1], labels)
    probes = np.concatenate([labels, [-(2**63), 2**63 - 1, 5]])
    known = {label: code for code, label in enumerate(vocabulary.tolist(), start=1)}
    assert encode_labels(probes, vocabulary).tolist() == [known.get(label, 0) for label in probes.tolist()]


def test_many_labels_are_coded_by_blocks():
    labels = np.random.default_rng(0).integers(-1000, 1000, size=(1 << 20) + 5)
    vocabulary, codes = build_vocabulary(labels)
    expected, inverse = np.unique(labels, return_inverse=True)
    assert np.array_equal(vocabulary, expected)
    assert np.array_equal(codes, inverse + 1)
    assert np.array_equal(encode_labels(labels, vocabulary), codes)


def test_labels_that_cannot_be_compared_stay_in_order_of_appearance():
    vocabulary, codes = build_vocabulary(as_label_array([(1, "a"), ("a", 1), (1, "a")]))
    assert vocabulary.tolist() == [(1, "a"), ("a", 1)]
    assert codes.tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([1, np.int8(2)], np.int64),
        ([0.5, np.float32(2)], np.float64),
        (["a", np.str_("b")], object),
        ([True, False], object),
        (np.array(["a", "b"]), object),
        (np.array([1, 2], dtype=np.uint8), np.int64),
        (np.array([1, 2], dtype=np.float32), np.float64),
        (np.array([True, False]), object),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), object),
        ([2**70, 2**71], object),
        ([(1, 2), (3, 4)], object),
        ([], np.int64),
        ((number for number in (1, 2)), np.int64),
    ],
)
def test_dtypes(labels, dtype):
    array = as_label_array(labels)
    assert array.dtype == dtype
    assert array.ndim == 1


ARRAYS = {
    "pyarrow": pa.array,
    "pyarrow chunks": lambda labels: pa.chunked_array([labels[:1], labels[1:]]),
    "pyarrow scalars": lambda labels: [pa.scalar(label) for label in labels],
    "pandas": pd.Series,
    "pandas index": pd.Index,
    "nullable pandas": lambda labels: pd.Series(labels).convert_dtypes(),
    "polars": pl.Series,
}
TENSORS = {
    "tensor": torch.tensor,
    "tensor with gradients": lambda labels: torch.tensor(labels, dtype=torch.float64, requires_grad=True),
    "scalar tensors": lambda labels: [torch.tensor(label) for label in labels],
    "arrays without dimension": lambda labels: [np.array(label) for label in labels],
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("labels", [[3, 1, 3], [0.5, 0.25, 0.5], ["b", "a", "b"]], ids=["int", "float", "str"])
def test_arrays_and_scalars_of_other_libraries_are_the_labels_that_they_hold(make, labels):
    array = as_label_array(make(labels))
    assert array.dtype == as_label_array(labels).dtype
    assert array.tolist() == labels


@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS)
def test_tensors_are_the_labels_that_they_hold(make):
    array = as_label_array(make([3, 1, 3]))
    assert array.dtype in (np.int64, np.float64)
    assert array.tolist() == [3, 1, 3]


@pytest.mark.parametrize("dtype", ["datetime64[D]", "datetime64[s]", "datetime64[ns]", "timedelta64[m]"])
def test_times_one_by_one_are_the_times_of_their_array(dtype):
    times = np.array([5, 3], dtype="int64").astype(dtype)
    assert encode_labels(as_label_array(list(times)), as_label_array(times)).tolist() == [1, 2]
    assert not isinstance(as_label_array(times)[0], int)


def test_nanoseconds_are_no_numbers():
    for times in (np.array([5, 6], "timedelta64[ns]"), np.array([5, 6], "datetime64[ns]")):
        assert set(map(type, as_label_array(list(times)))) == {times.dtype.type}
        with pytest.raises(ValueError, match=r"of kind string, the ones before are of kind (timedelta64|datetime64)"):
            as_label_array([times[0], "a"])


@pytest.mark.parametrize("make", [np.uint64, lambda numbers: list(np.uint64(numbers))])
def test_unsigned_integers_of_all_64_bits_are_labels(make):
    numbers = [2**63, 7, 2**64 - 1]
    array = as_label_array(make(numbers))
    assert array.tolist() == numbers
    assert set(map(type, array)) == {int}
    assert encode_labels(array, as_label_array(numbers)).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.ones((3, 1)), ValueError, r"y must be one-dimensional, one label each; got shape \(3, 1\)"),
        (torch.ones(3, 1), ValueError, r"y must be one-dimensional, .* got shape \(3, 1\)"),
        ([1, None], ValueError, r"y cannot be read at position 1: the item is missing \(None\)"),
        ([1, []], TypeError, r"y cannot be read at position 1: .* got \[\] of type list"),
        ("abc", TypeError, "y must be a list or an array of labels; got 'abc'"),
        (5, TypeError, "y must be a list or an array of labels; got 5"),
    ],
)
def test_labels_of_a_user_are_refused_by_their_name(labels, error, message):
    with pytest.raises(error, match=message):
        read_labels(labels, "y")


def test_arrays_of_several_dimensions_are_no_labels():
    with pytest.raises(ValueError, match=r"one-dimensional; got an array of shape \(2, 1\)"):
        as_label_array(np.ones((2, 1)))


def test_tuples_of_one_length_stay_labels():
    assert as_label_array([(1, 2), (3, 4)]).tolist() == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("labels", "position", "message"),
    [
        ([1, None, 2], 1, "missing"),
        (["a", "b", float("nan")], 2, "missing"),
        ([1, float("nan")], 1, "missing"),
        ([0.5, float("nan")], 1, "NaN"),
        (np.array([0.5, np.nan]), 1, "NaN"),
        ([0.5, float("inf")], 1, "inf"),
        (np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"), 1, "NaT"),
        ([1, "a"], 1, "'a' is of kind string, the ones before are of kind integer"),
        (["a", 1], 1, "kind integer, .* kind string"),
        ([1, True], 1, "kind boolean"),
        ([1, 2.5], 1, "kind float"),
        ([(1, 2), "a"], 1, "kind string, .* kind tuple"),
        (pa.array(["a", None]), 1, "missing"),
        ([pa.scalar("a"), pa.scalar(None)], 1, "missing"),
        ([np.datetime64("2020-01-01"), np.datetime64("NaT", "D")], 1, "missing"),
        ([torch.tensor([1, 2])], 0, "hashable"),
        ([["a"], ["b"]], 0, "hashable"),
        ([(1, 2), ([], 1)], 1, "not hashable"),
        ([{"a": 1}], 0, "hashable"),
    ],
)
def test_labels_that_cannot_be_items(labels, position, message):
    with pytest.raises(LabelError, match=message) as caught:
        as_label_array(labels)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1j]), "Complex"),
        ([1j, 2j], "Complex"),
        (np.array([(1, 2)], dtype=[("a", int), ("b", int)]), "not supported"),
    ],
)
def test_arrays_that_cannot_be_items(labels, message):
    with pytest.raises(ValueError, match=message):
        as_label_array(labels)


def test_booleans_are_no_numbers():
    for numbers in (np.array([0, 1]), np.array([0.0, 1.0]), np.array([1, 2**70], dtype=object)):
        assert encode_labels(as_label_array([True, False]), numbers).tolist() == [0, 0]
        assert encode_labels(numbers, as_label_array([False, True])).tolist() == [0, 0]
    assert encode_labels(as_label_array([True]), np.array([False, True])).tolist() == [2]


def test_decimals_that_are_no_numbers_are_missing():
    numbers = [decimal.Decimal("1.5"), decimal.Decimal("NaN")]
    with pytest.raises(LabelError, match=r"the item is missing \(Decimal\('NaN'\)\)") as caught:
        as_label_array(numbers)
    assert caught.value.position == 1
    assert as_label_array(numbers[:1]).tolist() == numbers[:1]


def test_dates_are_labels_like_any_other():
    days = [datetime.date(2020, 1, 2), datetime.date(2020, 1, 1)]
    assert build_vocabulary(as_label_array(days))[0].tolist() == sorted(days)


def test_missing_values():
    assert is_missing(np.array([1.0, np.nan])).tolist() == [False, True]
    assert is_missing(np.array(["NaT", "2020"], dtype="datetime64[D]")).tolist() == [True, False]
    assert is_missing(np.array([None, "a", float("nan")], dtype=object)).tolist() == [True, False, True]
    assert is_missing(np.array([0, 1])).tolist() == [False, False]


def test_same_vocabulary():
    first = np.array([1, 2])
    assert same_vocabulary(first, first.copy())
    assert not same_vocabulary(first, first[::-1])
    assert not same_vocabulary(first, first.astype(float))
    assert not same_vocabulary(first, np.array([1, 2, 3]))


@given(st.integers(0, 50), st.integers(1, 20))
def test_blocks_cover_everything_once(length, size):
    covered = [place for block in blocks(length, size) for place in range(length)[block]]
    assert covered == list(range(length))


def test_large_integers_and_floats_are_compared_exactly():
    # As floats both would be one number.
    assert encode_labels(np.array([2.0**53, 5.0]), np.array([5, 2**53 + 1])).tolist() == [0, 1]
    assert encode_labels(np.array([2**53 + 1, 5]), np.array([2.0**53, 5.0])).tolist() == [0, 2]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("values", "place"), [(["a", None, "b"], 1), ([2**60 + 1, 5, None], 2)])
def test_missing_entries_of_a_dictionary_are_missing(values, place, chunked):
    labels = pa.array(values).dictionary_encode()
    with pytest.raises(LabelError) as caught:
        as_label_array(pa.chunked_array([labels]) if chunked else labels)
    assert caught.value.position == place


@pytest.mark.parametrize("values", [["b", "a"], [2**60 + 1, 5]])
def test_entries_of_a_dictionary_are_its_labels(values):
    labels = pa.array(values).dictionary_encode()
    assert as_label_array(labels).tolist() == as_label_array(pa.chunked_array([labels])).tolist() == values
    assert as_label_array(pa.chunked_array([], labels.type)).tolist() == []


@pytest.mark.parametrize("value", [np.str_("a"), np.bytes_(b"a"), np.True_])
def test_scalars_of_numpy_are_labels_of_python(value):
    for labels in ([value, value], np.fromiter([value, value], dtype=object)):
        assert set(map(type, as_label_array(labels))) == {type(value.item())}
