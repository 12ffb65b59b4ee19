"""The ``negative_sampling`` parameter of the target models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqregen import SequenceDataset
from seqregen.model_selection import leave_one_out
from seqregen.targets import SASRec
from seqregen.training import LOSSES, NEGATIVE_SAMPLING, NextItemLoss, negative_sampler

SAMPLED = [name for name in LOSSES if name != "ce"]


def weights_of(model) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in model.network_.parameters()]


@pytest.mark.parametrize("loss", SAMPLED)
@pytest.mark.parametrize("sampling", ["popularity", "in_batch"])
def test_it_learns_planted_transitions(tiny, loss, sampling):
    rows = [[(start + step) % 12 for step in range(2 + start % 7)] for start in range(60)]
    X, y = leave_one_out(rows)
    model = tiny(
        loss=loss, negative_sampling=sampling, max_epochs=60, learning_rate=0.02, dropout=0.1, patience=60
    ).fit(X)
    assert model.score(X, y) > 0.8


@pytest.mark.parametrize("loss", SAMPLED)
def test_each_sampling_repeats_and_is_another_training(tiny, sequences, loss):
    fitted = [
        weights_of(tiny(loss=loss, negative_sampling=sampling, max_epochs=2).fit(sequences))
        for sampling in NEGATIVE_SAMPLING
        for _ in range(2)
    ]
    for first, again in zip(fitted[::2], fitted[1::2], strict=True):
        assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    for one, other in [(0, 2), (0, 4), (2, 4)]:
        assert not torch.equal(fitted[one][0], fitted[other][0])


def test_the_number_of_negatives_is_not_read_where_the_batch_gives_them(tiny, sequences):
    few, many = (
        weights_of(tiny(negative_sampling="in_batch", n_negatives=number, max_epochs=1).fit(sequences))
        for number in (1, 30)
    )
    assert all(torch.equal(*pair) for pair in zip(few, many, strict=True))


def test_items_are_counted_in_the_rows_trained_on_alone(tiny, monkeypatch):
    counted = []

    def noting(name, training, max_length):
        counted.append((np.bincount(training.items, minlength=training.n_items + 1)[1:].tolist(), max_length))
        return negative_sampler(name, training, max_length)

    monkeypatch.setattr("seqregen.targets.base.negative_sampler", noting)
    data = SequenceDataset.from_sequences([[1, 2, 3], [2, 1, 4], [1, 2, 5]])
    X, _ = leave_one_out(data)
    tiny(negative_sampling="popularity", max_epochs=1, refit=True).fit(X.replace(validation=np.array([3, 3, 2])))
    # Once without the validation items, once more with them.
    assert counted == [([3, 3, 0, 0, 0], 6), ([3, 4, 2, 0, 0], 6)]


def test_an_unknown_sampling_is_refused_with_the_names_there_are(tiny, sequences):
    message = "SASRec: negative_sampling must be one of 'auto', 'uniform', 'popularity', 'in_batch'; got 'hard'"
    with pytest.raises(ValueError, match=message):
        tiny(negative_sampling="hard").fit(sequences)


@pytest.mark.gpu
@pytest.mark.parametrize("sampling", NEGATIVE_SAMPLING)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_on_cuda_is_that_on_the_cpu_and_never_waits(loss, sampling, sequences):
    objective = NextItemLoss(loss, 24, 5, negatives=negative_sampler(sampling, sequences, 6))
    generator = torch.Generator().manual_seed(0)
    states, table = torch.randn(30, 8, generator=generator), torch.randn(24, 8, generator=generator)
    targets = torch.randint(1, 25, (30,), generator=generator)
    found = []
    for device in ("cpu", "cuda"):
        inputs = [part.clone().to(device).requires_grad_() for part in (states, table)]
        there = targets.to(device)
        # What is made once for all batches is made here.
        objective.per_position(*inputs, there, np.random.default_rng(0))
        torch.cuda.set_sync_debug_mode("error" if device == "cuda" else "default")
        try:
            values = objective.per_position(*inputs, there, np.random.default_rng(0))
            values.sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found.append([values.detach().cpu(), *(part.grad.cpu() for part in inputs)])
    for on_cpu, on_cuda in zip(*found, strict=True):
        torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-3, atol=1e-4)


def test_the_published_setting_draws_uniformly():
    model = SASRec.reference()
    assert (model.loss, model.n_negatives, model.negative_sampling) == ("bce", 1, "auto")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"n_negatives": 7}, {"negative_sampling": "popularity"}),
        ({}, {"loss": "ce"}),
        ({"loss": "bce"}, {"negative_sampling": "uniform", "n_negatives": 1}),
        ({"loss": "gbce"}, {"negative_sampling": "uniform", "n_negatives": 256}),
        ({"loss": "bpr"}, {"negative_sampling": "uniform", "n_negatives": 1}),
    ],
)
def test_what_the_defaults_stand_for(tiny, sequences, settings, named):
    given = {"n_negatives": None, "max_epochs": 1, "loss": "sampled_softmax"} | settings
    chosen = weights_of(tiny(negative_sampling="auto", **given).fit(sequences))
    expected = weights_of(tiny(**given | named).fit(sequences))
    assert all(map(torch.equal, chosen, expected))


def test_a_large_vocabulary_is_sampled_by_default(tiny):
    rows = [[3 * row, 3 * row + 1, 3 * row + 2] for row in range(1400)]
    fitted = [
        weights_of(tiny(max_epochs=1, n_negatives=number, negative_sampling=sampling).fit(rows))
        for number, sampling in [(None, "auto"), (4096, "popularity")]
    ]
    assert all(map(torch.equal, *fitted))
