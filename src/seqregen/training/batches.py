"""Batches of real positions: rows are never padded here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..nn import GatheredArray, RaggedGroups, group_rows, on_device
from ..ragged import position_in_row, take_positions
from ..sequences import SequenceDataset

__all__ = ["NextItemBatch", "TrainingRows", "NextItemRows", "history_batches", "make_batch", "next_item_rows"]


@dataclass(frozen=True)
class NextItemBatch:
    """Some rows of a dataset, sorted by length, as flat positions.

    Attributes
    ----------
    items : int64 Tensor of shape (n_positions,)
        Input item of each position.
    targets : int64 Tensor of shape (n_positions,) or None
        Item that follows; None where states alone are wanted.
    weights : float32 Tensor of shape (n_positions,) or None
        Weight of each position as a training target.
    positions : int64 Tensor of shape (n_positions,)
        Place of each position in its row, from 0.
    groups : RaggedGroups
        How the positions form rows.
    last : int64 Tensor of shape (n_rows,)
        Where each row ends among the positions.
    rows : int64 ndarray of shape (n_rows,)
        Rows of the dataset that the batch holds, in the order of the positions.
    lengths : int64 ndarray of shape (n_rows,)
        Positions of each row, ascending.
    places : int64 ndarray of shape (n_targets,) or None
        Where each target stands among the dataset's items.
    """

    items: Tensor
    targets: Tensor | None
    weights: Tensor | None
    positions: Tensor
    groups: RaggedGroups
    last: Tensor
    rows: np.ndarray
    lengths: np.ndarray
    places: np.ndarray | None = None


class TrainingRows(Protocol):
    """What a recommender is trained on: rows that come in random batches."""

    def __len__(self) -> int:
        """Rows of an epoch."""

    def shuffled(self, batch_size: int, random: np.random.Generator, device: torch.device) -> Iterator[NextItemBatch]:
        """The batches of one epoch."""

    def batch(self, rows: np.ndarray, device: torch.device) -> NextItemBatch:
        """The rows of the given numbers, from 0, as one batch."""


@dataclass(frozen=True)
class NextItemRows:
    """The training rows of a dataset: the last ``max_length + 1`` items of every row that has a target.

    On a GPU items and weights stay there: a batch is made of the copies that the first one brought.

    Attributes
    ----------
    items : int64 ndarray of shape (n_interactions,)
    weights : float32 ndarray of shape (n_interactions,) or None
    starts : int64 ndarray of shape (n_rows,)
        Where the used part of each row begins.
    lengths : int64 ndarray of shape (n_rows,)
        Positions with a target in each row, at least 1.
    """

    items: np.ndarray
    weights: np.ndarray | None
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_positions(self) -> int:
        return int(self.lengths.sum())

    def targets(self) -> np.ndarray:
        """Item codes, int64 (n_positions,), of all targets, row by row."""
        places, _offsets = take_positions(self.starts, self.lengths)
        return self.items[places + 1]

    def items_at(self, places: np.ndarray, device: torch.device) -> Tensor:
        """Item codes at some places among the dataset's items."""
        return self._gathered_items.gather(places, device)

    def weights_at(self, places: np.ndarray, device: torch.device) -> Tensor | None:
        """Weights at some places among the dataset's items; None where all are 1."""
        return None if self._gathered_weights is None else self._gathered_weights.gather(places, device)

    @cached_property
    def _gathered_items(self) -> GatheredArray:
        return GatheredArray(self.items)

    @cached_property
    def _gathered_weights(self) -> GatheredArray | None:
        return None if self.weights is None else GatheredArray(self.weights)

    def shuffled(self, batch_size: int, random: np.random.Generator, device: torch.device) -> Iterator[NextItemBatch]:
        """Batches of random rows: only inside a batch are rows ordered by length.

        Batches of like-length rows would train another, worse model: each would hold one kind of user.
        """
        order = random.permutation(len(self))
        for first in range(0, len(order), batch_size):
            yield self.batch(order[first : first + batch_size], device)

    def batch(self, rows: np.ndarray, device: torch.device) -> NextItemBatch:
        """The given rows as one batch."""
        rows = rows[np.argsort(self.lengths[rows], kind="stable")]
        places, offsets = take_positions(self.starts[rows], self.lengths[rows])
        behind = places + 1
        return make_batch(
            self.items_at(places, device),
            self.items_at(behind, device),
            self.weights_at(behind, device),
            offsets,
            rows,
            device,
            places=behind,
        )


def next_item_rows(dataset: SequenceDataset, max_length: int) -> NextItemRows:
    """Prepare the rows of a dataset for training; rows with fewer than two items have no target and are left out."""
    used = np.minimum(dataset.lengths, max_length + 1)
    rows = np.flatnonzero(used >= 2)
    return NextItemRows(dataset.items, dataset.weights, (dataset.offsets[1:] - used)[rows], used[rows] - 1)


def history_batches(dataset: SequenceDataset, max_length: int, batch_size: int, device: torch.device) -> Iterator:
    """All rows that are not empty, as batches of like-length rows without targets, for encoding."""
    used = np.minimum(dataset.lengths, max_length)
    starts = dataset.offsets[1:] - used
    order = np.argsort(used, kind="stable")
    order = order[used[order] > 0]
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        places, offsets = take_positions(starts[rows], used[rows])
        groups = RaggedGroups(used[rows], group_rows(used[rows]), device)
        yield make_batch(on_device(dataset.items[places], device), None, None, offsets, rows, device, groups)


def make_batch(
    items: Tensor,
    targets: Tensor | None,
    weights: Tensor | None,
    offsets: np.ndarray,
    rows: np.ndarray,
    device: torch.device,
    groups: RaggedGroups | None = None,
    places: np.ndarray | None = None,
) -> NextItemBatch:
    """A batch of ragged columns whose rows are sorted by length; they are packed where no groups are given."""
    lengths = np.diff(offsets)
    return NextItemBatch(
        items=items,
        targets=targets,
        weights=weights,
        positions=on_device(position_in_row(offsets), device),
        groups=RaggedGroups.packed(lengths, device) if groups is None else groups,
        last=on_device(offsets[1:] - 1, device),
        rows=rows,
        lengths=lengths,
        places=places,
    )
