"""Regenerate the training data of sequential recommenders."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Looked up at first use: importing seqregen must not import torch, pandas or matplotlib.
_LOCATIONS = {
    "SequenceDataset": "sequences",
    "Origin": "sequences",
    "PatternMiner": "mining",
    "DatasetRegenerator": "regeneration",
    "TeacherRegenerator": "regeneration",
    "RankFilter": "regeneration",
    "DatasetPersonalizer": "personalization",
    "RegeneratedRecommender": "recommender",
}
_ROOMS = (
    "datasets",
    "formats",
    "inputs",
    "metrics",
    "model_selection",
    "targets",
    "mining",
    "regeneration",
    "personalization",
    "training",
    "testing",
)

__all__ = [*_LOCATIONS, "__version__", "datasets", "metrics", "model_selection", "targets"]


def __getattr__(name: str) -> Any:
    if name in _LOCATIONS:
        return getattr(import_module(f".{_LOCATIONS[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
