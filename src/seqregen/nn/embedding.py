"""Looking item vectors up without paying for the whole table in the backward pass.

torch's embedding makes a zeroed gradient of the size of the table in every step, and on a CPU the fresh
memory costs more than the arithmetic. Inside :func:`accumulating_gradients` the rows' gradients are added
straight into the table's ``.grad``; everywhere else, double differentiation included, nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

__all__ = ["accumulating_gradients", "is_accumulating", "look_up", "ordinary_gradients"]

# A context variable, so that fits in several threads do not switch it for one another.
_ACCUMULATE: ContextVar[bool] = ContextVar("accumulate", default=False)


@contextmanager
def accumulating_gradients() -> Iterator[None]:
    """Let backward passes add gradients of looked-up rows into the table's ``.grad`` in place.

    For training loops, where ``loss.backward()`` is called and every table is a leaf with a ``.grad``.
    """
    token = _ACCUMULATE.set(True)
    try:
        yield
    finally:
        _ACCUMULATE.reset(token)


@contextmanager
def ordinary_gradients() -> Iterator[None]:
    """Leave :func:`accumulating_gradients` for a while: gradients go where torch's own functions expect them.

    For what is differentiated by ``torch.autograd.grad``, once or twice, inside a training loop.
    """
    token = _ACCUMULATE.set(False)
    try:
        yield
    finally:
        _ACCUMULATE.reset(token)


def is_accumulating() -> bool:
    """Whether this thread is inside :func:`accumulating_gradients`."""
    return _ACCUMULATE.get()


class _AccumulatingLookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.table, ctx.rows = table, rows
        return table.detach().index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        ctx.table.grad.index_add_(0, ctx.rows, gradients[0])
        return None, None


def look_up(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table: ``table[rows]``.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
    rows : int64 Tensor of shape (n,)

    Returns
    -------
    Tensor of shape (n, d)
    """
    if _ACCUMULATE.get() and table.is_leaf and table.grad is not None and torch.is_grad_enabled():
        return _AccumulatingLookUp.apply(table, rows)
    return table.index_select(0, rows)
