"""Give the published regenerator the weights of a fitted one, so that both sides decode the same rows."""

from __future__ import annotations

import torch
from torch import nn

from .regenerator import PublishedRegenerator

__all__ = ["published_from"]

_LAYER_NAMES = {
    "attention": "self_attn",
    "memory_attention": "multihead_attn",
    "feed_forward.expand": "linear1",
    "feed_forward.contract": "linear2",
}
_NORMS = {"attention_norm": "norm1", "feed_forward_norm": "norm2"}
_DECODER_NORMS = {"attention_norm": "norm1", "memory_norm": "norm2", "feed_forward_norm": "norm3"}


def published_from(network: nn.Module) -> PublishedRegenerator:
    """A published regenerator with the weights of ``DatasetRegenerator.network_``.

    The two number tokens alike but for the padding, which only the published one has, as token 0.
    """
    settings = network.settings
    made = PublishedRegenerator(settings.n_items, settings.n_memories, settings.embedding_dim)
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    state = {"embedding.weight": torch.cat([torch.zeros(1, settings.embedding_dim), weights["tokens.weight"]])}
    state["position.weight"] = weights["positions.weight"]
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if part in ("gate", "memories"):
            state[name] = value
        elif part in ("encoder", "promoter", "decoder"):
            number, _, inside = rest.partition(".")
            state[f"{part}.layers.{number}.{_layer_name(inside, part == 'decoder')}"] = value
    made.load_state_dict(state)
    return made


def _layer_name(name: str, is_decoder: bool) -> str:
    names = _LAYER_NAMES | (_DECODER_NORMS if is_decoder else _NORMS)
    module = next(ours for ours in names if name.startswith(f"{ours}."))
    return names[module] + name[len(module) :]
