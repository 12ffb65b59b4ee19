"""Kernels that can be differentiated twice, in place of those that cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["second_order_kernels"]


@contextmanager
def second_order_kernels() -> Iterator[None]:
    """Let torch compute with kernels that can be differentiated twice.

    Recurrent layers in cuDNN and fused attention, on CPUs and GPUs, have no second derivative; what stands in for
    them is slower and has one. Graphs made inside can be differentiated outside, too. Other threads keep their
    kernels, but for cuDNN's, which torch can only switch off for all of them.
    """
    with _CUDNN.off(), _PlainAttention():
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
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What ``torch.nn.functional.scaled_dot_product_attention`` is documented to compute, with its parameters."""
    if enable_gqa:
        key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], dim=-3) for part in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    shares = scores.softmax(dim=-1)
    if attn_mask is not None:
        # A query that sees nothing gets nothing, as from torch.
        shares = shares.masked_fill((scores == -torch.inf).all(dim=-1, keepdim=True), 0.0)
    return functional.dropout(shares, dropout_p) @ value


def _calling(function: Any, **others: Callable) -> FunctionType:
    """A copy of a function that finds others under the names of some of those that it calls."""
    copy = FunctionType(function.__code__, function.__globals__ | others, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


# Modes are not told of what torch's own functions call.
_multi_head_attention = _calling(functional.multi_head_attention_forward, scaled_dot_product_attention=_attention)


class _CudnnSwitch:
    """Switches cuDNN off with the first thread that comes, and back to what it was with the last one that goes."""

    def __init__(self) -> None:
        self._lock, self._undo, self._n_inside = threading.Lock(), ExitStack(), 0

    @contextmanager
    def off(self) -> Iterator[None]:
        with self._lock:
            if self._n_inside == 0:
                self._undo.enter_context(torch.backends.cudnn.flags(enabled=False))
            self._n_inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_inside -= 1
                if self._n_inside == 0:
                    self._undo.close()


_CUDNN = _CudnnSwitch()
