"""Parquet files that other programs wrote, or made of one of ours."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqregen import Origin, SequenceDataset
from seqregen.formats import read_parquet


@pytest.fixture
def data():
    return SequenceDataset.from_sequences([["tea", "milk"], [], ["milk"]])


@pytest.mark.parametrize("named", [{}, {"item": "item"}])
def test_two_columns_of_one_name_are_named(tmp_path, named):
    table = pa.Table.from_arrays([pa.array([1, 1]), pa.array(["a", "b"]), pa.array([2, 1])], ["user", "item", "item"])
    pq.write_table(table, tmp_path / "long.parquet")
    with pytest.raises(ValueError, match=r"long\.parquet' has two columns named 'item'; rename one"):
        read_parquet(tmp_path / "long.parquet", **named)


def test_rows_that_another_program_added_are_noticed(data, tmp_path):
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    table = pq.read_table(path)
    for n_rows, changed in ((6, pa.concat_tables([table, table])), (1, table.slice(0, 1))):
        pq.write_table(changed, path)
        with pytest.raises(
            ValueError, match=rf"data\.parquet' .* another program .*, with {n_rows} rows in place of 3\."
        ):
            read_parquet(path)
    facts = json.loads(table.schema.metadata[b"seqregen"])
    del facts["rows"]
    # As earlier versions wrote it.
    pq.write_table(table.replace_schema_metadata({b"seqregen": json.dumps(facts)}), path)
    assert read_parquet(path) == data


def test_without_their_origins_rows_are_refused(data, tmp_path):
    path = tmp_path / "data.parquet"
    data.replace(origin=np.array([0, 0, 1])).to_parquet(path)
    pq.write_table(pq.read_table(path).drop_columns(["origin"]), path)
    with pytest.raises(ValueError, match=r"data\.parquet' .* another program .* without the column 'origin', so that"):
        read_parquet(path)


@pytest.mark.parametrize("name", ["items", "weights"])
def test_a_null_in_place_of_a_list_is_placed(data, tmp_path, name):
    path = tmp_path / "data.parquet"
    data.replace(weights=np.array([0.5, 1, 2])).to_parquet(path)
    table = pq.read_table(path)
    place = table.column_names.index(name)
    nulls = pa.array([table[name][0].as_py(), [], None], table.schema.field(name).type)
    pq.write_table(table.set_column(place, name, nulls), path)
    with pytest.raises(ValueError, match=rf"do not fit together: row 2 of the column '{name}' is null, not a list"):
        read_parquet(path)


def test_rows_that_another_program_ordered_anew_are_noticed(tmp_path):
    data = SequenceDataset.from_sequences([["tea", "milk"], ["salt"], ["milk", "tea"]])
    data = data.append(np.array([1, 2]), np.array([0, 2]), Origin.REGENERATED, source=np.array([0]))
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    table = pq.read_table(path)
    # The same rows, compressed otherwise: nothing has changed.
    pq.write_table(table, path, compression="none")
    assert read_parquet(path) == data
    for changed in (table.take([2, 1, 0, 3]), table.drop_columns(["source"])):
        pq.write_table(changed, path)
        with pytest.raises(ValueError, match=r"data\.parquet' .* another program .* or with its rows in another order"):
            read_parquet(path)


def test_lists_are_read_under_the_names_that_are_given(tmp_path):
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.table({"uid": ["u", "v"], "skus": [[3, 4], [5]], "times": [[1, 2], [3]]}), path)
    for names in ({"user": "uid", "item": "skus"}, {"item": "skus"}):
        data = read_parquet(path, **names)
        assert data.to_lists() == [[3, 4], [5]]
        assert (data.users is None) == ("user" not in names)
    with pytest.raises(ValueError, match=r"2 columns of lists .* Name the columns with .*read_parquet\(path, item="):
        read_parquet(path)
    with pytest.raises(ValueError, match="users beside them; times, as in 'times', are not"):
        read_parquet(path, item="skus", time="times")
    with pytest.raises(ValueError, match="has no column 'nobody'; its columns are"):
        read_parquet(path, item="skus", user="nobody")
    # Lists that nobody named may be anything.
    with pytest.raises(ValueError, match="has no column 'item'; its columns are 'uid', 'skus', 'times'"):
        read_parquet(path, user="uid", time="times")
    pq.write_table(pa.table({"user": ["u", "v"], "basket": [[3, 4], [5]]}), path)
    assert read_parquet(path, item="basket").users.tolist() == ["u", "v"]


def test_a_name_does_not_make_added_rows_original(data, tmp_path):
    path = tmp_path / "data.parquet"
    data.replace(origin=np.array([0, 0, 1])).to_parquet(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    for names in ({}, {"item": "items"}):
        with pytest.raises(ValueError, match="rows that were added would pass for original ones"):
            read_parquet(path, **names)
