"""Ragged batches, losses, and the one training loop."""

from .batches import NextItemBatch, NextItemRows, next_item_rows
from .devices import resolve_device
from .losses import LOSSES, NextItemLoss
from .loop import StopRule, TrainingPlan, TrainingResult, train

__all__ = [
    "LOSSES",
    "NextItemBatch",
    "NextItemLoss",
    "NextItemRows",
    "StopRule",
    "TrainingPlan",
    "TrainingResult",
    "next_item_rows",
    "resolve_device",
    "train",
]
