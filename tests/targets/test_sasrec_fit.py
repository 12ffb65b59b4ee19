"""What fit reads, what it holds out, when it stops, and that it repeats."""

from __future__ import annotations

import functools
import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from seqregen import Origin, SequenceDataset
from seqregen.metrics import ndcg_at_k, rank_targets
from seqregen.model_selection import append_validation, hold_out_last, leave_one_out
from seqregen.nn import PRECISIONS
from seqregen.targets import SASRec, TorchTarget, base
from seqregen.training import LOSSES, TrainingPlan, next_item_rows


def parameters(model) -> list[torch.Tensor]:
    return list(model.network_.state_dict().values())


def assert_same(first, second):
    assert all(torch.equal(a, b) for a, b in zip(parameters(first), parameters(second), strict=True))
    assert first.best_epoch_ == second.best_epoch_
    assert [record["loss"] for record in first.history_] == [record["loss"] for record in second.history_]


def with_added_rows(data: SequenceDataset) -> SequenceDataset:
    return data.append(data.items[:6], np.array([0, 3, 6]), Origin.MINED)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_learns_planted_transitions(tiny, loss):
    rows = [[(start + step) % 12 for step in range(2 + start % 7)] for start in range(60)]
    X, y = leave_one_out(rows)
    model = tiny(loss=loss, n_negatives=None, max_epochs=60, learning_rate=0.02, dropout=0.1, patience=60).fit(X)
    assert model.score(X, y) > 0.8
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]


def test_attributes(tiny, sequences):
    model = tiny()
    assert model.fit(sequences) is model
    assert model.vocabulary_.tolist() == sequences.vocabulary.tolist()
    assert len(model.history_) == 3
    assert {"epoch", "loss", "seconds", "ndcg@20", "evaluation_seconds"} == set(model.history_[0])
    # The last of equally good epochs.
    assert model.best_epoch_ == max(range(3), key=lambda epoch: (model.history_[epoch]["ndcg@20"], epoch))
    assert model.item_embeddings_.shape == (24, 8)
    assert model.item_embeddings_.dtype == np.float32
    assert model.item_counts_.tolist() == np.bincount(hold_out_last(sequences).items, minlength=25)[1:].tolist()


def test_y_is_never_read(tiny, sequences):
    y = np.arange(len(sequences))
    assert_same(tiny().fit(sequences, y), tiny().fit(sequences, np.random.default_rng(0).permutation(y)))
    assert_same(tiny().fit(sequences, y), tiny().fit(sequences))


def test_original_rows_hold_out_their_own_last_items(tiny, sequences):
    assert_same(tiny().fit(sequences), tiny().fit(hold_out_last(sequences)))


def test_validation_items_are_what_is_watched(tiny, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    model = tiny(max_epochs=1).fit(X)
    states = model.encode(X.replace(validation=None))
    ranks = rank_targets(
        torch.from_numpy(states), torch.from_numpy(model.item_embeddings_), X.validation, (X.items, X.offsets)
    )
    assert model.history_[0]["ndcg@20"] == pytest.approx(ndcg_at_k(ranks, 20), abs=1e-12)


def test_validation_items_are_not_trained_on(tiny, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    other = X.replace(validation=X.validation % 24 + 1)
    first, second = tiny(max_epochs=1).fit(X), tiny(max_epochs=1).fit(other)
    assert_same(first, second)
    assert first.history_[0]["ndcg@20"] != second.history_[0]["ndcg@20"]


def test_added_rows_are_trained_on_and_not_watched(tiny, sequences):
    X = hold_out_last(sequences)
    added = with_added_rows(X)
    first, second = tiny(max_epochs=1).fit(X), tiny(max_epochs=1).fit(added)
    assert first.history_[0]["loss"] != second.history_[0]["loss"]
    assert second.item_counts_.sum() == first.item_counts_.sum() + 6
    # Predictions are made for the original rows alone.
    assert second.predict(added, k=3).shape == (60, 3)


def test_added_rows_without_validation_stop_on_a_plateau_and_say_so_once(tiny, sequences):
    added = with_added_rows(sequences)
    with pytest.warns(UserWarning, match=r"plateau.*leave_one_out.*RegeneratedRecommender") as caught:
        model = tiny(max_epochs=500, learning_rate=1e-6).fit(added)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "ndcg@20" not in model.history_[0]
    losses = [record["loss"] for record in model.history_]
    # Five epochs that bring less than 1 %; of all of them the best is kept.
    assert len(losses) < 500
    assert min(losses[-5:]) > 0.99 * losses[-6]
    assert losses[model.best_epoch_] == min(losses)
    with pytest.warns(UserWarning, match="plateau"):
        assert len(tiny(max_epochs=500, learning_rate=1e-6, patience=2).fit(added).history_) == 3


def test_rows_of_two_items_are_trained_on_rather_than_held_out(tiny):
    with pytest.warns(UserWarning, match="no original row has three items.*plateau of the training loss.$"):
        model = tiny().fit([[1, 2], [2, 3], [3, 1]])
    assert model.item_counts_.tolist() == [2, 2, 2]


def test_most_rows_left_without_anything_to_learn_are_told(tiny):
    rows = [*[[1, 2], [2, 3]] * 3, [3, 4, 5]]
    with pytest.warns(UserWarning, match=r"learns nothing from 6 of the 7 rows .*hold_out_last\(.*min_length=3\)"):
        assert tiny(max_epochs=1).fit(rows).item_counts_.sum() == 8
    assert tiny(max_epochs=1).fit(hold_out_last(rows, min_length=3)).item_counts_.sum() == 14
    # Half of the rows is no more than a protocol may cost.
    assert tiny(max_epochs=1).fit([[1, 2], [3, 4, 5]]).item_counts_.sum() == 3


@pytest.mark.parametrize("rows", [[[1], [2]], [[], [1]], np.array([[1], [2]])])
def test_nothing_to_learn_from(tiny, rows):
    with (
        pytest.warns(UserWarning, match="plateau"),
        pytest.raises(ValueError, match=r"the longest row has 1 item\(s\).*row of two items"),
    ):
        tiny().fit(rows)


def test_empty_rows_and_rows_of_one_item_keep_their_place(tiny, sequences):
    rows = [[], *sequences.to_lists(), [3]]
    model = tiny().fit(SequenceDataset.from_sequences(rows, vocabulary=sequences.vocabulary))
    assert len(model.predict(rows, k=4)) == 62


def test_weights_are_honoured(tiny, sequences):
    X = hold_out_last(sequences)
    ones = X.replace(weights=np.ones(X.n_interactions, dtype=np.float32))
    assert_same(tiny().fit(X), tiny().fit(ones))
    zeros = X.replace(weights=np.zeros(X.n_interactions, dtype=np.float32))
    model = tiny(max_epochs=1, dropout=0.0).fit(zeros)
    untouched = tiny(max_epochs=1)._make_network(X)
    tiny()._draw_weights(untouched, torch.Generator().manual_seed(np.random.RandomState(0).randint(2**31 - 1)))
    assert all(torch.equal(a, b) for a, b in zip(parameters(model), untouched.state_dict().values(), strict=True))
    halves = X.replace(weights=np.full(X.n_interactions, 0.5, dtype=np.float32))
    once = tiny(max_epochs=1, batch_size=100)
    losses = [clone(once).fit(data).history_[0]["loss"] for data in (ones, halves)]
    assert losses[1] == pytest.approx(losses[0] / 2, rel=1e-5)


def test_the_random_state_decides(tiny, sequences):
    assert_same(tiny().fit(sequences), tiny().fit(sequences))
    by_generator = [tiny(random_state=np.random.RandomState(5)).fit(sequences) for _ in range(2)]
    assert_same(*by_generator)
    other = tiny(random_state=1).fit(sequences)
    assert not torch.equal(parameters(other)[0], parameters(by_generator[0])[0])


def test_averaged_weights_repeat_and_leave_training_as_it_is(tiny, sequences):
    first, again = (tiny(average_decay=0.9).fit(sequences) for _ in range(2))
    plain = tiny().fit(sequences)
    for ours, same, other in zip(
        first.network_.parameters(), again.network_.parameters(), plain.network_.parameters(), strict=True
    ):
        assert torch.equal(ours, same)
        assert not torch.equal(ours, other)
    # Training itself is not changed.
    assert [record["loss"] for record in first.history_] == [record["loss"] for record in plain.history_]


def test_fitting_again_starts_anew(tiny, sequences):
    model = tiny().fit(sequences)
    again = clone(model).fit(sequences[:20])
    assert_same(model.fit(sequences[:20]), again)


def test_labels_of_every_kind_go_in_and_come_out(tiny, sequences):
    expected = tiny().fit(sequences).predict(sequences, k=5)
    kinds = {
        "text": [f"item {label:03}" for label in sequences.vocabulary],
        "float": sequences.vocabulary / 4 - 2,
        "tuple": [(label // 10, str(label % 10)) for label in sequences.vocabulary.tolist()],
        "around zero": sequences.vocabulary - 12,
    }
    for kind, labels in kinds.items():
        labels = labels if isinstance(labels, list) else labels.tolist()
        rows = [[labels[item - 1] for item in row] for row in sequences.to_lists()]
        model = tiny().fit(rows)
        assert model.vocabulary_.tolist() == labels, kind
        predicted = model.predict(rows, k=5).tolist()
        assert predicted == [[labels[item - 1] for item in row] for row in expected.tolist()], kind
        X, y = leave_one_out(rows)
        assert 0 <= model.score(X, y) <= 1
        assert model.score(X, y.tolist()) == model.score(X, y)


def test_clone_pickle_and_joblib(tiny, sequences, tmp_path):
    model = tiny()
    assert clone(model).get_params() == model.get_params()
    model.fit(sequences)
    assert not hasattr(clone(model), "network_")
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(again.predict(sequences), model.predict(sequences))
        assert_same(again, model)


@pytest.mark.parametrize("method", ["predict", "encode", "decision_function"])
def test_not_fitted(tiny, sequences, method):
    with pytest.raises(NotFittedError):
        getattr(tiny(), method)(sequences)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "hinge"}, "loss must be one of 'sampled_softmax', 'ce', 'gbce', 'bce', 'bpr'; got 'hinge'"),
        ({"embedding_dim": 9}, "n_heads=2 must divide embedding_dim=9"),
        ({"embedding_dim": 0}, "embedding_dim must be an integer >= 1"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\)"),
        ({"learning_rate": 0}, r"learning_rate must be a number in \(0, inf\)"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"average_decay": 1.0}, r"average_decay must be a number in \[0, 1\)"),
        ({"n_negatives": 0}, "n_negatives must be an integer >= 1 or None"),
        ({"max_length": 0}, "max_length must be"),
        ({"max_epochs": 2.5}, "max_epochs must be"),
        ({"patience": True}, "patience must be"),
        ({"device": "abacus"}, "is not a device"),
    ],
)
def test_bad_parameters_are_named_in_fit(tiny, sequences, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes).fit(sequences)


@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_a_learning_rate_that_is_too_high_is_an_error_or_a_warning(tiny, sequences, loss):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            model = tiny(loss=loss, learning_rate=1e38, max_epochs=5).fit(sequences)
        except FloatingPointError as error:
            assert "learning rate" in str(error)  # noqa: PT017
        else:
            assert all(torch.isfinite(value).all() for value in parameters(model))


def test_what_first_shows_in_the_validation_is_told_as_divergence(tiny, sequences):
    # One step, behind which weights are finite, and scores are not.
    with pytest.raises(FloatingPointError, match=r"validation behind epoch 1: .* lower its learning rate"):
        tiny(learning_rate=1e12, batch_size=10**5).fit(sequences)


def test_weights_below_zero_are_refused(tiny, sequences):
    weights = np.ones(sequences.n_interactions, dtype=np.float32)
    weights[sequences.offsets[2]] = -1
    with pytest.raises(ValueError, match=r"finite and not negative; got -1\.0 in row 2, position 0"):
        tiny().fit(sequences.replace(weights=weights))


def test_a_checkpoint_that_no_fit_would_find_is_told(tiny, sequences, tmp_path):
    with pytest.warns(UserWarning, match="with random_state=None every fit draws another seed") as caught:
        tiny(random_state=None, checkpoint_dir=tmp_path, max_epochs=1).fit(sequences)
    assert caught[0].filename == __file__


def test_how_it_is_validated_can_be_overridden(tiny, sequences):
    class Constant(type(tiny())):
        def _evaluation(self, network, watched, device):
            return lambda: {"ndcg@20": float(len(watched))}

    model = Constant(**tiny(max_epochs=2).get_params()).fit(sequences)
    assert {record["ndcg@20"] for record in model.history_} == {float(len(sequences))}


class Interrupt(Exception):
    pass


def interrupt_in(epoch: int, monkeypatch) -> None:
    """Let fits save after every epoch, and end the next one in the middle of an epoch."""
    monkeypatch.setattr(base, "TrainingPlan", functools.partial(TrainingPlan, checkpoint_seconds=0))
    draw, calls = base.next_item_rows, iter(range(1000))

    def counting_rows(*arguments):
        rows = draw(*arguments)

        class Counted(type(rows)):
            def shuffled(self, *arguments):
                for number, batch in enumerate(super().shuffled(*arguments)):
                    if number == 1 and next(calls) == epoch:
                        raise Interrupt
                    yield batch

        return Counted(**vars(rows))

    monkeypatch.setattr(base, "next_item_rows", counting_rows)


@pytest.mark.filterwarnings("ignore:.*no instructions for bfloat16:UserWarning")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_interrupted_fit_goes_on_to_the_same_result(tiny, sequences, tmp_path, monkeypatch, precision):
    tiny = functools.partial(tiny, precision=precision)
    expected = tiny(max_epochs=5).fit(sequences)
    with monkeypatch.context() as patch:
        interrupt_in(3, patch)
        with pytest.raises(Interrupt):
            tiny(max_epochs=5, checkpoint_dir=tmp_path).fit(sequences)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("SASRec-")
    assert_same(tiny(max_epochs=5, checkpoint_dir=tmp_path).fit(sequences), expected)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
        tiny(max_epochs=5, checkpoint_dir=tmp_path).fit(sequences)


@pytest.mark.filterwarnings("ignore:.*no instructions for bfloat16:UserWarning")
def test_runs_that_differ_do_not_share_a_checkpoint(tiny, sequences, tmp_path):
    wider = sequences.replace(vocabulary=np.arange(1, 26))
    runs = [
        (tiny(), sequences),
        (tiny(max_epochs=2), sequences),
        (tiny(learning_rate=0.1), sequences),
        (tiny(precision="bfloat16"), sequences),
        (tiny(random_state=1), sequences),
        (tiny(random_state=np.random.RandomState(7)), sequences),
        (tiny(random_state=np.random.RandomState(8)), sequences),
        (tiny(), sequences[:30]),
        (tiny(), wider),
        (tiny(), hold_out_last(sequences).replace(weights=np.full(sequences.n_interactions - 60, 2.0))),
    ]
    for number, (model, data) in enumerate(runs):
        expected = clone(model).fit(data)
        assert_same(model.set_params(checkpoint_dir=tmp_path).fit(data), expected)
        assert len(list(tmp_path.iterdir())) == number + 1
    tiny(verbose=False, device="cpu", checkpoint_dir=tmp_path).fit(sequences)
    assert len(list(tmp_path.iterdir())) == len(runs)


def test_long_rows_train_on_their_last_items(tiny):
    rows = [[step % 5 for step in range(39)] + [5] for _ in range(4)]
    cut = [row[-8:] for row in rows]
    assert next_item_rows(SequenceDataset.from_sequences(rows), 6).n_positions == 24
    # One item more is held out, and the last max_length + 1 of the rest are read.
    assert_same(tiny().fit(rows), tiny().fit(cut))


def test_refit_learns_the_validation_items_for_the_best_number_of_epochs(tiny, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    stopped, refitted = tiny().fit(X), tiny(refit=True).fit(X)
    assert [record["loss"] for record in refitted.history_] == [record["loss"] for record in stopped.history_]
    assert len(refitted.refit_history_) == stopped.best_epoch_ + 1
    assert refitted.item_counts_.sum() == X.n_interactions + np.count_nonzero(X.validation)
    # What the refit trained is what a fit on the longer rows trains in as many epochs.
    assert refitted.refit_history_[0]["loss"] == first_loss(tiny, append_validation(X))
    assert not hasattr(stopped, "refit_history_")
    assert not hasattr(refitted.set_params(refit=False).fit(X), "refit_history_")


@pytest.mark.filterwarnings("ignore:.* has no validation item to stop on")
def test_refit_learns_validation_items_that_could_not_be_ranked(tiny):
    X, _ = leave_one_out([[1, 2, 3, 1, 4], [2, 3, 1, 2, 4]] * 5, validation=True)
    model = tiny(refit=True, max_epochs=2).fit(X)
    assert "ndcg@20" not in model.history_[0]
    assert model.item_counts_.tolist() == [15, 15, 10, 0]


def first_loss(tiny, rows: SequenceDataset) -> float:
    """Loss of the first epoch on all of the rows: with a mined-like row behind them none is held out."""
    never_watched = rows.replace(validation=np.zeros(len(rows), dtype=np.int64))
    with pytest.warns(UserWarning, match="plateau"):
        return tiny(max_epochs=1).fit(never_watched).history_[0]["loss"]


def test_validation_items_that_cannot_be_ranked_stop_nothing():
    rows = [[start % 5, (start + 1) % 5, (start + 2) % 5] * 3 for start in range(40)]
    model = SASRec(embedding_dim=8, max_epochs=300, patience=3, random_state=0)
    with pytest.warns(UserWarning, match="each is an item of its own row already.*, and stops on a plateau"):
        model.fit(rows)
    assert len(model.history_) < 100
    assert "ndcg@20" not in model.history_[0]
    # What is not watched is trained on.
    assert model.item_counts_.sum() == 40 * 9


def test_the_loss_is_shown():
    assert repr(SASRec()) == "SASRec(loss='sampled_softmax')"
    assert repr(SASRec(n_layers=1)) == "SASRec(loss='sampled_softmax', n_layers=1)"
    assert repr(SASRec(loss="bce")) == "SASRec(loss='bce')"
    assert repr(TorchTarget(dict, module__loss=1)).startswith("TorchTarget(loss='sampled_softmax', ")
