"""States of whole histories."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..nn import computing_in, on_device
from ..training import NextItemBatch
from .network import NextItemNetwork

__all__ = ["last_states_of"]


@torch.no_grad()
def last_states_of(network: NextItemNetwork, batches: Iterable[NextItemBatch], n_rows: int) -> Tensor:
    """Hidden state, (n_rows, d), after the last item of each row; zeros for rows that are in no batch."""
    with computing_in("float32", next(network.parameters()).device):
        table = network.item_table()
        states = torch.zeros(n_rows, table.shape[1], dtype=table.dtype, device=table.device)
        for batch in batches:
            states[on_device(batch.rows, table.device)] = network.last_states(batch)
    return states
