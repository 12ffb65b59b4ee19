"""The settings whose accuracy is measured, by name: a model and the loss that it is trained with."""

from __future__ import annotations

from typing import Any

import seqregen as sr

__all__ = ["RECIPES", "make_model"]

# One Transformer layer with one head and little dropout: what suits a softmax over sampled negatives.
_STRONG: dict[str, Any] = {
    "loss": "sampled_softmax",
    "negative_sampling": "uniform",
    "n_negatives": 256,
    "n_layers": 1,
    "n_heads": 1,
    "dropout": 0.2,
}
_IN_BATCH: dict[str, Any] = {"loss": "sampled_softmax", "negative_sampling": "in_batch", "n_negatives": None}

# "bce" is the published setting of each model; "softmax" the same network under the default loss, a softmax over 4,096
# items drawn by popularity. SASRec has more: "sampled_softmax" is another network, at three widths, over 256 uniform
# negatives; that network under bce, so that width and loss are told apart; "averaged" keeps an average of the weights
# over steps; "bfloat16" rounds what matrix products multiply; "in_batch" takes the targets of the batch for negatives;
# "ce" is the whole sum; a refit trains on the validation items, too, for as many epochs as were best.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{model}-bce": (model, {}) for model in ("SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec")},
    **{
        f"{model}-softmax": (model, {"loss": "sampled_softmax", "n_negatives": None})
        for model in ("SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec")
    },
    **{
        f"{model}-softmax-averaged": (model, {"loss": "sampled_softmax", "n_negatives": None, "average_decay": 0.998})
        for model in ("SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec")
    },
    **{
        f"{model}-softmax-bfloat16": (model, {"loss": "sampled_softmax", "n_negatives": None, "precision": "bfloat16"})
        for model in ("SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec")
    },
    "SASRec-bce-bfloat16": ("SASRec", {"precision": "bfloat16"}),
    # Figure 5 of the paper: the graph, or the views, of the other rows than by default.
    "GNN-bce-graph_regenerated": ("GNN", {"graph": "regenerated"}),
    "CL4SRec-bce-augment_original": ("CL4SRec", {"augment": "original"}),
    "SASRec-softmax-refit": ("SASRec", {"loss": "sampled_softmax", "n_negatives": None, "refit": True}),
    "SASRec-softmax-128": ("SASRec", {"loss": "sampled_softmax", "n_negatives": None, "embedding_dim": 128}),
    "SASRec-sampled_softmax": ("SASRec", {**_STRONG, "embedding_dim": 128}),
    "SASRec-sampled_softmax-64": ("SASRec", {**_STRONG, "embedding_dim": 64}),
    "SASRec-sampled_softmax-256": ("SASRec", {**_STRONG, "embedding_dim": 256, "hidden_dim": 256}),
    "SASRec-sampled_softmax-refit": ("SASRec", {**_STRONG, "embedding_dim": 128, "refit": True}),
    "SASRec-bce-128": ("SASRec", {**_STRONG, "embedding_dim": 128, "loss": "bce", "n_negatives": 1}),
    "SASRec-bce-64": ("SASRec", {**_STRONG, "embedding_dim": 64, "loss": "bce", "n_negatives": 1}),
    "SASRec-ce": ("SASRec", {"loss": "ce", "n_negatives": None}),
    "SASRec-in_batch-published": ("SASRec", _IN_BATCH),
    "SASRec-in_batch": ("SASRec", {**_STRONG, **_IN_BATCH, "embedding_dim": 128}),
    "SASRec-in_batch-64": ("SASRec", {**_STRONG, **_IN_BATCH, "embedding_dim": 64}),
    "SASRec-in_batch-128-published": ("SASRec", {**_IN_BATCH, "embedding_dim": 128, "hidden_dim": 256}),
}


def make_model(recipe: str, **changes: Any) -> sr.targets.SequentialRecommender:
    """The untrained model of a recipe; everything that the recipe does not name is as published."""
    model, settings = RECIPES[recipe]
    return getattr(sr.targets, model).reference(**(settings | changes))
