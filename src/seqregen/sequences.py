"""The container that flows through every estimator: ragged, columnar, immutable."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .columns import (
    INTERACTION_COLUMNS,
    ROW_COLUMNS,
    DatasetStatistics,
    Origin,
    as_columns,
    check_columns,
    empty_share,
    equal_columns,
    is_row_number,
    joined_column,
    renumber,
    row_numbers,
    take,
)
from .exchange import Exchange
from .labels import as_numpy, same_vocabulary
from .pairs import PatternPairs
from .ragged import concatenate_offsets, offsets_from_lengths, read_only, take_positions

__all__ = ["DatasetStatistics", "Origin", "SequenceDataset"]


class SequenceDataset(Exchange):
    """Item sequences with everything that is known about them.

    Rows are what scikit-learn indexes: ``len``, ``shape == (n_rows,)``, integer, slice, integer-array and
    boolean-array indexing. Every operation returns a new dataset and shares arrays where it can; the arrays
    are read-only. Most people make one with :meth:`from_sequences`, :meth:`from_frame`,
    :func:`seqregen.datasets.load_sequences`, or never: every estimator accepts lists of lists.

    Parameters
    ----------
    items : int64 array of shape (n_interactions,)
        Item codes 1..V. Row ``r`` is ``items[offsets[r]:offsets[r + 1]]``.
    offsets : int64 array of shape (n_rows + 1,)
        Starts at 0, never falls, ends at ``n_interactions``.
    vocabulary : array-like of shape (V,)
        The user's own item labels, each of them once: code ``c`` is ``vocabulary[c - 1]``.
    weights : float32 array of shape (n_interactions,), optional
        Weight of each position as a training target; None stands for 1 everywhere.
    origin : int8 array of shape (n_rows,), optional
        An :class:`Origin` a row; default all original.
    source : int64 array of shape (n_rows,), optional
        The original row that a regenerated row came from; -1 (default) for none.
    memory, free_steps : int16 arrays of shape (n_rows,), optional
        For regenerated rows the memory they were decoded from (-1 for none), and how many steps of the
        decoding were free over all items.
    pairs : PatternPairs, optional
        For each row, the patterns that it contains.
    validation : int64 array of shape (n_rows,), optional
        Code of each original row's held-out next item, 0 for none.
    users : array of shape (n_rows,), optional
        The user a row belongs to.
    timestamps : array of shape (n_interactions,), optional
        Time of each interaction: numbers, datetimes or durations; rows that have none hold NaT, NaN, or the smallest
        integer. Unsigned integers become int64, since the smallest of them, 0, is a time; datetimes with a zone
        become UTC.
    domains : array of shape (n_interactions,), optional
        Domain of each interaction.

    Raises
    ------
    ValueError
        The columns do not fit together; the message names the column and the place.

    Examples
    --------
    >>> from seqregen import SequenceDataset
    >>> data = SequenceDataset.from_sequences([["tea", "milk", "tea"], ["milk"], []])
    >>> data.shape, data.n_items, data.lengths.tolist()
    ((3,), 2, [3, 1, 0])
    >>> data[0].tolist()
    ['tea', 'milk', 'tea']
    >>> data[[2, 0]].to_lists()
    [[], ['tea', 'milk', 'tea']]
    """

    __slots__ = (
        "items",
        "offsets",
        "vocabulary",
        *ROW_COLUMNS,
        *INTERACTION_COLUMNS,
        "pairs",
    )

    items: np.ndarray
    offsets: np.ndarray
    vocabulary: np.ndarray
    origin: np.ndarray
    source: np.ndarray
    memory: np.ndarray | None
    free_steps: np.ndarray | None
    validation: np.ndarray | None
    users: np.ndarray | None
    weights: np.ndarray | None
    timestamps: np.ndarray | None
    domains: np.ndarray | None
    pairs: PatternPairs | None

    def __init__(
        self,
        items: np.ndarray,
        offsets: np.ndarray,
        vocabulary: np.ndarray,
        *,
        weights: np.ndarray | None = None,
        origin: np.ndarray | None = None,
        source: np.ndarray | None = None,
        memory: np.ndarray | None = None,
        free_steps: np.ndarray | None = None,
        pairs: PatternPairs | None = None,
        validation: np.ndarray | None = None,
        users: np.ndarray | None = None,
        timestamps: np.ndarray | None = None,
        domains: np.ndarray | None = None,
    ) -> None:
        columns = {
            "items": items,
            "offsets": offsets,
            "vocabulary": vocabulary,
            "origin": origin,
            "source": source,
            "memory": memory,
            "free_steps": free_steps,
            "validation": validation,
            "users": users,
            "weights": weights,
            "timestamps": timestamps,
            "domains": domains,
        }
        self._assign(as_columns(columns, np.size(as_numpy(offsets)) - 1), pairs)
        check_columns(self, {*columns, "pairs"})

    def _assign(self, columns: dict[str, np.ndarray | None], pairs: PatternPairs | None) -> None:
        for name, column in columns.items():
            object.__setattr__(self, name, None if column is None else read_only(column))
        object.__setattr__(self, "pairs", pairs)

    # What it holds

    @property
    def shape(self) -> tuple[int]:
        """``(n_rows,)``."""
        return (len(self.offsets) - 1,)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        """Size V of the vocabulary."""
        return len(self.vocabulary)

    @property
    def n_interactions(self) -> int:
        """Number of items in all rows together."""
        return len(self.items)

    @property
    def lengths(self) -> np.ndarray:
        """Number of items, int64 (n_rows,), of each row."""
        return np.diff(self.offsets)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Rows as arrays of labels."""
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SequenceDataset):
            return NotImplemented
        if not same_vocabulary(self.vocabulary, other.vocabulary) or self.pairs != other.pairs:
            return False
        names = ("items", "offsets", *ROW_COLUMNS, *INTERACTION_COLUMNS)
        return all(equal_columns(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"SequenceDataset is immutable; use replace({name}=...) for a changed copy.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"SequenceDataset is immutable: {name} cannot be deleted.")

    def __reduce__(self) -> tuple:
        columns = {name: getattr(self, name) for name in self.__slots__ if name != "pairs"}
        return _rebuild, (columns, self.pairs)

    def describe(self) -> DatasetStatistics:
        """Count what papers print: users, items, interactions, mean length, sparsity.

        Users are the original rows. Interactions, mean length and sparsity are those of all rows, mined and
        regenerated ones included; sparsity is the share of the table rows by items that is empty, where an item that
        a row repeats fills one cell. For those of the original rows alone: ``dataset.originals().describe()``.

        Returns
        -------
        DatasetStatistics

        Examples
        --------
        >>> from seqregen import SequenceDataset
        >>> SequenceDataset.from_sequences([["tea", "milk", "tea"], ["milk"]]).describe().sparsity
        0.25
        """
        by_origin = self._rows_by_origin()
        return DatasetStatistics(
            rows=len(self),
            users=by_origin[Origin.ORIGINAL],
            items=self.n_items,
            interactions=self.n_interactions,
            mean_length=self._mean_length(),
            sparsity=empty_share(self.items, self.offsets, self.n_items),
            mined=by_origin[Origin.MINED],
            regenerated=by_origin[Origin.REGENERATED],
        )

    def _rows_by_origin(self) -> list[int]:
        return np.bincount(self.origin, minlength=len(Origin)).tolist()

    def _mean_length(self) -> float:
        return self.n_interactions / len(self) if len(self) else 0.0

    def __repr__(self) -> str:
        # Not of describe, which sorts all interactions for the sparsity.
        original, mined, regenerated = self._rows_by_origin()
        added = [f"{count:,} {name}" for name, count in (("mined", mined), ("regenerated", regenerated)) if count]
        rows = f"{len(self):,} rows" + (f" ({original:,} original, {', '.join(added)})" if added else "")
        held_out = ", validation items held out" if self.validation is not None and self.validation.any() else ""
        return (
            f"SequenceDataset({rows}, {self.n_items:,} items, {self.n_interactions:,} interactions, "
            f"mean length {self._mean_length():.1f}{held_out})"
        )

    def _repr_html_(self) -> str:
        facts = str(self.describe()).splitlines()
        cells = (line.rsplit(maxsplit=1) for line in facts)
        body = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in cells)
        return f"<table><caption>SequenceDataset</caption>{body}</table>"

    # Parts and sums

    def __getitem__(self, key: Any) -> Any:
        """One row as an array of labels (integer key), or a dataset of several rows."""
        if isinstance(key, tuple):
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(f"a dataset has one axis, its rows; got the key {key!r}.")
            key = key[0]
        if is_row_number(key):
            return self.vocabulary[self.row_codes(operator.index(key)) - 1]
        if isinstance(key, slice) and key.step in (None, 1):
            start, stop, _ = key.indices(len(self))
            return self._contiguous(start, max(start, stop))
        return self._gather(row_numbers(key, len(self)))

    def row_codes(self, row: int) -> np.ndarray:
        """Give the item codes of one row: a view.

        Parameters
        ----------
        row : int
            Its number; from the end where it is negative.

        Returns
        -------
        int64 ndarray of shape (length of the row,)

        Raises
        ------
        IndexError
            There is no such row.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of a dataset of {len(self)} rows.")
        row %= len(self)
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def _contiguous(self, start: int, stop: int) -> SequenceDataset:
        first, last = self.offsets[start], self.offsets[stop]
        columns = {name: take(getattr(self, name), slice(start, stop)) for name in ROW_COLUMNS}
        columns |= {name: take(getattr(self, name), slice(first, last)) for name in ("items", *INTERACTION_COLUMNS)}
        columns["offsets"] = self.offsets[start : stop + 1] - first
        return self._part(np.arange(start, stop), columns)

    def _gather(self, rows: np.ndarray) -> SequenceDataset:
        positions, offsets = take_positions(self.offsets[rows], self.lengths[rows])
        columns = {name: take(getattr(self, name), rows) for name in ROW_COLUMNS}
        columns |= {name: take(getattr(self, name), positions) for name in ("items", *INTERACTION_COLUMNS)}
        columns["offsets"] = offsets
        return self._part(rows, columns)

    def _part(self, rows: np.ndarray, columns: dict[str, Any]) -> SequenceDataset:
        columns["vocabulary"] = self.vocabulary
        if len(rows) and columns["source"].max() >= 0:
            columns["source"] = renumber(columns["source"], rows, len(self))
        return _rebuild(columns, None if self.pairs is None else self.pairs.take(rows))

    def replace(self, **columns: Any) -> SequenceDataset:
        """Make a copy in which the named columns are changed; the others are shared.

        Parameters
        ----------
        **columns
            New columns by their names, which are the parameters of this class; None takes a column away that may be
            missing.

        Returns
        -------
        SequenceDataset

        Raises
        ------
        TypeError
            There is no such column.
        ValueError
            The columns do not fit together; the message names the column and the place.
        """
        unknown = set(columns) - set(self.__slots__)
        if unknown:
            raise TypeError(f"unknown column {sorted(unknown)[0]!r}; the columns are {', '.join(self.__slots__)}.")
        names = set(columns)
        pairs = columns.pop("pairs", self.pairs)
        kept = {name: getattr(self, name) for name in self.__slots__ if name != "pairs"}
        changed = as_columns(columns, np.size(as_numpy(columns.get("offsets", self.offsets))) - 1)
        replaced = _rebuild(kept | changed, pairs)
        check_columns(replaced, names)
        return replaced

    def originals(self) -> SequenceDataset:
        """Leave mined and regenerated rows away.

        Returns
        -------
        SequenceDataset
        """
        return self[: self.n_original] if self.n_original < len(self) else self

    @property
    def n_original(self) -> int:
        """Number of original rows.

        Raises
        ------
        ValueError
            An original row stands behind a mined or a regenerated one.
        """
        original = self.origin == Origin.ORIGINAL
        count = int(np.count_nonzero(original))
        if not original[:count].all():
            row = int(np.argmin(original))
            raise ValueError(f"original rows must come first; row {row} is {Origin(self.origin[row]).name.lower()}.")
        return count

    def append(
        self,
        items: np.ndarray,
        offsets: np.ndarray,
        origin: Origin,
        *,
        source: np.ndarray | None = None,
        memory: np.ndarray | None = None,
        free_steps: np.ndarray | None = None,
    ) -> SequenceDataset:
        """Add rows of one origin behind those of this dataset.

        Parameters
        ----------
        items : int64 array of shape (n_added_interactions,)
            Item codes of this dataset's vocabulary.
        offsets : int64 array of shape (n_added + 1,)
            Where the added rows start and end in ``items``.
        origin : Origin
            Of all added rows.
        source : int64 array of shape (n_added,), optional
            The rows of this dataset that the added ones come from; default -1, for none.
        memory, free_steps : int16 arrays of shape (n_added,), optional
            As in the dataset.

        Returns
        -------
        SequenceDataset
        """
        n_added = len(offsets) - 1
        added = SequenceDataset(
            items,
            offsets,
            self.vocabulary,
            origin=np.full(n_added, origin, dtype=np.int8),
            memory=memory,
            free_steps=free_steps,
        )
        joined = SequenceDataset.concatenate([self, added])
        if source is None:
            return joined
        return joined.replace(source=np.concatenate([self.source, np.asarray(source, dtype=np.int64)]))

    @classmethod
    def concatenate(cls, parts: Sequence[SequenceDataset]) -> SequenceDataset:
        """All rows of several datasets over one vocabulary, in order.

        A column that only some parts have is filled: weight 1, no user, no time, no validation item. Users, or
        domains, that are strings in one part and numbers in another stay what they are, as objects.

        Parameters
        ----------
        parts : sequence of SequenceDataset

        Returns
        -------
        SequenceDataset

        Raises
        ------
        ValueError
            There is no part, the vocabularies differ, or times are numbers in one part and dates in another.
        TypeError
            A part is no dataset.
        """
        if len(parts) == 0:
            raise ValueError("nothing to concatenate: give at least one dataset.")
        first = parts[0]
        for number, part in enumerate(parts):
            if not isinstance(part, SequenceDataset):
                raise TypeError(
                    f"part {number} is a {type(part).__name__}, not a SequenceDataset; convert it over the vocabulary "
                    "of the others first: SequenceDataset.from_sequences(part, vocabulary=others.vocabulary)."
                )
            if not same_vocabulary(part.vocabulary, first.vocabulary):
                raise ValueError(f"dataset {number} has another vocabulary than dataset 0; encode both over one.")
        starts = offsets_from_lengths(np.array([len(part) for part in parts]))
        columns: dict[str, Any] = {name: _joined(parts, name) for name in (*ROW_COLUMNS, *INTERACTION_COLUMNS)}
        columns["source"] = np.concatenate(
            [np.where(part.source >= 0, part.source + start, -1) for part, start in zip(parts, starts, strict=False)]
        )
        columns["items"] = np.concatenate([part.items for part in parts])
        columns["offsets"] = concatenate_offsets([part.offsets for part in parts])
        columns["vocabulary"] = first.vocabulary
        pairs = None
        if any(part.pairs is not None for part in parts):
            pairs = PatternPairs.concatenate(
                [PatternPairs.empty(len(part)) if part.pairs is None else part.pairs for part in parts]
            )
        return _rebuild(columns, pairs)

    def histories(self) -> SequenceDataset:
        """Append the validation items to the original rows: what a next item is predicted after.

        Returns
        -------
        SequenceDataset
            The original rows alone; where items were held out, without weights, times, domains and pairs.
        """
        rows = self.originals()
        if rows.validation is None:
            return rows
        held_out = rows.validation > 0
        ends = rows.offsets[1:][held_out]
        return rows.replace(
            items=np.insert(rows.items, ends, rows.validation[held_out]),
            offsets=offsets_from_lengths(rows.lengths + held_out),
            **dict.fromkeys(("memory", "free_steps", "validation", *INTERACTION_COLUMNS, "pairs")),
        )

    def to_lists(self) -> list[list]:
        """Give the rows as lists of labels.

        Returns
        -------
        list of lists
        """
        labels = self.vocabulary[self.items - 1].tolist()
        bounds = self.offsets.tolist()
        return [labels[start:stop] for start, stop in pairwise(bounds)]


def _rebuild(columns: dict[str, Any], pairs: PatternPairs | None) -> SequenceDataset:
    """Make a dataset of columns that are known to fit together, without checking them again."""
    dataset = object.__new__(SequenceDataset)
    dataset._assign(columns, pairs)
    return dataset


def _joined(parts: Sequence[SequenceDataset], name: str) -> np.ndarray | None:
    sizes = [len(part) if name in ROW_COLUMNS else part.n_interactions for part in parts]
    return joined_column(name, [getattr(part, name) for part in parts], sizes)
