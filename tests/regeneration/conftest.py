"""A tiny regenerator and a tiny dataset."""

from __future__ import annotations

import numpy as np
import pytest

from seqregen import DatasetRegenerator, PatternMiner, SequenceDataset
from seqregen.datasets import make_sequences


@pytest.fixture
def tiny():
    """Makes a tiny regenerator; keywords change it."""

    def make(**changes) -> DatasetRegenerator:
        settings = {
            "n_memories": 3,
            # Items as far apart as trained ones: rows of several items are decoded after little training.
            "item_embeddings": np.random.default_rng(0).normal(size=(20, 8)),
            "embedding_dim": 8,
            "n_layers": 1,
            "hidden_dim": 12,
            "max_epochs": 2,
            "batch_size": 32,
            "max_length": 6,
            "miner": PatternMiner(window=3),
            "random_state": 0,
        }
        return DatasetRegenerator(**(settings | changes))

    return make


@pytest.fixture(scope="session")
def sequences() -> SequenceDataset:
    return make_sequences(n_sequences=40, n_items=20, random_state=1)


@pytest.fixture(scope="session")
def mined(sequences) -> SequenceDataset:
    return PatternMiner(window=3, random_state=0).fit_transform(sequences)
