"""What all target models share: training on a dataset, and ranking the whole vocabulary."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..inputs import check_sequences
from ..labels import as_label_array, encode_labels
from ..metrics import ndcg_at_k
from ..metrics.full_ranking import rank_targets_in_blocks, top_items_in_blocks
from ..model_selection import hold_out_last
from ..parameters import check_choice, check_integer, check_real, draw_seed, remember_columns
from ..sequences import SequenceDataset
from ..training import (
    LOSSES,
    NextItemBatch,
    NextItemLoss,
    StopRule,
    TrainingPlan,
    next_item_rows,
    resolve_device,
    train,
    with_network_on_cpu,
)
from ..training.batches import history_batches
from ..training.checkpoints import CheckpointFile, fingerprint

__all__ = ["NextItemNetwork", "SequentialRecommender"]

# Rows encoded at once when nothing is learnt, and how many of their scores are held at once.
_ROWS_AT_ONCE = 1024
_MOST_SCORES = 1 << 28
# Without a validation item training stops when five epochs bring less than 1 % of training loss each.
_PLATEAU = StopRule("loss", patience=5, rising=False, tolerance=0.01)


class NextItemNetwork(nn.Module, metaclass=ABCMeta):
    """A network that turns items into hidden states; the score of an item is an inner product with a state."""

    @abstractmethod
    def states(self, batch: NextItemBatch) -> Tensor:
        """Hidden state, (n_positions, d), after each position of a batch."""

    @abstractmethod
    def item_table(self) -> Tensor:
        """Vectors, (n_items, d), that states are scored against; row ``c - 1`` is item code ``c``."""

    def last_states(self, batch: NextItemBatch) -> Tensor:
        """Hidden state, (n_rows, d), after the last position of each row."""
        return self.states(batch)[batch.last]


class SequentialRecommender(BaseEstimator, metaclass=ABCMeta):
    """Base of the target models: ``fit(X, y=None)``, ``predict(X, k)``, ``rank(X, y)``, ``score(X, y)``.

    A subclass stores the parameters that are read here (``loss``, ``n_negatives``, ``max_length``,
    ``learning_rate``, ``weight_decay``, ``batch_size``, ``max_epochs``, ``patience``, ``device``,
    ``random_state``, ``checkpoint_dir``, ``verbose``) and makes the network.

    Attributes
    ----------
    vocabulary_ : ndarray of shape (n_items,)
        Item labels; the catalogue that is ranked.
    history_ : list of dict
        One record an epoch: ``epoch``, ``loss``, ``seconds``, and ``ndcg@20`` of the validation items.
    best_epoch_ : int
        Epoch, from 0, whose weights are kept.
    network_ : NextItemNetwork
        The trained network.
    """

    # Lets predict(X, k=...) pass through a Pipeline whether metadata routing is on or off.
    __metadata_request__predict = {"k": True, "exclude_history": True}  # noqa: RUF012
    # With routing on, Pipeline.score passes sample_weight=None to every last step and fails where it is not known.
    __metadata_request__score = {"sample_weight": None}  # noqa: RUF012

    @abstractmethod
    def _make_network(self, n_items: int) -> NextItemNetwork:
        """An untrained network on the CPU; its weights are drawn later."""

    @abstractmethod
    def _draw_weights(self, network: NextItemNetwork, generator: torch.Generator) -> None:
        """Draw a network's first weights."""

    def _check_parameters(self) -> None:
        check_choice(self, "loss", LOSSES)
        check_integer(self, "n_negatives", 1, none=True)
        for name in ("max_length", "batch_size", "max_epochs", "patience"):
            check_integer(self, name, 1)
        check_real(self, "learning_rate", 0, open_low=True)
        check_real(self, "weight_decay", 0)

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
            items left, training stops on a plateau of its own loss.
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self
        """
        self._check_parameters()
        device = resolve_device(self.device)
        data = check_sequences(X, require_items=True)
        remember_columns(self, X)
        seed = draw_seed(self.random_state)
        training, watched = self._hold_out(data)
        rows = next_item_rows(training, self.max_length)
        if len(rows) == 0:
            raise ValueError(
                f"{type(self).__name__} cannot learn from {len(data)} sample(s): every item is predicted from the "
                f"ones before it, and the longest row has {training.lengths.max()} item(s)"
                f"{_columns_of(X)}; at least one row of two items is required."
            )
        self.vocabulary_ = data.vocabulary
        self.item_counts_ = np.bincount(training.items, minlength=data.n_items + 1)[1:]
        network = self._make_network(data.n_items)
        self._draw_weights(network, torch.Generator().manual_seed(seed))
        network.to(device)
        objective = NextItemLoss(self.loss, data.n_items, self._n_negatives())
        result = train(
            network,
            lambda random: rows.shuffled(self.batch_size, random, device),
            lambda batch, random: self._batch_loss(network, objective, batch, random),
            self._plan(watched is not None, training, seed),
            seed=seed,
            device=device,
            evaluate=None if watched is None else self._evaluation(network, watched, device),
            n_batches=-(-len(rows) // self.batch_size),
        )
        self.network_ = network
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        return self

    def _n_negatives(self) -> int:
        return self.n_negatives or (1 if self.loss == "bce" else 256)

    def _hold_out(self, data: SequenceDataset) -> tuple[SequenceDataset, SequenceDataset | None]:
        """The rows to train on, and the original rows with validation items that early stopping watches."""
        n_original = data.n_original
        if data.validation is None and n_original == len(data) and data.lengths.max() > 2:
            data = hold_out_last(data)
        originals = data.originals()
        if originals.validation is not None:
            watched = originals[(originals.validation > 0) & (originals.lengths > 0)]
            if len(watched):
                return data, watched
        warnings.warn(
            f"{type(self).__name__} has no validation item to stop on and stops on a plateau of the training loss. "
            "Better: leave_one_out(sequences, validation=True) before regenerating, or RegeneratedRecommender, "
            "which holds each row's last item out by itself.",
            UserWarning,
            stacklevel=3,
        )
        return data, None

    def _batch_loss(
        self, network: NextItemNetwork, objective: NextItemLoss, batch: NextItemBatch, random: np.random.Generator
    ) -> Tensor:
        assert batch.targets is not None
        states = network.states(batch)
        losses = objective.per_position(states, network.item_table(), batch.targets, random)
        return losses.mean() if batch.weights is None else (losses * batch.weights).mean()

    def _plan(self, validated: bool, training: SequenceDataset, seed: int) -> TrainingPlan:
        checkpoint = None
        if self.checkpoint_dir is not None:
            settings = {
                name: value
                for name, value in self.get_params(deep=False).items()
                if name not in ("checkpoint_dir", "verbose", "device", "random_state")
            }
            settings |= {"seed": seed, "n_items": training.n_items}
            columns = [training.items, training.offsets, training.origin]
            columns += [column for column in (training.weights, training.validation) if column is not None]
            checkpoint = CheckpointFile(self.checkpoint_dir, type(self).__name__, fingerprint(settings, *columns))
        return TrainingPlan(
            max_epochs=self.max_epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            stop=StopRule("ndcg@20", self.patience) if validated else _PLATEAU,
            checkpoint=checkpoint,
            name=type(self).__name__,
            verbose=bool(self.verbose),
        )

    def _evaluation(self, network: NextItemNetwork, watched: SequenceDataset, device: torch.device) -> Any:
        assert watched.validation is not None
        targets = watched.validation
        batches = list(history_batches(watched, self.max_length, _ROWS_AT_ONCE, device))

        def evaluate() -> dict[str, float]:
            states = _encode(network, batches, len(watched))
            table = network.item_table().detach()
            ranks = rank_targets_in_blocks(
                lambda start, stop: states[start:stop] @ table.T,
                len(watched),
                targets,
                (watched.items, watched.offsets),
            )
            return {"ndcg@20": float(ndcg_at_k(ranks, 20))}

        return evaluate

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

    def predict(self, X: Any, k: int = 10, exclude_history: bool = True) -> np.ndarray:
        """The ``k`` best items after each history.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Histories; new users are welcome. Items not seen in fit are ignored with one warning. Of a
            dataset, the original rows are read, each followed by its validation item.
        k : int, default=10
            Length of the list; at most the size of the vocabulary.
        exclude_history : bool, default=True
            Put items that are in the history behind all others.

        Returns
        -------
        ndarray of shape (n_original, k)
            Item labels, best first.
        """
        histories = self._histories(X)
        n_items = len(self.vocabulary_)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= n_items:
            raise ValueError(f"k must be an integer from 1 to the size of the vocabulary ({n_items}); got {k!r}.")
        codes = self._top_items(histories, int(k), exclude_history)
        short = np.flatnonzero((codes == 0).any(axis=1))
        if len(short):
            codes[short] = self._filled(codes[short], histories[short], int(k))
        return self.vocabulary_[codes - 1]

    def rank(self, X: Any, y: Any, exclude_history: bool = True) -> np.ndarray:
        """Rank of each target among all items of the vocabulary: 1 is the best.

        Ties count against the model. A target outside the vocabulary, or one excluded because it is in its
        own history, has the largest int64.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            As in :meth:`predict`.
        y : array-like of shape (n_original,)
            Labels of the next items.
        exclude_history : bool, default=True
            Whether items of the history compete.

        Returns
        -------
        int64 ndarray of shape (n_original,)
        """
        histories = self._histories(X)
        if y is None:
            raise ValueError("y is required: the label of the next item of each row.")
        targets = encode_labels(as_label_array(y), self.vocabulary_)
        if len(targets) != len(histories):
            raise ValueError(
                f"y must have one label for each of the {len(histories)} original rows; got {len(targets)}."
            )
        return rank_targets_in_blocks(
            self._score_block(histories),
            len(histories),
            targets,
            (histories.items, histories.offsets),
            exclude_history=exclude_history,
        )

    def score(self, X: Any, y: Any) -> float:
        """NDCG@10 under full ranking, history excluded.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
        y : array-like of shape (n_original,)
            Labels of the next items.

        Returns
        -------
        float
        """
        return float(ndcg_at_k(self.rank(X, y), 10))

    def score_blocks(self, X: Any, block_rows: int = _ROWS_AT_ONCE) -> Iterator[np.ndarray]:
        """Raw scores of all items, some rows at a time; history is not excluded.

        Yields
        ------
        float32 ndarray of shape (<= block_rows, n_items)
            Column ``j`` is ``vocabulary_[j]``.
        """
        histories = self._histories(X)
        block = self._score_block(histories)
        for start in range(0, len(histories), block_rows):
            yield block(start, min(start + block_rows, len(histories))).cpu().numpy()

    def decision_function(self, X: Any) -> np.ndarray:
        """Raw scores of all items, computed by blocks; history is not excluded.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset

        Returns
        -------
        float32 ndarray of shape (n_original, n_items)

        Raises
        ------
        ValueError
            More than 2**28 scores (1 GiB) are asked for; take them from :meth:`score_blocks`.
        """
        histories = self._histories(X)
        if len(histories) * len(self.vocabulary_) > _MOST_SCORES:
            raise ValueError(
                f"{len(histories):,} rows x {len(self.vocabulary_):,} items are too many scores to hold at once; "
                "use score_blocks(X), predict(X, k) or rank(X, y)."
            )
        return np.concatenate(list(self.score_blocks(histories)))

    def _histories(self, X: Any) -> SequenceDataset:
        check_is_fitted(self, "network_")
        return check_sequences(X, vocabulary=self.vocabulary_).histories()

    def _states(self, histories: SequenceDataset) -> Tensor:
        device = next(self.network_.parameters()).device
        batches = history_batches(histories, self.max_length, _ROWS_AT_ONCE, device)
        return _encode(self.network_, batches, len(histories))

    def _score_block(self, histories: SequenceDataset) -> Any:
        states = self._states(histories)
        table = self.network_.item_table().detach()
        empty = histories.lengths == 0
        popularity = torch.from_numpy(np.log1p(self.item_counts_)).to(states)

        def block(start: int, stop: int) -> Tensor:
            scores = states[start:stop] @ table.T
            if empty[start:stop].any():
                # With nothing to go by, popular items first.
                scores[torch.from_numpy(empty[start:stop]).to(scores.device)] = popularity
            return scores

        return block

    def _top_items(self, histories: SequenceDataset, k: int, exclude_history: bool) -> np.ndarray:
        codes, _ = top_items_in_blocks(
            self._score_block(histories),
            len(histories),
            (histories.items, histories.offsets),
            k,
            exclude_history=exclude_history,
        )
        return codes

    def _filled(self, codes: np.ndarray, histories: SequenceDataset, k: int) -> np.ndarray:
        """Lists that the exclusion left short, with the best of the excluded items behind."""
        everything = self._top_items(histories, len(self.vocabulary_), exclude_history=False)
        for row, (found, ranked) in enumerate(zip(codes, everything, strict=True)):
            kept = found[found > 0]
            codes[row] = np.concatenate([kept, ranked[~np.isin(ranked, kept)]])[:k]
        return codes

    @property
    def item_embeddings_(self) -> np.ndarray:
        """Vectors, float32 (n_items, d), that states are scored against; row ``j`` is ``vocabulary_[j]``."""
        check_is_fitted(self, "network_")
        return self.network_.item_table().detach().cpu().numpy()

    def __getstate__(self) -> dict[str, Any]:
        return with_network_on_cpu(super().__getstate__())


def _columns_of(X: Any) -> str:
    return f" (X has {X.shape[1]} feature(s), one item each)" if isinstance(X, np.ndarray) and X.ndim == 2 else ""


@torch.no_grad()
def _encode(network: NextItemNetwork, batches: Any, n_rows: int) -> Tensor:
    table = network.item_table()
    states = torch.zeros(n_rows, table.shape[1], dtype=table.dtype, device=table.device)
    for batch in batches:
        states[torch.from_numpy(batch.rows).to(table.device)] = network.last_states(batch)
    return states
