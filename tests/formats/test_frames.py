"""Long frames, in and out."""

from __future__ import annotations

import datetime
import subprocess
import sys
import tracemalloc
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_strategies import FLOATS, INTEGERS, WORDS, plain_datasets
from hypothesis import example, given
from hypothesis import strategies as st

from seqregen import Origin, SequenceDataset
from seqregen.formats import from_frame, to_frame
from seqregen.formats.columns import encode_column
from seqregen.inputs import check_sequences
from seqregen.model_selection import append_targets, leave_one_out
from seqregen.optional import package_of

LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "lazy": pl.LazyFrame, "pyarrow": pa.table}
over_libraries = pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)


@over_libraries
def test_rows_are_users_sorted_by_time(make):
    frame = make({"user": ["v", "u", "v", "u", "v"], "item": [5, 6, 7, 8, 9], "time": [3, 9, 1, 2, 2]})
    dataset = from_frame(frame)
    assert dataset.users.tolist() == ["v", "u"]
    assert dataset.to_lists() == [[7, 9, 5], [8, 6]]
    assert dataset.timestamps.tolist() == [1, 2, 3, 2, 9]


@over_libraries
def test_equal_times_and_equal_rows_keep_the_order_of_the_frame(make):
    frame = make({"user": [1, 2, 1, 1, 2, 1], "item": list("cbaaxb"), "time": [5, 5, 5, 5, 5, 1]})
    assert from_frame(frame).to_lists() == [["b", "c", "a", "a"], ["b", "x"]]


@over_libraries
def test_without_times_the_order_of_the_frame_counts(make):
    columns = {"user": [1, 2, 1], "item": ["b", "c", "a"]}
    assert from_frame(make(columns)).to_lists() == [["b", "a"], ["c"]]
    assert from_frame(make(columns)).timestamps is None
    assert from_frame(make({**columns, "time": [2, 2, 1]}), time=None).to_lists() == [["b", "a"], ["c"]]


@over_libraries
@pytest.mark.parametrize(
    ("column", "times"),
    [
        ("timestamp", [2, 1]),
        ("Time", [2, 1]),
        ("bought", [datetime.datetime(2020, 1, 2), datetime.datetime(2020, 1, 1)]),
    ],
)
def test_a_column_of_times_that_is_called_otherwise_is_not_passed_by_in_silence(make, column, times):
    frame = make({"user": [1, 1], "item": ["b", "a"], column: times})
    message = f"the frame has no column 'time', .* time='{column}' .*--time {column}\\) sorts by them"
    with pytest.warns(UserWarning, match=message):
        assert from_frame(frame).to_lists() == [["b", "a"]]
    assert from_frame(frame, time=column).to_lists() == [["a", "b"]]
    # Warnings are errors here.
    assert from_frame(frame, time=None).to_lists() == [["b", "a"]]
    assert from_frame(make({"user": [1, 1], "item": ["b", "a"], "rating": [2, 1]})).to_lists() == [["b", "a"]]


@over_libraries
def test_other_names_and_carried_columns(make):
    frame = make({"u": [1, 1], "i": ["b", "a"], "when": [2, 1], "weight": [0.5, 2.0], "domain": ["food", "books"]})
    dataset = from_frame(frame, user="u", item="i", time="when")
    assert dataset.to_lists() == [["a", "b"]]
    assert dataset.weights.tolist() == [2.0, 0.5]
    assert dataset.domains.tolist() == ["books", "food"]


KINDS = [INTEGERS, st.integers(0, 5), WORDS, FLOATS]


@given(st.sampled_from(KINDS).flatmap(lambda kind: st.lists(st.tuples(kind, kind, st.integers(0, 9)), min_size=1)))
def test_agrees_with_sorting_lists(interactions):
    expected: dict = {}
    for user, item, time in interactions:
        expected.setdefault(user, []).append((time, item))
    for rows in expected.values():
        rows.sort(key=lambda pair: pair[0])
    columns = dict(zip(("user", "item", "time"), map(list, zip(*interactions, strict=True)), strict=True))
    datasets = [from_frame(make(columns)) for make in LIBRARIES.values()]
    for dataset in datasets:
        assert dataset.users.tolist() == list(expected)
        assert dataset.to_lists() == [[item for _, item in rows] for rows in expected.values()]
        assert dataset == datasets[0]


TIMES = ["2020-01-02T03:04:05", "2020-01-01T00:00:00", "2020-01-01T00:00:01"]


@pytest.mark.parametrize(
    "times",
    [
        np.array(TIMES, dtype="datetime64[ns]"),
        np.array(TIMES, dtype="datetime64[s]"),
        pd.Series(pd.to_datetime(TIMES)).dt.tz_localize("Asia/Tokyo"),
        pd.Series(pd.to_datetime(TIMES), dtype=pd.ArrowDtype(pa.timestamp("us"))),
        pd.Series([9, 1, 2], dtype="Int64"),
        pd.Series([9, 1, 2], dtype=pd.ArrowDtype(pa.int32())),
        np.array([9.5, 1.5, 2.5], dtype=np.float32),
        np.array([9, 1, 2], dtype="timedelta64[s]"),
        np.array([9, 1, 2], dtype=np.uint8),
    ],
)
def test_kinds_of_time(times):
    dataset = from_frame(pd.DataFrame({"user": [1, 1, 1], "item": ["c", "a", "b"], "time": times}))
    assert dataset.to_lists() == [["a", "b", "c"]]
    assert dataset.timestamps.dtype.kind in "iufmM"


@over_libraries
def test_dates_are_times(make):
    dates = [datetime.date(2020, 1, 3), datetime.date(2019, 12, 31), datetime.date(2020, 1, 2)]
    dataset = from_frame(make({"user": [1, 1, 1], "item": ["c", "a", "b"], "time": dates}))
    assert dataset.to_lists() == [["a", "b", "c"]]
    assert dataset.timestamps[0] == np.datetime64("2019-12-31")


DAY = datetime.datetime(2020, 1, 3)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([DAY.date(), DAY - datetime.timedelta(hours=1)], ["2020-01-03T00", "2020-01-02T23"]),
        ([DAY.replace(tzinfo=datetime.UTC), datetime.datetime(2020, 1, 2, 23)], ["2020-01-03T00", "2020-01-02T23"]),
        ([7, 2**40], [7, 2**40]),
        ([7, 0.5], [7, 0.5]),
        ([datetime.timedelta(hours=2), datetime.timedelta(hours=1)], [np.timedelta64(2, "h"), np.timedelta64(1, "h")]),
    ],
)
def test_times_may_be_objects(times, expected):
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "time": pd.Series(times, dtype=object)})
    assert from_frame(frame).timestamps.tolist() == np.array(expected, from_frame(frame).timestamps.dtype).tolist()


def test_objects_that_are_no_times_are_named():
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "time": pd.Series([DAY, (1, 2)], dtype=object)})
    with pytest.raises(ValueError, match=r"row 1 .*, column 'time': times must be numbers, .* got \(1, 2\)"):
        from_frame(frame)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("times", [None, [3, 3, 3, 4, 1]])
def test_a_frame_of_to_frame_may_be_shuffled(library, times):
    dataset = SequenceDataset.from_sequences([["d", "a", "c", "b"], ["a"]]).replace(users=["u", "v"], timestamps=times)
    frame = dataset.to_frame(library)[::-1]
    found = from_frame(frame)
    assert dict(zip(found.users.tolist(), found.to_lists(), strict=True)) == {"u": ["d", "a", "c", "b"], "v": ["a"]}
    if times is None:
        assert from_frame(frame, time=None).to_lists()[1] == ["b", "c", "a", "d"]


@pytest.mark.parametrize(
    "name", ["bought_at", "createdAt", "eventTime", "ts", "event_ts", "Date", "unixReviewTime", "last time"]
)
def test_columns_that_are_called_as_times_are_told(name):
    frame = pd.DataFrame({"user": [1], "item": [1], name: ["2020-01-03"]})
    with pytest.warns(UserWarning, match=f"Its column '{name}' seems to hold times"):
        from_frame(frame)


@pytest.mark.parametrize("name", ["candidate", "look", "format", "rate", "facts", "Flat"])
@pytest.mark.filterwarnings("error")
def test_columns_that_are_not_called_as_times(name):
    from_frame(pd.DataFrame({"user": [1], "item": [1], name: ["2020-01-03"]}))


def test_a_wrong_entry_of_a_dictionary_is_told_with_its_row():
    items = pa.DictionaryArray.from_arrays([1, 1, 0], [float("nan"), 2.5])
    with pytest.raises(ValueError, match=r"row 2 .*, column 'item': the item is NaN"):
        from_frame(pa.table({"user": [1, 1, 1], "item": items}))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("dtype", ["timedelta64[ns]", "datetime64[ns]"])
def test_items_and_users_a_nanosecond_apart_are_two(make, dtype):
    times = np.array([5, 6], dtype)
    items = from_frame(make({"user": [1, 1], "item": times, "time": [0, 1]}))
    assert items.to_lists() == [list(times)]
    assert set(map(type, items.vocabulary)) == {times.dtype.type}
    assert len(from_frame(make({"user": times, "item": [1, 1], "time": [0, 1]}))) == 2


def test_times_with_a_zone_become_utc():
    times = pd.Series(pd.to_datetime(["2020-01-01T09:00"])).dt.tz_localize("Asia/Tokyo")
    dataset = from_frame(pd.DataFrame({"user": [1], "item": [1], "time": times}))
    assert dataset.timestamps[0] == np.datetime64("2020-01-01T00:00")


@pytest.mark.parametrize("dtype", ["object", "str", "category", "string[pyarrow]", pd.ArrowDtype(pa.string())])
def test_kinds_of_strings_in_pandas(dtype):
    frame = pd.DataFrame({"user": ["u", "v", "u"], "item": ["b", "a", "c"]}).astype(dtype)
    dataset = from_frame(frame)
    assert dataset == from_frame(pl.DataFrame({"user": ["u", "v", "u"], "item": ["b", "a", "c"]}))
    assert dataset.vocabulary.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("dtype", ["int8", "uint32", "Int64", pd.ArrowDtype(pa.int16()), "object", "category"])
def test_kinds_of_integers_in_pandas(dtype):
    dataset = from_frame(pd.DataFrame({"user": [3, 1, 3], "item": [9, 0, 7]}).astype(dtype))
    assert dataset.vocabulary.dtype == np.int64
    assert dataset.users.tolist() == [3, 1]
    assert dataset.to_lists() == [[9, 7], [0]]


def test_unused_categories_are_no_items():
    items = pd.Categorical(["b", "a"], categories=["z", "b", "a"])
    assert from_frame(pd.DataFrame({"user": [1, 1], "item": items})).vocabulary.tolist() == ["a", "b"]
    used = pa.array(["z", "b", "a"]).dictionary_encode()[1:]
    assert from_frame(pa.table({"user": [1, 1], "item": used})).vocabulary.tolist() == ["a", "b"]


# Bad frames

BASE = {"user": ["u", "v", "w"], "item": ["a", "b", "c"], "time": [1.0, 2.0, 3.0]}


@over_libraries
@pytest.mark.parametrize("column", ["user", "item", "time"])
def test_missing_values_are_placed(make, column):
    values = list(BASE[column])
    values[1] = None
    with pytest.raises(ValueError, match=rf"row 1 \(counted from 0\), column '{column}': .*missing"):
        from_frame(make({**BASE, column: values}))


@pytest.mark.parametrize(
    "values",
    [
        [1.0, np.nan, 2.0],
        pd.Series(["a", pd.NA, "b"], dtype="string"),
        pd.Series([1, pd.NA, 2], dtype="Int64"),
        pd.Series(["a", None, "b"], dtype=object),
        pd.Series(["a", np.nan, "b"], dtype="category"),
        pd.to_datetime(pd.Series(["2020", None, "2021"])),
    ],
)
def test_missing_items_of_pandas_are_placed(values):
    with pytest.raises(ValueError, match=r"row 1 .* column 'item': .*(missing|NaN|NaT)"):
        from_frame(pd.DataFrame({"user": [1, 2, 3], "item": values}))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="no column 'item'; its columns are 'user', 'product'"):
        from_frame(pd.DataFrame({"user": [1], "product": [2]}))
    with pytest.raises(ValueError, match="no column 'when'"):
        from_frame(pd.DataFrame(BASE), time="when")


@pytest.mark.parametrize("column", ["time", "domain"])
def test_a_position_alone_makes_no_missing_value_right(column):
    # Logs often have a column of this name, which says where on a page an item stood.
    frame = pd.DataFrame({**BASE, "domain": [1.0, 2.0, 3.0], "position": [2, 1, 0]})
    frame.loc[1, column] = np.nan
    with pytest.raises(ValueError, match=rf"row 1 .*, column '{column}': .*(missing|NaN)"):
        from_frame(frame)


def test_mixed_labels_are_placed():
    with pytest.raises(ValueError, match=r"row 2 .* column 'item': .*kind string, .*kind integer"):
        from_frame(pd.DataFrame({"user": [1, 1, 2], "item": pd.Series([1, 2, "a"], dtype=object)}))


def test_one_and_true_are_not_one_item():
    with pytest.raises(ValueError, match=r"row 1 .* column 'item': .*kind boolean"):
        from_frame(pd.DataFrame({"user": [1, 1], "item": pd.Series([1, True], dtype=object)}))


@over_libraries
def test_times_as_text_are_refused(make):
    with pytest.raises(ValueError, match="column 'time' must hold numbers or times"):
        from_frame(make({**BASE, "time": ["2020", "2021", "2022"]}))


@over_libraries
@pytest.mark.parametrize("weights", [["0.5", "1", "2"], [datetime.datetime(2020, 1, day) for day in (1, 2, 3)]])
def test_weights_that_are_no_numbers_are_refused(make, weights):
    with pytest.raises(ValueError, match=r"row 0 .*: the column 'weight' must hold numbers; it holds"):
        from_frame(make({**BASE, "weight": weights}))


@over_libraries
def test_missing_weights_are_placed(make):
    with pytest.raises(ValueError, match=r"row 1 .*, column 'weight': .*missing"):
        from_frame(make({**BASE, "row": [0, 1, 2], "position": [0, 0, 0], "weight": [0.5, None, 1]}))


def test_what_is_no_frame_is_refused():
    with pytest.raises(TypeError, match="expected a pandas, polars or pyarrow frame of interactions; got list"):
        from_frame([[1, 2]])
    twice = pd.DataFrame([[1, 2, 3]], columns=["user", "item", "item"])
    with pytest.raises(ValueError, match="two columns named 'item'"):
        from_frame(twice)


@pytest.mark.parametrize(("column", "what"), [("who", "user"), ("what", "item"), ("domain", "domain")])
def test_a_missing_value_is_called_what_it_is(column, what):
    frame = pd.DataFrame({"who": [1.5, 2.5], "what": [3.5, 4.5], "domain": [0.5, 1.5]})
    frame.loc[1, column] = np.nan
    with pytest.raises(ValueError, match=rf"row 1 \(counted from 0\), column '{column}': the {what} is NaN\.$"):
        from_frame(frame, user="who", item="what")


def test_mixed_users_are_called_users():
    frame = pd.DataFrame({"user": pd.Series(["the item ", 2], dtype=object), "item": [1, 2]})
    with pytest.raises(ValueError, match=r"'user': the user 2 is of kind integer, .* for example str\(user\) for all"):
        from_frame(frame)


@over_libraries
def test_a_user_beside_a_column_of_lists_is_kept(make):
    dataset = SequenceDataset.from_sequences(make({"user": ["u", "v", "u"], "basket": [["a", "b"], ["a"], []]}))
    assert dataset.to_lists() == [["a", "b"], ["a"], []]
    assert dataset.users.tolist() == ["u", "v", "u"]


@over_libraries
def test_a_missing_user_beside_a_column_of_lists_is_placed(make):
    with pytest.raises(ValueError, match=r"^X cannot be read at row 1 .*, column 'user': .*missing"):
        SequenceDataset.from_sequences(make({"user": ["u", None], "basket": [["a", "b"], ["a"]]}))


@over_libraries
def test_lists_that_are_called_user_are_the_sequences(make):
    dataset = SequenceDataset.from_sequences(make({"user": [["a", "b"], ["a"]], "age": [3, 4]}))
    assert dataset.to_lists() == [["a", "b"], ["a"]]
    assert dataset.users is None


@pytest.mark.parametrize("dtype", ["float64", "object", "str", "category"])
def test_an_empty_frame_has_no_rows(dtype):
    frame = pd.DataFrame({name: pd.Series([], dtype=dtype) for name in ("user", "item", "time", "weight")})
    assert len(from_frame(frame)) == 0


@pytest.mark.parametrize("type_", [pa.null(), pa.string(), pa.int64()], ids=str)
@pytest.mark.parametrize("n_chunks", [0, 1])
def test_an_empty_table_has_no_rows(type_, n_chunks):
    column = pa.chunked_array([pa.array([], type_)] * n_chunks, type_)
    assert len(from_frame(pa.table(dict.fromkeys(["user", "item", "time", "domain"], column)))) == 0


@pytest.mark.skipif(not hasattr(pa, "string_view"), reason="this pyarrow has no views")
def test_views_of_strings_and_bytes_are_labels():
    labels = pa.array(["b", "a", "b"], pa.string_view())
    coded = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), labels[:2])
    table = pa.table({"user": labels, "item": labels, "domain": coded})
    dataset = from_frame(table)
    assert dataset.to_lists() == [["b", "b"], ["a"]]
    assert dataset.users.tolist() == ["b", "a"]
    assert dataset.domains.tolist() == ["a", "a", "b"]
    frame = pd.DataFrame({name: table[name].to_pandas(types_mapper=pd.ArrowDtype) for name in table.column_names})
    assert from_frame(frame) == dataset
    binary = pa.array([b"b", b"a", b"b"], pa.binary_view())
    assert from_frame(pa.table({"user": labels, "item": binary})).to_lists() == [[b"b", b"b"], [b"a"]]
    lists = pa.array([["b", "a"], ["b"]], pa.list_(pa.string_view()))
    assert SequenceDataset.from_sequences(lists).to_lists() == [["b", "a"], ["b"]]
    with pytest.raises(ValueError, match=r"row 2 .*, column 'item': the value is missing"):
        from_frame(pa.table({"user": labels, "item": pa.chunked_array([["b"], ["a", None]], pa.string_view())}))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
@example(["", "\0"])
def test_texts_of_arrow_are_sorted_as_those_of_python(texts):
    chunks = pa.chunked_array([texts[: len(texts) // 2], texts[len(texts) // 2 :]], pa.string())
    series = [pd.Series(texts, dtype=dtype) for dtype in ("str", "string", object)]
    for column in (chunks, *series, pl.Series(texts, dtype=pl.String)):
        labels, codes = encode_column(column)
        assert labels.tolist() == sorted(set(texts))
        assert labels[codes - 1].tolist() == texts


def test_the_dataset_does_not_change_with_the_frame():
    frame = pd.DataFrame({"user": np.array([1, 1]), "item": np.array([5, 6]), "time": np.array([1, 2])})
    dataset = from_frame(frame)
    frame.loc[0, "time"] = 99
    frame.loc[0, "item"] = 99
    assert dataset.timestamps.tolist() == [1, 2]
    assert dataset.to_lists() == [[5, 6]]


@pytest.mark.parametrize("in_order", [True, False])
def test_peak_memory_is_three_columns(in_order):
    n = 2_000_000
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user": random.integers(0, n // 10, n),
            "item": random.integers(0, n // 50, n),
            "time": random.integers(1_300_000_000, 1_600_000_000, n),
        }
    )
    if in_order:
        frame = frame.sort_values(["user", "time"], kind="stable", ignore_index=True)
    from_frame(frame.head(10))
    tracemalloc.start()
    try:
        dataset = from_frame(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert dataset.n_interactions == n
    # The blocks that columns are coded by do not shrink with the frame: 16 MB beside three columns of 16 MB.
    assert peak <= 3 * 8 * n + 16e6


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a process")
@pytest.mark.skipif(pd.Series(["a"]).astype("str").dtype == object, reason="this pandas has no texts of Arrow")
def test_peak_memory_of_texts_is_no_more_than_that_of_numbers():
    peaks = [
        int(subprocess.run([sys.executable, "-c", PEAK, kind], capture_output=True, text=True, check=True).stdout)
        for kind in ("int64", "str")
    ]
    # 54 MB of 71; the hash table of pandas needed 80.
    assert peaks[1] <= peaks[0]


PEAK = """
import sys
import numpy as np, pandas as pd, pyarrow as pa
from seqregen.formats import from_frame

def status(key):
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith(key)).split()[1])

n, random = 2_500_000, np.random.default_rng(0)
columns = {"user": random.integers(0, n // 80, n), "item": random.integers(0, n // 200, n)}
if sys.argv[1] == "str":
    for name, codes in columns.items():
        labels = pa.array([f"{code:07d}" for code in range(codes.max() + 1)], pa.large_string())
        columns[name] = pd.Series(labels.take(pa.array(codes)), dtype=pd.ArrowDtype(pa.large_string())).astype("str")
frame = pd.DataFrame({**columns, "time": random.integers(0, n, n)})
from_frame(frame.head(10))
del columns
pa.default_memory_pool().release_unused()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
from_frame(frame)
print(status("VmHWM") - before)
"""


# Out


def test_to_frame_of_everything():
    dataset = SequenceDataset.from_sequences([["b", "a"], [], ["a"]]).replace(
        timestamps=np.array([3, 4, 5]), weights=np.array([0.5, 1, 2]), domains=np.array([0, 1, 0])
    )
    dataset = dataset.append(np.array([2]), np.array([0, 1]), Origin.REGENERATED, source=np.array([2]))
    frame = to_frame(dataset)
    assert frame.columns.tolist() == [
        *("row", "user", "position", "item", "time", "weight", "domain", "origin", "source")
    ]
    assert frame["row"].tolist() == [0, 0, 2, 3]
    assert frame["position"].tolist() == [0, 1, 0, 0]
    assert frame["item"].tolist() == ["b", "a", "a", "b"]
    assert frame["origin"].tolist() == ["original"] * 3 + ["regenerated"]
    assert frame["source"].tolist() == [-1, -1, -1, 2]
    assert from_frame(frame, user="row", time=None).to_lists() == [["b", "a"], ["a"], ["b"]]


TIMES_WITH_GAPS = [
    *(np.arange(9, dtype=dtype) + 3 for dtype in ("int64", ">i8", "int32", "uint8", "uint64", "float32", "float64")),
    *(np.arange(9).astype(dtype) for dtype in ("datetime64[ms]", "datetime64[ns]", "timedelta64[ms]")),
]
DOMAINS_WITH_GAPS = [None, np.array(list("xyxyxyxyx")), np.arange(9) % 2 == 0, (np.arange(9) % 2).astype(np.uint8)]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("times", TIMES_WITH_GAPS, ids=lambda times: str(times.dtype))
@pytest.mark.parametrize("domains", DOMAINS_WITH_GAPS, ids=["none", "text", "bool", "uint8"])
def test_missing_times_and_domains_there_and_back(library, times, domains):
    rows = [["z", "a", "b"], ["a", "z"], ["b", "a", "z", "a"]]
    dataset = SequenceDataset.from_sequences(rows)
    dataset = dataset.replace(timestamps=times, domains=domains, users=np.array([5, 3, 9]))
    dataset = append_targets(*leave_one_out(dataset))
    frame = dataset.to_frame(library)
    assert pd.Series(frame["time"]).isna().tolist() == [False, False, True, False, True, False, False, False, True]
    assert from_frame(frame) == dataset
    backwards = frame[::-1]
    assert from_frame(backwards).to_lists() == rows[::-1]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_domains_of_which_none_is_known_there_and_back(library):
    dataset = SequenceDataset.from_sequences([["z", "a"]]).replace(domains=np.array([None, None], dtype=object))
    assert from_frame(dataset.to_frame(library)).domains.tolist() == [None, None]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_mined_rows_without_times_are_read_by_their_places(library):
    dataset = SequenceDataset.from_sequences([["b", "a"]]).replace(timestamps=np.array([0, 1], dtype=np.uint8))
    dataset = dataset.append(np.array([2, 1]), np.array([0, 2]), Origin.MINED)
    assert from_frame(dataset.to_frame(library)[::-1], user="row").to_lists() == [["b", "a"], ["b", "a"]]


@over_libraries
def test_a_time_that_does_not_fit_is_placed(make):
    times = np.array([0, 2**63], dtype=np.uint64)
    with pytest.raises(ValueError, match=r"row 1 .*, column 'time': the time 9223372036854775808 is larger than"):
        from_frame(make({"user": [1, 1], "item": [1, 2], "time": times}))


def test_seconds_go_out_to_polars():
    dataset = SequenceDataset.from_sequences([["b", "a"]]).replace(timestamps=np.array([5, 7], dtype="datetime64[s]"))
    assert (from_frame(dataset.to_frame("polars")).timestamps == dataset.timestamps).all()


def test_unknown_libraries_are_refused():
    with pytest.raises(ValueError, match="'pandas' or 'polars'; got 'spark'"):
        SequenceDataset.from_sequences([[1]]).to_frame(library="spark")


@given(plain_datasets(min_length=1).filter(len), st.sampled_from(["pandas", "polars"]), st.data())
def test_frames_give_the_dataset_back(dataset, library, draw):
    dataset = SequenceDataset.from_sequences(dataset.to_lists()).replace(users=np.arange(len(dataset))[::-1].copy())
    if draw.draw(st.booleans()):
        dataset = dataset.replace(timestamps=np.arange(dataset.n_interactions).astype("datetime64[us]"))
    if draw.draw(st.booleans()):
        dataset = dataset.replace(weights=np.linspace(0, 1, dataset.n_interactions))
    if draw.draw(st.booleans()):
        dtype = draw.draw(st.sampled_from(["int8", "uint16", "int64", "float32", "bool", "str"]))
        domains = (np.arange(dataset.n_interactions) % 2).astype(dtype)
        dataset = dataset.replace(domains=domains.astype(object) if dtype == "str" else domains)
    assert from_frame(dataset.to_frame(library)) == dataset


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 0], pa.int8()),
        pa.chunked_array([[1], [0]], pa.int8()),
        pl.Series([1, 0], dtype=pl.Int8),
        pd.Series([1, 0], dtype="Int8"),
        pd.Series([1, 0], dtype=pd.ArrowDtype(pa.int8())),
    ],
)
def test_domains_that_are_numbers_keep_their_type(column):
    make = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[package_of(column)]
    domains = from_frame(make({"user": [1, 1], "item": [1, 2], "domain": column})).domains
    assert domains.dtype == np.int8
    assert domains.tolist() == [1, 0]


@pytest.mark.parametrize("column", [pl.Series(["1.5", "0"]).cast(pl.Decimal(10, 2)), pl.Series(["b", "a"])])
def test_domains_that_are_no_numbers_stay_labels(column):
    domains = from_frame(pl.DataFrame({"user": [1, 1], "item": [1, 2], "domain": column})).domains
    assert domains.tolist() == column.to_list()
    assert domains.dtype == object


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("users", [None, ["x", "y", "z"]])
def test_a_frame_with_added_rows_gives_the_original_ones(library, users):
    original = SequenceDataset.from_sequences([["a", "b"], ["b", "a", "c"], ["c", "a"]]).replace(users=users)
    rows = original.append(np.array([1, 2, 2, 3]), np.array([0, 2, 4]), Origin.MINED)
    frame = rows.to_frame("polars" if library == "polars" else "pandas")
    frame = pa.Table.from_pandas(frame) if library == "pyarrow" else frame
    with pytest.warns(UserWarning, match=r"4 interactions of mined or regenerated rows .* are left out"):
        read = SequenceDataset.from_frame(frame)
    assert read.to_lists() == original.to_lists()
    assert read.users.tolist() == (users or [0, 1, 2])
    assert len(SequenceDataset.from_frame(frame, user="row")) == 5


def test_texts_that_are_no_unicode_stay_apart():
    labels = ["\ud8001", "\ud8002", "\ud8001"]
    frame = pd.DataFrame({"user": pd.Series(labels, dtype=object), "item": pd.Series(labels, dtype=object)})
    dataset = SequenceDataset.from_frame(frame)
    assert dataset.to_lists() == [["\ud8001", "\ud8001"], ["\ud8002"]]
    assert SequenceDataset.from_frame(dataset.to_frame()) == dataset
    assert dataset.to_rectools()["item_id"].tolist() == ["\ud8001", "\ud8001", "\ud8002"]


def test_extension_types_of_arrow_are_labels(tmp_path):
    if not hasattr(pa, "uuid"):
        pytest.skip("this pyarrow has no type for UUIDs")
    labels = [uuid.UUID(int=5), uuid.UUID(int=3)]
    pq.write_table(pa.table({"user": [7, 7], "item": pa.array(labels, pa.uuid())}), tmp_path / "data.parquet")
    assert SequenceDataset.read_parquet(tmp_path / "data.parquet").to_lists() == [labels]


def test_a_column_of_origins_of_ones_own_is_left_alone():
    frame = pd.DataFrame({"row": [1, 2], "user": [1, 2], "item": [3, 4], "position": [0, 0], "origin": ["web", "shop"]})
    assert SequenceDataset.from_frame(frame).to_lists() == [[3], [4]]
    lists = pd.DataFrame({"items": [[3], [4]], "origin": ["web", "shop"], "source": ["a", "b"]})
    assert check_sequences(lists).to_lists() == [[3], [4]]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_parquet_that_another_program_wrote_anew_is_no_original(library, tmp_path):
    original = SequenceDataset.from_sequences([["a", "b"], ["b", "a"]]).replace(users=["x", "y"])
    path, again = tmp_path / "data.parquet", tmp_path / "again.parquet"

    def rewritten(dataset):
        dataset.to_parquet(path)
        if library == "pandas":
            pd.read_parquet(path).to_parquet(again)
        else:
            pl.read_parquet(path).write_parquet(again)
        return SequenceDataset.read_parquet(again)

    with pytest.raises(ValueError, match="rows that were added would pass for original ones"):
        rewritten(original.append(np.array([1, 2]), np.array([0, 2]), Origin.MINED))
    read = rewritten(original)
    assert (read.to_lists(), read.users.tolist()) == (original.to_lists(), ["x", "y"])


def test_a_column_of_lists_whose_first_row_is_null_is_still_one():
    with pytest.raises(ValueError, match="row 0"):
        check_sequences(pd.DataFrame({"x": [None, [1, 2]]}))


class Frame(pd.DataFrame):
    """As geopandas' is one."""


class Table(pl.DataFrame):
    pass


@pytest.mark.parametrize("kind", [Frame, Table])
def test_a_frame_of_a_derived_kind_is_a_frame(kind):
    columns = {"user": [1, 1, 2], "item": [10, 11, 10], "time": [3, 2, 1]}
    assert check_sequences(kind(columns)).to_lists() == [[11, 10], [10]]
    assert from_frame(kind(columns)).users.tolist() == [1, 2]


def test_a_frame_of_another_library_is_refused():
    class Foreign:
        columns = ("user", "item")

        def __array__(self, dtype=None, copy=None):
            return np.array([[1, 10]])

    with pytest.raises(TypeError, match=r"X is a .*Foreign, which is no frame that is known here; convert it"):
        check_sequences(Foreign())


@over_libraries
def test_lists_in_the_column_item_are_sequences(make):
    data = check_sequences(make({"user": ["u", "v"], "item": [[3, 4], [5]]}))
    assert data.to_lists() == [[3, 4], [5]]
    assert data.users.tolist() == ["u", "v"]
    with pytest.raises(ValueError, match=r"2 columns of lists \('item', 'time'\)\. Keep one of them alone"):
        check_sequences(make({"user": ["u", "v"], "item": [[3, 4], [5]], "time": [[1, 2], [3]]}))


def test_labels_that_are_tuples_are_no_lists():
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [("a", "x"), ("b", "y"), ("a", "x")], "time": [2, 1, 3]})
    assert check_sequences(frame).to_lists() == [[("b", "y"), ("a", "x")], [("a", "x")]]


@pytest.mark.parametrize("values", [pd.array([1, None]), pd.Categorical([1, None])])
def test_missing_integers_of_pandas_arrays_are_placed(values):
    with pytest.raises(ValueError, match="row 0, position 1: the item is missing"):
        check_sequences([values, [1]])


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([2**53 + 1, None]),
        pa.array([2**53 + 1, None]),
        pa.chunked_array([[2**53 + 1], [None]]),
        pd.Series([2**53 + 1, None], dtype="Int64"),
        pd.Series([2**53 + 1, None], dtype="category"),
        pd.Series([2**53 + 1, None], dtype=pd.ArrowDtype(pa.int64())),
    ],
)
def test_integers_some_of_which_are_missing_keep_their_digits(column):
    data = SequenceDataset.from_sequences([["a"], ["b"]])
    assert data.replace(users=column).users.tolist() == [2**53 + 1, None]
    assert data.replace(timestamps=column).timestamps.tolist() == [2**53 + 1, -(2**63)]
