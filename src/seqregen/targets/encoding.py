"""States of whole histories, and how well they rank validation items."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..metrics import ndcg_at_k
from ..metrics.full_ranking import rank_targets_in_blocks
from ..nn import computing_in, on_device, product
from ..sequences import SequenceDataset
from ..training import NextItemBatch
from ..training.batches import history_batches
from .network import NextItemNetwork
from .ranker import ROWS_AT_ONCE

__all__ = ["last_states_of", "validation_measure"]


@torch.no_grad()
def last_states_of(network: NextItemNetwork, batches: Iterable[NextItemBatch], n_rows: int) -> Tensor:
    """Hidden state, (n_rows, d), after the last item of each row; zeros for rows that are in no batch."""
    with computing_in("float32", next(network.parameters()).device):
        table = network.item_table()
        states = torch.zeros(n_rows, table.shape[1], dtype=table.dtype, device=table.device)
        for batch in batches:
            states[on_device(batch.rows, table.device)] = network.last_states(batch)
    return states


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
