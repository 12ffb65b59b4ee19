"""What is rounded inside ``computing_in``, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqregen.nn import GRU, FrequencyFilter, accumulating_gradients, computing_in, time_steps
from seqregen.training import LOSSES, NextItemLoss, log_sum_exp
from seqregen.training.log_sum_exp import log_sum_exp_scores
from seqregen.training.negatives import InBatchNegatives

CPU = torch.device("cpu")
# bfloat16 keeps 8 bits: half a step is a part in 512 of each factor.
ROUNDING = 2.0**-8


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def softmax_of(states, vectors, precision, left_out=None):
    with computing_in(precision, CPU):
        sums = log_sum_exp_scores(states, vectors, torch.linspace(0, 1, len(vectors)), left_out)
    return sums, *torch.autograd.grad(sums.square().sum(), (states, vectors))


@pytest.mark.parametrize("left_out", [False, True])
@pytest.mark.parametrize(("kept", "apart"), [(1 << 26, 1 << 22), (0, 1 << 22), (1 << 26, 0), (0, 0)])
def test_a_softmax_rounds_factors_and_sums_in_full(kept, apart, left_out, monkeypatch):
    monkeypatch.setattr(log_sum_exp, "_SCORES_KEPT", kept)
    monkeypatch.setattr(log_sum_exp, "_SUMMED_APART", apart)
    monkeypatch.setitem(log_sum_exp._SCORES_AT_ONCE, "cpu", 64 * 90)
    states, vectors = drawn(150, 16), drawn(90, 16)
    pair = (torch.arange(150) % 90, torch.arange(90)) if left_out else None
    exact, rounded = (softmax_of(states, vectors, precision, pair) for precision in ("float32", "bfloat16"))
    for found, expected in zip(rounded, exact, strict=True):
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        torch.testing.assert_close(found, expected, rtol=0, atol=4 * ROUNDING * float(expected.detach().abs().max()))


def test_a_softmax_adds_into_a_table():
    states, table = drawn(20, 8), torch.nn.Parameter(drawn(30, 8).detach())
    with computing_in("bfloat16", CPU):
        (expected,) = torch.autograd.grad(log_sum_exp_scores(states, table).sum(), table)
        table.grad = torch.ones_like(table)
        with accumulating_gradients():
            log_sum_exp_scores(states, table).sum().backward()
    torch.testing.assert_close(table.grad, expected + 1)


def test_second_derivatives_are_not_rounded():
    states, vectors = drawn(10, 4), drawn(12, 4)
    curvatures = []
    for precision in ("float32", "bfloat16"):
        with computing_in(precision, CPU):
            sums = log_sum_exp_scores(states, vectors)
        slopes = torch.autograd.grad(sums.sum(), vectors, create_graph=True)[0]
        curvatures.append(torch.autograd.grad(slopes.square().sum(), vectors)[0])
    torch.testing.assert_close(*curvatures)


def test_recurrences_and_filters_are_not_rounded():
    steps = time_steps(np.array([3, 1, 2]), CPU)
    for layer, values, others in ((GRU(4, 5, 2), drawn(6, 4), (steps,)), (FrequencyFilter(6, 4), drawn(2, 6, 4), ())):
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
        values = values.detach().bfloat16()
        exact = layer(values.float(), *others)
        with computing_in("bfloat16", CPU):
            assert torch.equal(layer(values, *others), exact)


def test_what_lies_behind_is_as_before():
    with pytest.raises(ZeroDivisionError), computing_in("bfloat16", CPU):
        _ = 1 / 0
    assert (torch.ones(1, 2) @ torch.ones(2, 1)).dtype == torch.float32
    with torch.autocast("cpu", torch.float16):
        with computing_in("float32", CPU):
            assert (torch.ones(1, 2) @ torch.ones(2, 1)).dtype == torch.float32
        assert (torch.ones(1, 2) @ torch.ones(2, 1)).dtype == torch.float16


@pytest.mark.parametrize("outer", [torch.bfloat16, torch.float16])
def test_weights_are_rounded_anew_in_every_step(outer):
    layer, values = torch.nn.Linear(4, 3), drawn(5, 4).detach()
    with torch.autocast("cpu", outer):
        before = layer(values)
        with computing_in("bfloat16", CPU):
            first = layer(values)
        with torch.no_grad():
            layer.weight += 1
        with computing_in("bfloat16", CPU):
            second = layer(values)
    assert (before.dtype, first.dtype) == (outer, torch.bfloat16)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sampler", [None, InBatchNegatives(np.ones(9, dtype=np.int64))])
def test_losses_are_not_rounded_where_states_and_tables_are(name, sampler):
    states, table = drawn(6, 4).detach().bfloat16(), drawn(9, 4).detach().bfloat16()
    loss = NextItemLoss(name, n_items=9, n_negatives=3, negatives=sampler)

    def of(states, table):
        return loss.per_position(states, table, torch.arange(1, 7), np.random.default_rng(0))

    expected = of(states.float(), table.float())
    assert torch.equal(of(states, table), expected)
    with computing_in("bfloat16", CPU):
        rounded = of(states, table)
    # Scores are rounded to a part in 512; a loss that was, too, would have few of its values left.
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded.bfloat16().float(), rounded)
    torch.testing.assert_close(rounded, expected, rtol=0, atol=0.05)
