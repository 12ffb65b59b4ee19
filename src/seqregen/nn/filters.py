"""Learned filters over time, multiplied in the frequency domain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .precision import in_full_precision

__all__ = ["FrequencyFilter"]


class _CircularConvolution(torch.autograd.Function):
    """Filters rows (n_rows, length, width) with (length // 2 + 1, width) complex numbers; gives the spectrum, too.

    torch's own derivative of a real transform runs a complex one of twice the size. The adjoint of a filter is the
    filter with conjugate numbers.
    """

    @staticmethod
    def forward(tokens: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = torch.fft.rfft(tokens, dim=1)
        return torch.fft.irfft(spectrum * weight, n=tokens.shape[1], dim=1), spectrum

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        tokens, weight, spectrum = ctx.saved_tensors
        length = tokens.shape[1]
        if torch.is_grad_enabled():
            # Differentiated once more: what depends on the tokens has to be seen to.
            spectrum = torch.fft.rfft(tokens, dim=1)
        gradient = torch.fft.rfft(gradients[0], dim=1)
        # A frequency stands for its mirror image, too, but for the constant one and the highest of an even length.
        share = torch.full((weight.shape[0], 1), 2 / length, dtype=tokens.dtype, device=tokens.device)
        share[0] = 1 / length
        if length % 2 == 0:
            share[-1] = 1 / length
        of_weight = (spectrum.conj() * gradient).sum(0) * share
        return torch.fft.irfft(gradient * weight.conj(), n=length, dim=1), of_weight


class FrequencyFilter(nn.Module):
    """A learned complex number for each frequency and channel (Zhou et al., WWW 2022, equation 6).

    The product in the frequency domain is a circular convolution over time, for each channel apart, with the
    real kernel that the filter transforms back to.

    Parameters
    ----------
    length : int
        Number of slots L of a row.
    width : int
        Number of channels d.

    Attributes
    ----------
    weight : Parameter of shape (L // 2 + 1, d, 2)
        Real and imaginary part of each frequency.

    Examples
    --------
    >>> import torch
    >>> smooth = FrequencyFilter(length=4, width=2)
    >>> with torch.no_grad():
    ...     smooth.weight.zero_()[0, :, 0] = 1.0  # the constant frequency alone: every slot becomes the mean
    >>> smooth(torch.tensor([[[0.0, 8.0], [2.0, 8.0], [4.0, 8.0], [6.0, 8.0]]])).detach()[0, 0].tolist()
    [3.0, 8.0]
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.length = length
        self.weight = nn.Parameter(torch.zeros(length // 2 + 1, width, 2))

    @in_full_precision
    def forward(self, tokens: Tensor) -> Tensor:
        """All slots filtered: (n_rows, L, d) in and out."""
        # On one core this was as fast as products with the kernel's circulant matrices, or with the matrix of the
        # transform. The two norms of the published code cancel.
        return _CircularConvolution.apply(tokens, torch.view_as_complex(self.weight))[0]

    def last(self, tokens: Tensor) -> Tensor:
        """The last slot of :meth:`forward` alone, (n_rows, d): one inner product over time a channel."""
        return (tokens * self.kernel().flip(0)).sum(1)

    def kernel(self) -> Tensor:
        """The kernel, (L, d), of the convolution; entry ``s`` is the share of what stood ``s`` slots before."""
        return torch.fft.irfft(torch.view_as_complex(self.weight), n=self.length, dim=0)

    def extra_repr(self) -> str:
        return f"length={self.length}, width={self.weight.shape[1]}"
