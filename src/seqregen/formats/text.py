"""The text format of sequential recommendation: a line a user, ``user item item item ...``."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..callers import stacklevel_of_caller
from ..files import write_aside
from ..labels import build_vocabulary, is_missing
from ..ragged import offsets_from_lengths, read_only, row_of_position
from ..sequences import SequenceDataset
from ..times import missing_times
from .text_layout import (
    BYTE_ORDER_MARK,
    FIRST_LINES,
    PARQUET_MARK,
    first_rows,
    layout_fault,
    read_lines,
    separator_of_columns,
)

__all__ = [
    "as_texts",
    "finite_times",
    "item_texts",
    "loses_users",
    "read_text",
    "times_as_numbers",
    "user_tokens",
    "write_text",
]

_BAR = ord("|")
_MINUS = ord("-")
# 18 digits fit in int64 whatever they are; of 19 some do.
_MOST_DIGITS = 18
_UNWRITABLE = re.compile(r"[ \t\r\n|\0]")
# How many items a line has beside its user where it may be one interaction.
_NAMED = {1: "one item", 2: "two items", 3: "three items"}
_NUMBER = re.compile(r"-?\d+")
_READ_TABLES = "Read other tables with pandas, and SequenceDataset.from_frame(frame, user=..., item=..., time=...)."
_MISSING = {"nan", "none", "null", "na", "<na>"}


def read_text(path: str | os.PathLike, *, first_domain: int | None = None) -> SequenceDataset:
    """Read a text file with one sequence a line: ``user item item ...`` or ``user item|time item|time ...``.

    Parameters
    ----------
    path : str or path-like
        A UTF-8 file. Fields are separated by spaces or tabs. A line with a user alone is an empty row. Lines end as
        on any system: in a line feed, with or without a carriage return, or all in a carriage return.
    first_domain : int, optional
        For files of two domains: items up to this number are of domain 0, those above of domain 1.

    Returns
    -------
    SequenceDataset
        Rows in the order of the lines. Users, and items, become int64 where all of them are plain integers
        (no leading zero, at most 18 digits), else strings. Times become int64, or float64.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A line is blank, is no UTF-8, holds a NUL or a carriage return within, has an item without a time where others
        have one, or a time that is no number; or the first lines are those of another format (fields that commas
        separate, JSON, a table of RecBole). The message names the file and the line, counted from 1.

    Warns
    -----
    UserWarning
        Each line has the same one, two or three items, and users come again, as in a table with an interaction a line;
        or a few items are no integers, while most are; or times fall within a line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from seqregen.formats import read_text
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory) / "data.txt"
    ...     _ = path.write_text("ann 3 5 3\\nbob 5\\n")
    ...     data = read_text(path)
    >>> data.users.tolist(), data.to_lists()
    (['ann', 'bob'], [[3, 5, 3], [5]])
    """
    shown = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {shown!r}.")
    content = read_lines(path)
    if len(content) == 1:
        raise ValueError(f"{shown!r} is empty: expected one line 'user item item ...' a user.")
    text = np.frombuffer(content, dtype=np.uint8)
    starts, ends, lines, n_lines = _tokens(text)
    counts = np.bincount(lines, minlength=n_lines)
    if not counts.all():
        raise ValueError(f"{shown!r}, line {int(np.argmin(counts)) + 1}: the line is blank; a user is missing.")
    _check_layout(content, shown)
    is_user = np.ones(len(lines), dtype=bool)
    is_user[1:] = lines[1:] != lines[:-1]
    users = _labels(text, starts[is_user], ends[is_user])
    _warn_of_interactions(counts, users, shown)
    starts, ends, lines = starts[~is_user], ends[~is_user], lines[~is_user]
    timestamps, item_ends = _times(text, starts, ends, lines, shown)
    labels = _labels(text, starts, item_ends)
    _check_kinds(labels, lines, shown)
    vocabulary, items = build_vocabulary(labels)
    return SequenceDataset(
        read_only(items),
        offsets_from_lengths(counts - 1),
        vocabulary,
        users=users,
        timestamps=timestamps,
        domains=None if first_domain is None else _domains(vocabulary, items, first_domain, shown),
    )


def _check_layout(content: bytes, shown: Any) -> None:
    rows = first_rows(content)
    fault = layout_fault(rows)
    if fault is not None:
        raise ValueError(f"{shown!r} {fault} {_READ_TABLES}")
    separator = separator_of_columns(rows)
    if separator is not None:
        warnings.warn(
            f"{shown!r} looks like a table with {separator!r} between its columns, as in {' '.join(rows[-1])[:60]!r}; "
            f"what stands behind the first space of a line is read as items. {_READ_TABLES}",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _warn_of_interactions(counts: np.ndarray, users: np.ndarray, shown: Any) -> None:
    """Warn of a file that has an interaction a line: a user, an item, and perhaps a rating and a time."""
    n_items = int(counts[0]) - 1
    if n_items in _NAMED and (counts == counts[0]).all() and len(np.unique(users)) < len(users):
        warnings.warn(
            f"{shown!r} has {_NAMED[n_items]} in every line, and users that come again: each line is read as a row of "
            "its own. Where a line is one interaction, read it with pandas, and SequenceDataset.from_frame.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _check_kinds(labels: np.ndarray, lines: np.ndarray, shown: str) -> None:
    """Items that are numbers but for a few: what makes text of all of them is most likely a mistake."""
    if labels.dtype != object:
        return
    other = _are_no_numbers(labels)
    place = _first_of_few(other)
    if place is None:
        return
    where = f"{shown!r}, line {lines[place] + 1}: the item {labels[place]!r}"
    if labels[place].lower() in _MISSING:
        raise ValueError(f"{where} stands for a missing value; leave it out. The other items are numbers.")
    warnings.warn(
        f"{where} is no integer, as {np.count_nonzero(~other)} others are: all items are read as text.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )


def _are_no_numbers(labels: np.ndarray) -> np.ndarray:
    return np.fromiter((_NUMBER.fullmatch(label) is None for label in labels), dtype=bool, count=len(labels))


def _first_of_few(other: np.ndarray) -> int | None:
    """The place of the first that is no number, where most are numbers."""
    return int(np.argmax(other)) if 0 < np.count_nonzero(other) < len(other) / 2 else None


def _tokens(text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """First byte, byte behind the last, and line of every field; and the number of lines."""
    newlines = np.flatnonzero(text == ord("\n"))
    # Space, tab, newline, carriage return: what separates fields.
    inside = np.zeros(len(text) + 2, dtype=np.int8)
    inside[1:-1] = (text != 32) & (text != 9) & (text != 10) & (text != 13)
    edges = np.diff(inside)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return starts, ends, np.searchsorted(newlines, starts), len(newlines)


def _times(
    text: np.ndarray, starts: np.ndarray, ends: np.ndarray, lines: np.ndarray, shown: str
) -> tuple[np.ndarray | None, np.ndarray]:
    """The times behind the bars, if there are bars, and where the item labels end."""
    bars = np.flatnonzero(text == _BAR)
    if len(bars) == 0 or len(starts) == 0:
        return None, ends
    # The last bar of each field.
    before_end = np.searchsorted(bars, ends) - 1
    bar = np.where(before_end >= 0, bars[before_end], -1)
    without = bar < starts
    if without.all():
        # Those that there are stand in users.
        return None, ends
    if without.any():
        field = int(without.argmax())
        label = _decode(text, starts[field], ends[field])
        raise ValueError(
            f"{shown!r}, line {lines[field] + 1}: the item {label!r} has no time, others have one (item|time)."
        )
    if (bar == starts).any():
        field = int(np.argmax(bar == starts))
        raise ValueError(f"{shown!r}, line {lines[field] + 1}: an item is missing before '|'.")
    times = _integers(text, bar + 1, ends, times=True)
    if times is None:
        times = _real_times(text, bar + 1, ends, lines, shown)
    _warn_of_falling(times, lines, shown)
    return times, bar


def _real_times(text: np.ndarray, starts: np.ndarray, ends: np.ndarray, lines: np.ndarray, shown: str) -> np.ndarray:
    parsed = np.empty(len(starts), dtype=np.float64)
    for field, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        time = _decode(text, start, end)
        try:
            # Python takes 1_0 for 10, and a file is no program.
            parsed[field] = float("" if "_" in time else time)
        except ValueError:
            raise ValueError(f"{shown!r}, line {lines[field] + 1}: the time {time!r} is no number.") from None
    if not np.isfinite(parsed).all():
        line = lines[np.argmin(np.isfinite(parsed))] + 1
        raise ValueError(f"{shown!r}, line {line}: the time is NaN or infinite.")
    return parsed


def _warn_of_falling(times: np.ndarray, lines: np.ndarray, shown: str) -> None:
    """Warn of times that run backwards within a line: which item is the last decides what is held out."""
    falls = np.flatnonzero((times[1:] < times[:-1]) & (lines[1:] == lines[:-1]))
    if len(falls):
        first = falls[0]
        warnings.warn(
            f"{shown!r}, line {lines[first] + 1}: the time {times[first + 1]} stands behind {times[first]}. Rows keep "
            f"the order of the file, in which times fall at {len(falls):,} place(s); "
            "SequenceDataset.from_frame(dataset.to_frame()) sorts them by time.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _decode(text: np.ndarray, start: int, end: int) -> str:
    return text[start:end].tobytes().decode("utf-8")


def _labels(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    numbers = _integers(text, starts, ends)
    if numbers is not None:
        return numbers
    whole = text.tobytes()
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    return np.fromiter((whole[start:end].decode("utf-8") for start, end in bounds), dtype=object, count=len(starts))


def _integers(text: np.ndarray, starts: np.ndarray, ends: np.ndarray, *, times: bool = False) -> np.ndarray | None:
    """All fields as int64; None unless each is the usual way of writing an integer ("7", not "07" or "+7").

    Labels have to come back as they were written; of times it is the number that counts.
    """
    if len(starts) == 0:
        return np.zeros(0, dtype=np.int64)
    negative = text[starts] == _MINUS
    first = starts + negative
    digits = ends - first
    if digits.min() < 1 or digits.max() > (_MOST_DIGITS + 1 if times else _MOST_DIGITS):
        return None
    if not times and ((text[first] == ord("0")) & ((digits > 1) | negative)).any():
        return None
    numbers = np.zeros(len(starts), dtype=np.int64)
    # A loop over the places of the longest number, not over the numbers.
    for place in range(int(digits.max())):
        present = np.flatnonzero(digits > place) if place else slice(None)
        digit = text[first[present] + place] - np.uint8(ord("0"))
        if (digit > 9).any():
            return None
        numbers[present] = numbers[present] * 10 + digit
    # Any 19 digits fit in 64 bits without a sign; those that take the place of the sign do not with one.
    if numbers.min() < 0:
        return None
    return np.where(negative, -numbers, numbers)


def _domains(vocabulary: np.ndarray, items: np.ndarray, first_domain: int, shown: str) -> np.ndarray:
    if vocabulary.dtype != np.int64:
        raise ValueError(f"first_domain needs items that are integers; those of {shown!r} are not.")
    return (vocabulary > first_domain).astype(np.int8)[items - 1]


def write_text(dataset: SequenceDataset, path: str | os.PathLike) -> None:
    """Write one sequence a line: ``user item item ...``, with times ``user item|time item|time ...``.

    Parameters
    ----------
    dataset : SequenceDataset
        All its rows are written. Where not every row has a user of its own, rows are numbered from 1 in
        place of users. Times are written where every interaction has one, datetimes as seconds since 1970.
        Weights, origins, sources, pairs and validation items have no place in this format: Parquet keeps them.
    path : str or path-like
        The file. It is written aside and renamed: a file that is there already survives any failure.

    Raises
    ------
    ValueError
        A label is empty, holds a space, a tab, a line break, a NUL or ``|``, or is no valid Unicode; an item reads as a
        missing value among numbers; the first user begins with a byte order mark or as a Parquet file does; a time is
        infinite or cannot be told in seconds; or the labels make the file look like a table of another format, which
        :func:`read_text` refuses.
    """
    items = item_texts(dataset)[dataset.items - 1]
    times = finite_times(dataset, "as text")
    if times is not None:
        items = items + "|" + np.array(list(map(repr, times.tolist())), dtype=object)
    users = _texts(user_tokens(dataset), "the user")
    for begin, what in ((BYTE_ORDER_MARK, "with a byte order mark"), (PARQUET_MARK, "as Parquet files do")):
        if len(users) and users[0].encode().startswith(begin):
            raise ValueError(f"the first user, {users[0]!r}, cannot be written as text: it begins {what}.")
    columns = users.tolist(), items.tolist(), dataset.offsets.tolist()
    fault = layout_fault(list(islice(_rows(*columns), FIRST_LINES)))
    if fault is not None:
        raise ValueError(
            f"the rows cannot be written as text: read again, it {fault} Write Parquet, or use other labels."
        )
    with write_aside(path) as aside, open(aside, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(" ".join(row) + "\n" for row in _rows(*columns))


def _rows(users: list[str], items: list[str], bounds: list[int]) -> Iterator[list[str]]:
    for user, start, stop in zip(users, bounds, bounds[1:], strict=False):
        yield [user, *items[start:stop]]


def item_texts(dataset: SequenceDataset) -> np.ndarray:
    """The labels of the vocabulary as texts; refused where :func:`read_text` would refuse the items."""
    labels = _texts(dataset.vocabulary, "the item")
    if not any(label.lower() in _MISSING for label in labels):
        return labels
    first = _first_of_few(_are_no_numbers(labels)[dataset.items - 1])
    if first is not None:
        label = labels[dataset.items[first] - 1]
        if label.lower() in _MISSING:
            raise ValueError(
                f"the item {label!r} cannot be written as text: among items that are numbers it reads as a missing "
                "value. Write Parquet instead, or use another label."
            )
    return labels


def user_tokens(dataset: SequenceDataset) -> np.ndarray:
    """One distinct label a row: its user, or, where not every row has one of its own, its number from 1."""
    if dataset.users is not None:
        known = _known_users(dataset)
        if len(set(known)) == len(dataset):
            return dataset.users
        # Rows that were added have no user.
        if len(set(known)) < len(known):
            warnings.warn(
                "some rows are of one user, or of users written alike: rows are numbered from 1 in place of users.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
    return np.arange(1, len(dataset) + 1)


def loses_users(dataset: SequenceDataset) -> bool:
    """Whether a dataset has users that are no :func:`user_tokens`."""
    known = _known_users(dataset)
    return len(known) > 0 and len(set(known)) < len(dataset)


def _known_users(dataset: SequenceDataset) -> list[str]:
    """Users as they are written, which 1 and "1" are alike."""
    users = dataset.users
    return [] if users is None else list(map(_text_of, users[~is_missing(users)].tolist()))


def times_as_numbers(dataset: SequenceDataset) -> np.ndarray | None:
    """Times as numbers, datetimes and durations in seconds (whole ones as int64); None unless all are known."""
    times = dataset.timestamps
    if times is None or missing_times(times).any():
        return None
    if times.dtype.kind in "if":
        return times
    seconds = _seconds(times)
    whole = seconds.astype(np.int64)
    if (seconds == times).all():
        return whole
    return whole + (times - seconds) / np.timedelta64(1, "s")


def _seconds(times: np.ndarray) -> np.ndarray:
    kind, unit = times.dtype.kind, np.datetime_data(times.dtype)[0]
    if kind == "m" and unit in ("Y", "M"):
        raise ValueError(f"times of dtype {times.dtype} cannot be told in seconds: months differ in length.")
    seconds = times.astype(f"{kind}8[s]")
    if unit in ("Y", "M", "W", "D", "h", "m"):
        comes_back = seconds.astype(times.dtype) == times
        if not comes_back.all():
            place = int(np.argmin(comes_back))
            raise ValueError(f"the time {times[place]} cannot be told in seconds: they do not fit in 64 bits.")
    return seconds


def finite_times(dataset: SequenceDataset, how: str) -> np.ndarray | None:
    """Times as :func:`times_as_numbers` gives them; infinite ones are refused, ``how`` is what the message says."""
    times = times_as_numbers(dataset)
    if times is not None and not np.isfinite(times).all():
        place = int(np.argmin(np.isfinite(times)))
        row = int(row_of_position(dataset.offsets)[place])
        raise ValueError(f"row {row}: the time {times[place]} cannot be written {how}: it is infinite.")
    return times


def _text_of(label: Any) -> str:
    # Of enumerations that are strings `str` gives the name.
    return str.__str__(label) if isinstance(label, str) else str(label)


def as_texts(labels: np.ndarray, what: str) -> list[Any]:
    """Labels as texts that can be written; ``what`` is what the message calls one that cannot."""
    given = labels.tolist()
    texts = list(map(_text_of, given))
    # Strings, and integers, are as distinct as their texts.
    if not {type(label) for label in given} <= {str} and labels.dtype.kind not in "iu":
        _refuse_equal_texts(given, texts, what)
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{what} {text!r} cannot be written: it is no valid Unicode ({error.reason}); use other labels."
            ) from None
    return texts


def _refuse_equal_texts(labels: list, texts: list[str], what: str) -> None:
    label_of: dict[str, Any] = {}
    for label, text in zip(labels, texts, strict=True):
        if label_of.setdefault(text, label) != label:
            raise ValueError(
                f"{what} {label!r} and another, {label_of[text]!r}, would both be written {text!r}; use labels whose "
                "texts differ."
            )


def _texts(labels: np.ndarray, what: str) -> np.ndarray:
    texts = as_texts(labels, what)
    for text in texts:
        if not text or _UNWRITABLE.search(text):
            raise ValueError(
                f"{what} {text!r} cannot be written as text: a field must not be empty nor hold a space, a tab, a line "
                "break, a NUL or '|'. Write Parquet instead, or use other labels."
            )
    return np.fromiter(texts, dtype=object, count=len(texts))
