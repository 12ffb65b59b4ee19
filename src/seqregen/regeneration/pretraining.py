"""What the item vectors of a regenerator are pretrained on."""

from __future__ import annotations

import numpy as np

from ..mining.matching import match_patterns
from ..mining.trie import PatternTrie
from ..model_selection import hold_out_last
from ..pairs import PatternPairs
from ..ragged import take_positions
from ..sequences import Origin, SequenceDataset
from .patterns import first_occurrences

__all__ = ["pairs_of", "pretraining_rows"]


def pairs_of(data: SequenceDataset) -> PatternPairs:
    """The pairs of a dataset; none where it carries none."""
    return data.pairs if data.pairs is not None else PatternPairs.empty(len(data))


def pretraining_rows(data: SequenceDataset) -> SequenceDataset:
    """Original and mined rows, with each original row's last item held out to stop on: X.validation is not read.

    Mined rows that are frequent only with the held-out items are left out: they would show what is held out, and
    training would go on for as long as it learns that by heart.
    """
    whole = data.originals().replace(validation=None, pairs=None)
    shortened = hold_out_last(whole)
    mined = data[data.origin == Origin.MINED]
    if len(mined):
        items, offsets = _distinct(mined.items, mined.offsets)
    else:
        items, offsets = _distinct(pairs_of(data).pattern_items, pairs_of(data).pattern_offsets)
    trie = PatternTrie(items, offsets, whole.n_items + 1)
    least = _support(trie, whole, len(offsets) - 1).min(initial=np.iinfo(np.int64).max)
    frequent = np.flatnonzero(_support(trie, shortened, len(offsets) - 1) >= max(least, 1))
    places, offsets = take_positions(offsets[frequent], np.diff(offsets)[frequent])
    return shortened.append(items[places], offsets, Origin.MINED)


def _distinct(items: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct patterns of two items or more."""
    distinct = first_occurrences(items, offsets)
    distinct = distinct[np.diff(offsets)[distinct] >= 2]
    places, offsets = take_positions(offsets[distinct], np.diff(offsets)[distinct])
    return items[places], offsets


def _support(trie: PatternTrie, rows: SequenceDataset, n_patterns: int) -> np.ndarray:
    return np.bincount(match_patterns(rows.items, rows.offsets, trie)[1], minlength=n_patterns)
