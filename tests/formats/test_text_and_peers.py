"""The text format, RecBole and RecTools."""

from __future__ import annotations

import enum
import errno
import os

import numpy as np
import pandas as pd
import pytest
from dataset_strategies import INTEGERS, WORDS, plain_datasets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqregen import Origin, SequenceDataset
from seqregen.formats import read_text, to_recbole, to_rectools, write_text


def test_a_line_is_a_user(write):
    data = read_text(write("7 3 -5 3\n9\n8 0\n"))
    assert data.users.tolist() == [7, 9, 8]
    assert data.to_lists() == [[3, -5, 3], [], [0]]
    assert data.vocabulary.dtype == np.int64


@pytest.mark.parametrize("content", ["1 2 3\n4 5", "1\t2\t3\r\n4 5\r\n", " 1  2 3 \n4 5\n\n\n"])
def test_separators_and_the_end_of_the_file(write, content):
    assert read_text(write(content)).to_lists() == [[2, 3], [5]]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("u a b\nv b\n", [["a", "b"], ["b"]]),
        ("1 007 7\n", [["007", "7"]]),
        ("1 -0 0\n", [["-0", "0"]]),
        ("1 +1 -\n", [["+1", "-"]]),
        ("1 1234567890123456789 2\n", [["1234567890123456789", "2"]]),
        ("1 123456789012345678 2\n", [[123456789012345678, 2]]),
        ("1 1.5 2\n", [["1.5", "2"]]),
        ("ann 茶 ミルク\n", [["茶", "ミルク"]]),
    ],
)
def test_labels_that_are_not_all_plain_integers_are_strings(write, content, rows):
    assert read_text(write(content)).to_lists() == rows


def test_a_byte_order_mark_is_no_part_of_the_first_user(write):
    assert read_text(write(b"\xef\xbb\xbf1 2 3\n4 5\n")).users.tolist() == [1, 4]


def test_a_stray_word_among_numbers_is_told(write):
    with pytest.warns(
        UserWarning, match=r"line 2: the item 'x' is no integer, as 4 others are: all .* as text"
    ) as seen:
        data = read_text(write("1 2 3\n4 x 5 6\n"))
    assert seen[0].filename == __file__
    assert data.to_lists() == [["2", "3"], ["x", "5", "6"]]
    with pytest.raises(ValueError, match=r"line 1: the item 'NaN' stands for a missing value; leave it out"):
        read_text(write("1 2 NaN\n4 5 6\n"))
    # Where items are words, these may be some.
    assert read_text(write("1 a None\n")).to_lists() == [["a", "None"]]


def test_other_layouts_are_told(write):
    with pytest.raises(ValueError, match=r"no item in any line: .* not as in 'user,item'\. Read .*from_frame"):
        read_text(write("user,item\n1,2\n1,3\n"))
    with pytest.warns(UserWarning, match="one item in every line, and users that come again"):
        assert len(read_text(write("1 2\n1 3\n2 3\n"))) == 3


def test_times_and_domains(write):
    data = read_text(write("0 3|10 9|20\n1 4|-5\n"), first_domain=4)
    assert data.to_lists() == [[3, 9], [4]]
    assert data.timestamps.tolist() == [10, 20, -5]
    assert data.domains.tolist() == [0, 1, 0]
    assert read_text(write("0 a|1.5 b|2\n")).timestamps.tolist() == [1.5, 2.0]


@pytest.mark.parametrize("first", ["30", "30.5"])
def test_times_that_fall_within_a_line_are_told(write, first):
    path = write(f"u a|1 b|1\nv a|{first} b|10 c|20\nw c|5\n")
    with pytest.warns(UserWarning, match=r"line 2: the time 10.* stands behind 30.* times fall at 1 place"):
        data = read_text(path)
    assert data.to_lists() == [["a", "b"], ["a", "b", "c"], ["c"]]
    # As it advises.
    assert SequenceDataset.from_frame(data.to_frame()).to_lists() == [["a", "b"], ["b", "c", "a"], ["c"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("1 2\n\n3 4\n", "line 2: the line is blank"),
        ("\n3 4\n", "line 1: the line is blank"),
        ("1 2|3\n2 3|4 5\n", "line 2: the item '5' has no time"),
        ("1 2|3\n2 3|noon\n", "line 2: the time 'noon' is no number"),
        ("1 2|3\n2 3|\n", "line 2: the time '' is no number"),
        ("1 2|3\n2 |3\n", r"line 2: an item is missing before '\|'"),
        ("1 2|3\n2 3|nan\n", "line 2: the time is NaN"),
        (b"1 2\n2 \xff\n", "line 2: the byte 0xff is no UTF-8"),
    ],
)
def test_bad_lines_are_numbered(write, content, message):
    with pytest.raises(ValueError, match=r"data\.txt'.*" + message):
        read_text(write(content))


def test_domains_need_integers(write):
    with pytest.raises(ValueError, match="first_domain needs items that are integers"):
        read_text(write("1 a b\n"), first_domain=3)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*data\.txt"):
        read_text(tmp_path / "data.txt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([WORDS, INTEGERS]).flatmap(plain_datasets).filter(len), st.booleans())
def test_round_trip(tmp_path, dataset, timed):
    dataset = SequenceDataset.from_sequences(dataset.to_lists()).replace(users=np.arange(len(dataset)) - 3)
    if timed and dataset.n_interactions:
        dataset = dataset.replace(timestamps=np.arange(dataset.n_interactions) - 2)
    write_text(dataset, tmp_path / "data.txt")
    assert read_text(tmp_path / "data.txt") == dataset


def test_rows_without_a_user_of_their_own_are_numbered(tmp_path):
    dataset = SequenceDataset.from_sequences([["a", "b"], ["b"]]).replace(users=np.array([7, 8]))
    dataset = dataset.append(np.array([2]), np.array([0, 1]), Origin.MINED)
    write_text(dataset, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").read_text() == "1 a b\n2 b\n3 b\n"
    twice = dataset.originals().replace(users=np.array([7, 7]))
    with pytest.warns(UserWarning, match="of one user, or of users written alike: rows are numbered from 1"):
        write_text(twice, tmp_path / "data.txt")


@pytest.mark.parametrize(
    ("times", "line"),
    [
        (np.array(["1970-01-01T00:01", "1970-01-02"], dtype="datetime64[ms]"), "1 a|60 b|86400\n"),
        (np.array([1500, 2000], dtype="datetime64[ms]"), "1 a|1.5 b|2.0\n"),
        (np.array([0.1, 1e20]), "1 a|0.1 b|1e+20\n"),
        (np.array(["NaT", "1970-01-02"], dtype="datetime64[ms]"), "1 a b\n"),
        (np.array([1, np.iinfo(np.int64).min]), "1 a b\n"),
        (np.array([1.0, np.nan]), "1 a b\n"),
    ],
)
def test_times_are_written_where_all_are_known(tmp_path, times, line):
    dataset = SequenceDataset.from_sequences([["a", "b"]]).replace(timestamps=times)
    write_text(dataset, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").read_text() == line


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SequenceDataset.from_sequences([["1", "nan"], ["2"]]), "the item 'nan' .* reads as a missing value"),
        (SequenceDataset.from_sequences([["1", "NA", "x"], ["2", "3", "4"]]), "the item 'NA' .* missing value"),
        (
            SequenceDataset.from_sequences([["a"]]).replace(users=np.array(["\ufeffann"])),
            "the first user, .* byte order",
        ),
        (SequenceDataset.from_sequences([["a"]]).replace(users=["PAR1x"]), "'PAR1x', .* begins as Parquet files do"),
        (
            SequenceDataset.from_sequences([["a"]]).replace(timestamps=np.array([1], "m8[M]")),
            r"times of dtype timedelta64\[M\] cannot be told in seconds",
        ),
        (
            SequenceDataset.from_sequences([["a", "b"]]).replace(timestamps=np.array([1, 10**12], "M8[Y]")),
            "cannot be told in seconds: they do not fit in 64 bits",
        ),
        (
            SequenceDataset.from_sequences([["a"], ["b"]]).replace(timestamps=np.array([1.0, np.inf])),
            "row 1: the time inf cannot be written as text",
        ),
    ],
)
def test_what_would_be_read_otherwise_is_refused(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        write_text(data, tmp_path / "data.txt")
    assert os.listdir(tmp_path) == []


def test_words_for_missing_values_are_words_among_words(tmp_path):
    write_text(SequenceDataset.from_sequences([["tea", "none"]]), tmp_path / "data.txt")
    assert read_text(tmp_path / "data.txt").to_lists() == [["tea", "none"]]


def test_unsigned_times_of_mined_rows_are_missing(tmp_path):
    dataset = SequenceDataset.from_sequences([["a", "b"]]).replace(timestamps=np.array([7, 8], dtype=np.uint32))
    dataset = dataset.append(np.array([2]), np.array([0, 1]), Origin.MINED)
    write_text(dataset, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").read_text() == "1 a b\n2 b\n"
    assert dataset.to_rectools()["datetime"].astype("datetime64[s]").astype("int64").tolist() == [0, 1, 0]


@pytest.mark.parametrize("label", ["a b", "", "a|b", "a\n", " a"])
def test_labels_that_would_not_come_back_are_refused(tmp_path, label):
    with pytest.raises(ValueError, match=r"the item .* cannot be written as text"):
        write_text(SequenceDataset.from_sequences([[label]]), tmp_path / "data.txt")
    assert os.listdir(tmp_path) == []


class Color(str, enum.Enum):  # noqa: UP042 - a StrEnum is written as its value anyway
    RED = "red"
    BLUE = "blue"


class Thing:
    def __str__(self):
        return "thing"


def test_labels_are_written_as_what_they_are_or_not_at_all(tmp_path):
    path = tmp_path / "data.txt"
    write_text(SequenceDataset.from_sequences([[Color.RED, Color.BLUE]]), path)
    assert read_text(path).to_lists() == [["red", "blue"]]
    with pytest.raises(ValueError, match=r"the item <.*Thing.*> and another, .*, would both be written 'thing'"):
        write_text(SequenceDataset.from_sequences([[Thing(), Thing()]]), path)


def test_broken_unicode_is_refused_and_leaves_nothing_behind(tmp_path):
    items = SequenceDataset.from_sequences([["a", "\ud800"]])
    users = SequenceDataset.from_sequences([["a"]]).replace(users=np.array(["\ud800"], dtype=object))
    for dataset, what in ((items, "item"), (users, "user")):
        message = rf"the {what} '\\ud800' cannot be written: it is no valid Unicode .*; use other labels"
        with pytest.raises(ValueError, match=message):
            write_text(dataset, tmp_path / "data.txt")
        with pytest.raises(ValueError, match=message):
            to_recbole(dataset, tmp_path / "new", "shop")
    assert os.listdir(tmp_path) == []


def test_the_old_file_survives_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "data.txt"
    write_text(SequenceDataset.from_sequences([[1, 2]]), path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(SequenceDataset.from_sequences([[3]]), path)
    assert path.read_text() == "1 1 2\n"
    assert os.listdir(tmp_path) == ["data.txt"]


# RecBole and RecTools


def test_recbole_atomic_file(tmp_path):
    dataset = SequenceDataset.from_sequences([["a b", "c"], [], ["c"]]).replace(
        users=np.array(["x", "y", "z"], dtype=object), timestamps=np.array([5, 6, 7]), weights=np.array([0.5, 1, 2])
    )
    path = to_recbole(dataset, tmp_path, "shop")
    assert path == tmp_path / "shop" / "shop.inter"
    assert path.read_text().splitlines() == [
        "user_id:token\titem_id:token\ttimestamp:float\tweight:float",
        "x\ta b\t5\t0.5",
        "x\tc\t6\t1.0",
        "z\tc\t7\t2.0",
    ]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../shop", "/shop", "a\\b", "C:shop", "shop\0"])
def test_recbole_needs_a_plain_file_name(tmp_path, name):
    with pytest.raises(ValueError, match=r"name must be a plain file name, without a directory, .* got '"):
        to_recbole(SequenceDataset.from_sequences([[1, 2]]), tmp_path / "new", name)
    assert os.listdir(tmp_path) == []


def test_recbole_refuses_infinite_times(tmp_path):
    dataset = SequenceDataset.from_sequences([["a"], ["b"]]).replace(timestamps=np.array([1.0, np.inf]))
    with pytest.raises(ValueError, match="row 1: the time inf cannot be written for RecBole: it is infinite"):
        to_recbole(dataset, tmp_path, "shop")
    assert os.listdir(tmp_path) == []


def test_the_method_gives_the_path_as_well(tmp_path):
    path = SequenceDataset.from_sequences([[5, 6], [6]]).to_recbole(tmp_path, "shop.v2")
    assert path == tmp_path / "shop.v2" / "shop.v2.inter"
    assert path.is_file()


def test_recbole_without_users_and_times(tmp_path):
    SequenceDataset.from_sequences([[5, 6], [6]]).to_recbole(tmp_path / "new" / "place", "shop")
    frame = pd.read_csv(tmp_path / "new" / "place" / "shop" / "shop.inter", sep="\t")
    assert frame.to_numpy().tolist() == [[1, 5, 0], [1, 6, 1], [2, 6, 0]]


def test_recbole_refuses_what_its_format_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match=r"the item .* cannot be written for RecBole"):
        to_recbole(SequenceDataset.from_sequences([["a\tb"]]), tmp_path, "shop")


@pytest.mark.parametrize("label", ["NA", "null", "None", '"big" cup', "#N/A"])
def test_labels_that_recbole_would_not_read_back_are_refused(tmp_path, label):
    data = SequenceDataset.from_sequences([["tea", label]])
    with pytest.raises(ValueError, match=r"the item .* cannot be written for RecBole, which reads it as"):
        to_recbole(data, tmp_path, "shop")
    with pytest.raises(ValueError, match=r"the user .* cannot be written for RecBole, which reads it as"):
        to_recbole(SequenceDataset.from_sequences([["tea"]]).replace(users=np.array([label])), tmp_path, "shop")
    assert os.listdir(tmp_path) == []


def test_labels_that_recbole_reads_back(tmp_path):
    labels = ["tea", 'a "big" cup', "na", "NAN", "none"]
    SequenceDataset.from_sequences([labels]).to_recbole(tmp_path, "shop")
    assert pd.read_csv(tmp_path / "shop" / "shop.inter", sep="\t")["item_id:token"].tolist() == labels


def test_rectools_frame():
    dataset = SequenceDataset.from_sequences([["a", "b"], ["b"]])
    frame = dataset.to_rectools()
    assert frame["user_id"].tolist() == [1, 1, 2]
    assert frame["weight"].tolist() == [1.0, 1.0, 1.0]
    assert frame["datetime"].dtype.kind == "M"
    assert frame["datetime"].diff()[1].total_seconds() == 1
    times = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]")
    frame = to_rectools(dataset.replace(timestamps=times, users=np.array([4, 5]), weights=np.array([1, 2, 3])))
    assert (frame["datetime"].to_numpy() == times).all()
    assert frame["user_id"].tolist() == [4, 4, 5]
    assert frame["weight"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("dtype", ["int64", "float64", "datetime64"])
def test_rectools_reads_the_unit_of_large_numbers(unit, dtype):
    moments = np.array(["1999-01-01", "2020-09-13T12:26:40"], dtype=f"datetime64[{unit}]")
    times = moments if dtype == "datetime64" else moments.astype(np.int64).astype(dtype)
    frame = SequenceDataset.from_sequences([["a", "b"]]).replace(timestamps=times).to_rectools()
    assert (frame["datetime"].to_numpy() == moments).all()


def test_rectools_keeps_late_dates():
    dataset = SequenceDataset.from_sequences([["a", "b"]])
    times = np.array(["2020-01-01", "2300-01-01"], dtype="datetime64[s]")
    assert dataset.replace(timestamps=times).to_rectools()["datetime"].dt.year.tolist() == [2020, 2300]


@pytest.mark.parametrize("time", [1e20, np.inf])
def test_rectools_refuses_times_of_no_unit(time):
    with pytest.raises(ValueError, match=r"times must be numbers of seconds, .* got .* at position 1"):
        SequenceDataset.from_sequences([["a", "b"]]).replace(timestamps=np.array([0.5, time])).to_rectools()


def test_peers_which_sort_by_time_get_positions_where_times_fall(tmp_path):
    dataset = SequenceDataset.from_sequences([[5, 6], [7, 8, 9], []]).replace(timestamps=[2, 3, 1, 4, 3])
    message = r"times fall within rows at 1 place\(s\), first in row 1 at position 2, and {} sorts by time"
    with pytest.warns(UserWarning, match=message.format("RecBole")):
        lines = dataset.to_recbole(tmp_path, "data").read_text().splitlines()[1:]
    assert [line.split("\t")[2] for line in lines] == ["0", "1", "0", "1", "2"]
    with pytest.warns(UserWarning, match=message.format("RecTools")):
        seconds = dataset.to_rectools()["datetime"].dt.second
    assert seconds.tolist() == [0, 1, 0, 1, 2]


@pytest.mark.filterwarnings("error")
def test_peers_get_times_that_fall_between_rows(tmp_path):
    dataset = SequenceDataset.from_sequences([[], [5, 6], [], [7], []]).replace(timestamps=[2, 3, 1])
    lines = dataset.to_recbole(tmp_path, "data").read_text().splitlines()[1:]
    assert [line.split("\t")[2] for line in lines] == ["2", "3", "1"]


def test_users_that_are_written_alike_are_numbered(tmp_path):
    dataset = SequenceDataset.from_sequences([[1, 2], [3]]).replace(users=[1, "1"])
    with pytest.warns(UserWarning, match="written alike: rows are numbered from 1"):
        path = dataset.to_recbole(tmp_path, "data")
    users = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    assert users == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (
            np.array(["2020-01-01", "9999-12-31", "2021-01-01T00:00:00.25"], "M8[us]"),
            [1577836800, 253402214400, 1609459200.25],
        ),
        (np.array([-1500, 2, 3], "M8[ms]"), [-1.5, 0.002, 0.003]),
        (np.array([1, 2, 3], "m8[h]"), [3600, 7200, 10800]),
        (np.array([-1500, 2, 3], "m8[ms]"), [-1.5, 0.002, 0.003]),
    ],
)
def test_times_are_written_in_seconds_whatever_their_unit(times, expected, tmp_path):
    path = SequenceDataset.from_sequences([[1, 2], [3]]).replace(timestamps=times).to_recbole(tmp_path, "data")
    lines = path.read_text().splitlines()[1:]
    assert [float(line.split("\t")[2]) for line in lines] == expected


@pytest.mark.parametrize("line", ["u None x y 7\n", "u x y 7 None\n", "u 1 2 3 x None\n"])
@pytest.mark.filterwarnings("ignore:.* is no integer, as .* others are:UserWarning")
def test_what_is_read_can_be_written(tmp_path, line):
    (tmp_path / "data.txt").write_text(line)
    rows = read_text(tmp_path / "data.txt")
    write_text(rows, tmp_path / "again.txt")
    assert read_text(tmp_path / "again.txt") == rows


def test_bars_in_users_are_no_times(tmp_path):
    (tmp_path / "data.txt").write_text("a|b x y 7\nc| x\n")
    rows = read_text(tmp_path / "data.txt")
    assert rows.timestamps is None
    assert rows.users.tolist() == ["a|b", "c|"]
    assert rows.to_lists() == [["x", "y", "7"], ["x"]]


def test_a_time_is_no_literal_of_a_program(tmp_path):
    (tmp_path / "data.txt").write_text("a 5|1_0 6|20\n")
    with pytest.raises(ValueError, match=r"line 1: the time '1_0' is no number"):
        read_text(tmp_path / "data.txt")


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(TypeError, match="name must be a plain file name, such as 'shop'; got None"):
        to_recbole(SequenceDataset.from_sequences([[1, 2]]), tmp_path, None)
