"""The only door for user input: whatever holds sequences becomes a SequenceDataset, or one clear error."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import chain
from typing import Any

import numpy as np
from scipy import sparse

from .callers import stacklevel_of_caller
from .labels import (
    LabelError,
    as_label_array,
    as_numpy,
    build_vocabulary,
    encode_labels,
    read_labels,
    require_order,
    same_vocabulary,
)
from .optional import foreign_base, package_of
from .ragged import offsets_from_lengths, read_only
from .sequences import SequenceDataset

__all__ = [
    "UnseenItemsWarning",
    "check_sequences",
    "check_weights",
    "encode_targets",
    "recode",
    "require_two_items",
    "reusable",
]


class UnseenItemsWarning(UserWarning):
    """Items that a fitted estimator has never seen were left out."""


def check_sequences(
    sequences: Any, *, vocabulary: Iterable | None = None, name: str = "X", require_items: bool = False
) -> SequenceDataset:
    """Convert user input to a :class:`~seqregen.SequenceDataset`.

    Parameters
    ----------
    sequences : array-like of sequences
        One sequence of item labels a row, oldest first: a list of lists or tuples, a one-dimensional object
        array, a two-dimensional array (rows of equal length; 0 and negative numbers are labels like any
        other), a pandas Series of lists, a polars Series or pyarrow array of lists, a long pandas or polars
        frame with the columns user, item and (optional) time, or a SequenceDataset, which passes unchanged.
    vocabulary : array-like of shape (n_items,), optional
        Encode over these labels. Items outside it are left out with one :class:`UnseenItemsWarning`.
        By default the vocabulary is the set of items that occur.
    name : str, default="X"
        What the messages call the input.
    require_items : bool, default=False
        Refuse input in which no row has an item.

    Returns
    -------
    SequenceDataset

    Raises
    ------
    ValueError, TypeError
        The input is empty, is no collection of sequences, or holds a label that is missing, infinite or of
        another kind than the rest. The message says which row, position and value.

    Examples
    --------
    >>> from seqregen.inputs import check_sequences
    >>> check_sequences([["a", "b"], ["b"]]).vocabulary.tolist()
    ['a', 'b']
    """
    if vocabulary is not None:
        require_order(vocabulary, "vocabulary", "one label an item")
    dataset = _convert(sequences, name)
    if len(dataset) == 0:
        raise ValueError(f"{name} has 0 sample(s) (rows) while a minimum of 1 is required.")
    if require_items and dataset.n_interactions == 0:
        raise ValueError(f"{name} has {len(dataset)} rows and all of them are empty; at least one item is required.")
    if vocabulary is None:
        return dataset
    return recode(dataset, read_labels(vocabulary, "vocabulary"), name=name)


def reusable(sequences: Any) -> Any:
    """The input itself, or a list of the rows of an iterator, which can be read but once."""
    return list(sequences) if isinstance(sequences, Iterator) else sequences


def check_weights(dataset: SequenceDataset) -> None:
    """Refuse weights that are negative or not finite."""
    if dataset.weights is None:
        return
    wrong = ~(np.isfinite(dataset.weights) & (dataset.weights >= 0))
    if wrong.any():
        place = int(np.argmax(wrong))
        row = int(np.searchsorted(dataset.offsets, place, side="right") - 1)
        raise ValueError(
            f"weights must be finite and not negative; got {dataset.weights[place]} in row {row}, position "
            f"{place - dataset.offsets[row]}."
        )


def require_two_items(estimator: Any, rows: SequenceDataset, X: Any) -> None:
    """Refuse rows of which none shows an item and the next one; ``X`` is what the user gave.

    Raises
    ------
    ValueError
        No row has two items.
    """
    longest = rows.lengths.max(initial=0)
    if longest < 2:
        columns = (
            f" (X has {X.shape[1]} feature(s), one item each)" if isinstance(X, np.ndarray) and X.ndim == 2 else ""
        )
        beside = "" if rows.validation is None else " beside its validation item"
        advice = " To learn from rows of two items, hold_out_last(X, min_length=3)." if beside else ""
        raise ValueError(
            f"{type(estimator).__name__} cannot learn from {len(rows)} sample(s): every item is predicted from those "
            f"before it, and the longest row has {longest} item(s){beside}{columns}; at least one row of two items is "
            f"required.{advice}"
        )


def recode(dataset: SequenceDataset, vocabulary: np.ndarray, *, name: str = "X") -> SequenceDataset:
    """The same sequences over another vocabulary; items outside it are left out with one warning.

    Parameters
    ----------
    dataset : SequenceDataset
        What to encode again.
    vocabulary : ndarray of shape (n_items,)
        The labels to encode over.
    name : str, default="X"
        What the warning calls the dataset.

    Returns
    -------
    SequenceDataset
        Rows stay in place, also those that become empty. Pairs are dropped where items are left out.
    """
    if same_vocabulary(dataset.vocabulary, vocabulary):
        return dataset
    codes = np.concatenate([[0], encode_labels(dataset.vocabulary, vocabulary)])
    items = codes[dataset.items]
    validation = None if dataset.validation is None else codes[dataset.validation]
    pairs = dataset.pairs
    known = items > 0
    lost = dataset.items[~known]
    if validation is not None and dataset.validation is not None:
        lost = np.concatenate([lost, dataset.validation[(validation == 0) & (dataset.validation > 0)]])
    if pairs is not None:
        pattern_items = codes[pairs.pattern_items]
        pairs = type(pairs)(pairs.offsets, pairs.patterns, pattern_items, pairs.pattern_offsets)
        pairs = pairs if pattern_items.all() else None
    if len(lost) == 0:
        return dataset.replace(items=items, vocabulary=vocabulary, validation=validation, pairs=pairs)
    unseen = dataset.vocabulary[np.unique(lost) - 1]
    shown = ", ".join(repr(label) for label in unseen[:3].tolist()) + (", ..." if len(unseen) > 3 else "")
    warnings.warn(
        f"{name} holds {len(unseen)} item(s) that were not seen in fit ({shown}); "
        f"their {len(lost)} occurrence(s) are ignored.",
        UnseenItemsWarning,
        stacklevel=stacklevel_of_caller(),
    )
    kept_before = np.concatenate([[0], np.cumsum(known)])
    columns = {column: getattr(dataset, column) for column in ("weights", "timestamps", "domains")}
    columns = {column: None if values is None else values[known] for column, values in columns.items()}
    return dataset.replace(
        items=items[known],
        offsets=kept_before[dataset.offsets],
        vocabulary=vocabulary,
        validation=validation,
        pairs=pairs,
        **columns,
    )


def encode_targets(y: Any, vocabulary: np.ndarray, n_rows: int) -> np.ndarray:
    """Look up the label of the item that follows each row.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
        One label a row.
    vocabulary : ndarray of shape (n_items,)
        The items that are ranked.
    n_rows : int
        How many rows there are.

    Returns
    -------
    int64 ndarray of shape (n_rows,)
        1-based codes, 0 for a label outside the vocabulary.

    Raises
    ------
    ValueError, TypeError
        ``y`` does not have one label a row, or one of them cannot be an item.

    Warns
    -----
    UserWarning
        The vocabulary has none of the labels: most likely they are of another kind.
    """
    if y is None:
        raise ValueError("y is required: the label of the next item of each row.")
    require_order(y, "y", "one label a row")
    labels = read_labels(y, "y")
    if len(labels) != n_rows:
        raise ValueError(f"y must have one label for each of the {n_rows} original rows; got {len(labels)}.")
    codes = encode_labels(labels, vocabulary)
    if n_rows and len(vocabulary) and not codes.any():
        given, known = labels[:1].tolist()[0], vocabulary[:1].tolist()[0]
        warnings.warn(
            f"none of the {n_rows} label(s) of y is among the {len(vocabulary)} items seen in fit, so all of them are "
            f"misses: y holds {given!r} ({type(given).__name__}), the items are such as {known!r} "
            f"({type(known).__name__}).",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    return codes


def _convert(sequences: Any, name: str) -> SequenceDataset:
    if isinstance(sequences, SequenceDataset):
        return sequences
    if sparse.issparse(sequences):
        raise TypeError(
            f"{name} is a sparse matrix or array; sparse data was passed, but sequences are ordered: pass a list "
            "of item lists, or use toarray() if each row really lists item labels."
        )
    if isinstance(sequences, (str, bytes, os.PathLike)):
        what = repr(sequences) if isinstance(sequences, os.PathLike) else f"the single string {sequences[:30]!r}"
        raise TypeError(
            f"{name} must hold one sequence of items a row; got {what}. "
            "If it names a file: seqregen.datasets.load_sequences(path) reads files."
        )
    converter = _foreign_converter(sequences)
    if converter is not None:
        return converter(sequences, name)
    if hasattr(sequences, "columns") and hasattr(sequences, "__array__"):
        # As an array, users and times would pass for items.
        raise TypeError(
            f"{name} is a {type(sequences).__module__}.{type(sequences).__name__}, which is no frame that is known "
            "here; convert it to a frame of pandas, polars or pyarrow first."
        )
    if isinstance(sequences, np.ndarray) or (hasattr(sequences, "__array__") and not _is_list_column(sequences)):
        return _from_array(as_numpy(sequences), name)
    if not isinstance(sequences, Iterable):
        raise TypeError(f"{name} must hold one sequence of items a row; got {type(sequences).__name__}.")
    require_order(sequences, name, "one sequence of items a row")
    return _from_rows(list(sequences), name)


def _foreign_converter(sequences: Any) -> Any:
    """The converter of an input that belongs to a library that the user has loaded, without loading it here."""
    base = foreign_base(sequences)
    package = package_of(sequences)
    if base is None or package == "numpy":
        return None
    from . import formats

    kind = base.__name__
    if kind in ("DataFrame", "LazyFrame", "Table", "RecordBatch"):
        return formats.convert_table
    if hasattr(getattr(sequences, "dtype", None), "pyarrow_dtype"):
        return lambda series, name: formats.convert_arrow_lists(series.array.__arrow_array__(), name)
    return formats.convert_arrow_lists if package in ("polars", "pyarrow") else None


def _is_list_column(sequences: Any) -> bool:
    return getattr(getattr(sequences, "dtype", None), "kind", None) == "O"


def _from_array(array: np.ndarray, name: str) -> SequenceDataset:
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported in {name}: items are integers, floats, strings or hashables.")
    if array.ndim == 0:
        raise ValueError(f"{name} must hold one sequence of items a row; got the scalar {array!r}.")
    if array.ndim > 2:
        raise ValueError(f"Found array with dim {array.ndim}, while dim <= 2 is required: {name} is rows of items.")
    if array.ndim == 1:
        if array.dtype == object:
            return _from_rows(list(array), name)
        raise ValueError(
            f"{name} is a one-dimensional array of single items; expected one sequence a row. Reshape your data: "
            "array.reshape(1, -1) if it is one sequence, array.reshape(-1, 1) if each item is a row."
        )
    n_rows, length = array.shape
    if length == 0 and n_rows > 0:
        raise ValueError(f"{name} has 0 feature(s) (shape=({n_rows}, 0)) while a minimum of 1 is required.")
    offsets = np.arange(n_rows + 1, dtype=np.int64) * length
    return _encode(array.reshape(-1), offsets, name)


def _from_rows(rows: list, name: str) -> SequenceDataset:
    if any(type_ is not np.ndarray and _is_array_type(type_) for type_ in set(map(type, rows))):
        rows = [row.as_py() if hasattr(row, "as_py") else as_numpy(row) for row in rows]
    for number, row in enumerate(rows):
        if isinstance(row, (str, bytes)) or not isinstance(row, Sized):
            raise ValueError(
                f"{name} must hold one sequence of items a row; row {number} is the single value {row!r}. "
                "Reshape your data: put each sequence in a list of its own."
            )
        if isinstance(row, (Mapping, set, frozenset)) or getattr(row, "ndim", 1) != 1:
            raise ValueError(
                f"row {number} of {name} must be a one-dimensional ordered sequence of items; "
                f"got {type(row).__name__}{f' of shape {row.shape}' if hasattr(row, 'shape') else ''}."
            )
    offsets = offsets_from_lengths(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)))
    # Signed and unsigned numbers of 64 bits would meet in floats.
    dtypes = {row.dtype if isinstance(row, np.ndarray) else np.dtype(object) for row in rows}
    if rows and all(dtype.kind in "iu" for dtype in dtypes) and np.result_type(*dtypes).kind in "iu":
        return _encode(np.ma.concatenate(rows) if any(map(np.ma.isMA, rows)) else np.concatenate(rows), offsets, name)
    return _encode(list(chain.from_iterable(_python_labels(row) for row in rows)), offsets, name)


def _is_array_type(type_: type) -> bool:
    return hasattr(type_, "__array__") or hasattr(type_, "as_py")


def _python_labels(row: Any) -> Iterable:
    # The list of a masked array says None where it is masked, and that of nanoseconds bare numbers; the values one by
    # one say what they are.
    plain = isinstance(row, np.ndarray) and row.dtype.kind not in "mM" and not np.ma.is_masked(row)
    return row.tolist() if plain else row


def _encode(labels: Any, offsets: np.ndarray, name: str) -> SequenceDataset:
    try:
        values = as_label_array(labels)
    except LabelError as error:
        row = int(np.searchsorted(offsets, error.position, side="right") - 1)
        place = f"row {row}, position {error.position - offsets[row]}"
        raise error.error_type(f"{name} cannot be read at {place}: {error.message}.") from None
    vocabulary, codes = build_vocabulary(values)
    return SequenceDataset(read_only(codes), offsets, vocabulary)
