"""The only door: everything that holds sequences comes in, everything else gets one clear error."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from dataset_strategies import label_rows, plain_datasets
from hypothesis import given
from scipy import sparse

from seqregen import SequenceDataset
from seqregen.inputs import UnseenItemsWarning, check_sequences, encode_targets, recode
from seqregen.mining import PatternMiner
from seqregen.model_selection import append_targets
from seqregen.pairs import PatternPairs

ROWS = [[3, -1, 3], [], [0], [12, 0]]

FRAME = {"user": [0, 0, 0, 2, 3, 3], "item": [3, -1, 3, 0, 12, 0], "time": [1, 2, 3, 1, 1, 2]}
LIST_TYPE = pa.list_(pa.int64())


def objects(rows):
    return np.fromiter(rows, dtype=object, count=len(rows))


CONTAINERS = {
    "list of lists": ROWS,
    "tuple of tuples": tuple(map(tuple, ROWS)),
    "list of arrays": [np.array(row, dtype=np.int32) for row in ROWS],
    "list of arrays, empty ones of floats": [np.array(row) for row in ROWS],
    "generator of lists": (row for row in ROWS),
    "list of ranges and Series": [pd.Series(row, dtype="int64") for row in ROWS],
    "object array": objects(ROWS),
    "object array of arrays": objects([np.array(row, dtype=int) for row in ROWS]),
    "pandas Series": pd.Series(ROWS),
    "pandas Series, another index": pd.Series(ROWS, index=[9, 9, 1, 2]),
    "pandas Series of Arrow lists": pd.Series(ROWS, dtype=pd.ArrowDtype(LIST_TYPE)),
    "part of a pandas Series of Arrow lists": pd.Series([[7, 8], *ROWS], dtype=pd.ArrowDtype(LIST_TYPE)).iloc[1:],
    "pandas frame of one list column": pd.DataFrame({"id": [1, 2, 3, 4], "items": ROWS}),
    "pandas frame of one Arrow list column": pd.DataFrame({"items": pd.Series(ROWS, dtype=pd.ArrowDtype(LIST_TYPE))}),
    "polars Series": pl.Series(ROWS),
    "polars Series of objects": pl.Series(ROWS, dtype=pl.Object),
    "part of a polars Series": pl.Series([[7, 8], *ROWS])[1:],
    "polars frame": pl.DataFrame({"id": [1, 2, 3, 4], "items": ROWS}),
    "lazy polars frame": pl.LazyFrame({"id": [1, 2, 3, 4], "items": ROWS}),
    "pyarrow array": pa.array(ROWS, LIST_TYPE),
    "pyarrow large list array": pa.array(ROWS, pa.large_list(pa.int32())),
    "part of a pyarrow array": pa.array([[7, 8], *ROWS, [9]], LIST_TYPE)[1:5],
    "pyarrow chunks": pa.chunked_array([pa.array(ROWS[:2], LIST_TYPE), pa.array(ROWS[1:], LIST_TYPE)[1:]]),
    "pyarrow table": pa.table({"id": [1, 2, 3, 4], "items": pa.array(ROWS, LIST_TYPE)}),
    "dataset": SequenceDataset.from_sequences(ROWS),
    "list of tensors": [torch.tensor(row, dtype=torch.int32) for row in ROWS],
    "list of lists of tensors": [[torch.tensor(item) for item in row] for row in ROWS],
    "list of pyarrow arrays": [pa.array(row, pa.int64()) for row in ROWS],
    "list of pyarrow scalars": list(pa.array(ROWS, LIST_TYPE)),
    "list of lists of pyarrow scalars": [[pa.scalar(item) for item in row] for row in ROWS],
    "list of polars Series": [pl.Series(row, dtype=pl.Int64) for row in ROWS],
    "tensors and lists": [torch.tensor(ROWS[0]), *ROWS[1:]],
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_containers_of_rows(container):
    dataset = check_sequences(container)
    assert dataset.to_lists() == ROWS
    assert dataset.vocabulary.tolist() == [-1, 0, 3, 12]
    assert dataset.items.min() == 1


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(FRAME),
        pl.DataFrame(FRAME),
        pl.LazyFrame(FRAME),
        pa.table(FRAME),
        pa.RecordBatch.from_pydict(FRAME),
        pd.DataFrame(FRAME).drop(columns="time"),
    ],
    ids=["pandas", "polars", "lazy polars", "pyarrow table", "pyarrow batch", "no time"],
)
def test_long_frames(frame):
    dataset = check_sequences(frame)
    assert dataset.to_lists() == [[3, -1, 3], [0], [12, 0]]
    assert dataset.users.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 5], [-2, 0]]),
        np.array([[0, 5], [-2, 0]], dtype=np.int16),
        np.array([[0, 5], [-2, 0]], dtype=object),
        np.asfortranarray([[0, 5], [-2, 0]]),
    ],
)
def test_two_dimensional_arrays_are_rows_of_equal_length(array):
    dataset = check_sequences(array)
    assert dataset.offsets.tolist() == [0, 2, 4]
    assert [row.tolist() for row in dataset] == array.tolist()


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_are_arrays():
    assert check_sequences(np.matrix([[1, 2], [3, 4]])).to_lists() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match=r"y must be one-dimensional, one label each; got shape \(1, 2\)"):
        encode_targets(np.matrix([[1, 2]]), np.array([1, 2]), 2)


def test_fixed_size_lists():
    assert check_sequences(pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int16, 2))).to_lists() == [[1, 2], [3, 4]]
    fixed = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32(), 2))
    assert check_sequences(fixed[1:]).to_lists() == [[3, 4], [5, 6]]


@pytest.mark.parametrize(
    "container",
    [
        pa.array([["b", "a"], ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.chunked_array([pa.array([["b", "a"]]), pa.array([["b"]])]),
        pl.Series([["b", "a"], ["b"]], dtype=pl.List(pl.Categorical)),
        pl.Series([["b", "a"], ["b"]], dtype=pl.List(pl.Enum(["z", "b", "a"]))),
        np.array([["b", "a"], ["b", "b"]]),
    ],
    ids=["dictionary", "chunks", "categorical", "enum", "numpy strings"],
)
def test_strings(container):
    dataset = check_sequences(container)
    assert dataset.to_lists()[0] == ["b", "a"]
    assert dataset.vocabulary.tolist() == ["a", "b"]


@given(label_rows())
def test_every_container_gives_the_same_dataset(rows):
    expected = check_sequences(rows)
    assert expected.to_lists() == rows
    type_ = pa.list_(pa.array([label for row in rows for label in row] or [0]).type)
    for container in (pa.array(rows, type_), pl.Series(pa.array(rows, type_)), pd.Series(rows), objects(rows)):
        assert check_sequences(container) == expected


def test_a_dataset_passes_unchanged():
    dataset = SequenceDataset.from_sequences(ROWS)
    assert check_sequences(dataset) is dataset


def test_pandas_and_the_like_are_not_imported_for_lists():
    script = (
        "import sys; from seqregen.inputs import check_sequences; check_sequences([[1, 2], [2]]);"
        "sys.exit(any(name in sys.modules for name in ('pandas', 'polars', 'pyarrow', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


# Bad input

NAN = float("nan")
BAD_INPUT = {
    "no rows": ([], ValueError, r"X has 0 sample\(s\) \(rows\) while a minimum of 1 is required"),
    "empty array": (np.zeros((0, 3)), ValueError, "0 sample"),
    "no columns": (np.zeros((3, 0)), ValueError, r"0 feature\(s\)"),
    "empty polars": (pl.Series([], dtype=pl.List(pl.Int64)), ValueError, "0 sample"),
    "None as an item": ([[1], [2, None]], ValueError, "X cannot be read at row 1, position 1: .*missing"),
    "NaN among integers": ([[1, NAN], [2]], ValueError, "row 0, position 1: .*missing"),
    "NaN among floats": ([[], [0.5], [0.5, NAN]], ValueError, "row 2, position 1: .*NaN"),
    "NaN in an array": (np.array([[1.0, 2.0], [3.0, NAN]]), ValueError, "row 1, position 1: .*NaN"),
    "pandas NA": (pd.Series([[1], [pd.NA]]), ValueError, "row 1, position 0: .*missing"),
    "NaT": ([[pd.Timestamp(0)], [pd.NaT]], ValueError, "row 1, position 0: .*missing"),
    "infinity": (np.array([[np.inf]]), ValueError, "row 0, position 0: .*inf"),
    "null in Arrow": (pa.array([[1], [2, None]]), ValueError, "row 1, position 1: .*missing"),
    "null in polars": (pl.Series([[], [1], [2, None]]), ValueError, "row 2, position 1: .*missing"),
    "only nulls in Arrow": (pa.array([[None]]), ValueError, "row 0, position 0: .*missing"),
    "missing in pandas' integers": (
        [np.array([1, 2]), pd.Series([3, None], dtype="Int64")],
        ValueError,
        "row 1, position 1: .*missing",
    ),
    "missing in numpy's strings": (
        np.array([["a", None]], dtype=np.dtypes.StringDType(na_object=None)),
        ValueError,
        "row 0, position 1: .*missing",
    )
    if hasattr(np.dtypes, "StringDType")
    else ([[None]], ValueError, "missing"),
    "mixed labels": ([[1, 2], [3, "a"]], ValueError, "row 1, position 1: .*kind string, .*kind integer"),
    "int and float": ([[1], [1.5]], ValueError, "row 1, position 0: .*kind float"),
    "null row of Arrow": (pa.array([[1], None]), ValueError, "row 1 of X is null"),
    "null row of polars": (pl.Series([[1], None]), ValueError, "row 1 of X is null"),
    "None as a row": ([[1], None], ValueError, "row 1 is the single value None"),
    "nested items": (pa.array([[[1]]]), ValueError, "nested"),
    "nested polars": (pl.Series([[[1]]]), ValueError, "nested"),
    "no collection": (5, TypeError, "must hold one sequence of items a row; got int"),
    "a string": ("abc", TypeError, "got the single string 'abc'"),
    "a file's name": ("r.txt", TypeError, r"'r.txt'.*seqregen.datasets.load_sequences\(path\) reads files"),
    "a path": (Path("r.txt"), TypeError, r"Path\('r.txt'\).*load_sequences\(path\) reads files"),
    "rows of strings": (["abc", "d"], ValueError, "row 0 is the single value 'abc'"),
    "flat list": ([1, 2, 3], ValueError, "row 0 is the single value 1.*Reshape your data"),
    "flat array": (np.arange(3), ValueError, "Reshape your data"),
    "flat Series": (pd.Series([1, 2]), ValueError, "Reshape your data"),
    "flat polars": (pl.Series([1, 2]), ValueError, "column of lists"),
    "flat Arrow": (pa.array([1, 2]), ValueError, "column of lists"),
    "scalar array": (np.array(3), ValueError, "the scalar"),
    "three dimensions": (np.zeros((2, 2, 2)), ValueError, "dim 3"),
    "tensors of two dimensions": ([torch.zeros(2, 2)], ValueError, r"row 0 of X .* shape \(2, 2\)"),
    "scalar tensors": ([torch.tensor(1)], ValueError, r"row 0 of X .* shape \(\)"),
    "rows of two dimensions": ([np.zeros((2, 2))], ValueError, r"row 0 of X .* shape \(2, 2\)"),
    "rows without order": ([{1, 2}], ValueError, "ordered sequence .* got set"),
    "a set of rows": ({("a", "b"), ("c",)}, TypeError, "X must list one sequence of items a row, in order; got a set"),
    "a dict of rows": ({("a", "b"): 1}, TypeError, r"got a dict\. Pass list\(values\.values\(\)\)"),
    "complex": (np.array([[1j]]), ValueError, "Complex data not supported"),
    "sparse": (sparse.csr_array(np.eye(2)), TypeError, "sparse"),
    "unhashable items": ([[{}]], TypeError, "row 0, position 0: .*hashable"),
    "frame of numbers": (pd.DataFrame({"a": [1], "b": [2]}), ValueError, "columns 'a', 'b': .*no column of lists"),
    "two list columns": (pl.DataFrame({"a": [[1]], "b": [[2]]}), ValueError, r"found 2 columns of lists \('a', 'b'\)"),
}


@pytest.mark.parametrize(("sequences", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input(sequences, error, message):
    with pytest.raises(error, match=message):
        check_sequences(sequences)


def test_messages_use_the_given_name():
    with pytest.raises(ValueError, match="histories cannot be read"):
        check_sequences([[None]], name="histories")


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float64, object, str])
def test_masked_items_are_missing(dtype):
    array = np.ma.masked_array(np.array([[10, 20], [30, 40]]).astype(dtype), mask=[[0, 0], [0, 1]])
    for masked in (array, list(array), objects(array), [[10, 20], [30, np.ma.masked]]):
        with pytest.raises(ValueError, match=r"X cannot be read at row 1, position 1: the item is missing \(masked\)"):
            check_sequences(masked)
    for unmasked in (array[:, :1], list(array[:, :1])):
        assert check_sequences(unmasked) == check_sequences(array.data[:, :1])


def test_masked_labels_are_missing():
    masked = np.ma.masked_array([1, 2], mask=[0, 1])
    with pytest.raises(ValueError, match=r"y cannot be read at position 1: the item is missing \(masked\)"):
        encode_targets(masked, np.array([1, 2]), 2)
    assert encode_targets(np.ma.masked_array([2, 1]), np.array([1, 2]), 2).tolist() == [2, 1]
    with pytest.raises(ValueError, match="weights must not hold masked values; got one at position 1"):
        SequenceDataset([1, 1], [0, 2], ["a"], weights=masked)


def test_rows_of_signed_and_unsigned_numbers():
    rows = [np.array([2**63 + 1], dtype=np.uint64), np.array([2**53 + 1, -1])]
    assert check_sequences(rows).to_lists() == [[2**63 + 1], [2**53 + 1, -1]]


def test_empty_rows_stay_in_place():
    assert check_sequences([[], [1], []]).lengths.tolist() == [0, 1, 0]
    assert check_sequences([[], []]).n_items == 0
    with pytest.raises(ValueError, match="2 rows and all of them are empty"):
        check_sequences([[], []], require_items=True)


# Another vocabulary


def test_unseen_items_are_left_out_with_one_warning():
    with pytest.warns(UnseenItemsWarning, match=r"holds 2 item\(s\) .*\('x', 'y'\).* 3 occurrence\(s\)") as caught:
        dataset = check_sequences([["a", "x", "b"], ["x"], ["y", "a"]], vocabulary=["b", "a"])
    assert len(caught) == 1
    assert dataset.to_lists() == [["a", "b"], [], ["a"]]
    assert dataset.vocabulary.tolist() == ["b", "a"]


def test_many_unseen_items_are_not_all_listed():
    with pytest.warns(UnseenItemsWarning, match=r"\(1, 2, 3, \.\.\.\)"):
        check_sequences([[1, 2, 3, 4]], vocabulary=[9])


def test_known_items_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = check_sequences([[5, 7]], vocabulary=np.array([7, 6, 5]))
    assert dataset.items.tolist() == [3, 1]


@pytest.mark.parametrize("make", [pa.array, pl.Series, torch.tensor, pd.Index])
def test_the_vocabulary_may_be_an_array_of_any_library(make):
    assert check_sequences([[1, 2]], vocabulary=make([2, 1])).items.tolist() == [2, 1]


def test_a_vocabulary_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match=r"vocabulary cannot be read at position 1: the item is missing \(None\)"):
        check_sequences([[1]], vocabulary=[1, None])


@pytest.mark.parametrize("rows", [[[1, 2]], [[], []]])
def test_a_vocabulary_that_holds_a_label_twice_is_refused(rows):
    with pytest.raises(ValueError, match="must hold each label once; got 1 at positions 0 and 1"):
        check_sequences(rows, vocabulary=[1, 1, 2, 3])


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_sequences([[1, 3]], vocabulary=[1, 2]),
        lambda: SequenceDataset.from_sequences([[1, 3]], vocabulary=[1, 2]),
        # Here a frame of scikit-learn, which wraps transform, stands between.
        lambda: PatternMiner().fit([[1, 2], [1, 2]]).transform([[1, 3]]),
    ],
    ids=["check_sequences", "from_sequences", "transform"],
)
def test_the_warning_points_at_the_line_of_the_caller(call):
    with pytest.warns(UnseenItemsWarning) as caught:
        call()
    assert (caught[0].filename, caught[0].lineno) == (__file__, call.__code__.co_firstlineno)


# Targets


def test_targets_are_codes_of_the_vocabulary():
    assert encode_targets(pa.array([5, 9, 7]), np.array([7, 5]), 3).tolist() == [2, 0, 1]


def test_targets_of_which_none_is_known_are_warned_of():
    message = r"none of the 2 label\(s\) of y .* 3 items .* y holds '1' \(str\), the items are such as 1 \(int\)"
    with pytest.warns(UserWarning, match=message) as caught:
        assert encode_targets(["1", "2"], np.array([1, 2, 3]), 2).tolist() == [0, 0]
    assert caught[0].filename == __file__


def test_true_is_not_the_item_1():
    with pytest.warns(UnseenItemsWarning, match=r"not seen in fit \(True\)"):
        assert check_sequences([[True]], vocabulary=[1, 2]).to_lists() == [[]]
    with pytest.warns(UserWarning, match="none of the 1 label"):
        assert encode_targets([True], np.array([1, 2]), 1).tolist() == [0]


def test_targets_that_do_not_fit():
    vocabulary = np.array([1, 2])
    with pytest.raises(ValueError, match="y is required"):
        encode_targets(None, vocabulary, 2)
    with pytest.raises(ValueError, match="one label for each of the 2 original rows; got 3"):
        encode_targets([1, 2, 1], vocabulary, 2)


@pytest.mark.parametrize("y", [{1: 5, 2: 6}, {1, 2}, frozenset([1, 2])])
def test_targets_without_an_order_are_refused(y):
    with pytest.raises(TypeError, match=rf"y must list one label a row, in order; got a {type(y).__name__}"):
        encode_targets(y, np.array([1, 2]), 2)
    with pytest.raises(TypeError, match="y must list one label a row, in order"):
        append_targets([[1], [2]], y)


def test_recoding_carries_the_other_columns_along():
    dataset = check_sequences([["a", "x"], ["b"]]).replace(
        weights=np.array([0.1, 0.2, 0.3]), timestamps=np.array([1, 2, 3]), users=np.array([8, 9]), validation=[3, 1]
    )
    with pytest.warns(UnseenItemsWarning):
        recoded = recode(dataset, np.array(["b", "a"], dtype=object))
    assert recoded.timestamps.tolist() == [1, 3]
    assert recoded.weights.tolist() == pytest.approx([0.1, 0.3])
    assert recoded.users.tolist() == [8, 9]
    assert recoded.validation.tolist() == [0, 2]


def test_an_unseen_validation_item_is_warned_of():
    dataset = check_sequences([["a", "b"], ["b", "a"], ["x"]]).replace(validation=[3, 1, 0])[:2]
    with pytest.warns(UnseenItemsWarning, match=r"1 item\(s\) .* \('x'\); their 1 occurrence"):
        recoded = recode(dataset, np.array(["a", "b"], dtype=object))
    assert recoded.validation.tolist() == [0, 1]
    assert recoded.to_lists() == dataset.to_lists()


def test_recoding_keeps_pairs_where_it_can():
    pairs = PatternPairs(np.array([0, 1]), np.array([0]), np.array([1, 2]), np.array([0, 2]))
    dataset = check_sequences([["a", "b", "x"]]).replace(pairs=pairs)
    kept = recode(dataset, np.array(["x", "b", "a"], dtype=object))
    assert kept.pairs.pattern_items.tolist() == [3, 2]
    with pytest.warns(UnseenItemsWarning):
        assert recode(dataset, np.array(["a", "x"], dtype=object)).pairs is None


@given(plain_datasets())
def test_recoding_to_and_fro_changes_nothing(dataset):
    backward = recode(dataset, dataset.vocabulary[::-1])
    assert backward.to_lists() == dataset.to_lists()
    assert recode(backward, dataset.vocabulary) == dataset
