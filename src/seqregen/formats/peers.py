"""The formats of RecBole and RecTools."""

from __future__ import annotations

import os
import warnings
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import numpy as np

from ..callers import stacklevel_of_caller
from ..files import write_aside
from ..optional import require_package
from ..ragged import position_in_row, row_of_position
from ..sequences import SequenceDataset
from .frames import pandas_frame
from .text import as_texts, finite_times, times_as_numbers, user_tokens

__all__ = ["to_recbole", "to_rectools"]

# What pandas, by which RecBole reads its files, takes for missing.
_READ_AS_MISSING = frozenset({
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
_A_SECOND: dict[Literal["s", "ms", "us", "ns"], int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def to_recbole(dataset: SequenceDataset, directory: str | os.PathLike, name: str) -> Path:
    """Write RecBole's atomic file of interactions.

    Parameters
    ----------
    dataset : SequenceDataset
        All its rows are written. Where not every row has a user of its own, rows are numbered from 1 in
        place of users.
    directory : str or path-like
        RecBole's ``data_path``; it is made if it is not there.
    name : str
        RecBole's ``dataset``, a plain file name: the file is ``directory/name/name.inter``.

    Returns
    -------
    Path
        The file, with the tab-separated columns ``user_id:token``, ``item_id:token``, ``timestamp:float`` and,
        where the dataset has weights, ``weight:float``. Where not every interaction has a time, or times fall
        within a row, which RecBole would then sort, the timestamp is the position in the row.

    Raises
    ------
    ValueError
        A label is empty, holds a tab or a line break, begins with a quotation mark, is a word that RecBole reads as a
        missing value ("NA", "None", ...), or is no valid Unicode; a time is infinite; ``name`` is no plain file name.

    Warns
    -----
    UserWarning
        Times fall within a row.
    """
    _check_plain_name(name)
    items = _tokens(dataset.vocabulary, "the item")[dataset.items - 1]
    users = _tokens(user_tokens(dataset), "the user")[row_of_position(dataset.offsets)]
    times = finite_times(dataset, "for RecBole")
    times = position_in_row(dataset.offsets) if times is None or _times_fall(dataset, "RecBole") else times
    header, columns = ["user_id:token", "item_id:token", "timestamp:float"], [users, items, _numbers(times)]
    if dataset.weights is not None:
        header.append("weight:float")
        columns.append(_numbers(dataset.weights))
    path = Path(directory) / name / f"{name}.inter"
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_aside(path) as aside, open(aside, "w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(header) + "\n")
        file.writelines(
            "\t".join(fields) + "\n" for fields in zip(*(column.tolist() for column in columns), strict=True)
        )
    return path


def _check_plain_name(name: str) -> None:
    # On any system: what is written here is read elsewhere.
    if not isinstance(name, str):
        raise TypeError(f"name must be a plain file name, such as 'shop'; got {name!r}.")
    if name in ("", ".", "..") or any(character in name for character in "/\\\0") or PureWindowsPath(name).drive:
        raise ValueError(f"name must be a plain file name, without a directory, such as 'shop'; got {name!r}.")


def _numbers(values: np.ndarray) -> np.ndarray:
    return np.fromiter(map(repr, values.tolist()), dtype=object, count=len(values))


def _tokens(labels: np.ndarray, what: str) -> np.ndarray:
    texts = as_texts(labels, what)
    for text in texts:
        if not text or any(character in text for character in "\t\n\r"):
            raise ValueError(
                f"{what} {text!r} cannot be written for RecBole: it is empty or holds a tab or line break."
            )
        if text.startswith('"') or text in _READ_AS_MISSING:
            read_as = "a missing value" if text in _READ_AS_MISSING else "the beginning of a quotation"
            raise ValueError(
                f"{what} {text!r} cannot be written for RecBole, which reads it as {read_as}: use another label."
            )
    return np.fromiter(texts, dtype=object, count=len(texts))


def to_rectools(dataset: SequenceDataset) -> Any:
    """Lay a dataset out as RecTools' frame of interactions.

    Parameters
    ----------
    dataset : SequenceDataset
        All its rows are laid out. Where not every row has a user of its own, rows are numbered from 1 in
        place of users.

    Returns
    -------
    pandas.DataFrame
        Columns ``user_id``, ``item_id``, ``weight`` (1 where the dataset has none) and ``datetime``: times that are
        numbers count from 1970, in seconds. Where one of them would then lie outside the years 1678 to 2261, which
        RecTools can hold, all count in the longest of milliseconds, microseconds and nanoseconds in which none does.
        Datetimes are kept as they are. Where not every interaction has a time, or times fall within a row, which
        RecTools would then sort, the position in the row counts, in seconds.

    Raises
    ------
    ValueError
        A number is infinite, or outside these years in any unit.

    Warns
    -----
    UserWarning
        Times fall within a row.

    Examples
    --------
    >>> from seqregen import SequenceDataset
    >>> frame = SequenceDataset.from_sequences([["tea", "milk"]]).to_rectools()
    >>> frame.columns.tolist(), frame["item_id"].tolist()
    (['user_id', 'item_id', 'weight', 'datetime'], ['tea', 'milk'])
    """
    require_package("pandas", "to_rectools", "frames")
    rows = row_of_position(dataset.offsets)
    weights = np.ones(dataset.n_interactions, dtype=np.float32) if dataset.weights is None else dataset.weights
    return pandas_frame(
        {
            "user_id": user_tokens(dataset)[rows],
            "item_id": dataset.vocabulary[dataset.items - 1],
            "weight": weights,
            "datetime": _datetimes(dataset),
        }
    )


def _times_fall(dataset: SequenceDataset, peer: str) -> bool:
    """Whether a peer, which sorts users by time, would read the rows in another order; a warning says so."""
    times = dataset.timestamps
    if times is None or len(times) == 0:
        return False
    falls = times[1:] < times[:-1]
    # Between two rows they may.
    borders = dataset.offsets[1:-1]
    falls[borders[(borders > 0) & (borders < len(times))] - 1] = False
    if not falls.any():
        return False
    place = int(np.argmax(falls)) + 1
    row = int(row_of_position(dataset.offsets)[place])
    warnings.warn(
        f"times fall within rows at {np.count_nonzero(falls):,} place(s), first in row {row} at position "
        f"{place - dataset.offsets[row]}, and {peer} sorts by time: positions in the rows are written in their place. "
        "To keep the times, sort each row by time first: SequenceDataset.from_frame does so.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )
    return True


def _datetimes(dataset: SequenceDataset) -> Any:
    import pandas as pd

    numbers = times_as_numbers(dataset)
    if numbers is None or _times_fall(dataset, "RecTools"):
        return pd.to_datetime(position_in_row(dataset.offsets), unit="s")
    if dataset.timestamps is not None and dataset.timestamps.dtype.kind == "M":
        return dataset.timestamps
    return pd.to_datetime(numbers, unit=_unit(numbers))


def _unit(numbers: np.ndarray) -> Literal["s", "ms", "us", "ns"]:
    """The longest unit in which no number is more than nanoseconds of 64 bits hold."""
    if len(numbers) == 0:
        return "s"
    # As Python numbers, of which the smallest has an opposite too.
    extreme = max(numbers.min().item(), numbers.max().item(), key=abs)
    for unit, a_second in _A_SECOND.items():
        if abs(extreme) <= np.iinfo(np.int64).max // 10**9 * a_second:
            return unit
    raise ValueError(
        f"times must be numbers of seconds, milliseconds, microseconds or nanoseconds since 1970, in the years 1678 to "
        f"2261; got {extreme} at position {int(np.argmax(numbers == extreme))}."
    )
