"""A tiny recommender, a tiny personalizer, and a tiny dataset with mined rows."""

from __future__ import annotations

import pytest

from seqregen import DatasetPersonalizer, PatternMiner, SequenceDataset
from seqregen.datasets import make_sequences
from seqregen.model_selection import leave_one_out
from seqregen.targets import SASRec

SIZES = {
    "embedding_dim": 8,
    "n_layers": 1,
    "hidden_dim": 8,
    # Of eight values all are dropped at times where half of them are; the norm of nothing has no bounded slope.
    "dropout": 0.1,
    "max_length": 6,
    "batch_size": 32,
    "max_epochs": 4,
    "learning_rate": 5e-3,
    "random_state": 0,
    "device": "cpu",
}

# What is published where the defaults are not: every test that changes one of these is about that one alone.
PUBLISHED = {
    "fixed": ("mined",),
    "features": "state",
    "temperature": 10.0,
    "normalize": "count",
    "n_neumann_terms": 3,
    "neumann_step": 1e-3,
    "neumann_scaled": False,
    "noise": True,
    "optimizer": "sgd",
    "dev": "train",
    "train_batch_size": None,
}


@pytest.fixture
def sizes() -> dict:
    """What makes a model of any kind small."""
    return dict(SIZES)


@pytest.fixture
def tiny():
    """Makes a tiny personalizer; keywords change it, those that begin with recommender__ its SASRec."""

    def make(recommender=None, **changes) -> DatasetPersonalizer:
        model = SASRec(n_heads=1, loss="bce", **SIZES) if recommender is None else recommender
        settings = PUBLISHED | {"warmup_epochs": 1, "update_every": 2, "learning_rate": 0.5}
        nested = {name: value for name, value in changes.items() if name.startswith("recommender__")}
        own = {name: value for name, value in changes.items() if name not in nested}
        return DatasetPersonalizer(model, **(settings | own)).set_params(**nested)

    return make


@pytest.fixture(scope="session")
def split() -> tuple:
    return leave_one_out(make_sequences(n_sequences=60, n_items=24, random_state=0), validation=True)


@pytest.fixture(scope="session")
def mined(split) -> SequenceDataset:
    """Original rows with validation items, and mined rows behind them."""
    return PatternMiner(window=3, random_state=0).fit_transform(split[0])
