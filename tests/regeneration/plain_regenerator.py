"""The regenerator's network once more, from scratch: padded, in torch's own modules, decoding one row at a time."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqregen.regeneration.network import RegeneratorNetwork, RegeneratorSettings

CPU = torch.device("cpu")
N_ITEMS = 9
START, END = N_ITEMS, N_ITEMS + 1


def make_network(seed: int, **changes) -> RegeneratorNetwork:
    """A network in float64 with large random weights and no dropout."""
    settings = {
        "n_items": N_ITEMS,
        "n_memories": 3,
        "embedding_dim": 8,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 12,
        "dropout": 0.0,
        "max_positions": 20,
        "gate": "softmax",
        "gate_temperature": 1.0,
        "gate_temperature_decay": 0.995,
        "gate_temperature_floor": 0.1,
        "gate_entropy_weight": 0.7,
        "gate_balance_weight": 0.3,
        "candidates": "source",
        "encoder_mask": "bidirectional",
    }
    names = RegeneratorSettings.__annotations__
    network = RegeneratorNetwork(RegeneratorSettings(**{k: v for k, v in (settings | changes).items() if k in names}))
    network = network.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.6)
    return network


class PlainRegenerator(nn.Module):
    def __init__(self, ours: RegeneratorNetwork) -> None:
        super().__init__()
        self.settings = ours.settings
        self.tokens = copy.deepcopy(ours.tokens)
        self.positions = copy.deepcopy(ours.positions)
        self.gate, self.memories = copy.deepcopy(ours.gate), copy.deepcopy(ours.memories)
        self.encoder = nn.ModuleList(self._encoder_layer(layer) for layer in ours.encoder)
        self.promoter = nn.ModuleList(self._encoder_layer(layer) for layer in ours.promoter)
        self.decoder = nn.ModuleList(self._decoder_layer(layer) for layer in ours.decoder)

    def _encoder_layer(self, layer: nn.Module) -> nn.TransformerEncoderLayer:
        settings = self.settings
        twin = nn.TransformerEncoderLayer(
            settings.embedding_dim, settings.n_heads, settings.hidden_dim, 0.0, "gelu", 1e-12, batch_first=True
        ).double()
        parts = [("self_attn", layer.attention), ("norm1", layer.attention_norm), ("norm2", layer.feed_forward_norm)]
        return _filled(twin, layer, parts)

    def _decoder_layer(self, layer: nn.Module) -> nn.TransformerDecoderLayer:
        settings = self.settings
        twin = nn.TransformerDecoderLayer(
            settings.embedding_dim, settings.n_heads, settings.hidden_dim, 0.0, "gelu", 1e-12, batch_first=True
        ).double()
        parts = [("self_attn", layer.attention), ("multihead_attn", layer.memory_attention)]
        parts += [("norm1", layer.attention_norm), ("norm2", layer.memory_norm), ("norm3", layer.feed_forward_norm)]
        return _filled(twin, layer, parts)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]

    def encode(self, source: Tensor, is_pad: Tensor, causal: bool) -> Tensor:
        """The K memories (n, length, K, d) of padded sources."""
        hidden = self.embed(source)
        for layer in self.encoder:
            hidden = layer(hidden, _causal(source.shape[1]) if causal else None, is_pad)
        return self.memories(hidden).view(*hidden.shape[:2], self.settings.n_memories, -1)

    def decode(self, target: Tensor, target_is_pad: Tensor, memory: Tensor, memory_is_pad: Tensor) -> Tensor:
        hidden = self.embed(target)
        for layer in self.decoder:
            hidden = layer(
                hidden,
                memory,
                tgt_mask=_causal(target.shape[1]),
                tgt_key_padding_mask=target_is_pad,
                memory_key_padding_mask=memory_is_pad,
            )
        return hidden

    def loss(self, sources: list[list[int]], patterns: list[list[int]], noise: Tensor, temperature: float) -> Tensor:
        """Sources and patterns are lists of item codes, one pair a line."""
        source, source_is_pad = _padded([[START, *(code - 1 for code in row), END] for row in sources])
        target, target_is_pad = _padded([[START, *(code - 1 for code in row), END] for row in patterns])
        hidden = self.embed(target)
        for layer in self.promoter:
            hidden = layer(hidden, _causal(target.shape[1]), target_is_pad)
        hidden = hidden.masked_fill(target_is_pad[:, :, None], 0.0)
        logits = self.gate(hidden.sum(1) / (~target_is_pad).sum(1, keepdim=True))
        mixture = torch.softmax((logits + noise) / temperature, -1)
        causal = self.settings.encoder_mask != "bidirectional"
        memory = torch.einsum("bk,blkd->bld", mixture, self.encode(source, source_is_pad, causal))
        states = self.decode(target[:, :-1], target_is_pad[:, :-1], memory, source_is_pad)
        scores = states @ self.tokens.weight.T
        if self.settings.candidates == "source":
            allowed = torch.zeros(len(sources), N_ITEMS + 2, dtype=torch.bool)
            for line, row in enumerate(sources):
                allowed[line, [START, END, *(code - 1 for code in row)]] = True
            scores = scores.masked_fill(~allowed[:, None], -torch.inf)
        wanted = target[:, 1:].masked_fill(target_is_pad[:, 1:], -1)
        loss = functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=-1)
        loss = loss + self.settings.gate_entropy_weight * _entropy(mixture).mean()
        return loss - self.settings.gate_balance_weight * _entropy(mixture.mean(0))

    @torch.no_grad()
    def decode_one(self, row: list[int], memory: int, is_free: np.ndarray, max_length: int) -> tuple[list[int], int]:
        """One row, one memory, no cache, the published loop; item codes and the number of free steps."""
        source = torch.tensor([[START, *(code - 1 for code in row), END]])
        nothing = torch.zeros(source.shape, dtype=torch.bool)
        causal = self.settings.encoder_mask == "causal"
        mine = self.encode(source, nothing, causal)[:, :, memory]
        said, n_free = [START], 0
        for step in range(max_length + 1):
            target = torch.tensor([said])
            state = self.decode(target, torch.zeros(target.shape, dtype=torch.bool), mine, nothing)[0, -1]
            n_free += int(is_free[step])
            among = range(N_ITEMS + 2) if is_free[step] else set(source[0].tolist())
            scores = {token: float(state @ self.tokens.weight[token]) for token in among if token not in said}
            best = max(scores, key=scores.__getitem__)
            if best == END:
                break
            said.append(best)
        return [token + 1 for token in said[1 : max_length + 1]], n_free


def _filled(twin: nn.Module, layer: nn.Module, parts: list) -> nn.Module:
    parts = [*parts, ("linear1", layer.feed_forward.expand), ("linear2", layer.feed_forward.contract)]
    for name, part in parts:
        getattr(twin, name).load_state_dict(part.state_dict())
    return twin


def _causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def _padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    # Padded with an item: what stands there must not matter.
    padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=0)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, torch.arange(padded.shape[1]) >= lengths[:, None]


def _entropy(probabilities: Tensor) -> Tensor:
    return -(probabilities * torch.log(probabilities + 1e-12)).sum(-1)
