"""Computing that a user's own settings of torch do not reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from ..process_wide import ProcessWide

__all__ = ["with_gradients", "with_usual_defaults"]

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")
_CPU = torch.device("cpu")


@contextmanager
def _float32_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    if before == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        # Another thread may have set it meanwhile.
        if torch.get_default_dtype() == torch.float32:
            torch.set_default_dtype(before)


_FLOAT32 = ProcessWide(_float32_by_default)


def with_usual_defaults(function: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """A function in which new tensors are of float32 and on the CPU, unless they are said to be otherwise.

    ``torch.set_default_dtype`` and ``torch.set_default_device`` would change what is computed, or where. The default
    dtype is one of the whole process: other threads see float32 as long as the function runs.
    """

    @wraps(function)
    def with_defaults(*arguments: _Given.args, **keywords: _Given.kwargs) -> _Made:
        # The mode costs every call into torch a little; what torch 2.6 calls its default device says nothing of it.
        device = nullcontext() if torch.empty(0).device == _CPU else _CPU
        with _FLOAT32.inside(), device:
            return function(*arguments, **keywords)

    return with_defaults


def with_gradients(fit: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """A fit that no ``torch.no_grad()`` or ``torch.inference_mode()`` reaches, nor defaults that are not the usual."""

    @wraps(fit)
    @with_usual_defaults
    def fit_with_gradients(*arguments: _Given.args, **keywords: _Given.kwargs) -> _Made:
        with torch.inference_mode(False), torch.enable_grad():
            return fit(*arguments, **keywords)

    return fit_with_gradients
