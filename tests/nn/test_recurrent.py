"""Ragged recurrent layers against torch's own on padded rows, and their hand-written backward pass."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from seqregen.nn import GRU, TimeSteps, accumulating_gradients, time_steps

CPU = torch.device("cpu")
WIDTH, HIDDEN = 3, 4

some_lengths = st.lists(st.integers(1, 7), min_size=1, max_size=9)


def random_positions(lengths: list[int], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), WIDTH, generator=generator, dtype=torch.float64).requires_grad_()


def layers(n_layers: int = 2, seed: int = 0) -> GRU:
    network = GRU(WIDTH, HIDDEN, n_layers).double()
    network.draw_weights(torch.Generator().manual_seed(seed))
    return network


def ragged(network: GRU, positions: Tensor, lengths: list[int]) -> Tensor:
    """States of flat positions, by our layers."""
    steps = time_steps(np.array(lengths), CPU)
    return network(positions[steps.order], steps)[steps.inverse]


def padded(network: GRU, positions: Tensor, lengths: list[int]) -> Tensor:
    """States of flat positions, by torch's layers on rows padded at their ends."""
    twin = nn.GRU(WIDTH, HIDDEN, network.num_layers, bias=False, batch_first=True).double()
    rows = nn.utils.rnn.pad_sequence(positions.split(lengths), batch_first=True)
    states, _ = functional_call(twin, dict(network.named_parameters()), (rows,))
    return torch.cat([row[:length] for row, length in zip(states, lengths, strict=True)])


@given(st.lists(st.integers(1, 6), max_size=12))
def test_steps_hold_every_position_once_longest_rows_first(lengths):
    steps = time_steps(np.array(lengths, dtype=np.int64), CPU)
    order = steps.order.tolist()
    assert sorted(order) == list(range(sum(lengths)))
    assert [order[place] for place in steps.inverse.tolist()] == list(range(sum(lengths)))
    assert steps.counts == [sum(length > step for length in lengths) for step in range(max(lengths, default=0))]
    starts = np.cumsum([0, *lengths])[:-1].tolist()
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    expected = [starts[row] + step for step, count in enumerate(steps.counts) for row in rows[:count]]
    assert order == expected
    assert [order[place] + 1 for place in steps.previous.tolist()] == order[steps.counts[0] if lengths else 0 :]


@settings(max_examples=25, deadline=None)
@given(some_lengths, st.integers(1, 3), st.integers(0, 100))
def test_states_and_gradients_are_those_of_padded_rows(lengths, n_layers, seed):
    network, positions = layers(n_layers, seed), random_positions(lengths, seed)
    pull = torch.randn(sum(lengths), HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    inputs = (positions, *network.parameters())
    found, expected = (run(network, positions, lengths) for run in (ragged, padded))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, pull), torch.autograd.grad(expected, inputs, pull), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def as_function(network: GRU, steps: TimeSteps):
    names = [name for name, _ in network.named_parameters()]
    return lambda positions, *weights: functional_call(
        network, dict(zip(names, weights, strict=True)), (positions, steps)
    )


@pytest.mark.parametrize("lengths", [[3, 1, 2], [1, 1], [4]])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_first_and_second_derivatives_by_finite_differences(check, lengths):
    network, steps = layers(), time_steps(np.array(lengths), CPU)
    positions = random_positions(lengths, 1)
    assert check(as_function(network, steps), (positions, *network.parameters()))


def test_second_derivatives_are_those_of_padded_rows():
    lengths, network = [2, 5, 1, 3], layers()
    positions = random_positions(lengths, 2)
    products = []
    for run in (ragged, padded):
        loss = run(network, positions, lengths).sin().sum()
        slopes = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        along = sum((slope * torch.cos(slope.detach())).sum() for slope in slopes)
        products.append(torch.autograd.grad(along, [positions, *network.parameters()]))
    for ours, theirs in zip(*products, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("wanted", range(3))
def test_gradients_of_some_inputs_alone(wanted):
    lengths, network = [2, 3, 1], layers(1)
    tensors = [random_positions(lengths, 3).detach(), *(weight.detach() for weight in network.parameters())]
    tensors[wanted].requires_grad_()
    steps = time_steps(np.array(lengths), CPU)
    states = as_function(network, steps)(*tensors)
    (first,) = torch.autograd.grad(states.sum(), tensors[wanted], retain_graph=True)
    (with_graph,) = torch.autograd.grad(states.sum(), tensors[wanted], create_graph=True)
    torch.testing.assert_close(first, with_graph, rtol=1e-10, atol=1e-12)


def test_a_graph_that_is_kept_gives_the_same_gradients_again():
    lengths, network = [4, 2, 3], layers()
    loss = ragged(network, random_positions(lengths, 0), lengths).square().sum()
    first, again = (torch.autograd.grad(loss, list(network.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_training_loop_sees_the_same_and_gradients_add_up():
    lengths, network = [4, 2, 3], layers()
    positions = random_positions(lengths, 0)
    expected = torch.autograd.grad(ragged(network, positions, lengths).sum(), list(network.parameters()))
    with accumulating_gradients():
        for _ in range(2):
            ragged(network, positions, lengths).sum().backward()
    for weight, once in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, 2 * once, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert not ragged(network, positions, lengths).requires_grad


def test_weights_are_torchs_by_name_shape_and_range():
    network, twin = GRU(64, 256, 2), nn.GRU(64, 256, 2, bias=False)
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in twin.state_dict().items()
    }
    network.draw_weights(torch.Generator().manual_seed(0))
    for weight in network.parameters():
        assert 0.99 / 16 < weight.abs().max() <= 1 / 16
        assert weight.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.02)
    assert len({weight[0, 0].item() for weight in network.parameters()}) == 4


def test_drawn_weights_depend_on_the_generator_alone():
    first, again, other = (
        torch.cat([weight.flatten() for weight in layers(seed=seed).parameters()]) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_copies_and_pickles_keep_the_weights():
    lengths, network = [2, 3], layers()
    positions = random_positions(lengths, 0)
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(ragged(again, positions, lengths), ragged(network, positions, lengths))
