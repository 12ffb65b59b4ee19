"""Linear layers whose float32 products run in oneDNN.

On a CPU torch hands products of float32 matrices to the BLAS library that it was built with, which on some
processors runs at half the rate of oneDNN (measured: 100 against 215 billion operations a second and core on one
that has 512-bit vectors but is not the library's maker's). Both compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RECURRING", "Linear", "linear", "product"]

# Below so many rows the calls cost more than the product gains.
_FEWEST_ROWS = 64
# oneDNN prepares every new shape for a quarter of a millisecond, and keeps a thousand. In training, numbers of rows
# are taken to come again where they are multiples of this; else products of few multiplications are left to torch.
RECURRING = 64
_FEWEST_IN_TRAINING = 1 << 26
# Multiplications of a product in a hand-written pass, whose shapes come again.
_FEWEST_IN_PRODUCT = 1 << 21


@cache
def _onednn_product() -> Callable[[Tensor, Tensor, Tensor | None], Tensor] | None:
    """oneDNN's ``values @ weight.T + bias``; None where this build of torch has none that gives the right answer."""

    def onednn(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")

    if not torch.backends.mkldnn.is_available():
        return None
    # The operator is torch's own but not documented, so it has to show that it still is what it was.
    values, weight, bias = torch.arange(12.0).view(4, 3), torch.arange(6.0).view(3, 2).T, torch.ones(2)
    try:
        answer = onednn(values, weight, bias)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return None
    return onednn if torch.equal(answer, functional.linear(values, weight, bias)) else None


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        onednn = _onednn_product()
        assert onednn is not None
        return onednn(values, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        values, weight, _bias = inputs
        ctx.save_for_backward(values, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, weight = ctx.saved_tensors
        rows = values.reshape(-1, values.shape[-1])
        gradient = gradients[0].reshape(-1, weight.shape[0])
        onednn = _onednn_product()
        if onednn is None or torch.is_grad_enabled():
            # What is differentiated once more has to be made of operations that can be differentiated.
            of_values, of_weight = _again(gradient, weight.T), _again(gradient.T, rows.T)
        else:
            of_values = onednn(gradient, weight.T.contiguous(), None)
            # oneDNN wants its left side contiguous: the narrower one is copied.
            if gradient.shape[1] > rows.shape[1]:
                of_weight = onednn(rows.T.contiguous(), gradient.T, None).T
            else:
                of_weight = onednn(gradient.T.contiguous(), rows.T, None)
        return of_values.view_as(values), of_weight, gradient.sum(0)


class _OneDNNProduct(torch.autograd.Function):
    """``values @ weight.T``, differentiable any number of times."""

    @staticmethod
    def forward(values: Tensor, weight: Tensor) -> Tensor:
        return product(values.contiguous(), weight if weight.T.is_contiguous() else weight.contiguous())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        values, weight = ctx.saved_tensors
        of_values = _again(gradients[0], weight.T) if ctx.needs_input_grad[0] else None
        return of_values, _again(gradients[0].T, values.T) if ctx.needs_input_grad[1] else None


def _again(values: Tensor, weight: Tensor) -> Tensor:
    """``values @ weight.T`` inside a pass that is differentiated once more."""
    return _OneDNNProduct.apply(values, weight) if _suits_onednn(values, weight) else values @ weight.T


def linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``values @ weight.T + bias``, differentiable any number of times.

    Parameters
    ----------
    values : Tensor of shape (..., n_inputs)
    weight : Tensor of shape (n_outputs, n_inputs)
    bias : Tensor of shape (n_outputs,)

    Returns
    -------
    Tensor of shape (..., n_outputs)
    """
    if not _suits_onednn(values, weight):
        return functional.linear(values, weight, bias)
    return _OneDNNLinear.apply(values, weight, bias)


def product(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``values @ weight.T + bias`` inside a hand-written pass: no graph is made of it.

    It pays where its numbers of rows come again, as those of blocks and of batches do.

    Parameters
    ----------
    values : Tensor of shape (n_rows, n_inputs)
    weight : Tensor of shape (n_outputs, n_inputs)
    bias : Tensor of shape (n_outputs,), optional

    Returns
    -------
    Tensor of shape (n_rows, n_outputs)

    Examples
    --------
    >>> import torch
    >>> from seqregen.nn import product
    >>> product(torch.ones(1, 3), torch.ones(2, 3))
    tensor([[3., 3.]])
    """
    values, weight = values.detach(), weight.detach()
    # oneDNN takes a thousand times as long for a part of a matrix; a copy is for the caller to make.
    whole = values.is_contiguous() and (weight.is_contiguous() or weight.T.is_contiguous())
    if whole and values.numel() * len(weight) >= _FEWEST_IN_PRODUCT and _is_for_onednn(values, weight):
        onednn = _onednn_product()
        assert onednn is not None
        return onednn(values, weight, bias)
    return functional.linear(values, weight, bias)


def _suits_onednn(values: Tensor, weight: Tensor) -> bool:
    # Exporters know torch's own operators, and must not be asked for the number of rows.
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        return False
    return (
        values.numel() >= _FEWEST_ROWS * values.shape[-1]
        and _pays_for_its_shape(values, weight)
        and _is_for_onednn(values, weight)
    )


def _is_for_onednn(values: Tensor, weight: Tensor) -> bool:
    return (
        values.device.type == "cpu"
        and values.dtype == weight.dtype == torch.float32
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and _onednn_product() is not None
    )


def _pays_for_its_shape(values: Tensor, weight: Tensor) -> bool:
    if not torch.is_grad_enabled() or values.numel() % (RECURRING * values.shape[-1]) == 0:
        return True
    return values.numel() * weight.shape[0] >= _FEWEST_IN_TRAINING


class Linear(nn.Linear):
    """``torch.nn.Linear`` with a bias, through :func:`linear`; weights are interchangeable.

    Parameters
    ----------
    n_inputs, n_outputs : int

    Examples
    --------
    >>> import torch
    >>> layer = Linear(3, 2)
    >>> layer(torch.ones(100, 3)).shape
    torch.Size([100, 2])
    """

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__(n_inputs, n_outputs)

    def forward(self, values: Tensor) -> Tensor:
        return linear(values, self.weight, self.bias)
