"""SASRec as the published target model is trained and evaluated: every row padded to 50.

Restated from the specification. The negatives come from ``torch.multinomial`` over a dense matrix of ones of
batch x items, the evaluation takes the top 100 of all items in batches of 2,048 padded rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data import MAX_LENGTH, truncated

__all__ = ["PublishedSASRec", "evaluate", "held_out", "time_evaluation", "train_steps", "training_rows"]

BATCH_SIZE = 256
EVALUATION_BATCH_SIZE = 2048
TOP = 100


class PublishedSASRec(nn.Module):
    """Two post-norm layers of width 64, two heads, feed-forward 128, GELU, dropout 0.5, learned positions."""

    def __init__(self, n_items: int, width: int = 64) -> None:
        super().__init__()
        self.n_items = n_items
        self.embedding = nn.Embedding(n_items + 1, width, padding_idx=0)
        self.position = nn.Embedding(MAX_LENGTH, width)
        self.dropout = nn.Dropout(0.5)
        layer = nn.TransformerEncoderLayer(
            width, 2, 128, dropout=0.5, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.apply(_initialise)
        with torch.no_grad():
            self.embedding.weight[0] = 0

    def read(self, items: Tensor) -> Tensor:
        """Vectors of the items of histories."""
        return self.embedding(items)

    def forward(self, items: Tensor) -> Tensor:
        """Hidden states, (batch, 50, width), of rows padded behind with 0."""
        places = torch.arange(items.shape[1], device=items.device)
        hidden = self.dropout(self.read(items) + self.position(places))
        causal = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool).triu(1)
        return self.encoder(hidden, mask=causal, src_key_padding_mask=items == 0)

    def loss(self, items: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy against one negative a position, averaged over the real positions."""
        hidden = self(items)
        weights = torch.ones(len(items), self.n_items + 1)
        weights[:, 0] = 0
        negatives = torch.multinomial(weights, items.shape[1], replacement=True)
        positive_scores = (hidden * self.embedding(targets)).sum(-1)
        negative_scores = (hidden * self.embedding(negatives)).sum(-1)
        losses = functional.softplus(-positive_scores) + functional.softplus(negative_scores)
        real = (targets != 0).float()
        return (losses * real).sum() / real.sum()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    padded = torch.zeros(len(rows), MAX_LENGTH, dtype=torch.long)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.tensor(list(row), dtype=torch.long)
    return padded


def training_rows(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Inputs and their next items, (rows, 50) each, of the whole sequences less the last two items."""
    rows = [row[:-2] for row in truncated(list(sequences))]
    rows = [row for row in rows if len(row) > 1]
    return _padded([row[:-1] for row in rows]), _padded([row[1:] for row in rows])


def held_out(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Test histories, (rows, 50), and the last item of each row."""
    rows = truncated(list(sequences))
    return _padded([row[:-1] for row in rows]), torch.tensor([row[-1] for row in rows])


def train_steps(
    network: PublishedSASRec, rows: tuple[Tensor, Tensor], n_steps: int, seed: int = 0, warmup: int = 1
) -> list[float]:
    """Seconds of each of ``n_steps`` optimiser steps of 256 rows drawn at random; warm-up steps are not counted."""
    inputs, targets = rows
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    seconds = []
    for _ in range(n_steps + warmup):
        start = time.perf_counter()
        chosen = torch.randint(len(inputs), (BATCH_SIZE,), generator=generator)
        optimizer.zero_grad()
        network.loss(inputs[chosen], targets[chosen]).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds[warmup:]


@torch.no_grad()
def evaluate(network: PublishedSASRec, histories: Tensor, targets: Tensor) -> dict[str, float]:
    """Recall and NDCG at 10 and 20 under full ranking, from the top 100 of every row; history items are excluded."""
    network.eval()
    sums = dict.fromkeys(("recall@10", "recall@20", "ndcg@10", "ndcg@20"), 0.0)
    for items, expected in zip(
        histories.split(EVALUATION_BATCH_SIZE), targets.split(EVALUATION_BATCH_SIZE), strict=True
    ):
        last = (items != 0).sum(1) - 1
        hidden = network(items)[torch.arange(len(items)), last]
        scores = hidden @ network.embedding.weight.T
        scores.scatter_(1, items, float("-inf"))
        scores[:, 0] = float("-inf")
        hits = scores.topk(TOP).indices == expected[:, None]
        gains = hits / torch.log2(torch.arange(TOP) + 2.0)
        for k in (10, 20):
            sums[f"recall@{k}"] += float(hits[:, :k].sum())
            sums[f"ndcg@{k}"] += float(gains[:, :k].sum())
    return {name: total / len(targets) for name, total in sums.items()}


def time_evaluation(network: PublishedSASRec, histories: Tensor, targets: Tensor) -> float:
    """Seconds of one evaluation of all rows."""
    start = time.perf_counter()
    evaluate(network, histories, targets)
    return time.perf_counter() - start
