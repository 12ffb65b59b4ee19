"""The whole real path with items planted in held-out positions alone: they must turn up nowhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from seqregen import Origin, PatternMiner, RegeneratedRecommender, SequenceDataset
from seqregen.model_selection import hold_out_last, leave_one_out
from seqregen.targets import SASRec
from seqregen.training import NextItemLoss, next_item_rows

VALIDATION, TEST = 101, 102


@pytest.fixture
def planted(sequences) -> SequenceDataset:
    """Every row ends with one of two items that occur nowhere else: all users share them, a strong pattern."""
    rows = [[*row, VALIDATION, TEST] for row in sequences.to_lists()]
    # Some rows are too short to have a history of their own.
    return SequenceDataset.from_sequences([*rows, [VALIDATION, TEST], [1, VALIDATION, TEST]])


def regeneration(tiny, **changes):
    return make_pipeline(PatternMiner(window=3, random_state=0), tiny(item_embeddings=None, **changes))


def recommender(**changes) -> SASRec:
    settings = {"embedding_dim": 8, "n_layers": 1, "hidden_dim": 8, "max_epochs": 2, "random_state": 0}
    return SASRec(**(settings | changes))


def held_out_codes(data: SequenceDataset) -> np.ndarray:
    return np.flatnonzero(np.isin(data.vocabulary, [VALIDATION, TEST])) + 1


def test_planted_items_are_there(planted):
    # Mined as they are, the rows would leak: the test could not fail otherwise.
    patterns = PatternMiner(window=3).fit(planted).patterns_.to_lists()
    assert [VALIDATION, TEST] in patterns


def test_pairs_and_mined_rows_show_nothing_held_out(planted):
    X, _ = leave_one_out(planted, validation=True)
    mined = PatternMiner(window=3, random_state=0).fit_transform(X)
    codes = held_out_codes(mined)
    assert len(mined.pairs) > 0
    assert not np.isin(mined.pairs.pattern_items, codes).any()
    assert not np.isin(mined.items, codes).any()


@pytest.mark.parametrize("generative_rate", [0.0, 0.1, 1.0])
def test_regenerated_rows_show_nothing_held_out(planted, tiny, generative_rate):
    X, _ = leave_one_out(planted, validation=True)
    pipeline = regeneration(tiny, generative_rate=generative_rate, restrictive_prefix=0)
    # The planted items lie where every state would choose them first, if it could.
    vectors = np.random.default_rng(0).normal(size=(X.n_items, 8))
    vectors[held_out_codes(X) - 1] *= 20
    result = pipeline.set_params(datasetregenerator__item_embeddings=vectors).fit_transform(X)
    assert (result.origin == Origin.REGENERATED).any()
    assert result.free_steps.any() == (generative_rate > 0)
    assert not np.isin(result.items, held_out_codes(result)).any()


def test_free_steps_do_not_depend_on_who_held_out_what(planted, tiny):
    X, _ = leave_one_out(planted, validation=True)
    shuffled = X.replace(validation=np.random.default_rng(0).integers(1, X.n_items + 1, len(X)))
    first, second = (regeneration(tiny, generative_rate=1.0).fit_transform(data) for data in (X, shuffled))
    assert first.replace(validation=None) == second.replace(validation=None)


def test_no_held_out_item_is_an_input_or_a_target_of_the_recommender(planted, tiny):
    X, _ = leave_one_out(planted, validation=True)
    data = regeneration(tiny, generative_rate=0.0).fit_transform(X)
    codes = torch.from_numpy(held_out_codes(data))
    rows = next_item_rows(data, 50)
    n_positions = 0
    for batch in rows.shuffled(16, np.random.default_rng(0), torch.device("cpu")):
        assert not torch.isin(batch.items, codes).any()
        assert not torch.isin(batch.targets, codes).any()
        n_positions += len(batch.items)
    assert n_positions == rows.n_positions > X.n_interactions


class FirstItem(np.random.Generator):
    """Draws the first item as every negative."""

    def integers(self, low, high, shape):
        return np.zeros(shape, dtype=np.int64)


def test_vectors_of_held_out_items_get_no_gradient_from_positives(planted, tiny):
    X, _ = leave_one_out(planted, validation=True)
    data = regeneration(tiny, generative_rate=0.0).fit_transform(X)
    model = recommender()
    network = model._make_network(data)
    model._draw_weights(network, torch.Generator().manual_seed(0))
    network.eval()
    rows = next_item_rows(data, 50)
    batch = rows.batch(np.arange(len(rows)), torch.device("cpu"))
    for name in ("bce", "gbce", "sampled_softmax"):
        loss = NextItemLoss(name, data.n_items, 3)
        losses = loss.per_position(
            network.states(batch), network.item_table(), batch.targets, FirstItem(np.random.SFC64(0))
        )
        (gradient,) = torch.autograd.grad(losses.sum(), network.item_table())
        moved = gradient.abs().sum(1) > 0
        assert not moved[held_out_codes(data) - 1].any()
        assert moved.sum() == data.n_items - 2


def test_the_estimator_for_real_use_holds_out_what_it_watches(planted, tiny):
    seen = []

    class Watching(SASRec):
        def fit(self, X, y=None):
            seen.append(X)
            return super().fit(X, y)

    histories, y = leave_one_out(planted)
    model = RegeneratedRecommender(
        regeneration(tiny, generative_rate=0.0), Watching(**recommender().get_params())
    ).fit(histories, y)  # fmt: skip
    (data,) = seen
    codes = held_out_codes(data)
    assert set(data.vocabulary[data.validation[data.validation > 0] - 1].tolist()) == {VALIDATION}
    # One row is nothing but its validation item, which it keeps.
    shown = np.isin(data.items, codes)
    assert data.vocabulary[data.items[shown] - 1].tolist() == [VALIDATION]
    assert (data.origin == Origin.REGENERATED).any()
    assert not np.isin(data[data.origin != Origin.ORIGINAL].items, codes).any()
    # Neither the targets of the test nor y come into it.
    np.testing.assert_array_equal(model.predict(histories), model.fit(histories, y[::-1]).predict(histories))


def test_what_is_watched_does_not_change_what_is_regenerated(sequences, tiny):
    X = hold_out_last(sequences)
    other = X.replace(validation=(X.validation + 4) % 20 + 1)
    assert not (other.validation == X.validation).any()
    first, second = (regeneration(tiny).fit_transform(data) for data in (X, other))
    for name in ("items", "offsets", "origin", "source", "memory", "free_steps"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.pairs == second.pairs
