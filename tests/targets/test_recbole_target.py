"""RecBoleTarget against RecBole itself; skipped where RecBole is not installed."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from exporting import require_exporter
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_recommenders_in_scikit_learn import RECOMMENDER_FAILURES as FAILURES

from seqregen import Origin, SequenceDataset
from seqregen.model_selection import leave_one_out
from seqregen.targets import RecBoleTarget
from seqregen.targets.adapters.padded_histories import PaddedHistories, PrefixPlaces, known_users, user_codes
from seqregen.targets.adapters.recbole_library import model_names

recbole = pytest.importorskip("recbole")

CONFIGS = {"SASRecCPR": {"reranker_CAN_NUM": 5}, "GRU4RecCPR": {"reranker_CAN_NUM": 5}}


def make(model="SASRec", **changes):
    settings = {"max_length": 6, "batch_size": 64, "max_epochs": 2, "random_state": 0, "learning_rate": 0.01}
    return RecBoleTarget(model, **(settings | {"config": CONFIGS.get(model)} | changes))


def cyclic_rows():
    return [[(start + step) % 30 for step in range(3 + start % 7)] for start in range(120)]


@pytest.fixture
def held_out(sequences):
    X, y = leave_one_out(sequences, validation=True)
    return X.replace(users=np.array([f"user {row}" for row in range(len(X))])), y


@pytest.mark.parametrize("name", model_names())
def test_every_model_trains_ranks_repeats_and_pickles(held_out, name):
    X, y = held_out
    model = make(name).fit(X)
    scores = model.decision_function(X)
    assert scores.shape == (len(X), X.n_items)
    assert np.isfinite(scores).all()
    assert model.rank(X, y, exclude_history=False).min() >= 1
    assert len(model.history_) == 2
    np.testing.assert_array_equal(clone(model).fit(X).decision_function(X), scores)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).decision_function(X), scores)


@pytest.mark.parametrize("name", ["SASRecCPR", "GRU4RecCPR"])
def test_more_candidates_than_items_are_told(held_out, name):
    message = rf"RecBole's {name} cannot compute its loss for a vocabulary of 24 items, .*: selected index k out of "
    with pytest.raises(ValueError, match=message + r"range.*No number in reranker_CAN_NUM=.*100.* may be above 24\."):
        make(name, config={}).fit(held_out[0])


@pytest.mark.filterwarnings("ignore:.*no instructions for bfloat16:UserWarning")
def test_a_model_that_rounds_and_one_that_cannot(held_out):
    full, rounded = (make("SASRec", precision=p).fit(held_out[0]).history_ for p in ("float32", "bfloat16"))
    assert rounded[-1]["loss"] != full[-1]["loss"]
    assert rounded[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.01)
    with pytest.raises(ValueError, match=r"RepeatNet cannot compute its loss .* try precision='float32'\."):
        make("RepeatNet", precision="bfloat16", config={}).fit(held_out[0])


def test_an_autocast_around_it_changes_nothing(held_out):
    X, y = held_out
    outside = make("SASRec").fit(X)
    with torch.autocast("cpu", torch.bfloat16):
        inside = make("SASRec").fit(X)
        ranks = inside.rank(X, y)
    assert np.array_equal(ranks, outside.rank(X, y))


def test_nothing_to_compare_a_target_with():
    with (
        pytest.warns(UserWarning, match="each is an item of its own row already"),
        pytest.raises(ValueError, match="compares targets with other items, and the vocabulary has one item alone"),
    ):
        make("SASRec", config={"loss_type": "BPR"}).fit([["tea", "tea", "tea"]] * 9)


@pytest.mark.parametrize(
    ("name", "loss", "n_negatives", "config"),
    [
        ("SASRec", "library", None, {}),
        ("SASRec", "library", 4, {"loss_type": "BPR"}),
        ("SASRec", "ce", None, {}),
        ("GRU4Rec", "library", None, {}),
        ("GRU4Rec", "bce", 4, {}),
    ],
)
def test_it_learns_planted_transitions(name, loss, n_negatives, config):
    X, y = leave_one_out(cyclic_rows())
    model = make(name, config=config, loss=loss, n_negatives=n_negatives, max_epochs=15, learning_rate=0.03)
    assert model.fit(X).score(X, y) > 0.5


def test_pairwise_negatives_are_uniform_over_all_items_but_the_target(held_out):
    network = make("FPMC", max_epochs=1).fit(held_out[0]).network_
    targets = torch.tensor([1, 3, network.n_items])
    drawn = network._negatives(targets, 6000, np.random.default_rng(0)).view(6000, 3)
    assert not (drawn == targets).any()
    for column, target in enumerate(targets):
        counts = np.bincount(drawn[:, column], minlength=network.n_items + 1)
        assert counts[0] == counts[target] == 0
        others = np.delete(counts, [0, target])
        assert abs(others / 6000 * (network.n_items - 1) - 1).max() < 0.35


def test_training_rows_are_every_prefix():
    rows = [[5, 6, 7, 8], [], [9], [1, 2]]
    data = SequenceDataset.from_sequences(rows).replace(weights=np.arange(7, dtype=np.float32))
    places = PrefixPlaces.of(data, np.array([1, 2, 3, 4]), max_length=2)
    batch = places.batch(places.places, torch.device("cpu"))
    code = dict(zip(data.vocabulary.tolist(), range(1, 8), strict=False))
    assert batch.items.tolist() == [[code[5], 0], [code[5], code[6]], [code[6], code[7]], [code[1], 0]]
    assert batch.lengths.tolist() == [1, 2, 2, 1]
    assert batch.targets.tolist() == [code[6], code[7], code[8], code[2]]
    assert batch.weights.tolist() == [1, 2, 3, 6]
    assert batch.users.tolist() == [1, 1, 1, 4]
    shuffled = list(places.shuffled(3, np.random.default_rng(0), torch.device("cpu")))
    assert [len(part.items) for part in shuffled] == [3, 1]
    assert sorted(torch.cat([part.targets for part in shuffled]).tolist()) == sorted(batch.targets.tolist())


def test_added_rows_belong_to_the_user_of_their_source():
    data = SequenceDataset.from_sequences([[1, 2, 3], [2, 3], [3, 1]]).replace(users=np.array(["a", "b", "c"]))
    data = data.append(np.array([1, 2]), np.array([0, 2]), Origin.REGENERATED, source=np.array([1]))
    users = known_users(data)
    assert users.tolist() == ["a", "b", "c"]
    assert user_codes(data, users).tolist() == [1, 2, 3, 2]
    assert user_codes(data, users[1:]).tolist() == [0, 1, 2, 1]


def test_models_with_vectors_of_users_tell_known_users_from_others(held_out):
    X, _ = held_out
    model = make("FPMC").fit(X)
    assert model.users_.tolist() == X.users.tolist()
    strangers = X.replace(users=np.array([f"stranger {row}" for row in range(len(X))]))
    nobody = X.replace(users=None)
    assert not np.allclose(model.decision_function(X), model.decision_function(strangers))
    np.testing.assert_array_equal(model.decision_function(strangers), model.decision_function(nobody))


def test_scores_are_inner_products_of_encode_and_item_embeddings(held_out):
    X, _ = held_out
    model = make().fit(X)
    np.testing.assert_allclose(model.encode(X) @ model.item_embeddings_.T, model.decision_function(X), atol=1e-5)


def test_states_at_every_position_are_states_after_each_prefix(held_out):
    X, _ = held_out
    model = make().fit(X)
    rows = X.to_lists()[:5]
    prefixes = [row[:stop] for row in rows for stop in range(1, len(row) + 1)]
    from seqregen.training.batches import history_batches

    part = X[:5].replace(validation=None)
    (batch,) = history_batches(part, 100, 10, torch.device("cpu"))
    with torch.no_grad():
        states = model.network_.states(batch).numpy()
    in_order = [prefix for row in batch.rows for prefix in prefixes[sum(map(len, rows[:row])) :][: len(rows[row])]]
    np.testing.assert_allclose(states, model.encode(in_order), atol=1e-6)


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec"])
def test_to_onnx(held_out, tmp_path, name):
    require_exporter()
    runtime = pytest.importorskip("onnxruntime")
    X, _ = held_out
    model = make(name, max_epochs=1).fit(X)
    model.to_onnx(tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    rows = X.histories().to_lists()[:4]
    items = np.zeros((4, max(map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        items[place, : len(row)] = np.searchsorted(X.vocabulary, row) + 1
    (scores,) = session.run(["scores"], {session.get_inputs()[0].name: items})
    np.testing.assert_allclose(scores, model.decision_function(rows), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["Caser", "CORE", "BERT4Rec"])
def test_models_without_inner_products_refuse_what_needs_them(held_out, name):
    X, _ = held_out
    with pytest.raises(NotImplementedError, match=f"loss='ce' .*{name} scores otherwise"):
        make(name, loss="ce").fit(X)
    model = make(name, max_epochs=1).fit(X)
    with pytest.raises(NotImplementedError, match=name):
        model.encode(X)


def test_weights_are_ignored_with_one_warning_by_the_librarys_loss_and_honoured_by_ours(held_out):
    X, _ = held_out
    weighted = X.replace(weights=np.linspace(0, 2, X.n_interactions, dtype=np.float32))
    with pytest.warns(UserWarning, match="weights are ignored") as caught:
        ignoring = make(refit=True).fit(weighted)
    assert len(caught) == 1
    np.testing.assert_array_equal(ignoring.decision_function(X), make(refit=True).fit(X).decision_function(X))
    ones = X.replace(weights=np.ones(X.n_interactions, dtype=np.float32))
    ours = make(loss="ce")
    plain = ours.fit(X).decision_function(X)
    np.testing.assert_array_equal(clone(ours).fit(ones).decision_function(X), plain)
    assert not np.allclose(clone(ours).fit(weighted).decision_function(X), plain)


def test_regenerated_rows_are_trained_on(held_out):
    X, _ = held_out
    more = X.append(X.items[:6], np.array([0, 3, 6]), Origin.MINED)
    assert not np.allclose(make().fit(more).decision_function(X), make().fit(X).decision_function(X))


def test_an_interrupted_fit_goes_on_to_the_same_result(held_out, tmp_path):
    X, _ = held_out
    whole = make(max_epochs=3, checkpoint_dir=tmp_path / "whole").fit(X)
    again = clone(whole).fit(X)
    np.testing.assert_array_equal(again.decision_function(X), whole.decision_function(X))
    assert [record["seconds"] for record in again.history_] == [record["seconds"] for record in whole.history_]


def test_unknown_items_and_empty_histories(held_out):
    X, _ = held_out
    model = make().fit(X)
    popular = X.vocabulary[np.argmax(model.item_counts_)]
    top = model.predict([[], X.to_lists()[0]], k=3)
    assert top[0, 0] == popular
    np.testing.assert_array_equal(top[1], model.predict([X.to_lists()[0]], k=3)[0])


def test_the_process_is_left_as_it_was(held_out, tmp_path, monkeypatch, capfd, caplog):
    import yaml

    X, _ = held_out
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "--hidden_size=4", "something"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    resolvers = vars(yaml.FullLoader).get("yaml_implicit_resolvers")
    before = (set(dir(np)), copy.deepcopy(resolvers), logging.getLogger().handlers[:], logging.getLogger().level)
    drawn = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    config = {"hidden_size": "8"}
    model = make(config=config).fit(X)
    model.predict(X)
    assert model.network_.settings["hidden_size"] == 8
    assert config == {"hidden_size": "8"}
    assert drawn == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    resolvers = vars(yaml.FullLoader).get("yaml_implicit_resolvers")
    assert before == (set(dir(np)), resolvers, logging.getLogger().handlers, logging.getLogger().level)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_other_random_numbers_do_not_change_a_fit(held_out):
    X, _ = held_out
    scores = make("BERT4Rec").fit(X).decision_function(X)
    random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    np.testing.assert_array_equal(make("BERT4Rec").fit(X).decision_function(X), scores)


def test_moving_the_network_moves_the_devices_that_models_remember(held_out):
    network = copy.deepcopy(make("NARM", max_epochs=1).fit(held_out[0]).network_)
    assert network.model.device == torch.device("cpu")
    network.to("meta")
    assert network.model.device == network.settings["device"] == torch.device("meta")


def test_a_class_of_ones_own(held_out):
    from recbole.model.sequential_recommender import GRU4Rec

    X, _ = held_out
    by_class, by_name = make(GRU4Rec).fit(X), make("GRU4Rec").fit(X)
    np.testing.assert_array_equal(by_class.decision_function(X), by_name.decision_function(X))


def test_parameters_reach_the_model(held_out):
    model = make().set_params(config={"hidden_size": 16, "n_layers": 1}, max_length=4).fit(held_out[0])
    assert model.network_.model.item_embedding.weight.shape[1] == 16
    assert len(model.network_.model.trm_encoder.layer) == 1
    assert model.network_.model.position_embedding.weight.shape[0] == 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "SasRec"}, ValueError, "BERT4Rec.*SASRec.*TransRec; got 'SasRec'"),
        ({"model": 3}, ValueError, "a class or one of"),
        ({"model": dict}, TypeError, "SequentialRecommender; got the class builtins.dict"),
        ({"model": "GRU4RecKG"}, ValueError, "GRU4RecKG cannot be trained on batches of sequences alone: it reads"),
        ({"model": "FEARec"}, ValueError, "FEARec cannot be trained .* looks other rows up in RecBole's own data set"),
        ({"config": [1]}, TypeError, "config must be a dict"),
        ({"config": {"learning_rate": 1, "epochs": 3}}, ValueError, "learning_rate -> learning_rate, epochs -> max_ep"),
        ({"config": {"loss_type": "XY"}}, ValueError, "RecBole's SASRec refuses its settings: .*BPR"),
        ({"config": {"hidden_size": 7}}, ValueError, "RecBole's SASRec refuses its settings: .*multiple"),
        ({"config": {"metrics": ["NoSuch"]}}, ValueError, "refuses its settings: .*NoSuch"),
        ({"loss": "mse"}, ValueError, "loss must be one of 'library', 'sampled_softmax'"),
        ({"negative_sampling": "popularity"}, ValueError, "negative_sampling must be one of 'uniform'"),
    ],
)
def test_bad_parameters_are_refused(held_out, changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes).fit(held_out[0])


def test_misspelt_settings_are_said(held_out):
    with pytest.warns(UserWarning, match="no default for 'hiden_size'.*Did you mean 'hidden_size'"):
        make(config={"hiden_size": 8}, max_epochs=1).fit(held_out[0])


def test_settings_of_the_trainer_that_are_none_are_no_matter(held_out):
    model = make(config={"loss_type": "CE", "train_neg_sample_args": None}, max_epochs=1).fit(held_out[0])
    assert len(model.history_) == 1


@pytest.mark.filterwarnings("ignore:.*stops on a plateau of the training loss:UserWarning")
@pytest.mark.filterwarnings("ignore::seqregen.inputs.UnseenItemsWarning")
@parametrize_with_checks(
    [make("GRU4Rec", config={"hidden_size": 8, "embedding_size": 8}, max_epochs=1)],
    expected_failed_checks=lambda _: FAILURES,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_scores_of_a_large_block_are_those_of_single_rows(held_out):
    X, _ = held_out
    network = make().fit(X).network_
    items = torch.randint(1, X.n_items, (600, 6))
    batch = PaddedHistories(items, torch.full((600,), 6), torch.zeros(600, dtype=torch.int64))
    one = PaddedHistories(items[599:], batch.lengths[599:], batch.users[599:])
    torch.testing.assert_close(network.scores(batch)[599:], network.scores(one))


def test_negatives_are_counted_over_all_positions_that_are_trained_on():
    random = np.random.default_rng(0)
    rows = [[*random.integers(0, 20, 20).tolist(), *random.integers(20, 40, 6).tolist()] for _ in range(50)]
    X = SequenceDataset.from_sequences(rows)
    model = make(max_length=5, loss="sampled_softmax", negative_sampling="in_batch")
    trained = model._training_rows(X)
    shares = np.bincount(X.items[trained.places], minlength=X.n_items + 1)[1:] / len(trained)
    believed = model._objective(X).sampler.log_probabilities(torch.arange(X.n_items), torch.zeros(1)).exp()
    np.testing.assert_allclose(believed, shares, rtol=1e-4)


def test_other_users_are_another_run(held_out, tmp_path):
    X, _ = held_out
    X = X.replace(users=np.arange(len(X)) // 2)
    others = X.replace(users=np.arange(len(X)) % 20)
    make("FPMC", checkpoint_dir=tmp_path).fit(X)
    again = make("FPMC", checkpoint_dir=tmp_path).fit(others)
    np.testing.assert_array_equal(again.decision_function(X), make("FPMC").fit(others).decision_function(X))


def test_users_of_another_kind_are_told(held_out):
    X, _ = held_out
    numbered = X.replace(users=np.arange(len(X)))
    model = make("FPMC", max_epochs=1).fit(X)
    with pytest.warns(UserWarning, match=r"none of the users .* type int: .* of type str, as 'user 0'"):
        model.predict(numbered)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X)
        model.predict(X.replace(users=None))
        make("SASRec", max_epochs=1).fit(X).predict(numbered)
