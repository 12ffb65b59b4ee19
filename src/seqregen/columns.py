"""The columns of a dataset: which there are, and what is done to each of them alike."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from numbers import Real
from typing import Any

import numpy as np

from .labels import (
    LabelError,
    as_label_array,
    as_numpy,
    is_missing,
    python_value,
    read_labels,
    require_distinct,
    require_order,
    without_numpy_scalars,
)
from .pairs import PatternPairs
from .ragged import row_of_position
from .times import missing_times, signed_times, times_of_objects

__all__ = [
    "COLUMN_DTYPES",
    "INTERACTION_COLUMNS",
    "ROW_COLUMNS",
    "DatasetStatistics",
    "Origin",
    "as_columns",
    "check_columns",
    "empty_share",
    "equal_columns",
    "is_row_number",
    "joined_column",
    "missing_value",
    "renumber",
    "row_numbers",
    "take",
    "with_room_for_missing",
]


class Origin(IntEnum):
    """Where a row of a :class:`SequenceDataset` comes from."""

    ORIGINAL = 0
    MINED = 1
    REGENERATED = 2


@dataclass(frozen=True)
class DatasetStatistics:
    """The table of statistics that papers print of a dataset.

    Attributes
    ----------
    rows : int
        All rows.
    users : int
        Original rows: each is a user's history.
    items : int
        Size of the vocabulary.
    interactions : int
        Items of all rows, repeated ones counted each time.
    mean_length : float
        Interactions a row, over all rows.
    sparsity : float
        Share, from 0 to 1, of the table of all rows by all items that is empty. An item that a row repeats fills one
        cell, so that of original rows without repeats this is ``1 - interactions / (users * items)``.
    mined, regenerated : int
        Rows of these origins.
    """

    rows: int
    users: int
    items: int
    interactions: int
    mean_length: float
    sparsity: float
    mined: int
    regenerated: int

    def __str__(self) -> str:
        lines = [f"{name.replace('_', ' '):<14}{value:>14,}" for name, value in vars(self).items() if name in _COUNTS]
        lines.append(f"{'mean length':<14}{self.mean_length:>14.2f}")
        lines.append(f"{'sparsity':<14}{self.sparsity:>14.4%}")
        return "\n".join(lines)


_COUNTS = ("rows", "users", "items", "interactions", "mined", "regenerated")
# Columns with one value a row, and the value of a row that has none.
ROW_COLUMNS: dict[str, Any] = {
    "origin": np.int8(Origin.ORIGINAL),
    "source": np.int64(-1),
    "memory": np.int16(-1),
    "free_steps": np.int16(0),
    "validation": np.int64(0),
    "users": None,
}
# Columns of labels, of one kind or several.
_LABELS = ("users", "domains")
_NEEDED = ("items", "offsets", "vocabulary")
# Columns with one value an interaction.
INTERACTION_COLUMNS = ("weights", "timestamps", "domains")
COLUMN_DTYPES = {
    "items": np.int64,
    "offsets": np.int64,
    "origin": np.int8,
    "source": np.int64,
    "memory": np.int16,
    "free_steps": np.int16,
    "validation": np.int64,
    "weights": np.float32,
}


def empty_share(items: np.ndarray, offsets: np.ndarray, n_items: int) -> float:
    """Share of the cells of the table rows by items that no interaction falls into; 1 where there is no cell."""
    n_cells = (len(offsets) - 1) * n_items
    if n_cells == 0 or len(items) == 0:
        return 1.0
    cells = row_of_position(offsets)
    cells *= n_items
    cells += items
    cells.sort()
    n_filled = 1 + int(np.count_nonzero(cells[1:] != cells[:-1]))
    return 1 - n_filled / n_cells


def as_columns(columns: dict[str, Any], n_rows: int) -> dict[str, Any]:
    """Columns as arrays of their dtypes; None stays None, but in the two columns that every dataset has.

    Whoever gave a column may go on writing to it, a dataset never changes: what can be written is copied, arrays of
    numpy that are read-only are shared.
    """
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if values is None and name in _NEEDED:
            raise TypeError(f"{name} must be given: every dataset has items, offsets and a vocabulary; got None.")
        if values is None and name in ("origin", "source"):
            arrays[name] = np.full(max(n_rows, 0), ROW_COLUMNS[name])
        else:
            arrays[name] = None if values is None else _unshared(_as_column(name, values), values)
    return arrays


def _unshared(column: np.ndarray, given: Any) -> np.ndarray:
    # What another library reads out as read-only, that library may still write.
    if isinstance(given, np.ndarray) and not given.flags.writeable:
        return column
    given = as_numpy(given)
    return column.copy() if isinstance(given, np.ndarray) and np.may_share_memory(column, given) else column


def _as_column(name: str, values: Any) -> np.ndarray:
    if name == "vocabulary":
        require_order(values, name, "one label an item")
        return read_labels(values, name)
    if name in _LABELS:
        require_order(values, name, "one label a row" if name in ROW_COLUMNS else "one label an interaction")
    # pandas' nullable arrays have a mask, too, and None is what it hides there.
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        position = int(np.ma.getmaskarray(values).argmax())
        raise ValueError(f"{name} must not hold masked values; got one {_unit(name)} {position}.")
    array = _as_found(values) if name in _LABELS else _as_array(values)
    dtype = COLUMN_DTYPES.get(name)
    if dtype is None and array.dtype == object:
        array = _with_none_for_missing(array)
    if name == "timestamps":
        try:
            return signed_times(times_of_objects(array) if array.dtype == object else array)
        except LabelError as error:
            raise ValueError(f"{name} cannot be read at position {error.position}: {error.message}.") from None
    if dtype is None or array.dtype == dtype:
        return array
    return _as_floats(name, array, dtype) if dtype == np.float32 else _exact_integers(name, array, dtype)


def _as_array(values: Any) -> np.ndarray:
    array = np.asarray(as_numpy(values))
    is_list = array.dtype.kind == "M" and isinstance(values, (list, tuple))
    if is_list and len({getattr(time, "dtype", None) for time in values}) > 1:
        # Of times of several units, those that the finest has no room for have wrapped around.
        array = np.fromiter(values, dtype=object, count=len(array))
    return array


def _as_found(values: Any) -> np.ndarray:
    """Labels that need not be of one kind as an array, each as it is.

    numpy would write numbers among strings as strings, and make a table of tuples.
    """
    array = as_numpy(values)
    if isinstance(array, np.ndarray):
        # Strings of numpy's own kind have a missing value that is a value to them.
        array = array.astype(object) if array.dtype.kind == "T" else array
        return without_numpy_scalars(array) if array.dtype == object and array.ndim == 1 else array
    found = list(array)
    objects = np.fromiter(found, dtype=object, count=len(found))
    try:
        return as_label_array(objects)
    except ValueError:
        for position, label in enumerate(found):
            if not isinstance(label, Hashable):
                raise TypeError(f"labels must be hashable; got {label!r} at position {position}.") from None
        return objects


def _with_none_for_missing(array: np.ndarray) -> np.ndarray:
    """Objects in which None alone says that nothing is known; what pandas and numpy have for it is equal to nothing."""
    missing = is_missing(array)
    if not missing.any():
        return array
    array = array.copy()
    array[missing] = None
    return array


def _as_floats(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    """Real numbers of any kind in a float dtype; a cast alone would count the microseconds of a time."""
    if values.dtype.kind not in "iufb":
        flat = values.ravel().tolist()
        wrong = next((place for place, value in enumerate(flat) if not isinstance(value, (Real, Decimal))), None)
        if wrong is not None:
            raise ValueError(f"{name} must hold numbers; got {values.flat[wrong]!r} {_unit(name)} {wrong}.")
    return values.astype(dtype)


def _exact_integers(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    """Whole numbers of any kind in an integer dtype; a cast alone would cut 1.7 to 1 and wrap what is too large."""
    values = read_labels(values, name) if values.dtype == object else values
    if values.dtype.kind not in "iufb":
        raise ValueError(f"{name} must hold integers; got dtype {values.dtype}.")
    with np.errstate(invalid="ignore"):
        exact = values.astype(dtype)
    wrong = np.flatnonzero(exact != values)
    if len(wrong):
        raise ValueError(
            f"{name} must hold integers of {np.iinfo(dtype).bits} bits; "
            f"got {values.flat[wrong[0]]} {_unit(name)} {wrong[0]}."
        )
    return exact


def _unit(name: str) -> str:
    return "in row" if name in ROW_COLUMNS else "at position"


def check_columns(dataset: Any, changed: Collection[str]) -> None:
    """Refuse columns of a dataset that do not fit together; the message says which one and where.

    Only what the changed columns have a part in is looked at, so that a copy that shares the long ones is quick.
    """
    _check_offsets(dataset.offsets, dataset.items)
    n_rows = len(dataset)
    for name in (*ROW_COLUMNS, *INTERACTION_COLUMNS):
        column = getattr(dataset, name)
        expected = n_rows if name in ROW_COLUMNS else len(dataset.items)
        if column is not None and column.shape != (expected,):
            unit = "row" if name in ROW_COLUMNS else "interaction"
            raise ValueError(f"{name} must have one value for each {unit}, shape ({expected},); got {column.shape}.")
    if dataset.pairs is not None:
        if not isinstance(dataset.pairs, PatternPairs):
            raise TypeError(f"pairs must be PatternPairs or None; got a {type(dataset.pairs).__name__}.")
        if dataset.pairs.n_rows != n_rows:
            raise ValueError(f"pairs are given for {dataset.pairs.n_rows} rows, the dataset has {n_rows}.")
        if "pairs" in changed or "vocabulary" in changed:
            dataset.pairs.check(dataset.n_items)
    if "vocabulary" in changed:
        require_distinct(dataset.vocabulary)
    _check_codes(dataset, changed)
    if "origin" in changed:
        _check_range("origin", dataset.origin, min(Origin), max(Origin), "original, mined, regenerated")
    if "source" in changed or "offsets" in changed:
        _check_range("source", dataset.source, -1, n_rows - 1, "-1 for none, or a row of the dataset")


def _check_offsets(offsets: np.ndarray, items: np.ndarray) -> None:
    if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0:
        raise ValueError("offsets must be one-dimensional and start with 0.")
    falls = offsets[1:] < offsets[:-1]
    if falls.any():
        raise ValueError(f"offsets must not fall; row {int(np.argmax(falls))} would have a negative length.")
    if items.ndim != 1:
        raise ValueError(f"items must be one-dimensional, all rows one behind the other; got shape {items.shape}.")
    if offsets[-1] != len(items):
        raise ValueError(f"offsets end at {offsets[-1]}, but there are {len(items)} items.")


def _check_codes(dataset: Any, changed: Collection[str]) -> None:
    items, offsets, n_items = dataset.items, dataset.offsets, dataset.n_items
    fits = not len(items) or not {"items", "vocabulary"} & set(changed)
    if not fits and (items.min() < 1 or items.max() > n_items):
        position = int(np.argmax((items < 1) | (items > n_items)))
        row = int(np.searchsorted(offsets, position, side="right") - 1)
        raise ValueError(
            f"item codes must lie in 1..{n_items} (the size of the vocabulary); "
            f"got {items[position]} in row {row}, position {position - offsets[row]}."
        )
    if dataset.validation is not None and {"validation", "vocabulary"} & set(changed):
        _check_range("validation", dataset.validation, 0, n_items, "0 for none, or an item code")


def _check_range(name: str, values: np.ndarray, lowest: int, highest: int, meaning: str) -> None:
    if len(values) and (values.min() < lowest or values.max() > highest):
        row = int(np.argmax((values < lowest) | (values > highest)))
        raise ValueError(f"{name} must lie in {lowest}..{highest} ({meaning}); got {values[row]} in row {row}.")


def take(column: np.ndarray | None, key: Any) -> np.ndarray | None:
    """A column at the given places; None stays None."""
    return None if column is None else column[key]


def is_row_number(key: Any) -> bool:
    """Whether a key is one integer: of Python or numpy, or an array or tensor without a dimension that holds one."""
    if isinstance(key, bool) or getattr(key, "ndim", 0) != 0 or "bool" in str(getattr(key, "dtype", "")):
        return False
    return hasattr(key, "__index__") and "float" not in str(getattr(key, "dtype", ""))


def row_numbers(key: Any, n_rows: int) -> np.ndarray:
    """Row numbers, int64, that a slice, an integer array or a boolean array stands for."""
    if isinstance(key, slice):
        return np.arange(n_rows)[key]
    rows = np.asarray(as_numpy(key))
    if rows.ndim != 1:
        raise IndexError(f"rows are chosen by an integer, a slice, or a one-dimensional array; got {key!r}.")
    if rows.dtype == bool:
        if len(rows) != n_rows:
            raise IndexError(f"a boolean index must have one value a row ({n_rows}); got {len(rows)}.")
        return np.flatnonzero(rows)
    if len(rows) == 0:
        return np.zeros(0, dtype=np.int64)
    if rows.dtype.kind not in "iu":
        raise IndexError(f"row numbers must be integers or booleans; got dtype {rows.dtype}.")
    # Before they are of 64 bits with a sign, which the largest ones wrap around.
    outside = (rows >= n_rows) | ((rows < 0) & (rows.astype(np.int64) < -n_rows))
    if outside.any():
        raise IndexError(f"row {rows[outside.argmax()]} of a dataset of {n_rows} rows.")
    rows = rows.astype(np.int64)
    return np.where(rows < 0, rows + n_rows, rows)


def renumber(source: np.ndarray, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Source rows as numbered in a part of the dataset; -1 where the source is not in it."""
    place = np.full(n_rows + 1, -1, dtype=np.int64)
    # Written backwards, so that of a row taken twice the first copy counts; slot -1 stays "none".
    place[rows[::-1]] = np.arange(len(rows) - 1, -1, -1)
    return place[source]


def equal_columns(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    """Whether two columns hold the same, missing values included."""
    if first is None or second is None:
        return first is second
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    # "not equal to itself" is how NaN, NaT and other missing values show.
    return bool(np.all((first == second) | ((first != first) & (second != second))))


def missing_value(name: str, dtype: np.dtype) -> Any:
    """What stands in a column of a dataset where nothing is known; ``dtype`` is one that has room for it."""
    if name == "weights":
        return np.float32(1)
    if name in ROW_COLUMNS:
        return ROW_COLUMNS[name]
    if dtype.kind == "i":
        return np.iinfo(dtype).min
    if dtype.kind in "mM":
        return np.array("NaT", dtype=dtype)
    return np.nan if dtype.kind == "f" else None


def with_room_for_missing(column: np.ndarray) -> np.ndarray:
    """The same values in a dtype that can also hold a missing one, without the value passing for another."""
    if column.dtype.kind == "u" and (column.dtype != np.uint64 or column.max(initial=0) <= np.iinfo(np.int64).max):
        return column.astype(np.int64)
    return column.astype(object) if column.dtype.kind in "ubUST" else column


def joined_column(name: str, columns: list[np.ndarray | None], sizes: list[int]) -> np.ndarray | None:
    """Columns of several datasets one behind the other; one that is None is filled up to its size.

    Raises
    ------
    ValueError
        Times are numbers in one dataset and dates in another.
    """
    known = [column for column in columns if column is not None]
    if not known:
        return None
    if len(known) < len(columns) and name not in COLUMN_DTYPES:
        known = [with_room_for_missing(column) for column in known]
        # Users that are missing are None, whatever the others are.
        known += [np.zeros(0, dtype=object)] if name == "users" else []
    dtype = _common_dtype(name, [column.dtype for column in known])
    filled = [
        np.full(size, missing_value(name, dtype), dtype=dtype) if column is None else _as_dtype(name, column, dtype)
        for column, size in zip(columns, sizes, strict=True)
    ]
    return np.concatenate(filled)


def _common_dtype(name: str, dtypes: list[np.dtype]) -> np.dtype:
    kinds = {dtype.kind for dtype in dtypes}
    if name == "timestamps" and len(kinds) > 1 and not kinds <= set("if"):
        raise ValueError(
            f"times of dtype {dtypes[0]} and {next(dtype for dtype in dtypes if dtype.kind != dtypes[0].kind)} cannot "
            "be put in one column; convert them first: dataset.replace(timestamps=...)."
        )
    if name in COLUMN_DTYPES or name == "timestamps":
        return np.result_type(*dtypes)
    # numpy would turn numbers among strings into strings, and large integers into floats.
    common = np.result_type(*dtypes) if len(kinds) == 1 or kinds == set("iu") else np.dtype(object)
    return common if common.kind in kinds else np.dtype(object)


def _as_dtype(name: str, column: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if column.dtype == dtype:
        return column
    if dtype.kind == "O" and column.dtype.kind in "mM":
        return np.fromiter(map(python_value, column), dtype=object, count=len(column))
    converted = column.astype(dtype)
    if name == "timestamps":
        missing = missing_times(column)
        changed = np.flatnonzero(~missing & (converted.astype(column.dtype) != column))
        if len(changed):
            raise ValueError(
                f"times of dtype {column.dtype} cannot be put in one column with those of other datasets, as "
                f"{dtype}: the time {column[changed[0]]} would become {converted[changed[0]]}. Convert all to one "
                "dtype first: dataset.replace(timestamps=...)."
            )
        # The smallest number of a shorter integer stands for "none", and would be a time in a longer one.
        converted[missing] = missing_value(name, dtype)
    return converted
