"""Columns of polars from numpy arrays, that give back the very values."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np

__all__ = ["polars_series", "wide_integers"]

_MOST_DIGITS = 38
# Years and months are no durations of one length.
_LONG_UNITS = {"M": ("Y", "M", "W", "D", "h", "m", "s"), "m": ("W", "D", "h", "m", "s")}
_MICROSECOND = datetime.timedelta(microseconds=1)


def polars_series(values: np.ndarray, name: str, missing: np.ndarray | None = None) -> Any:
    """A column of polars.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Of a dtype that polars knows, or objects: those that are all of one plain type get a column of it, all others
        one of Python objects.
    name : str
        What the message calls the column.
    missing : bool ndarray of shape (n,), optional
        Where nothing is known; the column has nulls there.

    Returns
    -------
    polars.Series

    Raises
    ------
    ValueError
        polars has no column for values of this dtype.
    """
    import polars as pl

    if values.dtype.kind in "OU":
        objects = values.astype(object)
        if missing is not None:
            objects[missing] = None
        return _objects(objects.tolist())
    try:
        series = pl.Series(_in_a_unit_of_polars(values.astype(values.dtype.newbyteorder("="), copy=False)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"polars has no column for {name} of dtype {values.dtype}; use to_frame('pandas') or to_parquet."
        ) from error
    return series if missing is None else series.zip_with(pl.Series(~missing), pl.Series([None], dtype=series.dtype))


def _in_a_unit_of_polars(values: np.ndarray) -> np.ndarray:
    kind = values.dtype.kind
    if kind not in _LONG_UNITS:
        return values
    unit, count = np.datetime_data(values.dtype)
    if unit in _LONG_UNITS[kind] and (kind, unit, count) != ("M", "D", 1):
        # The longest unit of polars' times.
        unit = "ms"
    elif count == 1:
        return values
    # polars takes units of ten milliseconds for milliseconds.
    return values.astype(f"{kind}8[{unit}]")


def _objects(values: list) -> Any:
    import polars as pl

    known = [value for value in values if value is not None]
    dtype = _plain_type(known) if known else pl.Null
    if dtype == pl.Object:
        return _opaque(values)
    try:
        return pl.Series(values, dtype=dtype)
    except UnicodeEncodeError:
        # Strings that are no valid Unicode.
        return _opaque(values)


def _opaque(values: list) -> Any:
    import polars as pl

    # By the first value polars decides what to make of all, members of an enumeration their numbers for example.
    return pl.Series([object(), *values], dtype=pl.Object)[1:]


def _plain_type(known: list) -> Any:
    """The type of polars that all values fit in and come back from as they were; that of Python objects for others."""
    import polars as pl

    kinds = set(map(type, known))
    kind = kinds.pop() if len(kinds) == 1 else None
    plain = {str: pl.String, bool: pl.Boolean, float: pl.Float64, bytes: pl.Binary, datetime.date: pl.Date}
    if kind in plain:
        return plain[kind]
    if kind is int and min(known) >= -(2**63) and max(known) < 2**63:
        return pl.Int64
    if kind is Decimal:
        return _decimal_type(known)
    if kind is datetime.timedelta and max(map(abs, known)) // _MICROSECOND < 2**63:
        return pl.Duration("us")
    if kind in (datetime.datetime, datetime.time) and all(value.tzinfo is None for value in known):
        return pl.Datetime("us") if kind is datetime.datetime else pl.Time
    return pl.Object


def _decimal_type(known: list[Decimal]) -> Any:
    import polars as pl

    if not all(value.is_finite() for value in known):
        return pl.Object
    scale = max(max(-int(value.as_tuple().exponent), 0) for value in known)
    # Digits before and behind the point share the places that there are.
    digits = max(max(value.adjusted() + 1, 0) for value in known)
    return pl.Decimal(_MOST_DIGITS, scale) if digits + scale <= _MOST_DIGITS else pl.Object


def wide_integers(column: Any) -> Any:
    """Integers of 128 bits, which numpy lacks, in a column of 64 bits, or of Python integers where some do not fit."""
    import polars as pl

    if column.dtype.base_type().__name__ not in ("Int128", "UInt128"):
        return column
    narrow = column.cast(pl.Int64, strict=False)
    return narrow if narrow.null_count() == column.null_count() else _opaque(column.to_list())
