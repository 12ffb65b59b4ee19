"""Item labels and their integer codes.

A vocabulary is a one-dimensional array of distinct labels. Code ``c`` (1-based) stands for
``vocabulary[c - 1]``; code 0 is kept for padding and for "no item".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .optional import package_of

__all__ = [
    "LabelError",
    "as_label_array",
    "as_numpy",
    "blocks",
    "build_vocabulary",
    "encode_labels",
    "is_missing",
    "python_value",
    "read_labels",
    "require_distinct",
    "require_order",
    "same_vocabulary",
    "without_numpy_scalars",
]


class LabelError(ValueError):
    """A label that cannot be an item.

    ``position`` is its place in the flat array of labels, ``error_type`` what to raise once the row is known.
    """

    def __init__(self, message: str, position: int, error_type: type[Exception] = ValueError) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.error_type = error_type


def as_label_array(labels: Iterable) -> np.ndarray:
    """Turn labels into a one-dimensional int64, float64 or object array of labels of one kind.

    Parameters
    ----------
    labels : iterable of hashable
        The labels: a list, or an array of numpy, pandas, polars, pyarrow or torch. Numbers of any integer type
        become int64, or stay Python integers where one is too large; floats become float64; strings and every
        other hashable stay objects. Scalars of pyarrow and torch count as the Python values they hold.

    Returns
    -------
    ndarray of shape (n_labels,)
        int64, float64 or object.

    Raises
    ------
    LabelError
        A label is missing (None, NaN, masked), infinite, not hashable, or of another kind than the first one.
    ValueError
        The labels are an array of no dimension or of several, or of a dtype that cannot hold labels.
    """
    labels = as_numpy(labels)
    if isinstance(labels, np.ma.MaskedArray) and labels.ndim == 1:
        labels = _unmasked(labels)
    if isinstance(labels, np.ndarray) and labels.ndim != 1:
        raise ValueError(f"labels must be one-dimensional; got an array of shape {labels.shape}.")
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "T":
        # numpy's strings of any length may have missing ones.
        labels = labels.astype(object)
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return _from_typed_array(labels)
    values = labels if isinstance(labels, np.ndarray) else _object_array(labels)
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64)
    values = without_numpy_scalars(values)
    types = set(map(type, values))
    if any(map(_is_foreign_scalar, types)):
        values = _object_array([python_value(value) for value in values])
        types = set(map(type, values))
    kinds = {_kind(type_, values) for type_ in types}
    if len(kinds) > 1 or "missing" in kinds or "unhashable" in kinds:
        raise _kind_error(values)
    kind = kinds.pop()
    if kind == "integer":
        return _as_int64(values)
    if kind == "float":
        return _finite(values.astype(np.float64))
    if kind == "string":
        return values
    return _hashable(values)


def read_labels(labels: Any, name: str) -> np.ndarray:
    """Labels that a user gave under a name, which the messages then tell: :func:`as_label_array` of them.

    Parameters
    ----------
    labels : array-like of shape (n_labels,)
        One label each.
    name : str
        What the messages call them.

    Returns
    -------
    ndarray
        As :func:`as_label_array` gives it.

    Raises
    ------
    ValueError, TypeError
        The labels are not one-dimensional, or one of them cannot be an item; the message says where.
    """
    labels = as_numpy(labels)
    if getattr(labels, "ndim", 1) != 1:
        raise ValueError(f"{name} must be one-dimensional, one label each; got shape {labels.shape}.")
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
        raise TypeError(f"{name} must be a list or an array of labels; got {labels!r}.")
    try:
        return as_label_array(labels)
    except LabelError as error:
        raise error.error_type(f"{name} cannot be read at position {error.position}: {error.message}.") from None


def require_order(values: Any, name: str, content: str) -> None:
    """Refuse collections without an order, and dicts, of which only the keys would be read.

    Parameters
    ----------
    values : object
        What the user gave.
    name, content : str
        What the message calls it, and what it must list.

    Raises
    ------
    TypeError
        ``values`` is a set or a dict.
    """
    if not isinstance(values, (Mapping, set, frozenset)):
        return
    advice = "list(values.values())" if isinstance(values, Mapping) else "a list, in the order that is meant"
    raise TypeError(f"{name} must list {content}, in order; got a {type(values).__name__}. Pass {advice}.")


def as_numpy(values: Any) -> Any:
    """Arrays of other libraries (pandas, polars, pyarrow, torch) as numpy arrays, everything else as it is."""
    if isinstance(values, np.matrix):
        # A matrix stays two-dimensional whatever is done to it.
        return np.asarray(values)
    if isinstance(values, np.ndarray) or not hasattr(values, "__array__"):
        return values
    if package_of(values) == "pyarrow":
        values = _without_dictionary(values)
    integers = _integers_with_missing(values)
    if integers is not None:
        # numpy would make floats of them.
        return integers
    if hasattr(values, "detach"):
        # numpy cannot read a tensor of a GPU, nor one that asks for gradients.
        values = values.detach().cpu()
    return np.asarray(values)


def _without_dictionary(values: Any) -> Any:
    """An array of pyarrow whose elements are spelt out: of chunks numpy would get a missing one as the last entry."""
    import pyarrow as pa

    if not hasattr(values, "type") or not pa.types.is_dictionary(values.type):
        return values
    if isinstance(values, pa.ChunkedArray):
        return pa.chunked_array([chunk.dictionary_decode() for chunk in values.chunks], values.type.value_type)
    return values.dictionary_decode()


def _integers_with_missing(values: Any) -> np.ndarray | None:
    """Integers of pandas, polars or pyarrow, some of which are missing, as objects; None where they are no such."""
    package = package_of(values)
    dtype: Any = getattr(values, "dtype", None)
    if package == "pandas" and hasattr(values, "isna") and not isinstance(dtype, np.dtype):
        of_categories = getattr(getattr(dtype, "categories", None), "dtype", None)
        kind = getattr(of_categories or dtype, "kind", None)
        return np.asarray(values.astype(object)) if kind in ("i", "u") and values.isna().any() else None
    if package == "polars" and hasattr(dtype, "is_integer") and dtype.is_integer() and values.null_count():
        return _object_array(values.to_list())
    if package == "pyarrow" and str(getattr(values, "type", "")).startswith(("int", "uint")) and values.null_count:
        return _object_array(values.to_pylist())
    return None


def _unmasked(labels: np.ma.MaskedArray) -> np.ndarray:
    """A masked array without masked values as a plain one: what numpy keeps behind a mask is no label."""
    masked = np.ma.getmaskarray(labels)
    if masked.any():
        raise LabelError("the item is missing (masked)", int(masked.argmax()))
    return labels.data


def _is_foreign_scalar(type_: type) -> bool:
    """Whether values of a type only wrap a Python value, and compare with it by no means or by identity."""
    if issubclass(type_, (np.generic, np.ma.core.MaskedConstant)):
        return issubclass(type_, (np.datetime64, np.timedelta64))
    return hasattr(type_, "as_py") or (hasattr(type_, "item") and hasattr(type_, "__array__"))


def python_value(value: Any) -> Any:
    """What a scalar of numpy's times, pyarrow or torch holds; any other value as it is."""
    if not _is_foreign_scalar(type(value)) or getattr(value, "ndim", 0) != 0:
        return value
    plain = value.as_py() if hasattr(value, "as_py") else value.item()
    # Python has no time of nanoseconds: numpy would give their bare number.
    return value if isinstance(value, (np.datetime64, np.timedelta64)) and isinstance(plain, int) else plain


def without_numpy_scalars(values: np.ndarray) -> np.ndarray:
    """Objects among which numpy's strings, bytes and booleans are Python's, for libraries that know only these.

    Parameters
    ----------
    values : ndarray of object, shape (n,)

    Returns
    -------
    ndarray of object, shape (n,)
        The same array where it has none of them.
    """
    if not set(map(type, values)) & {np.str_, np.bytes_, np.bool_}:
        return values
    return _object_array([v.item() if isinstance(v, (np.str_, np.bytes_, np.bool_)) else v for v in values])


def _from_typed_array(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind in "iu":
        return _as_int64(labels)
    if labels.dtype.kind == "f":
        return _finite(labels.astype(np.float64, copy=False))
    if labels.dtype.kind in "US":
        return labels.astype(object)
    if labels.dtype.kind == "b":
        return labels.astype(object)
    if labels.dtype.kind in "Mm":
        missing = np.isnat(labels)
        if missing.any():
            raise LabelError("the item is missing (NaT)", int(missing.argmax()))
        return _object_array([python_value(value) for value in labels])
    if labels.dtype.kind == "c":
        raise ValueError("Complex data not supported: items are integers, floats, strings or other hashable labels.")
    raise ValueError(f"items of dtype {labels.dtype} are not supported; use integers, floats, strings or objects.")


def _object_array(labels: Iterable) -> np.ndarray:
    labels = labels if isinstance(labels, Sequence) else list(labels)
    # Never np.array: it would turn a list of equally long tuples into a second dimension.
    return np.fromiter(labels, dtype=object, count=len(labels))


def _as_int64(values: np.ndarray) -> np.ndarray:
    too_large = values.dtype == np.uint64 and len(values) > 0 and values.max() > np.iinfo(np.int64).max
    try:
        return values.astype(object if too_large else np.int64, copy=False)
    except OverflowError:
        # Python integers beyond 64 bits are still perfectly good labels.
        return _object_array([int(value) for value in values])


def _finite(values: np.ndarray) -> np.ndarray:
    bad = ~np.isfinite(values)
    if bad.any():
        position = int(bad.argmax())
        name = "NaN" if np.isnan(values[position]) else "inf"
        raise LabelError(f"the item is {name}", position)
    return values


def _kind(type_: type, values: np.ndarray) -> str:
    if type_ is type(None) or type_.__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return "missing"
    if issubclass(type_, (bool, np.bool_)):
        return "boolean"
    # numpy's durations count as its integers.
    if issubclass(type_, (int, np.integer)) and not issubclass(type_, np.timedelta64):
        return "integer"
    if issubclass(type_, (float, np.floating)):
        return "float"
    if issubclass(type_, str):
        return "string"
    if issubclass(type_, (complex, np.complexfloating)):
        raise ValueError("Complex data not supported: items are integers, floats, strings or other hashable labels.")
    # An array of another library hashes by identity: no two would ever be the same item.
    if type_.__hash__ is None or (hasattr(type_, "__array__") and not issubclass(type_, np.generic)):
        return "unhashable"
    return type_.__qualname__


def _kind_error(values: np.ndarray) -> LabelError:
    expected = None
    for position, value in enumerate(values):
        kind = _kind(type(value), values)
        if kind == "missing" or (kind == "float" and np.isnan(value)):
            return LabelError(f"the item is missing ({value!r})", position)
        if kind == "unhashable":
            return LabelError(
                f"argument must be a string, a number or another hashable label; got {value!r} "
                f"of type {type(value).__name__}",
                position,
                TypeError,
            )
        expected = expected or kind
        if kind != expected:
            return LabelError(
                f"the item {value!r} is of kind {kind}, the ones before are of kind {expected}; "
                "use one kind of label, for example str(item) for all",
                position,
            )
    raise AssertionError("called with labels of one kind")


def _hashable(values: np.ndarray) -> np.ndarray:
    for position, value in enumerate(values):
        try:
            hash(value)
        except TypeError:
            raise LabelError(f"the item {value!r} is not hashable", position, TypeError) from None
        if value != value:
            # As Decimal("NaN") is not: no two of it would be one item.
            raise LabelError(f"the item is missing ({value!r})", position)
    return values


def build_vocabulary(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collect the distinct labels and give every label its code.

    Parameters
    ----------
    labels : ndarray of shape (n_labels,)
        As :func:`as_label_array` returns them.

    Returns
    -------
    vocabulary : ndarray of shape (n_distinct,)
        The distinct labels, sorted where they can be compared, else in order of first appearance.
    codes : int64 ndarray of shape (n_labels,)
        1-based codes.
    """
    if labels.dtype != object:
        return _number_vocabulary(labels)
    first_seen = dict.fromkeys(labels)
    try:
        ordered = sorted(first_seen)
    except TypeError:
        ordered = list(first_seen)
    vocabulary = _object_array(ordered)
    return vocabulary, encode_labels(labels, vocabulary)


def _number_vocabulary(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    span = _compact_span(labels)
    if span is None:
        vocabulary, codes = np.unique(labels, return_inverse=True)
        codes += 1
        return vocabulary, codes
    lowest, width = span
    present = np.zeros(width, dtype=bool)
    for block in blocks(len(labels)):
        present[labels[block] - lowest] = True
    # The number of labels up to and including this one is its code.
    table = np.cumsum(present, dtype=np.int32 if width < np.iinfo(np.int32).max else np.int64)
    codes = np.empty(len(labels), dtype=np.int64)
    for block in blocks(len(labels)):
        codes[block] = table[labels[block] - lowest]
    return np.flatnonzero(present) + lowest, codes


def blocks(length: int, size: int = 1 << 20) -> Iterator[slice]:
    """Slices that cover ``length`` elements, so that temporary arrays stay small beside the whole."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _compact_span(labels: np.ndarray) -> tuple[int, int] | None:
    """Lowest value and width of an integer range small enough for a table, else None."""
    if labels.dtype != np.int64 or len(labels) == 0:
        return None
    lowest, highest = int(labels.min()), int(labels.max())
    width = highest - lowest + 1
    return (lowest, width) if width <= max(len(labels), 1 << 16) else None


def encode_labels(labels: np.ndarray, vocabulary: np.ndarray) -> np.ndarray:
    """Look labels up in a vocabulary.

    Parameters
    ----------
    labels : ndarray of shape (n_labels,)
        As :func:`as_label_array` returns them.
    vocabulary : ndarray of shape (n_items,)
        Distinct labels.

    Returns
    -------
    int64 ndarray of shape (n_labels,)
        1-based codes, 0 where a label is not in the vocabulary.
    """
    if len(labels) == 0 or len(vocabulary) == 0 or _are_booleans(labels) != _are_booleans(vocabulary):
        return np.zeros(len(labels), dtype=np.int64)
    # Integers and floats are compared as Python does: numpy would round large integers to floats.
    if "O" in (labels.dtype.kind, vocabulary.dtype.kind) or labels.dtype.kind != vocabulary.dtype.kind:
        code = {label: position + 1 for position, label in enumerate(vocabulary.tolist())}
        values = labels.tolist()
        return np.fromiter((code.get(label, 0) for label in values), dtype=np.int64, count=len(values))
    span = _compact_span(vocabulary)
    if span is not None and labels.dtype == np.int64:
        lowest, width = span
        table = np.zeros(width + 1, dtype=np.int64)
        table[vocabulary - lowest] = np.arange(1, len(vocabulary) + 1)
        codes = np.empty(len(labels), dtype=np.int64)
        for block in blocks(len(labels)):
            part = labels[block]
            # One slot behind the range stands for everything outside it; its code stays 0.
            codes[block] = table[np.where((part >= lowest) & (part < lowest + width), part - lowest, width)]
        return codes
    return _search_numbers(labels, vocabulary)


def _are_booleans(labels: np.ndarray) -> bool:
    """Whether labels, all of one kind, are booleans: to Python True is 1, as an item it is not."""
    return isinstance(labels[0], (bool, np.bool_))


def _search_numbers(labels: np.ndarray, vocabulary: np.ndarray) -> np.ndarray:
    order = np.argsort(vocabulary, kind="stable")
    sorted_labels = vocabulary[order]
    position = np.minimum(np.searchsorted(sorted_labels, labels), len(vocabulary) - 1)
    return np.where(sorted_labels[position] == labels, order[position] + 1, 0)


def is_missing(values: np.ndarray) -> np.ndarray:
    """Where values are None, NaN or NaT, bool of the same shape."""
    if values.dtype.kind in "fc":
        return np.isnan(values)
    if values.dtype.kind in "mM":
        return np.isnat(values)
    if values.dtype.kind != "O":
        return np.zeros(values.shape, dtype=bool)
    # A value that is not equal to itself is NaN, NaT or the like.
    try:
        return np.equal(values, np.array(None, dtype=object)) | np.not_equal(values, values)
    except TypeError:
        return np.fromiter(map(_is_missing_value, values.flat), dtype=bool, count=values.size).reshape(values.shape)


def _is_missing_value(value: Any) -> bool:
    # Whether pandas' NA is equal to itself it does not say.
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def require_distinct(vocabulary: np.ndarray) -> None:
    """Refuse a vocabulary that holds a label twice: one item would have two codes, and be predicted twice."""
    if vocabulary.dtype == object:
        n_distinct = len(set(vocabulary.tolist()))
    elif np.all(vocabulary[1:] > vocabulary[:-1]):
        return
    else:
        n_distinct = len(np.unique(vocabulary))
    if n_distinct == len(vocabulary):
        return
    first_at: dict[Any, int] = {}
    for position, label in enumerate(vocabulary.tolist()):
        if first_at.setdefault(label, position) != position:
            raise ValueError(
                f"the vocabulary must hold each label once; got {label!r} at positions {first_at[label]} "
                f"and {position}."
            )


def same_vocabulary(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two vocabularies give the same labels the same codes."""
    return first is second or (
        first.dtype == second.dtype and len(first) == len(second) and bool(np.all(first == second))
    )
