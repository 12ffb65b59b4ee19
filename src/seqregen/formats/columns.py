"""One column of a pandas, polars or pyarrow table as numpy arrays, without a Python object an element."""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from ..columns import missing_value, with_room_for_missing
from ..labels import LabelError, as_label_array, blocks, build_vocabulary, is_missing
from ..optional import package_of
from ..times import signed_times, times_of_objects
from .polars_columns import wide_integers

__all__ = ["encode_column", "label_column", "number_type", "time_column", "value_column"]

# What hash tables of texts in C may stumble over.
_ODD = re.compile("[\\0\ud800-\udfff]")


def encode_column(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Collect the distinct labels of a column and give every element its code.

    Parameters
    ----------
    column : pandas.Series, polars.Series, pyarrow.Array, pyarrow.ChunkedArray or ndarray of shape (n,)
        Labels of one kind.

    Returns
    -------
    vocabulary : ndarray of shape (n_distinct,)
        As :func:`seqregen.labels.build_vocabulary` returns it.
    codes : int64 ndarray of shape (n,)
        1-based codes.

    Raises
    ------
    LabelError
        A label is missing, or of another kind than the rest; ``position`` says where.
    """
    factorize = {"pandas": _factorize_pandas, "polars": _factorize_polars, "pyarrow": _factorize_arrow}
    codes, distinct = factorize.get(package_of(column), _not_factorized)(column)
    if codes is None:
        return build_vocabulary(as_label_array(distinct))
    missing = codes < 0
    if missing.any():
        raise LabelError("the value is missing", int(missing.argmax()))
    try:
        labels = as_label_array(distinct)
        sorted_texts = labels.dtype == object and _are_sorted_texts(labels)
        # Python's hash tables of a million texts would be larger than the column.
        vocabulary, distinct_codes = (
            (labels, np.arange(1, len(labels) + 1)) if sorted_texts else build_vocabulary(labels)
        )
    except LabelError as error:
        raise LabelError(error.message, int(np.argmax(codes == error.position))) from None
    codes = codes.astype(np.int64, copy=False)
    _recode(codes, distinct_codes)
    return vocabulary, codes


def _recode(codes: np.ndarray, new_codes: np.ndarray) -> None:
    for block in blocks(len(codes)):
        # In place: at ten million interactions a second array of codes is 80 MB.
        codes[block] = new_codes[codes[block]]


def _are_sorted_texts(labels: np.ndarray) -> bool:
    return set(map(type, labels)) == {str} and all(map(operator.lt, labels, islice(labels, 1, None)))


def _not_factorized(column: Any) -> tuple[None, Any]:
    return None, column


def _factorize_pandas(column: Any) -> tuple[np.ndarray | None, Any]:
    import pandas as pd

    if isinstance(column.dtype, np.dtype):
        values = column.to_numpy()
        if values.dtype != object:
            return (None, values) if values.dtype.kind != "i" or _is_compact(values) else pd.factorize(values)
        # Checked element by element first: the hash table of factorize takes 1, 1.0 and True for one label.
        values = as_label_array(values)
        if values.dtype != object:
            return None, values
        column = values
    elif isinstance(column.dtype, pd.ArrowDtype) or getattr(column.dtype, "storage", None) == "pyarrow":
        # Half the memory, and less than half the time, of the hash table of pandas.
        return _factorize_arrow(column.array.__arrow_array__())
    if _odd_texts_are_one() and any(isinstance(value, str) and _ODD.search(value) for value in column):
        return None, np.asarray(column, dtype=object)
    codes, distinct = pd.factorize(column)
    codes = codes if codes.flags.writeable else codes.copy()
    return codes, _plain(distinct)


@cache
def _odd_texts_are_one() -> bool:
    """Whether this version of pandas takes texts for one that differ behind a NUL, or a lone surrogate, alone."""
    import pandas as pd

    return any(
        len(pd.factorize(np.array(texts, dtype=object))[1]) == 1 for texts in (["", "\0"], ["\ud8001", "\ud8002"])
    )


def _is_compact(values: np.ndarray) -> bool:
    return len(values) == 0 or int(values.max()) - int(values.min()) < max(len(values), 1 << 16)


def _plain(distinct: Any) -> np.ndarray:
    """Distinct values as a typed array where they are numbers, else as objects."""
    values = np.asarray(distinct)
    if values.dtype != object:
        return values
    # Nullable and Arrow integers come as objects.
    return as_label_array(values)


def _factorize_polars(column: Any) -> tuple[np.ndarray | None, Any]:
    import polars as pl

    column = wide_integers(column)
    if column.dtype == pl.Object:
        return None, as_label_array(column.to_list())
    _refuse_nested(column.dtype.is_nested(), column.dtype)
    if column.null_count():
        raise LabelError("the value is missing (null)", int(column.is_null().arg_max()))
    if column.dtype.is_numeric() and not column.dtype.is_decimal():
        return None, column.to_numpy()
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    codes = column.rank("dense").to_numpy().astype(np.int64)
    codes -= 1
    # Older versions of polars have no unique decimals: an element of each rank does as well.
    places = np.empty(codes.max(initial=-1) + 1, dtype=np.int64)
    places[codes] = np.arange(len(codes))
    distinct = column.gather(places)
    if getattr(column.dtype, "time_unit", None) == "ns" and (distinct.to_physical() % 1000 != 0).any():
        # Python has no time of nanoseconds: polars would give those of one microsecond the same.
        return codes, distinct.to_numpy()
    return codes, distinct.to_list()


def _factorize_arrow(column: Any) -> tuple[np.ndarray | None, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    _refuse_nested(pa.types.is_nested(column.type), column.type)
    if isinstance(column.type, pa.BaseExtensionType):
        # Such as UUIDs, which no function of pyarrow computes with.
        return None, as_label_array(column.to_pylist())
    if pa.types.is_null(column.type) and len(column):
        raise LabelError("the value is missing (null)", 0)
    if column.null_count:
        raise LabelError("the value is missing (null)", pc.index(pc.is_null(column), True).as_py())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return None, _arrow_numpy(column)
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    foreign = pa.types.is_dictionary(chunked.type)
    chunked = chunked if foreign else _with_offsets(chunked).dictionary_encode()
    chunks = chunked.unify_dictionaries().chunks
    codes, distinct = _indices(chunks), chunks[0].dictionary if chunks else pa.array([], chunked.type.value_type)
    del chunked, chunks
    # What pyarrow has freed it would else keep for itself, half a column and more.
    pa.default_memory_pool().release_unused()
    if foreign:
        # A dictionary may hold labels that no element has.
        used, codes = build_vocabulary(codes)
        codes -= 1
        distinct = _with_offsets(distinct).take(pa.array(used))
    if pa.types.is_string(distinct.type) or pa.types.is_large_string(distinct.type):
        # The order of UTF-8 is that of Python's texts.
        order = pc.array_sort_indices(distinct)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order.to_numpy()] = np.arange(len(order))
        _recode(codes, rank)
        distinct = distinct.take(order)
    return codes, distinct.to_pylist()


def _with_offsets(strings: Any) -> Any:
    """Strings and bytes laid out as views, of which few functions of pyarrow know, in the layout that all know."""
    import pyarrow as pa

    usual = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(strings.type))
    return strings if usual is None else strings.cast(usual)


def _indices(chunks: list) -> np.ndarray:
    """The codes of chunks that share one dictionary, int64 (n,)."""
    codes = np.empty(sum(map(len, chunks)), dtype=np.int64)
    start = 0
    for chunk in chunks:
        codes[start : start + len(chunk)] = chunk.indices.to_numpy(zero_copy_only=False)
        start += len(chunk)
    return codes


def _refuse_nested(nested: bool, type_: Any) -> None:
    if nested:
        raise LabelError(f"the item is nested (type {type_}); one item is a number, a string or another label", 0)


def _arrow_numpy(column: Any) -> np.ndarray:
    import pyarrow as pa

    return column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)


def number_type(column: Any) -> np.dtype | None:
    """The numpy type of a column of numbers or booleans; None for other columns."""
    if package_of(column) == "pyarrow":
        from pyarrow import types

        numbers = types.is_integer(column.type) or types.is_floating(column.type) or types.is_boolean(column.type)
        return np.dtype(column.type.to_pandas_dtype()) if numbers else None
    if str(column.dtype) == "Null":
        # polars would make floats of what it has no type for.
        return None
    # A nullable dtype of pandas knows the numpy dtype that holds the same values, one of polars does not.
    empty = wide_integers(column).clear().to_numpy() if package_of(column) == "polars" else column
    dtype = getattr(empty.dtype, "numpy_dtype", empty.dtype)
    return dtype if isinstance(dtype, np.dtype) and dtype.kind in "iufb" else None


def value_column(column: Any, name: str, *, times: bool = False) -> np.ndarray:
    """A column of numbers, or of times, as a numpy array.

    Parameters
    ----------
    column : pandas.Series, polars.Series, pyarrow.Array or pyarrow.ChunkedArray of shape (n,)
        Integers or floats.
    name : str
        The column's name, for the message.
    times : bool, default=False
        Allow dates, times and durations as well. Times with a zone become UTC.

    Returns
    -------
    ndarray of shape (n,)
        Integer, float, datetime64 or timedelta64; possibly a view of the column's memory.

    Raises
    ------
    LabelError
        A value is missing, or the column holds something else.
    """
    convert = {"pandas": _pandas_values, "polars": _polars_values, "pyarrow": _arrow_values}
    values = convert[package_of(column)](column) if package_of(column) in convert else np.asarray(column)
    # Of texts the message below says more.
    if times and values.dtype == object and len(values) and not any(isinstance(value, str) for value in values):
        values = times_of_objects(values)
    if values.dtype.kind not in ("iufmM" if times else "iuf"):
        if len(values) == 0:
            # A column that holds nothing is often of no type at all.
            return np.zeros(0, dtype=np.float64)
        kind = "strings or objects" if values.dtype == object else str(values.dtype)
        wanted, example = ("numbers or times", "pandas.to_datetime") if times else ("numbers", "pandas.to_numeric")
        raise LabelError(
            f"the column {name!r} must hold {wanted}; it holds {kind} (for example {values[0]!r}). "
            f"Convert it first, for example with {example}",
            0,
        )
    missing = is_missing(values) if values.dtype.kind in "fmM" else np.zeros(0, dtype=bool)
    if missing.any():
        raise LabelError("the value is missing (NaN or NaT)", int(missing.argmax()))
    return values


def time_column(column: Any, name: str, *, nulls: bool = False) -> np.ndarray:
    """A column of times as :func:`value_column` gives it, unsigned numbers as int64.

    Parameters
    ----------
    column, name
        See there.
    nulls : bool, default=False
        Allow missing times, which become NaT, NaN or the smallest integer, as in a dataset.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    LabelError
        A time is missing, does not fit in 64 bits, or the column holds something else.
    """

    def read(known: Any) -> np.ndarray:
        return signed_times(value_column(known, name, times=True))

    return _read_known(column, "timestamps", read) if nulls else read(column)


def label_column(column: Any, *, nulls: bool = False) -> np.ndarray:
    """A column of labels element by element, numbers of the type that the column has.

    Parameters
    ----------
    column : pandas.Series, polars.Series, pyarrow.Array or pyarrow.ChunkedArray of shape (n,)
        Labels of one kind.
    nulls : bool, default=False
        Allow missing labels, which become None, NaN or the smallest integer, as in a dataset.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    LabelError
        A label is missing, or of another kind than the rest.
    """

    def read(known: Any) -> np.ndarray:
        labels, codes = encode_column(known)
        codes -= 1
        dtype = number_type(known)
        if dtype is None and len(labels) == 0:
            # Nothing tells what the labels would be.
            labels = labels.astype(object)
        # One byte an element should not become eight.
        return (labels if dtype is None else labels.astype(dtype, copy=False))[codes]

    return _read_known(column, "domains", read) if nulls else read(column)


def _read_known(column: Any, role: str, read: Callable[[Any], np.ndarray]) -> np.ndarray:
    """What ``read`` makes of the values that are there, and the missing value of a dataset where none is."""
    missing = _is_null(column)
    if not missing.any():
        return read(column)
    places = np.flatnonzero(~missing)
    try:
        known = with_room_for_missing(read(_take(column, places)))
    except LabelError as error:
        raise LabelError(error.message, int(places[error.position]), error.error_type) from None
    values = np.full(len(missing), missing_value(role, known.dtype), dtype=known.dtype)
    values[places] = known
    return values


def _is_null(column: Any) -> np.ndarray:
    package = package_of(column)
    if package == "pandas":
        return column.isna().to_numpy()
    if package == "polars":
        # NaN is no null to polars, and says as little of a time.
        return (column.fill_nan(None) if column.dtype.is_float() else column).is_null().to_numpy()
    import pyarrow.compute as pc

    return _arrow_numpy(pc.is_null(column, nan_is_null=True))


def _take(column: Any, places: np.ndarray) -> Any:
    if package_of(column) == "pandas":
        return column.iloc[places]
    return column[places] if package_of(column) == "polars" else column.take(places)


def _pandas_values(column: Any) -> np.ndarray:
    missing = column.isna()
    if missing.any():
        raise LabelError("the value is missing", int(missing.to_numpy().argmax()))
    if getattr(column.dtype, "tz", None) is not None:
        return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    if hasattr(column.dtype, "pyarrow_dtype"):
        return _arrow_values(column.array.__arrow_array__())
    if column.dtype == object and set(map(type, column)) == {datetime.date}:
        # Seconds are what pandas itself makes of dates, so that a frame of the result gives the same back.
        return column.to_numpy().astype("datetime64[s]")
    # A nullable dtype of pandas knows the numpy dtype that holds the same values.
    return column.to_numpy(dtype=getattr(column.dtype, "numpy_dtype", None))


def _polars_values(column: Any) -> np.ndarray:
    if column.null_count():
        raise LabelError("the value is missing (null)", int(column.is_null().arg_max()))
    narrow = wide_integers(column)
    if column.dtype.is_integer() and not narrow.dtype.is_integer():
        place = next(place for place, value in enumerate(narrow) if not -(2**63) <= value < 2**63)
        raise LabelError(f"the number {narrow[place]} does not fit in 64 bits", place)
    return narrow.to_numpy()


def _arrow_values(column: Any) -> np.ndarray:
    import pyarrow.compute as pc

    if column.null_count:
        raise LabelError("the value is missing (null)", pc.index(pc.is_null(column), True).as_py())
    return _arrow_numpy(column)
