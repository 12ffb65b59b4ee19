"""Negatives: items that a loss sets against the target, and how probable each was."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..nn import on_device
from ..ragged import take_positions
from ..sequences import SequenceDataset
from .batches import next_item_rows

__all__ = [
    "NEGATIVE_SAMPLING",
    "DrawnNegatives",
    "InBatchNegatives",
    "NegativeSampler",
    "PopularityNegatives",
    "SharedNegatives",
    "UniformNegatives",
    "negative_sampler",
]

NEGATIVE_SAMPLING = ("uniform", "popularity", "in_batch")


@dataclass(frozen=True)
class SharedNegatives:
    """Negatives that all positions of a batch share.

    Attributes
    ----------
    items : int64 Tensor of shape (k,)
        Rows of the item table.
    n_draws : int
        How many draws each position sees: k, or one less where a position's own target is among them.
    """

    items: Tensor
    n_draws: int


class NegativeSampler(metaclass=ABCMeta):
    """Where negatives come from; nothing is read back from a GPU."""

    uniform = False
    """Whether every item is equally probable."""

    @abstractmethod
    def shared(self, n_negatives: int, targets: Tensor, random: np.random.Generator) -> SharedNegatives:
        """Negatives for a whole batch.

        Parameters
        ----------
        n_negatives : int
        targets : int64 Tensor of shape (n_positions,)
            Rows of the item table.
        random : numpy Generator
        """

    @abstractmethod
    def log_probabilities(self, items: Tensor, like: Tensor) -> Tensor:
        """Logarithm of the probability of some rows of the item table, on the device and in the type of ``like``."""


class DrawnNegatives(NegativeSampler):
    """A law that negatives are drawn from, with replacement.

    All randomness comes from the numpy Generator that is passed in.
    """

    def shared(self, n_negatives: int, targets: Tensor, random: np.random.Generator) -> SharedNegatives:
        return SharedNegatives(self._drawn((n_negatives,), targets, random), n_negatives)

    def per_position(self, n_negatives: int, targets: Tensor, random: np.random.Generator) -> Tensor:
        """Draw negatives for each position.

        Parameters
        ----------
        n_negatives : int
        targets : int64 Tensor of shape (n_positions,)
            Rows of the item table; their device is that of the negatives.
        random : numpy Generator

        Returns
        -------
        int64 Tensor of shape (n_negatives, n_positions)
            Rows of the item table.
        """
        return self._drawn((n_negatives, len(targets)), targets, random)

    def _drawn(self, shape: tuple[int, ...], targets: Tensor, random: np.random.Generator) -> Tensor:
        return on_device(self.draw(shape, random), targets.device)

    @abstractmethod
    def draw(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """Rows of the item table, int64, of a shape."""


class UniformNegatives(DrawnNegatives):
    """Every item of the vocabulary is equally probable.

    Parameters
    ----------
    n_items : int

    Examples
    --------
    >>> import numpy as np
    >>> from seqregen.training.negatives import UniformNegatives
    >>> UniformNegatives(10).draw((5,), np.random.default_rng(0))
    array([8, 6, 5, 2, 3])
    """

    uniform = True

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def draw(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return random.integers(0, self.n_items, shape)

    def log_probabilities(self, items: Tensor, like: Tensor) -> Tensor:
        return like.new_full(items.shape, -math.log(self.n_items))


class _CountedNegatives(NegativeSampler):
    """Items are as probable as they are frequent."""

    def __init__(self, counts: np.ndarray) -> None:
        # An item that was never counted counts once: it cannot be drawn, and a logarithm of 0 must not reach a loss.
        self._logarithms = torch.from_numpy(np.log(np.maximum(counts, 1)) - math.log(max(int(counts.sum()), 1)))
        self._there = self._logarithms

    def log_probabilities(self, items: Tensor, like: Tensor) -> Tensor:
        if self._there.device != like.device or self._there.dtype != like.dtype:
            self._there = self._logarithms.to(like.device, like.dtype)
        return self._there.index_select(0, items)


class PopularityNegatives(_CountedNegatives, DrawnNegatives):
    """An item is as probable as it is frequent.

    A draw is a place among all interactions, so it costs the same whatever the vocabulary, and needs no table.

    Parameters
    ----------
    items : int64 ndarray of shape (n_interactions,)
        Item codes 1..V of the rows trained on.
    n_items : int

    Examples
    --------
    >>> import numpy as np
    >>> from seqregen.training.negatives import PopularityNegatives
    >>> sampler = PopularityNegatives(np.array([1, 1, 1, 3]), n_items=3)
    >>> np.bincount(sampler.draw((1000,), np.random.default_rng(0)))
    array([737,   0, 263])
    """

    def __init__(self, items: np.ndarray, n_items: int) -> None:
        super().__init__(np.bincount(items, minlength=n_items + 1)[1:])
        self.items = items

    def draw(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return np.asarray(self.items[random.integers(0, len(self.items), shape)], dtype=np.int64) - 1


class InBatchNegatives(_CountedNegatives):
    """The targets of a batch are the negatives of its positions (Yi et al., RecSys 2019).

    There are as many as the batch has positions, whatever number is asked for, and nothing is drawn. Of a batch with
    more than ``most`` positions, so many are drawn: memory does not grow with the square of the batch.

    Parameters
    ----------
    counts : int64 ndarray of shape (n_items,)
        How often each item is a target in the rows trained on.
    most : int, default=4096
        Most negatives of a batch; 4,096 are more than 256 rows of the reference data sets have.
    """

    def __init__(self, counts: np.ndarray, most: int = 4096) -> None:
        super().__init__(counts)
        self.most = most

    def shared(self, n_negatives: int, targets: Tensor, random: np.random.Generator) -> SharedNegatives:
        if len(targets) > self.most:
            chosen = torch.from_numpy(random.choice(len(targets), self.most, replace=False))
            return SharedNegatives(targets[chosen.to(targets.device, non_blocking=True)], self.most)
        # A position's own target is there with certainty: the others are the draws.
        return SharedNegatives(targets, max(len(targets) - 1, 1))


def negative_sampler(name: str, training: SequenceDataset, max_length: int) -> NegativeSampler:
    """The sampler that an estimator's ``negative_sampling`` parameter names.

    Parameters
    ----------
    name : {"uniform", "popularity", "in_batch"}
    training : SequenceDataset
        The rows trained on: "popularity" counts the items of the part that is used, "in_batch" its targets.
    max_length : int
        Positions of a row that are trained on.

    Returns
    -------
    NegativeSampler

    Raises
    ------
    ValueError
        No sampler has that name.
    """
    if name == "uniform":
        return UniformNegatives(training.n_items)
    if name == "popularity":
        used = np.minimum(training.lengths, max_length + 1)
        places, _offsets = take_positions(training.offsets[1:] - used, used)
        return PopularityNegatives(training.items[places], training.n_items)
    if name == "in_batch":
        targets = next_item_rows(training, max_length).targets()
        return InBatchNegatives(np.bincount(targets, minlength=training.n_items + 1)[1:])
    raise ValueError(f"negative_sampling must be one of {', '.join(map(repr, NEGATIVE_SAMPLING))}; got {name!r}.")
