"""Training batches of (sequence -> pattern) pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from ..nn import GatheredArray, RaggedGroups, group_rows, on_device
from ..pairs import PatternPairs
from ..ragged import offsets_from_lengths, position_in_row, row_of_position, take_positions

__all__ = ["PairBatch", "PairTable", "SourceRows", "n_positions", "source_rows"]


@dataclass(frozen=True)
class SourceRows:
    """Source sequences as tokens: start, the row's last items, end.

    Token ``c - 1`` is item code ``c``, token V starts and token V + 1 ends a sequence.

    Attributes
    ----------
    tokens : int64 ndarray of shape (n_tokens,)
    offsets : int64 ndarray of shape (n_rows + 1,)
    is_candidate : bool ndarray of shape (n_tokens,)
        False for every later occurrence of an item in its row: each candidate of a decoder counts once.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    is_candidate: np.ndarray

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of tokens, int64 (n_rows,), of each row."""
        return np.diff(self.offsets)

    @cached_property
    def gathered_tokens(self) -> GatheredArray:
        return GatheredArray(self.tokens)

    @cached_property
    def gathered_candidates(self) -> GatheredArray:
        return GatheredArray(self.is_candidate)


def n_positions(max_source_length: int, max_length: int) -> int:
    """Positions that sources and rows of at most so many items take, with start and end around them."""
    return max(max_source_length, max_length + 1) + 2


def source_rows(items: np.ndarray, offsets: np.ndarray, n_items: int, max_length: int) -> SourceRows:
    """Make tokens of the last ``max_length`` items of every row."""
    used = np.minimum(np.diff(offsets), max_length)
    places, used_offsets = take_positions(offsets[1:] - used, used)
    tokens, token_offsets, _inside = _enclosed(items[places] - 1, used_offsets, n_items)
    keys = row_of_position(token_offsets) * (n_items + 2) + tokens
    is_candidate = np.zeros(len(tokens), dtype=bool)
    is_candidate[np.unique(keys, return_index=True)[1]] = True
    return SourceRows(tokens, token_offsets, is_candidate)


def _enclosed(tokens: np.ndarray, offsets: np.ndarray, n_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ragged tokens with a start before each row and an end behind it, their offsets, and where the tokens are now."""
    enclosed_offsets = offsets + 2 * np.arange(len(offsets))
    inside = np.arange(len(tokens)) + 2 * row_of_position(offsets) + 1
    enclosed = np.full(enclosed_offsets[-1], n_items, dtype=np.int64)
    enclosed[inside] = tokens
    enclosed[enclosed_offsets[1:] - 1] = n_items + 1
    return enclosed, enclosed_offsets, inside


@dataclass(frozen=True)
class PairBatch:
    """Some pairs, sorted by the length of their sources, as flat tokens.

    Sources that several pairs share are there once: ``row_tokens`` holds start, items, end of each distinct
    source, and ``source`` says which of them are the source tokens of the pairs, one pair behind the other;
    ``pair`` is the pair that each of these belongs to. ``target_tokens`` holds start, pattern, end of each
    pair. Groups are packed for self-attention; ``source_groups`` and ``input_groups`` go together, for attention
    from one side to the other. ``inputs`` says which of them the decoder reads (all but the end), ``outputs`` which
    token it should say there, and ``output_slots`` where that token stands in the source.
    """

    row_tokens: Tensor
    row_positions: Tensor
    row_groups: RaggedGroups
    source: Tensor
    pair: Tensor
    source_groups: RaggedGroups
    is_candidate: Tensor
    target_tokens: Tensor
    target_positions: Tensor
    target_groups: RaggedGroups
    target_offsets: Tensor
    inputs: Tensor
    input_groups: RaggedGroups
    packed_inputs: RaggedGroups
    outputs: Tensor
    output_slots: Tensor


class PairTable:
    """All pairs of a dataset, prepared so that a batch is a few gathers.

    Parameters
    ----------
    sources : SourceRows
        Of the rows that the pairs speak of.
    pairs : PatternPairs
        Patterns of each row.
    n_items : int
        Size V of the vocabulary.

    Attributes
    ----------
    rows : int64 ndarray of shape (n_pairs,)
        Source of each pair.
    tokens, slots : int64 ndarray of shape (n_tokens,)
        Start, pattern and end of each pair, and where in its source each of them stands.
    offsets : int64 ndarray of shape (n_pairs + 1,)
    """

    def __init__(self, sources: SourceRows, pairs: PatternPairs, n_items: int) -> None:
        self.sources = sources
        rows = np.repeat(np.arange(pairs.n_rows), np.diff(pairs.offsets))
        lengths = np.diff(pairs.pattern_offsets)[pairs.patterns]
        places, offsets = take_positions(pairs.pattern_offsets[pairs.patterns], lengths)
        tokens = pairs.pattern_items[places] - 1
        slots = _slots(sources, np.repeat(rows, lengths), tokens, n_items)
        # A pattern can lie before the part of a long row that is read: such a pair cannot be learnt from.
        usable = _stand_in_order(sources, rows, tokens, offsets, n_items)
        kept = np.repeat(usable, lengths)
        self.rows = rows[usable]
        pattern_offsets = offsets_from_lengths(lengths[usable])
        self.tokens, self.offsets, inside = _enclosed(tokens[kept], pattern_offsets, n_items)
        self.slots = np.repeat(sources.lengths[self.rows] - 1, np.diff(self.offsets))
        self.slots[inside] = slots[kept]
        self._gathered_tokens, self._gathered_slots = GatheredArray(self.tokens), GatheredArray(self.slots)

    def __len__(self) -> int:
        return len(self.rows)

    def shuffled(
        self, batch_size: int, random: np.random.Generator, device: torch.device, by: str
    ) -> Iterator[PairBatch]:
        """Batches of random pairs (``by="pair"``), or of the pairs of random sources (``by="source"``)."""
        order = random.permutation(len(self))
        if by == "source":
            # Pairs of one source stay together but where a batch ends: it is encoded once in a batch.
            order = np.argsort(random.permutation(int(self.rows.max()) + 1)[self.rows], kind="stable")
        for first in range(0, len(order), batch_size):
            yield self.batch(order[first : first + batch_size], device)

    def batch(self, pairs: np.ndarray, device: torch.device) -> PairBatch:
        """The given pairs as one batch."""
        pairs = pairs[np.argsort(self.sources.lengths[self.rows[pairs]], kind="stable")]
        rows, row_of_pair = np.unique(self.rows[pairs], return_inverse=True)
        order = np.argsort(self.sources.lengths[rows], kind="stable")
        place = np.empty(len(rows), dtype=np.int64)
        place[order] = np.arange(len(rows))
        rows, row_of_pair = rows[order], place[row_of_pair]
        row_lengths = self.sources.lengths[rows]
        row_places, row_offsets = take_positions(self.sources.offsets[rows], row_lengths)
        source_lengths = row_lengths[row_of_pair]
        source, source_offsets = take_positions(row_offsets[row_of_pair], source_lengths)
        bounds = group_rows(source_lengths)
        lengths = self.offsets[pairs + 1] - self.offsets[pairs]
        target_places, target_offsets = take_positions(self.offsets[pairs], lengths)
        is_input = np.ones(len(target_places), dtype=bool)
        is_input[target_offsets[1:] - 1] = False
        inputs = np.flatnonzero(is_input)
        said = target_places[inputs] + 1

        tensor = partial(on_device, device=device)
        return PairBatch(
            row_tokens=self.sources.gathered_tokens.gather(row_places, device),
            row_positions=tensor(position_in_row(row_offsets)),
            row_groups=RaggedGroups.packed(row_lengths, device),
            source=tensor(source),
            pair=tensor(row_of_position(source_offsets)),
            source_groups=RaggedGroups(source_lengths, bounds, device),
            is_candidate=self.sources.gathered_candidates.gather(row_places[source], device),
            target_tokens=self._gathered_tokens.gather(target_places, device),
            target_positions=tensor(position_in_row(target_offsets)),
            target_groups=RaggedGroups.packed(lengths, device),
            target_offsets=tensor(target_offsets),
            inputs=tensor(inputs),
            input_groups=RaggedGroups(lengths - 1, bounds, device),
            packed_inputs=RaggedGroups.packed(lengths - 1, device),
            outputs=self._gathered_tokens.gather(said, device),
            output_slots=self._gathered_slots.gather(said, device),
        )


def _stand_in_order(
    sources: SourceRows, rows: np.ndarray, tokens: np.ndarray, offsets: np.ndarray, n_items: int
) -> np.ndarray:
    """Whether each pattern stands in what is read of its row, gaps allowed, bool (n_pairs,)."""
    width, span = n_items + 2, int(sources.lengths.max(initial=0)) + 1
    # Items, without the start and the end of a row.
    places = np.flatnonzero(sources.tokens < n_items)
    keys = row_of_position(sources.offsets)[places] * width + sources.tokens[places]
    # Behind the last one stands one that no pattern asks for.
    keys = np.append(np.sort(keys * span + position_in_row(sources.offsets)[places]), np.iinfo(np.int64).max)
    lengths = np.diff(offsets)
    stands = np.ones(len(rows), dtype=bool)
    last = np.zeros(len(rows), dtype=np.int64)
    for step in range(int(lengths.max(initial=0))):
        pairs = np.flatnonzero(stands & (lengths > step))
        asked = (rows[pairs] * width + tokens[offsets[pairs] + step]) * span
        nearest = keys[np.searchsorted(keys, asked + last[pairs])]
        stands[pairs] = nearest < asked + span
        last[pairs] = nearest - asked + 1
    return stands


def _slots(sources: SourceRows, rows: np.ndarray, tokens: np.ndarray, n_items: int) -> np.ndarray:
    """Where in its source row each token first stands; of one that does not, any place."""
    width = n_items + 2
    candidates = np.flatnonzero(sources.is_candidate)
    keys = row_of_position(sources.offsets)[candidates] * width + sources.tokens[candidates]
    order = np.argsort(keys, kind="stable")
    wanted = rows * width + tokens
    nearest = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    places = candidates[order[nearest]]
    return places - sources.offsets[rows]
