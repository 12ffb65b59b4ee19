"""The average of the weights: what it is, that it is what is kept, and that training does not read it."""

from __future__ import annotations

import pytest
import torch
from lines import CPU, loss_of, run
from torch import nn

from seqregen.training import StopRule, TrainingDivergedError, TrainingPlan, train
from seqregen.training.averaging import WeightAverage


def test_it_is_an_exponential_average_that_warms_up():
    weight = nn.Parameter(torch.zeros(3))
    average, expected = WeightAverage([weight], decay=0.6), torch.zeros(3)
    for step in range(1, 30):
        weight.data = torch.full((3,), float(step))
        average.update()
        kept = min(0.6, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * weight.detach()
    with average.in_place():
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight.detach(), torch.full((3,), 29.0))


def test_the_weights_come_back_when_something_fails_inside():
    weight = nn.Parameter(torch.ones(2))
    average = WeightAverage([weight], decay=0.5)
    weight.data = torch.full((2,), 3.0)
    inside = []

    def fails():
        with average.in_place():
            inside.append(weight.detach().clone())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.equal(inside[0], torch.ones(2))
    assert torch.equal(weight.detach(), torch.full((2,), 3.0))


class Number(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(()))


def test_what_is_measured_and_kept_is_the_average_and_what_is_trained_is_not():
    network, twin = Number(), Number()
    average, optimizer = WeightAverage([twin.x], 0.7), torch.optim.Adam([twin.x], lr=0.1)
    expected, measured = [], []
    for _ in range(4):
        for _ in range(5):
            optimizer.zero_grad()
            twin.x.backward()
            optimizer.step()
            average.update()
        with average.in_place():
            expected.append(twin.x.item())
    scores = iter([1.0, 2.0, 5.0, 3.0])

    def measure():
        measured.append(network.x.item())
        return {"score": next(scores)}

    plan = TrainingPlan(max_epochs=4, learning_rate=0.1, average_decay=0.7, stop=StopRule("score", patience=4))
    batches, loss = (lambda random: [None] * 5), (lambda batch, random: network.x * 1)
    train(network, batches, loss, plan, seed=0, device=CPU, evaluate=measure)
    assert measured == pytest.approx(expected, rel=1e-5)
    assert network.x.item() == measured[2]


def breaks_off(network):
    """The loss of a line, until the seventh epoch is interrupted."""
    loss, calls = loss_of(network), iter(range(10**6))

    def breaking(rows, random):
        if next(calls) == 20:
            raise KeyboardInterrupt
        return loss(rows, random)

    return breaking


def test_an_interrupted_run_goes_on_with_its_average(tmp_path):
    whole, history = run(average_decay=0.9)
    with pytest.raises(KeyboardInterrupt):
        run(str(tmp_path), average_decay=0.9, loss=breaks_off)
    again, resumed = run(str(tmp_path), average_decay=0.9)
    assert resumed.best_epoch == history.best_epoch
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    without, _ = run()
    assert not torch.equal(without.head.weight, whole.head.weight)


def test_a_checkpoint_without_an_average_is_not_gone_on_from(tmp_path):
    run(str(tmp_path))
    with pytest.raises(ValueError, match=r"is not one of network as it is now .*average"):
        run(str(tmp_path), average_decay=0.9)


def test_a_divergence_falls_back_on_the_average():
    network = Number()
    losses = iter([1.0, 1.0, float("nan")])
    plan = TrainingPlan(max_epochs=5, learning_rate=0.1, average_decay=0.5)
    with pytest.warns(RuntimeWarning, match="weights of epoch 2 are kept"):
        train(network, lambda random: [None], lambda batch, random: network.x * next(losses), plan, seed=0, device=CPU)
    assert -0.2 < network.x.item() < 0
    with pytest.raises(TrainingDivergedError):
        train(Number(), lambda random: [None], lambda batch, random: torch.tensor(torch.nan), plan, seed=0, device=CPU)
