"""Layers over padded rows in plain operations, as exporters read them; for evaluation.

Training and ranking work on ragged rows. A graph that leaves Python cannot: it gets rows padded behind their items,
and as every layer here is causal, padding changes no state that is read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .filters import FrequencyFilter
from .transformer import EncoderLayer

__all__ = ["FixedFilter", "padded_encoder_layer", "padded_recurrence", "shift_to_the_end"]


def padded_encoder_layer(layer: EncoderLayer, tokens: Tensor) -> Tensor:
    """What a causal encoder layer makes of rows padded behind their tokens.

    Parameters
    ----------
    layer : EncoderLayer
    tokens : Tensor of shape (n_rows, length, width)

    Returns
    -------
    Tensor of shape (n_rows, length, width)
    """
    attention = layer.attention
    width, length = tokens.shape[2], tokens.shape[1]
    projected = functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    heads = (part.unflatten(2, (attention.n_heads, -1)).transpose(1, 2) for part in projected.split(width, dim=2))
    queries, keys, values = heads
    scores = queries @ keys.transpose(2, 3) * (width // attention.n_heads) ** -0.5
    hidden = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
    mixed = torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1) @ values
    tokens = layer.attention_norm(tokens + attention.out_proj(mixed.transpose(1, 2).flatten(2)))
    return layer.feed_forward_norm(tokens + layer.feed_forward(tokens))


def padded_recurrence(recurrent: nn.GRU, inputs: Tensor) -> Tensor:
    """What a GRU without biases makes of rows padded behind their tokens.

    Parameters
    ----------
    recurrent : nn.GRU
        Or what is derived from it.
    inputs : Tensor of shape (n_rows, length, width)

    Returns
    -------
    Tensor of shape (n_rows, length, hidden)
    """
    return nn.GRU.forward(recurrent, inputs.transpose(0, 1))[0].transpose(0, 1)


def shift_to_the_end(items: Tensor, lengths: Tensor) -> Tensor:
    """Rows padded behind their items as rows padded before them.

    Parameters
    ----------
    items : int64 Tensor of shape (n_rows, length)
        0 is padding.
    lengths : int64 Tensor of shape (n_rows,)

    Returns
    -------
    int64 Tensor of shape (n_rows, length)
    """
    length = items.shape[1]
    places = torch.arange(length, device=items.device) - (length - lengths)[:, None]
    return items.gather(1, places.clamp(min=0)).masked_fill(places < 0, 0)


class FixedFilter(nn.Module):
    """A frequency filter whose weights no longer change: a circular convolution over time, for each channel apart.

    Parameters
    ----------
    learned : FrequencyFilter
        The filter to take the kernel, (L, d), of.
    """

    kernel: Tensor

    def __init__(self, learned: FrequencyFilter) -> None:
        super().__init__()
        self.register_buffer("kernel", learned.kernel().detach())

    def forward(self, tokens: Tensor) -> Tensor:
        """All slots filtered: (n_rows, L, d) in and out."""
        # What runs exported graphs transforms to frequencies less exactly than torch does; a convolution is exact.
        around = torch.cat([tokens[:, 1:], tokens], dim=1).transpose(1, 2)
        return functional.conv1d(around, self.kernel.flip(0).T[:, None], groups=tokens.shape[2]).transpose(1, 2)

    def last(self, tokens: Tensor) -> Tensor:
        """The last slot of :meth:`forward` alone, (n_rows, d)."""
        return (tokens * self.kernel.flip(0)).sum(1)
