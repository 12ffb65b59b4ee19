"""Measuring how the gate uses the memories."""

from __future__ import annotations

import numpy as np
import torch

from .network import RegeneratorNetwork, entropy
from .pair_batches import PairBatch, PairTable

__all__ = ["gate_mixture", "gate_use"]


@torch.no_grad()
def gate_mixture(network: RegeneratorNetwork, batch: PairBatch) -> torch.Tensor:
    """Probabilities (n_pairs, K) of the memories for a batch, without noise."""
    targets = network.embed(batch.target_tokens, batch.target_positions)
    return network.mixture(network.gate_logits(targets, batch), None)


def gate_use(
    network: RegeneratorNetwork, pairs: PairTable, batch_size: int, device: torch.device
) -> tuple[np.ndarray, float]:
    """Mean probability of each memory over all pairs, and the mean entropy of a pair's probabilities."""
    use, disorder = np.zeros(network.settings.n_memories), 0.0
    for first in range(0, len(pairs), batch_size):
        chosen = np.arange(first, min(first + batch_size, len(pairs)))
        mixture = gate_mixture(network, pairs.batch(chosen, device))
        use = use + mixture.double().sum(0).cpu().numpy()
        disorder += float(entropy(mixture.double()).sum())
    # Of one memory rounding makes less than nothing.
    return use / len(pairs), max(0.0, disorder / len(pairs))
