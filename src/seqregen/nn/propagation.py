"""Spreading vectors over a symmetric graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GraphPropagation"]


class GraphPropagation(nn.Module):
    """The mean of a table and its first products with a symmetric sparse matrix, as in LightGCN.

    With the matrix A and L layers, ``(E + A E + ... + A^L E) / (L + 1)`` (He et al., SIGIR 2020, equations 7 and 8).
    The matrix is a constant: it is a buffer, moves and is saved with the network, and has no gradient.

    Parameters
    ----------
    offsets : int64 ndarray of shape (n_nodes + 1,)
    neighbours : int64 ndarray of shape (n_entries,)
        Column of each entry of A; row ``r`` holds the entries ``offsets[r]:offsets[r + 1]``.
    weights : float ndarray of shape (n_entries,)
        The entries. The entry of row i and column j must be that of row j and column i.
    n_layers : int
        L, at least 1.
    """

    starts: Tensor
    neighbours: Tensor
    weights: Tensor

    def __init__(self, offsets: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, n_layers: int) -> None:
        super().__init__()
        self.n_layers = n_layers
        self.register_buffer("starts", torch.from_numpy(offsets[:-1].astype(np.int64)))
        self.register_buffer("neighbours", torch.from_numpy(neighbours.astype(np.int64)))
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))

    def forward(self, table: Tensor) -> Tensor:
        """The mean, (n_nodes, d), of a table of the same shape; it can be differentiated any number of times."""
        return _Propagation.apply(table, self.starts, self.neighbours, self.weights, self.n_layers)

    def extra_repr(self) -> str:
        return f"n_nodes={len(self.starts)}, n_entries={len(self.neighbours)}, n_layers={self.n_layers}"


class _Propagation(torch.autograd.Function):
    """A symmetric linear map is its own derivative: the backward pass is the forward pass on the gradient."""

    @staticmethod
    def forward(table: Tensor, starts: Tensor, neighbours: Tensor, weights: Tensor, n_layers: int) -> Tensor:
        total = table = table.detach().contiguous()
        for _ in range(n_layers):
            # Bags of embeddings are a sparse product, on a CPU three times as fast as torch's own.
            total = functional.embedding_bag(
                neighbours, total, starts, mode="sum", per_sample_weights=weights.to(total.dtype)
            )
            total = total.add_(table)
        return total.mul_(1 / (n_layers + 1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, starts, neighbours, weights, ctx.n_layers = inputs
        ctx.save_for_backward(starts, neighbours, weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        return _Propagation.apply(gradients[0], *ctx.saved_tensors, ctx.n_layers), None, None, None, None
