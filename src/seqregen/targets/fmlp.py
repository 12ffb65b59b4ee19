"""FMLP-Rec: filters in the frequency domain instead of attention, over left-padded prefixes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..nn import Dropout, FrequencyFilter, RandomMasks, initialize, look_up, use_masks
from ..nn.linear import Linear
from ..nn.padded import FixedFilter, shift_to_the_end
from ..parameters import check_integer, check_real
from ..sequences import SequenceDataset
from ..training import NextItemBatch, TrainingRows
from ..training.prefixes import prefix_rows
from .network import NextItemNetwork
from .published import PublishedModel

__all__ = ["FMLP"]

# As the published models.
_NORM_EPSILON = 1e-12
_FILTER_SCALE = 0.02
# Prefixes whose slots are held at once, and, on a CPU, prefixes taken through a layer at once.
_ROWS_AT_ONCE = 1024
_ROWS_IN_CACHE = 128


class FilterLayer(nn.Module):
    """A filter over time, then a feed-forward part, each with dropout, residual and layer norm behind it.

    Parameters
    ----------
    length : int
        Number of slots of a row.
    width : int
        Size of a token.
    hidden : int
        Size inside the feed-forward part.
    dropout : float
        Rate of the dropouts behind the filter and behind the feed-forward part; there is none inside it.
    """

    def __init__(self, length: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.filter = FrequencyFilter(length, width)
        self.expand = Linear(width, hidden)
        self.contract = Linear(hidden, width)
        self.filter_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.feed_forward_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """All slots: (n_rows, length, width) in and out."""
        return self._behind_filter(tokens, self.filter(tokens))

    def last(self, tokens: Tensor) -> Tensor:
        """The last slot of :meth:`forward` alone, (n_rows, width), for a fraction of the work."""
        return self._behind_filter(tokens[:, -1], self.filter.last(tokens))

    def _behind_filter(self, tokens: Tensor, filtered: Tensor) -> Tensor:
        tokens = self.filter_norm(self.dropout.added(tokens, filtered))
        fed = self.contract(functional.gelu(self.expand(tokens)))
        return self.feed_forward_norm(self.dropout.added(tokens, fed))


class FMLPNetwork(NextItemNetwork):
    """Item and position embeddings, layer norm, dropout, filter layers; the state is the last slot.

    A filter reads all slots of a row, before and behind: a state is computed from a row of its own, the prefix
    that it ends, left-padded to ``max_length``. A padded slot holds its position's embedding alone.
    """

    def __init__(self, n_items: int, width: int, n_layers: int, hidden: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, width)
        self.positions = nn.Embedding(max_length, width)
        self.norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.layers = nn.ModuleList(FilterLayer(max_length, width, hidden, dropout) for _ in range(n_layers))
        self.dropout = Dropout(dropout)

    def item_table(self) -> Tensor:
        return self.items.weight

    def states(self, batch: NextItemBatch) -> Tensor:
        """Hidden state, (n_positions, d), after each position: each is a prefix of its own.

        Where gradients are wanted, what the layers made of many prefixes is computed again in the backward pass,
        with the same dropout, rather than kept.
        """
        ends = torch.arange(len(batch.items), device=batch.items.device)
        recompute = torch.is_grad_enabled() and len(ends) > _ROWS_AT_ONCE
        return self._states_at(batch, ends, self._recomputed if recompute else self._last_slots)

    def target_states(self, batch: NextItemBatch) -> Tensor:
        """Hidden state, (n_rows, d), behind each row: rows are prefixes, with one target each."""
        return self.last_states(batch)

    def last_states(self, batch: NextItemBatch) -> Tensor:
        return self._states_at(batch, batch.last, self._last_slots)

    def _states_at(self, batch: NextItemBatch, ends: Tensor, through_layers: Callable[[Tensor], Tensor]) -> Tensor:
        """States of the prefixes that end at the given positions of a batch."""
        return torch.cat([through_layers(self._slots(batch, part)) for part in ends.split(_ROWS_AT_ONCE)])

    def _last_slots(self, tokens: Tensor) -> Tensor:
        """What the layers make of the last slots, (n_prefixes, d), of normed embeddings."""
        tokens = self.dropout(tokens)
        rows = tokens.split(_ROWS_IN_CACHE) if tokens.device.type == "cpu" else [tokens]
        for layer in self.layers[:-1]:
            rows = [layer(part) for part in rows]
        last_layer = cast(FilterLayer, self.layers[-1])
        return torch.cat([last_layer.last(part) for part in rows])

    def _recomputed(self, tokens: Tensor) -> Tensor:
        """The same, to be computed again in the backward pass."""
        masks = self.dropout.masks
        seed = None if masks is None else masks.draw_seed()

        def last_slots(tokens: Tensor) -> Tensor:
            before = self.dropout.masks
            use_masks(self, None if seed is None else RandomMasks(seed, tokens.device))
            try:
                return self._last_slots(tokens)
            finally:
                use_masks(self, before)

        return checkpoint(last_slots, tokens, use_reentrant=False, preserve_rng_state=False)

    def _slots(self, batch: NextItemBatch, ends: Tensor) -> Tensor:
        """Normed embeddings, (n_prefixes, max_length, d), of left-padded prefixes."""
        n_slots = self.positions.num_embeddings
        slots = torch.arange(n_slots, device=ends.device)
        back = n_slots - 1 - slots
        real = back <= batch.positions[ends, None]
        if ends.device.type != "cpu":
            # A GPU would have to be waited for to say how many slots are real.
            items = batch.items[(ends[:, None] - back).clamp(min=0)]
            return self.norm(self._embedded(items * real))
        prefix, slot = real.nonzero(as_tuple=True)
        vectors = look_up(self.items.weight, batch.items[ends[prefix] - back[slot]] - 1)
        vectors = vectors + look_up(self.positions.weight, slot)
        # A padded slot is the same in every row: it is normed once.
        normed = self.norm(torch.cat([self.positions.weight, vectors]))
        place = slots.repeat(len(ends), 1)
        place[prefix, slot] = torch.arange(n_slots, len(normed), device=ends.device)
        return normed.index_select(0, place.view(-1)).view(len(ends), n_slots, -1)

    def _embedded(self, items: Tensor) -> Tensor:
        """Sums of embeddings, (n_rows, max_length, d), of item codes, 0 where a slot is padded."""
        rows = (items - 1).clamp(min=0)
        vectors = look_up(self.items.weight, rows.view(-1)).view(*rows.shape, -1)
        return vectors * (items > 0)[:, :, None] + self.positions.weight

    def frozen(self) -> Self:
        network = super().frozen()
        for layer in network.layers:
            layer.filter = FixedFilter(cast(FrequencyFilter, layer.filter))
        return network

    def padded_last_states(self, items: Tensor, lengths: Tensor) -> Tensor:
        # The slots are the last max_length places, whatever the length of the rows.
        items = functional.pad(items, (0, self.positions.num_embeddings - items.shape[1]))
        items = shift_to_the_end(items, lengths)
        tokens = self.norm(self._embedded(items))
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        return cast(FilterLayer, self.layers[-1]).last(tokens)


class FMLP(PublishedModel):
    """FMLP-Rec (Zhou et al., WWW 2022) as DR4SR's experiments configure it.

    Rows are padded on the left to ``max_length``, and the filters mix all slots, padded ones too: how far a
    history is from the first slot is part of what the model reads. As the filters are not causal, training takes
    one example a prefix: a row of n items is n - 1 examples, and ``batch_size`` counts prefixes. They are numbered,
    not stored: a batch gathers its own. Only the last slot of the last layer is computed, as nothing else is read.
    The architecture's defaults are those of DR4SR's published code; the default loss is not: one-negative
    binary cross-entropy, the published setting, is far weaker than a softmax over many items.
    :meth:`reference` gives the published setting.

    Parameters
    ----------
    embedding_dim : int, default=64
        Size d of item vectors and states.
    n_layers : int, default=2
    hidden_dim : int, default=256
        Size inside the feed-forward parts.
    dropout : float, default=0.5
        Rate of every dropout.
    max_length : int, default=50
        Slots of a row: the last ``max_length`` items of a history are read, and a filter has
        ``max_length // 2 + 1`` frequencies. Time of training grows with it, whatever the length of the rows.
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
        Prefixes in a training batch.
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
    >>> from seqregen.targets import FMLP
    >>> X, y = leave_one_out(make_sequences(n_sequences=200, n_items=30, random_state=0))
    >>> model = FMLP(embedding_dim=16, hidden_dim=32, max_length=10, max_epochs=2, random_state=0).fit(X)
    >>> model.predict(X, k=5).shape
    (200, 5)
    """

    def __init__(
        self,
        embedding_dim: int = 64,
        n_layers: int = 2,
        hidden_dim: int = 256,
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

    def _make_network(self, data: SequenceDataset) -> FMLPNetwork:
        return FMLPNetwork(
            data.n_items, self.embedding_dim, self.n_layers, self.hidden_dim, self.dropout, self.max_length
        )

    def _draw_weights(self, network: NextItemNetwork, generator: torch.Generator) -> None:
        initialize(network, generator)
        for module in network.modules():
            if isinstance(module, FrequencyFilter):
                nn.init.normal_(module.weight, 0.0, _FILTER_SCALE, generator=generator)

    def _training_rows(self, training: SequenceDataset) -> TrainingRows:
        return prefix_rows(training, self.max_length)
