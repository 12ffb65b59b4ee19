"""What all target models share: training on a dataset, and ranking the whole vocabulary."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..inputs import check_sequences, check_weights, require_two_items
from ..model_selection import append_validation
from ..nn import PRECISIONS, computing_in, initialize, on_device, product, seeded_torch
from ..nn.usual_settings import with_gradients, with_usual_defaults
from ..parameters import (
    check_choice,
    check_flag,
    check_integer,
    check_real,
    draw_seed,
    remember_columns,
    with_parameter,
    with_plain_numbers,
)
from ..sequences import SequenceDataset
from ..training import (
    LOSSES,
    NEGATIVE_SAMPLING,
    NextItemBatch,
    NextItemLoss,
    StopRule,
    TrainingPlan,
    TrainingResult,
    TrainingRows,
    negative_sampler,
    next_item_rows,
    resolve_device,
    train,
    warn_of_slow_rounding,
    with_network_on_cpu,
)
from ..training.batches import history_batches
from ..training.checkpoints import checkpoint_of, warn_of_unrepeatable_runs
from ..training.run_parameters import check_run_parameters
from .encoding import last_states_of
from .network import NextItemNetwork
from .onnx_export import OnnxExport
from .ranker import ROWS_AT_ONCE, Ranker, ScoreBlock
from .stopping import hold_out, stop_rule, validation_measure
from .task import AddedLoss, Companion, TrainingPart, TrainingTask

__all__ = ["SequentialRecommender"]

# Negatives where none are asked for; one under the other losses, as published.
_N_NEGATIVES = {"sampled_softmax": 4096, "gbce": 256}


class SequentialRecommender(OnnxExport, Ranker):
    """Base of the target models: ``fit(X, y=None)``, ``predict(X, k)``, ``rank(X, y)``, ``score(X, y)``.

    A subclass makes the network and may say what is trained on and what is added to the loss; everything else,
    from user input to ranks, is here.

    Parameters
    ----------
    max_length : int
        The last ``max_length`` items of a history are read.
    loss : str
        One of ``seqregen.training.LOSSES``; see :class:`seqregen.training.NextItemLoss`.
    n_negatives : int or None
        None stands for 4,096 under "sampled_softmax", 256 under "gbce", and 1 under "bce" (published) and "bpr"; not
        used by "ce" and "in_batch".
    negative_sampling : {"auto", "uniform", "popularity", "in_batch"}
        Where negatives come from: all items alike, items as often as they stand in the rows trained on, or the
        targets of the batch; see :func:`seqregen.training.negative_sampler`. "auto" is "popularity" under
        "sampled_softmax", else "uniform". Where neither this nor ``n_negatives`` is chosen, "sampled_softmax" is "ce"
        for a vocabulary of 4,096 items or fewer: the whole sum costs no more.
    learning_rate, weight_decay : float
        Of Adam.
    average_decay : float
        Share of the average of the weights over steps that is kept in a step; the average is validated and kept. 0 for
        the weights as they are.
    batch_size : int
        Rows in a training batch.
    max_epochs, patience : int
        Training stops after ``patience`` epochs below the best validation NDCG@20, or of one and the same; the last
        of the best epochs is kept. Without validation items it stops after five epochs (``patience`` where that is
        less) in which the loss of training fell by less than 1 %, and the epoch with the lowest is kept.
    refit : bool
        Train once more from the start, for the best number of epochs, on rows that end with their validation items.
    precision : str
        What matrix products round to in training; one of ``seqregen.nn.PRECISIONS``.
    device : str
        "auto" takes CUDA where there is one, else the CPU.
    random_state : int, RandomState or None
        An integer makes fits repeat, bit for bit on one CPU.
    checkpoint_dir : path-like or None
        Where to keep checkpoints; a fit that was interrupted goes on from there to the same result.
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    vocabulary_ : ndarray of shape (n_items,)
        Item labels; the catalogue that is ranked.
    history_ : list of dict
        One record an epoch: ``epoch``, ``loss``, ``seconds``, and of the validation items ``ndcg@20`` and
        ``evaluation_seconds``.
    best_epoch_ : int
        Epoch, from 0, whose weights are kept.
    refit_history_ : list of dict
        The same records of the second training; only with ``refit`` and validation items.
    network_ : NextItemNetwork
        The trained network.
    item_counts_ : int64 ndarray of shape (n_items,)
        How often each item stands in the rows trained on.
    max_length_ : int
        Items of a history that the network reads.
    """

    # What the parameter ``loss`` can be.
    _losses: tuple[str, ...] = tuple(LOSSES)
    # What a network that weighs positions would need of this model and does not find.
    _lacks_for_weighing: str | None = None

    def __init__(
        self,
        *,
        max_length: int,
        loss: str,
        n_negatives: int | None,
        negative_sampling: str,
        learning_rate: float,
        weight_decay: float,
        average_decay: float,
        batch_size: int,
        max_epochs: int,
        patience: int,
        refit: bool,
        precision: str,
        device: str,
        random_state: Any,
        checkpoint_dir: Any,
        verbose: bool,
    ) -> None:
        self.max_length = max_length
        self.loss = loss
        self.n_negatives = n_negatives
        self.negative_sampling = negative_sampling
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.average_decay = average_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.refit = refit
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.verbose = verbose

    # What a subclass says

    @abstractmethod
    def _make_network(self, data: SequenceDataset) -> NextItemNetwork:
        """An untrained network on the CPU for the rows it will be trained on; its weights are drawn later."""

    def _draw_weights(self, network: NextItemNetwork, generator: torch.Generator) -> None:
        """Draw a network's first weights."""
        initialize(network, generator)

    def _training_rows(self, training: SequenceDataset) -> TrainingRows:
        """What batches are drawn from; a batch's targets belong to the network's ``target_states``."""
        return next_item_rows(training, self.max_length)

    def _added_loss(self, training: SequenceDataset, device: torch.device) -> AddedLoss | None:
        """A term, unweighted and not tied to targets, that is added to the loss of every batch."""
        return None

    def _check_parameters(self) -> None:
        check_choice(self, "loss", self._losses)
        check_integer(self, "n_negatives", 1, none=True)
        check_choice(self, "negative_sampling", ("auto", *NEGATIVE_SAMPLING))
        for name in ("max_length", "batch_size", "max_epochs", "patience"):
            check_integer(self, name, 1)
        check_choice(self, "precision", PRECISIONS)
        check_real(self, "learning_rate", 0, open_low=True)
        check_real(self, "weight_decay", 0)
        check_real(self, "average_decay", 0, 1, open_high=True)
        check_flag(self, "refit")
        check_run_parameters(self)

    # Learning

    def fit(self, X: Any, y: Any = None) -> SequentialRecommender:
        """Train on all rows of a dataset.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Rows of items, oldest first; weights, origins and validation items are honoured. Every item is
            predicted from the items before it in its row; rows with fewer than two items are skipped.
            Early stopping watches ``X.validation``. Where there is none and all rows are original, each row's
            last item is held out for it; where there is none and rows were added, or no row would have two
            items left, training stops on a plateau of its own loss (see ``patience``).
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or the data cannot be used; the message says which and what would do.
        seqregen.training.TrainingDivergedError
            The loss was not finite before any epoch was good enough to fall back on; a FloatingPointError.

        Warns
        -----
        UserWarning
            There is no validation item to stop on, or most rows have nothing to learn from.
        RuntimeWarning
            The loss was not finite in a later epoch; the best weights before it are kept.
        """
        return self._fit(X)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        # Results hang on the loss more than on all else: it is shown where it is the default, too.
        return with_parameter(super().__repr__(N_CHAR_MAX), "loss", self.loss)

    @with_plain_numbers
    @with_gradients
    def _fit(self, X: Any, companion: Companion | None = None) -> SequentialRecommender:
        """Train, alone or with something that takes part."""
        self._check_parameters()
        warn_of_unrepeatable_runs(self)
        device = resolve_device(self.device)
        warn_of_slow_rounding(self, device)
        data = check_sequences(X, require_items=True)
        check_weights(data)
        seed = draw_seed(self.random_state)
        training, watched = self._hold_out(data)
        require_two_items(self, training, X)
        if companion is not None:
            training = companion.kept_in(training, seed)
        network, result = self._train(training, watched, device, seed, companion)
        again = None
        # Also items that could not be ranked, and so not be watched, are to be learnt.
        if self.refit and training.validation is not None and training.validation.any():
            training = append_validation(training)
            network, again = self._train(training, None, device, seed, companion, n_epochs=result.best_epoch + 1)
        remember_columns(self, X)
        self.vocabulary_ = data.vocabulary
        self.item_counts_ = np.bincount(training.items, minlength=data.n_items + 1)[1:]
        self.network_, self.max_length_ = network, self.max_length
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        # A former fit may have had one.
        self.__dict__.pop("refit_history_", None)
        if again is not None:
            self.refit_history_ = again.history
        return self

    def _train(
        self,
        training: SequenceDataset,
        watched: SequenceDataset | None,
        device: torch.device,
        seed: int,
        companion: Companion | None = None,
        n_epochs: int | None = None,
    ) -> tuple[NextItemNetwork, TrainingResult]:
        """A network trained from its first weights: ``n_epochs`` where they are given, else until it stops."""
        # What is tried before the first step is not to round, either, whatever a user's own autocast says.
        with computing_in("float32", device):
            task = self._task(training, watched, device, seed, n_epochs or self.max_epochs)
            if companion is not None:
                task = companion.joined(task)
            stop = None if n_epochs else stop_rule(watched, self.patience, task.plateau)
            result = train(
                task.trained,
                lambda random: task.part.rows.shuffled(self.batch_size, random, device),
                task.loss,
                self._plan(task, stop, companion),
                seed=seed,
                device=device,
                evaluate=task.evaluate,
                n_batches=task.n_batches,
                begin_epoch=task.begin_epoch,
                outer=task.outer,
            )
        return task.network, result

    def _task(
        self,
        training: SequenceDataset,
        watched: SequenceDataset | None,
        device: torch.device,
        seed: int,
        n_epochs: int,
    ) -> TrainingTask:
        """A new network, and all that its training needs."""
        part = self._part(training, device)
        # Layers of torch draw weights from its global generator as they are made.
        with seeded_torch(seed, torch.device("cpu")):
            network = self._make_network(training)
            self._draw_weights(network, torch.Generator().manual_seed(seed))
        network.to(device)
        objective = self._objective(training)
        return TrainingTask(
            training=training,
            part=part,
            part_of=lambda rows: self._part(rows, device),
            network=network,
            measure=lambda batch, random: self._measure(network, objective, batch, random),
            measure_last=lambda batch, random: self._measure_last(network, objective, batch, random),
            max_length=self.max_length,
            batch_size=self.batch_size,
            n_epochs=n_epochs,
            device=device,
            seed=seed,
            trained=network,
            loss=lambda batch, random: self._batch_loss(network, objective, part.added, batch, random),
            evaluate=None if watched is None else self._evaluation(network, watched, device),
        )

    def _evaluation(
        self, network: NextItemNetwork, watched: SequenceDataset, device: torch.device
    ) -> Callable[[], dict[str, float]]:
        """What measures the network on validation items after each epoch."""
        return validation_measure(network, watched, self.max_length, device)

    def _part(self, rows: SequenceDataset, device: torch.device) -> TrainingPart:
        return TrainingPart(self._training_rows(rows), self._added_loss(rows, device))

    def _objective(self, training: SequenceDataset) -> Any:
        """What :meth:`_batch_loss` measures the states by."""
        chosen = self.n_negatives is not None or self.negative_sampling != "auto"
        if self.loss == "sampled_softmax" and not chosen and training.n_items <= _N_NEGATIVES[self.loss]:
            # The sum over all items costs no more than the draws that would estimate it.
            return NextItemLoss("ce", training.n_items, self._n_negatives())
        return NextItemLoss(
            self.loss,
            training.n_items,
            self._n_negatives(),
            negatives=negative_sampler(self._negative_sampling(), training, self._targets_a_row(training)),
        )

    def _targets_a_row(self, training: SequenceDataset) -> int:
        """Most targets of a row that are trained on: its last ones."""
        return self.max_length

    def _negative_sampling(self) -> str:
        if self.negative_sampling != "auto":
            return self.negative_sampling
        return "popularity" if self.loss == "sampled_softmax" else "uniform"

    def _n_negatives(self) -> int:
        return self.n_negatives or _N_NEGATIVES.get(self.loss, 1)

    def _hold_out(self, data: SequenceDataset) -> tuple[SequenceDataset, SequenceDataset | None]:
        """The rows to train on, and the original rows with validation items that early stopping watches."""
        return hold_out(data, type(self).__name__)

    def _batch_loss(
        self,
        network: NextItemNetwork,
        objective: NextItemLoss,
        added: AddedLoss | None,
        batch: NextItemBatch,
        random: np.random.Generator,
    ) -> Tensor:
        _, losses = self._measure(network, objective, batch, random)
        mean = losses.mean() if batch.weights is None else (losses * batch.weights).mean()
        return mean if added is None else mean + added(network, batch, random)

    def _measure(
        self, network: NextItemNetwork, objective: NextItemLoss, batch: NextItemBatch, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """States, (n_targets, d), that targets are predicted from, and the loss, (n_targets,), of each."""
        assert batch.targets is not None
        states = network.target_states(batch)
        return states, objective.per_position(states, network.item_table(), batch.targets, random)

    def _measure_last(
        self, network: NextItemNetwork, objective: NextItemLoss, batch: NextItemBatch, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """The same of the last target of each row: states (n_rows, d) and losses (n_rows,)."""
        assert batch.targets is not None
        states = network.last_states(batch)
        return states, objective.per_position(states, network.item_table(), batch.targets[batch.last], random)

    def _run_settings(self, network: NextItemNetwork) -> dict[str, Any]:
        """What decides the outcome of a fit besides data and seed, so that JSON or ``str`` tells two runs apart."""
        return {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in ("checkpoint_dir", "verbose", "device", "random_state", "refit")
        }

    def _run_columns(self, training: SequenceDataset) -> list[np.ndarray]:
        """What decides it of the data."""
        columns = (training.items, training.offsets, training.origin, training.weights, training.validation)
        return [column for column in columns if column is not None]

    def _plan(self, task: TrainingTask, stop: StopRule | None, companion: Companion | None) -> TrainingPlan:
        checkpoint, training = None, task.training
        if self.checkpoint_dir is not None:
            settings = self._run_settings(task.network) | {"seed": task.seed, "n_items": training.n_items}
            settings |= {"max_epochs": task.n_epochs, "stops": stop is not None}
            if companion is not None:
                settings["companion"] = companion.settings()
            checkpoint = checkpoint_of(self, task.network, settings, *self._run_columns(training))
        return TrainingPlan(
            max_epochs=task.n_epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            average_decay=self.average_decay,
            stop=stop,
            precision=self.precision,
            checkpoint=checkpoint,
            name=type(self).__name__,
            verbose=bool(self.verbose),
        )

    # Ranking

    def encode(self, X: Any) -> np.ndarray:
        """Hidden states after the full history of each original row.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset

        Returns
        -------
        float32 ndarray of shape (n_original, d)
            Zeros where a history is empty.
        """
        return self._states(self._histories(X)).cpu().numpy()

    @with_usual_defaults
    def _states(self, histories: SequenceDataset) -> Tensor:
        device = next(self.network_.parameters()).device
        batches = history_batches(histories, self.max_length_, ROWS_AT_ONCE, device)
        return last_states_of(self.network_, batches, len(histories))

    def _popularity(self) -> np.ndarray:
        """Scores of all items after an empty history."""
        return np.log1p(self.item_counts_)

    def _scores(self, histories: SequenceDataset) -> ScoreBlock:
        states = self._states(histories)
        table = self.network_.item_table().detach()
        empty = histories.lengths == 0
        popularity = torch.from_numpy(self._popularity()).to(states)

        def block(start: int, stop: int) -> Tensor:
            with computing_in("float32", states.device):
                scores = product(states[start:stop], table)
            if empty[start:stop].any():
                # With nothing to go by, popular items first.
                scores[on_device(empty[start:stop], scores.device)] = popularity
            return scores

        return block

    @property
    def item_embeddings_(self) -> np.ndarray:
        """Vectors, float32 (n_items, d), that states are scored against; row ``j`` is ``vocabulary_[j]``."""
        check_is_fitted(self, "network_")
        return self.network_.item_table().detach().cpu().numpy()

    def __getstate__(self) -> dict[str, Any]:
        return with_network_on_cpu(super().__getstate__())
