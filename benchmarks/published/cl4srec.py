"""CL4SRec as the published target model is trained: views made row by row, padded, each encoded by itself.

Restated from the specification: for either view one operator is drawn a batch (crop, mask, reorder), states are
averaged over the positions of a view, rows of one item are left out.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional

from .sasrec import PublishedSASRec

__all__ = ["PublishedCL4SRec"]

WEIGHT = 0.1
CROP, MASK, REORDER = 0.2, 0.7, 0.2


class PublishedCL4SRec(PublishedSASRec):
    """SASRec with one more item, the mask token, that is never a negative."""

    def __init__(self, n_items: int, width: int = 64, seed: int = 0) -> None:
        super().__init__(n_items, width)
        self.embedding = nn.Embedding(n_items + 2, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.02)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.random = random.Random(seed)

    def loss(self, items: Tensor, targets: Tensor) -> Tensor:
        """The loss of the next items and a tenth of the contrastive one."""
        return super().loss(items, targets) + WEIGHT * self.contrast(items)

    def contrast(self, items: Tensor) -> Tensor:
        """InfoNCE of two views: the second view of a row against all other views, given its first."""
        lengths = (items != 0).sum(1)
        chosen = lengths > 1
        first, second = (self._mean(*self.view(items[chosen], lengths[chosen])) for _ in range(2))
        within = first @ first.T
        within = within.masked_fill(torch.eye(len(first), dtype=torch.bool), float("-inf"))
        return functional.cross_entropy(torch.cat([first @ second.T, within], dim=1), torch.arange(len(first)))

    def view(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """One view of padded rows, and the lengths of its rows."""
        make = self.random.choice([self._crop, self._mask, self._reorder])
        rows = [make(row, int(length)) for row, length in zip(items, lengths, strict=True)]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([(row != 0).sum() for row in rows])

    def _crop(self, row: Tensor, length: int) -> Tensor:
        size = max(1, int(CROP * length))
        start = self.random.randint(0, length - size)
        return row[start : start + size]

    def _mask(self, row: Tensor, length: int) -> Tensor:
        masked = row.clone()
        masked[self.random.sample(range(length), int(MASK * length))] = self.n_items + 1
        return masked

    def _reorder(self, row: Tensor, length: int) -> Tensor:
        size = int(REORDER * length)
        start = self.random.randint(0, length - size)
        order = self.random.sample(range(size), size)
        return torch.cat([row[:start], row[start : start + size][order], row[start + size :]])

    def _mean(self, view: Tensor, lengths: Tensor) -> Tensor:
        real = (view != 0).unsqueeze(-1)
        return (self(view) * real).sum(1) / lengths[:, None]
