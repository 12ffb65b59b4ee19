"""The regenerator's network: encoder, K memories, diversity promoter, decoder (DR4SR, section 4.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nn import DecoderLayer, Dropout, EncoderLayer, Linear, initialize, look_up, on_device, seeded_torch
from .pair_batches import PairBatch

__all__ = ["RegeneratorNetwork", "RegeneratorSettings"]


@dataclass(frozen=True)
class RegeneratorSettings:
    """What the network is made of; see :class:`seqregen.DatasetRegenerator` for the meaning of each value."""

    n_items: int
    n_memories: int
    embedding_dim: int
    n_layers: int
    n_heads: int
    hidden_dim: int
    dropout: float
    max_positions: int
    gate: str
    gate_temperature: float
    gate_temperature_decay: float
    gate_temperature_floor: float
    gate_entropy_weight: float
    gate_balance_weight: float
    candidates: str
    encoder_mask: str


class RegeneratorNetwork(nn.Module):
    """A Transformer encoder-decoder with K memories in between.

    Token ``c - 1`` is item code ``c``; token V starts and token V + 1 ends a sequence. One embedding table
    serves the source, the target and the output; one position table serves both sides.

    Parameters
    ----------
    settings : RegeneratorSettings
    """

    def __init__(self, settings: RegeneratorSettings) -> None:
        super().__init__()
        self.settings = settings
        width, n_memories = settings.embedding_dim, settings.n_memories
        shape = (width, settings.n_heads, settings.hidden_dim, settings.dropout)
        self.tokens = nn.Embedding(settings.n_items + 2, width)
        self.positions = nn.Embedding(settings.max_positions, width)
        self.encoder = nn.ModuleList(EncoderLayer(*shape) for _ in range(settings.n_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*shape) for _ in range(settings.n_layers))
        self.promoter = nn.ModuleList(EncoderLayer(*shape) for _ in range(settings.n_layers))
        self.gate = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_memories))
        self.memories = nn.Sequential(
            Linear(width, n_memories * width), nn.ReLU(), Linear(n_memories * width, n_memories * width)
        )
        self.dropout = Dropout(settings.dropout)
        # Counted in the state, so that a resumed run has the temperature of an uninterrupted one.
        self.n_forward: Tensor
        self.register_buffer("n_forward", torch.zeros((), dtype=torch.int64))
        # Tokens that a free step may choose; the start is never said.
        self.is_sayable: Tensor
        self.register_buffer("is_sayable", torch.arange(settings.n_items + 2) != settings.n_items, persistent=False)

    @classmethod
    def drawn(cls, settings: RegeneratorSettings, seed: int) -> Self:
        """A network on the CPU with first weights that are fixed by a seed."""
        # Layers of torch draw weights from its global generator as they are made.
        with seeded_torch(seed, torch.device("cpu")):
            network = cls(settings)
        initialize(network, torch.Generator().manual_seed(seed))
        return network

    @property
    def temperature(self) -> Tensor:
        """Temperature of the gate in the next step: a number on the device, so that no step waits for a GPU."""
        settings = self.settings
        decayed = settings.gate_temperature * settings.gate_temperature_decay ** self.n_forward.double()
        return decayed.clamp(min=settings.gate_temperature_floor)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        vectors = look_up(self.tokens.weight, tokens) + look_up(self.positions.weight, positions)
        return self.dropout(vectors)

    def encode(self, batch: PairBatch) -> Tensor:
        """Memory (n_slots, d) of the distinct sources, in the slots of ``batch.row_groups``."""
        causal = self.settings.encoder_mask == "causal" or (self.settings.encoder_mask == "published" and self.training)
        slots = batch.row_groups.slots()
        tokens = self.embed(batch.row_tokens[slots.tokens], batch.row_positions[slots.tokens])
        for layer in self.encoder:
            tokens = layer(tokens, slots.groups, causal=causal)
        return tokens

    def project(self, memory: Tensor) -> Tensor:
        """The K memories, (n_tokens, K, d), of a memory."""
        return self.memories(memory).view(len(memory), self.settings.n_memories, -1)

    def gate_logits(self, targets: Tensor, batch: PairBatch) -> Tensor:
        """Scores (n_pairs, K) of the memories, from the embedded target pattern (equation 3)."""
        slots = batch.target_groups.slots()
        targets = targets.index_select(0, slots.tokens)
        for layer in self.promoter:
            targets = layer(targets, slots.groups, causal=True)
        targets = targets.index_select(0, slots.places)
        sums = torch.zeros(len(batch.target_offsets) - 1, targets.shape[1], dtype=targets.dtype, device=targets.device)
        lengths = batch.target_offsets.diff()
        rows = torch.arange(len(lengths), device=targets.device)
        rows = torch.repeat_interleave(rows, lengths, output_size=len(targets))
        return self.gate(sums.index_add(0, rows, targets) / lengths[:, None])

    def mixture(self, logits: Tensor, random: np.random.Generator | None) -> Tensor:
        """Probabilities (n_pairs, K) of the memories; Gumbel noise comes from ``random``."""
        if self.settings.gate == "gumbel" and random is not None:
            noise = on_device(random.gumbel(size=tuple(logits.shape)).astype(np.float32), logits.device)
            logits = logits + noise
        return torch.softmax(logits / self.temperature, dim=-1)

    def loss(self, batch: PairBatch, random: np.random.Generator) -> Tensor:
        """Reconstruction loss of a batch with the terms that shape the gate."""
        settings = self.settings
        targets = self.embed(batch.target_tokens, batch.target_positions)
        mixture = self.mixture(self.gate_logits(targets, batch), random)
        self.n_forward += 1
        # The memory of the pairs lies in slots, so that every layer's attention over it pads nothing.
        slots = batch.source_groups.slots()
        source = batch.row_groups.slots().places[batch.source[slots.tokens]]
        memories = self.project(self.encode(batch)).index_select(0, source)
        # A product and a sum are three times as quick as many small matrix products.
        memory = (mixture.index_select(0, batch.pair[slots.tokens])[:, :, None] * memories).sum(1)
        hidden = targets.index_select(0, batch.inputs)
        for layer in self.decoder:
            hidden = layer(hidden, memory, batch.input_groups, slots.groups, batch.packed_inputs)
        loss = self._reconstruction(hidden, batch)
        if settings.gate_entropy_weight:
            loss = loss + settings.gate_entropy_weight * entropy(mixture).mean()
        if settings.gate_balance_weight:
            loss = loss - settings.gate_balance_weight * entropy(mixture.mean(0))
        return loss

    def _reconstruction(self, hidden: Tensor, batch: PairBatch) -> Tensor:
        if self.settings.candidates == "all":
            return functional.cross_entropy(hidden @ self.tokens.weight.T, batch.outputs)
        slots = batch.source_groups.slots()
        vectors = look_up(self.tokens.weight, batch.row_tokens[batch.source[slots.tokens]])
        total = torch.zeros((), device=hidden.device)
        parts = zip(
            batch.input_groups.pad(hidden),
            slots.groups.pad(vectors),
            slots.groups.pad(batch.is_candidate[slots.tokens]),
            batch.input_groups.pad(batch.output_slots),
            slots.groups.groups,
            batch.input_groups.groups,
            strict=True,
        )
        for states, candidates, is_candidate, slots, source_group, input_group in parts:
            if source_group.is_real is not None:
                is_candidate = is_candidate & source_group.is_real
            scores = (states @ candidates.transpose(1, 2)).masked_fill(~is_candidate[:, None], -torch.inf)
            losses = functional.cross_entropy(scores.transpose(1, 2), slots, reduction="none")
            if input_group.is_real is not None:
                # Padded places repeat some other row's token, which may not be a candidate: infinite there.
                losses = losses.masked_fill(~input_group.is_real, 0.0)
            total = total + losses.sum()
        return total / len(batch.outputs)


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy, in nats, along the last axis."""
    return -(probabilities * torch.log(probabilities + 1e-12)).sum(-1)
