"""The published regenerator and its training step: padded rows, logits over all symbols, then masked.

Restated from the specification of the method (DR4SR, KDD 2024), in plain torch layers. Anomaly detection, which
the published script switches on globally, stays off here: it would only flatter the comparison.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PaddedPairs", "PublishedRegenerator", "causal_mask", "pad_pairs", "train_steps"]

SOURCE_LENGTH = 50
TARGET_LENGTH = 20
BATCH_SIZE = 256
PaddedPairs = tuple[Tensor, Tensor]


class PublishedRegenerator(nn.Module):
    """Encoder, K memories from one joint network, gate over the target pattern, decoder.

    Parameters
    ----------
    n_items : int
        Items are 1..n_items, 0 is padding, the next two codes start and end a row.
    n_memories : int, default=5
        K.
    """

    def __init__(self, n_items: int, n_memories: int = 5, width: int = 64) -> None:
        super().__init__()
        self.n_items, self.n_memories, self.width = n_items, n_memories, width
        self.start, self.end = n_items + 1, n_items + 2
        self.embedding = nn.Embedding(n_items + 3, width, padding_idx=0)
        self.position = nn.Embedding(SOURCE_LENGTH, width)
        self.dropout = nn.Dropout(0.5)
        self.encoder = _encoder(width)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, **_layer_settings()), 2)
        self.memories = nn.Sequential(
            nn.Linear(width, n_memories * width), nn.ReLU(), nn.Linear(n_memories * width, n_memories * width)
        )
        self.promoter = _encoder(width)
        self.gate = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_memories))
        self.temperature = 1.0
        self.apply(_initialise)
        with torch.no_grad():
            self.embedding.weight[0] = 0

    def embed(self, tokens: Tensor) -> Tensor:
        """Item rows plus learned positions, (batch, length, width)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.dropout(self.embedding(tokens) + self.position(places))

    def project(self, memory: Tensor) -> Tensor:
        """K memories at every source position, (batch, length, K, width)."""
        return self.memories(memory).unflatten(-1, (self.n_memories, self.width))

    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the target among the source's own tokens, plus the mean entropy of the gate."""
        inputs, expected = target[:, :-1], target[:, 1:]
        source_padding, padding = source == 0, inputs == 0
        causal = causal_mask(source.shape[1])
        memory = self.encoder(self.embed(source), mask=causal, src_key_padding_mask=source_padding)
        embedded = self.embed(inputs)
        mixture = self._mixture(embedded, padding)
        mixed = torch.einsum("bk,blkd->bld", mixture, self.project(memory))
        hidden = self.decoder(
            embedded,
            mixed,
            tgt_mask=causal_mask(inputs.shape[1]),
            tgt_key_padding_mask=padding,
            memory_key_padding_mask=source_padding,
        )
        logits = hidden @ self.embedding.weight.T
        present = torch.zeros(len(source), logits.shape[-1], dtype=torch.bool).scatter_(1, source, True)
        logits = logits.masked_fill(~present[:, None, :], float("-inf"))
        reconstruction = functional.cross_entropy(logits.flatten(0, 1), expected.flatten(), ignore_index=0)
        entropy = -(mixture * torch.log(mixture + 1e-12)).sum(-1).mean()
        return reconstruction + entropy

    def _mixture(self, embedded: Tensor, padding: Tensor) -> Tensor:
        hidden = self.promoter(embedded, mask=causal_mask(embedded.shape[1]), src_key_padding_mask=padding)
        real = (~padding).unsqueeze(-1)
        summary = (hidden * real).sum(1) / real.sum(1)
        mixture = functional.gumbel_softmax(self.gate(summary), tau=self.temperature)
        self.temperature = max(0.1, self.temperature * 0.995)
        return mixture


def _layer_settings() -> dict:
    return {
        "nhead": 2,
        "dim_feedforward": 256,
        "dropout": 0.5,
        "activation": "gelu",
        "layer_norm_eps": 1e-12,
        "batch_first": True,
    }


def _encoder(width: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, **_layer_settings())
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def causal_mask(length: int) -> Tensor:
    """True, (length, length), where a position must not look."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def pad_pairs(rows: Sequence[Sequence[int]], pairs: Sequence[tuple[int, Sequence[int]]], n_items: int) -> PaddedPairs:
    """Pad sources to 50 and targets to at least 20, each between a start and an end token.

    Rows are cut to their last 48 items; a pair whose pattern is no longer in its row is left out, as it would
    never have been found.
    """
    start, end = n_items + 1, n_items + 2
    cut = {number: list(rows[number][-(SOURCE_LENGTH - 2) :]) for number, _ in pairs}
    kept = [(number, pattern) for number, pattern in pairs if set(pattern) <= set(cut[number])]
    longest = max([TARGET_LENGTH, *(len(pattern) + 2 for _, pattern in kept)])
    source = torch.zeros(len(kept), SOURCE_LENGTH, dtype=torch.long)
    target = torch.zeros(len(kept), longest, dtype=torch.long)
    for place, (number, pattern) in enumerate(kept):
        source[place, : len(cut[number]) + 2] = torch.tensor([start, *cut[number], end])
        target[place, : len(pattern) + 2] = torch.tensor([start, *pattern, end])
    return source, target


def train_steps(
    network: PublishedRegenerator,
    pairs: PaddedPairs,
    n_steps: int,
    *,
    seed: int = 0,
    warmup: int = 1,
    batch_size: int = BATCH_SIZE,
) -> list[float]:
    """Seconds of each of ``n_steps`` optimiser steps of pairs drawn at random; warm-up steps are not counted."""
    source, target = pairs
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    network.train()
    seconds = []
    for _ in range(n_steps + warmup):
        start = time.perf_counter()
        chosen = torch.randint(len(source), (batch_size,), generator=generator)
        optimizer.zero_grad()
        network.loss(source[chosen], target[chosen]).backward()
        optimizer.step()
        schedule.step()
        seconds.append(time.perf_counter() - start)
    return seconds[warmup:]
