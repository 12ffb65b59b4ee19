"""Attention over ragged rows.

Linear layers see the real tokens alone, flat. For attention, rows are cut into groups: either rows of near
lengths, padded to the longest of the group, or short rows packed several to a block, where a mask keeps them
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .dropout import Dropout
from .linear import RECURRING
from .placing import on_device

__all__ = ["RaggedGroups", "Slots", "attend", "group_rows"]

# Attention cells that cost about as much as the calls of one more group (measured on CPU).
_CELLS_A_GROUP = 2_000
# Rows up to this length are packed into blocks of it.
_BLOCK = 32


def group_rows(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Cut rows that are sorted by length into groups of near lengths.

    Parameters
    ----------
    lengths : int64 ndarray of shape (n_rows,)
        Ascending lengths.

    Returns
    -------
    list of (first row, row behind the last)
        A new group begins where padding the rows so far up to the next length would cost more than a group.
    """
    distinct, starts = np.unique(lengths, return_index=True)
    bounds = [0]
    longest = int(distinct[0]) if len(distinct) else 0
    for length, start in zip(distinct.tolist(), starts.tolist(), strict=True):
        wasted = (start - bounds[-1]) * (length * length - longest * longest)
        if wasted > _CELLS_A_GROUP:
            bounds.append(start)
        longest = length
    bounds.append(len(lengths))
    return list(pairwise(bounds))


@dataclass(frozen=True)
class _Group:
    """One group of rows of one ragged column: tokens ``start:stop`` are ``n_rows`` rows of up to ``length``.

    In a packed group ``n_rows`` counts blocks, and ``same_row`` says which places of a block belong together.
    """

    start: int
    stop: int
    n_rows: int
    length: int
    padded: Tensor | None
    real: Tensor | None
    is_real: Tensor | None
    same_row: Tensor | None = None
    masks: dict[tuple, Tensor] = field(default_factory=dict)

    def mask(self, causal: bool, n_heads: int, like: Tensor) -> Tensor | None:
        """What is added to scores (n_rows * n_heads, n_queries, length): -inf where a query must not look."""
        if self.same_row is None and causal:
            # Padded keys stand behind every real query: the causal mask hides them, too.
            return _causal_mask(self.length, like)
        if self.same_row is None and self.is_real is None:
            return None
        key = (causal, n_heads, like.dtype)
        if key not in self.masks:
            if self.same_row is not None:
                seen = self.same_row.tril() if causal else self.same_row
            else:
                assert self.is_real is not None
                seen = self.is_real[:, None, :]
            hidden = torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, -torch.inf)
            self.masks[key] = hidden.repeat_interleave(n_heads, dim=0)
        return self.masks[key]


@dataclass(frozen=True)
class Slots:
    """All places of padded groups, in order.

    Attributes
    ----------
    tokens : int64 Tensor of shape (n_slots,)
        The token that stands in each slot; in padded ones some token that stands elsewhere, too. There are a
        multiple of :data:`seqregen.nn.linear.RECURRING` slots.
    places : int64 Tensor of shape (n_tokens,)
        The slot of each token.
    groups : RaggedGroups
        The groups with slots for tokens: padding them is a view.
    """

    tokens: Tensor
    places: Tensor
    groups: RaggedGroups


class RaggedGroups:
    """Groups of the rows of one ragged column, and the way between flat and padded.

    Parameters
    ----------
    lengths : int64 ndarray of shape (n_rows,)
        Number of tokens of each row. They need not be sorted; groups are ranges of rows.
    bounds : sequence of (first row, row behind the last)
        Groups, as :func:`group_rows` finds them, in order and without gaps.
    device : torch.device
        Where the tokens live.
    """

    def __init__(self, lengths: np.ndarray, bounds: Sequence[tuple[int, int]], device: torch.device) -> None:
        self.n_tokens = int(lengths.sum())
        self.device = device
        self.groups: list[_Group] = []
        # Tokens behind those of the groups, which belong to no row: they make the numbers of slots recur.
        self.n_filling = 0
        self._slots: Slots | None = None
        start = 0
        for first, last in bounds:
            group = _make_group(lengths[first:last], start, device)
            self.groups.append(group)
            start = group.stop

    @classmethod
    def packed(cls, lengths: np.ndarray, device: torch.device) -> RaggedGroups:
        """Groups for self-attention: short rows packed into blocks, longer ones in groups of near lengths.

        Parameters
        ----------
        lengths : int64 ndarray of shape (n_rows,)
            Short rows in any order, then those longer than a block, which do best in ascending order.
        device : torch.device
            Where the tokens live.
        """
        long = np.flatnonzero(lengths > _BLOCK)
        n_short = int(long[0]) if len(long) else len(lengths)
        rest = lengths[n_short:]
        in_order = bool(np.all(rest[1:] >= rest[:-1]))
        groups = cls(rest, group_rows(rest) if in_order and len(rest) else [(0, len(rest))] * bool(len(rest)), device)
        if n_short:
            short = _pack(lengths[:n_short], device)
            groups.groups = [short, *(_shifted(group, short.stop) for group in groups.groups)]
            groups.n_tokens += short.stop
        return groups

    @property
    def is_packed(self) -> bool:
        """Whether several rows share a block."""
        return any(group.same_row is not None for group in self.groups)

    def slots(self) -> Slots:
        """The layout in which padding and going back cost nothing.

        A network that works on slots rather than tokens pays for the padded ones in its linear layers, but
        moves tokens once a batch rather than four times a layer.
        """
        if self._slots is None:
            self._slots = _lay_out(self)
        return self._slots

    def one_a_row(self) -> RaggedGroups:
        """Groups of the same rows with one token each; packed groups have no such thing."""
        if self.is_packed:
            raise ValueError("rows packed into blocks cannot be told apart as groups of rows.")
        counts = [group.n_rows for group in self.groups]
        bounds = list(pairwise(np.cumsum([0, *counts]).tolist()))
        return RaggedGroups(np.ones(sum(counts), dtype=np.int64), bounds, self.device)

    def pad(self, tokens: Tensor) -> list[Tensor]:
        """Flat tokens (n_tokens, ...) as one padded tensor (n_rows, length, ...) a group.

        What stands in the padded places is some token of the group; mask it, or do not read it.
        """
        # One split is one tensor in the backward pass; a slice a group would be one of full size each.
        parts = tokens.split([*(group.stop - group.start for group in self.groups), self.n_filling])
        return [_pad(part, group) for part, group in zip(parts, self.groups, strict=False)]

    def unpad(self, padded: Sequence[Tensor]) -> Tensor:
        """The inverse of :meth:`pad`."""
        flat = []
        for values, group in zip(padded, self.groups, strict=True):
            rows = values.reshape(group.n_rows * group.length, *values.shape[2:])
            flat.append(rows if group.real is None else rows.index_select(0, group.real))
        if self.n_filling:
            flat.append(flat[0].new_zeros(self.n_filling, *flat[0].shape[1:]))
        return flat[0] if len(flat) == 1 else torch.cat(flat)


def _lay_out(groups: RaggedGroups) -> Slots:
    tokens, places, laid_out, n_slots = [], [], [], 0
    for group in groups.groups:
        device = groups.device
        size = group.n_rows * group.length
        whole = torch.arange(size, device=device)
        tokens.append((whole if group.padded is None else group.padded) + group.start)
        places.append((whole if group.real is None else group.real) + n_slots)
        laid_out.append(replace(group, start=n_slots, stop=n_slots + size, padded=None, real=None))
        n_slots += size
    slots = RaggedGroups(np.zeros(0, dtype=np.int64), [], groups.device)
    slots.n_filling = -n_slots % RECURRING
    slots.groups, slots.n_tokens = laid_out, n_slots + slots.n_filling
    tokens.append(torch.zeros(slots.n_filling, dtype=torch.int64, device=groups.device))
    return Slots(torch.cat(tokens), torch.cat(places), slots)


def _make_group(lengths: np.ndarray, start: int, device: torch.device) -> _Group:
    n_rows, longest, total = len(lengths), int(lengths.max()), int(lengths.sum())
    if total == n_rows * longest:
        return _Group(start, start + total, n_rows, longest, None, None, None)
    columns = np.arange(longest)
    is_real = columns < lengths[:, None]
    first = np.cumsum(lengths) - lengths
    padded = np.where(is_real, first[:, None] + columns, 0)
    return _Group(
        start,
        start + total,
        n_rows,
        longest,
        on_device(padded.reshape(-1), device),
        on_device(np.flatnonzero(is_real), device),
        on_device(is_real, device),
    )


def _shifted(group: _Group, n_tokens: int) -> _Group:
    return replace(group, start=group.start + n_tokens, stop=group.stop + n_tokens)


def _pack(lengths: np.ndarray, device: torch.device) -> _Group:
    """Several rows to a block of slots, each in one piece."""
    width = min(_BLOCK, int(lengths.sum()))
    slots, n_blocks = _first_fit(lengths, width)
    total = int(lengths.sum())
    first = np.cumsum(lengths) - lengths
    real = np.arange(total) + np.repeat(slots - first, lengths)
    padded = np.zeros(n_blocks * width, dtype=np.int64)
    padded[real] = np.arange(total)
    row = np.full(n_blocks * width, -1, dtype=np.int64)
    row[real] = np.repeat(np.arange(len(lengths)), lengths)
    rows = on_device(row, device).view(n_blocks, width)
    return _Group(
        0,
        total,
        n_blocks,
        width,
        on_device(padded, device),
        on_device(real, device),
        rows >= 0,
        rows[:, :, None] == rows[:, None, :],
    )


def _first_fit(lengths: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """First slot of each row, and the number of blocks: always the longest row left that fits the block."""
    left = np.bincount(lengths, minlength=width + 1)
    first = (np.cumsum(left) - left).tolist()
    by_length = np.argsort(lengths, kind="stable").tolist()
    slots = np.zeros(len(lengths), dtype=np.int64)
    left = left.tolist()
    n_left, block = len(lengths) - left[0], 0
    while n_left:
        free = size = width
        while size:
            if left[size] == 0:
                size -= 1
                continue
            left[size] -= 1
            slots[by_length[first[size] + left[size]]] = block * width + width - free
            n_left -= 1
            free -= size
            size = min(size, free)
        block += 1
    return slots, block


def _pad(tokens: Tensor, group: _Group) -> Tensor:
    rows = tokens if group.padded is None else tokens.index_select(0, group.padded)
    return rows.view(group.n_rows, group.length, *tokens.shape[1:])


def attend(
    queries: Tensor,
    keys_values: Tensor,
    *,
    n_heads: int,
    query_groups: RaggedGroups,
    key_groups: RaggedGroups,
    causal: bool,
    dropout: Dropout,
) -> Tensor:
    """Scaled dot-product attention within rows (Vaswani et al., 2017, equation 1).

    Parameters
    ----------
    queries : Tensor of shape (n_query_tokens, d)
    keys_values : Tensor of shape (n_key_tokens, 2 * d)
        Keys, then values.
    n_heads : int
        Must divide d.
    query_groups, key_groups : RaggedGroups
        The same ranges of rows on both sides.
    causal : bool
        Whether a query sees the keys up to its own place only (self-attention).
    dropout : Dropout
        Applied to the attention weights.

    Returns
    -------
    Tensor of shape (n_query_tokens, d)
    """
    width = queries.shape[-1]
    scale = (width // n_heads) ** -0.5
    mixed = []
    parts = zip(query_groups.pad(queries), key_groups.pad(keys_values), key_groups.groups, strict=True)
    for query, key_value, group in parts:
        n_rows, n_queries, _ = query.shape
        query = query.view(n_rows, n_queries, n_heads, -1).transpose(1, 2).reshape(n_rows * n_heads, n_queries, -1)
        by_head = key_value.view(n_rows, group.length, 2, n_heads, -1).permute(2, 0, 3, 1, 4)
        key, value = by_head.reshape(2, n_rows * n_heads, group.length, -1).unbind(0)
        hidden = group.mask(causal, n_heads, query)
        if hidden is None:
            scores = torch.bmm(query, key.transpose(1, 2)) * scale
        else:
            scores = torch.baddbmm(hidden, query, key.transpose(1, 2), alpha=scale)
        weights = dropout(torch.softmax(scores, dim=-1))
        by_head = torch.bmm(weights, value).view(n_rows, n_heads, n_queries, -1)
        mixed.append(by_head.transpose(1, 2).reshape(n_rows, n_queries, width))
    return query_groups.unpad(mixed)


_CAUSAL_MASKS: dict[tuple, Tensor] = {}


def _causal_mask(length: int, like: Tensor) -> Tensor:
    # A corner of a longer one is the mask of a shorter row: one is kept for all lengths.
    key = (like.device, like.dtype)
    mask = _CAUSAL_MASKS.get(key)
    if mask is None or len(mask) < length:
        size = 1 << (length - 1).bit_length()
        blocked = torch.full((size, size), -torch.inf, device=like.device, dtype=like.dtype)
        mask = _CAUSAL_MASKS[key] = torch.triu(blocked, diagonal=1)
    return mask[:length, :length]
