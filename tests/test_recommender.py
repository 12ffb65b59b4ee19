"""RegeneratedRecommender: what each step sees, that nothing leaks, and scikit-learn's machinery around it."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from seqregen import DatasetPersonalizer, Origin, SequenceDataset
from seqregen.inputs import check_sequences
from seqregen.labels import as_label_array, encode_labels
from seqregen.metrics import UNREACHABLE, ndcg_at_k, rank_targets_in_blocks, ranking_scorers, top_items_in_blocks
from seqregen.model_selection import LeaveLastOut, append_targets, append_validation, leave_one_out
from seqregen.recommender import RegeneratedRecommender
from seqregen.targets import Ensemble, SASRec


class MarkovRecommender(BaseEstimator):
    """Counts which item follows which; ranks by counts after the last item, then by popularity."""

    __metadata_request__predict = {"k": True, "exclude_history": True}  # noqa: RUF012

    def __init__(self, smoothing=0.5):
        self.smoothing = smoothing

    def fit(self, X, y=None):
        data = check_sequences(X)
        self.seen_ = data
        self.vocabulary_ = data.vocabulary
        counts = np.zeros((data.n_items + 1, data.n_items))
        inside = np.ones(data.n_interactions, dtype=bool)
        inside[data.offsets[1:-1][data.offsets[1:-1] < data.n_interactions]] = False
        inside[:1] = False
        after = np.flatnonzero(inside)
        np.add.at(counts, (data.items[after - 1], data.items[after] - 1), 1)
        self.counts_ = counts + self.smoothing * np.bincount(data.items, minlength=data.n_items + 1)[1:] / 1e3
        return self

    def _scores(self, X):
        histories = check_sequences(X, vocabulary=self.vocabulary_).histories()
        last = np.zeros(len(histories), dtype=np.int64)
        filled = histories.lengths > 0
        last[filled] = histories.items[histories.offsets[1:][filled] - 1]
        return histories, lambda start, stop: self.counts_[last[start:stop]]

    def predict(self, X, k=10, exclude_history=True):
        histories, scores = self._scores(X)
        pairs = histories.items, histories.offsets
        codes, _ = top_items_in_blocks(scores, len(histories), pairs, k, exclude_history=exclude_history)
        return self.vocabulary_[codes - 1]

    def rank(self, X, y, exclude_history=True):
        histories, scores = self._scores(X)
        targets = encode_labels(as_label_array(y), self.vocabulary_)
        pairs = histories.items, histories.offsets
        return rank_targets_in_blocks(scores, len(histories), targets, pairs, exclude_history=exclude_history)

    def score(self, X, y):
        return ndcg_at_k(self.rank(X, y), 10)


class Copier(TransformerMixin, BaseEstimator):
    """Adds every row once more behind the originals, and remembers what it saw."""

    def __init__(self, copies=1, loss=None):
        self.copies = copies
        self.loss = loss

    def fit(self, X, y=None):
        self.seen_ = X
        return self

    def transform(self, X):
        data = check_sequences(X)
        if self.loss == "validation":
            return data.replace(validation=None)
        if self.loss == "rows":
            return data[1:]
        if self.loss == "type":
            return data.to_lists()
        if self.loss == "vocabulary":
            return data.replace(vocabulary=data.vocabulary[::-1])
        rows = data.originals()
        if self.loss == "order":
            return rows[::-1].replace(validation=rows.validation)
        if self.loss == "items":
            return append_validation(rows).replace(validation=rows.validation)
        for _ in range(self.copies):
            data = data.append(rows.items, rows.offsets, Origin.REGENERATED, source=np.arange(len(rows)))
        return data


def make_rows(n_rows=40, n_items=12, seed=0):
    random = np.random.default_rng(seed)
    starts, lengths = random.integers(0, n_items, n_rows), random.integers(3, 7, n_rows)
    # Items follow one another round a circle, so that a Markov model has something to learn.
    return [
        [f"item {(start + step) % n_items:02d}" for step in range(length)]
        for start, length in zip(starts, lengths, strict=True)
    ]


def all_labels(data):
    return set(data.vocabulary[data.items - 1].tolist())


def test_nothing_leaks():
    rows = [[*row, f"validation {n}", f"test {n}"] for n, row in enumerate(make_rows())]
    X, y = leave_one_out(rows)
    model = RegeneratedRecommender(Copier(), MarkovRecommender()).fit(X, y)
    for seen in (model.regeneration_.seen_, model.recommender_.seen_):
        labels = all_labels(seen)
        assert labels == {label for row in make_rows() for label in row}
        # Validation items are known by the column alone, and test items by the catalogue alone.
        held_out = seen.vocabulary[seen.validation[: len(X)] - 1].tolist()
        assert held_out == [f"validation {n}" for n in range(len(X))]
        assert set(y) <= set(seen.vocabulary.tolist())
    assert len(model.regeneration_.seen_) == len(X)
    assert len(model.recommender_.seen_) == 2 * len(X)
    assert (model.recommender_.seen_.validation[len(X) :] == 0).all()


def test_y_changes_nothing():
    X, y = leave_one_out(make_rows())
    fitted = [
        RegeneratedRecommender(Copier(), MarkovRecommender()).fit(X, target).recommender_.counts_
        for target in (None, y, y[::-1], ["nonsense"])
    ]
    for counts in fitted[1:]:
        np.testing.assert_array_equal(counts, fitted[0])


def test_raw_histories_are_read_whole_in_predict():
    rows = make_rows()
    model = RegeneratedRecommender(Copier(), MarkovRecommender()).fit(rows)
    expected = model.recommender_.predict(rows, k=3)
    np.testing.assert_array_equal(model.predict(rows, k=3), expected)
    # The item after the last one of a circle of twelve.
    following = [f"item {(int(row[-1][-2:]) + 1) % 12:02d}" for row in rows]
    assert (model.predict(rows, k=1)[:, 0] == following).all()
    assert model.score(rows, following) == 1.0
    assert model.rank(rows, following).tolist() == [1] * len(rows)
    repeated = model.predict([["item 00", "item 01", "item 00"]], k=1, exclude_history=False)
    assert repeated.tolist() == [["item 01"]]
    assert model.predict([["item 00", "item 01", "item 00"]], k=1).tolist() != [["item 01"]]


def test_predict_does_not_regenerate(monkeypatch):
    rows = make_rows()
    model = RegeneratedRecommender(Copier(), MarkovRecommender()).fit(rows)

    def fail(self, X):
        raise AssertionError("transform was called at predict")

    monkeypatch.setattr(Copier, "transform", fail)
    assert model.predict(rows, k=2).shape == (len(rows), 2)


@pytest.mark.parametrize("regeneration", [None, "passthrough"])
def test_no_regeneration(regeneration):
    model = RegeneratedRecommender(regeneration, MarkovRecommender()).fit(make_rows())
    assert model.regeneration_ is None
    seen = model.recommender_.seen_
    assert (seen.origin == Origin.ORIGINAL).all()
    assert seen.to_lists() == [row[:-1] for row in make_rows()]


def test_validation_none_and_given():
    rows = make_rows()
    whole = RegeneratedRecommender(Copier(), MarkovRecommender(), validation=None).fit(rows)
    assert whole.regeneration_.seen_.to_lists() == rows
    assert whole.recommender_.seen_.validation is None
    X, _ = leave_one_out(rows, validation=True)
    given = RegeneratedRecommender(Copier(), MarkovRecommender()).fit(X)
    assert given.regeneration_.seen_ == X


def test_rows_of_one_item_are_kept():
    model = RegeneratedRecommender(Copier(), MarkovRecommender()).fit([["a", "b"], ["c"], ["b", "c"], []])
    assert model.regeneration_.seen_.to_lists() == [["a"], ["c"], ["b"], []]
    assert model.regeneration_.seen_.validation.tolist() == [2, 0, 3, 0]


def test_parameters_are_not_fitted_or_changed():
    regeneration, recommender = Copier(), MarkovRecommender()
    model = RegeneratedRecommender(regeneration, recommender).fit(make_rows())
    assert model.regeneration is regeneration
    assert not hasattr(regeneration, "seen_")
    assert not hasattr(recommender, "seen_")
    assert model.regeneration_ is not regeneration


def test_clone_pickle_joblib_and_html(tmp_path):
    rows = make_rows()
    model = RegeneratedRecommender(make_pipeline(Copier()), MarkovRecommender()).fit(rows)
    fresh = clone(model)
    assert not hasattr(fresh, "recommender_")
    assert fresh.set_params(regeneration__copier__copies=3, recommender__smoothing=0.1).fit(rows)
    assert len(fresh.recommender_.seen_) == 4 * len(rows)
    joblib.dump(model, tmp_path / "model.joblib")
    for loaded in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(loaded.predict(rows, k=3), model.predict(rows, k=3))
        np.testing.assert_array_equal(loaded.vocabulary_, model.vocabulary_)
    assert "MarkovRecommender" in model._repr_html_()
    assert repr(model).startswith("RegeneratedRecommender(recommender=MarkovRecommender()")


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cv", [LeaveLastOut(), KFold(3)])
def test_cross_validate(cv, n_jobs):
    X, y = leave_one_out(SequenceDataset.from_sequences(make_rows()).replace(users=np.arange(40)))
    model = RegeneratedRecommender(Copier(), MarkovRecommender())
    result = cross_validate(
        model, X, y, cv=cv, scoring=ranking_scorers(k=(1, 5)), n_jobs=n_jobs, return_estimator=True, error_score="raise"
    )
    assert (result["test_ndcg@5"] > 0.9).all()
    for fitted in result["estimator"]:
        seen = fitted.regeneration_.seen_
        assert type(seen) is SequenceDataset
        assert seen.users is not None
        assert seen.n_items == X.n_items


def test_grid_search_over_nested_parameters_and_without_regeneration():
    X, y = leave_one_out(make_rows())
    search = GridSearchCV(
        RegeneratedRecommender(Pipeline([("copy", Copier())]), MarkovRecommender()),
        [
            {"regeneration__copy__copies": [1, 2], "recommender__smoothing": [0.5, 1.0]},
            {"regeneration": ["passthrough"]},
        ],
        cv=LeaveLastOut(),
        scoring=ranking_scorers(k=(1, 5)),
        refit="ndcg@5",
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 5
    assert search.best_score_ == search.cv_results_["mean_test_ndcg@5"].max()
    final = search.best_estimator_.fit(append_targets(X, y))
    assert final.predict(make_rows(), k=2).shape == (40, 2)


@pytest.mark.parametrize("routing", [False, True])
def test_list_length_passes_through_a_pipeline(routing):
    with config_context(enable_metadata_routing=routing):
        rows = make_rows()
        model = make_pipeline("passthrough", RegeneratedRecommender(Copier(), MarkovRecommender())).fit(rows)
        assert model.predict(rows, k=3, exclude_history=False).shape == (len(rows), 3)
        X, y = leave_one_out(rows)
        assert model.fit(X).score(X, y) == model[-1].score(X, y) > 0.5
        result = cross_validate(model, X, y, cv=LeaveLastOut(), scoring=ranking_scorers(k=5), error_score="raise")
        assert result["test_recall@5"] > 0.9


def test_methods_are_there_only_if_the_recommender_has_them():
    model = RegeneratedRecommender(Copier(), MarkovRecommender())
    assert hasattr(model, "rank")
    assert hasattr(model, "score")
    assert not hasattr(model, "decision_function")
    assert not hasattr(model, "vocabulary_")
    with pytest.raises(NotFittedError):
        model.predict([["a"]])
    with pytest.raises(NotFittedError):
        model.rank([["a"]], ["a"])

    class WithScores(MarkovRecommender):
        def decision_function(self, X):
            return "scores of " + str(len(X))

    assert RegeneratedRecommender(None, WithScores()).fit(make_rows()).decision_function([["a"]]) == "scores of 1"


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ("validation", ValueError, "Copier lost or changed validation items"),
        ("rows", ValueError, "Copier was given 40 original rows and gave 39"),
        ("type", TypeError, "must give a SequenceDataset.*Copier gave list"),
        ("vocabulary", ValueError, "Copier changed the vocabulary"),
        ("order", ValueError, "Copier changed the original row 0, .* must stay as they are"),
        ("items", ValueError, "Copier changed the original row 0, .* must stay as they are"),
    ],
)
def test_a_regeneration_that_loses_something_is_refused(loss, error, message):
    with pytest.raises(error, match=message):
        RegeneratedRecommender(Copier(loss=loss), MarkovRecommender()).fit(make_rows())


class NeverFitted(Copier):
    """Regenerating takes minutes; what can be refused is refused before."""

    def fit_transform(self, X, y=None):
        raise AssertionError("the regeneration ran")


@pytest.mark.parametrize(
    ("recommender", "error", "message"),
    [
        (SASRec, TypeError, "recommender must be an estimator with fit and predict"),
        (None, TypeError, "recommender must be an estimator with fit and predict"),
        (Copier(), TypeError, "recommender must be an estimator with fit and predict"),
        (SASRec(loss="foo"), ValueError, "loss must be one of"),
        (SASRec(device="gpu"), ValueError, "device='gpu' is not a device"),
        (SASRec(random_state="x"), ValueError, "SASRec: random_state must be an integer"),
        (SASRec(checkpoint_dir=5), TypeError, "SASRec: checkpoint_dir must be the path"),
        (Ensemble([]), TypeError, "Ensemble: recommenders must be a list"),
        (Ensemble([SASRec(), SASRec(embedding_dim=7)]), ValueError, "n_heads=2 must divide embedding_dim=7"),
        (DatasetPersonalizer(SASRec(), optimize="x"), ValueError, "DatasetPersonalizer: optimize must be one of"),
        (DatasetPersonalizer(SASRec(embedding_dim=7)), ValueError, "n_heads=2 must divide embedding_dim=7"),
        (DatasetPersonalizer(Ensemble([SASRec()])), TypeError, "Ensemble cannot be personalized"),
    ],
)
def test_a_recommender_that_cannot_be_trained_is_refused_before_the_regeneration(recommender, error, message):
    with pytest.raises(error, match=message):
        RegeneratedRecommender(NeverFitted(), recommender).fit(make_rows())


def test_rows_too_short_to_hold_an_item_out_say_so():
    with pytest.raises(ValueError, match=r"the longest row has 1 item\(s\) beside its validation item"):
        RegeneratedRecommender(None, SASRec(max_epochs=1)).fit([[1, 2], [2, 1]])


def test_bad_parameters():
    with pytest.raises(ValueError, match="validation must be 'last_item' or None; got 'last'"):
        RegeneratedRecommender(None, MarkovRecommender(), validation="last").fit(make_rows())
    with pytest.raises(TypeError, match="regeneration must be a transformer"):
        RegeneratedRecommender(MarkovRecommender(), MarkovRecommender()).fit(make_rows())
    with pytest.raises(ValueError, match="all of them are empty"):
        RegeneratedRecommender(None, MarkovRecommender()).fit([[], []])
    regenerated = Copier().fit_transform(make_rows())
    with pytest.raises(ValueError, match="row 40 is regenerated"):
        RegeneratedRecommender(None, MarkovRecommender()).fit(regenerated)


CANNOT_HOLD = {
    "check_n_features_in_after_fitting": "sequences differ in length: a row of another length than in fit is no error",
    "check_estimators_dtypes": "predict lists 10 items by default, and this check's data has fewer: that is refused",
}


@parametrize_with_checks(
    [RegeneratedRecommender(None, MarkovRecommender())], expected_failed_checks=lambda estimator: CANNOT_HOLD
)
@pytest.mark.filterwarnings("ignore::seqregen.inputs.UnseenItemsWarning")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_rank_can_leave_the_history_in():
    rows = [[1, 2, 3, 4], [2, 3, 4, 5], [5, 4, 3, 1]]
    model = RegeneratedRecommender(None, SASRec(embedding_dim=8, max_epochs=1, random_state=0)).fit(rows)
    firsts = [row[0] for row in rows]
    assert (model.rank(rows, firsts) == UNREACHABLE).all()
    assert (model.rank(rows, firsts, exclude_history=False) <= 5).all()


def test_a_search_within_is_refused_before_anything_is_trained():
    search = GridSearchCV(SASRec(), {"embedding_dim": [4, 8]}, cv=LeaveLastOut())
    with pytest.raises(TypeError, match=r"recommender must have predict\(X, k\).*GridSearchCV\(RegeneratedRecommender"):
        RegeneratedRecommender(None, search).fit([[1, 2, 3], [2, 3, 4]])
