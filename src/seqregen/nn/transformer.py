"""Post-norm Transformer layers over ragged tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import RaggedGroups, attend
from .dropout import Dropout
from .linear import Linear, linear

__all__ = ["DecoderLayer", "EncoderLayer", "FeedForward", "SelfAttention", "initialize"]

# The published models use the epsilon of BERT.
_NORM_EPSILON = 1e-12


class _Attention(nn.Module):
    """The weights of multi-head attention: projections to queries, keys and values, and of the output."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        # torch's own attention draws this weight Xavier-uniform, whatever the rest of a model does.
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        self.dropout = Dropout(dropout)


class SelfAttention(_Attention):
    """Multi-head self-attention of the tokens of a row, with the output projection."""

    def forward(self, tokens: Tensor, groups: RaggedGroups, causal: bool) -> Tensor:
        projected = linear(tokens, self.in_proj_weight, self.in_proj_bias)
        queries, keys_values = projected.split([tokens.shape[-1], 2 * tokens.shape[-1]], dim=1)
        mixed = attend(
            queries,
            keys_values,
            n_heads=self.n_heads,
            query_groups=groups,
            key_groups=groups,
            causal=causal,
            dropout=self.dropout,
        )
        return self.out_proj(mixed)

    def of_one(self, ones: Tensor, tokens: Tensor, one_groups: RaggedGroups, groups: RaggedGroups) -> Tensor:
        """The same for one token a row, which sees all of its row."""
        width = tokens.shape[-1]
        mixed = attend(
            linear(ones, self.in_proj_weight[:width], self.in_proj_bias[:width]),
            linear(tokens, self.in_proj_weight[width:], self.in_proj_bias[width:]),
            n_heads=self.n_heads,
            query_groups=one_groups,
            key_groups=groups,
            causal=False,
            dropout=self.dropout,
        )
        return self.out_proj(mixed)


class CrossAttention(_Attention):
    """Multi-head attention of the tokens of a row over a memory of the same row."""

    def project_queries(self, tokens: Tensor) -> Tensor:
        width = tokens.shape[-1]
        return linear(tokens, self.in_proj_weight[:width], self.in_proj_bias[:width])

    def project_memory(self, memory: Tensor) -> Tensor:
        width = memory.shape[-1]
        return linear(memory, self.in_proj_weight[width:], self.in_proj_bias[width:])

    def forward(self, tokens: Tensor, memory: Tensor, groups: RaggedGroups, memory_groups: RaggedGroups) -> Tensor:
        mixed = attend(
            self.project_queries(tokens),
            self.project_memory(memory),
            n_heads=self.n_heads,
            query_groups=groups,
            key_groups=memory_groups,
            causal=False,
            dropout=self.dropout,
        )
        return self.out_proj(mixed)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = Linear(width, hidden)
        self.contract = Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.contract(self.dropout(functional.gelu(self.expand(tokens))))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with dropout, residual and layer norm behind it.

    Parameters
    ----------
    width : int
        Size of a token.
    n_heads : int
        Attention heads; must divide ``width``.
    hidden : int
        Size inside the feed-forward part.
    dropout : float
        Rate of every dropout in the layer.
    """

    def __init__(self, width: int, n_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, n_heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.attention_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.feed_forward_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, groups: RaggedGroups, causal: bool) -> Tensor:
        tokens = self.attention_norm(self.dropout.added(tokens, self.attention(tokens, groups, causal)))
        return self.feed_forward_norm(self.dropout.added(tokens, self.feed_forward(tokens)))

    def last(self, tokens: Tensor, groups: RaggedGroups, last: Tensor) -> Tensor:
        """What the layer makes of the last token of each row, (n_rows, width), and of no other.

        Parameters
        ----------
        tokens : Tensor of shape (n_tokens, width)
        groups : RaggedGroups
            Not packed.
        last : int64 Tensor of shape (n_rows,)
            Where the last tokens stand.
        """
        ones = tokens.index_select(0, last)
        ones = self.attention_norm(
            self.dropout.added(ones, self.attention.of_one(ones, tokens, groups.one_a_row(), groups))
        )
        return self.feed_forward_norm(self.dropout.added(ones, self.feed_forward(ones)))


class DecoderLayer(nn.Module):
    """An encoder layer with attention over a memory in the middle; self-attention is causal.

    Parameters are those of :class:`EncoderLayer`. Rows may be grouped in one way for self-attention, where packed
    groups are quickest, and in another for attention over the memory, where both sides must be in the same groups.
    """

    def __init__(self, width: int, n_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, n_heads, dropout)
        self.memory_attention = CrossAttention(width, n_heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.attention_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.memory_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.feed_forward_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        memory: Tensor,
        groups: RaggedGroups,
        memory_groups: RaggedGroups,
        self_groups: RaggedGroups | None = None,
    ) -> Tensor:
        tokens = self.attention_norm(
            self.dropout.added(tokens, self.attention(tokens, self_groups or groups, causal=True))
        )
        looked_up = self.memory_attention(tokens, memory, groups, memory_groups)
        tokens = self.memory_norm(self.dropout.added(tokens, looked_up))
        return self.feed_forward_norm(self.dropout.added(tokens, self.feed_forward(tokens)))


def initialize(network: nn.Module, generator: torch.Generator, scale: float = 0.02) -> None:
    """Draw the weights as the published models do.

    Linear and embedding weights come from N(0, ``scale``²), biases are 0, layer norms 1 and 0, and the
    input projections of attention are Xavier-uniform.

    Parameters
    ----------
    network : nn.Module
        Changed in place; must be on the CPU.
    generator : torch.Generator
        Source of all randomness.
    scale : float, default=0.02
        Standard deviation.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, 0.0, scale, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _Attention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
            nn.init.zeros_(module.in_proj_bias)
