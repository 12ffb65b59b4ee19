"""What the stages share: Amazon Beauty in the forms that either side reads, each made at first use."""

from __future__ import annotations

from functools import cached_property

import numpy as np

import seqregen
from seqregen.model_selection import leave_one_out

from .data import data_file, read_sequences, training_part, truncated
from .published import regenerator, sasrec
from .timing import seconds_of

__all__ = ["Workload"]

WINDOW = 5
MIN_SUPPORT = 2
N_MEMORIES = 5


class Workload:
    """One data set, mined and held out once, and the published networks over it.

    Parameters
    ----------
    name : str, default="amazon-beauty"
    """

    def __init__(self, name: str = "amazon-beauty") -> None:
        self.name = name

    @cached_property
    def path(self) -> str:
        return str(data_file(self.name))

    @cached_property
    def sequences(self) -> list[list[int]]:
        """Whole rows of item numbers."""
        return read_sequences(self.path)

    @cached_property
    def _held_out(self) -> tuple[seqregen.SequenceDataset, np.ndarray]:
        return leave_one_out(self.sequences, validation=True)

    @property
    def X(self) -> seqregen.SequenceDataset:
        """Rows without their last two items; the last but one is in ``validation``."""
        return self._held_out[0]

    @property
    def y(self) -> np.ndarray:
        """The last item of each row."""
        return self._held_out[1]

    @cached_property
    def mined(self) -> seqregen.SequenceDataset:
        """The rows with their pairs, and the mined rows behind them."""
        return self.miner().fit_transform(self.X)

    @staticmethod
    def miner() -> seqregen.PatternMiner:
        return seqregen.PatternMiner(window=WINDOW, min_support=MIN_SUPPORT, random_state=0)

    @cached_property
    def published_rows(self) -> list[list[int]]:
        """Training rows as the published pair search and decoder read them: 48 items at most."""
        return training_part(truncated(self.sequences))

    @cached_property
    def published_pairs(self) -> regenerator.PaddedPairs:
        """All pairs, padded."""
        originals, pairs = self.X, self.mined.pairs.take(np.arange(len(self.X)))
        rows = [originals.row_codes(number).tolist() for number in range(len(originals))]
        bounds = pairs.pattern_offsets
        patterns = [pairs.pattern_items[bounds[p] : bounds[p + 1]].tolist() for p in pairs.patterns]
        sources = np.repeat(np.arange(len(originals)), np.diff(pairs.offsets)).tolist()
        return regenerator.pad_pairs(rows, list(zip(sources, patterns, strict=True)), originals.n_items)

    @cached_property
    def published_regenerator(self) -> regenerator.PublishedRegenerator:
        return regenerator.PublishedRegenerator(self.X.n_items, N_MEMORIES)

    @cached_property
    def published_training_rows(self) -> tuple:
        return sasrec.training_rows(self.sequences)

    @cached_property
    def published_test(self) -> tuple:
        return sasrec.held_out(self.sequences)

    @cached_property
    def published_sasrec(self) -> sasrec.PublishedSASRec:
        return sasrec.PublishedSASRec(max(max(row) for row in self.sequences))

    def seq2pat_patterns(self) -> tuple[list[tuple[int, ...]], float | None]:
        """The patterns, and the seconds that seq2pat took; None, and our own patterns, where it is not installed."""
        try:
            from sequential.seq2pat import Seq2Pat
        except ImportError:
            mined = self.miner().fit(self.X).patterns_
            return [tuple(row.tolist()) for row in mined], None
        rows = training_part(self.sequences)
        found: list[list[int]] = []
        seconds = seconds_of(
            lambda: found.extend(Seq2Pat(sequences=rows, max_span=WINDOW, n_jobs=1).get_patterns(MIN_SUPPORT))
        )
        return [tuple(pattern[:-1]) for pattern in found], seconds
