"""CL4SRec: SASRec that also learns to tell rows apart by two random views of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nn import look_up, on_device
from ..parameters import check_choice, check_real
from ..ragged import offsets_from_lengths, row_of_position, take_positions
from ..sequences import SequenceDataset
from ..training import NextItemBatch, NextItemRows, next_item_rows
from ..training.batches import make_batch
from .base import AddedLoss
from .network import NextItemNetwork
from .sasrec import SASRec, SASRecNetwork
from .views import Views

__all__ = ["CL4SRec", "info_nce"]


class CL4SRecNetwork(SASRecNetwork):
    """SASRec's network with one more vector, for masked items: code ``n_items + 1``.

    The token is in no item table: it is never a target, never a negative, never ranked.
    """

    def __init__(self, n_items: int, width: int, **sizes: Any) -> None:
        super().__init__(n_items=n_items, width=width, **sizes)
        self.mask_token = nn.Embedding(1, width)

    def item_vectors(self, codes: Tensor) -> Tensor:
        masked = codes > self.items.num_embeddings
        vectors = look_up(self.items.weight, (codes - 1).masked_fill(masked, 0))
        return torch.where(masked[:, None], self.mask_token.weight, vectors)


def info_nce(first: Tensor, second: Tensor) -> Tensor:
    """Mean loss of telling each row's second view from all other views of the batch, given its first.

    Scores are inner products, not scaled. Row i's candidates are all second views and all first views but its own;
    the second views are not anchors in their turn (as DR4SR's published code has it).

    Parameters
    ----------
    first, second : Tensor of shape (n_rows, d)
        Vectors of both views.

    Returns
    -------
    Tensor, scalar

    Examples
    --------
    >>> import torch
    >>> from seqregen.targets.cl4srec import info_nce
    >>> info_nce(torch.zeros(4, 2), torch.zeros(4, 2)).exp().round().item()
    7.0
    """
    own = torch.eye(len(first), dtype=torch.bool, device=first.device)
    within = (first @ first.T).masked_fill(own, -torch.inf)
    scores = torch.cat([first @ second.T, within], dim=1)
    return functional.cross_entropy(scores, torch.arange(len(first), device=first.device))


@dataclass(frozen=True)
class ContrastiveTerm:
    """What CL4SRec adds to the loss of a batch.

    Parameters
    ----------
    rows : NextItemRows
        Rows that views are made of.
    follow_batch : bool
        Whether they are the rows of the batch, which then numbers rows of ``rows``; else as many are drawn.
    views : Views
    weight : float
        Factor of the term.
    device : torch.device
    """

    rows: NextItemRows
    follow_batch: bool
    views: Views
    weight: float
    device: torch.device

    def __call__(self, network: NextItemNetwork, batch: NextItemBatch, random: np.random.Generator) -> Tensor:
        chosen = batch.rows if self.follow_batch else self._drawn(len(batch.rows), random)
        # A row of one item has one view only.
        chosen = chosen[self.rows.lengths[chosen] > 1]
        if len(chosen) == 0:
            return torch.zeros((), device=self.device)
        places, offsets = take_positions(self.rows.starts[chosen], self.rows.lengths[chosen])
        items = self.rows.items[places]
        pair = [self.views.draw(items, offsets, random) for _ in range(2)]
        first, second = self._means(network, pair).split(len(chosen))
        return self.weight * info_nce(first, second)

    def _drawn(self, n_rows: int, random: np.random.Generator) -> np.ndarray:
        return random.choice(len(self.rows), min(n_rows, len(self.rows)), replace=False, shuffle=False)

    def _means(self, network: NextItemNetwork, pair: list[tuple[np.ndarray, np.ndarray]]) -> Tensor:
        """Mean state of each row of the first view, then of the second; both are encoded as one batch."""
        items = np.concatenate([items for items, _ in pair])
        lengths = np.concatenate([np.diff(offsets) for _, offsets in pair])
        order = np.argsort(lengths, kind="stable")
        places, offsets = take_positions(offsets_from_lengths(lengths)[:-1][order], lengths[order])
        states = network.states(
            make_batch(on_device(items[places], self.device), None, None, offsets, order, self.device)
        )
        rows = on_device(order[row_of_position(offsets)], self.device)
        sums = states.new_zeros(len(order), states.shape[1]).index_add(0, rows, states)
        return sums / on_device(lengths, self.device)[:, None]


class CL4SRec(SASRec):
    """CL4SRec (Xie et al., ICDE 2022) as DR4SR's experiments configure it: SASRec with a contrastive term.

    Two views of each row are made, each by one operator that is drawn for the whole batch: crop a piece, mask
    items, or shuffle a piece. The mean state over the positions of one view is to be nearer to that of the
    other view than to those of other rows (InfoNCE); ``contrast_weight`` times this loss is added to the
    loss of the next items. It heeds no weights of positions. The defaults are those of DR4SR's published code but for
    the loss; :meth:`reference` gives the published setting.

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
    contrast_weight : float, default=0.1
        Factor of the contrastive term; with 0 this is SASRec.
    crop_rate : float, default=0.2
        Share of a row that a crop keeps, at least one item.
    mask_rate : float, default=0.7
        Share of a row's items that are masked.
    reorder_rate : float, default=0.2
        Share of a row that is shuffled.
    augment : {"regenerated", "original"}, default="regenerated"
        What views are made of: the rows of the batch, regenerated ones and all, or as many rows drawn from
        the original ones alone. Figure 5b of the paper compares the two.

    Attributes
    ----------
    vocabulary_, history_, best_epoch_, refit_history_, network_, item_counts_, max_length_
        See :class:`SequentialRecommender`.

    Notes
    -----
    The paper gives the rates 0.2, 0.7, 0.2 (crop, mask, reorder) for all data sets; the published code's settings name
    0.2, 0.7, 0.2 for Amazon Toys, 0.2, 0.4, 0.2 for Beauty, 0.4, 0.4, 0.2 for Sports, and 0.4, 0.7, 0.2 for Yelp.

    Examples
    --------
    >>> from seqregen.datasets import make_sequences
    >>> from seqregen.model_selection import leave_one_out
    >>> from seqregen.targets import CL4SRec
    >>> X, y = leave_one_out(make_sequences(n_sequences=200, n_items=30, random_state=0))
    >>> model = CL4SRec(embedding_dim=16, max_epochs=2, random_state=0).fit(X)
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
        contrast_weight: float = 0.1,
        crop_rate: float = 0.2,
        mask_rate: float = 0.7,
        reorder_rate: float = 0.2,
        augment: str = "regenerated",
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
        self.contrast_weight = contrast_weight
        self.crop_rate = crop_rate
        self.mask_rate = mask_rate
        self.reorder_rate = reorder_rate
        self.augment = augment

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_real(self, "contrast_weight", 0)
        for name in ("crop_rate", "mask_rate", "reorder_rate"):
            check_real(self, name, 0, 1)
        check_choice(self, "augment", ("regenerated", "original"))

    def _make_network(self, data: SequenceDataset) -> CL4SRecNetwork:
        return CL4SRecNetwork(**self._sizes(data))

    def _added_loss(self, training: SequenceDataset, device: torch.device) -> AddedLoss | None:
        if self.contrast_weight == 0:
            return None
        follow_batch = self.augment == "regenerated"
        rows = next_item_rows(training if follow_batch else training.originals(), self.max_length)
        if len(rows) == 0:
            raise ValueError(
                "CL4SRec: augment='original' makes views of original rows, and none of them has two items or more; "
                "use augment='regenerated', which reads the rows that are trained on."
            )
        views = Views(self.crop_rate, self.mask_rate, self.reorder_rate, token=training.n_items + 1)
        return ContrastiveTerm(rows, follow_batch, views, float(self.contrast_weight), device)
