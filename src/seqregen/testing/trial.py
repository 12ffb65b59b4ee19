"""A target on trial: small settings, small data, one fit."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from ..nn import RandomMasks, use_masks
from ..sequences import SequenceDataset
from ..targets import NextItemNetwork, Ranker, SequentialRecommender
from ..training import NextItemBatch, resolve_device

__all__ = ["ALL_ROWS", "Trial", "small_rows"]

_N_ROWS = 24
# One batch of everything: with it the first epoch's loss is that of the first step.
ALL_ROWS = 1 << 14
# What arithmetic in another order may change, relative to the largest value. GPUs multiply with 10 bits behind the
# point where that is faster, and add in an order that varies.
_TOLERANCE, _TOLERANCE_ON_GPU = 1e-4, 1e-2


@dataclass
class Trial:
    """A target and what the checks share: small settings, data, one fit."""

    target: Ranker
    data: SequenceDataset
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = type(self.target).__name__

    def small(self, **changes: Any) -> Any:
        """A copy of the target that is quick to fit; parameters that it lacks are left out."""
        settings = {
            "max_epochs": 2,
            "patience": 5,
            "refit": False,
            "random_state": 0,
            "checkpoint_dir": None,
            "verbose": False,
        } | changes
        copied = clone(self.target)
        known = copied.get_params(deep=False)
        return copied.set_params(**{name: value for name, value in settings.items() if name in known})

    @cached_property
    def fitted(self) -> Any:
        return self.small().fit(self.data)

    @property
    def has_network(self) -> bool:
        """Whether it is one of ours, with states at positions; an adapter's reads rows that it pads by itself."""
        return isinstance(self.target, SequentialRecommender) and self.target._lacks_for_weighing is None

    @cached_property
    def device(self) -> torch.device:
        return resolve_device(self.fitted.device)

    def batch(self, data: SequenceDataset) -> NextItemBatch:
        """All that there is to train on as one batch; rows of the same lengths always come in the same order."""
        rows = self.fitted._training_rows(data)
        (batch,) = rows.shuffled(ALL_ROWS, np.random.default_rng(0), self.device)
        return batch

    def training_network(self) -> NextItemNetwork:
        """A copy of the fitted network that is in training; its dropout begins anew."""
        network = copy.deepcopy(self.fitted.network_)
        use_masks(network, RandomMasks(0, self.device))
        return network.train()

    @property
    def on_gpu(self) -> bool:
        return torch.cuda.is_available() and (not self.has_network or self.device.type != "cpu")

    def assert_close(self, found: Any, expected: Any, message: str) -> None:
        found, expected = np.asarray(found), np.asarray(expected)
        largest = np.abs(expected).max(initial=0.0)
        difference = np.abs(found - expected).max(initial=0.0)
        allowed = largest * (_TOLERANCE_ON_GPU if self.on_gpu else _TOLERANCE)
        assert difference <= allowed, (
            f"{self.name}: {message} (differing by {difference:.2g}, values up to {largest:.2g})"
        )


def small_rows(n_items: int, seed: int = 0) -> SequenceDataset:
    """Rows of 2 to 9 items, and one of 12, with strings for labels; not every item need occur."""
    random = np.random.default_rng(seed)
    lengths = np.append(np.resize(np.arange(2, 10), _N_ROWS - 1), 12)
    items = random.integers(1, n_items + 1, lengths.sum())
    labels = np.array([f"item {code}" for code in range(n_items)], dtype=object)
    return SequenceDataset(items, np.cumsum([0, *lengths]), labels)
