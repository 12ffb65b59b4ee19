"""Losses against plain formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqregen.nn import accumulating_gradients
from seqregen.training import LOSSES, NextItemLoss, losses

N_ITEMS, N_POSITIONS, WIDTH = 7, 11, 5


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    states = torch.tensor(random.normal(size=(N_POSITIONS, WIDTH)), requires_grad=True)
    table = torch.tensor(random.normal(size=(N_ITEMS, WIDTH)), requires_grad=True)
    return states, table, torch.tensor(random.integers(1, N_ITEMS + 1, N_POSITIONS))


def softplus(value: float) -> float:
    return float(np.logaddexp(0, value))


def scores_of(problem) -> tuple[np.ndarray, np.ndarray]:
    states, table, targets = problem
    return (states @ table.T).detach().numpy(), targets.numpy() - 1


def evaluated(name: str, problem, n_negatives: int, **options) -> np.ndarray:
    loss = NextItemLoss(name, N_ITEMS, n_negatives, **options)
    values = loss.per_position(*problem, np.random.default_rng(1))
    assert values.shape == (N_POSITIONS,)
    return values.detach().numpy()


@pytest.mark.parametrize("n_negatives", [1, 4])
def test_bce(problem, n_negatives):
    scores, targets = scores_of(problem)
    negatives = np.random.default_rng(1).integers(0, N_ITEMS, (n_negatives, N_POSITIONS))
    expected = [
        softplus(-scores[i, t]) + np.mean([softplus(scores[i, j]) for j in negatives[:, i]])
        for i, t in enumerate(targets)
    ]
    np.testing.assert_allclose(evaluated("bce", problem, n_negatives), expected, rtol=1e-12)


def test_ce(problem):
    scores, targets = scores_of(problem)
    expected = [np.log(np.exp(row).sum()) - row[t] for row, t in zip(scores, targets, strict=True)]
    np.testing.assert_allclose(evaluated("ce", problem, 3), expected, rtol=1e-12)


@pytest.mark.parametrize("n_negatives", [1, 3, 20])
def test_sampled_softmax_leaves_out_negatives_that_are_the_target(problem, n_negatives):
    scores, targets = scores_of(problem)
    negatives = np.random.default_rng(1).integers(0, N_ITEMS, n_negatives)
    # With 20 draws out of 7 items every target is hit; with 1 the softmax of a hit position is empty.
    assert np.isin(targets, negatives).any()
    expected = [
        np.log(np.exp(row[t]) + sum(np.exp(row[j]) for j in negatives if j != t)) - row[t]
        for row, t in zip(scores, targets, strict=True)
    ]
    np.testing.assert_allclose(evaluated("sampled_softmax", problem, n_negatives), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce(problem, calibration):
    scores, targets = scores_of(problem)
    n_negatives = 3
    negatives = np.random.default_rng(1).integers(0, N_ITEMS, n_negatives)
    alpha = n_negatives / (N_ITEMS - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    sigmoid = 1 / (1 + np.exp(-scores))
    expected = [
        -(beta * np.log(sigmoid[i, t]) + sum(np.log(1 - sigmoid[i, j]) for j in negatives if j != t))
        / (n_negatives + 1)
        for i, t in enumerate(targets)
    ]
    np.testing.assert_allclose(evaluated("gbce", problem, n_negatives, calibration=calibration), expected, rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(problem, name):
    loss = NextItemLoss(name, N_ITEMS, 3)
    states, table, targets = problem
    assert torch.autograd.gradcheck(
        lambda states, table: loss.per_position(states, table, targets, np.random.default_rng(1)), (states, table)
    )


@pytest.mark.parametrize("name", LOSSES)
def test_accumulated_gradients_are_the_same(problem, name):
    loss = NextItemLoss(name, N_ITEMS, 3)
    states, table, _targets = problem
    expected = torch.autograd.grad(loss.per_position(*problem, np.random.default_rng(1)).sum(), (states, table))
    table.grad = torch.zeros_like(table)
    with accumulating_gradients():
        loss.per_position(*problem, np.random.default_rng(1)).sum().backward()
    torch.testing.assert_close(states.grad, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(table.grad, expected[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scores_at_once", [1, 2 * N_ITEMS, 4 * N_ITEMS + 3])
def test_ce_in_blocks_is_ce(problem, scores_at_once, monkeypatch):
    states, table, _targets = problem
    weights = torch.linspace(0.1, 2, N_POSITIONS, dtype=torch.float64)
    loss = NextItemLoss("ce", N_ITEMS, 1)
    whole = loss.per_position(*problem, np.random.default_rng(1))
    expected = torch.autograd.grad((whole * weights).sum(), (states, table))
    monkeypatch.setattr(losses, "_SCORES_AT_ONCE", scores_at_once)
    blocked = loss.per_position(*problem, np.random.default_rng(1))
    torch.testing.assert_close(blocked, whole, rtol=1e-12, atol=1e-14)
    gradients = torch.autograd.grad((blocked * weights).sum(), (states, table))
    for gradient, unblocked in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, unblocked, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_catalogue_of_one_item_gives_numbers(name):
    states = torch.ones(3, 2, requires_grad=True)
    table = torch.ones(1, 2, requires_grad=True)
    value = NextItemLoss(name, 1, 4).per_position(
        states, table, torch.ones(3, dtype=torch.int64), np.random.default_rng(0)
    )
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(states.grad).all()
    assert torch.isfinite(table.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_large_scores_do_not_overflow(name):
    table = torch.tensor([[100.0], [-100.0], [0.0]], requires_grad=True)
    states = torch.tensor([[10.0], [-10.0]], requires_grad=True)
    value = NextItemLoss(name, 3, 5).per_position(states, table, torch.tensor([1, 1]), np.random.default_rng(0))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(states.grad).all()
    assert value[1] > value[0]
