"""A tiny model and a tiny dataset with something to learn."""

from __future__ import annotations

import pytest

from seqregen import SequenceDataset
from seqregen.datasets import make_sequences
from seqregen.targets import SASRec


@pytest.fixture
def tiny():
    """Makes a tiny SASRec; keywords change it."""

    def make(**changes) -> SASRec:
        settings = {
            "embedding_dim": 8,
            "n_layers": 1,
            "hidden_dim": 12,
            "max_length": 6,
            "n_negatives": 5,
            "batch_size": 16,
            "max_epochs": 3,
            "random_state": 0,
        }
        return SASRec(**(settings | changes))

    return make


@pytest.fixture
def sequences() -> SequenceDataset:
    return make_sequences(n_sequences=60, n_items=24, random_state=0)
