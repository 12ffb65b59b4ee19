"""Dev rows: original rows, or their last items, that are kept from the model to judge its weights by."""

from __future__ import annotations

import numpy as np

from ..mining.matching import count_support
from ..mining.trie import PatternTrie
from ..model_selection.held_out import without_last
from ..regeneration.patterns import number_distinct
from ..sequences import Origin, SequenceDataset

__all__ = ["keep_for_dev"]


def keep_for_dev(
    training: SequenceDataset, what: str, share: float, seed: int
) -> tuple[SequenceDataset, SequenceDataset]:
    """Take a share of the original rows, or their last items, out of the rows that are trained on.

    With them goes what shows them: regenerated rows that they are the source of, and mined rows that too few of the
    rows that stay support.

    Parameters
    ----------
    training : SequenceDataset
    what : {"held_out", "held_out_items"}
        Whole rows, or their last items alone.
    share : float
        Of the original rows with a target; one at least.
    seed : int

    Returns
    -------
    rows, dev : SequenceDataset
        What is left to train on, and the dev rows, whole.
    """
    drawn = _draw(training, what, share, seed)
    items_alone = what == "held_out_items"
    is_dev = np.zeros(len(training) + 1, dtype=bool)
    is_dev[drawn] = True
    # -1, for no source, is the last place, which stays False.
    shows_dev = is_dev[training.source]
    is_dev = is_dev[:-1]
    rows = _without_their_last(training, is_dev) if items_alone else training
    left_out = shows_dev if items_alone else shows_dev | is_dev
    left_out |= _mined_by_too_few(training, rows[~left_out & (rows.origin == Origin.ORIGINAL)])
    return rows[~left_out], training[drawn]


def _draw(training: SequenceDataset, what: str, share: float, seed: int) -> np.ndarray:
    """Numbers of the dev rows; at least one original row that has a target is left out of them."""
    usable = np.flatnonzero((training.origin == Origin.ORIGINAL) & (training.lengths > 1))
    n_dev = max(1, round(share * len(usable)))
    if n_dev >= len(usable):
        raise ValueError(
            f"DatasetPersonalizer: dev={what!r} keeps a share of {share} of "
            f"the {len(usable)} sample(s) that are original rows with two items or more, one at least; some must "
            "remain. Lower held_out_share, or use dev='train'."
        )
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(2)[1])
    return np.sort(random.choice(usable, n_dev, replace=False))


def _without_their_last(training: SequenceDataset, is_dev: np.ndarray) -> SequenceDataset:
    rows = without_last(training, is_dev)
    if rows.validation is None:
        return rows
    # A refit would put it where the last item was.
    return rows.replace(validation=np.where(is_dev, 0, rows.validation))


def _mined_by_too_few(training: SequenceDataset, staying: SequenceDataset) -> np.ndarray:
    """Which rows are patterns that mining would not have found in the rows that stay, bool (n_rows,).

    The least support that any of them has in all original rows stands for the one that they were mined with, or 2, the
    least that tells of more than one row. Patterns that no original row holds are not of these rows, and stay.
    """
    numbers = np.flatnonzero((training.origin == Origin.MINED) & (training.lengths > 1))
    found = np.zeros(len(training), dtype=bool)
    if len(numbers):
        mined = training[numbers]
        before, after = (_support(mined, rows) for rows in (training.originals(), staying))
        least = max(2, before[before > 0].min(initial=np.iinfo(np.int64).max))
        found[numbers] = (after < before) & (after < least)
    return found


def _support(patterns: SequenceDataset, rows: SequenceDataset) -> np.ndarray:
    """Rows that hold each pattern, gaps allowed, int64 (n_patterns,)."""
    numbers = number_distinct(patterns.items, patterns.offsets)
    _, first, place = np.unique(numbers, return_index=True, return_inverse=True)
    distinct = patterns[first]
    trie = PatternTrie(distinct.items, distinct.offsets, patterns.n_items + 1)
    return count_support(rows.items, rows.offsets, trie, len(distinct))[place]
