"""FMLP-Rec as the published target model is trained: every prefix a stored row, padded in front to 50.

Restated from the specification: transform, filter and feed-forward of all slots in both layers, torch's own dropout,
and negatives from ``torch.multinomial`` over a dense matrix of ones of batch x items.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data import MAX_LENGTH, truncated

__all__ = ["PublishedFMLP", "prefix_rows"]


class _Layer(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(1, MAX_LENGTH // 2 + 1, width, 2) * 0.02)
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-12) for _ in range(2))
        self.filter_dropout, self.dropout = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(hidden, dim=1, norm="ortho") * torch.view_as_complex(self.filter)
        filtered = torch.fft.irfft(spectrum, n=MAX_LENGTH, dim=1, norm="ortho")
        hidden = self.norms[0](hidden + self.filter_dropout(filtered))
        fed = self.contract(functional.gelu(self.expand(hidden)))
        return self.norms[1](hidden + self.dropout(fed))


class PublishedFMLP(nn.Module):
    """Two layers of width 64, feed-forward 256, dropout 0.5; the state is the last slot."""

    def __init__(self, n_items: int, width: int = 64, hidden: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_items + 1, width, padding_idx=0)
        self.position = nn.Embedding(MAX_LENGTH, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(width, hidden, dropout) for _ in range(2))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.embedding.weight[0] = 0

    def forward(self, items: Tensor) -> Tensor:
        """States, (batch, width), behind rows of 50 that are padded in front with 0."""
        places = torch.arange(items.shape[1], device=items.device)
        hidden = self.dropout(self.norm(self.embedding(items) + self.position(places)))
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden[:, -1]

    def loss(self, items: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy against one negative a prefix."""
        hidden = self(items)
        weights = torch.ones(len(items), self.embedding.num_embeddings)
        weights[:, 0] = 0
        negatives = torch.multinomial(weights, 1, replacement=True)[:, 0]
        positive_scores = (hidden * self.embedding(targets)).sum(-1)
        negative_scores = (hidden * self.embedding(negatives)).sum(-1)
        return (functional.softplus(-positive_scores) + functional.softplus(negative_scores)).mean()


def prefix_rows(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Every prefix, (prefixes, 50), and its next item, of the whole sequences less the last two items."""
    rows = [row[:-2] for row in truncated(list(sequences))]
    targets = [row[end] for row in rows for end in range(1, len(row))]
    prefixes = torch.zeros(len(targets), MAX_LENGTH, dtype=torch.long)
    number = 0
    for row in rows:
        items = torch.tensor(list(row), dtype=torch.long)
        for end in range(1, len(row)):
            prefixes[number, MAX_LENGTH - end :] = items[:end]
            number += 1
    return prefixes, torch.tensor(targets)
