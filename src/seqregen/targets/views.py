"""Random views of rows for contrastive learning: crop, mask, reorder (Xie et al., ICDE 2022, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ragged import position_in_row, row_of_position, take_positions

__all__ = ["Views", "crop", "mask", "reorder"]


def crop(
    items: np.ndarray, offsets: np.ndarray, rate: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One contiguous piece of ``max(1, floor(rate * n))`` items of each row of n items, and the pieces' offsets."""
    kept, starts = _pieces(offsets, rate, random, at_least=1)
    places, cropped = take_positions(starts, kept)
    return items[places], cropped


def mask(
    items: np.ndarray, offsets: np.ndarray, rate: float, token: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The rows with ``floor(rate * n)`` random positions of each set to a token."""
    lengths = np.diff(offsets)
    # Positions of a row in random order; the first of them are masked.
    order = np.argsort(row_of_position(offsets) + random.random(len(items)))
    chosen = order[position_in_row(offsets) < np.repeat(_share(lengths, rate), lengths)]
    masked = items.copy()
    masked[chosen] = token
    return masked, offsets


def reorder(
    items: np.ndarray, offsets: np.ndarray, rate: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The rows with one contiguous piece of ``floor(rate * n)`` items of each shuffled."""
    shuffled, starts = _pieces(offsets, rate, random)
    places, pieces = take_positions(starts, shuffled)
    order = np.argsort(row_of_position(pieces) + random.random(len(places)))
    reordered = items.copy()
    reordered[places] = items[places[order]]
    return reordered, offsets


def _share(lengths: np.ndarray, rate: float) -> np.ndarray:
    return np.floor(rate * lengths).astype(np.int64)


def _pieces(
    offsets: np.ndarray, rate: float, random: np.random.Generator, at_least: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Length and first position of one random piece of each row."""
    lengths = np.diff(offsets)
    sizes = np.maximum(_share(lengths, rate), at_least)
    return sizes, offsets[:-1] + random.integers(0, lengths - sizes + 1)


@dataclass(frozen=True)
class Views:
    """Draws views of rows; one operator, drawn uniformly, makes all rows of a view.

    Parameters
    ----------
    crop_rate, mask_rate, reorder_rate : float
        Share of a row that each operator keeps, masks, shuffles.
    token : int
        What masked items are replaced by.
    """

    crop_rate: float
    mask_rate: float
    reorder_rate: float
    token: int

    def draw(
        self, items: np.ndarray, offsets: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A view of rows that have one item or more.

        Parameters
        ----------
        items : int64 ndarray of shape (n_positions,)
        offsets : int64 ndarray of shape (n_rows + 1,)
        random : numpy Generator

        Returns
        -------
        items : int64 ndarray
        offsets : int64 ndarray of shape (n_rows + 1,)
            Where rows ascend in length, those of the view do, too.
        """
        operator = random.integers(3)
        if operator == 0:
            return crop(items, offsets, self.crop_rate, random)
        if operator == 1:
            return mask(items, offsets, self.mask_rate, self.token, random)
        return reorder(items, offsets, self.reorder_rate, random)
