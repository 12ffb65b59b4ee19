"""torch's own padded Transformer layers with the weights of our ragged ones, and padding by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from seqregen.nn import DecoderLayer, EncoderLayer, RaggedGroups, group_rows

CPU = torch.device("cpu")


def groups_of(lengths: np.ndarray, bounds: list[tuple[int, int]] | None = None) -> RaggedGroups:
    return RaggedGroups(lengths, group_rows(lengths) if bounds is None else bounds, CPU)


def pad(tokens: Tensor, lengths: np.ndarray) -> tuple[Tensor, Tensor]:
    """Rows of flat tokens under one another, and where nothing stands."""
    padded = nn.utils.rnn.pad_sequence(tokens.split(lengths.tolist()), batch_first=True)
    return padded, torch.arange(padded.shape[1]) >= torch.from_numpy(lengths)[:, None]


def unpad(padded: Tensor, lengths: np.ndarray) -> Tensor:
    return torch.cat([row[:length] for row, length in zip(padded, lengths, strict=True)])


def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def twin_of_encoder(layer: EncoderLayer, hidden: int) -> nn.TransformerEncoderLayer:
    width = layer.attention_norm.normalized_shape[0]
    twin = nn.TransformerEncoderLayer(
        width, layer.attention.n_heads, hidden, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
    ).to(layer.attention_norm.weight.dtype)
    _copy(layer.attention, twin.self_attn)
    _copy_feed_forward(layer, twin)
    twin.norm1.load_state_dict(layer.attention_norm.state_dict())
    twin.norm2.load_state_dict(layer.feed_forward_norm.state_dict())
    return twin


def twin_of_decoder(layer: DecoderLayer, hidden: int) -> nn.TransformerDecoderLayer:
    width = layer.attention_norm.normalized_shape[0]
    twin = nn.TransformerDecoderLayer(
        width, layer.attention.n_heads, hidden, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
    ).to(layer.attention_norm.weight.dtype)
    _copy(layer.attention, twin.self_attn)
    _copy(layer.memory_attention, twin.multihead_attn)
    _copy_feed_forward(layer, twin)
    twin.norm1.load_state_dict(layer.attention_norm.state_dict())
    twin.norm2.load_state_dict(layer.memory_norm.state_dict())
    twin.norm3.load_state_dict(layer.feed_forward_norm.state_dict())
    return twin


def _copy(attention: nn.Module, twin: nn.MultiheadAttention) -> None:
    # Our names are torch's own, so that weights can be carried over.
    twin.load_state_dict(attention.state_dict())


def _copy_feed_forward(layer: nn.Module, twin: nn.Module) -> None:
    twin.linear1.load_state_dict(layer.feed_forward.expand.state_dict())
    twin.linear2.load_state_dict(layer.feed_forward.contract.state_dict())


def shake(module: nn.Module, seed: int) -> None:
    """Draw every parameter anew: fresh biases of 0 and norms of 1 would hide a wrong one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4)
