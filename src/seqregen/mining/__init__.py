"""Frequent ordered patterns of item sequences, and the pairs (sequence -> pattern) they give."""

from .miner import PatternMiner

__all__ = ["PatternMiner"]
