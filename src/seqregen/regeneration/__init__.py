"""Regeneration: learning (sequence -> pattern) pairs, and decoding new patterns from every sequence."""

from .regenerator import DatasetRegenerator, RegenerationReport

__all__ = ["DatasetRegenerator", "RegenerationReport"]
