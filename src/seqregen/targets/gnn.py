"""GNN: SASRec on item vectors that are spread over a graph of the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..nn import GraphPropagation
from ..parameters import check_choice, check_integer
from ..ragged import take_positions
from ..sequences import SequenceDataset
from ..training import next_item_rows
from .item_graph import item_graph
from .sasrec import SASRec, SASRecNetwork

__all__ = ["GNN"]


@dataclass(frozen=True)
class _Spread:
    """A table that was spread, and what it was spread from: an alias, so that no other table takes its memory."""

    source: Tensor
    version: int
    table: Tensor

    def comes_from(self, table: Tensor) -> bool:
        same_memory = self.source.data_ptr() == table.data_ptr() and self.source.dtype == table.dtype
        return same_memory and self.version == table._version


class _Propagated(nn.Module):
    """Stands for a propagation whose table no longer changes."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, table: Tensor) -> Tensor:
        return self.table


class GNNNetwork(SASRecNetwork):
    """SASRec's network that reads histories from a propagated table; states are scored against the raw one."""

    def __init__(self, propagation: GraphPropagation, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.propagation: nn.Module = propagation
        self._spread: _Spread | None = None

    def input_table(self) -> Tensor:
        """Vectors, (n_items, d), that items of a history are read as.

        While gradients are recorded they are computed in every call, else once for as long as the table stays
        as it is: ranking reads them in many batches.
        """
        table = self.items.weight
        if torch.is_grad_enabled():
            # Fused optimizers change a table without a new version of it.
            self._spread = None
            return self.propagation(table)
        if self._spread is None or not self._spread.comes_from(table):
            self._spread = _Spread(table.detach(), table._version, self.propagation(table))
        return self._spread.table

    def train(self, mode: bool = True) -> Self:
        self._spread = None
        return super().train(mode)

    def item_vectors(self, codes: Tensor) -> Tensor:
        return self.input_table().index_select(0, codes - 1)

    def frozen(self) -> Self:
        network = super().frozen()
        with torch.no_grad():
            network.propagation = _Propagated(network.propagation(network.items.weight))
        return network

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_spread": None}


class GNN(SASRec):
    """LightGCN on a graph of the items, then SASRec: the stand-in for GCE-GNN in DR4SR's experiments.

    Two items are joined where they stand at most ``graph_window`` positions apart in a row, by the sum of
    ``1 / distance``. Item vectors are spread over the graph and averaged over the layers (see
    ``seqregen.targets.item_graph`` and ``seqregen.nn.GraphPropagation``); histories are read from
    the result by SASRec's encoder, states are scored against the vectors as they were before. Each row's last
    item, which nothing is predicted after, joins no items, and only the last ``max_length`` items of a history do,
    as published. The defaults are those of DR4SR's published code but for the loss; :meth:`reference` gives the
    published setting.

    Parameters
    ----------
    embedding_dim : int, default=64
        Size d of item vectors and states.
    n_layers : int, default=2
        Transformer layers.
    n_heads : int, default=2
        Must divide ``embedding_dim``.
    hidden_dim : int, default=128
        Size inside the feed-forward parts.
    dropout : float, default=0.5
        Rate of every dropout, attention weights included; there is none on the graph.
    max_length : int, default=50
        The last ``max_length`` items of a history are read.
    loss : {"sampled_softmax", "ce", "gbce", "bce", "bpr"}, default="sampled_softmax"
        See :class:`seqregen.training.NextItemLoss`.
    n_negatives : int, optional
        Default 4,096 under "sampled_softmax", 256 under "gbce", 1 under "bce" (published) and "bpr"; not used by "ce"
        and "in_batch".
    negative_sampling : {"auto", "uniform", "popularity", "in_batch"}, default="auto"
        Where negatives come from: all items alike, items as often as they stand in the rows trained on, or the
        targets of the batch. "auto" is "popularity" under "sampled_softmax", which measured best, and else "uniform",
        as published. Where neither this nor ``n_negatives`` is chosen, a vocabulary of 4,096 items or fewer is summed
        in full: "sampled_softmax" is "ce" then.
    learning_rate : float, default=1e-3
        Of Adam.
    weight_decay : float, default=0
    average_decay : float, default=0
        The weights that are validated and kept are an exponential average over steps, of which this share is kept
        in a step: 0.99 to 0.998 for a few hundred steps. 0 keeps the weights as they are (published).
    batch_size : int, default=256
        Rows in a training batch.
    max_epochs : int, default=1000
    patience : int, default=20
        Epochs below the best validation NDCG@20 after which training stops; the last of the best epochs is kept.
        Through so many epochs of one and the same NDCG@20 it stops, too. Without validation items it stops after five
        epochs, or ``patience`` where that is less, in which the loss of training fell by less than 1 %, and the epoch
        with the lowest is kept.
    refit : bool, default=False
        Train once more from the start, for the best number of epochs, on rows that end with their validation items.
    precision : {"float32", "bfloat16"}, default="float32"
        "bfloat16" rounds what matrix products multiply and give in training, which is quicker where the processor
        computes in it; weights, optimizer, validation and ranking stay in float32.
    device : str, default="auto"
        "auto" takes CUDA where there is one, else the CPU.
    random_state : int, RandomState or None, default=None
        An integer makes fits repeat, bit for bit on one CPU.
    checkpoint_dir : path-like, optional
        Where to keep checkpoints; a fit that was interrupted goes on from there to the same result.
    verbose : bool, default=False
        Show a progress bar.
    n_graph_layers : int, default=3
        How often vectors are spread (the paper tries 2 and 3).
    graph_window : int, default=2
        Largest distance of two items that are joined.
    graph : {"original", "regenerated"}, default="original"
        Which rows join items: the original ones alone (the published code's "old"), or all that are trained on
        (its "new"). Figure 5a of the paper compares the two.

    Attributes
    ----------
    vocabulary_, history_, best_epoch_, refit_history_, network_, item_counts_, max_length_
        See :class:`SequentialRecommender`.

    References
    ----------
    Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024. He et al., "LightGCN: Simplifying and
    Powering Graph Convolution Network for Recommendation", SIGIR 2020.

    Examples
    --------
    >>> from seqregen.datasets import make_sequences
    >>> from seqregen.model_selection import leave_one_out
    >>> from seqregen.targets import GNN
    >>> X, y = leave_one_out(make_sequences(n_sequences=200, n_items=30, random_state=0))
    >>> model = GNN(embedding_dim=16, max_epochs=2, random_state=0).fit(X)
    >>> model.predict(X, k=5).shape
    (200, 5)
    """

    def __init__(
        self,
        embedding_dim: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        hidden_dim: int = 128,
        dropout: float = 0.5,
        max_length: int = 50,
        loss: str = "sampled_softmax",
        n_negatives: int | None = None,
        negative_sampling: str = "auto",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        average_decay: float = 0.0,
        batch_size: int = 256,
        max_epochs: int = 1000,
        patience: int = 20,
        refit: bool = False,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        checkpoint_dir: Any = None,
        verbose: bool = False,
        n_graph_layers: int = 3,
        graph_window: int = 2,
        graph: str = "original",
    ) -> None:
        super().__init__(
            embedding_dim=embedding_dim,
            n_layers=n_layers,
            n_heads=n_heads,
            hidden_dim=hidden_dim,
            dropout=dropout,
            max_length=max_length,
            loss=loss,
            n_negatives=n_negatives,
            negative_sampling=negative_sampling,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            average_decay=average_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            refit=refit,
            precision=precision,
            device=device,
            random_state=random_state,
            checkpoint_dir=checkpoint_dir,
            verbose=verbose,
        )
        self.n_graph_layers = n_graph_layers
        self.graph_window = graph_window
        self.graph = graph

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integer(self, "n_graph_layers", 1)
        check_integer(self, "graph_window", 1)
        check_choice(self, "graph", ("original", "regenerated"))

    def _make_network(self, data: SequenceDataset) -> GNNNetwork:
        joining = data.originals() if self.graph == "original" else data
        if len(joining) == 0:
            raise ValueError(
                "GNN: graph='original' joins the items of original rows, and none of the "
                f"{len(data)} rows is original; use graph='regenerated', which reads all rows."
            )
        rows = next_item_rows(joining, self.max_length)
        places, offsets = take_positions(rows.starts, rows.lengths)
        graph = item_graph(rows.items[places], offsets, data.n_items, self.graph_window)
        return GNNNetwork(
            GraphPropagation(graph.indptr, graph.indices, graph.data, self.n_graph_layers), **self._sizes(data)
        )
