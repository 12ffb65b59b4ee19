"""Sorting several integer columns at once by packing them into one 64-bit word."""

from __future__ import annotations

import numpy as np

__all__ = ["bits_for", "cut_points", "sort_triples"]

_WORD_BITS = 63


def bits_for(largest: int) -> int:
    """How many bits hold the numbers 0..largest."""
    return max(int(largest).bit_length(), 1)


def sort_triples(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three columns of non-negative integers, sorted together by first, then second, then third.

    Parameters
    ----------
    first, second, third : int64 ndarrays of shape (n,)
        Non-negative.

    Returns
    -------
    first, second, third : int64 ndarrays of shape (n,)
        Sorted copies.
    """
    if len(first) == 0:
        return first, second, third
    second_bits, third_bits = bits_for(second.max()), bits_for(third.max())
    if bits_for(first.max()) + second_bits + third_bits > _WORD_BITS:
        order = np.lexsort((third, second, first))
        return first[order], second[order], third[order]
    # One sort of plain integers is several times faster than any sort that returns an order.
    packed = first << second_bits
    packed |= second
    packed <<= third_bits
    packed |= third
    packed.sort()
    third = packed & ((1 << third_bits) - 1)
    packed >>= third_bits
    second = packed & ((1 << second_bits) - 1)
    packed >>= second_bits
    return packed, second, third


def cut_points(sizes: np.ndarray, budget: int) -> np.ndarray:
    """Where to cut a list of things so that each piece's sizes add up to about ``budget``.

    Parameters
    ----------
    sizes : int64 ndarray of shape (n,)
        Size of each thing; a thing is never divided, however large.
    budget : int
        Wanted largest sum of a piece.

    Returns
    -------
    int64 ndarray of shape (n_pieces + 1,)
        Piece ``i`` is the things ``cuts[i]:cuts[i + 1]``; starts at 0, ends at n.
    """
    if len(sizes) == 0:
        return np.zeros(1, dtype=np.int64)
    # A thing belongs to the piece that its middle falls into, so no piece exceeds budget plus its two end things.
    ends = np.cumsum(sizes)
    piece = (ends - (sizes + 1) // 2) // budget
    return np.concatenate([[0], np.flatnonzero(np.diff(piece)) + 1, [len(sizes)]])
