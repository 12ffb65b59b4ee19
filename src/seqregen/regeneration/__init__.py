"""Regeneration: learning (sequence -> pattern) pairs, and decoding new patterns from every sequence."""

from .regenerator import DatasetRegenerator
from .report import RegenerationReport

__all__ = ["DatasetRegenerator", "RegenerationReport"]
