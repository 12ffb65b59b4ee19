"""The graph model as the published target is trained: its whole table spread over the graph in every forward pass.

Restated from the specification. The matrix over all items and the padding is a sparse tensor of coordinates; rows are
padded to 50 and encoded by SASRec.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from .sasrec import PublishedSASRec

__all__ = ["PublishedGNN", "item_matrix"]

N_LAYERS = 3
WINDOW = 2


def item_matrix(inputs: Tensor, n_items: int) -> Tensor:
    """``D^-1 A + A D^-1``, sparse (items + 1, items + 1), of padded rows; the padding is joined to itself alone."""
    joined: Counter[tuple[int, int]] = Counter()
    for row in inputs.tolist():
        items = [item for item in row if item]
        for place, item in enumerate(items):
            for distance, other in enumerate(items[place + 1 : place + 1 + WINDOW], start=1):
                joined[item, other] += 1 / distance
    places = torch.tensor(list(joined)).T
    values = torch.tensor(list(joined.values()), dtype=torch.float64)
    loops = torch.arange(n_items + 1)
    places = torch.cat([places, places.flip(0), loops.expand(2, -1)], dim=1)
    values = torch.cat([values, values, torch.ones(n_items + 1, dtype=torch.float64)])
    matrix = torch.sparse_coo_tensor(places, values, (n_items + 1, n_items + 1), check_invariants=True).coalesce()
    rows, columns = matrix.indices()
    inverse = 1 / rows.bincount(minlength=n_items + 1)
    values = (matrix.values() * (inverse[rows] + inverse[columns])).float()
    return torch.sparse_coo_tensor(matrix.indices(), values, matrix.shape, check_invariants=True).coalesce()


class PublishedGNN(PublishedSASRec):
    """Histories are read from the mean of the table and its three products with the matrix."""

    matrix: Tensor

    def __init__(self, inputs: Tensor, n_items: int, width: int = 64) -> None:
        super().__init__(n_items, width)
        self.register_buffer("matrix", item_matrix(inputs, n_items))

    def spread(self) -> Tensor:
        """The table, (items + 1, width), that histories are read from."""
        layers = [self.embedding.weight]
        for _ in range(N_LAYERS):
            layers.append(torch.sparse.mm(self.matrix, layers[-1]))
        return torch.stack(layers, dim=1).mean(1)

    def read(self, items: Tensor) -> Tensor:
        return self.spread()[items]
