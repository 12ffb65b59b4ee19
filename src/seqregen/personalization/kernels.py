"""Kernels that can be differentiated twice, in place of those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..process_wide import ProcessWide

__all__ = ["second_order_kernels"]


@contextmanager
def second_order_kernels() -> Iterator[None]:
    """Let torch compute with kernels that can be differentiated twice.

    Recurrent layers in cuDNN and fused attention, on CPUs and GPUs, have no second derivative; what stands in for
    them is slower and has one. Graphs made inside can be differentiated outside, too. Other threads keep their
    kernels, but for cuDNN's, which torch can only switch off for all of them.
    """
    with _CUDNN.inside(), _PlainAttention():
        yield


class _PlainAttention(TorchFunctionMode):
    """Computes torch's fused attention step by step, in one thread alone; torch's own switch is that of all threads."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is functional.scaled_dot_product_attention:
            function = _attention
        elif function is functional.multi_head_attention_forward:
            function = _multi_head_attention
        return function(*args, **(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *others: Any, **keywords: Any
) -> Tensor:
    """What ``torch.nn.functional.scaled_dot_product_attention`` computes where its switch allows nothing fused."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # torch turns it into what is added to scores before it chooses a kernel.
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
    found, _ = torch.ops.aten._scaled_dot_product_attention_math(query, key, value, attn_mask, *others, **keywords)
    return found


def _calling(function: Any, **others: Callable) -> FunctionType:
    """A copy of a function that finds others under the names of some of those that it calls."""
    copy = FunctionType(function.__code__, function.__globals__ | others, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


# Modes are not told of what torch's own functions call.
_multi_head_attention = _calling(functional.multi_head_attention_forward, scaled_dot_product_attention=_attention)


# torch switches cuDNN off for all threads or for none.
_CUDNN = ProcessWide(lambda: torch.backends.cudnn.flags(enabled=False))
