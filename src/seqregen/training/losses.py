"""Losses of a next-item model, one value a position, and their negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..nn import look_up

__all__ = ["LOSSES", "NextItemLoss"]

# Scores held at once by the full softmax: 64 Mi values are 256 MiB.
_SCORES_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class NextItemLoss:
    """A loss on the states of a model and its item table.

    Row ``c - 1`` of the table is item code ``c``; the score of an item is its inner product with the state.

    Parameters
    ----------
    name : {"bce", "gbce", "ce", "sampled_softmax"}
        * "bce": softplus(-s₊) + mean softplus(s₋), negatives drawn for every position: the published
          setting of DR4SR's targets (one negative).
        * "gbce": binary cross-entropy with a calibrated positive (Petrov & Macdonald, RecSys 2023), with
          negatives that a batch shares.
        * "ce": softmax cross-entropy over all items.
        * "sampled_softmax": softmax cross-entropy over the target and negatives that a batch shares.
    n_items : int
        Size V of the vocabulary.
    n_negatives : int
        Negatives drawn uniformly from all items, with replacement. A negative that is the target of a
        position does not count for that position, except under "bce", as published.
    calibration : float, default=0.75
        The t of gBCE: 0 is plain BCE, 1 is fully calibrated.
    """

    name: str
    n_items: int
    n_negatives: int
    calibration: float = 0.75

    def per_position(self, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator) -> Tensor:
        """Loss of every position.

        Parameters
        ----------
        states : Tensor of shape (n_positions, d)
        table : Tensor of shape (n_items, d)
        targets : int64 Tensor of shape (n_positions,)
            Item codes 1..V.
        random : numpy Generator
            Source of the negatives.

        Returns
        -------
        Tensor of shape (n_positions,)
        """
        return LOSSES[self.name](self, states, table, targets - 1, random)


def _draw(random: np.random.Generator, high: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.from_numpy(random.integers(0, high, shape)).to(device, non_blocking=True)


def _binary(loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator) -> Tensor:
    negatives = _draw(random, loss.n_items, (loss.n_negatives, len(targets)), states.device)
    vectors = look_up(table, torch.cat([targets[None], negatives]).reshape(-1))
    scores = (vectors.view(loss.n_negatives + 1, len(targets), -1) * states).sum(-1)
    return functional.softplus(-scores[0]) + functional.softplus(scores[1:]).mean(0)


def _shared_scores(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Score of each target (n,), and scores of shared negatives (n, k), -inf where a negative is the target."""
    negatives = _draw(random, loss.n_items, (loss.n_negatives,), states.device)
    vectors = look_up(table, torch.cat([targets, negatives]))
    positive = (states * vectors[: len(targets)]).sum(-1)
    negative = states @ vectors[len(targets) :].T
    return positive, negative.masked_fill(negatives == targets[:, None], -torch.inf)


def _sampled_softmax(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> Tensor:
    positive, negative = _shared_scores(loss, states, table, targets, random)
    return torch.logaddexp(positive, torch.logsumexp(negative, dim=-1)) - positive


def _calibrated_binary(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> Tensor:
    positive, negative = _shared_scores(loss, states, table, targets, random)
    sampled = loss.n_negatives / max(loss.n_items - 1, 1)
    exponent = sampled * (loss.calibration * (1 - 1 / sampled) + 1 / sampled)
    total = exponent * functional.softplus(-positive) + functional.softplus(negative).sum(-1)
    return total / (loss.n_negatives + 1)


def _full_softmax(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> Tensor:
    at_once = max(1, _SCORES_AT_ONCE // loss.n_items)
    if len(states) <= at_once:
        return _cross_entropy(states, table, targets)
    # Scores of a block are computed again in the backward pass rather than kept.
    blocks = zip(states.split(at_once), targets.split(at_once), strict=True)
    return torch.cat([checkpoint(_cross_entropy, part, table, wanted, use_reentrant=False) for part, wanted in blocks])


def _cross_entropy(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(states @ table.T, targets, reduction="none")


LOSSES: dict[str, Callable[..., Tensor]] = {
    "sampled_softmax": _sampled_softmax,
    "ce": _full_softmax,
    "gbce": _calibrated_binary,
    "bce": _binary,
}
