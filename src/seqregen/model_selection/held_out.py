"""Moving last items out of rows, and back."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from ..columns import INTERACTION_COLUMNS, missing_value, with_room_for_missing
from ..inputs import check_sequences
from ..labels import encode_labels, read_labels, require_order
from ..parameters import require_flag
from ..ragged import offsets_from_lengths
from ..sequences import Origin, SequenceDataset

__all__ = ["append_targets", "append_validation", "hold_out_last", "leave_one_out", "without_last"]


def leave_one_out(sequences: Any, *, validation: bool = False) -> tuple[SequenceDataset, np.ndarray]:
    """Split each row into its history and its last item.

    The protocol under which sequential recommenders are published: every user trains, and every user is tested
    on the last item. It lets training see what other users do later than a user's test item; where that matters,
    split by time instead.

    Parameters
    ----------
    sequences : array-like of sequences
        Original rows; everything that :func:`seqregen.inputs.check_sequences` reads.
    validation : bool, default=False
        Also move the last but one item out of each row, into ``X.validation``, where early stopping alone reads
        it. A row that has no second item gets code 0 there, "none".

    Returns
    -------
    X : SequenceDataset of n_rows rows
        The histories, with users, and the weights, timestamps and domains of what stays. Rows may be empty. The
        vocabulary is whole: it is the catalogue that is ranked.
    y : ndarray of shape (n_rows,)
        Label of each row's last item.

    Raises
    ------
    ValueError
        A row is empty, the sequences already hold validation items, or there are mined or regenerated rows
        (they were made of whole rows, and would show what is held out).

    Notes
    -----
    Pairs of patterns are not carried along: they may show held-out items. Mine ``X`` instead.

    Examples
    --------
    >>> from seqregen.model_selection import leave_one_out
    >>> X, y = leave_one_out([["tea", "milk", "cup"], ["milk", "tea"]])
    >>> X.to_lists(), y.tolist()
    ([['tea', 'milk'], ['milk']], ['cup', 'tea'])
    >>> X, y = leave_one_out([["tea", "milk", "cup"], ["milk", "tea"]], validation=True)
    >>> X.to_lists(), X.vocabulary[X.validation - 1].tolist(), y.tolist()
    ([['tea'], []], ['milk', 'milk'], ['cup', 'tea'])
    """
    require_flag("validation", validation)
    dataset = check_sequences(sequences, name="sequences")
    _require_original_rows(dataset)
    if dataset.validation is not None:
        raise ValueError(
            "the sequences already hold validation items, so the last item of each row is not its newest; "
            "split the sequences as they were before, or use append_targets to put items back."
        )
    if not dataset.lengths.all():
        row = int(np.argmin(dataset.lengths))
        raise ValueError(
            f"row {row} is empty, so it has no last item to hold out; "
            "leave such rows away first: sequences[sequences.lengths > 0]."
        )
    codes = dataset.items[dataset.offsets[1:] - 1]
    histories = without_last(dataset, np.ones(len(dataset), dtype=bool))
    if validation:
        histories = _last_into_validation(histories, histories.lengths > 0)
    return histories, dataset.vocabulary[codes - 1]


def hold_out_last(sequences: Any, *, min_length: int = 2) -> SequenceDataset:
    """Move each row's last item into ``validation``, where early stopping alone reads it.

    What a recommender does that is given original rows and no validation items. Rows of one item keep it and
    have none held out (code 0): nothing could be predicted from the empty row that would be left. Of rows of two
    items one is left, and nothing to learn from it.

    Parameters
    ----------
    sequences : array-like of sequences, or SequenceDataset
        Original rows. A dataset that has validation items already is returned as it is.
    min_length : int, default=2
        Rows of fewer items keep theirs. 3 trains on rows of two items rather than stop by them.

    Returns
    -------
    SequenceDataset
        The rows without their last items; pairs are dropped, since they may show held-out items.

    Raises
    ------
    ValueError
        ``min_length`` is no integer of 2 or more, or there are mined or regenerated rows: they were made of whole
        rows, and would show what is held out.

    Examples
    --------
    >>> from seqregen.model_selection import hold_out_last
    >>> rows = hold_out_last([[7, 8, 9], [8], []])
    >>> rows.to_lists(), rows.validation.tolist()
    ([[7, 8], [8], []], [3, 0, 0])
    >>> hold_out_last([[7, 8, 9], [8, 7]], min_length=3).to_lists()
    [[7, 8], [8, 7]]
    """
    if isinstance(min_length, (bool, np.bool_)) or not isinstance(min_length, Integral) or min_length < 2:
        raise ValueError(f"min_length must be an integer >= 2; got {min_length!r}.")
    dataset = check_sequences(sequences, name="sequences")
    if dataset.validation is not None:
        return dataset
    _require_original_rows(dataset)
    return _last_into_validation(dataset, dataset.lengths >= min_length)


def append_targets(X: Any, y: Any) -> SequenceDataset:
    """Put held-out items back behind their histories: the inverse of :func:`~seqregen.model_selection.leave_one_out`.

    For the last fit, when the model is chosen: ``search.best_estimator_.fit(append_targets(X, y))``.

    Parameters
    ----------
    X : array-like of sequences
        Histories; items in ``X.validation`` go back into the rows, before ``y``.
    y : array-like of shape (n_rows,)
        Label of the item that follows each history. Labels that the vocabulary lacks are added behind it.

    Returns
    -------
    SequenceDataset
        Without validation items and pairs. Appended items have weight 1 and, where the dataset has times or
        domains, a missing one.

    Raises
    ------
    ValueError
        ``y`` does not have one label a row, a label is missing or of another kind than those of ``X``, or there are
        mined or regenerated rows.

    Examples
    --------
    >>> from seqregen.model_selection import append_targets, leave_one_out
    >>> append_targets(*leave_one_out([[3, 1, 2], [5, 4]], validation=True)).to_lists()
    [[3, 1, 2], [5, 4]]
    """
    dataset = check_sequences(X)
    _require_original_rows(dataset)
    vocabulary, codes = _grow_vocabulary(dataset, y)
    if dataset.validation is not None:
        dataset = _append_items(dataset, dataset.validation)
    return _append_items(dataset.replace(vocabulary=vocabulary), codes)


def append_validation(X: Any) -> SequenceDataset:
    """Put every row's validation item behind the row: the data for a last training, once early stopping is done.

    Parameters
    ----------
    X : array-like of sequences, or SequenceDataset
        Mined and regenerated rows have no validation item and stay as they are.

    Returns
    -------
    SequenceDataset
        Without validation items and pairs. Appended items have weight 1 and, where the dataset has times or
        domains, a missing one.

    Examples
    --------
    >>> from seqregen.model_selection import append_validation, leave_one_out
    >>> X, y = leave_one_out([[3, 1, 2], [5, 4]], validation=True)
    >>> X.to_lists(), append_validation(X).to_lists()
    ([[3], []], [[3, 1], [5]])
    """
    dataset = check_sequences(X)
    return dataset if dataset.validation is None else _append_items(dataset, dataset.validation)


def _require_original_rows(dataset: SequenceDataset) -> None:
    added = dataset.origin != Origin.ORIGINAL
    if added.any():
        row = int(added.argmax())
        raise ValueError(
            f"row {row} is {Origin(dataset.origin[row]).name.lower()}: it was made of whole rows and may show the "
            "items that are to be held out. Hold items out of the original rows first, then mine and regenerate."
        )


def _last_into_validation(dataset: SequenceDataset, chosen: np.ndarray) -> SequenceDataset:
    validation = np.zeros(len(dataset), dtype=np.int64)
    validation[chosen] = dataset.items[dataset.offsets[1:][chosen] - 1]
    return without_last(dataset, chosen).replace(validation=validation)


def without_last(dataset: SequenceDataset, chosen: np.ndarray) -> SequenceDataset:
    """All rows, the chosen ones, bool (n_rows,), without their last items; each of these has one. Pairs are dropped."""
    kept = np.ones(dataset.n_interactions, dtype=bool)
    kept[dataset.offsets[1:][chosen] - 1] = False
    columns: dict[str, Any] = {name: getattr(dataset, name) for name in INTERACTION_COLUMNS}
    columns = {name: None if values is None else values[kept] for name, values in columns.items()}
    offsets = offsets_from_lengths(dataset.lengths - chosen)
    return dataset.replace(items=dataset.items[kept], offsets=offsets, pairs=None, **columns)


def _append_items(dataset: SequenceDataset, codes: np.ndarray) -> SequenceDataset:
    """One more item behind every row whose code is not 0."""
    chosen = codes > 0
    ends = dataset.offsets[1:][chosen]
    columns = {name: _insert_missing(name, getattr(dataset, name), ends) for name in INTERACTION_COLUMNS}
    return dataset.replace(
        items=np.insert(dataset.items, ends, codes[chosen]),
        offsets=offsets_from_lengths(dataset.lengths + chosen),
        validation=None,
        pairs=None,
        **columns,
    )


def _insert_missing(name: str, column: np.ndarray | None, ends: np.ndarray) -> np.ndarray | None:
    if column is None or len(ends) == 0:
        return column
    column = with_room_for_missing(column)
    return np.insert(column, ends, missing_value(name, column.dtype))


def _grow_vocabulary(dataset: SequenceDataset, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """The vocabulary with the unknown labels of ``y`` behind it, and the codes of ``y``."""
    require_order(y, "y", "one label a row")
    labels = read_labels(y, "y")
    if len(labels) != len(dataset):
        raise ValueError(f"y must have one label a row; got {len(labels)} labels for {len(dataset)} rows.")
    codes = encode_labels(labels, dataset.vocabulary)
    unknown = labels[codes == 0]
    if len(unknown) == 0:
        return dataset.vocabulary, codes
    added = list(dict.fromkeys(unknown.tolist()))
    # Both together are checked for being of one kind: an added string would else turn numbers into strings.
    vocabulary = read_labels([*dataset.vocabulary.tolist(), *added], "the vocabulary of X and y together")
    return vocabulary, encode_labels(labels, vocabulary)
