"""Padded batches for networks that read one history a row, gathered as they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...callers import stacklevel_of_caller
from ...labels import is_missing
from ...nn import on_device
from ...sequences import SequenceDataset

__all__ = [
    "PaddedHistories",
    "PrefixPlaces",
    "histories_of_rows",
    "known_users",
    "user_codes",
    "warn_of_users_of_another_kind",
]


@dataclass(frozen=True)
class PaddedHistories:
    """Some histories, each with the item behind it where that is to be learnt.

    Attributes
    ----------
    items : int64 Tensor of shape (n_rows, max_length)
        Item codes from the left, then 0.
    lengths : int64 Tensor of shape (n_rows,)
        At least 1.
    users : int64 Tensor of shape (n_rows,)
        Codes of users; 0 for none.
    targets : int64 Tensor of shape (n_rows,) or None
        Item codes.
    weights : float32 Tensor of shape (n_rows,) or None
        Weights of the targets.
    """

    items: Tensor
    lengths: Tensor
    users: Tensor
    targets: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class PrefixPlaces:
    """Every position of a dataset that has items before it, as a training row of its own.

    Only places are kept, 8 bytes a row; histories of at most ``max_length`` items are gathered when a batch is made.

    Attributes
    ----------
    dataset : SequenceDataset
    users : int64 ndarray of shape (n_rows,)
        Code of each dataset row's user.
    places : int64 ndarray of shape (n_targets,)
        Positions of the targets among the dataset's items.
    max_length : int
    """

    dataset: SequenceDataset
    users: np.ndarray
    places: np.ndarray
    max_length: int

    @classmethod
    def of(cls, dataset: SequenceDataset, users: np.ndarray, max_length: int) -> PrefixPlaces:
        """All positions of a dataset but the first of each row."""
        has_history = np.ones(dataset.n_interactions, dtype=bool)
        has_history[dataset.offsets[:-1][dataset.lengths > 0]] = False
        return cls(dataset, users, np.flatnonzero(has_history), max_length)

    def __len__(self) -> int:
        return len(self.places)

    def shuffled(self, batch_size: int, random: np.random.Generator, device: torch.device) -> Iterator[PaddedHistories]:
        """Batches of ``batch_size`` targets, drawn over all rows."""
        order = random.permutation(len(self))
        for first in range(0, len(order), batch_size):
            yield self.batch(self.places[order[first : first + batch_size]], device)

    def batch(self, places: np.ndarray, device: torch.device) -> PaddedHistories:
        """The given targets, and the histories before them."""
        data = self.dataset
        rows = np.searchsorted(data.offsets, places, side="right") - 1
        weights = None if data.weights is None else on_device(data.weights[places], device)
        return _pad(
            data.items,
            data.offsets[rows],
            places,
            self.max_length,
            self.users[rows],
            device,
            targets=on_device(data.items[places], device),
            weights=weights,
        )


def _pad(
    items: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    max_length: int,
    users: np.ndarray,
    device: torch.device,
    targets: Tensor | None = None,
    weights: Tensor | None = None,
) -> PaddedHistories:
    """The last ``max_length`` of ``items[start:stop]`` of each pair of starts and stops."""
    lengths = np.minimum(stops - starts, max_length)
    columns = np.arange(max_length)
    places = (stops - lengths)[:, None] + columns
    padded = np.where(columns < lengths[:, None], items[np.minimum(places, len(items) - 1)], 0)
    return PaddedHistories(
        on_device(padded, device),
        on_device(lengths, device),
        on_device(users, device),
        targets,
        weights,
    )


def histories_of_rows(
    dataset: SequenceDataset, rows: np.ndarray, max_length: int, users: np.ndarray, device: torch.device
) -> PaddedHistories:
    """The histories that rows, none of them empty, are as a whole; ``users`` has a code for every row."""
    starts, stops = dataset.offsets[rows], dataset.offsets[rows + 1]
    return _pad(dataset.items, starts, stops, max_length, users[rows], device)


def known_users(dataset: SequenceDataset) -> np.ndarray:
    """Distinct users of a dataset's rows, in the order in which they come; none where it does not name them."""
    if dataset.users is None:
        return np.array([], dtype=object)
    labels = dataset.users[~is_missing(dataset.users)]
    return np.fromiter(dict.fromkeys(labels.tolist()), dtype=object)


def user_codes(dataset: SequenceDataset, users: np.ndarray) -> np.ndarray:
    """Code of the user of every row, int64 (n_rows,); an added row belongs to the user of its source.

    Parameters
    ----------
    dataset : SequenceDataset
    users : ndarray of shape (n_users,)
        User ``u`` has code ``u + 1``; all others, and rows without one, have 0.
    """
    if dataset.users is None or len(users) == 0:
        return np.zeros(len(dataset), dtype=np.int64)
    code = {label: place + 1 for place, label in enumerate(users.tolist())}
    labels = dataset.users.tolist()
    codes = np.fromiter((code.get(label, 0) for label in labels), dtype=np.int64, count=len(labels))
    return np.where(dataset.source >= 0, codes[dataset.source], codes)


def warn_of_users_of_another_kind(dataset: SequenceDataset, users: np.ndarray) -> None:
    """Warn where a dataset's users can be none of those that a model knows: as strings, say, for integers.

    Parameters
    ----------
    dataset : SequenceDataset
    users : ndarray of shape (n_users,)
        Those that the model knows.
    """
    given, known = known_users(dataset).tolist(), users.tolist()
    if not given or not known or set(map(type, given)) & set(map(type, known)):
        return
    # Without a user's name: rows come in pieces, and one text is shown once.
    warnings.warn(
        f"the model knows none of the users of these rows, labels of type {type(given[0]).__name__}: those that it was "
        f"fitted with are of type {type(known[0]).__name__}, as {known[0]!r}. All are scored as strangers; name them "
        "as they were named for fit.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )
