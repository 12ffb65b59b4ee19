"""Ensemble: several recommenders that rank together."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from sklearn.base import clone

from seqregen import PatternMiner, TeacherRegenerator
from seqregen.metrics import ndcg_at_k
from seqregen.model_selection import leave_one_out
from seqregen.targets import Ensemble, GRU4Rec, SASRec


@pytest.fixture
def two() -> list:
    sizes = {"embedding_dim": 8, "n_layers": 1, "hidden_dim": 8, "max_epochs": 3, "batch_size": 16}
    return [SASRec(n_heads=1, random_state=0, **sizes), GRU4Rec(random_state=1, **sizes)]


def test_it_ranks_by_the_mean_of_probabilities(two, sequences):
    X, y = leave_one_out(sequences, validation=True)
    together = Ensemble(two).fit(X)
    alone = [clone(model).fit(X).decision_function(X).astype(float) for model in two]
    expected = logsumexp([log_softmax(scores, axis=1) for scores in alone], axis=0) - np.log(2)
    np.testing.assert_allclose(together.decision_function(X), expected, rtol=1e-4, atol=1e-5)
    assert together.score(X, y) == ndcg_at_k(together.rank(X, y), 10)
    assert together.predict(X, k=4).shape == (len(X), 4)


def test_one_alone_is_itself(two, sequences):
    alone, single = two[0].fit(sequences), Ensemble(two[:1]).fit(sequences)
    np.testing.assert_array_equal(single.predict(sequences, k=5), alone.predict(sequences, k=5))


def test_unlikely_items_do_not_tie(two, sequences):
    model = Ensemble(two).fit(sequences)
    for recommender in model.recommenders_:
        recommender.network_.item_table().data.mul_(20_000)
    scores = model.decision_function(sequences)
    assert np.isfinite(scores).all()
    assert (scores.min(axis=1) < np.log(np.finfo(np.float32).tiny)).any()


def test_it_clones_pickles_and_teaches(two, sequences):
    model = Ensemble(two).fit(sequences)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(sequences), model.predict(sequences))
    np.testing.assert_array_equal(clone(model).fit(sequences).predict(sequences), model.predict(sequences))
    assert all(first is not second for first, second in zip(model.recommenders, clone(model).recommenders, strict=True))
    taught = TeacherRegenerator(Ensemble(two), n_items=2, random_state=0).fit_transform(sequences)
    assert len(taught) == 2 * len(sequences)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "a list of one recommender or more"),
        ("SASRec", "a list of one recommender or more"),
        (SASRec(), "a list of one recommender or more"),
        ([SASRec(), PatternMiner()], r"recommenders\[1\] must be a recommender"),
        ([SASRec], r"recommenders\[0\] must be a recommender"),
    ],
)
def test_what_is_no_list_of_recommenders(sequences, given, message):
    with pytest.raises(TypeError, match=message):
        Ensemble(given).fit(sequences)
