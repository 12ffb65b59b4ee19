"""Gated recurrent units over ragged rows.

Positions are laid out step by step: first the first position of every row, then the second position of the rows
that have one, longest rows first, so that the rows still alive are always the first ones. All positions go through
the input projection in one matrix product; only the recurrent product runs step by step. The backward pass runs the
steps in reverse and leaves the weights' gradients to one product over all positions, where automatic
differentiation would make and add one gradient of each weight a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .embedding import is_accumulating
from .placing import on_device
from .precision import in_full_precision

__all__ = ["GRU", "TimeSteps", "time_steps"]


@dataclass(frozen=True)
class TimeSteps:
    """The positions of a ragged column, step by step.

    Attributes
    ----------
    order : int64 Tensor of shape (n_positions,)
        Flat place of each position when they are laid out step by step.
    inverse : int64 Tensor of shape (n_positions,)
        Where each flat position stands among the steps.
    previous : int64 Tensor of shape (n_positions - counts[0],)
        For each position behind the first step, where its row's former position stands among the steps.
    counts : list of int
        Rows alive at each step; never rising.
    """

    order: Tensor
    inverse: Tensor
    previous: Tensor
    counts: list[int]


def time_steps(lengths: np.ndarray, device: torch.device) -> TimeSteps:
    """Lay the positions of rows out step by step.

    Parameters
    ----------
    lengths : int64 ndarray of shape (n_rows,)
        Positions of each row, at least 1; in any order.
    device : torch.device
        Where the positions live.

    Returns
    -------
    TimeSteps

    Examples
    --------
    >>> import numpy as np, torch
    >>> from seqregen.nn import time_steps
    >>> steps = time_steps(np.array([1, 3]), torch.device("cpu"))
    >>> steps.order.tolist(), steps.counts
    ([1, 0, 2, 3], [2, 1, 1])
    """
    longest_first = np.argsort(-lengths, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[longest_first]
    n_steps = int(lengths.max(initial=0))
    counts = len(lengths) - np.searchsorted(np.sort(lengths), np.arange(n_steps), side="right")
    step = np.repeat(np.arange(n_steps), counts)
    row = np.arange(len(step)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = starts[row] + step
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    previous = inverse[order[step > 0] - 1]
    order, inverse, previous = (on_device(places, device) for places in (order, inverse, previous))
    return TimeSteps(order, inverse, previous, counts.tolist())


class GRU(nn.GRU):
    """Gated recurrent units without biases (Cho et al., EMNLP 2014), as torch defines them, over ragged rows.

    Weights have the names, shapes and first values of :class:`torch.nn.GRU`; the reset gate works on the product of
    the former state, behind the recurrent weight.

    Parameters
    ----------
    width : int
        Size of a position's input.
    hidden : int
        Size of a state.
    n_layers : int
        Each layer reads the states of the one below.
    """

    def __init__(self, width: int, hidden: int, n_layers: int) -> None:
        super().__init__(width, hidden, n_layers, bias=False)

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draw all weights uniformly from within 1 / sqrt(hidden), torch's default."""
        bound = self.hidden_size**-0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    @in_full_precision
    def forward(self, positions: Tensor, steps: TimeSteps) -> Tensor:  # type: ignore[override]
        """States after each position.

        Parameters
        ----------
        positions : Tensor of shape (n_positions, width)
            Laid out step by step.
        steps : TimeSteps

        Returns
        -------
        Tensor of shape (n_positions, hidden)
            Laid out step by step; differentiable twice.
        """
        if positions.is_cuda and (is_accumulating() or not torch.is_grad_enabled()):
            # cuDNN has no second derivatives, which are asked for outside of the training loop alone.
            return self._by_cudnn(positions, steps)
        for layer in range(self.num_layers):
            inputs, recurrent = getattr(self, f"weight_ih_l{layer}"), getattr(self, f"weight_hh_l{layer}")
            positions = _GRULayer.apply(positions, inputs, recurrent, steps)
        return positions

    def _by_cudnn(self, positions: Tensor, steps: TimeSteps) -> Tensor:
        rows = nn.utils.rnn.PackedSequence(positions, torch.tensor(steps.counts))
        return super().forward(rows)[0].data


class _GRULayer(torch.autograd.Function):
    """One layer; gates are kept for a backward pass without a graph, and a graph is made where one is wanted."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, inputs: Tensor, recurrent: Tensor, steps: TimeSteps) -> Tensor:
        states, gates, remembered = _run(positions, inputs, recurrent, steps.counts)
        ctx.save_for_backward(positions, inputs, recurrent, states, gates, remembered)
        ctx.steps = steps
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        positions, inputs, recurrent, states, gates, remembered = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable_gradients(ctx, gradients[0]), None
        steps = ctx.steps
        n_first, width = steps.counts[0], states.shape[1]
        previous = states.index_select(0, steps.previous)
        slopes = _slopes(previous, gates, remembered, n_first)
        update = gates[:, width : 2 * width]
        _run_back(gradients[0].clone(memory_format=torch.contiguous_format), slopes, update, recurrent, steps.counts)
        reset_update, new = slopes[:, : 2 * width], slopes[:, 3 * width :]
        for_inputs = torch.empty_like(inputs)
        torch.mm(reset_update.T, positions, out=for_inputs[: 2 * width])
        torch.mm(new.T, positions, out=for_inputs[2 * width :])
        for_recurrent = slopes[n_first:, : 3 * width].T @ previous
        for_positions = None
        if ctx.needs_input_grad[0]:
            for_positions = (reset_update @ inputs[: 2 * width]).addmm_(new, inputs[2 * width :])
        return for_positions, for_inputs, for_recurrent, None


def _run(positions: Tensor, inputs: Tensor, recurrent: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """States (n, h); reset, update and new gates (n, 3h); what the reset gate was multiplied with (n, h)."""
    width = recurrent.shape[1]
    gates = positions @ inputs.T
    states, remembered = gates.new_empty(len(gates), width), gates.new_empty(len(gates), width)
    for_gates, for_new = recurrent[: 2 * width].T, recurrent[2 * width :].T
    opened, news = gates[:, : 2 * width].split(counts), gates[:, 2 * width :].split(counts)
    kept = remembered.split(counts)
    state = None
    for step, after in enumerate(states.split(counts)):
        gate, new, memory = opened[step], news[step], kept[step]
        if state is None:
            memory.zero_()
            update = gate.sigmoid_()[:, width:]
            torch.addcmul(new.tanh_(), update, new, value=-1, out=after)
        else:
            state = state[: len(after)]
            gate.addmm_(state, for_gates).sigmoid_()
            torch.mm(state, for_new, out=memory)
            new.addcmul_(gate[:, :width], memory).tanh_()
            torch.lerp(new, state, gate[:, width:], out=after)
        state = after
    return states, gates, remembered


def _slopes(previous: Tensor, gates: Tensor, remembered: Tensor, n_first: int) -> Tensor:
    """How much a state rises with what goes into each gate.

    Columns, h each: into reset, into update, into the new gate through the former state, into the new gate.
    """
    width = remembered.shape[1]
    reset, update, new = gates.split(width, 1)
    slopes = gates.new_empty(len(gates), 4 * width)
    for_reset, for_update, for_memory, for_new = slopes.split(width, 1)
    scratch = 1 - update
    torch.ops.aten.tanh_backward.grad_input(scratch, new, grad_input=for_new)
    torch.mul(for_new, reset, out=for_memory)
    torch.mul(for_new, remembered, out=scratch)
    torch.ops.aten.sigmoid_backward.grad_input(scratch, reset, grad_input=for_reset)
    torch.neg(new[:n_first], out=scratch[:n_first])
    torch.sub(previous, new[n_first:], out=scratch[n_first:])
    torch.ops.aten.sigmoid_backward.grad_input(scratch, update, grad_input=for_update)
    return slopes


def _run_back(gradients: Tensor, slopes: Tensor, update: Tensor, recurrent: Tensor, counts: Sequence[int]) -> None:
    """Turn slopes into gradients of what goes into the gates, last step first; both arguments are overwritten."""
    width = recurrent.shape[1]
    of_states, of_gates = gradients.split(counts), slopes.split(counts)
    updates = update.split(counts)
    for step in range(len(counts) - 1, -1, -1):
        of_state, of_gate = of_states[step], of_gates[step]
        of_gate.view(-1, 4, width).mul_(of_state[:, None])
        if step:
            before = of_states[step - 1][: len(of_state)]
            before.addcmul_(of_state, updates[step]).addmm_(of_gate[:, : 3 * width], recurrent)


def _differentiable_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients with a graph behind them, for second derivatives: the layer is run again in plain operations."""
    positions, inputs, recurrent = ctx.saved_tensors[:3]
    states = _plain_layer(positions, inputs, recurrent, ctx.steps.counts)
    pairs = zip((positions, inputs, recurrent), ctx.needs_input_grad[:3], strict=True)
    wanted = [tensor for tensor, needed in pairs if needed]
    found = iter(torch.autograd.grad(states, wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad[:3])


def _plain_layer(positions: Tensor, inputs: Tensor, recurrent: Tensor, counts: Sequence[int]) -> Tensor:
    state = positions.new_zeros(counts[0], recurrent.shape[1])
    states = []
    for projected in functional.linear(positions, inputs).split(counts):
        state = state[: len(projected)]
        reset_in, update_in, new_in = projected.chunk(3, 1)
        reset_by, update_by, new_by = functional.linear(state, recurrent).chunk(3, 1)
        reset, update = torch.sigmoid(reset_in + reset_by), torch.sigmoid(update_in + update_by)
        new = torch.tanh(new_in + reset * new_by)
        state = new + update * (state - new)
        states.append(state)
    return torch.cat(states)
