"""The published search for pairs: every pattern is tried on every row, in an order shuffled anew for each row."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PairSearch", "contains", "search_pairs", "time_pair_search"]

PAIRS_PER_ROW = 10


@dataclass(frozen=True)
class PairSearch:
    """Seconds of a search over a sample of rows, and what they come to for all rows."""

    seconds: float
    n_sampled: int
    n_rows: int
    n_pairs: int

    @property
    def seconds_a_row(self) -> float:
        return self.seconds / self.n_sampled

    @property
    def extrapolated_seconds(self) -> float:
        """Seconds for all rows: the sample is drawn uniformly and rows do not depend on each other."""
        return self.seconds_a_row * self.n_rows


def contains(row: Sequence[int], pattern: Sequence[int]) -> bool:
    """Whether the pattern is a subsequence of the row: greedy from the left, with no limit on the span."""
    place = 0
    for item in row:
        if item == pattern[place]:
            place += 1
            if place == len(pattern):
                return True
    return False


def search_pairs(
    rows: Sequence[Sequence[int]], patterns: list[tuple[int, ...]], generator: random.Random
) -> list[tuple[int, tuple[int, ...]]]:
    """Row numbers with the first ten patterns, in an order shuffled for each row, that the row contains."""
    pairs = []
    for number, row in enumerate(rows):
        generator.shuffle(patterns)
        found = 0
        for pattern in patterns:
            if contains(row, pattern):
                pairs.append((number, pattern))
                found += 1
                if found == PAIRS_PER_ROW:
                    break
    return pairs


def time_pair_search(
    rows: Sequence[Sequence[int]], patterns: Sequence[tuple[int, ...]], n_sampled: int = 40, seed: int = 0
) -> PairSearch:
    """Time the search on rows drawn uniformly; the patterns are copied first, outside the clock."""
    generator = random.Random(seed)
    sample = generator.sample(list(rows), min(n_sampled, len(rows)))
    shuffled = [tuple(pattern) for pattern in patterns]
    start = time.perf_counter()
    pairs = search_pairs(sample, shuffled, generator)
    return PairSearch(time.perf_counter() - start, len(sample), len(rows), len(pairs))
