"""What is no file of sequences is told from one, and what can be written can be read."""

from __future__ import annotations

import bz2
import gzip
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqregen import SequenceDataset
from seqregen.formats import read_text, write_text

COME_AGAIN = "in every line, and users that come again"


# Lines


@pytest.mark.parametrize("content", ["1 2 3\r4 5\r", "1 2 3\r4 5", "\ufeff1 2 3\r4 5\r\r"])
def test_lines_of_old_macs(write, content):
    data = read_text(write(content))
    assert data.users.tolist() == [1, 4]
    assert data.to_lists() == [[2, 3], [5]]


@pytest.mark.parametrize("content", ["1 2\r\n3 4\r\n", "1 2\n3 4\r\n", "1 2\n3 4\r"])
def test_a_carriage_return_at_the_end_of_a_line_counts_for_nothing(write, content):
    assert read_text(write(content)).to_lists() == [[2], [4]]


@pytest.mark.parametrize("content", ["7 8\n1 2\r3 4\n5 6\n", "7 8\r\n1 2\r3\r\n", "7 8\n1 2\r\r\n3 4\n"])
def test_a_carriage_return_within_a_line_is_refused(write, content):
    with pytest.raises(ValueError, match=r"data\.txt', line 2: there is a carriage return within the line"):
        read_text(write(content))


def test_a_blank_line_of_an_old_mac_is_numbered(write):
    with pytest.raises(ValueError, match="line 2: the line is blank"):
        read_text(write("1 2\r\r3 4\r"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2 3\n4 5\n".encode("utf-16-le"), r"line 1: there is a NUL byte.* Is this UTF-16\? Save it as UTF-8"),
        ("1 2 3\n4 5\n".encode("utf-16-be"), r"line 1: there is a NUL byte.* Is this UTF-16\? Save it as UTF-8"),
        ("1 2 3\r\n4 5\r\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (b"1 2\n3 4\x005 6\n", r"line 2: there is a NUL byte.* Is this a binary file\?"),
        (gzip.compress(b"1 2 3"), "is compressed by gzip; unpack it"),
        (bz2.compress(b"1 2 3"), "is compressed by bzip2; unpack it"),
        (b"ARROW1\0\0", "is an Arrow .* file"),
    ],
)
def test_what_is_no_text_is_refused(write, content, message):
    with pytest.raises(ValueError, match=rf"data\.txt'.*{message}"):
        read_text(write(content))


@pytest.mark.parametrize(
    "content",
    [
        "user_id,item_id,time\n1,10,2020-01-01 10:00:00\n2,10,2020-01-01 09:00:00\n",
        "1,10,2020-01-01 10:00:00\n2,10,2020-01-01 09:00:00\n",
        "user;title\n1;Star Wars\n2;Alien 3\n",
        "1::10::Home & Garden\n2::11::Home & Garden\n",
    ],
)
def test_a_table_with_spaces_in_a_field_is_told(write, content):
    with pytest.warns(UserWarning, match=r"looks like a table with '(,|;|::)' between its columns"):
        assert len(read_text(write(content))) == content.count("\n")


@pytest.mark.parametrize(
    "content", ["Smith,John tea milk\nDoe,Jane tea\n", "a,b,c tea milk\nb tea\n", "a,b,c tea\n", "BZhang tea\n"]
)
def test_users_with_commas_are_read(write, content):
    assert read_text(write(content)).vocabulary.tolist()[-1] == "tea"


# Tables


@pytest.mark.parametrize(
    ("content", "n_items"),
    [
        ("196\t242\n186\t302\n196\t377\n", "one item"),
        ("196\t242\t3\n186\t302\t3\n196\t377\t1\n", "two items"),
        ("196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t377\t1\t878887116\n", "three items"),
    ],
)
def test_an_interaction_a_line_is_told(write, content, n_items):
    with pytest.warns(
        UserWarning, match=rf"data\.txt' has {n_items} {COME_AGAIN}: .*SequenceDataset\.from_frame"
    ) as seen:
        assert len(read_text(write(content))) == 3
    assert [warning.filename for warning in seen] == [__file__]


@pytest.mark.parametrize(
    "content",
    [
        "1 5 6 7 8\n1 5 6 7 9\n",
        "1 5 6 7\n2 5 6 8\n",
        "1 5 6\n1 5 6 7\n",
        "1\n1\n",
        "[deleted] tea\n{550e8400-e29b} milk cup\n",
        "ann tea, milk cup\nbob a;b c\n",
        "ann tea:tokens\nbob b:token c\n",
    ],
)
def test_sequences_are_read_without_a_warning(write, content):
    assert read_text(write(content)).n_interactions == sum(len(line.split()) - 1 for line in content.splitlines())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            "user_id:token\titem_id:token\trating:float\n1\t2\t3\n",
            "header of a RecBole table, with 'user_id:token' in line 1",
        ),
        ("a:float uid:token_seq\n1 2\n", "header of a RecBole table, with 'uid:token_seq'"),
        ('{"user": 1, "items": [1, 2, 3]}\n{"user": 2, "items": [3]}\n', r"JSON: .* not as in '\{\"user\": 1, "),
        ("[[1, 2, 3],\n[2, 3]]\n", "JSON"),
        ("[1 2 3]\n[2 3]\n", "JSON"),
        ("[\n  [\n    1,\n    2\n  ]\n]\n", "JSON"),
        ("1, 2, 3\n2, 3\n", "fields that end in ',' or ';': fields are separated by .* not as in '1, 2, 3'"),
        ("1; 2\n2; 3\n", "fields that end in"),
        ("1 , 2 , 3\n", "fields that end in"),
        ("1 2, 3, 4\n2 5, 6\n", "fields that end in"),
        ("1,2,3\n2,3\n", "no item in any line: .* not as in '1,2,3'"),
        ("1|2|3\n2|3\n", r"no item in any line: .* not as in '1\|2\|3'"),
        ("1::1193::5::978300760\n1::661::3::978302109\n", "no item in any line: .* not as in '1::1193::5"),
    ],
)
def test_other_tables_are_refused(write, content, why):
    with pytest.raises(ValueError, match=rf"data\.txt' .*{why}.* Read other tables with pandas, and .*from_frame"):
        read_text(write(content))


# Times


@pytest.mark.filterwarnings("ignore:.*stands behind")
@pytest.mark.parametrize(
    "times",
    [
        [1700000000000000001, 1700000000000000003],
        [-1700000000000000001, 5],
        [2**63 - 1, -(2**63) + 1],
    ],
)
def test_times_of_nineteen_digits_come_back(tmp_path, times):
    dataset = SequenceDataset.from_sequences([[3, 4]]).replace(timestamps=np.array(times))
    write_text(dataset, tmp_path / "data.txt")
    again = read_text(tmp_path / "data.txt").timestamps
    assert again.dtype == np.int64
    assert again.tolist() == times


@pytest.mark.filterwarnings("ignore:.*stands behind")
@pytest.mark.parametrize("time", ["9223372036854775808", "9999999999999999999", "-9223372036854775808", "1" * 20])
def test_times_beyond_64_bits_are_floats(write, time):
    times = read_text(write(f"1 3|{time} 4|5\n")).timestamps
    assert times.tolist() == [float(time), 5.0]


def test_labels_of_nineteen_digits_stay_text(write):
    assert read_text(write("1 1700000000000000001 2\n")).to_lists() == [["1700000000000000001", "2"]]


# There and back


@pytest.mark.parametrize("label", ["a\xa0b", "\xa0", "a\x0b", "\x0ca", "a\x85", "\u2028", "a\x1cb", "\u3000a"])
def test_white_space_that_separates_nothing_comes_back(tmp_path, label):
    dataset = SequenceDataset.from_sequences([["tea", label], [label]]).replace(users=np.array([label, "ann"]))
    write_text(dataset, tmp_path / "data.txt")
    again = read_text(tmp_path / "data.txt")
    assert again.to_lists() == dataset.to_lists()
    assert again.users.tolist() == [label, "ann"]


@pytest.mark.parametrize("label", ["a\0", "a\rb", "a\tb", "a b", "a\nb", "a|b"])
def test_what_would_separate_or_be_refused_is_not_written(tmp_path, label):
    items = SequenceDataset.from_sequences([[label]])
    users = SequenceDataset.from_sequences([["a"]]).replace(users=np.array([label], dtype=object))
    for dataset, what in ((items, "item"), (users, "user")):
        with pytest.raises(ValueError, match=rf"the {what} .* cannot be written as text: .* NUL"):
            write_text(dataset, tmp_path / "data.txt")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("rows", "users", "why"),
    [
        ([["item_id:token"]], ["user_id:token"], "header of a RecBole table"),
        ([["2,", "3"]], ["1,"], "fields that end in"),
        ([[]], ["1,2"], "no item in any line"),
        ([["b]"]], ["[a"], "JSON"),
    ],
)
def test_rows_that_look_like_another_table_are_not_written(tmp_path, rows, users, why):
    dataset = SequenceDataset.from_sequences(rows).replace(users=np.array(users, dtype=object))
    with pytest.raises(
        ValueError, match=rf"the rows cannot be written as text: read again, it .*{why}.* Write Parquet"
    ):
        write_text(dataset, tmp_path / "data.txt")
    assert os.listdir(tmp_path) == []


def test_a_dataset_without_rows_is_an_empty_file(tmp_path):
    write_text(SequenceDataset.from_sequences([["a"]])[:0], tmp_path / "data.txt")
    assert (tmp_path / "data.txt").read_bytes() == b""


ODD = st.text(st.sampled_from(" \t\r\n|\0,;:[]{}'\x0b\x0c\x85\xa0\ufeff\u2028ab"), min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(ODD, max_size=3), min_size=1, max_size=4), st.booleans())
@example([["a:token"]], False)
def test_what_is_written_comes_back(tmp_path, rows, timed):
    users = [f"{row[0] if row else ''}{number}" for number, row in enumerate(rows)]
    dataset = SequenceDataset.from_sequences(rows).replace(users=np.array(users, dtype=object))
    if timed:
        dataset = dataset.replace(timestamps=np.arange(dataset.n_interactions))
    try:
        write_text(dataset, tmp_path / "data.txt")
    except ValueError:
        return
    again = read_text(tmp_path / "data.txt")
    assert again.to_lists() == dataset.to_lists()
    assert list(map(str, again.users)) == users


def test_parquet_under_another_name_is_said_to_be(tmp_path):
    SequenceDataset.from_sequences([[1, 2]]).to_parquet(tmp_path / "data.parquet")
    (tmp_path / "data.parquet").rename(tmp_path / "data.txt")
    with pytest.raises(ValueError, match=r"data\.txt' is a Parquet file and no text"):
        read_text(tmp_path / "data.txt")
