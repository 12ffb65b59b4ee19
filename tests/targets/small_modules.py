"""Small torch modules, as users write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Recurrent(nn.Module):
    """A causal recurrent network with dropout of torch's own."""

    def __init__(self, n_items: int, width: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, width, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(width, width, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        return self.recurrent(self.dropout(self.items(items)))[0]


class LeftPadded(nn.Module):
    """Causal attention that must hide the padding before a row; its table has no row for padding."""

    def __init__(self, n_items: int, max_length: int, width: int = 8) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, width)
        self.places = nn.Embedding(max_length, width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.2, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        length = items.shape[1]
        place = (items > 0).cumsum(1).sub(1).clamp(min=0)
        vectors = self.items((items - 1).clamp(min=0)) + self.places(place)
        # Every place sees itself, so that no padded place has nothing to see, which would be NaN.
        itself = torch.eye(length, dtype=torch.bool, device=items.device)
        seen = (torch.ones_like(itself).tril() & (items > 0)[:, None]) | itself
        return self.attention(vectors, vectors, vectors, attn_mask=~seen.repeat_interleave(2, dim=0))[0]


class BothWays(nn.Module):
    """Reads rows in both directions and returns the state of the whole row."""

    def __init__(self, n_items: int, width: int = 8) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, width, padding_idx=0)
        self.mix = nn.Linear(width, width)

    def forward(self, items: Tensor) -> Tensor:
        real = (items > 0)[..., None]
        values = torch.relu(self.mix(self.items(items))) * real
        return values.sum(1) / real.sum(1)


class CountsRows(Recurrent):
    """A module that asks Python for the number of rows."""

    def forward(self, items: Tensor) -> Tensor:
        return super().forward(items).reshape(len(items), items.shape[1], -1)


class LooksIntoItsMask(nn.Module):
    """torch's encoder with a causal mask, which it looks into unless it is told what the mask is."""

    def __init__(self, n_items: int, width: int = 8) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, width, padding_idx=0)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, items: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(items.shape[1], device=items.device)
        return self.encoder(self.items(items), mask=mask)


class IsToldOfItsMask(LooksIntoItsMask):
    """The same, told."""

    def forward(self, items: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(items.shape[1], device=items.device)
        return self.encoder(self.items(items), mask=mask, is_causal=True)
