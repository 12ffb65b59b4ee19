"""Metrics of next-item recommendation under full ranking: every item of the catalogue is a candidate."""

from __future__ import annotations

from .comparison import PairedBootstrap, paired_bootstrap
from .full_ranking import (
    UNREACHABLE,
    rank_targets,
    rank_targets_in_blocks,
    top_items,
    top_items_in_blocks,
)
from .ranking import mean_reciprocal_rank, ndcg_at_k, ranking_metrics, recall_at_k
from .scorers import ranking_scorer, ranking_scorers

__all__ = [
    "UNREACHABLE",
    "PairedBootstrap",
    "mean_reciprocal_rank",
    "ndcg_at_k",
    "paired_bootstrap",
    "rank_targets",
    "rank_targets_in_blocks",
    "ranking_metrics",
    "ranking_scorer",
    "ranking_scorers",
    "recall_at_k",
    "top_items",
    "top_items_in_blocks",
]
