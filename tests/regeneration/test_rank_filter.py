"""RankFilter: which added rows stay, and that nothing else changes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from seqregen import DatasetRegenerator, Origin, PatternMiner, RankFilter, RegeneratedRecommender, SequenceDataset
from seqregen.model_selection import leave_one_out
from seqregen.targets import SASRec


@pytest.fixture
def sasrec() -> SASRec:
    return SASRec(embedding_dim=8, n_layers=1, hidden_dim=8, max_epochs=4, batch_size=16, random_state=0)


def added(data: SequenceDataset) -> SequenceDataset:
    return data[data.origin != Origin.ORIGINAL]


def test_rows_stay_whose_last_item_is_among_the_first(sasrec, mined):
    result = RankFilter(sasrec, highest_rank=5).fit_transform(mined)
    assert result.originals() == mined.originals()
    recommender = clone(sasrec).fit(mined.originals().replace(validation=None, pairs=None))
    expected = [row for row in added(mined).to_lists() if row[-1] in recommender.predict([row[:-1]], k=5)[0]]
    assert added(result).to_lists() == expected
    assert 0 < len(expected) < len(added(mined))


def test_columns_of_rows_stay_with_them(sasrec, mined):
    weights = np.linspace(0.1, 1, mined.n_interactions, dtype=np.float32)
    sources = mined.append(mined.items[:4], np.array([0, 2, 4]), Origin.REGENERATED, source=np.array([3, 1])).replace(
        weights=np.append(weights, np.ones(4, dtype=np.float32))
    )
    everything = RankFilter(sasrec, highest_rank=mined.n_items).fit_transform(sources)
    assert everything == sources
    few = RankFilter(sasrec, highest_rank=1).fit_transform(sources)
    assert set(few.source.tolist()) <= {-1, 1, 3}
    np.testing.assert_array_equal(
        few.weights[: few.originals().n_interactions], weights[: few.originals().n_interactions]
    )


def test_an_item_that_comes_again_is_ranked_only_if_asked(sasrec):
    data = SequenceDataset.from_sequences([["a", "b", "a", "c"], ["b", "a", "b", "c"]] * 5)
    data = data.append(data.items[[0, 1, 0]], np.array([0, 3]), Origin.MINED)
    lengths = [len(RankFilter(sasrec, exclude_history=exclude).fit_transform(data)) for exclude in (True, False)]
    assert lengths == [10, 11]


def test_what_is_held_out_is_not_read(sasrec, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    mined = PatternMiner(window=3, random_state=0).fit_transform(X)
    other = mined.replace(validation=np.roll(mined.validation, 1))
    first, second = (RankFilter(sasrec, highest_rank=5).fit_transform(rows) for rows in (mined, other))
    assert first.replace(validation=None) == second.replace(validation=None)


def test_rows_without_added_ones_and_short_ones_are_kept(sasrec, sequences):
    assert RankFilter(sasrec).fit_transform(sequences) == sequences
    short = sequences.append(sequences.items[:1], np.array([0, 1]), Origin.MINED)
    assert RankFilter(sasrec, highest_rank=1).fit_transform(short) == short


def test_the_default_recommender(sequences, tmp_path):
    settings = {"random_state": 0, "checkpoint_dir": tmp_path, "device": "cpu"}
    model = RankFilter(**settings).fit(sequences)
    assert isinstance(model.recommender_, SASRec)
    assert len(model.recommender_.refit_history_) == model.recommender_.best_epoch_ + 1
    again = RankFilter(**settings).fit(sequences)
    assert again.recommender_.history_ == model.recommender_.history_


def test_it_takes_its_place_in_scikit_learn(sasrec, sequences):
    X, y = leave_one_out(sequences, validation=True)
    model = RankFilter(clone(sasrec), highest_rank=3)
    regenerator = DatasetRegenerator(
        n_memories=2, item_embeddings=None, embedding_dim=8, n_layers=1, hidden_dim=8, max_epochs=1, random_state=0
    )
    pipeline = make_pipeline(PatternMiner(window=3, random_state=0), regenerator, model)
    rows = pipeline.fit_transform(X)
    assert len(X) < len(rows) < len(pipeline[:-1].transform(X))
    assert pickle.loads(pickle.dumps(pipeline)).transform(X) == pipeline.transform(X)
    assert clone(model).set_params(recommender__max_epochs=1).recommender.max_epochs == 1
    assert 0 <= RegeneratedRecommender(pipeline, clone(sasrec)).fit(sequences).score(X, y) <= 1


@pytest.mark.parametrize(("name", "value"), [("highest_rank", 0), ("exclude_history", "no"), ("device", "gpu")])
def test_parameters_are_checked_by_name(sasrec, sequences, name, value):
    with pytest.raises(ValueError, match=name):
        RankFilter(sasrec, **{name: value}).fit(sequences)


@pytest.mark.parametrize("recommender", [PatternMiner(), "SASRec", SASRec])
def test_what_cannot_rank_is_named(sequences, recommender):
    with pytest.raises(TypeError, match="RankFilter: recommender must be a recommender, an instance that has rank"):
        RankFilter(recommender).fit(sequences)


@pytest.mark.parametrize(("name", "value"), [("highest_rank", "all"), ("exclude_history", 2)])
def test_parameters_are_checked_before_rows_are_ranked(sasrec, mined, name, value):
    fitted = RankFilter(sasrec).fit(mined).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"RankFilter: {name} must be"):
        fitted.transform(mined)


def test_what_is_in_its_own_history_has_no_rank(sasrec):
    data = SequenceDataset.from_sequences([["a", "b", "a", "c"], ["b", "a", "b", "c"]] * 5)
    data = data.append(data.items[[0, 1, 0]], np.array([0, 3]), Origin.MINED)
    assert len(RankFilter(sasrec, highest_rank=np.iinfo(np.int64).max).fit_transform(data)) == 10
