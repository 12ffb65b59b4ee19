"""SASRec: a causal Transformer over the items of a row."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from ..nn import Dropout, EncoderLayer, Slots, look_up
from ..nn.padded import padded_encoder_layer
from ..parameters import check_heads, check_integer, check_real
from ..sequences import SequenceDataset
from ..training import NextItemBatch
from .network import NextItemNetwork
from .published import PublishedModel

__all__ = ["SASRec"]


class SASRecNetwork(NextItemNetwork):
    """Item and position embeddings, dropout, post-norm causal Transformer layers; nothing behind them."""

    def __init__(
        self, n_items: int, width: int, n_layers: int, n_heads: int, hidden: int, dropout: float, max_length: int
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, width)
        self.positions = nn.Embedding(max_length, width)
        self.layers = nn.ModuleList(EncoderLayer(width, n_heads, hidden, dropout) for _ in range(n_layers))
        self.dropout = Dropout(dropout)

    def item_table(self) -> Tensor:
        return self.items.weight

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Vectors, (n, d), that items of a history are read as."""
        return look_up(self.items.weight, codes - 1)

    def states(self, batch: NextItemBatch) -> Tensor:
        slots = batch.groups.slots()
        tokens = self._embedded(batch, slots)
        for layer in self.layers:
            tokens = layer(tokens, slots.groups, causal=True)
        return tokens.index_select(0, slots.places)

    def last_states(self, batch: NextItemBatch) -> Tensor:
        slots = batch.groups.slots()
        if batch.groups.is_packed:
            return super().last_states(batch)
        tokens = self._embedded(batch, slots)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, slots.groups, causal=True)
        last_layer = cast(EncoderLayer, self.layers[-1])
        return last_layer.last(tokens, slots.groups, slots.places[batch.last])

    def _embedded(self, batch: NextItemBatch, slots: Slots) -> Tensor:
        items = self.item_vectors(batch.items[slots.tokens])
        return self.dropout(items + look_up(self.positions.weight, batch.positions[slots.tokens]))

    def padded_states(self, items: Tensor) -> Tensor:
        # At padding stands any item: what is behind a position changes no state.
        vectors = self.item_vectors(items.clamp(min=1).flatten()).unflatten(0, items.shape)
        tokens = vectors + self.positions.weight[: items.shape[1]]
        for layer in self.layers:
            tokens = padded_encoder_layer(cast(EncoderLayer, layer), tokens)
        return tokens


class SASRec(PublishedModel):
    """SASRec (Kang & McAuley, ICDM 2018) as DR4SR's experiments configure it.

    Post-norm layers with GELU, positions counted from the first item, no norm on the input or behind the last
    layer. The architecture's defaults are those of DR4SR's published code; the default loss is not: one-negative
    binary cross-entropy, the published setting, is far weaker than a softmax over many items.
    :meth:`reference` gives the published setting.

    Parameters
    ----------
    embedding_dim : int, default=64
        Size d of item vectors and states.
    n_layers : int, default=2
    n_heads : int, default=2
        Must divide ``embedding_dim``.
    hidden_dim : int, default=128
        Size inside the feed-forward parts.
    dropout : float, default=0.5
        Rate of every dropout, attention weights included.
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

    Attributes
    ----------
    vocabulary_, history_, best_epoch_, refit_history_, network_, item_counts_, max_length_
        See :class:`SequentialRecommender`.

    Examples
    --------
    >>> from seqregen.datasets import make_sequences
    >>> from seqregen.model_selection import leave_one_out
    >>> from seqregen.targets import SASRec
    >>> X, y = leave_one_out(make_sequences(n_sequences=200, n_items=30, random_state=0))
    >>> model = SASRec(embedding_dim=16, max_epochs=2, random_state=0).fit(X)
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
    ) -> None:
        self.embedding_dim = embedding_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
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
        for name in ("embedding_dim", "n_layers", "n_heads", "hidden_dim"):
            check_integer(self, name, 1)
        check_real(self, "dropout", 0, 1, open_high=True)
        check_heads(self)

    def _make_network(self, data: SequenceDataset) -> SASRecNetwork:
        return SASRecNetwork(**self._sizes(data))

    def _sizes(self, data: SequenceDataset) -> dict[str, Any]:
        return {
            "n_items": data.n_items,
            "width": self.embedding_dim,
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "hidden": self.hidden_dim,
            "dropout": self.dropout,
            "max_length": self.max_length,
        }
