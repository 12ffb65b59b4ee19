"""Fits that need gradients have them, wherever they are called from."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["with_gradients"]

_Given = ParamSpec("_Given")
_Fitted = TypeVar("_Fitted")


def with_gradients(fit: Callable[_Given, _Fitted]) -> Callable[_Given, _Fitted]:
    """A fit that a user's own ``torch.no_grad()`` or ``torch.inference_mode()`` does not reach."""

    @wraps(fit)
    def fit_with_gradients(*arguments: _Given.args, **keywords: _Given.kwargs) -> _Fitted:
        with torch.inference_mode(False), torch.enable_grad():
            return fit(*arguments, **keywords)

    return fit_with_gradients
