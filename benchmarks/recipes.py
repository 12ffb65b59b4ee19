"""The settings whose accuracy is measured, by name: a model and the loss that it is trained with."""

from __future__ import annotations

from typing import Any

import seqregen as sr

__all__ = ["RECIPES", "make_model"]

# One Transformer layer with one head and little dropout: what suits a softmax over sampled negatives.
_STRONG: dict[str, Any] = {"loss": "sampled_softmax", "n_negatives": 256, "n_layers": 1, "n_heads": 1, "dropout": 0.2}

# "bce" is the published setting of each model, "sampled_softmax" the same network under a softmax over 256 uniform
# negatives, "in_batch" over the targets of the batch. SASRec has more: another network at three widths, that network
# under bce, so that width and loss are told apart, and refits with the validation items.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{model}-bce": (model, {}) for model in ("SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec")},
    **{
        f"{model}-sampled_softmax": (model, {"loss": "sampled_softmax", "n_negatives": 256})
        for model in ("GRU4Rec", "FMLP", "GNN", "CL4SRec")
    },
    **{
        f"{model}-in_batch": (model, {"loss": "sampled_softmax", "negative_sampling": "in_batch"})
        for model in ("GRU4Rec", "FMLP", "GNN", "CL4SRec")
    },
    "SASRec-sampled_softmax-published": ("SASRec", {"loss": "sampled_softmax", "n_negatives": 256}),
    "SASRec-sampled_softmax": ("SASRec", {**_STRONG, "embedding_dim": 128}),
    "SASRec-sampled_softmax-64": ("SASRec", {**_STRONG, "embedding_dim": 64}),
    "SASRec-sampled_softmax-256": ("SASRec", {**_STRONG, "embedding_dim": 256, "hidden_dim": 256}),
    "SASRec-bce-128": ("SASRec", {**_STRONG, "embedding_dim": 128, "loss": "bce", "n_negatives": 1}),
    "SASRec-bce-64": ("SASRec", {**_STRONG, "embedding_dim": 64, "loss": "bce", "n_negatives": 1}),
    "SASRec-ce": ("SASRec", {**_STRONG, "embedding_dim": 128, "loss": "ce", "n_negatives": None}),
    "SASRec-in_batch-published": ("SASRec", {"loss": "sampled_softmax", "negative_sampling": "in_batch"}),
    "SASRec-in_batch-published-refit": (
        "SASRec",
        {"loss": "sampled_softmax", "negative_sampling": "in_batch", "refit": True},
    ),
    "SASRec-in_batch": ("SASRec", {**_STRONG, "embedding_dim": 128, "negative_sampling": "in_batch"}),
    "SASRec-in_batch-64": ("SASRec", {**_STRONG, "embedding_dim": 64, "negative_sampling": "in_batch"}),
    "SASRec-in_batch-128-published": (
        "SASRec",
        {"loss": "sampled_softmax", "negative_sampling": "in_batch", "embedding_dim": 128, "hidden_dim": 256},
    ),
    "SASRec-sampled_softmax-refit": ("SASRec", {**_STRONG, "embedding_dim": 128, "refit": True}),
    "SASRec-sampled_softmax-256-refit": ("SASRec", {**_STRONG, "embedding_dim": 256, "hidden_dim": 256, "refit": True}),
}


def make_model(recipe: str, **changes: Any) -> sr.targets.SequentialRecommender:
    """The untrained model of a recipe; everything that the recipe does not name is as published."""
    model, settings = RECIPES[recipe]
    return getattr(sr.targets, model).reference(**(settings | changes))
