"""Scorers in scikit-learn's own model selection, with estimators that rank and estimators that only list."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from seqregen import SequenceDataset
from seqregen.inputs import check_sequences
from seqregen.labels import as_label_array, encode_labels
from seqregen.metrics import UNREACHABLE, rank_targets_in_blocks, ranking_metrics, ranking_scorer, ranking_scorers
from seqregen.metrics.scorers import rank_held_out
from seqregen.model_selection import LeaveLastOut, leave_one_out

ROWS = [[1, 2, 3, 2], [2, 3, 1], [3, 2, 4, 1, 3], [4, 2, 1], [2, 1, 4]]


class PopularityRanker(BaseEstimator):
    """Ranks items by how often they occur, to a power."""

    def __init__(self, power=1.0):
        self.power = power

    def fit(self, X, y=None):
        data = check_sequences(X)
        self.vocabulary_ = data.vocabulary
        counts = np.bincount(data.items, minlength=data.n_items + 1)[1:]
        self.scores_ = np.sign(self.power) * counts.astype(float) ** abs(self.power)
        return self

    def rank(self, X, y, exclude_history=True):
        data = check_sequences(X, vocabulary=self.vocabulary_).histories()
        codes = encode_labels(as_label_array(y), self.vocabulary_)
        return rank_targets_in_blocks(
            lambda start, stop: np.tile(self.scores_, (stop - start, 1)),
            len(data),
            codes,
            (data.items, data.offsets),
            exclude_history=exclude_history,
        )


class ListMaker(BaseEstimator):
    """Lists the same labels for everybody."""

    def __init__(self, labels=("a",), as_lists=False):
        self.labels = labels
        self.as_lists = as_lists

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X, k=10):
        row = list(self.labels)[:k]
        if self.as_lists:
            return [row for _ in range(len(X))]
        return np.array([row] * len(X), dtype=object)


class HistoryAwareListMaker(ListMaker):
    def predict(self, X, k=10, exclude_history=True):
        return np.array([["excluded" if exclude_history else "included"] * k] * len(X), dtype=object)


class ListRanker(BaseEstimator):
    """Lists 2 and 1 for everybody, in a container of choice."""

    def __init__(self, make=list):
        self.make = make

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X, k=10):
        return [self.make([2, 1]) for _ in range(len(X))]


class Doubling(TransformerMixin, BaseEstimator):
    """Adds a copy of every row behind the originals, as regeneration does."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        from seqregen import Origin

        data = check_sequences(X)
        return data.append(data.items, data.offsets, Origin.REGENERATED, source=np.arange(len(data)))


def test_dict_of_floats_from_one_ranking_pass():
    X, y = leave_one_out(ROWS)
    model = PopularityRanker().fit(X)
    scores = ranking_scorers(k=(1, 3))(model, X, y)
    assert scores == ranking_metrics(model.rank(X, y), (1, 3))
    assert all(type(value) is float for value in scores.values())
    assert ranking_scorer("ndcg", k=3)(model, X, y) == scores["ndcg@3"]
    assert ranking_scorer("mrr", k=4)(model, X, y) == pytest.approx(
        np.mean(1.0 / model.rank(X, y) * (model.rank(X, y) <= 4))
    )


def test_history_option_reaches_the_estimator():
    X, y = leave_one_out([[1, 2, 1], [2, 1, 2]])
    model = PopularityRanker().fit(X)
    assert ranking_scorers(k=2)(model, X, y)["recall@2"] == 0.0
    assert ranking_scorers(k=2, exclude_history=False)(model, X, y)["recall@2"] == 1.0


def test_cross_validate_and_grid_search():
    X, y = leave_one_out([[1, 9, 2], [2, 9, 3], [3, 9, 4], [4, 1, 9], [2, 5, 9]])
    result = cross_validate(PopularityRanker(), X, y, cv=LeaveLastOut(), scoring=ranking_scorers(k=(1, 3)))
    assert result["test_recall@3"].shape == (1,)
    assert {"test_recall@1", "test_ndcg@1", "test_recall@3", "test_ndcg@3"} <= set(result)
    search = GridSearchCV(
        PopularityRanker(),
        {"power": [-1.0, 1.0]},
        cv=LeaveLastOut(),
        scoring=ranking_scorers(k=(1, 3)),
        refit="ndcg@3",
        error_score="raise",
    ).fit(X, y)
    best = search.best_index_
    assert search.cv_results_["mean_test_ndcg@3"][best] == search.cv_results_["mean_test_ndcg@3"].max()
    assert search.cv_results_["mean_test_ndcg@3"].min() < search.cv_results_["mean_test_ndcg@3"].max()
    # A fitted search is scored by its best estimator.
    assert ranking_scorers(k=3)(search, X, y) == ranking_scorers(k=3)(search.best_estimator_, X, y)
    single = GridSearchCV(
        PopularityRanker(), {"power": [-1.0, 1.0]}, cv=LeaveLastOut(), scoring=ranking_scorer("ndcg", k=3)
    ).fit(X, y)
    assert single.best_params_ == search.best_params_


def test_pipelines_are_unrolled():
    X, y = leave_one_out(ROWS)
    alone = ranking_scorers(k=3)(PopularityRanker().fit(X), X, y)
    assert ranking_scorers(k=3)(make_pipeline(PopularityRanker()).fit(X), X, y) == alone

    class OriginalsOnly(PopularityRanker):
        def rank(self, X, y, exclude_history=True):
            assert len(X) == 2 * len(y), "the pipeline did not transform"
            return super().rank(X, y, exclude_history)

    assert ranking_scorers(k=3)(make_pipeline(Doubling(), OriginalsOnly()).fit(X), X, y) == alone


@pytest.mark.parametrize("as_lists", [False, True])
def test_estimators_that_only_list(as_lists):
    X = SequenceDataset.from_sequences([["a"], ["b"], ["c"]])
    model = ListMaker(["c", "a", "b"], as_lists).fit(X)
    ranks = rank_held_out(model, X, np.array(["a", "z", "c"], dtype=object), k=2, exclude_history=True)
    assert ranks.tolist() == [2, UNREACHABLE, 1]


@pytest.mark.parametrize("make", [pa.array, torch.tensor, lambda labels: [torch.tensor(label) for label in labels]])
def test_held_out_items_and_lists_may_be_arrays_of_any_library(make):
    X, y = leave_one_out(ROWS)
    expected = rank_held_out(ListRanker().fit(X), X, y, k=2, exclude_history=True).tolist()
    assert rank_held_out(ListRanker().fit(X), X, make(y.tolist()), k=2, exclude_history=True).tolist() == expected
    assert rank_held_out(ListRanker(make).fit(X), X, y, k=2, exclude_history=True).tolist() == expected
    found = cross_validate(ListRanker(), X, make(y.tolist()), cv=LeaveLastOut(), scoring=ranking_scorers(k=2))
    assert found["test_recall@2"] == np.mean(np.array(expected) <= 2) > 0


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_lists_of_times(unit):
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype=f"datetime64[{unit}]")
    X = SequenceDataset.from_sequences([[1], [2], [3]])

    class Days(ListMaker):
        def predict(self, X, k=10):
            return np.tile(days[:k], (len(X), 1))

    assert rank_held_out(Days().fit(X), X, days, k=2, exclude_history=True).tolist() == [1, 2, UNREACHABLE]


def test_labels_of_another_kind_are_told():
    X = SequenceDataset.from_sequences([["a"], ["b"]])
    with pytest.warns(UserWarning, match=r"every target is a miss: y holds 1 \(int\), and ListMaker lists such as '1'"):
        assert ranking_scorers(2)(ListMaker(["1", "2"]).fit(X), X, [1, 2])["recall@2"] == 0
    # A miss is no other kind.
    assert ranking_scorers(2)(ListMaker([1.0, 2.0]).fit(X), X, [3, 4])["recall@2"] == 0
    with pytest.raises(TypeError, match=r"y must list one label a row, in order; got a dict"):
        ranking_scorers(2)(ListMaker(["1", "2"]).fit(X), X, {"1": 1, "2": 2})


def test_lists_of_labels_that_are_tuples():
    model = ListMaker([("tea", 1), ("tea", 2)], as_lists=True).fit(None)
    ranks = rank_held_out(model, [0, 0], [("tea", 2), ("tea", 3)], k=2, exclude_history=True)
    assert ranks.tolist() == [2, UNREACHABLE]


def test_lists_get_the_history_option_if_they_take_it():
    model = HistoryAwareListMaker().fit(None)
    y = ["included", "excluded"]
    assert rank_held_out(model, [0, 0], y, k=1, exclude_history=True).tolist() == [UNREACHABLE, 1]
    assert rank_held_out(model, [0, 0], y, k=1, exclude_history=False).tolist() == [1, UNREACHABLE]


def test_k_larger_than_the_vocabulary():
    X, y = leave_one_out(ROWS)
    with pytest.raises(ValueError, match="k=20 is larger than the vocabulary, which has 4 items"):
        ranking_scorers()(PopularityRanker().fit(X), X, y)
    with pytest.raises(ValueError, match="If there are fewer than 3 items, lower k"):
        ranking_scorers(k=3)(ListMaker(["a", "b"]).fit(X), X, ["a"] * len(X))


def test_wrong_number_of_ranks():
    class Broken(PopularityRanker):
        def rank(self, X, y, exclude_history=True):
            return np.ones(2, dtype=int)

    X, y = leave_one_out(ROWS)
    with pytest.raises(ValueError, match=r"Broken.rank must give one rank for each of the 5 held-out items"):
        ranking_scorers(k=2)(Broken().fit(X), X, y)


def test_parameters_are_refused_when_the_scorer_is_made():
    with pytest.raises(ValueError, match="metric must be"):
        ranking_scorer("precision")
    with pytest.raises(ValueError, match="k must be a positive integer"):
        ranking_scorer("ndcg", k=0)
    with pytest.raises(ValueError, match="k must be a positive integer"):
        ranking_scorers(k=0)
    with pytest.raises(ValueError, match="at least one cut-off"):
        ranking_scorers(k=[])
    for make in (ranking_scorer, ranking_scorers):
        with pytest.raises(ValueError, match="exclude_history must be True or False; got 'no'"):
            make(exclude_history="no")


def test_repr_pickle_and_clone():
    for scorer in (
        ranking_scorers(k=[5, 10], exclude_history=False),
        ranking_scorers(k=3),
        ranking_scorer("ndcg", k=20),
    ):
        assert eval(repr(scorer)) == scorer
        assert pickle.loads(pickle.dumps(scorer)) == scorer
        assert clone(scorer, safe=False) == scorer
    assert repr(ranking_scorers(exclude_history=False)) == "ranking_scorers(k=(10, 20), exclude_history=False)"
    assert repr(ranking_scorer()) == "ranking_scorer('ndcg', k=10, exclude_history=True)"


def test_importing_metrics_does_not_import_torch():
    code = "import sys, seqregen.metrics, seqregen.model_selection, seqregen.recommender; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_list_without_a_length_is_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match="k must be a positive integer; got None"):
        ranking_scorer("mrr", k=None)
