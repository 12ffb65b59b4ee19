"""Ragged batches, losses, and the one training loop."""

from .batches import NextItemBatch, NextItemRows, TrainingRows, next_item_rows
from .devices import resolve_device, warn_of_slow_rounding, with_network_on_cpu
from .loop import StopRule, TrainingDivergedError, TrainingPlan, TrainingResult, train
from .losses import LOSSES, NextItemLoss
from .negatives import NEGATIVE_SAMPLING, negative_sampler
from .outer import OuterPlan, OuterUpdates

__all__ = [
    "LOSSES",
    "NEGATIVE_SAMPLING",
    "NextItemBatch",
    "NextItemLoss",
    "NextItemRows",
    "OuterPlan",
    "OuterUpdates",
    "StopRule",
    "TrainingDivergedError",
    "TrainingPlan",
    "TrainingResult",
    "TrainingRows",
    "negative_sampler",
    "next_item_rows",
    "resolve_device",
    "train",
    "warn_of_slow_rounding",
    "with_network_on_cpu",
]
