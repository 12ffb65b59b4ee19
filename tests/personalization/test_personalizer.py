"""DatasetPersonalizer: weights, modes, repeatability, and its place in scikit-learn."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from small_modules import BothWays, LeftPadded, Recurrent

from seqregen import DatasetPersonalizer, Origin, PatternMiner, RegeneratedRecommender, SequenceDataset
from seqregen.model_selection import LeaveLastOut
from seqregen.personalization import applying
from seqregen.ragged import position_in_row
from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec, TorchTarget
from seqregen.training import NextItemRows

pytestmark = pytest.mark.filterwarnings("ignore:.*within the warm-up of:UserWarning")


def targets_of(data) -> np.ndarray:
    return position_in_row(data.offsets) > 0


def of_origin(data, *origins) -> np.ndarray:
    return np.repeat(np.isin(data.origin, origins), data.lengths)


def assert_same(first, second) -> None:
    np.testing.assert_array_equal(first.weights_, second.weights_)
    for ours, theirs in zip(
        first.recommender_.network_.parameters(), second.recommender_.network_.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    timeless = [
        [{name: value for name, value in record.items() if "seconds" not in name} for record in fitted.history_]
        for fitted in (first, second)
    ]
    assert timeless[0] == timeless[1]


MODELS = {
    "SASRec": SASRec,
    "GRU4Rec": GRU4Rec,
    "FMLP": FMLP,
    "GNN": GNN,
    "CL4SRec": CL4SRec,
    "recurrent": lambda **sizes: TorchTarget(Recurrent, **only_training(sizes)),
    "attention": lambda **sizes: TorchTarget(LeftPadded, padding="left", **only_training(sizes)),
    "last state": lambda **sizes: TorchTarget(BothWays, output="last", **only_training(sizes)),
}


def only_training(sizes) -> dict:
    of_networks = ("embedding_dim", "n_layers", "hidden_dim", "dropout")
    return {name: value for name, value in sizes.items() if name not in of_networks}


@pytest.mark.parametrize("optimize", ["bilevel", "first_order", "joint"])
@pytest.mark.parametrize("name", MODELS)
def test_every_target_gets_weights(tiny, sizes, mined, name, optimize):
    model = MODELS[name](loss="bce", **(sizes | {"batch_size": 128, "max_epochs": 3}))
    personalizer = tiny(model, optimize=optimize).fit(mined)
    assert (personalizer.n_updates_ > 0) == (optimize != "joint")
    assert personalizer.n_skipped_ == 0
    weights = personalizer.weights_
    learnt = weights[targets_of(mined) & of_origin(mined, Origin.ORIGINAL)]
    assert ((learnt > 0) & (learnt < 1)).all()
    assert len(np.unique(learnt)) > 3
    assert (weights[of_origin(mined, Origin.MINED)] == 1).all()


@pytest.mark.parametrize("loss", ["sampled_softmax", "ce", "gbce", "bpr"])
def test_every_loss_can_be_differentiated_twice(tiny, mined, loss):
    personalizer = tiny(recommender__loss=loss, recommender__max_epochs=2).fit(mined)
    assert personalizer.n_updates_ > 0
    assert personalizer.n_skipped_ == 0


def test_weights_stand_where_they_belong(tiny, mined):
    personalizer = tiny().fit(mined)
    weighted = personalizer.transform(mined)
    np.testing.assert_array_equal(weighted.weights, personalizer.weights_)
    assert weighted.weights.dtype == np.float32
    assert weighted.replace(weights=None) == mined
    assert (weighted.weights[~targets_of(mined)] == 1).all()
    # A weight belongs to the item and what is before it, wherever the row stands.
    row = int(np.flatnonzero(mined.lengths == 4)[0])
    alone = SequenceDataset.from_sequences([mined[row]], vocabulary=mined.vocabulary)
    np.testing.assert_allclose(personalizer.transform(alone).weights, weighted[row : row + 1].weights, rtol=1e-5)
    shorter = SequenceDataset.from_sequences([mined[row][:3]], vocabulary=mined.vocabulary)
    np.testing.assert_allclose(personalizer.transform(shorter).weights, weighted[row : row + 1].weights[:3], rtol=1e-5)


@pytest.mark.parametrize(
    ("fixed", "learnt"),
    [((), (0, 1)), (("original",), (1,)), (("mined", "regenerated"), (0,)), (["mined"], (0,))],
)
def test_rows_of_fixed_origins_weigh_exactly_one(tiny, mined, fixed, learnt):
    weights = tiny(fixed=fixed).fit(mined).weights_
    free = of_origin(mined, *learnt) & targets_of(mined)
    assert (weights[free] < 1).all()
    assert (weights[~free] == 1).all()


def test_weights_that_are_there_already_are_factors(tiny, mined):
    given = np.random.default_rng(0).uniform(0.5, 3, mined.n_interactions).astype(np.float32)
    plain, twice = tiny().fit(mined), tiny().fit(mined.replace(weights=np.full_like(given, 2)))
    # Twice the losses are not twice the steps of Adam, but the mean loss is twice as large at the start.
    assert twice.history_[0]["loss"] == pytest.approx(2 * plain.history_[0]["loss"], rel=1e-3)
    np.testing.assert_allclose(plain.transform(mined.replace(weights=given)).weights, plain.weights_ * given)


def test_rows_longer_than_the_model_reads_get_weights_everywhere(tiny, mined):
    personalizer = tiny().fit(mined)
    length = personalizer.recommender_.max_length
    row = np.tile(mined.vocabulary, 2)[: 2 * length + 4]
    long = SequenceDataset.from_sequences([row], vocabulary=mined.vocabulary)
    weights = personalizer.transform(long).weights
    assert ((weights[1:] > 0) & (weights[1:] < 1)).all()

    def alone(start, stop):
        piece = SequenceDataset.from_sequences([row[start:stop]], vocabulary=mined.vocabulary)
        return personalizer.transform(piece).weights[1:]

    np.testing.assert_allclose(weights[-length:], alone(-length - 1, None), rtol=1e-5)
    np.testing.assert_allclose(weights[4:-length], alone(3, -length), rtol=1e-5)
    np.testing.assert_allclose(weights[1:4], alone(0, 4), rtol=1e-5)


# Modes


def test_the_size_of_a_block_changes_no_weight(tiny, mined, monkeypatch):
    personalizer = tiny().fit(mined)
    expected = personalizer.transform(mined).weights
    n_targets = []

    def batch(rows, chosen, device, _batch=NextItemRows.batch):
        n_targets.append(rows.lengths[chosen].sum())
        return _batch(rows, chosen, device)

    monkeypatch.setattr(NextItemRows, "batch", batch)
    monkeypatch.setattr(applying, "_TARGETS_AT_ONCE", 7)
    np.testing.assert_allclose(personalizer.transform(mined).weights, expected, rtol=1e-6)
    assert sum(n_targets) == mined.n_interactions - len(mined)
    assert max(n_targets) <= 7 + personalizer.recommender_.max_length


def test_trained_jointly_the_weights_collapse(tiny, mined):
    settings = {
        "fixed": (), "temperature": 1.0, "warmup_epochs": 0, "recommender__learning_rate": 0.02,
        "recommender__max_epochs": 15, "recommender__patience": 15,
    }  # fmt: skip
    joint, bilevel = (tiny(optimize=name, **settings).fit(mined) for name in ("joint", "bilevel"))
    assert joint.history_[-1]["mean_weight"] < 0.05
    assert bilevel.history_[-1]["mean_weight"] > 0.3
    best = [max(record["ndcg@20"] for record in model.history_) for model in (joint, bilevel)]
    assert joint.history_[-1]["ndcg@20"] < 0.85 * bilevel.history_[-1]["ndcg@20"]
    assert best[0] < best[1]


def test_no_terms_are_the_first_order_rule(tiny, mined):
    assert_same(tiny(n_neumann_terms=0).fit(mined), tiny(optimize="first_order").fit(mined))
    other = tiny(n_neumann_terms=2, neumann_step=0.5).fit(mined)
    assert not np.array_equal(other.weights_, tiny(n_neumann_terms=0).fit(mined).weights_)


@pytest.mark.parametrize(
    "changes",
    [
        {"detach_states": False},
        {"normalize": "weight"},
        {"features": "state_and_target"},
        {"features": "state_target_and_origin"},
        {"noise": False},
        {"dev": "original"},
        {"dev": "held_out", "held_out_share": 0.2},
        {"dev_batch_size": 4},
        {"train_batch_size": 4},
        {"neumann_step": None, "neumann_scaled": True},
        {"neumann_step": 0.5, "neumann_tolerance": 0.9},
        {"temperature_schedule": "exponential", "temperature_decay": 0.5},
        {"temperature_schedule": "weight_decay", "weight_decay": 0.1},
        {"momentum": 0.0},
        {"hidden_dim": 3},
    ],
    ids=str,
)
def test_every_choice_changes_the_weights(tiny, mined, changes):
    changed = tiny(**changes).fit(mined)
    assert changed.n_updates_ > 0
    assert not np.allclose(changed.weights_, tiny().fit(mined).weights_, rtol=1e-6, atol=0)


@pytest.mark.parametrize("features", ["state_and_target", "state_target_and_origin"])
def test_only_who_reads_origins_tells_like_rows_apart(tiny, mined, features):
    personalizer = tiny(features=features, fixed=()).fit(mined)
    original = mined.originals()[:20]
    twice = original.append(original.items, original.offsets, Origin.MINED)
    ours, added = personalizer.transform(twice).weights.reshape(2, -1)
    is_target = np.ones(len(ours), dtype=bool)
    is_target[original.offsets[:-1]] = False
    assert (ours[is_target] != added[is_target]).all() == (features == "state_target_and_origin")


def test_what_nothing_is_detached_from_is_trained_otherwise(tiny, mined):
    attached, detached = (
        tiny(detach_states=detach, learning_rate=1e-12, weight_decay=0.0, noise=False).fit(mined)
        for detach in (False, True)
    )
    assert attached.history_[1]["loss"] != detached.history_[1]["loss"]


@pytest.mark.parametrize(
    ("changes", "temperature"),
    [
        ({}, 10.0),
        ({"temperature_schedule": "exponential", "temperature_decay": 0.5}, 10 * 0.5**6),
        ({"temperature_schedule": "exponential", "temperature_decay": 0.5, "temperature_floor": 3.0}, 3.0),
        # One step without momentum is a factor of 1 - learning_rate * weight_decay.
        ({"temperature_schedule": "weight_decay", "weight_decay": 0.1, "momentum": 0.0}, 10 * 0.95**6),
    ],
)
def test_the_temperature_follows_its_schedule(tiny, mined, changes, temperature):
    n_batches = -(-int((mined.lengths > 1).sum()) // 32)
    settings = {"warmup_epochs": 0, "update_every": n_batches, "recommender__max_epochs": 6, "temperature_floor": 0.01}
    personalizer = tiny(**(settings | changes)).fit(mined)
    assert personalizer.history_[-1]["updates"] == 6
    assert personalizer.history_[-1]["temperature"] == pytest.approx(temperature, rel=1e-4)


def test_the_warm_up_is_plain_training(tiny, mined):
    personalizer = tiny(warmup_epochs=3).fit(mined)
    plain = personalizer.recommender_.__class__(**personalizer.recommender.get_params()).fit(mined)
    ours, theirs = ([record["loss"] for record in fitted.history_] for fitted in (personalizer, plain))
    assert ours[:3] == pytest.approx(theirs[:3], rel=1e-6)
    assert ours[3] < 0.95 * theirs[3]
    unweighted = [record["unweighted_loss"] for record in personalizer.history_]
    assert unweighted[:3] == pytest.approx(ours[:3], rel=1e-6)
    assert unweighted[3] == pytest.approx(theirs[3], rel=0.02)
    assert [record["updates"] for record in personalizer.history_][:3] == [0, 0, 0]
    assert "mean_weight" not in personalizer.history_[2]


@pytest.mark.filterwarnings("ignore:.*has no validation item to stop on")
def test_weights_that_fall_are_no_progress_to_stop_on(tiny, split):
    rows = PatternMiner(window=3, random_state=0).fit_transform(split[0].replace(validation=None))
    settings = {"recommender__max_epochs": 60, "recommender__learning_rate": 1e-4, "learning_rate": 0.05}
    found = tiny(optimize="joint", fixed=(), temperature=1.0, **settings).fit(rows)
    weighted = [record["loss"] for record in found.history_]
    assert weighted[-1] < 0.5 * weighted[0]
    # The model itself hardly learns.
    assert len(found.history_) < 12


def test_the_best_epochs_weights_are_kept(tiny, mined):
    settings = {"warmup_epochs": 0, "recommender__learning_rate": 0.02}
    longer = tiny(recommender__max_epochs=12, recommender__patience=12, **settings).fit(mined)
    best = longer.recommender_.best_epoch_
    assert best < 11
    shorter = tiny(recommender__max_epochs=best + 1, recommender__patience=12, **settings).fit(mined)
    np.testing.assert_array_equal(longer.weights_, shorter.weights_)


def test_refitting_trains_the_weights_again(tiny, mined):
    personalizer = tiny(recommender__refit=True).fit(mined)
    assert len(personalizer.recommender_.refit_history_) == personalizer.recommender_.best_epoch_ + 1
    assert personalizer.recommender_.refit_history_[-1]["updates"] == personalizer.n_updates_ > 0


def test_half_a_batch_is_half_of_the_recommenders(tiny, mined):
    half = tiny(train_batch_size="half").fit(mined)
    assert half.recommender.batch_size % 2 == 0
    assert_same(half, tiny(train_batch_size=half.recommender.batch_size // 2).fit(mined))


def test_the_reference_is_the_published_script():
    published = DatasetPersonalizer.reference(SASRec.reference()).get_params(deep=False)
    expected = {
        "optimize": "bilevel", "update_every": 30, "n_neumann_terms": 3, "neumann_step": 1e-3, "neumann_scaled": False,
        "neumann_tolerance": 0.0, "warmup_epochs": 11, "fixed": ("mined",), "features": "state", "hidden_dim": 64,
        "temperature": 10.0, "temperature_schedule": "weight_decay", "temperature_floor": 1.0, "noise": True,
        "detach_states": False, "normalize": "count", "learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 1e-3,
        "clip_norm": 10.0, "optimizer": "sgd", "dev": "train", "dev_batch_size": None,
        "train_batch_size": None,
    }  # fmt: skip
    assert {name: published[name] for name in expected} == expected
    assert DatasetPersonalizer.reference(SASRec(embedding_dim=32), momentum=0.5).momentum == 0.5


def test_by_default_mined_rows_weigh_about_twice_as_much_as_others(sizes, mined):
    defaults = DatasetPersonalizer(SASRec(n_heads=1, **sizes), warmup_epochs=0, update_every=2)
    personalizer = clone(defaults).fit(mined)
    assert personalizer.fixed_ == ("mined",)
    assert personalizer.weights_by_origin_["mined"].lowest == 1
    assert personalizer.weights_by_origin_["original"].mean == pytest.approx(0.5, abs=0.01)
    assert personalizer.weights_by_origin_["original"].deviation > 0


def test_without_mined_rows_what_was_added_is_weighed_against_the_original_ones(sizes, mined):
    defaults = DatasetPersonalizer(SASRec(n_heads=1, **sizes), warmup_epochs=0, update_every=2)
    originals = mined.originals()
    added = originals.append(originals.items, originals.offsets, Origin.REGENERATED)
    personalizer = clone(defaults).fit(added)
    assert personalizer.fixed_ == ("original",)
    assert personalizer.weights_by_origin_["original"].lowest == 1
    assert personalizer.weights_by_origin_["regenerated"].deviation > 0
    with pytest.warns(UserWarning, match="no mined or regenerated rows"):
        alone = clone(defaults).fit(originals)
    assert alone.fixed_ == ()
    assert alone.weights_by_origin_["original"].deviation > 0


# Repeatability, and scikit-learn


def test_one_seed_gives_one_result(tiny, mined):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    state = torch.get_rng_state()
    first = tiny().fit(mined)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert_same(first, clone(first).fit(mined, y=np.arange(len(mined))))
    assert not np.array_equal(first.weights_, tiny(recommender__random_state=1).fit(mined).weights_)


def test_it_ranks_as_its_recommender_does(tiny, mined, split):
    X, y = split
    personalizer = tiny().fit(mined)
    model = personalizer.recommender_
    assert personalizer.score(X, y) == model.score(X, y) > 0
    np.testing.assert_array_equal(personalizer.predict(mined, k=3), model.predict(mined, k=3))
    np.testing.assert_array_equal(personalizer.rank(X, y), model.rank(X, y))
    np.testing.assert_array_equal(personalizer.decision_function(X), model.decision_function(X))
    np.testing.assert_array_equal(personalizer.vocabulary_, mined.vocabulary)
    moved = pickle.loads(pickle.dumps(personalizer))
    np.testing.assert_array_equal(moved.predict(X), personalizer.predict(X))
    assert moved.transform(mined) == personalizer.transform(mined)


def test_nested_parameters_and_searches(tiny, split):
    X, y = split
    pipeline = make_pipeline(PatternMiner(window=3, random_state=0), tiny(recommender__max_epochs=2))
    assert pipeline.get_params()["datasetpersonalizer__recommender__loss"] == "bce"
    grid = {"datasetpersonalizer__recommender__loss": ["bce", "ce"]}
    search = GridSearchCV(pipeline, grid, cv=LeaveLastOut(), error_score="raise").fit(X, y)
    assert search.predict(X).shape == (60, 10)
    assert tiny().recommender.loss == "bce"


def test_in_front_of_another_model(tiny, sizes, split):
    X, y = split
    alone = GRU4Rec(loss="bce", **sizes)
    pipeline = make_pipeline(PatternMiner(window=3, random_state=0), tiny(), alone).fit(X)
    by_hand = clone(alone).fit(pipeline[:-1].transform(X))
    np.testing.assert_array_equal(pipeline.predict(X), by_hand.predict(X))
    assert pipeline.score(X, y) == by_hand.score(X, y)


def test_as_the_recommender_of_the_whole_path(tiny, split):
    X, y = split
    raw = X.histories()
    model = RegeneratedRecommender(PatternMiner(window=3, random_state=0), tiny()).fit(raw)
    assert model.recommender_.n_updates_ > 0
    assert model.score(raw, y) == model.recommender_.recommender_.score(raw, y)
    assert model.decision_function(raw).shape == (60, 24)


def test_a_personalizer_leaves_no_warning_behind(tiny, mined):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weighted = tiny(warmup_epochs=0).fit_transform(mined)
    assert len(weighted) == len(mined)


@pytest.mark.parametrize("recommender", [SASRec, GRU4Rec])
def test_a_users_own_autocast_does_not_reach_the_weights(tiny, mined, recommender):
    model = recommender(embedding_dim=8, max_epochs=2, batch_size=32, random_state=0)
    expected = tiny(model, warmup_epochs=0, temperature=1.0).fit(mined)
    with torch.autocast("cpu", torch.bfloat16):
        personalizer = tiny(model, warmup_epochs=0, temperature=1.0).fit(mined)
        np.testing.assert_array_equal(personalizer.weights_, personalizer.transform(mined).weights)
    np.testing.assert_array_equal(personalizer.weights_, expected.weights_)


def test_the_order_in_which_origins_are_named_is_none(tiny, mined):
    named = [tiny(fixed=fixed).fit(mined).fixed_ for fixed in (("regenerated", "mined"), {"mined", "regenerated"})]
    assert named == [("mined", "regenerated")] * 2


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_gradients_that_are_switched_off_are_none_of_a_fits(tiny, mined, switched_off):
    expected = tiny().fit(mined).weights_
    with switched_off():
        np.testing.assert_array_equal(tiny().fit(mined).weights_, expected)
