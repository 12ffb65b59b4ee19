"""The published decoder: one row and one memory at a time, the whole prefix anew at every step, no cache.

Anomaly detection, which the published script switches on, stays off. By default gradients are not recorded
either, which the published script does: that is the *kind* variant.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .regenerator import SOURCE_LENGTH, PublishedRegenerator, causal_mask

__all__ = ["Decoding", "decode", "time_decoding"]

MAX_TOKENS = 25


@dataclass(frozen=True)
class Decoding:
    """Seconds of decoding a sample of rows from every memory, and what they come to for all rows."""

    seconds: float
    n_sampled: int
    n_rows: int
    n_steps: int
    n_decodes: int

    @property
    def seconds_a_row(self) -> float:
        return self.seconds / self.n_sampled

    @property
    def seconds_a_step(self) -> float:
        return self.seconds / self.n_steps

    @property
    def steps_a_decode(self) -> float:
        return self.n_steps / self.n_decodes

    @property
    def extrapolated_seconds(self) -> float:
        """Seconds for all rows and memories: rows are drawn uniformly and do not depend on each other."""
        return self.seconds_a_row * self.n_rows


def decode(
    network: PublishedRegenerator,
    row: Sequence[int],
    memory: int,
    generator: random.Random,
    *,
    generative_rate: float = 0.1,
    restrictive_prefix: int = 2,
    shortest: int = 0,
) -> list[int]:
    """Tokens that one memory of one row decodes to greedily, the start token first.

    The end may not come before ``shortest`` items, so that a network that is hardly trained decodes rows of a
    length that a trained one decodes; rows must have more items than that.
    """
    tokens = [network.start, *row[-(SOURCE_LENGTH - 2) :], network.end]
    source = torch.tensor([tokens])
    encoded = network.project(network.encoder(network.embed(source)))[:, :, memory]
    emitted = [network.start]
    for step in range(MAX_TOKENS - 1):
        prefix = torch.tensor([emitted])
        hidden = network.decoder(network.embed(prefix), encoded, tgt_mask=causal_mask(len(emitted)))
        scores = hidden[0, -1] @ network.embedding.weight.T
        forbidden = torch.zeros(len(scores), dtype=torch.bool)
        if step < restrictive_prefix or generator.random() > generative_rate:
            forbidden[:] = True
            forbidden[source[0]] = False
        forbidden[prefix[0]] = True
        forbidden[0] = True
        forbidden[network.end] |= step < shortest
        emitted.append(int(scores.masked_fill(forbidden, float("-inf")).argmax()))
        if emitted[-1] == network.end:
            break
    return emitted


def time_decoding(
    network: PublishedRegenerator,
    rows: Sequence[Sequence[int]],
    n_sampled: int = 40,
    *,
    seed: int = 0,
    generative_rate: float = 0.1,
    shortest: int = 0,
    record_gradients: bool = False,
) -> Decoding:
    """Time the decoding of rows drawn uniformly, each from every memory.

    ``record_gradients=True`` decodes as published, with autograd recording every step for nothing.
    """
    generator = random.Random(seed)
    sample = generator.sample(list(rows), min(n_sampled, len(rows)))
    network.eval()
    n_steps = 0
    settings = {"generative_rate": generative_rate, "shortest": shortest}
    start = time.perf_counter()
    with torch.set_grad_enabled(record_gradients):
        for memory in range(network.n_memories):
            n_steps += sum(len(decode(network, row, memory, generator, **settings)) - 1 for row in sample)
    seconds = time.perf_counter() - start
    return Decoding(seconds, len(sample), len(rows), n_steps, len(sample) * network.n_memories)
