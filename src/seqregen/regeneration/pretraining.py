"""What the item vectors of a regenerator are pretrained on."""

from __future__ import annotations

from ..model_selection import hold_out_last
from ..pairs import PatternPairs
from ..sequences import Origin, SequenceDataset

__all__ = ["pairs_of", "pretraining_rows"]


def pairs_of(data: SequenceDataset) -> PatternPairs:
    """The pairs of a dataset; none where it carries none."""
    return data.pairs if data.pairs is not None else PatternPairs.empty(len(data))


def pretraining_rows(data: SequenceDataset) -> SequenceDataset:
    """Original and mined rows, with each original row's last item held out to stop on: X.validation is not read.

    Mined rows may show what is held out; here that can only make the pretraining a little longer.
    """
    originals = hold_out_last(data.originals().replace(validation=None, pairs=None))
    mined = data[data.origin == Origin.MINED]
    if len(mined):
        return originals.append(mined.items, mined.offsets, Origin.MINED)
    pairs = pairs_of(data)
    return originals.append(pairs.pattern_items, pairs.pattern_offsets, Origin.MINED)
