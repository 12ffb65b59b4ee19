"""Recommenders and regenerators inside scikit-learn: pipelines, searches, routing, its own checks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from small_modules import Recurrent

from seqregen import (
    DatasetPersonalizer,
    DatasetRegenerator,
    PatternMiner,
    RankFilter,
    RegeneratedRecommender,
    TeacherRegenerator,
)
from seqregen.metrics import ranking_scorer, ranking_scorers
from seqregen.model_selection import LeaveLastOut, leave_one_out
from seqregen.targets import FMLP, GNN, CL4SRec, Ensemble, GRU4Rec, SASRec, SequentialRecommender, TorchTarget

METRICS = ["recall@5", "ndcg@5", "recall@10", "ndcg@10"]


def tiny_regenerator(**changes) -> DatasetRegenerator:
    settings = {
        "n_memories": 2,
        "item_embeddings": None,
        "embedding_dim": 8,
        "n_layers": 1,
        "hidden_dim": 12,
        "max_epochs": 2,
        "max_length": 5,
        "batch_size": 32,
        "random_state": 0,
    }
    return DatasetRegenerator(**(settings | changes))


@pytest.fixture
def split(sequences):
    return leave_one_out(sequences, validation=True)


def test_features_of_each_row_stand_in_a_feature_union(tiny, sequences):
    recommender = tiny().fit(sequences)
    features = FeatureUnion(
        [
            ("states", FunctionTransformer(recommender.encode)),
            ("lengths", FunctionTransformer(lambda rows: rows.lengths[:, None])),
        ]
    )
    found = features.fit_transform(sequences)
    np.testing.assert_array_equal(found[:, :-1], recommender.encode(sequences))
    assert found[:, -1].tolist() == sequences.lengths.tolist()
    long_rows = sequences.lengths > np.median(sequences.lengths)
    assert make_pipeline(features, DecisionTreeClassifier()).fit(sequences, long_rows).score(sequences, long_rows) == 1


@pytest.fixture
def pipeline(tiny):
    return Pipeline(
        [
            ("miner", PatternMiner(window=3, random_state=0)),
            ("regenerator", tiny_regenerator()),
            ("sasrec", tiny(max_epochs=2)),
        ]
    )


def test_a_pipeline_fits_predicts_and_scores(pipeline, split):
    X, y = split
    pipeline.fit(X, y)
    by_hand = pipeline[:-1].transform(X)
    assert len(by_hand) > len(X)
    alone = clone(pipeline[-1]).fit(by_hand)
    np.testing.assert_array_equal(pipeline.predict(X), alone.predict(X))
    assert pipeline.score(X, y) == alone.score(X, y)
    assert pipeline.predict(X, k=3, exclude_history=False).shape == (60, 3)


def test_a_pipeline_clones_pickles_and_shows_itself(pipeline, split):
    X, _ = split
    pipeline.fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipeline)).predict(X), pipeline.predict(X))
    np.testing.assert_array_equal(clone(pipeline).fit(X).predict(X), pipeline.predict(X))
    with sklearn.config_context(display="diagram"):
        shown = pipeline._repr_html_()
    assert all(name in shown for name in ("PatternMiner", "DatasetRegenerator", "SASRec"))


@pytest.mark.parametrize("make", [lambda: SASRec(n_negatives=3), lambda: DatasetRegenerator(item_embeddings=np.eye(3))])
def test_estimators_show_themselves(make):
    with sklearn.config_context(display="diagram"):
        assert "<div" in make()._repr_html_()
    with sklearn.config_context(display="text"):
        assert type(make()).__name__ in repr(make())


def test_cross_validate_with_leave_last_out(pipeline, split):
    X, y = split
    found = cross_validate(pipeline, X, y, cv=LeaveLastOut(), scoring=ranking_scorers(k=(5, 10)), return_estimator=True)
    assert {name.removeprefix("test_") for name in found if name.startswith("test_")} == set(METRICS)
    (fitted,) = found["estimator"]
    assert found["test_ndcg@10"][0] == fitted.score(X, y)


def test_cross_validate_over_rows_keeps_the_columns(pipeline, split):
    X, y = split
    found = cross_validate(pipeline, X, y, cv=KFold(2), scoring=ranking_scorer("recall", k=10), error_score="raise")
    assert len(found["test_score"]) == 2


def test_grid_search_over_nested_parameters(pipeline, split):
    X, y = split
    grid = {
        "regenerator": ["passthrough", tiny_regenerator()],
        "regenerator__generative_rate": [0.0],
        "sasrec__loss": ["bce", "ce"],
    }
    passthrough = {name: values for name, values in grid.items() if name != "regenerator__generative_rate"}
    passthrough["regenerator"] = ["passthrough"]
    grid["regenerator"] = grid["regenerator"][1:]
    search = GridSearchCV(
        pipeline, [passthrough, grid], cv=LeaveLastOut(), scoring=ranking_scorers(k=(5, 10)), refit="ndcg@10",
        error_score="raise",
    )  # fmt: skip
    search.fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_ndcg@10"]).all()
    assert search.predict(X).shape == (60, 10)
    assert search.best_score_ == search.cv_results_["mean_test_ndcg@10"].max()


@pytest.mark.slow
def test_two_jobs_change_nothing(tiny, split):
    X, y = split
    grid = {"learning_rate": [1e-3, 1e-2]}
    scores = [
        GridSearchCV(tiny(max_epochs=1), grid, cv=LeaveLastOut(), n_jobs=n_jobs, error_score="raise")
        .fit(X, y)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


def test_with_metadata_routing(pipeline, split):
    X, y = split
    expected = pipeline.fit(X, y).predict(X, k=4)
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            pipeline.score(X, y, sample_weight=np.ones(len(y)))
        routed = clone(pipeline).fit(X, y)
        np.testing.assert_array_equal(routed.predict(X, k=4), expected)
        assert routed.score(X, y) == pipeline.score(X, y)
        cross_validate(pipeline, X, y, cv=LeaveLastOut(), scoring=ranking_scorers(k=5), error_score="raise")


def test_lists_of_lists_go_through_a_search(tiny, sequences):
    X, y = leave_one_out(sequences)
    search = GridSearchCV(tiny(max_epochs=1), {"dropout": [0.0, 0.5]}, cv=LeaveLastOut(), error_score="raise")
    search.fit(X.to_lists(), y)
    assert search.predict(X.to_lists()).shape == (60, 10)


def test_the_whole_path_as_one_estimator(tiny, sequences):
    X, y = leave_one_out(sequences)
    regeneration = make_pipeline(PatternMiner(window=3, random_state=0), tiny_regenerator())
    model = RegeneratedRecommender(regeneration, tiny(max_epochs=2))
    search = GridSearchCV(
        model, {"regeneration": ["passthrough", regeneration], "recommender__max_epochs": [1, 2]}, cv=LeaveLastOut()
    )
    search.fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.score(X, y) == search.best_estimator_.score(X, y)


# scikit-learn's own checks. They run on small random arrays, whose rows are sequences of equal length here.

OTHER_LENGTHS = "rows are sequences: another number of columns is another length, not an error"
TEN_OUT_OF_THREE = "predict lists the ten best items by default, and the check's vocabulary has three"
ROWS_ARE_ADDED = "mined and regenerated rows of other lengths stand behind the originals: the result is no 2-D array"
REPORTS = "transform keeps its report of what it made in report_, as documented"
A_DATASET = "the result is a SequenceDataset, which has items rather than a dtype"

RECOMMENDER_FAILURES = {
    "check_n_features_in_after_fitting": OTHER_LENGTHS,
    "check_estimators_dtypes": TEN_OUT_OF_THREE,
}
TORCH_FAILURES = RECOMMENDER_FAILURES | {
    "check_do_not_raise_errors_in_init_or_set_params": "**module_params takes names that begin with module__ alone",
}
PERSONALIZER_FAILURES = RECOMMENDER_FAILURES | {
    "check_transformer_general": OTHER_LENGTHS,
    "check_transformer_preserve_dtypes": A_DATASET,
}
ADDING_FAILURES = {
    "check_n_features_in_after_fitting": OTHER_LENGTHS,
    "check_pipeline_consistency": ROWS_ARE_ADDED,
    "check_estimators_pickle": ROWS_ARE_ADDED,
    "check_transformer_data_not_an_array": ROWS_ARE_ADDED,
    "check_transformer_general": ROWS_ARE_ADDED,
    "check_methods_sample_order_invariance": ROWS_ARE_ADDED,
    "check_methods_subset_invariance": ROWS_ARE_ADDED,
    "check_fit_idempotent": ROWS_ARE_ADDED,
    "check_transformer_preserve_dtypes": A_DATASET,
    "check_dict_unchanged": REPORTS,
}
# What it made is kept nowhere; and the rows of check_fit_idempotent hold unseen items alone, so that none is continued.
TEACHER_FAILURES = {
    name: why for name, why in ADDING_FAILURES.items() if name not in ("check_dict_unchanged", "check_fit_idempotent")
}
# What remains when no rows are added.
KEEPING_FAILURES = {
    "check_n_features_in_after_fitting": OTHER_LENGTHS,
    "check_transformer_general": OTHER_LENGTHS,
    "check_transformer_preserve_dtypes": A_DATASET,
    "check_dict_unchanged": REPORTS,
}


FILTER_FAILURES = {name: why for name, why in KEEPING_FAILURES.items() if name != "check_dict_unchanged"}


def checked_estimators() -> list:
    tiny = {"embedding_dim": 4, "n_layers": 1, "n_heads": 1, "hidden_dim": 4, "max_epochs": 1, "random_state": 0}
    regenerator = DatasetRegenerator(
        n_memories=2, item_embeddings=None, max_length=4, miner=PatternMiner(window=2, min_support=1), **tiny
    )
    without_heads = {name: value for name, value in tiny.items() if name != "n_heads"}
    return [
        SASRec(max_length=5, n_negatives=4, **tiny),
        GRU4Rec(max_length=5, n_negatives=4, **without_heads),
        FMLP(max_length=5, n_negatives=4, **without_heads),
        GNN(max_length=5, n_negatives=4, **tiny),
        CL4SRec(max_length=5, n_negatives=4, **tiny),
        TorchTarget(Recurrent, max_length=5, n_negatives=4, max_epochs=1, random_state=0),
        DatasetPersonalizer(
            SASRec(max_length=5, n_negatives=4, **(tiny | {"max_epochs": 2})), warmup_epochs=0, update_every=1
        ),
        regenerator,
        clone(regenerator).set_params(include=("original",)),
        Ensemble([SASRec(max_length=5, n_negatives=4, **tiny)]),
        TeacherRegenerator(SASRec(max_length=5, n_negatives=4, **tiny), n_items=1, random_state=0),
        RankFilter(SASRec(max_length=5, n_negatives=4, **tiny)),
    ]


@pytest.mark.parametrize(
    "estimator",
    [
        estimator
        for estimator in checked_estimators()
        if hasattr(estimator, "max_length") and hasattr(estimator, "predict")
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("max_length", [-1, 2, 60])
def test_a_length_that_is_set_behind_fit_is_not_the_one_that_was_learnt(estimator, max_length, sequences):
    fitted = clone(estimator).fit(sequences)
    expected = fitted.encode(sequences)
    np.testing.assert_array_equal(fitted.set_params(max_length=max_length).encode(sequences), expected)


def expected_failures(estimator) -> dict[str, str]:
    if isinstance(estimator, TorchTarget):
        return TORCH_FAILURES
    if isinstance(estimator, SequentialRecommender | Ensemble):
        return RECOMMENDER_FAILURES
    if isinstance(estimator, DatasetPersonalizer):
        return PERSONALIZER_FAILURES
    if isinstance(estimator, TeacherRegenerator):
        return TEACHER_FAILURES
    if isinstance(estimator, RankFilter):
        return FILTER_FAILURES
    return ADDING_FAILURES if "regenerated" in estimator.include else KEEPING_FAILURES


@pytest.mark.filterwarnings("ignore:.*stops on a plateau of the training loss:UserWarning")
@pytest.mark.filterwarnings("ignore:.*no mined or regenerated rows:UserWarning")
@pytest.mark.filterwarnings("ignore::seqregen.inputs.UnseenItemsWarning")
@pytest.mark.filterwarnings("ignore:.*no .*pair to learn from:UserWarning")
@pytest.mark.filterwarnings("ignore:no pattern of two or more items:UserWarning")
@parametrize_with_checks(checked_estimators(), expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_every_listed_failure_is_a_check_that_runs():
    for estimator in checked_estimators():
        names = {
            getattr(check, "func", check).__name__
            for _, check in estimator_checks_generator(estimator)
        }  # fmt: skip
        assert set(expected_failures(estimator)) <= names
