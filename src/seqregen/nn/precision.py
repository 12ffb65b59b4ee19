"""What a training step computes in bfloat16, and what it does not.

Weights, their gradients and the optimizer stay in float32. Where rounding is wanted, matrix products round their
factors and what they give to bfloat16, which has the range of float32 and 8 bits of precision; torch's autocast does so
for its own operations. What has a backward pass of its own here asks for it, or keeps out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["PRECISIONS", "computing_in", "in_full_precision", "is_narrow", "narrow_type", "widened"]

PRECISIONS = ("float32", "bfloat16")

_Made = TypeVar("_Made")


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Inside, matrix products on a device round, or nothing does, whatever a user's own autocast says.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
        With "bfloat16" matrix products round their factors and results, and what is computed between two of them may
        stay rounded, as torch's autocast has it.
    device : torch.device

    Examples
    --------
    >>> import torch
    >>> from seqregen.nn import computing_in
    >>> with computing_in("bfloat16", torch.device("cpu")):
    ...     (torch.ones(1, 2) @ torch.ones(2, 1)).dtype
    torch.bfloat16
    """
    # torch's cache of rounded weights outlives steps of the optimizer inside a user's own autocast, and all threads
    # share it: what one of them clears, another one rounds anew, and adds its gradients in another order.
    with torch.autocast(device.type, torch.bfloat16, enabled=precision != "float32", cache_enabled=False):
        yield


def narrow_type(device: torch.device) -> torch.dtype | None:
    """The type that matrix products round to here; None where they do not round."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def in_full_precision(function: Callable[..., _Made]) -> Callable[..., _Made]:
    """A function that never rounds, and is given float32 for what was rounded; its first tensor says on which device.

    For what would lose by it, such as sums over the steps of a recurrence, and backward passes written for one type.
    """

    @wraps(function)
    def unrounded(*arguments: Any, **keywords: Any) -> _Made:
        device = next(value for value in arguments if isinstance(value, Tensor)).device
        if narrow_type(device) is None:
            return function(*arguments, **keywords)
        with torch.autocast(device.type, enabled=False):
            return function(*map(widened, arguments), **keywords)

    return unrounded


def is_narrow(value: Any) -> bool:
    """Whether a value is a tensor that was rounded: by :func:`computing_in`, or in a user's own autocast."""
    return isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)


def widened(value: Any) -> Any:
    """The value in float32 where it was rounded, else as it is."""
    return value.float() if is_narrow(value) else value
