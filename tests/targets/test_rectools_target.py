"""RecToolsTarget against RecTools itself; skipped where RecTools is not installed."""

from __future__ import annotations

import logging
import pickle
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_recommenders_in_scikit_learn import RECOMMENDER_FAILURES as FAILURES

from seqregen import RegeneratedRecommender, SequenceDataset
from seqregen.model_selection import LeaveLastOut, leave_one_out
from seqregen.targets import RecToolsTarget
from seqregen.targets.adapters.rectools_target import quiet_libraries

models = pytest.importorskip("rectools.models")


def transformer(kind="SASRecModel", **changes):
    settings = {"n_factors": 8, "n_blocks": 1, "n_heads": 2, "session_max_len": 6, "epochs": 2, "batch_size": 32}
    with quiet_libraries():
        return getattr(models, kind)(**(settings | changes))


def nearest_neighbours():
    from implicit.nearest_neighbours import TFIDFRecommender

    return models.ImplicitItemKNNWrapperModel(TFIDFRecommender(10))


MODELS = {
    "SASRecModel": transformer,
    "BERT4RecModel": lambda: transformer("BERT4RecModel"),
    "EASEModel": models.EASEModel,
    "ImplicitItemKNNWrapperModel": nearest_neighbours,
    "PopularModel": models.PopularModel,
}


@pytest.fixture
def held_out(sequences):
    return leave_one_out(sequences, validation=True)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_ranks_repeats_and_pickles(held_out, name):
    X, y = held_out
    target = RecToolsTarget(MODELS[name](), random_state=0)
    scores = target.fit(X).decision_function(X)
    assert scores.shape == (len(X), X.n_items)
    assert np.isfinite(scores).all()
    assert target.rank(X, y, exclude_history=False).min() >= 1
    np.testing.assert_array_equal(clone(target).fit(X).decision_function(X), scores)
    loaded = pickle.loads(pickle.dumps(target))
    np.testing.assert_array_equal(loaded.decision_function(X), scores)
    np.testing.assert_array_equal(clone(loaded).fit(X).decision_function(X), scores)


@pytest.mark.parametrize("name", MODELS)
def test_lists_are_those_that_the_model_recommends(held_out, name):
    from rectools.dataset import Dataset

    X, _ = held_out
    rows = X.replace(validation=None)
    target = RecToolsTarget(MODELS[name](), random_state=0).fit(rows)
    dataset = Dataset.construct(rows.to_rectools())
    with quiet_libraries():
        theirs = target.model_.recommend(np.arange(1, 6), dataset, k=4, filter_viewed=False)
    scores = target.decision_function(rows)
    column = {label: place for place, label in enumerate(target.vocabulary_.tolist())}
    for user, recommended in theirs.groupby("user_id"):
        best = np.sort(scores[user - 1])[::-1][: len(recommended)]
        np.testing.assert_allclose(scores[user - 1, [column[item] for item in recommended["item_id"]]], best, rtol=1e-5)
        np.testing.assert_allclose(recommended["score"], best, rtol=1e-4, atol=1e-5)


def test_it_learns_planted_transitions():
    X, y = leave_one_out([[(start + step) % 30 for step in range(3 + start % 7)] for start in range(120)])
    target = RecToolsTarget(transformer(n_factors=16, lr=0.02, epochs=30, dropout_rate=0.1), random_state=0)
    assert target.fit(X).score(X, y) > 0.5


def test_new_users_unseen_items_and_empty_histories():
    X = SequenceDataset.from_sequences([["a", "b", "c"], ["b", "c", "a"], ["c", "c", "b"], ["d"]])
    target = RecToolsTarget(transformer(), random_state=0).fit(X)
    scores = target.decision_function([["a", "b"], [], ["d"], ["b"] * 9])
    assert target.vocabulary_[scores[0].argmin()] == "d"
    assert target.predict([[]], k=1)[0, 0] == "c"
    np.testing.assert_array_equal(scores[1], scores[2])
    # Products over another number of rows may round otherwise.
    np.testing.assert_allclose(scores[3], target.decision_function([["b"] * 6])[0], rtol=1e-5)


def test_validation_items_are_read_after_fit_alone(held_out):
    X, _ = held_out
    target = RecToolsTarget(transformer(), random_state=0).fit(X)
    without = RecToolsTarget(transformer(), random_state=0).fit(X.replace(validation=None))
    np.testing.assert_array_equal(target.decision_function(X), without.decision_function(X))
    assert not np.allclose(target.decision_function(X), target.decision_function(X.replace(validation=None)))


def test_transformers_honour_weights(held_out):
    X, _ = held_out
    scores = RecToolsTarget(transformer(), random_state=0).fit(X).decision_function(X)
    ones = X.replace(weights=np.ones(X.n_interactions, dtype=np.float32))
    weighted = X.replace(weights=np.linspace(0, 3, X.n_interactions, dtype=np.float32))
    target = RecToolsTarget(transformer(), random_state=0)
    np.testing.assert_array_equal(target.fit(ones).decision_function(X), scores)
    assert not np.allclose(target.fit(weighted).decision_function(X), scores)
    with pytest.warns(UserWarning, match="EASEModel reads them is its own"):
        RecToolsTarget(models.EASEModel()).fit(weighted)


def test_rows_that_weigh_nothing_are_left_out(held_out):
    X, y = held_out
    weights = np.ones(X.n_interactions, dtype=np.float32)
    for row in range(0, len(X), 3):
        weights[X.offsets[row] : X.offsets[row + 1]] = 0
    target = RecToolsTarget(transformer(batch_size=1), random_state=0).fit(X.replace(weights=weights))
    assert np.isfinite(target.score(X, y))
    with pytest.raises(ValueError, match="every target weighs 0"):
        RecToolsTarget(transformer()).fit(X.replace(weights=weights * 0))
    with pytest.raises(ValueError, match="weights"):
        RecToolsTarget(transformer()).fit(X.replace(weights=-weights))


def test_weights_that_are_not_finite_are_no_model(held_out):
    X, _ = held_out
    with pytest.raises(FloatingPointError, match="SASRecModel has weights that are not finite"):
        RecToolsTarget(transformer(lr=1e30), random_state=0).fit(X)


def test_rows_stay_in_their_order_whatever_their_users_and_times(held_out):
    X, _ = held_out
    scores = RecToolsTarget(transformer(), random_state=0).fit(X).decision_function(X)
    shuffled = X.replace(users=np.zeros(len(X), dtype=np.int64), timestamps=np.arange(X.n_interactions)[::-1].copy())
    again = RecToolsTarget(transformer(), random_state=0).fit(shuffled)
    np.testing.assert_array_equal(again.decision_function(X), scores)


def test_settings_of_the_model_are_parameters(held_out):
    X, y = held_out
    target = RecToolsTarget(transformer(), random_state=0)
    assert target.get_params()["model__n_factors"] == 8
    assert "model__n_factors" not in target.get_params(deep=False)
    assert clone(target).set_params(model__n_factors=4).model.n_factors == 4
    assert target.model.n_factors == 8
    with pytest.raises(
        ValueError, match=r"SASRecModel has no setting 'width'; it has verbose, data_preparator_type, n_blocks"
    ):
        target.set_params(model__width=3)
    search = GridSearchCV(target, {"model__n_factors": [4, 8]}, cv=LeaveLastOut()).fit(X, y)
    assert search.best_estimator_.model_.n_factors in (4, 8)


def test_the_process_is_left_as_it_was(held_out, tmp_path, monkeypatch, capfd, caplog):
    X, _ = held_out
    model = transformer()
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    drawn = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    target = RecToolsTarget(model, random_state=0).fit(X)
    pickle.loads(pickle.dumps(target)).predict(X)
    clone(target)
    assert not model.is_fitted
    assert drawn == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert list(Path.cwd().iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_threads_leave_the_process_as_it_was(held_out):
    X, _ = held_out
    levels = [logging.getLogger(name).level for name in ("rectools", "pytorch_lightning", "pydantic")]
    filters = list(warnings.filters)
    torch.use_deterministic_algorithms(True)
    try:
        targets = [RecToolsTarget(transformer(epochs=1), random_state=seed) for seed in range(3)]
        Parallel(n_jobs=2, backend="threading")(delayed(target.fit)(X) for target in targets)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert [logging.getLogger(name).level for name in ("rectools", "pytorch_lightning", "pydantic")] == levels
    assert list(warnings.filters) == filters


def test_an_autocast_around_it_changes_nothing(held_out):
    X, _ = held_out
    outside = RecToolsTarget(transformer(), random_state=0).fit(X)
    with torch.autocast("cpu", torch.bfloat16):
        inside = RecToolsTarget(transformer(), random_state=0).fit(X)
        scores = inside.decision_function(X)
    assert np.array_equal(scores, outside.decision_function(X))


def test_it_can_be_shown():
    target = RecToolsTarget(models.EASEModel(), random_state=0)
    assert "RecToolsTarget" in target._repr_html_()
    assert "RecToolsTarget" in RegeneratedRecommender(None, target)._repr_html_()


def test_what_cannot_rank_after_a_history_is_refused(held_out):
    X, _ = held_out
    with pytest.raises(TypeError, match=r"a model of RecTools, such as .*; got 'SASRec'"):
        RecToolsTarget("SASRec").fit(X)
    with pytest.raises(ValueError, match="PureSVDModel cannot rank after any history"):
        RecToolsTarget(models.PureSVDModel()).fit(X)
    with pytest.raises(ValueError, match="HSTUModel reads the time"):
        RecToolsTarget(transformer("HSTUModel")).fit(X)
    with pytest.raises(ValueError, match="longest row has 1 item"):
        RecToolsTarget(transformer()).fit([[1], [2]])


@pytest.mark.filterwarnings("ignore::seqregen.inputs.UnseenItemsWarning")
# Said by RecTools where scikit-learn pickles the model that was given.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
@parametrize_with_checks([RecToolsTarget(transformer(), random_state=0)], expected_failed_checks=lambda _: FAILURES)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_rectools_reads_the_export(sequences):
    from rectools.dataset import Dataset

    data = sequences.replace(weights=np.linspace(1, 2, sequences.n_interactions, dtype=np.float32))
    dataset = Dataset.construct(data.to_rectools())
    assert dataset.user_id_map.size == len(data)
    assert dataset.item_id_map.size == len(np.unique(data.items))
    frame = dataset.get_raw_interactions().sort_values("datetime", kind="stable")
    for row in (0, 7, len(data) - 1):
        mine = frame[frame["user_id"] == row + 1]
        assert mine["item_id"].tolist() == data.to_lists()[row]
        np.testing.assert_allclose(mine["weight"], data.weights[data.offsets[row] : data.offsets[row + 1]])
