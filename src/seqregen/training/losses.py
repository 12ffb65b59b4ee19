"""Losses of a next-item model, one value a position."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..nn import look_up, widened
from .log_sum_exp import log_sum_exp_scores
from .negatives import DrawnNegatives, NegativeSampler, SharedNegatives, UniformNegatives

__all__ = ["LOSSES", "NextItemLoss"]

# Scores of shared negatives that binary losses hold at once: 64 Mi values are 256 MiB.
_SCORES_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class NextItemLoss:
    """A loss on the states of a model and its item table.

    Row ``c - 1`` of the table is item code ``c``; the score s of an item is its inner product with the state. A
    negative that is the target of a position does not count for that position, but for the published setting:
    "bce" with uniform negatives. No loss but "ce" makes anything of the size of the vocabulary.

    Parameters
    ----------
    name : {"sampled_softmax", "ce", "gbce", "bce", "bpr"}
        * "sampled_softmax": softmax cross-entropy over the target and negatives that a batch shares,
          ``-s₊ + log(exp(s₊) + Σ exp(s₋))``; see ``logq``.
        * "ce": softmax cross-entropy over all items, in blocks.
        * "gbce": binary cross-entropy with a calibrated positive (Petrov & Macdonald, RecSys 2023), with
          negatives that a batch shares: ``(β softplus(-s₊) + Σ softplus(s₋)) / (k + 1)``.
        * "bce": ``softplus(-s₊) + mean softplus(s₋)``, negatives drawn for every position: with one uniform
          negative the published setting of DR4SR's targets.
        * "bpr": ``mean softplus(s₋ - s₊)``, negatives drawn for every position (Rendle et al., UAI 2009).
    n_items : int
        Size V of the vocabulary.
    n_negatives : int
        Negatives k, drawn with replacement; not read by "ce", nor where a batch's own targets are the negatives.
    calibration : float, default=0.75
        The t of gBCE: 0 is plain BCE, 1 is fully calibrated. β = 1 + t (α - 1) for α = k / (V - 1); published for
        uniform negatives, and the same for others.
    negatives : NegativeSampler, optional
        Where negatives come from; default :class:`seqregen.training.negatives.UniformNegatives`. With
        :class:`~seqregen.training.negatives.InBatchNegatives` all losses share the batch's targets, and k is one
        less than the positions of the batch.
    logq : bool, optional
        Whether "sampled_softmax" corrects the score of a negative by the logarithm of how often it was to be
        expected, ``s₋ - log(k q₋)``; default: where the sampler is not uniform (Yi et al., RecSys 2019). Then
        ``Σ exp(s₋) / (k q₋)`` has the expectation of the sum over all items but the target, and the loss nears "ce"
        as k grows. The target is in the sum with certainty, not by a draw, so its own score stays as it is
        (Khrylchenko et al., RecSys 2025); corrected alike, it would weigh ``1 / (k q₊)``. Without a correction,
        usual for uniform negatives, the loss is one of telling the target from k items, whatever V.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from seqregen.training import NextItemLoss
    >>> loss = NextItemLoss("ce", n_items=4, n_negatives=1)
    >>> loss.per_position(torch.zeros(2, 3), torch.ones(4, 3), torch.tensor([1, 4]), np.random.default_rng(0))
    tensor([1.3863, 1.3863])
    """

    name: str
    n_items: int
    n_negatives: int
    calibration: float = 0.75
    negatives: NegativeSampler | None = None
    logq: bool | None = None

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(map(repr, LOSSES))}; got {self.name!r}.")

    @property
    def sampler(self) -> NegativeSampler:
        """Where negatives come from."""
        return UniformNegatives(self.n_items) if self.negatives is None else self.negatives

    def per_position(self, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator) -> Tensor:
        """Loss of every position, neither weighted nor averaged.

        It can be differentiated twice (``create_graph=True``).

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
        # What matrix products made may have been rounded.
        return LOSSES[self.name](self, widened(states), widened(table), targets - 1, random)


def _full_softmax(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> Tensor:
    return log_sum_exp_scores(states, table) - (states * look_up(table, targets)).sum(-1)


def _sampled_softmax(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> Tensor:
    sampler = loss.sampler
    drawn, wanted, vectors = _shared_vectors(loss, table, targets, random)
    offsets = None
    if not sampler.uniform if loss.logq is None else loss.logq:
        offsets = -math.log(drawn.n_draws) - sampler.log_probabilities(drawn.items, states)
    positive = (states * wanted).sum(-1)
    # A batch's own targets are as many as it happens to have.
    sizes_vary = not isinstance(sampler, DrawnNegatives)
    sums = log_sum_exp_scores(states, vectors, offsets, (targets, drawn.items), sizes_vary=sizes_vary)
    # -logsigmoid(s₊ - log Σ) is log(exp(s₊) + Σ) - s₊.
    return -functional.logsigmoid(positive - sums)


def _calibrated_binary(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> Tensor:
    def one_against_all(positive: Tensor, negative: Tensor, hits: Tensor, n_draws: int) -> Tensor:
        positive_weight = 1 + loss.calibration * (n_draws / max(loss.n_items - 1, 1) - 1)
        of_negatives = functional.softplus(negative.masked_fill(hits, -torch.inf)).sum(-1)
        return (positive_weight * functional.softplus(-positive) + of_negatives) / (n_draws + 1)

    return _against_shared(loss, states, table, targets, random, one_against_all)


def _binary(loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator) -> Tensor:
    def mean(positive: Tensor, negative: Tensor, hits: Tensor | None, n_draws: int) -> Tensor:
        return functional.softplus(-positive) + _mean_but_hits(functional.softplus(negative), hits)

    return _against_own(loss, states, table, targets, random, mean)


def _pairwise(
    loss: NextItemLoss, states: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator
) -> Tensor:
    def mean(positive: Tensor, negative: Tensor, hits: Tensor | None, n_draws: int) -> Tensor:
        return _mean_but_hits(functional.softplus(negative - positive[:, None]), hits)

    return _against_own(loss, states, table, targets, random, mean)


def _mean_but_hits(values: Tensor, hits: Tensor | None) -> Tensor:
    """Mean of each row without the negatives that are the target; 0 where no other is left."""
    if hits is None:
        return values.mean(-1)
    return values.masked_fill(hits, 0).sum(-1) / (~hits).sum(-1).clamp_min(1)


def _shared_vectors(
    loss: NextItemLoss, table: Tensor, targets: Tensor, random: np.random.Generator
) -> tuple[SharedNegatives, Tensor, Tensor]:
    """Negatives of a batch, the vectors (n, d) of its targets, and those (k, d) of the negatives."""
    drawn = loss.sampler.shared(loss.n_negatives, targets, random)
    if drawn.items is targets:
        wanted = look_up(table, targets)
        return drawn, wanted, wanted
    vectors = look_up(table, torch.cat([targets, drawn.items]))
    return drawn, vectors[: len(targets)], vectors[len(targets) :]


# Of the score (n,) of each target, scores (n, k) of negatives, which of them are the target, and how many were drawn.
_Comparison = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def _against_shared(
    loss: NextItemLoss,
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    random: np.random.Generator,
    compare: _Comparison,
) -> Tensor:
    drawn, wanted, vectors = _shared_vectors(loss, table, targets, random)

    def block(states: Tensor, wanted: Tensor, vectors: Tensor, targets: Tensor) -> Tensor:
        hits = targets[:, None] == drawn.items
        return compare((states * wanted).sum(-1), (states @ vectors.T).to(states), hits, drawn.n_draws)

    at_once = max(1, _SCORES_AT_ONCE // len(vectors)) if len(vectors) else 1
    if len(states) <= at_once:
        return block(states, wanted, vectors, targets)
    # Scores of a block are computed again in the backward pass rather than kept.
    parts = zip(states.split(at_once), wanted.split(at_once), targets.split(at_once), strict=True)
    again = partial(checkpoint, block, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(s, w, vectors, t) for s, w, t in parts])


def _against_own(
    loss: NextItemLoss,
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    random: np.random.Generator,
    compare: Callable[[Tensor, Tensor, Tensor | None, int], Tensor],
) -> Tensor:
    """Against negatives drawn for each position; against shared ones where the sampler draws none."""
    if not isinstance(loss.sampler, DrawnNegatives):
        return _against_shared(loss, states, table, targets, random, compare)
    negatives = loss.sampler.per_position(loss.n_negatives, targets, random)
    vectors = look_up(table, torch.cat([targets[None], negatives]).reshape(-1))
    scores = (vectors.view(loss.n_negatives + 1, len(targets), -1) * states).sum(-1)
    published = loss.name == "bce" and loss.sampler.uniform
    hits = None if published else (negatives == targets).T
    return compare(scores[0], scores[1:].T, hits, loss.n_negatives)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "sampled_softmax": _sampled_softmax,
    "ce": _full_softmax,
    "gbce": _calibrated_binary,
    "bce": _binary,
    "bpr": _pairwise,
}
