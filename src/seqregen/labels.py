"""Item labels and their integer codes.

A vocabulary is a one-dimensional array of distinct labels. Code ``c`` (1-based) stands for
``vocabulary[c - 1]``; code 0 is kept for padding and for "no item".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = [
    "LabelError",
    "as_label_array",
    "blocks",
    "build_vocabulary",
    "encode_labels",
    "is_missing",
    "same_vocabulary",
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
        The labels. Numbers of any integer type become int64; floats become float64; strings and every
        other hashable stay objects.

    Returns
    -------
    ndarray of shape (n_labels,)
        int64, float64 or object.

    Raises
    ------
    LabelError
        A label is missing (None, NaN), infinite, not hashable, or of another kind than the first one.
    """
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return _from_typed_array(labels)
    values = labels if isinstance(labels, np.ndarray) else _object_array(labels)
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64)
    kinds = {_kind(type_, values) for type_ in set(map(type, values))}
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


def _from_typed_array(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind in "iu":
        return _as_int64(labels)
    if labels.dtype.kind == "f":
        return _finite(labels.astype(np.float64, copy=False))
    if labels.dtype.kind in "UST":
        return labels.astype(object)
    if labels.dtype.kind == "b":
        return labels.astype(object)
    if labels.dtype.kind in "Mm":
        missing = np.isnat(labels)
        if missing.any():
            raise LabelError("the item is missing (NaT)", int(missing.argmax()))
        return labels.astype(object)
    if labels.dtype.kind == "c":
        raise ValueError("Complex data not supported: items are integers, floats, strings or other hashable labels.")
    raise ValueError(f"items of dtype {labels.dtype} are not supported; use integers, floats, strings or objects.")


def _object_array(labels: Iterable) -> np.ndarray:
    labels = labels if isinstance(labels, Sequence) else list(labels)
    # Never np.array: it would turn a list of equally long tuples into a second dimension.
    return np.fromiter(labels, dtype=object, count=len(labels))


def _as_int64(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise LabelError(f"the integer {values.max()} does not fit in 64 bits", int(values.argmax()))
    try:
        return values.astype(np.int64, copy=False)
    except OverflowError:
        # Python integers beyond 64 bits are still perfectly good labels.
        return values


def _finite(values: np.ndarray) -> np.ndarray:
    bad = ~np.isfinite(values)
    if bad.any():
        position = int(bad.argmax())
        name = "NaN" if np.isnan(values[position]) else "inf"
        raise LabelError(f"the item is {name}", position)
    return values


def _kind(type_: type, values: np.ndarray) -> str:
    if type_ is type(None) or type_.__name__ in ("NAType", "NaTType"):
        return "missing"
    if issubclass(type_, (bool, np.bool_)):
        return "boolean"
    if issubclass(type_, (int, np.integer)):
        return "integer"
    if issubclass(type_, (float, np.floating)):
        return "float"
    if issubclass(type_, str):
        return "string"
    if issubclass(type_, (complex, np.complexfloating)):
        raise ValueError("Complex data not supported: items are integers, floats, strings or other hashable labels.")
    if type_.__hash__ is None:
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
    if len(labels) == 0 or len(vocabulary) == 0:
        return np.zeros(len(labels), dtype=np.int64)
    if "O" in (labels.dtype.kind, vocabulary.dtype.kind):
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
    return np.equal(values, np.array(None, dtype=object)) | np.not_equal(values, values)


def same_vocabulary(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two vocabularies give the same labels the same codes."""
    return first is second or (
        first.dtype == second.dtype and len(first) == len(second) and bool(np.all(first == second))
    )
