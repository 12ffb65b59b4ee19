"""States of whole histories, and how well they rank validation items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from ..callers import stacklevel_of_caller
from ..metrics import ndcg_at_k
from ..metrics.full_ranking import rank_targets_in_blocks
from ..nn import computing_in, on_device, product
from ..ragged import row_of_position
from ..sequences import SequenceDataset
from ..training import NextItemBatch
from ..training.batches import history_batches
from .network import NextItemNetwork
from .ranker import ROWS_AT_ONCE

__all__ = ["has_reachable_targets", "last_states_of", "validation_measure", "warn_of_plateau"]


@torch.no_grad()
def last_states_of(network: NextItemNetwork, batches: Iterable[NextItemBatch], n_rows: int) -> Tensor:
    """Hidden state, (n_rows, d), after the last item of each row; zeros for rows that are in no batch."""
    with computing_in("float32", next(network.parameters()).device):
        table = network.item_table()
        states = torch.zeros(n_rows, table.shape[1], dtype=table.dtype, device=table.device)
        for batch in batches:
            states[on_device(batch.rows, table.device)] = network.last_states(batch)
    return states


def has_reachable_targets(watched: SequenceDataset) -> bool:
    """Whether any validation item is outside its row, whose items are left out of the ranking."""
    assert watched.validation is not None
    inside = watched.items == np.repeat(watched.validation, watched.lengths)
    rows = row_of_position(watched.offsets)[inside]
    return bool((np.bincount(rows, minlength=len(watched)) == 0).any())


def warn_of_plateau(name: str) -> None:
    """Say that there is nothing better to stop on than the training loss."""
    warnings.warn(
        f"{name} has no validation item to stop on, or none outside its row's history, and stops on a plateau of the "
        "training loss. Better: leave_one_out(sequences, validation=True) before regenerating, or "
        "RegeneratedRecommender, which holds each row's last item out by itself.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )


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
