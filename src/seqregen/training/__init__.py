"""Ragged batches, losses, and the one training loop."""

from .batches import NextItemBatch, NextItemRows, next_item_rows
from .devices import resolve_device, with_network_on_cpu
from .loop import StopRule, TrainingPlan, TrainingResult, train
from .losses import LOSSES, NextItemLoss

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
    "with_network_on_cpu",
]
