"""The seam between a recommender's training and what takes part in it, such as a network that weighs positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..sequences import SequenceDataset
from ..training import NextItemBatch, OuterUpdates, TrainingRows
from .network import NextItemNetwork

__all__ = ["AddedLoss", "Companion", "TrainingPart", "TrainingTask"]

# Called with the network, the batch and the epoch's random numbers.
AddedLoss: TypeAlias = Callable[[NextItemNetwork, NextItemBatch, np.random.Generator], Tensor]


@dataclass(frozen=True)
class TrainingPart:
    """Rows of a dataset, as a recommender draws batches from them.

    Attributes
    ----------
    rows : TrainingRows
    added : callable of (network, batch, random), or None
        A scalar that is added to the loss of a batch of these rows, and is not tied to targets.
    """

    rows: TrainingRows
    added: AddedLoss | None


@dataclass(frozen=True)
class TrainingTask:
    """One training of a recommender, ready to begin.

    Attributes
    ----------
    training : SequenceDataset
        The rows that are trained on.
    part : TrainingPart
        What batches are drawn from.
    part_of : callable of SequenceDataset
        The same of another dataset over the same vocabulary.
    network : NextItemNetwork
        On its device, in training.
    measure : callable of (batch, random)
        States, (n_targets, d), of a batch, and the loss, (n_targets,), of each, neither weighted nor averaged.
    measure_last : callable of (batch, random)
        The same for each row's last target alone, (n_rows, d) and (n_rows,), of a batch of :class:`NextItemRows`.
    max_length : int
        Last items of a row that the network reads.
    batch_size, n_epochs : int
        ``n_epochs`` are the most that are trained.
    device : torch.device
    seed : int
    trained : nn.Module
        What the loop trains and keeps: the network, or a module that it is part of.
    loss : callable of (batch, random)
        The scalar that is minimised.
    evaluate : callable or None
    begin_epoch : callable or None
    outer : OuterUpdates or None
        As for :func:`seqregen.training.train`.
    plateau : str
        The entry of an epoch's record to stop on where no validation item is to be ranked.
    """

    training: SequenceDataset
    part: TrainingPart
    part_of: Callable[[SequenceDataset], TrainingPart]
    network: NextItemNetwork
    measure: Callable[[NextItemBatch, np.random.Generator], tuple[Tensor, Tensor]]
    measure_last: Callable[[NextItemBatch, np.random.Generator], tuple[Tensor, Tensor]]
    max_length: int
    batch_size: int
    n_epochs: int
    device: torch.device
    seed: int
    trained: nn.Module
    loss: Callable[[Any, np.random.Generator], Tensor]
    evaluate: Callable[[], dict[str, float]] | None = None
    begin_epoch: Callable[[int], None] | None = None
    outer: OuterUpdates | None = None
    plateau: str = "loss"

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.part.rows) // self.batch_size)


class Companion(Protocol):
    """Takes part in the training of a recommender."""

    def settings(self) -> dict[str, Any]:
        """What decides the outcome besides the recommender's own settings; it tells checkpoints apart."""

    def kept_in(self, training: SequenceDataset, seed: int) -> SequenceDataset:
        """The rows that the recommender is to be trained on."""

    def joined(self, task: TrainingTask) -> TrainingTask:
        """The task with ``trained``, ``loss``, ``evaluate``, ``begin_epoch`` and ``outer`` changed."""
