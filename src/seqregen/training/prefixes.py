"""Training on prefixes: one example a (row, position), gathered batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..ragged import offsets_from_lengths, take_positions
from ..sequences import SequenceDataset
from .batches import NextItemBatch, NextItemRows, make_batch, next_item_rows

__all__ = ["PrefixRows", "prefix_rows"]


@dataclass(frozen=True)
class PrefixRows:
    """Every prefix of the training rows of a dataset, with the item behind it as its one target.

    Prefixes are numbers: number ``p`` is worked out to be (row, length) when its batch is made, and only that
    batch holds the items.

    Attributes
    ----------
    rows : NextItemRows
        The rows that the prefixes begin.
    offsets : int64 ndarray of shape (n_rows + 1,)
        The prefixes of row ``r`` are the numbers from ``offsets[r]`` to ``offsets[r + 1]``, shortest first.
    """

    rows: NextItemRows
    offsets: np.ndarray

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def targets(self) -> np.ndarray:
        """Item codes, int64 (n_prefixes,), of all targets, in the order of the prefixes."""
        return self.rows.targets()

    def shuffled(self, batch_size: int, random: np.random.Generator, device: torch.device) -> Iterator[NextItemBatch]:
        """Batches of ``batch_size`` prefixes, drawn over all rows; ordered by length only inside a batch."""
        order = random.permutation(len(self))
        for first in range(0, len(order), batch_size):
            yield self.batch(order[first : first + batch_size], device)

    def batch(self, prefixes: np.ndarray, device: torch.device) -> NextItemBatch:
        """The given prefixes as the rows of one batch; it has one target, and one weight, a row."""
        row = np.searchsorted(self.offsets, prefixes, side="right") - 1
        lengths = prefixes - self.offsets[row] + 1
        order = np.argsort(lengths, kind="stable")
        row, lengths = row[order], lengths[order]
        starts = self.rows.starts[row]
        places, offsets = take_positions(starts, lengths)
        targets = starts + lengths
        return make_batch(
            self.rows.items_at(places, device),
            self.rows.items_at(targets, device),
            self.rows.weights_at(targets, device),
            offsets,
            row,
            device,
            places=targets,
        )


def prefix_rows(dataset: SequenceDataset, max_length: int) -> PrefixRows:
    """Prepare the prefixes of the last ``max_length + 1`` items of each row, from one item to all but the last."""
    rows = next_item_rows(dataset, max_length)
    return PrefixRows(rows, offsets_from_lengths(rows.lengths))
