"""RecBoleTarget: a sequential model of RecBole as a recommender."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...callers import stacklevel_of_caller
from ...metrics import ndcg_at_k
from ...metrics.full_ranking import rank_targets_in_blocks
from ...nn import computing_in, on_device
from ...parameters import check_choice
from ...sequences import SequenceDataset
from ...training import LOSSES
from ..base import AddedLoss, SequentialRecommender
from ..network import NextItemNetwork
from ..ranker import ScoreBlock
from .foreign_randomness import seeded_everywhere
from .padded_histories import PrefixPlaces, histories_of_rows, known_users, user_codes, warn_of_users_of_another_kind
from .recbole_library import find_model, read_settings, unknown_settings_message
from .recbole_network import RecBoleNetwork

__all__ = ["RecBoleTarget"]


class RecBoleTarget(SequentialRecommender):
    """Trains a sequential model of RecBole (Zhao et al., CIKM 2021) on a dataset, and ranks with it.

    The model and its loss are RecBole's own; rows are made as RecBole makes them, one for every item that has items
    before it. Batches, early stopping, the best epoch's weights, checkpoints, full ranking and labels are this
    library's: no file is written, nothing is logged, and no state of the process is changed. Needs the extra
    ``seqregen[recbole]``; RecBole 1.2.1 is supported, also under numpy 2.

    Parameters
    ----------
    model : str or class, default="SASRec"
        Name of a class in ``recbole.model.sequential_recommender``, or a class derived from RecBole's
        ``SequentialRecommender``. Models that read features of items or a knowledge graph are refused, and so is
        FEARec, whose loss looks rows up in RecBole's own data set.
    config : dict, optional
        RecBole's settings of the model, such as ``{"hidden_size": 128, "loss_type": "BPR"}``; RecBole's defaults
        stand for the rest. What RecBole's trainer would read is given by the parameters below.
    max_length : int, default=50
        The last ``max_length`` items of a history are read; every row is padded to it.
    loss : {"library", "sampled_softmax", "ce", "gbce", "bpr", "bce"}, default="library"
        "library" is the model's own ``calculate_loss``, which cannot be weighted: where the dataset has weights,
        fit says that they are ignored. The others are those of :class:`seqregen.training.NextItemLoss`, which
        honour them, for models that score by inner products of ``forward(item_seq, item_seq_len)`` with
        ``item_embedding``, such as SASRec, GRU4Rec, NARM, STAMP; other terms of the model's own loss are left out.
    n_negatives : int, optional
        Default 1 under "library", where models with a pairwise loss alone read it, "bce" and "bpr"; 256 under
        "gbce"; 4,096 under "sampled_softmax".
    negative_sampling : {"uniform", "popularity", "in_batch"}, default="uniform"
        Where negatives come from; "library" knows "uniform", over all items but the target, alone.
    learning_rate : float, default=1e-3
        Of Adam.
    weight_decay : float, default=0
    average_decay : float, default=0
        The weights that are validated and kept are an exponential average over steps, of which this share is kept
        in a step: 0.99 to 0.998 for a few hundred steps. 0 keeps the weights as they are (published).
    batch_size : int, default=2048
        Targets in a training batch; the default is RecBole's.
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
        An integer makes fits repeat; the generators of Python, numpy and torch, which RecBole draws from, are seeded
        from it and left as they were.
    checkpoint_dir : path-like, optional
        Where to keep checkpoints; a fit that was interrupted goes on from there to the same result.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    network_ : RecBoleNetwork
        ``network_.model`` is RecBole's trained model.
    users_ : ndarray of shape (n_users,)
        The users that the dataset names; models that learn a vector a user (Caser, FPMC, HGN, ...) know these, and
        rank for all others with the vector of padding.
    vocabulary_, history_, best_epoch_, refit_history_, item_counts_, max_length_
        See :class:`SequentialRecommender`.

    Raises
    ------
    ImportError
        In fit: RecBole is not there.
    ValueError
        In fit: there is no such model, RecBole refuses the settings, or the model's loss fails on these data.

    Examples
    --------
    >>> from seqregen.datasets import make_sequences
    >>> from seqregen.targets import RecBoleTarget
    >>> target = RecBoleTarget("GRU4Rec", {"hidden_size": 32}, max_epochs=2, random_state=0)
    >>> target.fit(make_sequences(n_sequences=50, n_items=20, random_state=0)).predict([[1, 2]], k=3).shape
    ... # doctest: +SKIP
    (1, 3)
    """

    _losses = ("library", *LOSSES)

    _lacks_for_weighing = (
        "hidden states after single positions: RecBole's models read padded histories with one target each, in code "
        "that need not have second derivatives"
    )

    def __init__(
        self,
        model: Any = "SASRec",
        config: dict[str, Any] | None = None,
        max_length: int = 50,
        loss: str = "library",
        n_negatives: int | None = None,
        negative_sampling: str = "uniform",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        average_decay: float = 0.0,
        batch_size: int = 2048,
        max_epochs: int = 1000,
        patience: int = 20,
        refit: bool = False,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        checkpoint_dir: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.config = config
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

    # What the base asks for

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.loss == "library":
            check_choice(self, "negative_sampling", ("uniform",))
        model_class = find_model(self.model)
        settings, unknown = read_settings(model_class, self.config, self.max_length)
        if unknown:
            warnings.warn(
                unknown_settings_message(model_class, unknown, settings), UserWarning, stacklevel=stacklevel_of_caller()
            )

    def _hold_out(self, data: SequenceDataset) -> tuple[SequenceDataset, SequenceDataset | None]:
        if self.loss == "library" and data.weights is not None and np.any(data.weights != 1):
            warnings.warn(
                "RecBoleTarget: the dataset has weights, and RecBole's own losses are means that cannot be weighted: "
                "the weights are ignored. Choose one of the other losses to honour them, such as "
                "loss='sampled_softmax'.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
        return super()._hold_out(data)

    def _make_network(self, data: SequenceDataset) -> RecBoleNetwork:
        model_class = find_model(self.model)
        settings, _ = read_settings(model_class, self.config, self.max_length)
        return RecBoleNetwork(model_class, settings, data.n_items, known_users(data))

    def _draw_weights(self, network: NextItemNetwork, generator: torch.Generator) -> None:
        assert isinstance(network, RecBoleNetwork)
        network.draw(generator.initial_seed())
        if self.loss != "library":
            network.require_inner_product(f"loss={self.loss!r}")

    def _training_rows(self, training: SequenceDataset) -> Any:
        return PrefixPlaces.of(training, user_codes(training, known_users(training)), self.max_length)

    def _targets_a_row(self, training: SequenceDataset) -> int:
        # Every position is trained on, each with the history before it.
        return int(training.lengths.max())

    def _run_columns(self, training: SequenceDataset) -> list[np.ndarray]:
        return [*super()._run_columns(training), user_codes(training, known_users(training))]

    def _objective(self, training: SequenceDataset) -> Any:
        return None if self.loss == "library" else super()._objective(training)

    def _n_negatives(self) -> int:
        return (self.n_negatives or 1) if self.loss == "library" else super()._n_negatives()

    def _batch_loss(
        self,
        network: NextItemNetwork,
        objective: Any,
        added: AddedLoss | None,
        batch: Any,
        random: np.random.Generator,
    ) -> Tensor:
        assert isinstance(network, RecBoleNetwork)
        with seeded_everywhere(int(random.integers(2**63)), batch.items.device):
            if self.loss == "library":
                return network.library_loss(batch, self._n_negatives(), random)
            return super()._batch_loss(network, objective, added, batch, random)

    def _evaluation(self, network: NextItemNetwork, watched: SequenceDataset, device: torch.device) -> Any:
        assert isinstance(network, RecBoleNetwork)
        assert watched.validation is not None
        targets, users = watched.validation, user_codes(watched, network.users)

        def score_block(start: int, stop: int) -> Tensor:
            return network.scores(histories_of_rows(watched, np.arange(start, stop), self.max_length, users, device))

        def evaluate() -> dict[str, float]:
            ranks = rank_targets_in_blocks(score_block, len(watched), targets, (watched.items, watched.offsets))
            return {"ndcg@20": float(ndcg_at_k(ranks, 20))}

        return evaluate

    # Ranking

    @property
    def users_(self) -> np.ndarray:
        """Users that the model has vectors of, or may have; others are strangers to it."""
        network: Any = self.network_
        return network.users

    def _scores(self, histories: SequenceDataset) -> ScoreBlock:
        users = user_codes(histories, self.users_)
        table = next(self.network_.parameters())
        network: Any = self.network_
        # Other models do not ask who the user is.
        if any(len(self.users_) + 1 in parameter.shape[:1] for parameter in network.parameters()):
            warn_of_users_of_another_kind(histories, self.users_)
        # With nothing to go by, popular items first.
        popularity = torch.from_numpy(np.log1p(self.item_counts_)).to(table)

        def block(start: int, stop: int) -> Tensor:
            rows = start + np.flatnonzero(histories.lengths[start:stop])
            scores = popularity.repeat(stop - start, 1)
            if len(rows):
                batch = histories_of_rows(histories, rows, self.max_length_, users, table.device)
                with computing_in("float32", table.device):
                    scores[on_device(rows - start, table.device)] = network.scores(batch)
            return scores

        return block
