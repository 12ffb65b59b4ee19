"""Where negatives come from: laws, counts, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from seqregen import SequenceDataset
from seqregen.training import NEGATIVE_SAMPLING, negative_sampler
from seqregen.training.negatives import DrawnNegatives, InBatchNegatives, PopularityNegatives, UniformNegatives

SEQUENCES = [[1, 2, 3, 1], [4, 2], [5], [2, 3, 3, 6, 1]]


@pytest.fixture
def data() -> SequenceDataset:
    return SequenceDataset.from_sequences(SEQUENCES)


def probabilities(sampler, n_items: int) -> np.ndarray:
    return sampler.log_probabilities(torch.arange(n_items), torch.zeros(1, dtype=torch.float64)).exp().numpy()


@pytest.mark.parametrize("name", ["uniform", "popularity"])
def test_items_are_drawn_as_often_as_their_probability_says(data, name):
    sampler = negative_sampler(name, data, 50)
    expected = {"uniform": np.full(6, 1 / 6), "popularity": np.array([3, 3, 3, 1, 1, 1]) / 12}[name]
    np.testing.assert_allclose(probabilities(sampler, 6), expected, rtol=1e-12)
    targets = torch.zeros(40, dtype=torch.int64)
    shared = sampler.shared(6000, targets, np.random.default_rng(0))
    own = sampler.per_position(150, targets, np.random.default_rng(1))
    assert (shared.items.shape, shared.n_draws, own.shape) == ((6000,), 6000, (150, 40))
    for drawn in (shared.items, own.ravel()):
        assert drawn.dtype == torch.int64
        assert stats.chisquare(np.bincount(drawn.numpy(), minlength=6), 6000 * expected).pvalue > 0.001


def test_negatives_of_the_batch_are_its_targets(data):
    sampler = negative_sampler("in_batch", data, 50)
    targets = torch.tensor([3, 1, 1])
    shared = sampler.shared(99, targets, np.random.default_rng(0))
    assert shared.items is targets
    assert shared.n_draws == 2
    assert not isinstance(sampler, DrawnNegatives)


@pytest.mark.parametrize("max_length", [50, 2])
def test_targets_are_counted_where_they_are_trained_on(data, max_length):
    wanted = [item for row in SEQUENCES for item in row[1:][-max_length:]]
    counts = np.array([wanted.count(label) for label in data.vocabulary])
    sampler = negative_sampler("in_batch", data, max_length)
    # An item that is never a target counts once, and takes nothing from the others.
    np.testing.assert_allclose(probabilities(sampler, 6), np.maximum(counts, 1) / counts.sum(), rtol=1e-12)


def test_items_without_interactions_are_never_drawn():
    sampler = PopularityNegatives(np.array([2, 2, 5]), n_items=6)
    assert set(sampler.draw((500,), np.random.default_rng(0)).tolist()) == {1, 4}


@pytest.mark.parametrize("name", ["uniform", "popularity"])
def test_draws_repeat_bit_for_bit(data, name):
    targets = torch.zeros(5, dtype=torch.int64)
    first, again = (
        (sampler.shared(7, targets, random).items, sampler.per_position(3, targets, random))
        for sampler, random in ((negative_sampler(name, data, 50), np.random.default_rng(3)) for _ in range(2))
    )
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


def test_a_sampler_serves_both_precisions():
    sampler = InBatchNegatives(np.array([1, 3]))
    items = torch.tensor([1, 0])
    for dtype in (torch.float32, torch.float64, torch.float32):
        found = sampler.log_probabilities(items, torch.zeros(1, dtype=dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found, torch.tensor([0.75, 0.25], dtype=torch.float64).log().to(dtype))


def test_names_are_those_there_are(data):
    kinds = [type(negative_sampler(name, data, 5)) for name in NEGATIVE_SAMPLING]
    assert kinds == [UniformNegatives, PopularityNegatives, InBatchNegatives]
    with pytest.raises(ValueError, match="one of 'uniform', 'popularity', 'in_batch'; got 'hard'"):
        negative_sampler("hard", data, 5)


def test_of_a_large_batch_some_targets_are_the_negatives():
    sampler = InBatchNegatives(np.ones(50, dtype=np.int64), most=20)
    targets = torch.arange(50)
    drawn = sampler.shared(1, targets, np.random.default_rng(0))
    assert len(set(drawn.items.tolist())) == drawn.n_draws == 20
    again = sampler.shared(1, targets, np.random.default_rng(0))
    assert torch.equal(drawn.items, again.items)
    few = targets[:20]
    assert sampler.shared(1, few, np.random.default_rng(0)).items is few
    assert sampler.shared(1, targets[:20], np.random.default_rng(0)).n_draws == 19


def test_popularity_counts_all_targets_of_what_is_read():
    data = SequenceDataset.from_sequences([["a", "b", "c", "d"]])
    sampler = negative_sampler("popularity", data, max_length=2)
    assert data.vocabulary[sampler.items - 1].tolist() == ["b", "c", "d"]
