"""What this machine could do at best: matrix products, the arithmetic of an epoch, reading the file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from seqregen.nn.linear import linear

from .data import MAX_LENGTH, read_sequences, truncated
from .timing import seconds_of

__all__ = [
    "filter_epoch_flops",
    "gemm_rate",
    "gemm_rates",
    "linear_rate",
    "next_item_lengths",
    "ranking_gemm_seconds",
    "read_seconds",
    "recurrent_epoch_flops",
    "training_epoch_flops",
]

WIDTH = 64
FEED_FORWARD = 128
N_LAYERS = 2
# States of GRU4Rec's recurrent layers, published.
RECURRENT_WIDTH = 256
# Inside FMLP-Rec's feed-forward parts, published.
FILTER_FEED_FORWARD = 256


def gemm_rates(n_rows: int = 8192, repeats: int = 30, width: int = WIDTH) -> dict[str, float]:
    """Multiply-adds a second, counted as two operations, of the products that one layer of a width makes."""
    rates = {}
    for n_columns in (width, 2 * width, 3 * width):
        left, right = torch.randn(n_rows, width), torch.randn(width, n_columns)
        out = torch.empty(n_rows, n_columns)
        best = min(seconds_of(lambda: torch.mm(left, right, out=out)) for _ in range(repeats))  # noqa: B023
        rates[f"{n_rows}x{width}x{n_columns}"] = 2 * n_rows * width * n_columns / best
    return rates


def gemm_rate(width: int = WIDTH) -> float:
    """The best of :func:`gemm_rates`, for a batch's worth of rows and for many."""
    return max(max(gemm_rates(n_rows, width=width).values()) for n_rows in (1536, 8192))


def linear_rate(n_rows: int = 8192, repeats: int = 30) -> float:
    """The same of one linear layer, 64 to 256, as the library computes it: torch's own product is not always best."""
    values, weight, bias = torch.randn(n_rows, WIDTH), torch.randn(4 * WIDTH, WIDTH), torch.zeros(4 * WIDTH)
    best = min(seconds_of(lambda: linear(values, weight, bias)) for _ in range(repeats))
    return 8 * n_rows * WIDTH**2 / best


def next_item_lengths(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Positions with a next item to predict, of each row as the published setting cuts it."""
    lengths = np.array([len(row) - 3 for row in truncated(list(sequences))])
    return lengths[lengths > 0]


def training_epoch_flops(lengths: np.ndarray) -> float:
    """Operations of one SASRec BCE epoch on real tokens alone.

    A token and a layer take ``8 d^2`` for attention's four products and ``4 d f`` for the feed-forward pair, a
    causal (query, key) pair ``4 d``, the loss ``4 d`` a token; the backward pass takes twice the forward one.
    """
    lengths = lengths.astype(np.float64)
    tokens, pairs = lengths.sum(), (lengths * (lengths + 1) / 2).sum()
    layer = tokens * (8 * WIDTH**2 + 4 * WIDTH * FEED_FORWARD) + pairs * 4 * WIDTH
    return float(3 * (N_LAYERS * layer + tokens * 4 * WIDTH))


def recurrent_epoch_flops(lengths: np.ndarray) -> float:
    """Operations of one GRU4Rec BCE epoch on real tokens alone.

    A token takes ``6 d h`` for what goes into the first layer and ``6 h^2`` into each other one, ``6 h^2`` a layer
    for the former state where there is one, ``2 h d`` for the output, ``4 d`` for the loss; the backward pass takes
    twice the forward one.
    """
    tokens, rows, hidden = float(lengths.sum()), len(lengths), RECURRENT_WIDTH
    inputs = tokens * (6 * WIDTH * hidden + (N_LAYERS - 1) * 6 * hidden**2)
    recurrent = (tokens - rows) * N_LAYERS * 6 * hidden**2
    return float(3 * (inputs + recurrent + tokens * (2 * hidden * WIDTH + 4 * WIDTH)))


def filter_epoch_flops(lengths: np.ndarray) -> float:
    """Operations of one FMLP-Rec BCE epoch: the feed-forward parts of what is needed of 50 slots a prefix.

    A slot takes ``4 d f`` a layer, and of the last layer one slot is needed; the backward pass takes twice the
    forward one. The transforms, a thirtieth of that, are left out.
    """
    slots = MAX_LENGTH * (N_LAYERS - 1) + 1
    return float(3 * lengths.sum() * (slots * 4 * WIDTH * FILTER_FEED_FORWARD + 4 * WIDTH))


def ranking_gemm_seconds(n_rows: int, n_items: int, block_rows: int = 1024) -> float:
    """Seconds of the one matrix product of a full ranking, taken by blocks into the same memory."""
    states, table = torch.randn(n_rows, WIDTH), torch.randn(n_items, WIDTH)
    out = torch.empty(block_rows, n_items)

    def product() -> None:
        for block in states.split(block_rows):
            torch.mm(block, table.T, out=out[: len(block)])

    return seconds_of(product)


def read_seconds(path: str) -> float:
    """Seconds of reading the data file into lists, line by line."""
    return seconds_of(lambda: read_sequences(path))
