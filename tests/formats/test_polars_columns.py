"""What polars has no column for goes out to it as objects, and comes back as it was."""

from __future__ import annotations

import datetime
import enum
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqregen import SequenceDataset
from seqregen.formats import convert_arrow_lists, from_frame
from seqregen.formats.polars_columns import polars_series

TOKYO = zoneinfo.ZoneInfo("Asia/Tokyo")
WIDE = [getattr(pl, name) for name in ("Int128", "UInt128") if hasattr(pl, name)]
over_wide_integers = pytest.mark.parametrize("dtype", WIDE, ids=str)


class Tea(enum.Enum):
    GREEN = 1
    BLACK = 2


class Cup(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


OPAQUE = [
    [Tea.GREEN, Tea.BLACK],
    [Cup.SMALL, Cup.LARGE],
    [Fraction(1, 3), Fraction(2)],
    [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)],
    [datetime.datetime(2020, 1, 1, tzinfo=TOKYO), datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)],
    [datetime.time(1), datetime.time(1, tzinfo=datetime.UTC)],
    [datetime.timedelta(1), datetime.timedelta.max],
    [(1, 2), (3, 4)],
    [("a", 1), ("b",), ()],
    [frozenset("ab"), frozenset()],
    [2**70, 1, -(2**63) - 1],
    [2**63, 5],
    [Decimal("1E+50"), Decimal("1E-50")],
    [Decimal("0.1"), Decimal("1E-30"), Decimal("12345678901234567890")],
    [Decimal("Infinity"), Decimal("1")],
    [uuid.UUID(int=5), uuid.UUID(int=6)],
    [np.datetime64(5, "ns"), np.datetime64(6000, "ns")],
    ["tea", "\ud800"],
]
PLAIN = {
    pl.String: ["tea", ""],
    pl.Boolean: [True, False],
    pl.Int64: [2**63 - 1, -(2**63)],
    pl.Float64: [0.1, -1e300],
    pl.Binary: [b"", b"\x00\xff"],
    pl.Date: [datetime.date.min, datetime.date.max],
    pl.Datetime: [datetime.datetime.min, datetime.datetime.max],
    pl.Time: [datetime.time.min, datetime.time.max],
    pl.Duration: [datetime.timedelta(days=-3, microseconds=1), datetime.timedelta(0)],
    pl.Decimal: [Decimal("1.10"), Decimal("1E+3")],
}


def objects(values):
    return np.fromiter(values, dtype=object, count=len(values))


@pytest.mark.parametrize("labels", [*OPAQUE, *PLAIN.values()], ids=lambda labels: type(labels[0]).__name__)
def test_labels_there_and_back(labels):
    users = objects(labels[::-1])
    dataset = SequenceDataset.from_sequences([labels] * len(labels)).replace(users=users)
    dataset = dataset.replace(domains=objects(labels * len(labels)))
    again = from_frame(dataset.to_frame("polars"))
    assert again.to_lists() == dataset.to_lists()
    for name in ("vocabulary", "users", "domains"):
        found, expected = getattr(again, name).tolist(), getattr(dataset, name).tolist()
        assert found == expected
        assert list(map(type, found)) == list(map(type, expected))
        # Equal times may be of two zones; equal decimals of two scales, which polars does not tell apart.
        if not isinstance(labels[0], Decimal):
            assert list(map(repr, found)) == list(map(repr, expected))


@pytest.mark.parametrize("labels", OPAQUE, ids=lambda labels: type(labels[0]).__name__)
def test_objects_beside_missing_ones(labels):
    series = polars_series(objects([None, *labels]), "item")
    assert series.dtype == pl.Object
    assert series.to_list() == [None, *labels]
    assert series.is_null().to_list() == [True] + [False] * len(labels)


@pytest.mark.parametrize(("dtype", "values"), PLAIN.items(), ids=map(str, PLAIN))
def test_plain_values_have_a_column_of_their_own(dtype, values):
    series = polars_series(objects([None, *values]), "item")
    assert series.dtype == dtype
    assert series.to_list() == [None, *values]


@given(st.lists(st.decimals(allow_nan=False), min_size=1))
def test_decimals_come_back(values):
    assert polars_series(objects(values), "item").to_list() == values


@given(
    st.lists(st.datetimes() | st.timedeltas() | st.times() | st.dates() | st.integers() | st.floats(allow_nan=False))
)
def test_values_of_any_kind_come_back(values):
    assert polars_series(objects(values), "item").to_list() == values


@pytest.mark.parametrize("domains", [[Tea.GREEN, None, Tea.BLACK], [None, ("a", 1), ("b",)], [None, None, "x"]])
def test_missing_domains_beside_objects(domains):
    dataset = SequenceDataset.from_sequences([["a", "b"], ["a"]])
    dataset = dataset.replace(domains=objects(domains), timestamps=np.array([3, np.iinfo(np.int64).min, 5]))
    frame = dataset.to_frame("polars")
    assert frame["domain"].is_null().to_list() == [domain is None for domain in domains]
    again = from_frame(frame)
    assert again.domains.tolist() == domains
    assert again.timestamps.tolist() == dataset.timestamps.tolist()


@pytest.mark.parametrize(
    "dtype", ["M8[Y]", "M8[M]", "M8[W]", "M8[h]", "M8[25s]", "M8[10ms]", "m8[D]", "m8[W]", "m8[10us]", ">M8[s]"]
)
def test_units_that_polars_lacks_become_shorter_ones(dtype):
    dataset = SequenceDataset.from_sequences([["b", "a"]]).replace(timestamps=np.array([30, 70]).astype(dtype))
    assert (from_frame(dataset.to_frame("polars")).timestamps == dataset.timestamps).all()


@pytest.mark.parametrize("dtype", ["M8[ps]", "m8[Y]", "m8[ps]", "m8"])
def test_units_that_would_change_are_refused(dtype):
    dataset = SequenceDataset.from_sequences([["b", "a"]]).replace(timestamps=np.array([5, 7]).astype(dtype))
    with pytest.raises(ValueError, match=r"polars has no column for time of dtype .*64.*; use to_frame\('pandas'\) or"):
        dataset.to_frame("polars")


# Integers of 128 bits


@over_wide_integers
def test_wide_integers_that_fit_are_integers(dtype):
    wide = pl.Series([3, 1, 2], dtype=dtype)
    dataset = from_frame(pl.DataFrame({name: wide for name in ("user", "item", "time", "weight", "domain")}))
    assert dataset.users.tolist() == [3, 1, 2]
    assert dataset.to_lists() == [[3], [1], [2]]
    for column in (dataset.vocabulary, dataset.timestamps, dataset.domains):
        assert column.dtype == np.int64
    assert dataset.timestamps.tolist() == dataset.weights.tolist() == [3, 1, 2]
    assert convert_arrow_lists(pl.Series([[3], [1, 2]], dtype=pl.List(dtype))).to_lists() == [[3], [1, 2]]


@over_wide_integers
def test_wide_integers_are_labels(dtype):
    wide = pl.Series([2**70, 1], dtype=dtype)
    dataset = from_frame(pl.DataFrame({"user": wide, "item": wide, "domain": wide}))
    assert dataset.to_lists() == [[2**70], [1]]
    assert dataset.users.tolist() == dataset.domains.tolist() == [2**70, 1]


@over_wide_integers
@pytest.mark.parametrize("column", ["time", "weight"])
def test_wide_numbers_that_do_not_fit_are_placed(dtype, column):
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2]}).with_columns(pl.Series(column, [1, 2**70], dtype=dtype))
    with pytest.raises(
        ValueError, match=rf"row 1 .*, column '{column}': the number 1180591620717411303424 does not fit"
    ):
        from_frame(frame)


@over_wide_integers
@pytest.mark.parametrize("column", ["user", "item", "time"])
def test_missing_wide_integers_are_placed(dtype, column):
    base = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": [1, 2]})
    for large in (7, 2**70):
        frame = base.with_columns(pl.Series(column, [large, None], dtype=dtype))
        with pytest.raises(ValueError, match=rf"row 1 .*, column '{column}': .*missing"):
            from_frame(frame)


def test_strings_of_numpy_are_strings():
    users = np.fromiter(map(np.str_, "uv"), dtype=object)
    frame = SequenceDataset.from_sequences([[np.str_("a")], [np.str_("b")]]).replace(users=users).to_frame("polars")
    assert frame.schema["user"] == frame.schema["item"] == pl.String
