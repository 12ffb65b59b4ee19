"""A fit that fails leaves nothing behind: unfitted stays unfitted, and a former fit stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from seqregen import (
    DatasetPersonalizer,
    DatasetRegenerator,
    PatternMiner,
    RankFilter,
    RegeneratedRecommender,
    TeacherRegenerator,
)
from seqregen.datasets import make_sequences
from seqregen.mining import miner as mining
from seqregen.targets import Ensemble, SASRec
from seqregen.training import loop

SASREC = SASRec(embedding_dim=8, hidden_dim=8, max_length=6, max_epochs=2, n_negatives=4, random_state=0)
REGENERATOR = DatasetRegenerator(
    n_memories=2, max_epochs=2, item_embeddings=None, embedding_dim=8, n_heads=2, hidden_dim=8, random_state=0
)
ESTIMATORS = [
    REGENERATOR,
    TeacherRegenerator(SASREC, n_items=2, random_state=0),
    RankFilter(SASREC, random_state=0),
    SASREC,
    Ensemble([SASREC]),
    DatasetPersonalizer(SASREC, warmup_epochs=0, update_every=2),
    RegeneratedRecommender(PatternMiner(random_state=0), SASREC),
]


@pytest.fixture
def stopped(monkeypatch):
    """Training that the user stops in its second epoch."""
    epoch, begun = loop._one_epoch, []

    def one_epoch(*given):
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return epoch(*given)

    return lambda: monkeypatch.setattr(loop, "_one_epoch", one_epoch)


def made_by(estimator, rows):
    """What a fitted estimator makes of rows, as lists."""
    if hasattr(estimator, "predict") and not isinstance(estimator, DatasetPersonalizer):
        return estimator.predict(rows, k=3).tolist()
    made = estimator.transform(rows)
    return made.to_lists(), None if made.weights is None else made.weights.tolist()


@pytest.mark.filterwarnings("ignore:DatasetPersonalizer. there are no mined or regenerated rows:UserWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
class TestInterrupted:
    def test_the_first_fit(self, estimator, stopped):
        estimator, rows = clone(estimator), make_sequences(40, 20, random_state=0)
        stopped()
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(rows)
        with pytest.raises(NotFittedError, match="not fitted yet"):
            made_by(estimator, rows)

    def test_a_later_fit(self, estimator, stopped):
        estimator, rows = clone(estimator), make_sequences(40, 20, random_state=0)
        before = made_by(estimator.fit(rows), rows)
        attributes = dict(vars(estimator))
        stopped()
        with pytest.raises(KeyboardInterrupt):
            # A table, of which scikit-learn's convention keeps the number of columns.
            estimator.fit(np.random.default_rng(1).integers(0, 15, (30, 6)))
        assert vars(estimator).keys() == attributes.keys()
        assert all(vars(estimator)[name] is value for name, value in attributes.items())
        assert made_by(estimator, rows) == before


def test_vectors_of_a_wrong_shape_leave_no_regenerator_behind():
    rows = make_sequences(40, 20, random_state=0)
    regenerator = clone(REGENERATOR).set_params(item_embeddings=np.zeros((3, 8)))
    with pytest.raises(ValueError, match="item_embeddings"):
        regenerator.fit(rows)
    with pytest.raises(NotFittedError):
        regenerator.transform(rows)


def test_mining_that_is_stopped_or_whose_warning_is_an_error_leaves_the_miner_as_it_was(monkeypatch):
    miner = PatternMiner(random_state=0).fit([["a", "b"], ["a", "b"]])
    attributes = dict(vars(miner))
    # Warnings are errors here.
    with pytest.raises(UserWarning, match="no pattern"):
        miner.fit([[1, 2], [3, 4]])
    assert vars(miner) == attributes

    def stopped(*given, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(mining, "match_patterns", stopped)
    with pytest.raises(KeyboardInterrupt):
        miner.fit_transform([["x", "y"], ["x", "y"]])
    assert vars(miner) == attributes
