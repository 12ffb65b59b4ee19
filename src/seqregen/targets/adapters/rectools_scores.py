"""Scores of all items from models of RecTools, in the order of our vocabulary."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ...labels import as_label_array, encode_labels
from ...nn import on_device
from ...ragged import row_of_position
from ...sequences import SequenceDataset

__all__ = ["FromHistories", "FromSessions", "RecToolsScores"]

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class RecToolsScores:
    """Which of RecTools' internal item numbers stand for which item codes.

    Attributes
    ----------
    internal : int64 ndarray of shape (n_items + 1,)
        RecTools' number of each item code; -1 for code 0 and for items that the model has not seen.
    """

    internal: np.ndarray

    @classmethod
    @abstractmethod
    def of(cls, model: Any, dataset: Any, vocabulary: np.ndarray) -> Self:
        """For a fitted model and the dataset that it was fitted on."""

    def known(self, rows: SequenceDataset) -> np.ndarray:
        """Rows with an item that the model has seen."""
        seen = self.internal[rows.items] >= 0
        return np.unique(row_of_position(rows.offsets)[seen])

    @abstractmethod
    def score(self, model: Any, rows: SequenceDataset) -> Tensor:
        """Scores, float32 (n_rows, n_items), after rows that are known."""

    def _in_order_of_codes(self, scores: Tensor) -> Tensor:
        """Columns by item code from columns by internal number; items not seen come behind all others."""
        internal = on_device(self.internal[1:], scores.device)
        ordered = scores[:, internal.clamp(min=0)]
        behind = scores.amin(dim=1, keepdim=True) - 1
        return torch.where(internal >= 0, ordered, behind)


@dataclass(frozen=True)
class FromSessions(RecToolsScores):
    """Scores of RecTools' transformers: its own encoding of a history against all its item vectors."""

    @classmethod
    def of(cls, model: Any, dataset: Any, vocabulary: np.ndarray) -> Self:
        extra = model.data_preparator.n_item_extra_tokens
        return cls(_internal_numbers(model.data_preparator.get_known_item_ids(), vocabulary, extra))

    @torch.no_grad()
    def score(self, model: Any, rows: SequenceDataset) -> Tensor:
        network = model.torch_model.eval()
        device = next(network.parameters()).device
        item_vectors = network.item_model.get_all_embeddings()
        longest = model.session_max_len
        numbers = self.internal[rows.items]
        scores = []
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            sessions: list[tuple[list[int], list[float], dict]] = []
            for row in range(first, min(first + _ROWS_AT_ONCE, len(rows))):
                session = numbers[rows.offsets[row] : rows.offsets[row + 1]]
                session = session[session >= 0][-longest:].tolist()
                sessions.append((session, [1.0] * len(session), {}))
            batch = model.data_preparator._collate_fn_recommend(sessions)
            batch = {name: column.to(device) for name, column in batch.items()}
            states = network.encode_sessions(batch, item_vectors)[:, -1:]
            scores.append(network.similarity_module(states, item_vectors)[:, 0])
        return self._in_order_of_codes(torch.cat(scores).float())


@dataclass(frozen=True)
class FromHistories(RecToolsScores):
    """Scores that RecTools' item-based models recommend by, for rows handed over as users.

    Attributes
    ----------
    items : rectools IdMap
        The items that the model was fitted on.
    """

    items: Any = None

    @classmethod
    def of(cls, model: Any, dataset: Any, vocabulary: np.ndarray) -> Self:
        labels = dataset.item_id_map.get_external_sorted_by_internal()
        return cls(_internal_numbers(labels, vocabulary, 0), dataset.item_id_map)

    def score(self, model: Any, rows: SequenceDataset) -> Tensor:
        import pandas as pd
        from rectools.dataset import Dataset, IdMap, Interactions

        numbers = self.internal[rows.items]
        seen = numbers >= 0
        # RecTools counts items up to the last that occurs: one more user has it.
        frame = pd.DataFrame(
            {
                "user_id": np.append(row_of_position(rows.offsets)[seen], len(rows)),
                "item_id": np.append(numbers[seen], self.items.size - 1),
                "weight": 1.0,
                "datetime": pd.to_datetime(np.arange(seen.sum() + 1), unit="s"),
            }
        )
        users = np.arange(len(rows) + 1)
        dataset = Dataset(IdMap(users), self.items, Interactions(frame))
        found = model.recommend(users[:-1], dataset, k=self.items.size, filter_viewed=False)
        scores = torch.full((len(rows), self.items.size), torch.nan)
        columns = self.items.convert_to_internal(found["item_id"].to_numpy())
        places = torch.from_numpy(found["user_id"].to_numpy(np.int64)), torch.from_numpy(columns.astype(np.int64))
        scores[places] = torch.from_numpy(found["score"].to_numpy(np.float32))
        # Items that a model leaves out have nothing in common with the history.
        lowest = torch.nan_to_num(scores, nan=torch.inf).amin(dim=1, keepdim=True)
        return self._in_order_of_codes(torch.where(scores.isnan(), lowest - 1, scores))


def _internal_numbers(labels: np.ndarray, vocabulary: np.ndarray, first: int) -> np.ndarray:
    """RecTools' number of each item code, -1 for none; its label number ``j`` has the number ``first + j``."""
    internal = np.full(len(vocabulary) + 1, -1, dtype=np.int64)
    codes = encode_labels(as_label_array(labels.tolist()), vocabulary)
    internal[codes] = first + np.arange(len(codes))
    internal[0] = -1
    return internal
