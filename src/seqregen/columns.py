"""The columns of a dataset: which there are, and what is done to each of them alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

__all__ = [
    "COLUMN_DTYPES",
    "INTERACTION_COLUMNS",
    "ROW_COLUMNS",
    "DatasetStatistics",
    "Origin",
    "equal_columns",
    "missing_values",
    "renumber",
    "row_numbers",
    "take",
]


class Origin(IntEnum):
    """Where a row of a :class:`SequenceDataset` comes from."""

    ORIGINAL = 0
    MINED = 1
    REGENERATED = 2


@dataclass(frozen=True)
class DatasetStatistics:
    """The table of statistics that papers print of a dataset."""

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
# Columns with one value an interaction.
INTERACTION_COLUMNS = ("weights", "timestamps", "domains")
COLUMN_DTYPES = {
    "origin": np.int8,
    "source": np.int64,
    "memory": np.int16,
    "free_steps": np.int16,
    "validation": np.int64,
    "weights": np.float32,
}


def take(column: np.ndarray | None, key: Any) -> np.ndarray | None:
    """A column at the given places; None stays None."""
    return None if column is None else column[key]


def row_numbers(key: Any, n_rows: int) -> np.ndarray:
    """Row numbers, int64, that a slice, an integer array or a boolean array stands for."""
    if isinstance(key, slice):
        return np.arange(n_rows)[key]
    rows = np.asarray(key)
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
    rows = rows.astype(np.int64)
    outside = (rows < -n_rows) | (rows >= n_rows)
    if outside.any():
        raise IndexError(f"row {rows[outside.argmax()]} of a dataset of {n_rows} rows.")
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


def missing_values(name: str, dtype: np.dtype, size: int) -> np.ndarray:
    """What stands in a column of a dataset that does not have it, next to one that has."""
    if name == "weights":
        return np.ones(size, dtype=np.float32)
    if name == "users":
        return np.full(size, None, dtype=object)
    if name in ROW_COLUMNS:
        return np.full(size, ROW_COLUMNS[name])
    if dtype.kind in "iu":
        return np.full(size, np.iinfo(dtype).min, dtype=dtype)
    if dtype.kind in "fmM":
        return np.full(size, np.nan if dtype.kind == "f" else "NaT", dtype=dtype)
    return np.full(size, None, dtype=object)
