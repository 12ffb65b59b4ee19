"""The definitions of mining and matching, as short and slow as they can be said."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from seqregen import SequenceDataset


def patterns_within(row, window):
    """All sub-sequences of two or more items whose indices span at most ``window - 1``."""
    found = set()
    for start in range(len(row)):
        inside = row[start + 1 : start + window]
        for size in range(1, len(inside) + 1):
            found |= {(row[start], *rest) for rest in combinations(inside, size)}
    return found


def support_of_patterns(rows, window, min_support, max_length=None):
    """Support by pattern, most frequent first, ties in the order of the patterns."""
    support = {}
    for row in rows:
        for pattern in patterns_within(row, window):
            support[pattern] = support.get(pattern, 0) + 1
    kept = {
        pattern: count
        for pattern, count in support.items()
        if count >= min_support and (max_length is None or len(pattern) <= max_length)
    }
    return dict(sorted(kept.items(), key=lambda entry: (-entry[1], entry[0])))


def contains(row, pattern):
    """Whether the items of the pattern stand in the row in order, anywhere."""
    rest = iter(row)
    return all(item in rest for item in pattern)


def columns(rows):
    """Flat item codes and offsets."""
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return items, np.cumsum([0, *map(len, rows)], dtype=np.int64)


def as_dataset(rows, n_items, **columns_of_dataset):
    """Rows of codes as a dataset whose labels are the codes."""
    return SequenceDataset(*columns(rows), np.arange(1, n_items + 1), **columns_of_dataset)


def pairs_as_lists(pairs):
    """The numbers of the patterns of each row."""
    return [part.tolist() for part in np.split(pairs.patterns, pairs.offsets[1:-1])]
