"""GRU4Rec: recurrent layers over the items of a row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..nn import GRU, Dropout, initialize, look_up, time_steps
from ..nn.padded import padded_recurrence
from ..parameters import check_integer, check_real
from ..sequences import SequenceDataset
from ..training import NextItemBatch
from .network import NextItemNetwork
from .published import PublishedModel

__all__ = ["GRU4Rec"]


class GRU4RecNetwork(NextItemNetwork):
    """Item embeddings, dropout, recurrent layers without biases, and a linear layer back to the items' width."""

    def __init__(self, n_items: int, width: int, n_layers: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, width)
        self.dropout = Dropout(dropout)
        self.recurrent = GRU(width, hidden, n_layers)
        self.output = nn.Linear(hidden, width)

    def item_table(self) -> Tensor:
        return self.items.weight

    def states(self, batch: NextItemBatch) -> Tensor:
        hidden, places = self._hidden(batch)
        return self.output(hidden).index_select(0, places)

    def last_states(self, batch: NextItemBatch) -> Tensor:
        hidden, places = self._hidden(batch)
        return self.output(hidden.index_select(0, places[batch.last]))

    def _hidden(self, batch: NextItemBatch) -> tuple[Tensor, Tensor]:
        """States of the recurrent layers, step by step, and where each position of the batch stands among them."""
        steps = time_steps(batch.lengths, batch.items.device)
        vectors = look_up(self.items.weight, batch.items[steps.order] - 1)
        return self.recurrent(self.dropout(vectors), steps), steps.inverse

    def padded_states(self, items: Tensor) -> Tensor:
        vectors = self.items.weight[(items - 1).clamp(min=0)]
        return self.output(padded_recurrence(self.recurrent, vectors))


class GRU4Rec(PublishedModel):
    """GRU4Rec (Hidasi et al., ICLR 2016) as DR4SR's experiments configure it.

    Rows are whole histories rather than parallel sessions, trained like the other targets; the recurrent layers have
    no biases and no dropout between them. The architecture's defaults and the weight decay are those of DR4SR's
    published code; the default loss is not: one-negative binary cross-entropy, the published setting, is far weaker
    than a softmax over many items. :meth:`reference` gives the published setting.

    Parameters
    ----------
    embedding_dim : int, default=64
        Size d of item vectors and states.
    n_layers : int, default=2
        Recurrent layers.
    hidden_dim : int, default=256
        Size inside the recurrent layers; a linear layer brings it to ``embedding_dim``.
    dropout : float, default=0.2
        Rate of the dropout on the item vectors.
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
    weight_decay : float, default=1e-4
        Of Adam, added to the gradient; published for this model alone.
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

    Attributes
    ----------
    vocabulary_, history_, best_epoch_, refit_history_, network_, item_counts_, max_length_
        See :class:`SequentialRecommender`.

    Examples
    --------
    >>> from seqregen.datasets import make_sequences
    >>> from seqregen.model_selection import leave_one_out
    >>> from seqregen.targets import GRU4Rec
    >>> X, y = leave_one_out(make_sequences(n_sequences=200, n_items=30, random_state=0))
    >>> model = GRU4Rec(embedding_dim=16, hidden_dim=16, max_epochs=2, random_state=0).fit(X)
    >>> model.predict(X, k=5).shape
    (200, 5)
    """

    def __init__(
        self,
        embedding_dim: int = 64,
        n_layers: int = 2,
        hidden_dim: int = 256,
        dropout: float = 0.2,
        max_length: int = 50,
        loss: str = "sampled_softmax",
        n_negatives: int | None = None,
        negative_sampling: str = "auto",
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
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
    ) -> None:
        self.embedding_dim = embedding_dim
        self.n_layers = n_layers
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        super().__init__(
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("embedding_dim", "n_layers", "hidden_dim"):
            check_integer(self, name, 1)
        check_real(self, "dropout", 0, 1, open_high=True)

    def _make_network(self, data: SequenceDataset) -> GRU4RecNetwork:
        # torch's recurrent layers take no integers of numpy.
        sizes = int(self.embedding_dim), int(self.n_layers), int(self.hidden_dim)
        return GRU4RecNetwork(data.n_items, *sizes, self.dropout)

    def _draw_weights(self, network: NextItemNetwork, generator: torch.Generator) -> None:
        initialize(network, generator)
        assert isinstance(network, GRU4RecNetwork)
        network.recurrent.draw_weights(generator)
