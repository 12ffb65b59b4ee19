"""Columns of lists of polars and pyarrow: the offsets and values are used as they are, row by row nothing happens."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..labels import LabelError
from ..optional import package_of
from ..ragged import offsets_from_lengths, read_only
from ..sequences import SequenceDataset
from .columns import encode_column

__all__ = ["convert_arrow_lists", "is_list_type"]


def convert_arrow_lists(array: Any, name: str = "X") -> SequenceDataset:
    """Convert a column of lists, one sequence of item labels a row.

    Parameters
    ----------
    array : polars.Series, pyarrow.Array or pyarrow.ChunkedArray of shape (n_rows,)
        Lists, large lists, or lists of a fixed size, of items of one kind. Slices are understood.
    name : str, default="X"
        What the messages call the input.

    Returns
    -------
    SequenceDataset

    Raises
    ------
    ValueError
        The column holds no lists, a row is null, or an item is null, NaN or nested.

    Examples
    --------
    >>> import pyarrow
    >>> from seqregen.formats import convert_arrow_lists
    >>> convert_arrow_lists(pyarrow.array([["tea", "milk"], [], ["tea"]])).to_lists()
    [['tea', 'milk'], [], ['tea']]
    """
    split = _split_polars if package_of(array) == "polars" else _split_arrow
    lengths, values = split(array, name)
    offsets = offsets_from_lengths(lengths)
    try:
        vocabulary, codes = encode_column(values)
    except LabelError as error:
        row = int(np.searchsorted(offsets, error.position, side="right") - 1)
        place = f"row {row}, position {error.position - offsets[row]}"
        raise ValueError(f"{name} cannot be read at {place}: {error.message}.") from None
    return SequenceDataset(read_only(codes), offsets, vocabulary)


def _split_polars(array: Any, name: str) -> tuple[np.ndarray, Any]:
    import polars as pl

    if isinstance(array.dtype, pl.Array):
        array = array.arr.to_list()
    if array.dtype == pl.Object:
        rows = array.to_list()
        bad = next((number for number, row in enumerate(rows) if not isinstance(row, (list, tuple))), None)
        if bad is not None:
            raise ValueError(f"{name} must hold one sequence of items a row; row {bad} is {rows[bad]!r}.")
        flat = [item for row in rows for item in row]
        return np.array([len(row) for row in rows], dtype=np.int64), pl.Series(flat, dtype=pl.Object)
    if not isinstance(array.dtype, pl.List):
        raise _no_lists(name, f"a polars Series of {array.dtype}")
    if array.null_count():
        raise _null_row(name, int(array.is_null().arg_max()))
    lengths = array.list.len().to_numpy().astype(np.int64)
    # An empty list would leave a null behind.
    filled = array if lengths.all() else array.filter(array.list.len() > 0)
    values = filled.explode() if len(filled) else array.clear().explode()
    return lengths, values


def _split_arrow(array: Any, name: str) -> tuple[np.ndarray, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = getattr(array, "type", None)
    if type_ is None or not is_list_type(type_):
        raise _no_lists(name, f"a pyarrow array of {type_}" if type_ is not None else type(array).__name__)
    if array.null_count:
        raise _null_row(name, pc.index(pc.is_null(array), True).as_py())
    lengths = pc.list_value_length(array)
    lengths = lengths.to_numpy() if isinstance(lengths, pa.ChunkedArray) else lengths.to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64), pc.list_flatten(array)


def is_list_type(type_: Any) -> bool:
    """Whether an Arrow type is one of lists."""
    from pyarrow import types

    return types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)


def _no_lists(name: str, what: str) -> ValueError:
    return ValueError(
        f"{name} must hold one sequence of items a row; got {what}. Give a column of lists, "
        "or a frame of interactions with the columns user, item and (optional) time."
    )


def _null_row(name: str, row: int) -> ValueError:
    return ValueError(f"row {row} of {name} is null; a row without items is an empty list.")
