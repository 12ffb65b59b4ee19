"""Parquet keeps everything, and a damaged file says so."""

from __future__ import annotations

import datetime
import errno
import json
import os
import subprocess
import sys
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from dataset_strategies import full_datasets
from hypothesis import HealthCheck, given, settings

from seqregen import SequenceDataset
from seqregen.formats import parquet, read_parquet, to_parquet
from seqregen.formats.seal import write_sealed
from seqregen.pairs import PatternPairs

ROWS = [["tea", "milk"], [], ["milk"]]


@pytest.fixture
def data():
    return SequenceDataset.from_sequences(ROWS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(full_datasets())
def test_round_trip_of_everything(tmp_path, dataset):
    path = tmp_path / "data.parquet"
    to_parquet(dataset, path)
    again = read_parquet(path)
    assert again == dataset
    for name in ("users", "timestamps", "domains", "vocabulary", "weights", "memory"):
        column = getattr(dataset, name)
        assert getattr(getattr(again, name), "dtype", None) == getattr(column, "dtype", None)


@pytest.mark.parametrize(
    "vocabulary",
    [
        np.array([-3, 0, 2**62]),
        np.array([7, 8, 9], dtype=np.int16),
        np.array([0.1, -0.0, 1e300]),
        np.array(["ä", "", "a b|c\n"], dtype=object),
        np.array(["a", "b", "c"]),
        np.array([False, True, None], dtype=object)[:2].repeat(1),
    ],
)
def test_labels_come_back_as_they_were(tmp_path, vocabulary):
    dataset = SequenceDataset(np.array([2, 1]), np.array([0, 1, 2]), vocabulary)
    to_parquet(dataset, tmp_path / "data.parquet")
    again = read_parquet(tmp_path / "data.parquet")
    assert again.vocabulary.dtype == dataset.vocabulary.dtype
    assert [type(label) for label in again.vocabulary.tolist()] == [type(label) for label in vocabulary.tolist()]
    assert again == dataset


def test_method_and_class_method(data, tmp_path):
    data.to_parquet(tmp_path / "data.parquet")
    assert SequenceDataset.read_parquet(str(tmp_path / "data.parquet")) == data


def test_other_readers_find_lists_of_labels(data, tmp_path):
    data.replace(weights=np.array([0.5, 1, 2])).to_parquet(tmp_path / "data.parquet")
    frame = pd.read_parquet(tmp_path / "data.parquet")
    assert [row.tolist() for row in frame["items"]] == ROWS
    assert frame["origin"].tolist() == [0, 0, 0]
    assert [row.tolist() for row in frame["weights"]] == [[0.5, 1], [], [2]]


@pytest.mark.parametrize(
    "labels",
    [
        [("a", 1), ("a", ("b", 2.5)), ()],
        [b"", b"\x00\xff"],
        [datetime.date(2020, 1, 1), datetime.date(1, 1, 1)],
        [datetime.datetime(2020, 1, 1, 12, 30, 0, 7), datetime.datetime(1, 1, 1)],
        [datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)],
        [datetime.datetime(2020, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))],
        [datetime.time(1, 2, 3, 4)],
        [datetime.time(1, 2, tzinfo=zoneinfo.ZoneInfo("UTC"))],
        [datetime.timedelta(days=-1, microseconds=3)],
        [np.datetime64("2020-01-01T00:00:00.123456789"), np.datetime64("2020-01-02", "ns")],
        [np.timedelta64(5, "ns")],
        [frozenset({"a", "b"}), frozenset()],
        [2**63, 2**70, -(2**63) - 1, 1],
        [Decimal("1.10"), Decimal("1E+3")],
        [Fraction(1, 3)],
        [uuid.UUID(int=5)],
        ["tea", "\ud800"],
    ],
    ids=lambda labels: type(labels[0]).__name__,
)
def test_labels_of_any_kind_come_back(tmp_path, labels):
    rows = [labels, labels[:1], labels[::-1]]
    dataset = SequenceDataset.from_sequences(rows)
    dataset.to_parquet(tmp_path / "data.parquet")
    again = SequenceDataset.read_parquet(tmp_path / "data.parquet")
    assert again == dataset
    assert again.to_lists() == rows
    assert [type(label) for label in again.vocabulary.tolist()] == [
        type(label) for label in dataset.vocabulary.tolist()
    ]


def test_users_of_several_kinds_come_back(data, tmp_path):
    users = np.empty(3, dtype=object)
    users[:] = [1, "1", ("a", None)]
    again = data.replace(users=users)
    again.to_parquet(tmp_path / "data.parquet")
    assert read_parquet(tmp_path / "data.parquet").users.tolist() == users.tolist()
    again.replace(users=np.array([1, "a", None], dtype=object)).to_parquet(tmp_path / "data.parquet")
    assert read_parquet(tmp_path / "data.parquet").users.tolist() == [1, "a", None]


def test_files_without_such_labels_stay_readable_for_older_versions(data, tmp_path):
    versions = []
    for dataset in (data, SequenceDataset.from_sequences([[("a", 1)]])):
        dataset.to_parquet(tmp_path / "data.parquet")
        metadata = pq.read_schema(tmp_path / "data.parquet").metadata
        versions.append(json.loads(metadata[b"seqregen"])["version"])
    assert versions == [1, 2]


def test_the_hour_that_comes_twice_comes_back_as_the_one_it_was(tmp_path):
    paris = zoneinfo.ZoneInfo("Europe/Paris")
    for fold, offset in ((0, 2), (1, 1)):
        label = datetime.datetime(2020, 10, 25, 2, 30, tzinfo=paris, fold=fold)
        SequenceDataset.from_sequences([[label]]).to_parquet(tmp_path / "data.parquet")
        (again,) = SequenceDataset.read_parquet(tmp_path / "data.parquet").vocabulary
        assert again.utcoffset() == datetime.timedelta(hours=offset)
        assert again.tzinfo is paris


def test_a_zone_that_the_machine_does_not_know(tmp_path, monkeypatch):
    label = datetime.datetime(2020, 10, 25, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))
    SequenceDataset.from_sequences([[label]]).to_parquet(tmp_path / "data.parquet")

    def absent(key):
        raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")

    monkeypatch.setattr(zoneinfo, "ZoneInfo", absent)
    with pytest.raises(ValueError, match=r"data\.parquet' has times in a zone .* Europe/Paris\).* pip install tzdata"):
        SequenceDataset.read_parquet(tmp_path / "data.parquet")


class Tea(str):
    """A label of a class of one's own."""


class _Zone(datetime.tzinfo):
    """A time zone that no name gives back."""

    def utcoffset(self, when):
        return datetime.timedelta(hours=1)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ((Tea("green"), 1), "of type Tea"),
        (datetime.datetime(2020, 1, 1, tzinfo=_Zone()), "of type datetime with a time zone of no name"),
        (range(3), "of type range"),
    ],
)
def test_labels_that_would_change_are_refused(tmp_path, label, why):
    dataset = SequenceDataset.from_sequences([[label]])
    with pytest.raises(ValueError, match=rf"vocabulary cannot be written .* {why}, .*str\(label\)"):
        dataset.to_parquet(tmp_path / "data.parquet")
    assert os.listdir(tmp_path) == []


def test_columns_that_parquet_cannot_hold_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match=r"timestamps of dtype datetime64\[h\] .* use datetime64\[s\]"):
        data.replace(timestamps=np.zeros(3, "datetime64[h]")).to_parquet(tmp_path / "data.parquet")
    for dtype in ("timedelta64[m]", "timedelta64[D]"):
        with pytest.raises(ValueError, match=r"timestamps of dtype timedelta64\[.\] .* use timedelta64\[s\]"):
            data.replace(timestamps=np.zeros(3, dtype)).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ValueError, match=r"datetime64\[25s\] cannot be written to Parquet; use datetime64\[s\]"):
        data.replace(timestamps=np.zeros(3, "datetime64[25s]")).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ValueError, match="domains of dtype complex128"):
        data.replace(domains=np.zeros(3, complex)).to_parquet(tmp_path / "data.parquet")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", [">i8", "<i8", ">f4", ">M8[s]", ">m8[ms]"])
def test_columns_of_either_order_of_bytes_come_back(tmp_path, dtype):
    dataset = SequenceDataset.from_sequences([["a", "b"]]).replace(timestamps=np.array([1, 2]).astype(dtype))
    dataset.to_parquet(tmp_path / "data.parquet")
    assert SequenceDataset.read_parquet(tmp_path / "data.parquet") == dataset


# Files that others wrote


def test_reads_a_list_column_and_a_long_frame(tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "basket": [["a", "b"], []]}), tmp_path / "lists.parquet")
    assert read_parquet(tmp_path / "lists.parquet").to_lists() == [["a", "b"], []]
    pq.write_table(pa.table({"user": [1, 1], "item": ["a", "b"], "time": [2, 1]}), tmp_path / "long.parquet")
    assert read_parquet(tmp_path / "long.parquet").to_lists() == [["b", "a"]]


def test_a_table_without_sequences_is_named(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet' is a frame with the columns 'a'"):
        read_parquet(tmp_path / "other.parquet")


def test_a_bad_value_in_a_file_of_others_is_placed_in_the_file(tmp_path):
    pq.write_table(pa.table({"user": [1, 1], "item": ["a", None]}), tmp_path / "long.parquet")
    with pytest.raises(ValueError, match=r"long\.parquet' cannot be read at row 1 .*, column 'item': .*missing"):
        read_parquet(tmp_path / "long.parquet")
    pq.write_table(pa.table({"user": [1, None], "basket": [["a"], ["b"]]}), tmp_path / "lists.parquet")
    with pytest.raises(ValueError, match=r"lists\.parquet' cannot be read at row 1 .*, column 'user': .*missing"):
        read_parquet(tmp_path / "lists.parquet")


def test_users_beside_a_list_column_are_kept(tmp_path):
    pq.write_table(pa.table({"user": ["v", "u"], "basket": [["a", "b"], []]}), tmp_path / "lists.parquet")
    assert read_parquet(tmp_path / "lists.parquet").users.tolist() == ["v", "u"]


def test_columns_of_a_long_frame_can_be_named(data, tmp_path):
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"who": [1, 1], "what": ["a", "b"], "time": [2, 1], "when": [1, 2]}), path)
    assert read_parquet(path, user="who", item="what").to_lists() == [["b", "a"]]
    assert read_parquet(path, user="who", item="what", time="when").to_lists() == [["a", "b"]]
    with pytest.raises(ValueError, match=r"long\.parquet' is a frame .*\.read_parquet\(path, user="):
        read_parquet(path)
    with pytest.raises(ValueError, match=r"long\.parquet' has no column 'person'; its columns are 'who'"):
        read_parquet(path, user="person", item="what")
    data.to_parquet(path)
    with pytest.raises(ValueError, match="has no column 'who'; its columns are 'items'"):
        read_parquet(path, user="who")


# Damage


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*data\.parquet"):
        read_parquet(tmp_path / "data.parquet")


def test_a_directory_is_not_called_damaged(tmp_path):
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        read_parquet(tmp_path)


def test_a_wiped_beginning_is_noticed(data, tmp_path):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    path.write_bytes(bytes(512) + path.read_bytes()[512:])
    with pytest.raises(ValueError, match=r"data\.parquet' .*truncated or corrupt \(it begins with"):
        read_parquet(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(data, tmp_path, share):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"data\.parquet' cannot be read as Parquet, .*truncated or corrupt"):
        read_parquet(path)


def test_a_file_that_is_no_parquet(tmp_path):
    path = tmp_path / "data.parquet"
    path.write_text("1 2 3\n" * 100)
    with pytest.raises(ValueError, match=r"data\.parquet' cannot be read as Parquet"):
        read_parquet(path)


def test_flipped_bytes_in_the_data_are_noticed(tmp_path):
    random = np.random.default_rng(0)
    dataset = SequenceDataset.from_sequences(random.integers(0, 10**6, size=(100, 100)))
    path = tmp_path / "data.parquet"
    dataset.to_parquet(path)
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or corrupt"):
        read_parquet(path)


FLIP_BITS = """
import sys
from seqregen.formats import read_parquet

original, path = sys.argv[1:]
expected, content = read_parquet(original), open(original, "rb").read()
with open(path, "wb") as file:
    file.write(content)
refused = equal = 0
with open(path, "r+b", buffering=0) as file:
    for place in range(len(content)):
        file.seek(place)
        file.write(bytes([content[place] ^ 1 << place % 8]))
        try:
            assert read_parquet(path) == expected, place
            equal += 1
        except ValueError as error:
            assert path in str(error), place
            refused += 1
        file.seek(place)
        file.write(content[place : place + 1])
print(refused, equal)
"""


def test_a_flipped_bit_is_noticed_wherever_it_is(data, tmp_path):
    """In a process of its own: some of these files end the process that hands them to pyarrow."""
    dataset = data.replace(
        users=np.array(["ann", "bob", "cyd"], dtype=object),
        weights=np.array([1, 0.5, 2]),
        origin=np.array([0, 0, 1]),
        timestamps=np.arange(3),
        validation=np.array([1, 2, 0]),
        pairs=PatternPairs(np.array([0, 1, 1, 1]), np.array([0]), np.array([1, 2]), np.array([0, 2])),
    )
    paths = [str(tmp_path / name) for name in ("original.parquet", "flipped.parquet")]
    dataset.to_parquet(paths[0])
    assert read_parquet(paths[0]) == dataset
    command = [sys.executable, "-c", FLIP_BITS, *paths]
    finished = subprocess.run(command, check=False, timeout=300, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    refused, equal = map(int, finished.stdout.split())
    # Without its mark the file is read as one that bears no checksum; nothing else of it has changed.
    assert equal == len("seqregen-sha256:")
    assert refused > 4000


@pytest.mark.parametrize("n_rows", [0, 3])
def test_files_without_a_checksum_are_read(data, tmp_path, n_rows):
    """Those of earlier versions, and those that another program copied with all their metadata."""
    path = tmp_path / "data.parquet"
    data[:n_rows].to_parquet(path)
    sealed = path.read_bytes()
    pq.write_table(pq.read_table(path), path)
    assert sealed[4:].startswith(b"seqregen-sha256:")
    assert not path.read_bytes()[4:].startswith(b"seqregen-sha256:")
    assert read_parquet(path) == data[:n_rows]


def test_other_readers_do_not_mind_the_checksum(data, tmp_path):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    assert pl.read_parquet(path)["items"].to_list() == ROWS
    assert pl.scan_parquet(path).filter(pl.col("origin") == 0).select("items").collect()["items"].to_list() == ROWS
    assert pq.read_table(path, memory_map=True)["items"].to_pylist() == ROWS
    assert pads.dataset(path).to_table(filter=pads.field("origin") == 1).num_rows == 0


@pytest.mark.parametrize(
    "facts",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"version": "1"}',
        b'{"version": 1}',
        b'{"version": 1, "tables": 3, "dtypes": {}}',
        b'{"version": 1, "tables": {"vocabulary": "//8="}, "dtypes": {"vocabulary": "O"}}',
        b'{"version": 1, "tables": {"vocabulary": null}, "dtypes": {"vocabulary": "?!"}}',
        b"\xff",
    ],
)
def test_whatever_the_metadata_hold_the_file_is_named(data, tmp_path, facts):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"seqregen": facts}), path)
    with pytest.raises(ValueError, match=r"data\.parquet' cannot be read as Parquet, .*truncated or corrupt"):
        read_parquet(path)


def test_a_lack_of_memory_is_no_damage(data, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("malloc of size 99 failed")

    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    monkeypatch.setattr(pq, "read_table", fail)
    with pytest.raises(MemoryError, match="malloc"):
        read_parquet(path)


def test_columns_that_do_not_fit_together(data, tmp_path):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "items", pa.array([["tea"], [], ["coffee"]])), path)
    with pytest.raises(ValueError, match="do not fit together: the item 'coffee' is not in the vocabulary"):
        read_parquet(path)
    pq.write_table(table.drop_columns(["items"]), path)
    with pytest.raises(ValueError, match="do not fit together"):
        read_parquet(path)


def test_a_newer_version_is_refused(data, tmp_path):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"seqregen"]) | {"version": 99}
    pq.write_table(table.replace_schema_metadata({b"seqregen": json.dumps(facts)}), path)
    with pytest.raises(ValueError, match=r"has version 99 of the format, .* upgrade"):
        read_parquet(path)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_the_old_file_survives_a_failure_in_the_middle(data, tmp_path, monkeypatch, failure):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)

    def write_half(table, path):
        path.write_bytes(b"half of the fi")
        raise failure

    monkeypatch.setattr(parquet, "write_sealed", write_half)
    with pytest.raises(type(failure)):
        data[:1].to_parquet(path)
    assert os.listdir(tmp_path) == ["data.parquet"]
    assert read_parquet(path) == data


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="here names of files are Unicode")
def test_a_name_that_is_no_unicode(data, tmp_path):
    path = tmp_path / os.fsdecode(b"o\xff.parquet")
    data.to_parquet(path)
    assert read_parquet(path) == data
    assert os.listdir(os.fsencode(tmp_path)) == [b"o\xff.parquet"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full disk at hand")
@pytest.mark.parametrize("n_numbers", [3, 10**6])
def test_a_full_disk_is_told(n_numbers):
    table = pa.table({"a": np.random.default_rng(0).random(n_numbers)})
    with pytest.raises(OSError, match="No space left on device"):
        write_sealed(table, "/dev/full")


def test_a_large_vocabulary_with_few_rows(tmp_path):
    dataset = SequenceDataset(np.array([1, 300_000]), np.array([0, 2]), np.arange(300_000) * 7)
    dataset.to_parquet(tmp_path / "data.parquet")
    assert read_parquet(tmp_path / "data.parquet") == dataset


@pytest.mark.parametrize("column", ["users", "domains"])
def test_a_nul_ends_no_label(tmp_path, column):
    rows = SequenceDataset.from_sequences([[1], [2]]).replace(**{column: np.array(["b\0c", "b"])})
    to_parquet(rows, tmp_path / "rows.parquet")
    again = read_parquet(tmp_path / "rows.parquet")
    assert again == rows
    assert getattr(again, column).tolist() == ["b\0c", "b"]


@pytest.mark.parametrize("labels", [[1, 2.5, True], [1, 2.5, 3], [True, 0, 2], [np.int64(1), 2.5, None]])
def test_numbers_of_several_kinds_stay_what_they_are(tmp_path, labels):
    rows = SequenceDataset.from_sequences([[1, 2, 3]]).replace(domains=np.array(labels, dtype=object))
    to_parquet(rows, tmp_path / "rows.parquet")
    domains = read_parquet(tmp_path / "rows.parquet").domains.tolist()
    assert domains == labels
    assert [np.asarray(label).dtype.kind for label in domains] == [np.asarray(label).dtype.kind for label in labels]


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are doubles here")
def test_long_doubles_are_refused(tmp_path):
    rows = SequenceDataset.from_sequences([[1]]).replace(users=np.array([1], dtype=np.longdouble))
    with pytest.raises(ValueError, match=r"users of dtype .* cannot be written to Parquet; use float64"):
        to_parquet(rows, tmp_path / "rows.parquet")
