"""Sequences with planted transitions, to learn something from without a file or a network."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from ..parameters import require_flag
from ..ragged import offsets_from_lengths
from ..sequences import SequenceDataset

__all__ = ["make_sequences"]

# Ten million items to this power are still numbers.
_STEEPEST = 40


def make_sequences(
    n_sequences: int = 1000,
    n_items: int = 200,
    *,
    mean_length: float = 8.0,
    min_length: int = 5,
    n_tastes: int = 2,
    n_successors: int = 2,
    transition_strength: float = 0.75,
    popularity_exponent: float = 1.0,
    return_transitions: bool = False,
    random_state: Any = None,
) -> SequenceDataset | tuple[SequenceDataset, np.ndarray]:
    """Generate item sequences with planted transitions between items, mixed with popular noise.

    There are ``n_tastes`` orders of all items, each a random ring. A row follows one of them: it starts
    anywhere, and each step is, with probability ``transition_strength``, one of the next ``n_successors``
    items of the ring (the nearest is twice as likely as the second, and so on), else an item drawn by
    popularity that interrupts the walk without moving it. No item comes twice in a row. So the items before
    the last one say which taste a row has and where its walk stood before an interruption: a model that
    reads the whole row beats one that reads the last item, and that one beats popularity.

    Parameters
    ----------
    n_sequences : int, default=1000
        Number of rows.
    n_items : int, default=200
        Size of the vocabulary, the labels 1..n_items.
    mean_length : float, default=8.0
        Mean number of items of a row; lengths above the least are geometrically distributed, as in logs of
        real users, and cut off at ``n_items``.
    min_length : int, default=5
        Least number of items of a row.
    n_tastes : int, default=2
        Number of orders of the items.
    n_successors : int, default=2
        How many items each item leads to in each order.
    transition_strength : float, default=0.75
        Probability that a step follows the order, in [0, 1].
    popularity_exponent : float, default=1.0
        Popularity of the r-th most popular item is proportional to ``r ** -popularity_exponent``; which items
        are popular is random.
    return_transitions : bool, default=False
        Return the planted transitions as well.
    random_state : int, RandomState instance or None, default=None
        Makes the result repeatable.

    Returns
    -------
    sequences : SequenceDataset
        The vocabulary holds all ``n_items`` items, also those that do not occur.
    transitions : int64 ndarray of shape (n_tastes, n_items, n_successors)
        Only with ``return_transitions``: the labels that each item leads to, likeliest first.

    Raises
    ------
    ValueError
        A parameter is out of range.

    Notes
    -----
    Memory grows with the number of interactions, time with that times the length of a row, as each item looks back at
    those before it; the only loops are over positions in a row. With the
    defaults, ranking the last item of each row against all others gives a hit rate at 10 of about 0.15 by
    popularity, 0.64 by counts of what follows the last item, and 0.88 by the planted rule read over the whole
    row (mean of five seeds, items of the history left out).

    Examples
    --------
    >>> from seqregen.datasets import make_sequences
    >>> data = make_sequences(n_sequences=500, random_state=0)
    >>> data.shape, data.n_items, int(data.lengths.min())
    ((500,), 200, 5)
    """
    # scikit-learn loads pandas where that is installed; importing this package must not.
    from sklearn.utils import check_random_state

    _check_parameters(
        n_sequences, n_items, mean_length, min_length, n_tastes, n_successors, transition_strength, popularity_exponent
    )
    require_flag("return_transitions", return_transitions)
    random = np.random.default_rng(check_random_state(random_state).randint(0, 2**32, size=4, dtype=np.uint32))
    lengths = _draw_lengths(random, n_sequences, n_items, mean_length, min_length)
    # ring[taste, place] is an item, counted from 0.
    ring = np.stack([random.permutation(n_items) for _ in range(n_tastes)])
    popularity = np.arange(1, n_items + 1, dtype=np.float64) ** -popularity_exponent
    popular = _Popular(random.permutation(n_items), np.cumsum(popularity / popularity.sum()))
    items = _walk(random, lengths, ring, popular, n_successors, transition_strength)
    items += 1
    dataset = SequenceDataset(items, offsets_from_lengths(lengths), np.arange(1, n_items + 1))
    return (dataset, _transitions(ring, n_successors)) if return_transitions else dataset


def _check_parameters(
    n_sequences: int,
    n_items: int,
    mean_length: float,
    min_length: int,
    n_tastes: int,
    n_successors: int,
    transition_strength: float,
    popularity_exponent: float,
) -> None:
    least = {"n_sequences": n_sequences, "n_items": n_items, "min_length": min_length, "n_tastes": n_tastes}
    for name, value in (least | {"n_successors": n_successors}).items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1; got {value!r}.")
    if not _is_number(transition_strength) or not 0 <= transition_strength <= 1:
        raise ValueError(f"transition_strength must lie in [0, 1]; got {transition_strength!r}.")
    if not _is_number(mean_length) or not min_length <= mean_length <= n_items:
        raise ValueError(
            f"mean_length must lie between min_length ({min_length}) and n_items ({n_items}), "
            f"for no item comes twice in a row; got {mean_length!r}."
        )
    if not _is_number(popularity_exponent) or not -_STEEPEST <= popularity_exponent <= _STEEPEST:
        raise ValueError(f"popularity_exponent must lie in [-{_STEEPEST}, {_STEEPEST}]; got {popularity_exponent!r}.")
    if n_successors >= n_items:
        raise ValueError(f"n_successors must be less than n_items ({n_items}); got {n_successors}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


def _draw_lengths(
    random: np.random.Generator, n_sequences: int, n_items: int, mean_length: float, min_length: int
) -> np.ndarray:
    above = random.geometric(1 / (mean_length - min_length + 1), size=n_sequences) - 1
    return np.minimum(min_length + above, n_items)


class _Popular(NamedTuple):
    """Items by falling popularity, and their cumulative popularity."""

    items: np.ndarray
    cumulative: np.ndarray

    def draw(self, random: np.random.Generator, size: int) -> np.ndarray:
        ranks = np.searchsorted(self.cumulative, random.random(size))
        return self.items[np.minimum(ranks, len(self.items) - 1)]


def _walk(
    random: np.random.Generator,
    lengths: np.ndarray,
    ring: np.ndarray,
    popular: _Popular,
    n_successors: int,
    transition_strength: float,
) -> np.ndarray:
    """Items, counted from 0, of all rows one behind the other: all rows take one step at a time."""
    n_tastes, n_items = ring.shape
    offsets = offsets_from_lengths(lengths)
    items = np.empty(offsets[-1], dtype=np.int64)
    # Rows by falling length: at each position the rows that go on are the first ones.
    rows = np.argsort(-lengths, kind="stable")
    starts, falling = offsets[:-1][rows], -lengths[rows]
    taste = random.integers(n_tastes, size=len(rows))
    place = random.integers(n_items, size=len(rows))
    items[starts] = ring[taste, place]
    step_odds = np.cumsum(0.5 ** np.arange(n_successors))
    for position in range(1, int(lengths.max())):
        n_active = int(np.searchsorted(falling, -position, side="left"))
        start, active = starts[:n_active], slice(n_active)
        earlier = _Earlier(items, start, position)
        follows = random.random(n_active) < transition_strength
        noise = popular.draw(random, n_active)
        # An interruption by an item that the row has already is none.
        follows |= earlier.hold(noise)
        steps = 1 + np.searchsorted(step_odds, random.random(n_active) * step_odds[-1], side="right")
        ahead = (place[active] + np.minimum(steps, n_successors)) % n_items
        ahead = _skip_repeats(ahead, ring, taste[active], earlier)
        items[start + position] = np.where(follows, ring[taste[active], ahead], noise)
        place[active] = np.where(follows, ahead, place[active])
    return items


class _Earlier:
    """What the active rows hold before the present position."""

    def __init__(self, items: np.ndarray, starts: np.ndarray, position: int) -> None:
        self.items, self.starts, self.position = items, starts, position

    def hold(self, candidates: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Which rows hold their candidate already."""
        starts = self.starts[rows]
        found = np.zeros(len(starts), dtype=bool)
        for back in range(self.position):
            found |= self.items[starts + back] == candidates
        return found


def _skip_repeats(ahead: np.ndarray, ring: np.ndarray, taste: np.ndarray, earlier: _Earlier) -> np.ndarray:
    """Places moved on along the ring past items that the row holds already."""
    rows = np.flatnonzero(earlier.hold(ring[taste, ahead]))
    while len(rows):
        ahead[rows] = (ahead[rows] + 1) % ring.shape[1]
        rows = rows[earlier.hold(ring[taste[rows], ahead[rows]], rows)]
    return ahead


def _transitions(ring: np.ndarray, n_successors: int) -> np.ndarray:
    transitions = np.empty((*ring.shape, n_successors), dtype=np.int64)
    for step in range(n_successors):
        np.put_along_axis(transitions[:, :, step], ring, np.roll(ring, -1 - step, axis=1) + 1, axis=1)
    return transitions
