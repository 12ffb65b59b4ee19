"""Items planted in held-out positions alone must reach neither the weights nor any gradient that they learn by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqregen import PatternMiner, RegeneratedRecommender, SequenceDataset
from seqregen.model_selection import leave_one_out
from seqregen.personalization import training
from seqregen.targets import SASRec

VALIDATION, TEST = 101, 102


@pytest.fixture
def planted(split) -> SequenceDataset:
    """Every row ends with one of two items that occur nowhere else."""
    return SequenceDataset.from_sequences([[*row, VALIDATION, TEST] for row in split[0].to_lists()])


def codes_of(data, *labels) -> np.ndarray:
    return np.flatnonzero(np.isin(data.vocabulary, labels)) + 1


@pytest.mark.parametrize("dev", ["train", "original", "held_out", "held_out_items"])
def test_no_held_out_item_is_in_a_batch_of_either_level(tiny, planted, monkeypatch, dev):
    X, _ = leave_one_out(planted, validation=True)
    data = PatternMiner(window=3, random_state=0).fit_transform(X)
    seen = {"loop": set(), "update": set()}
    measure, drawn = SASRec._measure, training._Join._drawn

    def watched_measure(self, network, objective, batch, random):
        seen["loop"] |= set(batch.items.tolist()) | set(batch.targets.tolist())
        return measure(self, network, objective, batch, random)

    def watched_drawn(self, part, size, random):
        batch = drawn(self, part, size, random)
        seen["update"] |= set(batch.items.tolist()) | set(batch.targets.tolist())
        return batch

    monkeypatch.setattr(SASRec, "_measure", watched_measure)
    monkeypatch.setattr(training._Join, "_drawn", watched_drawn)
    tiny(dev=dev, held_out_share=0.3, warmup_epochs=0).fit(data)
    assert VALIDATION in data.vocabulary[data.validation - 1]
    for items in seen.values():
        assert len(items) == 24
        assert not items & set(codes_of(data, VALIDATION, TEST).tolist())


def test_validation_items_do_not_change_what_is_learnt(tiny, planted):
    X, y = leave_one_out(planted, validation=True)
    data = PatternMiner(window=3, random_state=0).fit_transform(X)
    held_out = np.random.default_rng(0).integers(1, data.n_items + 1, len(data))
    # Without a stop all epochs are trained, and the last would be kept if early stopping read no other items.
    settings = {"recommender__max_epochs": 3, "recommender__patience": 3}
    first, second = (
        tiny(**settings).fit(rows, y)
        for rows in (data, data.replace(validation=np.where(data.validation > 0, held_out, 0)))
    )
    losses = [[record["loss"] for record in fitted.history_] for fitted in (first, second)]
    assert losses[0] == losses[1]
    means = [[record.get("mean_weight") for record in fitted.history_] for fitted in (first, second)]
    assert means[0] == means[1]
    if first.recommender_.best_epoch_ == second.recommender_.best_epoch_:
        np.testing.assert_array_equal(first.weights_, second.weights_)


def test_the_gradient_of_the_weights_sees_no_held_out_item(tiny, planted):
    X, _ = leave_one_out(planted, validation=True)
    data = PatternMiner(window=3, random_state=0).fit_transform(X)
    personalizer = tiny(noise=False)
    # Negatives are drawn from all items, which "sampled_softmax" in the batch does not do.
    model = personalizer.recommender.set_params(loss="sampled_softmax", negative_sampling="in_batch", dropout=0.0)
    companion = training.Personalization(personalizer._settings(data))
    task = model._task(companion.kept_in(data, 0), None, torch.device("cpu"), 0, 10)
    companion.joined(task)
    before = companion.outer.gradients(np.random.default_rng(1))
    with torch.no_grad():
        task.network.item_table()[codes_of(data, VALIDATION, TEST) - 1] = 1e3
    after = companion.outer.gradients(np.random.default_rng(1))
    assert any(part.any() for part in before)
    for ours, theirs in zip(before, after, strict=True):
        assert torch.equal(ours, theirs)


def test_on_the_whole_path_weights_are_learnt_without_the_last_items(tiny, planted):
    seen = []

    class Watching(SASRec):
        def _fit(self, X, companion=None):
            seen.append(X)
            return super()._fit(X, companion)

    histories, y = leave_one_out(planted)
    personalizer = tiny()
    personalizer.set_params(recommender=Watching(**personalizer.recommender.get_params()))
    model = RegeneratedRecommender(PatternMiner(window=3, random_state=0), personalizer).fit(histories, y)
    (data,) = seen
    assert not np.isin(data.items, codes_of(data, VALIDATION, TEST)).any()
    assert set(data.vocabulary[data.validation[data.validation > 0] - 1].tolist()) == {VALIDATION}
    again = RegeneratedRecommender(PatternMiner(window=3, random_state=0), personalizer).fit(histories, y[::-1])
    np.testing.assert_array_equal(model.recommender_.weights_, again.recommender_.weights_)
