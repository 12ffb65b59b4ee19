"""One Parquet file that holds everything a dataset knows, and that any other reader can make sense of."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np

from ..files import write_aside
from ..labels import encode_labels
from ..optional import require_package
from ..pairs import PatternPairs
from ..ragged import offsets_from_lengths, read_only
from ..sequences import SequenceDataset
from .frames import LayoutError, convert_lists, convert_table, from_frame, list_columns
from .label_text import UnwritableLabelError, label_of, text_of
from .seal import is_sealed, write_sealed

__all__ = ["labels_to_arrow", "read_parquet", "to_parquet"]

_KEY = b"seqregen"
# 2 has labels as text.
_VERSION = 2
# What the metadata say in the place of a dtype of labels that are text.
_AS_TEXT = "text"
# What a column of objects may hold for Arrow to give it back as it was.
_ARROW_NUMBERS = ((bool, np.bool_), (int, np.integer), (float, np.floating))
_ARROW_LABELS = (str, type(None), *chain.from_iterable(_ARROW_NUMBERS))
_NUMBER_COLUMNS = ("origin", "source", "memory", "free_steps")
# A footer holds the vocabulary; pyarrow's own limit is made for smaller ones.
_LIMITS: dict[str, Any] = dict.fromkeys(("thrift_string_size_limit", "thrift_container_size_limit"), 2**31 - 1)


def to_parquet(dataset: SequenceDataset, path: str | os.PathLike) -> None:
    """Write a dataset to one Parquet file, one sequence a row.

    Parameters
    ----------
    dataset : SequenceDataset
        What to write: all of it, so that :func:`read_parquet` gives an equal dataset.
    path : str or path-like
        The file. It is written aside and renamed: a file that is there already survives any failure.

    Raises
    ------
    ModuleNotFoundError
        pyarrow is not installed (``pip install 'seqregen[frames]'``).
    ValueError
        Item labels, users or domains are of a type that cannot be given back as it was (a class of your own, a time
        in a zone without a name), or times of a unit that Arrow lacks.

    Notes
    -----
    Labels that Arrow has no type for (tuples, bytes, dates, integers beyond 64 bits, strings and numbers together) are
    written as JSON, see ``seqregen.formats.label_text``.

    Other readers find the columns ``items`` (lists of item labels), ``users``, ``timestamps``, ``weights``,
    ``domains`` (lists), ``origin``, ``source``, ``memory``, ``free_steps``, ``validation`` (an item label) and
    ``patterns`` (lists of pattern numbers), as far as the dataset has them. The vocabulary, the patterns and
    the version of the format are in the metadata under the key ``seqregen``. A checksum of the whole file lies
    at its beginning, where other readers do not look: :func:`read_parquet` sees by it any damage to the file.
    """
    require_package("pyarrow", "to_parquet", "frames")
    import pyarrow as pa

    offsets = pa.array(dataset.offsets)
    dtypes: dict[str, str] = {}
    vocabulary = labels_to_arrow(dataset.vocabulary, "vocabulary", dtypes)
    columns = {"items": pa.LargeListArray.from_arrays(offsets, vocabulary.take(pa.array(dataset.items - 1)))}
    for name in ("timestamps", "weights", "domains"):
        values = getattr(dataset, name)
        if values is not None:
            columns[name] = pa.LargeListArray.from_arrays(offsets, labels_to_arrow(values, name, dtypes))
    columns |= {name: pa.array(getattr(dataset, name)) for name in _NUMBER_COLUMNS if _has(dataset, name)}
    if dataset.users is not None:
        columns["users"] = labels_to_arrow(dataset.users, "users", dtypes)
    if dataset.validation is not None:
        held_out = pa.array(dataset.validation - 1, mask=dataset.validation == 0)
        columns["validation"] = vocabulary.take(held_out)
    tables = {"vocabulary": pa.table({"label": vocabulary})}
    if dataset.pairs is not None:
        pairs = dataset.pairs
        columns["patterns"] = pa.LargeListArray.from_arrays(pa.array(pairs.offsets), pa.array(pairs.patterns))
        codes = pa.LargeListArray.from_arrays(pa.array(pairs.pattern_offsets), pa.array(pairs.pattern_items))
        tables["patterns"] = pa.table({"codes": codes})
    facts = {
        "version": _VERSION if _AS_TEXT in dtypes.values() else 1,
        "rows": len(dataset),
        "digest": _digest(dataset),
        "dtypes": dtypes,
        "tables": {name: _pack(table) for name, table in tables.items()},
    }
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
    with write_aside(path) as aside:
        write_sealed(table, aside)


def _digest(dataset: SequenceDataset) -> str:
    """What tells rows in another order, or with other sources, from those that were written."""
    digest = hashlib.sha256()
    for column in (dataset.items, dataset.offsets, dataset.origin, dataset.source):
        digest.update(np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _has(dataset: SequenceDataset, name: str) -> bool:
    return getattr(dataset, name) is not None


def labels_to_arrow(values: np.ndarray, name: str, dtypes: dict[str, str]) -> Any:
    """A column, and in ``dtypes`` what it has to become again."""
    import pyarrow as pa

    dtypes[name] = values.dtype.str
    if values.dtype == object:
        try:
            if _are_arrow_labels(values):
                return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
            # Numbers and strings together, integers beyond 64 bits, strings that are no valid Unicode.
            pass
        dtypes[name] = _AS_TEXT
        return _texts(values, name)
    if values.dtype.kind in "mM" and not _has_arrow_unit(values.dtype):
        nearest = f"{'datetime' if values.dtype.kind == 'M' else 'timedelta'}64[s]"
        raise ValueError(f"{name} of dtype {values.dtype} cannot be written to Parquet; use {nearest}.")
    if values.dtype.kind not in "iufbmMU":
        raise ValueError(f"{name} of dtype {values.dtype} cannot be written to Parquet; use astype(object).")
    if values.dtype == np.longdouble and np.dtype(np.longdouble).itemsize > 8:
        raise ValueError(f"{name} of dtype {values.dtype} cannot be written to Parquet; use float64.")
    try:
        if values.dtype.kind == "U":
            # In an array of fixed width Arrow takes a NUL for the end of a text.
            return pa.array(values.tolist(), pa.string())
        # Arrow knows numbers in the machine's own order of bytes alone.
        return pa.array(values.astype(values.dtype.newbyteorder("="), copy=False))
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} of dtype {values.dtype} cannot be written to Parquet: the label {error.object!r} is no valid "
            f"Unicode ({error.reason}); use astype(object)."
        ) from error


def _are_arrow_labels(values: np.ndarray) -> bool:
    kinds = set(map(type, values.tolist()))
    # numpy's durations count as its integers; of numbers of several kinds Arrow makes one kind.
    known = all(issubclass(kind, _ARROW_LABELS) and not issubclass(kind, np.timedelta64) for kind in kinds)
    return known and len({_number_of(kind) for kind in kinds} - {None}) <= 1


def _number_of(kind: type) -> int | None:
    """Which kind of number a type is; a bool, which Python takes for an integer, is the first."""
    return next((place for place, numbers in enumerate(_ARROW_NUMBERS) if issubclass(kind, numbers)), None)


def _texts(values: np.ndarray, name: str) -> Any:
    import pyarrow as pa

    try:
        return pa.array([None if value is None else text_of(value) for value in values.tolist()], pa.string())
    except UnwritableLabelError as error:
        raise ValueError(
            f"{name} cannot be written to Parquet: {error}, which cannot be given back as it was; use str(label)."
        ) from None


def _has_arrow_unit(dtype: np.dtype) -> bool:
    unit, count = np.datetime_data(dtype)
    return count == 1 and (unit in ("s", "ms", "us", "ns") or (unit == "D" and dtype.kind == "M"))


def _pack(table: Any) -> str:
    """A table as text, to go into the footer beside what describes the columns."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode("ascii")


def _unpack(text: str) -> Any:
    import pyarrow as pa

    with pa.ipc.open_stream(base64.b64decode(text)) as reader:
        return reader.read_all().combine_chunks()


def read_parquet(
    path: str | os.PathLike, *, user: str | None = None, item: str | None = None, time: str | None = None
) -> SequenceDataset:
    """Read a Parquet file.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`to_parquet` wrote, a long frame with the columns ``user``, ``item`` and (optional)
        ``time``, or a table with exactly one column of lists, beside which a column ``user`` holds the user of
        each row.
    user, item, time : str, optional
        Names of the columns that are called otherwise; ``item`` may be a column of lists.

    Returns
    -------
    SequenceDataset

    Raises
    ------
    FileNotFoundError
        There is no such file.
    OSError
        The file is a directory, or may not be read.
    ModuleNotFoundError
        pyarrow is not installed (``pip install 'seqregen[frames]'``).
    ValueError
        The file is truncated or corrupt, was written by a newer version, was changed by another program since
        :func:`to_parquet` wrote it, has two columns of one name, or holds no sequences. The message names the file.
    """
    shown = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {shown!r}.")
    require_package("pyarrow", "read_parquet", "frames")
    with open(path, "rb") as file:
        sealed = is_sealed(file, lambda why: _damaged(shown, why))
        with _told_as_damage(shown, sealed):
            names = _column_names(file)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"{shown!r} has two columns named {twice[0]!r}; rename one of them.")
        with _told_as_damage(shown, sealed):
            table, facts = _decode(file)
    named = {role: column for role, column in (("user", user), ("item", item), ("time", time)) if column is not None}
    if named or facts is None:
        return _convert_foreign(table, repr(shown), named)
    if facts["version"] > _VERSION:
        raise ValueError(
            f"{shown!r} has version {facts['version']} of the format, this seqregen reads up to {_VERSION}: upgrade it."
        )
    _check_unchanged(table, facts, shown)
    try:
        dataset = _assemble(table, facts)
    except MemoryError:
        raise
    except zoneinfo.ZoneInfoNotFoundError as error:
        raise ValueError(
            f"{shown!r} has times in a zone that this machine does not know ({error.args[0]}). "
            "Install its time zones, for example with pip install tzdata."
        ) from error
    except Exception as error:
        raise _damaged(shown, f"its columns do not fit together: {error}") from error
    # A seal says as much of the whole file.
    if not sealed and "digest" in facts and _digest(dataset) != facts["digest"]:
        raise _rewritten(shown, "with other items, origins or sources, or with its rows in another order")
    return dataset


def _convert_foreign(table: Any, name: str, named: dict[str, str]) -> SequenceDataset:
    if named:
        return _convert_named(table, name, named)
    try:
        return convert_table(table, name)
    except LayoutError as error:
        columns = "user=..., item=..., time=..." if error.nameable else "item=..."
        advice = f"Name the columns with seqregen.formats.read_parquet(path, {columns})."
        raise LayoutError(error.found, advice, error.nameable) from None


def _convert_named(table: Any, name: str, named: dict[str, str]) -> SequenceDataset:
    """Columns by the names that they are said to have, which may be a column of lists and its users."""
    item = named.get("item", "item")
    if item not in list_columns(table, table.column_names):
        return from_frame(table, **named, name=name)
    missing = [column for column in named.values() if column not in table.column_names]
    if missing:
        columns = ", ".join(map(repr, table.column_names))
        raise ValueError(f"{name} has no column {missing[0]!r}; its columns are {columns}.")
    if "time" in named:
        raise ValueError(
            f"{name} has lists in its column {item!r}, which are read as they are ordered, and users beside them; "
            f"times, as in {named['time']!r}, are not."
        )
    return convert_lists(table, item, named.get("user"), name=name)


@contextmanager
def _told_as_damage(shown: Any, sealed: bool) -> Iterator[None]:
    try:
        yield
    # What pyarrow raises of a damaged file may be anything at all; the message passes it on.
    except Exception as error:
        if sealed and isinstance(error, MemoryError):
            # The file is whole: it is the machine that is too small.
            raise
        raise _damaged(shown, (str(error).splitlines() or [type(error).__name__])[0]) from error


def _column_names(file: io.BufferedReader) -> list[str]:
    import pyarrow.parquet as pq

    names = pq.ParquetFile(file, **_LIMITS).schema_arrow.names
    file.seek(0)
    return names


def _check_unchanged(table: Any, facts: dict, shown: Any) -> None:
    """Refuse what other programs made of a file, whose metadata they copied: rows that were added would count twice."""
    noted = facts.get("rows", table.num_rows)
    if "origin" not in table.column_names:
        change = "without the column 'origin', so that added rows would pass for original ones"
    elif noted != table.num_rows:
        change = f"with {table.num_rows} rows in place of {noted}"
    else:
        return
    raise _rewritten(shown, change)


def _rewritten(shown: Any, change: str) -> ValueError:
    return ValueError(
        f"{shown!r} is a file of to_parquet that another program wrote anew, {change}. "
        "Change the dataset, and write that with to_parquet."
    )


def _decode(file: io.BufferedReader) -> tuple[Any, dict | None]:
    """The columns, and what :func:`to_parquet` noted beside them; None in files of others."""
    import pyarrow.parquet as pq

    table = pq.read_table(file, page_checksum_verification=True, **_LIMITS)
    metadata = table.schema.metadata or {}
    if _KEY not in metadata:
        return table, None
    facts = json.loads(metadata[_KEY])
    if not isinstance(facts, dict) or not isinstance(facts.get("version"), int):
        raise ValueError(f"the metadata {_KEY.decode()!r} name no version of the format")
    return table, facts


def _damaged(shown: str, why: str) -> ValueError:
    return ValueError(
        f"{shown!r} cannot be read as Parquet, it is truncated or corrupt ({why}). "
        "Write it again, or fetch it again from where it came from."
    )


def _assemble(table: Any, facts: dict) -> SequenceDataset:
    vocabulary = _to_numpy(_unpack(facts["tables"]["vocabulary"])["label"], facts["dtypes"]["vocabulary"])
    offsets, items = _lists(table, "items")
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in _NUMBER_COLUMNS if name in table.column_names}
    for name in ("timestamps", "weights", "domains"):
        if name in table.column_names:
            columns[name] = _to_numpy(_lists(table, name)[1], facts["dtypes"].get(name, "<f4"))
    if "users" in table.column_names:
        columns["users"] = _to_numpy(table["users"], facts["dtypes"]["users"])
    if "validation" in table.column_names:
        columns["validation"] = _codes(table["validation"], vocabulary, facts)
    if "patterns" in table.column_names:
        row_offsets, patterns = _lists(table, "patterns")
        pattern_offsets, codes = _lists(_unpack(facts["tables"]["patterns"]), "codes")
        columns["pairs"] = PatternPairs(row_offsets, _plain(patterns), _plain(codes), pattern_offsets)
    items = read_only(_codes(items, vocabulary, facts))
    return SequenceDataset(items, offsets, vocabulary, **columns)


def _lists(table: Any, name: str) -> tuple[np.ndarray, Any]:
    import pyarrow.compute as pc

    column = table[name]
    if column.null_count:
        raise ValueError(f"row {pc.index(pc.is_null(column), True).as_py()} of the column {name!r} is null, not a list")
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    return offsets_from_lengths(lengths), pc.list_flatten(column)


def _plain(column: Any) -> np.ndarray:
    return column.to_numpy().astype(np.int64, copy=False)


def _codes(column: Any, vocabulary: np.ndarray, facts: dict) -> np.ndarray:
    """Codes of labels, 0 where there is none; every distinct label is looked up once."""
    import pyarrow as pa

    dictionary = pa.chunked_array(column.chunks, column.type).dictionary_encode().combine_chunks()
    if isinstance(dictionary, pa.ChunkedArray):
        dictionary = dictionary.chunk(0) if dictionary.num_chunks else pa.array([], column.type).dictionary_encode()
    labels = _to_numpy(dictionary.dictionary, facts["dtypes"]["vocabulary"])
    codes = encode_labels(labels, vocabulary)
    if not codes.all():
        raise ValueError(f"the item {labels[np.argmin(codes)]!r} is not in the vocabulary")
    places = dictionary.indices.fill_null(len(labels)).to_numpy()
    return np.concatenate([codes, [0]])[places]


def _to_numpy(column: Any, dtype: str) -> np.ndarray:
    if dtype == _AS_TEXT:
        labels = [None if text is None else label_of(text) for text in column.to_pylist()]
        return np.fromiter(labels, dtype=object, count=len(labels))
    wanted = np.dtype(dtype)
    if wanted.kind == "O":
        values = column.to_pylist()
        return np.fromiter(values, dtype=object, count=len(values))
    values = column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
    return values.astype(wanted, copy=False)
