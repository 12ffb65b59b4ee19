"""log Σ exp of the scores of many items, in blocks: the part of a softmax that costs.

A block of scores is made, turned into probabilities and multiplied by the vectors while it lies in the cache; the
backward pass is one matrix product over probabilities that were kept, or, where they are too many to keep, made
again. Written with torch's own operators the same sum makes several tensors of positions x items and goes over each.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..nn import is_narrow, narrow_type, product, widened
from ..nn.embedding import is_accumulating

__all__ = ["log_sum_exp_scores"]

# Scores made at once on a CPU (4 MiB, which stay in a processor's cache) and on other devices (256 MiB).
_SCORES_AT_ONCE = {"cpu": 1 << 20}
_SCORES_AT_ONCE_ELSEWHERE = 1 << 26
# Matrix products of fewer rows are slow, however many items there are; and oneDNN likes numbers of rows to come again.
_FEWEST_ROWS = 16
_RECURRING = 64
# Probabilities kept for the backward pass: 256 MiB.
_SCORES_KEPT = 1 << 26
# Numbers of a gradient that is summed in memory of its own: 16 MiB. A larger one would be a second table.
_SUMMED_APART = 1 << 22


def log_sum_exp_scores(
    states: Tensor,
    vectors: Tensor,
    offsets: Tensor | None = None,
    left_out: tuple[Tensor, Tensor] | None = None,
    *,
    sizes_vary: bool = False,
) -> Tensor:
    """``logsumexp(states @ vectors.T + offsets, dim=-1)``, exact, with first and second derivatives.

    A second derivative (``create_graph=True``) is taken through torch's own operators and holds all scores at once.
    Inside :func:`seqregen.nn.accumulating_gradients` the gradient of a table is added into its ``.grad`` in place.
    Inside :func:`seqregen.nn.computing_in` "bfloat16" matrix products round what they multiply, and scores are rounded;
    sums are not, nor are second derivatives.

    Parameters
    ----------
    states : Tensor of shape (n, d)
    vectors : Tensor of shape (k, d)
    offsets : Tensor of shape (k,), optional
        Added to the scores of each vector; not differentiated.
    left_out : pair of int64 Tensor of shape (n,) and (k,), optional
        A vector is left out of the sum of a state where the two are equal. Where all are left out the sum is that
        of scores of the smallest finite number.
    sizes_vary : bool, default=False
        Whether k changes from call to call. On a CPU both n and k are then filled up to numbers that come again, as
        every new shape of a matrix product takes time to prepare, and memory for as long as it is kept.

    Returns
    -------
    Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> from seqregen.training.log_sum_exp import log_sum_exp_scores
    >>> log_sum_exp_scores(torch.zeros(2, 3), torch.ones(4, 3))
    tensor([1.3863, 1.3863])
    """
    narrow = narrow_type(states.device)
    states, vectors = widened(states), widened(vectors)
    wanted, items = (None, None) if left_out is None else left_out
    if not torch.is_grad_enabled():
        # Else what a backward pass needs would be made and dropped.
        states, vectors = states.detach(), vectors.detach()
    n, accumulates = len(states), is_accumulating() and vectors.is_leaf and vectors.grad is not None
    if sizes_vary and states.device.type == "cpu" and len(vectors) > _RECURRING:
        states, vectors, offsets, wanted, items = _filled_up(states, vectors, offsets, wanted, items)
        accumulates = False
    # What is rounded is rounded below, and nothing else.
    with torch.autocast(states.device.type, enabled=False):
        return _LogSumExp.apply(states, vectors, offsets, wanted, items, accumulates, narrow)[:n]


def _filled_up(
    states: Tensor, vectors: Tensor, offsets: Tensor | None, wanted: Tensor | None, items: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """With states that nobody reads, and vectors of no probability, behind the others."""
    more_states, more_vectors = -len(states) % _RECURRING, -len(vectors) % _RECURRING
    if offsets is None:
        offsets = vectors.new_zeros(len(vectors))
    lowest = torch.finfo(vectors.dtype).min
    return (
        functional.pad(states, (0, 0, 0, more_states)),
        functional.pad(vectors, (0, 0, 0, more_vectors)),
        functional.pad(offsets, (0, more_vectors), value=lowest),
        None if wanted is None else functional.pad(wanted, (0, more_states), value=-1),
        None if items is None else functional.pad(items, (0, more_vectors), value=-2),
    )


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        vectors: Tensor,
        offsets: Tensor | None,
        wanted: Tensor | None,
        items: Tensor | None,
        accumulates: bool,
        narrow: torch.dtype | None,
    ) -> Tensor:
        left, right = _rounded(states, narrow), _rounded(vectors, narrow)
        n_scores = len(states) * len(vectors)
        keeps = ctx.needs_input_grad[1] and n_scores <= _SCORES_KEPT
        kept = left.new_empty(len(states), len(vectors)) if keeps else None
        expected = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        sums = states.new_empty(len(states))
        for rows in _blocks(states, vectors):
            scores = _scores(left, right, offsets, wanted, items, rows)
            highest = scores.amax(1)
            probabilities = scores if kept is None or narrow is not None else kept[rows]
            torch.softmax(scores, 1, out=probabilities)
            # The largest probability is 1 / Σ exp(score - highest): a sum that need not be formed again.
            torch.sub(highest, probabilities.amax(1).log_(), out=sums[rows])
            if narrow is not None:
                probabilities = probabilities.to(narrow) if kept is None else kept[rows].copy_(probabilities)
            if expected is not None:
                expected[rows] = product(probabilities, right.T)
        ctx.save_for_backward(states, vectors, offsets, wanted, items, sums, expected, kept)
        ctx.accumulates, ctx.narrow = accumulates, narrow
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, vectors, offsets, wanted, items, _, expected, _ = ctx.saved_tensors
        (gradient,) = gradients
        if torch.is_grad_enabled():
            return _differentiable(ctx, states, vectors, offsets, wanted, items, gradient)
        of_states = None if expected is None else expected * gradient[:, None]
        if not ctx.needs_input_grad[1]:
            return of_states, None, None, None, None, None, None
        of_vectors = vectors.grad if ctx.accumulates else torch.zeros_like(vectors)
        _add_gradient(of_vectors, ctx, states * gradient[:, None])
        return of_states, None if ctx.accumulates else of_vectors, None, None, None, None, None


def _add_gradient(of_vectors: Tensor, ctx: Any, weighted: Tensor) -> None:
    """Add to a gradient the sum over positions of their probabilities times their weighted states."""
    states, vectors, offsets, wanted, items, sums, _, kept = ctx.saved_tensors
    left, right = _rounded(states, ctx.narrow), _rounded(vectors, ctx.narrow)
    # Transposed, what has to be copied are the states, which are fewer.
    total = states.new_zeros(states.shape[1], len(vectors)) if vectors.numel() <= _SUMMED_APART else None
    for rows in _blocks(states, vectors):
        if kept is None:
            scores = _scores(left, right, offsets, wanted, items, rows)
            probabilities = scores.sub_(sums[rows, None]).exp_()
        else:
            probabilities = kept[rows]
        if total is None:
            # Rounded, the product would be a second table.
            of_vectors.addmm_(widened(probabilities).T, weighted[rows])
        else:
            factors = _rounded(weighted[rows].T.contiguous(), ctx.narrow), _rounded(probabilities, ctx.narrow)
            total += product(factors[0], factors[1].T)
    if total is not None:
        of_vectors += total.T


def _rounded(values: Tensor, narrow: torch.dtype | None) -> Tensor:
    return values if narrow is None else values.to(narrow)


def _blocks(states: Tensor, vectors: Tensor) -> list[slice]:
    """All rows, as many at once as do not spill; what is left behind the last full block in two parts at most."""
    at_once = _SCORES_AT_ONCE.get(states.device.type, _SCORES_AT_ONCE_ELSEWHERE)
    size = max(_FEWEST_ROWS, at_once // max(len(vectors), 1))
    if size > _RECURRING:
        size -= size % _RECURRING
    full = len(states) - len(states) % size
    bounds = [*range(0, full, size), full, full + (len(states) - full) // _RECURRING * _RECURRING, len(states)]
    return [slice(first, last) for first, last in pairwise(bounds) if last > first]


def _scores(
    states: Tensor,
    vectors: Tensor,
    offsets: Tensor | None,
    wanted: Tensor | None,
    items: Tensor | None,
    rows: slice,
) -> Tensor:
    """Scores of some rows, in full precision whatever the factors are in."""
    if is_narrow(states):
        scores = product(states[rows], vectors).float()
        scores = scores if offsets is None else scores.add_(offsets)
    else:
        scores = product(states[rows], vectors, offsets)
    if wanted is not None and items is not None:
        # A finite number: a row of nothing but -inf would have no softmax.
        scores.masked_fill_(wanted[rows, None] == items, torch.finfo(scores.dtype).min)
    return scores


def _differentiable(
    ctx: Any,
    states: Tensor,
    vectors: Tensor,
    offsets: Tensor | None,
    wanted: Tensor | None,
    items: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor | None, ...]:
    """The backward pass in operators that can be differentiated again."""
    scores = states @ vectors.T
    if offsets is not None:
        scores = scores + offsets
    if wanted is not None and items is not None:
        scores = scores.masked_fill(wanted[:, None] == items, torch.finfo(scores.dtype).min)
    # Written out: asked for the gradient of the vectors, torch would follow states that were made of them as well.
    weighted = torch.softmax(scores, -1) * gradient[:, None]
    of_states = weighted @ vectors if ctx.needs_input_grad[0] else None
    of_vectors = weighted.T @ states if ctx.needs_input_grad[1] else None
    return of_states, of_vectors, None, None, None, None, None
