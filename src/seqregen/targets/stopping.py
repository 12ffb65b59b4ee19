"""What ends a training: validation items, where there are any to rank, else a plateau of the loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..callers import stacklevel_of_caller
from ..metrics import ndcg_at_k
from ..metrics.full_ranking import rank_targets_in_blocks
from ..model_selection import hold_out_last
from ..nn import product
from ..ragged import row_of_position
from ..sequences import SequenceDataset
from ..training import StopRule
from ..training.batches import history_batches
from .encoding import last_states_of
from .network import NextItemNetwork
from .ranker import ROWS_AT_ONCE

__all__ = ["hold_out", "stop_rule", "validation_measure"]


def hold_out(data: SequenceDataset, name: str) -> tuple[SequenceDataset, SequenceDataset | None]:
    """The rows to train on, and the original rows with validation items that early stopping watches.

    Parameters
    ----------
    data : SequenceDataset
        Rows that are all original and have no validation item lose their last item to validation.
    name : str
        Who warns that there is nothing to watch.
    """
    n_original = data.n_original
    if data.validation is None and n_original == len(data) and data.lengths.max() > 2:
        data = hold_out_last(data)
    originals = data.originals()
    if originals.validation is not None:
        watched = originals[(originals.validation > 0) & (originals.lengths > 0)]
        if _has_reachable_targets(watched):
            return data, watched
    warnings.warn(
        f"{name} has no validation item to stop on, or none outside its row's history, and stops on a plateau of the "
        "training loss. Better: leave_one_out(sequences, validation=True) before regenerating, or "
        "RegeneratedRecommender, which holds each row's last item out by itself.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )
    return data, None


def _has_reachable_targets(watched: SequenceDataset) -> bool:
    """Whether any validation item is outside its row, whose items are left out of the ranking."""
    assert watched.validation is not None
    inside = watched.items == np.repeat(watched.validation, watched.lengths)
    rows = row_of_position(watched.offsets)[inside]
    return bool((np.bincount(rows, minlength=len(watched)) == 0).any())


def stop_rule(watched: SequenceDataset | None, patience: int, plateau: str) -> StopRule:
    """Stop when NDCG@20 of what is watched rises no more, or a loss falls no more where nothing is.

    Parameters
    ----------
    watched : SequenceDataset or None
    patience : int
    plateau : str
        The entry of an epoch's record that is the loss: five epochs of less than 1 % each are the end.
    """
    if watched is None:
        return StopRule(plateau, patience=5, rising=False, tolerance=0.01)
    return StopRule("ndcg@20", patience)


def validation_measure(
    network: NextItemNetwork, watched: SequenceDataset, max_length: int, device: torch.device
) -> Callable[[], dict[str, float]]:
    """Measures NDCG@20 on the validation items of some rows: full ranking without the history."""
    targets = watched.validation
    assert targets is not None
    batches = list(history_batches(watched, max_length, ROWS_AT_ONCE, device))

    def measure() -> dict[str, float]:
        states = last_states_of(network, batches, len(watched))
        table = network.item_table().detach()

        def score_block(start: int, stop: int) -> Tensor:
            return product(states[start:stop], table)

        ranks = rank_targets_in_blocks(score_block, len(watched), targets, (watched.items, watched.offsets))
        return {"ndcg@20": float(ndcg_at_k(ranks, 20))}

    return measure
