"""Frames: long ones, one interaction a row, in and out; and those with a column of lists."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..callers import stacklevel_of_caller
from ..labels import LabelError, blocks
from ..optional import foreign_base, package_of, require_package
from ..ragged import offsets_from_lengths, position_in_row, read_only, row_of_position
from ..sequences import Origin, SequenceDataset
from ..times import missing_times
from .columns import encode_column, label_column, time_column, value_column
from .lists import convert_arrow_lists, is_list_type
from .polars_columns import polars_series

__all__ = ["LayoutError", "convert_lists", "convert_table", "from_frame", "list_columns", "to_frame"]

# What is read beside users, items and times.
_CARRIED = ("weight", "domain", "row", "position")
# What columns of times are called: event_time, created_at, createdAt, unixReviewTime, ts.
_TIMES = re.compile(
    r"(^|_|\W)(?i:(time|timestamp|date|datetime|ts)s?|at)$|[a-z](Time|Timestamp|Date|At)$|^unixreviewtime$"
)


class LayoutError(ValueError):
    """A table that holds neither interactions nor one column of lists.

    ``found`` says what it holds, without advice; ``nameable``, whether columns of interactions may have other names.
    """

    def __init__(self, found: str, advice: str, nameable: bool = True) -> None:
        super().__init__(f"{found} {advice}")
        self.found, self.nameable = found, nameable


def from_frame(
    frame: Any, user: str = "user", item: str = "item", time: str | None = "time", *, name: str = "the frame"
) -> SequenceDataset:
    """Convert a long frame, one interaction a row, to one sequence a user.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.Table or pyarrow.RecordBatch
        The interactions, in any order.
    user, item : str, default="user", "item"
        Names of the columns that hold users and items: labels of one kind each.
    time : str or None, default="time"
        Name of the column that holds times: numbers, dates, or datetimes (those with a zone become UTC).
        With None, or when the default "time" is not there, the order of the frame counts; where another column is
        called as times often are, or holds dates, a warning names it.
    name : str, default="the frame"
        What the messages call the frame.

    Returns
    -------
    SequenceDataset
        Rows are users in order of first appearance, their labels in ``users``. Each row is sorted by time;
        interactions of one user at one time keep the order of the frame, and interactions that are equal
        in all columns are all kept. Columns named ``weight`` and ``domain`` are carried along.

        Where there are columns ``row`` and ``position``, as :func:`to_frame` writes them, times and domains may be
        missing; a user of whom a time is missing is then sorted by these two. Beside a column ``origin``, which
        :func:`to_frame` writes, too, they take the place of the order of the frame, unless ``time=None`` asks for that.

    Raises
    ------
    ValueError
        A column is missing, or a user, an item or a time is missing or of another kind than the rest. The
        message names the column and the row, counted from 0.
    TypeError
        ``frame`` is no frame.

    Notes
    -----
    Ten million interactions of a pandas frame with integer users, items and times are converted in seconds; beside the
    frame at most three int64 arrays of that length, and a few numbers a user, are held at a time, the result included.
    Text, categories, zones, weights and domains take more, up to six such arrays.

    Examples
    --------
    >>> import pandas as pd
    >>> from seqregen.formats import from_frame
    >>> frame = pd.DataFrame({"user": ["u", "v", "u"], "item": ["tea", "milk", "salt"], "time": [9, 3, 2]})
    >>> data = from_frame(frame)
    >>> data.users.tolist(), data.to_lists()
    (['u', 'v'], [['salt', 'tea'], ['milk']])
    """
    frame, names = _open_frame(frame)
    placed = time is not None and {"row", "position", "origin"} <= set(names)
    if time == "time" and "time" not in names:
        time = None
        _warn_of_times(frame, [column for column in names if column not in (user, item, *_CARRIED)], name)
    for column in (user, item, time):
        if column is not None and column not in names:
            raise ValueError(f"{name} has no column {column!r}; its columns are {', '.join(map(repr, names))}.")
    if user != "row":
        frame = _original_rows(frame, names, name)
    read = partial(_read, name, frame)
    users, user_numbers = _number_users(*read("user", user, encode_column))
    nulls = {"row", "position"} <= set(names)
    times = None if time is None else read("time", time, partial(time_column, name=time, nulls=nulls))
    offsets = offsets_from_lengths(np.bincount(user_numbers, minlength=len(users)))
    missing = missing_times(times) if times is not None and nulls else np.zeros(0, dtype=bool)
    keys = times
    if placed or missing.any():
        place = _rank([read(key, key, partial(time_column, name=key)) for key in ("position", "row")])
        keys = place if times is None else _rank([place, times])
        if missing.any():
            keys = _keys_beside_missing_times(keys, place, missing, user_numbers, len(users))
    order = _chronological_order(user_numbers, len(users), keys)
    del user_numbers, keys
    vocabulary, items = read("item", item, encode_column)
    items = items if order is None else items[order]
    return SequenceDataset(
        read_only(items),
        offsets,
        vocabulary,
        users=users,
        timestamps=_ordered(times, order),
        weights=_ordered(read("weight", "weight", partial(value_column, name="weight")), order)
        if "weight" in names
        else None,
        domains=_ordered(read("domain", "domain", partial(label_column, nulls=nulls)), order)
        if "domain" in names
        else None,
    )


def _warn_of_times(frame: Any, names: list, name: str) -> None:
    """Warn of a column that seems to hold times: what is not sorted by them is in no order that means anything."""
    is_arrow = package_of(frame) == "pyarrow"
    for column in names:
        kind = str(frame.schema.field(column).type if is_arrow else frame[column].dtype).lower()
        if _TIMES.search(str(column)) or kind.startswith(("date", "timestamp")):
            warnings.warn(
                f"{name} has no column 'time', so the order of its rows counts. Its column {column!r} seems to hold "
                f"times: time={column!r} (on the command line --time {column}) sorts by them, and time=None keeps "
                "the order.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
            return


def _original_rows(frame: Any, names: list, name: str) -> Any:
    """A frame of :func:`to_frame` without the rows that were added: they belong to no user."""
    origins = [origin.name.lower() for origin in Origin]
    if "origin" not in names or not {"row", "position"} <= set(names):
        return frame
    values = _column_values(frame, "origin")
    is_original = values == origins[Origin.ORIGINAL]
    if is_original.all() or not np.isin(values.astype(str), origins).all():
        return frame
    warnings.warn(
        f"{name} has {np.count_nonzero(~is_original):,} interactions of mined or regenerated rows (its column "
        "'origin' says so), which are left out. to_parquet keeps them for what they are; user='row' reads every row as "
        "an original one.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )
    if package_of(frame) == "pandas":
        return frame[is_original].reset_index(drop=True)
    return frame.filter(is_original)


def _column_values(frame: Any, name: str) -> np.ndarray:
    column = frame[name]
    return np.array(column.to_pylist(), dtype=object) if package_of(frame) == "pyarrow" else np.asarray(column)


def _open_frame(frame: Any) -> tuple[Any, list]:
    base = foreign_base(frame)
    kind = "" if base is None else base.__name__
    if kind == "LazyFrame":
        frame = frame.collect()
    elif kind not in ("DataFrame", "Table", "RecordBatch"):
        raise TypeError(f"expected a pandas, polars or pyarrow frame of interactions; got {type(frame).__name__}.")
    names = frame.schema.names if package_of(frame) == "pyarrow" else list(frame.columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"the frame has two columns named {twice[0]!r}.")
    return frame, names


def _read(name: str, frame: Any, role: str, column: str, reader: Callable[[Any], Any]) -> Any:
    """What a reader makes of a column; what it cannot read, with its place in the frame."""
    try:
        return reader(frame[column])
    except LabelError as error:
        raise ValueError(
            f"{name} cannot be read at row {error.position} (counted from 0), column {column!r}: "
            f"{_reworded(error.message, role)}."
        ) from None


def _reworded(message: str, role: str) -> str:
    """What is wrong with a label, which speaks of items whatever the labels are."""
    start, advice = "the item ", "str(item) for all"
    if message.startswith(start):
        message = f"the {role} {message.removeprefix(start)}"
    return f"{message.removesuffix(advice)}str({role}) for all" if message.endswith(advice) else message


def _number_users(labels: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """User labels in order of first appearance, and the number (int32 where that suffices) of each one."""
    first = np.empty(len(labels), dtype=np.int64)
    for block in reversed(list(blocks(len(codes)))):
        # Written backwards, so that the first place of a user is the one that stays.
        first[codes[block][::-1] - 1] = np.arange(block.stop - 1, block.start - 1, -1)
    by_appearance = np.argsort(first)
    number = np.empty(len(labels), dtype=np.int32 if len(labels) < np.iinfo(np.int32).max else np.int64)
    number[by_appearance] = np.arange(len(labels))
    numbers = np.empty(len(codes), dtype=number.dtype)
    for block in blocks(len(codes)):
        numbers[block] = number[codes[block] - 1]
    return labels[by_appearance], numbers


def _rank(keys: list[np.ndarray]) -> np.ndarray:
    """The place of each interaction, int64 (n,), once all are sorted by the last key, then by those before it."""
    rank = np.empty(len(keys[0]), dtype=np.int64)
    rank[np.lexsort(keys)] = np.arange(len(rank))
    return rank


def _keys_beside_missing_times(
    keys: np.ndarray, place: np.ndarray, missing: np.ndarray, user_numbers: np.ndarray, n_users: int
) -> np.ndarray:
    """What to sort each user by: the given keys, or the place where one of the user's times is missing."""
    untimed = np.zeros(n_users, dtype=bool)
    untimed[user_numbers[missing]] = True
    return np.where(untimed[user_numbers], place, keys)


def _chronological_order(user_numbers: np.ndarray, n_users: int, times: np.ndarray | None) -> np.ndarray | None:
    """Frame rows sorted by user, then time, then place in the frame; None where they are so already."""
    same_user = user_numbers[1:] == user_numbers[:-1]
    contiguous = len(same_user) - np.count_nonzero(same_user) == max(n_users - 1, 0)
    if contiguous and (times is None or np.all(~same_user | (times[1:] >= times[:-1]))):
        return None
    order = np.argsort(user_numbers, kind="stable") if times is None else np.lexsort((times, user_numbers))
    # Half the memory while the columns are gathered.
    return order.astype(np.uint32) if len(order) < np.iinfo(np.uint32).max else order


def _ordered(values: np.ndarray | None, order: np.ndarray | None) -> np.ndarray | None:
    if values is None:
        return None
    # A copy in any case: the frame may change later, a dataset must not.
    return read_only(values.copy() if order is None else values[order])


def convert_table(frame: Any, name: str = "X") -> SequenceDataset:
    """Convert a table: a long frame of interactions, or one column of lists.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.Table or pyarrow.RecordBatch
        With the columns ``user``, ``item`` and (optional) ``time``, or with exactly one column of lists, beside
        which a column ``user`` or ``users`` holds the user of each row.
    name : str, default="X"
        What the messages call the input.

    Returns
    -------
    SequenceDataset

    Raises
    ------
    LayoutError
        The table is neither; the message lists its columns.
    ValueError
        A value is missing, or of another kind than the rest; the message names the column and the row.
    """
    frame, names = _open_frame(frame)
    lists = list_columns(frame, names)
    # A tuple may be a label.
    holds_labels = "item" not in lists or (package_of(frame) == "pandas" and _has_tuples(frame["item"]))
    if "user" in names and "item" in names and holds_labels:
        return from_frame(frame, name=name)
    _refuse_rewritten(frame, names, lists, name)
    if len(lists) == 1:
        return convert_lists(frame, lists[0], name=name)
    found = f"{len(lists)} columns of lists ({', '.join(map(repr, lists))})" if lists else "no column of lists"
    advice = (
        "Keep one of them alone, that of the items, in order, and the users beside it."
        if lists
        else "Name the columns with SequenceDataset.from_frame(frame, user=..., item=..., time=...), or pass "
        "frame.to_numpy() if each row lists the items of one sequence."
    )
    raise LayoutError(
        f"{name} is a frame with the columns {', '.join(map(repr, names))}: expected interactions with the columns "
        f"'user', 'item' and (optional) 'time', or exactly one column of lists; found {found}.",
        advice,
        nameable=not lists,
    )


def convert_lists(frame: Any, item: str, user: str | None = None, *, name: str) -> SequenceDataset:
    """Convert a table with one sequence a row: a column of lists, and that of users, "user" or "users" by default.

    Raises
    ------
    ValueError
        It seems to be what another program made of a file of :func:`to_parquet`; or a value cannot be read.
    """
    frame, names = _open_frame(frame)
    lists = list_columns(frame, names)
    _refuse_rewritten(frame, names, lists, name)
    dataset = _convert_list_column(frame[item], name)
    if user is None:
        user = next((other for other in ("user", "users") if other in names and other not in lists), None)
    if user is None:
        return dataset
    labels, codes = _read(name, frame, "user", user, encode_column)
    return dataset.replace(users=labels[codes - 1])


def list_columns(frame: Any, names: Sequence) -> list:
    """The names of those columns that hold lists."""
    package = package_of(frame)
    if package == "polars":
        import polars as pl

        return [name for name in names if isinstance(frame.schema[name], (pl.List, pl.Array))]
    if package == "pyarrow":
        return [name for name in names if is_list_type(frame.schema.field(name).type)]
    return [name for name in names if _is_pandas_list(frame[name])]


def _is_pandas_list(column: Any) -> bool:
    if hasattr(column.dtype, "pyarrow_dtype"):
        return is_list_type(column.dtype.pyarrow_dtype)
    if column.dtype.kind != "O" or len(column) == 0:
        return False
    return isinstance(column.iloc[int(column.notna().to_numpy().argmax())], (list, tuple, np.ndarray))


def _refuse_rewritten(frame: Any, names: Sequence, lists: list, name: str) -> None:
    """Refuse what is left of a file of :func:`to_parquet` without its notes: added rows would pass for others."""
    written = "items" in lists and {"origin", "source"} <= set(names)
    if written and np.isin(_column_values(frame, "origin"), (Origin.MINED, Origin.REGENERATED)).any():
        raise ValueError(
            f"{name} has the columns that to_parquet writes, without what it notes of them: another program wrote them "
            "anew, and rows that were added would pass for original ones. Change the dataset, and write that with "
            "to_parquet."
        )


def _has_tuples(column: Any) -> bool:
    return isinstance(column.iloc[int(column.notna().to_numpy().argmax())], tuple)


def _convert_list_column(column: Any, name: str) -> SequenceDataset:
    if package_of(column) != "pandas":
        return convert_arrow_lists(column, name)
    from ..inputs import check_sequences

    return check_sequences(column, name=name)


def to_frame(dataset: SequenceDataset, library: str = "pandas") -> Any:
    """Lay a dataset out with one interaction a row.

    Parameters
    ----------
    dataset : SequenceDataset
        What to lay out. Empty rows leave no trace.
    library : {"pandas", "polars"}, default="pandas"
        Which kind of frame to make.

    Returns
    -------
    pandas.DataFrame or polars.DataFrame
        Columns ``row``, ``user`` (the row's number where a dataset has no users), ``position`` (from 0),
        ``item``, then ``time``, ``weight`` and ``domain`` where the dataset has them, ``origin``
        ("original", "mined", "regenerated"), and ``source`` where a row has one. Missing times and domains are
        nulls.

    Raises
    ------
    ValueError
        ``library`` is neither of the two, or it has no column for times of such a unit.

    Notes
    -----
    ``from_frame(to_frame(dataset))`` gives the original rows back, with their users, times, weights and domains, where
    each row has a user of its own, all users are of one kind, and no row goes back in time: as always, rows of one
    user become one, which is sorted by time.
    Rows that were mined or regenerated belong to no user, and are left out with a warning;
    ``from_frame(frame, user="row")`` reads every row, as an original one.
    A frame leaves out validation items, pairs, ``memory``, ``free_steps``, and items of the vocabulary that no row
    has: :func:`to_parquet` keeps everything. pandas has no dates of its own, and makes them times in seconds. Labels
    that polars would change (tuples, fractions, members of an enumeration, integers beyond 64 bits, times with a zone)
    are in a column of Python objects there.

    Examples
    --------
    >>> from seqregen import SequenceDataset
    >>> print(SequenceDataset.from_sequences([["tea", "milk"], ["salt"]]).to_frame())
       row  user  position  item    origin
    0    0     0         0   tea  original
    1    0     0         1  milk  original
    2    1     1         0  salt  original
    """
    rows = row_of_position(dataset.offsets)
    names = np.array([origin.name.lower() for origin in Origin], dtype=object)
    columns: dict[str, np.ndarray] = {
        "row": rows,
        "user": rows if dataset.users is None else dataset.users[rows],
        "position": position_in_row(dataset.offsets),
        "item": dataset.vocabulary[dataset.items - 1],
    }
    optional = {"time": dataset.timestamps, "weight": dataset.weights, "domain": dataset.domains}
    columns |= {name: values for name, values in optional.items() if values is not None}
    places = {name: missing_times(columns[name]) for name in ("time", "domain") if name in columns}
    nullable: dict[str, np.ndarray] = {name: missing for name, missing in places.items() if missing.any()}
    columns["origin"] = names[dataset.origin[rows]]
    if (dataset.source >= 0).any():
        columns["source"] = dataset.source[rows]
    if library == "pandas":
        require_package("pandas", "to_frame", "frames")
        frame = pandas_frame(columns)
        integers = [name for name in nullable if columns[name].dtype.kind == "i"]
        return frame.assign(**{name: _pandas_integers(columns[name], nullable[name]) for name in integers})
    if library == "polars":
        require_package("polars", "to_frame", "frames")
        import polars as pl

        return pl.DataFrame({name: polars_series(values, name, nullable.get(name)) for name, values in columns.items()})
    raise ValueError(f"library must be 'pandas' or 'polars'; got {library!r}.")


def pandas_frame(columns: dict[str, Any]) -> Any:
    """A pandas frame, whose texts are Python's own where pandas' cannot hold them, such as lone surrogates."""
    import pandas as pd

    try:
        return pd.DataFrame(columns)
    except UnicodeEncodeError:
        return pd.DataFrame({
            name: pd.Series(values, dtype=object) if np.asarray(values).dtype.kind == "O" else values
            for name, values in columns.items()
        })  # fmt: skip


def _pandas_integers(values: np.ndarray, missing: np.ndarray) -> Any:
    """Integers in the nullable dtype of pandas."""
    import pandas as pd

    return pd.arrays.IntegerArray(values.astype(values.dtype.newbyteorder("=")), missing)
