"""Weights of all positions of a dataset, by trained networks."""

from __future__ import annotations

import numpy as np
import torch

from ..nn import computing_in
from ..nn.usual_settings import with_usual_defaults
from ..ragged import offsets_from_lengths, position_in_row
from ..sequences import SequenceDataset
from ..targets.network import NextItemNetwork
from ..training import NextItemRows
from .weighting import WeightingNetwork, origin_codes

__all__ = ["position_weights"]

# As many as two usual batches of training have, so that weighing takes no more memory than training.
_TARGETS_AT_ONCE = 4096
# Weights lie between 0 and 1; rounded to float32 they must not become either.
_LOWEST = np.finfo(np.float32).tiny
_HIGHEST = np.nextafter(np.float32(1), np.float32(0))


@torch.no_grad()
@with_usual_defaults
def position_weights(
    network: NextItemNetwork, weighting: WeightingNetwork, dataset: SequenceDataset, max_length: int
) -> np.ndarray:
    """The expected weight of every position as a training target.

    Parameters
    ----------
    network : NextItemNetwork
        In evaluation.
    weighting : WeightingNetwork
    dataset : SequenceDataset
    max_length : int
        Items that the network reads. Of longer rows every target is weighed: the last ``max_length`` of a row by
        states that training sees, those before in pieces of ``max_length``, each read as if it were a row.

    Returns
    -------
    float32 ndarray of shape (n_interactions,)
        Between 0 and 1, both excluded; 1 for the first item of each row, which is no target.
    """
    weights = np.ones(dataset.n_interactions, dtype=np.float32)
    pieces = _pieces(dataset, max_length)
    origins = np.repeat(dataset.origin, dataset.lengths)
    device = next(network.parameters()).device
    with computing_in("float32", device):
        table = network.item_table()
        for chosen in _blocks_of_like_length(pieces.lengths):
            batch = pieces.batch(chosen, device)
            assert batch.targets is not None
            assert batch.places is not None
            read = origin_codes(origins[batch.places], device)
            inputs = weighting.inputs(network.states(batch), table, batch.targets, read)
            found = weighting.expected(inputs).cpu().numpy().astype(np.float32)
            weights[batch.places] = found.clip(_LOWEST, _HIGHEST)
    return weights


def _blocks_of_like_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Numbers of the rows, those of like length together, so many a block that their targets are about as many."""
    order = np.argsort(lengths, kind="stable")
    block = np.cumsum(lengths[order]) // _TARGETS_AT_ONCE
    return [chosen for chosen in np.split(order, np.flatnonzero(np.diff(block)) + 1) if len(chosen)]


def _pieces(dataset: SequenceDataset, max_length: int) -> NextItemRows:
    """Rows cut so that every target is in one piece, at most ``max_length`` targets a piece, full ones at the end."""
    n_targets = np.maximum(dataset.lengths - 1, 0)
    n_pieces = -(-n_targets // max_length)
    rows = np.repeat(np.arange(len(dataset)), n_pieces)
    number = position_in_row(offsets_from_lengths(n_pieces))
    # What the full pieces leave stands in front.
    in_front = n_targets - (n_pieces - 1) * max_length
    skipped = np.where(number == 0, 0, in_front[rows] + (number - 1) * max_length)
    lengths = np.where(number == 0, in_front[rows], max_length)
    return NextItemRows(dataset.items, None, dataset.offsets[rows] + skipped, lengths)
