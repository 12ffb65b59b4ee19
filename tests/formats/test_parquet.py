"""Parquet keeps everything, and a damaged file says so."""

from __future__ import annotations

import datetime
import errno
import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_strategies import full_datasets
from hypothesis import HealthCheck, given, settings

from seqregen import SequenceDataset
from seqregen.formats import read_parquet, to_parquet

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
    assert again.vocabulary.dtype == vocabulary.dtype
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
    ("labels", "type_name"), [([("a", 1)], "tuple"), ([datetime.date(2020, 1, 1)], "date"), ([b"a"], "bytes")]
)
def test_labels_that_parquet_would_change_are_refused(tmp_path, labels, type_name):
    dataset = SequenceDataset.from_sequences([labels])
    with pytest.raises(ValueError, match=rf"the vocabulary cannot be written .* of type {type_name}; .*str\(label\)"):
        dataset.to_parquet(tmp_path / "data.parquet")
    assert os.listdir(tmp_path) == []


def test_columns_that_parquet_cannot_hold_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match="users cannot be written to Parquet"):
        data.replace(users=np.array([1, "a", None], dtype=object)).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ValueError, match=r"timestamps of dtype datetime64\[h\] .* use datetime64\[s\]"):
        data.replace(timestamps=np.zeros(3, "datetime64[h]")).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ValueError, match="domains of dtype complex128"):
        data.replace(domains=np.zeros(3, complex)).to_parquet(tmp_path / "data.parquet")
    assert os.listdir(tmp_path) == []


# Files that others wrote


def test_reads_a_list_column_and_a_long_frame(tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "basket": [["a", "b"], []]}), tmp_path / "lists.parquet")
    assert read_parquet(tmp_path / "lists.parquet").to_lists() == [["a", "b"], []]
    pq.write_table(pa.table({"user": [1, 1], "item": ["a", "b"], "time": [2, 1]}), tmp_path / "long.parquet")
    assert read_parquet(tmp_path / "long.parquet").to_lists() == [["b", "a"]]


def test_a_table_without_sequences_is_named(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet is a frame with the columns 'a'"):
        read_parquet(tmp_path / "other.parquet")


# Damage


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*data\.parquet"):
        read_parquet(tmp_path / "data.parquet")


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
    write = pq.write_table

    def write_half(table, where, **options):
        write(table, where, **options)
        os.truncate(where, os.path.getsize(where) // 2)
        raise failure

    monkeypatch.setattr(pq, "write_table", write_half)
    with pytest.raises(type(failure)):
        data[:1].to_parquet(path)
    assert os.listdir(tmp_path) == ["data.parquet"]
    assert read_parquet(path) == data


def test_a_large_vocabulary_with_few_rows(tmp_path):
    dataset = SequenceDataset(np.array([1, 300_000]), np.array([0, 2]), np.arange(300_000) * 7)
    dataset.to_parquet(tmp_path / "data.parquet")
    assert read_parquet(tmp_path / "data.parquet") == dataset
