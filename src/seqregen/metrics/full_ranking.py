"""Full ranking: the rank of each row's target among all items, and the best items of each row.

Nothing of rows x items is ever held: scores come block by block. The target's own score is read from the same
block, since a score computed apart rounds differently and moves ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import HistoryPairs, as_block, candidates, check_numbers, count_at_least, rows_of_a_block

if TYPE_CHECKING:
    import torch

__all__ = ["UNREACHABLE", "rank_targets", "rank_targets_in_blocks", "top_items", "top_items_in_blocks"]

#: Rank of a target that no list can reach: it is outside the vocabulary, excluded as a history item, or scored -inf.
UNREACHABLE = int(np.iinfo(np.int64).max)

# Rows of the first block where the number of items, and with it the size of a block, is not known yet.
_FIRST_BLOCK = 16

ScoreBlock = Callable[[int, int], Any]
Histories = tuple[np.ndarray, np.ndarray]


def rank_targets(
    states: torch.Tensor,
    item_table: torch.Tensor,
    targets: np.ndarray,
    histories: Histories | None,
    *,
    exclude_history: bool = True,
    block_rows: int | None = None,
) -> np.ndarray:
    """Rank each row's target among all items by the inner product of state and item vector.

    Parameters
    ----------
    states : floating tensor of shape (n_rows, dim)
        One state a row, on any device. Half precision makes many scores tie, and ties count against the
        model: rank in float32.
    item_table : floating tensor of shape (n_items, dim)
        Row ``c - 1`` is the vector of item code ``c``; same device and dtype as ``states``.
    targets : int64 ndarray of shape (n_rows,)
        Item codes; 0 stands for a target outside the vocabulary.
    histories : pair of int64 ndarrays (items, offsets), or None
        Item codes of each row's history, one row behind the other, and where each row begins.
    exclude_history : bool, default=True
        Leave the items of a row's history out of its ranking. A target that lies in its own history then
        cannot be reached.
    block_rows : int, optional
        Rows scored at once; by default a block that stays in the cache, or fills an accelerator.

    Returns
    -------
    int64 ndarray of shape (n_rows,)
        1 plus the number of other items that score no less than the target (ties count against the model);
        :data:`UNREACHABLE` for targets that no list can reach.

    Raises
    ------
    ValueError
        A score is NaN (the message says which), or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from seqregen.metrics import rank_targets
    >>> states, item_table = torch.eye(2), torch.tensor([[3.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    >>> histories = np.array([1]), np.array([0, 1, 1])          # row 0 has seen item 1, row 1 nothing
    >>> rank_targets(states, item_table, np.array([2, 2]), histories).tolist()
    [1, 3]
    """
    score_block, n_rows, block_rows = _inner_products(states, item_table, block_rows)
    return rank_targets_in_blocks(
        score_block, n_rows, targets, histories, exclude_history=exclude_history, block_rows=block_rows
    )


def rank_targets_in_blocks(
    score_block: ScoreBlock,
    n_rows: int,
    targets: np.ndarray,
    histories: Histories | None,
    *,
    exclude_history: bool = True,
    block_rows: int | None = None,
) -> np.ndarray:
    """Rank each row's target among all items, with scores from any function.

    Parameters
    ----------
    score_block : callable
        ``score_block(start, stop)`` gives the scores of rows ``start`` to ``stop`` for all items: a numpy array
        or a tensor on any device, shape (stop - start, n_items), column ``c - 1`` for item code ``c``. It may
        reuse one buffer for all blocks. The score -inf stands for an item that is never recommended.
    n_rows : int
        Number of rows.
    targets, histories, exclude_history, block_rows
        As in :func:`rank_targets`.

    Returns
    -------
    int64 ndarray of shape (n_rows,)
        As in :func:`rank_targets`.

    Raises
    ------
    ValueError
        A score is NaN (the message says which), or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from seqregen.metrics import rank_targets_in_blocks
    >>> popularity = np.array([5.0, 9.0, 5.0])
    >>> rank_targets_in_blocks(lambda start, stop: np.tile(popularity, (stop - start, 1)), 2, np.array([2, 3]), None)
    array([1, 3])
    """
    targets = _check_targets(targets, n_rows)
    history = _check_histories(histories, n_rows) if exclude_history and histories is not None else None
    reachable = targets > 0
    if history is not None:
        reachable &= ~history.contain(targets)
    ranks = np.full(n_rows, UNREACHABLE, dtype=np.int64)
    columns = np.where(reachable, targets - 1, 0)
    for start, stop, scores in _blocks(score_block, n_rows, block_rows):
        _check_codes(targets, history, scores.shape[1], start, stop)
        excluded = None if history is None else history.of(start, stop)
        counts, target_scores = count_at_least(scores, columns[start:stop], excluded)
        counted = reachable[start:stop] & (target_scores > -np.inf)
        ranks[start:stop][counted] = counts[counted]
    return ranks


def top_items(
    states: torch.Tensor,
    item_table: torch.Tensor,
    histories: Histories | None,
    k: int,
    *,
    exclude_history: bool = True,
    block_rows: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best items of each row by the inner product of state and item vector.

    Parameters
    ----------
    states, item_table, histories
        As in :func:`rank_targets`.
    k : int
        How many items, at most the number of all items.
    exclude_history : bool, default=True
        Leave items that are in the history out of the ranking.
    block_rows : int, optional
        As in :func:`rank_targets`.

    Returns
    -------
    codes : int64 ndarray of shape (n_rows, k)
        Item codes, best first; of equal scores the lower code first. Where fewer than ``k`` items remain,
        because a long history is excluded, the places behind them hold code 0, "no item".
    scores : floating ndarray of shape (n_rows, k)
        Their scores; -inf at places that hold no item.

    Raises
    ------
    ValueError
        ``k`` is below 1 or larger than the number of items, a score is NaN, or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from seqregen.metrics import top_items
    >>> states, item_table = torch.eye(2), torch.tensor([[3.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    >>> histories = np.array([1]), np.array([0, 1, 1])
    >>> top_items(states, item_table, histories, k=3)[0].tolist()
    [[2, 3, 0], [3, 1, 2]]
    """
    score_block, n_rows, block_rows = _inner_products(states, item_table, block_rows)
    return top_items_in_blocks(
        score_block, n_rows, histories, k, exclude_history=exclude_history, block_rows=block_rows
    )


def top_items_in_blocks(
    score_block: ScoreBlock,
    n_rows: int,
    histories: Histories | None,
    k: int,
    *,
    exclude_history: bool = True,
    block_rows: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best items of each row, with scores from any function.

    Parameters
    ----------
    score_block, n_rows
        As in :func:`rank_targets_in_blocks`.
    histories, k
        As in :func:`top_items`.
    exclude_history : bool, default=True
        Leave items that are in the history out of the ranking.
    block_rows : int, optional
        As in :func:`rank_targets`.

    Returns
    -------
    codes : int64 ndarray of shape (n_rows, k)
    scores : floating ndarray of shape (n_rows, k)
        As in :func:`top_items`.

    Raises
    ------
    ValueError
        ``k`` is below 1 or larger than the number of items, a score is NaN, or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from seqregen.metrics import top_items_in_blocks
    >>> popularity = np.array([5.0, 9.0, 5.0])
    >>> top_items_in_blocks(lambda start, stop: np.tile(popularity, (stop - start, 1)), 1, None, k=2)
    (array([[2, 1]]), array([[9., 5.]]))
    """
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a positive integer; got {k!r}.")
    history = _check_histories(histories, n_rows) if exclude_history and histories is not None else None
    if n_rows == 0:
        return np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32)
    for start, stop, scores in _blocks(score_block, n_rows, block_rows):
        n_items = scores.shape[1]
        if k > n_items:
            raise ValueError(f"k={k} is larger than the vocabulary, which has {n_items} items.")
        if start == 0:
            codes, best = np.zeros((n_rows, k), dtype=np.int64), np.full((n_rows, k), -np.inf, dtype=np.float32)
        _check_codes(None, history, n_items, start, stop)
        excluded = None if history is None else history.of(start, stop)
        columns, values = _best_in_order(*candidates(scores, int(k), excluded), stop - start, int(k))
        best = best.astype(np.result_type(best, values), copy=False)
        codes[start:stop] = np.where(values > -np.inf, columns + 1, 0)
        best[start:stop] = values
    return codes, best


def _best_in_order(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, n_rows: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut candidates down to ``k`` a row, of those that tie with the k-th best the lowest columns, and sort."""
    ends = np.cumsum(np.bincount(rows, minlength=n_rows))
    if len(rows) > n_rows * k:
        starts = np.concatenate([[0], ends[:-1]])
        tied = values == np.minimum.reduceat(values, starts)[rows]
        n_above = np.bincount(rows[~tied], minlength=n_rows)
        tied_before = np.cumsum(tied) - tied
        place_among_tied = tied_before - tied_before[starts][rows]
        kept = ~tied | (place_among_tied < k - n_above[rows])
        columns, values = columns[kept], values[kept]
    columns, values = columns.reshape(n_rows, k), values.reshape(n_rows, k)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


def _inner_products(states: Any, item_table: Any, block_rows: int | None) -> tuple[ScoreBlock, int, int]:
    import torch

    from ..nn import product

    states, item_table = torch.as_tensor(states).detach(), torch.as_tensor(item_table).detach()
    if states.ndim != 2 or item_table.ndim != 2 or states.shape[1] != item_table.shape[1]:
        raise ValueError(
            "states and item_table must be two-dimensional with vectors of one length; "
            f"got shapes {tuple(states.shape)} and {tuple(item_table.shape)}."
        )
    if states.device != item_table.device:
        raise ValueError(f"states lie on {states.device}, item_table on {item_table.device}; put both on one device.")
    n_rows, n_items = len(states), len(item_table)
    if block_rows is None:
        block_rows = rows_of_a_block(n_items, states.device.type == "cpu")
    # A part of a table is multiplied slowly.
    item_table = item_table.contiguous()

    def score_block(start: int, stop: int) -> torch.Tensor:
        return product(states[start:stop], item_table)

    return score_block, n_rows, block_rows


def _blocks(score_block: ScoreBlock, n_rows: int, block_rows: int | None) -> Iterator[tuple[int, int, Any]]:
    """Scores block by block, checked: first row, row behind the last, and the block."""
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be at least 1; got {block_rows}.")
    start, n_items, size = 0, None, block_rows or _FIRST_BLOCK
    while start < n_rows:
        stop = min(start + size, n_rows)
        scores = as_block(score_block(start, stop))
        expected = (stop - start, scores.shape[-1] if n_items is None else n_items)
        if tuple(scores.shape) != expected or expected[1] == 0:
            raise ValueError(
                f"score_block({start}, {stop}) must give scores of shape ({stop - start}, n_items) with at least "
                f"one item; got {tuple(scores.shape)}."
            )
        check_numbers(scores, start)
        yield start, stop, scores
        n_items = expected[1]
        size = block_rows or rows_of_a_block(n_items, isinstance(scores, np.ndarray))
        start = stop


def _check_targets(targets: Any, n_rows: int) -> np.ndarray:
    targets = np.asarray(targets)
    if targets.shape != (n_rows,):
        raise ValueError(f"targets must have one item code a row, shape ({n_rows},); got {targets.shape}.")
    if targets.dtype.kind not in "iu":
        if len(targets):
            raise ValueError(f"targets must be integer item codes; got dtype {targets.dtype}.")
        return targets.astype(np.int64)
    if len(targets) and targets.min() < 0:
        row = int(np.argmax(targets < 0))
        raise ValueError(f"targets must not be negative (0 is outside the vocabulary); row {row} is {targets[row]}.")
    return targets.astype(np.int64, copy=False)


def _check_histories(histories: Histories, n_rows: int) -> HistoryPairs:
    items, offsets = (np.asarray(part) for part in histories)
    if offsets.shape != (n_rows + 1,) or offsets[0] != 0 or offsets[-1] != len(items):
        raise ValueError(
            f"the offsets of histories must run from 0 to {len(items)}, the number of items, in {n_rows + 1} steps "
            f"for {n_rows} rows; got shape {offsets.shape}."
        )
    if len(items) == 0:
        items = items.astype(np.int64)
    if items.dtype.kind not in "iu" or offsets.dtype.kind not in "iu":
        raise ValueError(f"histories must be integer arrays; got dtypes {items.dtype} and {offsets.dtype}.")
    offsets = offsets.astype(np.int64, copy=False)
    if (np.diff(offsets) < 0).any():
        row = int(np.argmax(np.diff(offsets) < 0))
        raise ValueError(f"the offsets of histories must not fall; row {row} ends at {offsets[row + 1]}.")
    largest = np.iinfo(np.int64).max // max(n_rows, 1) - 1
    wrong = (items < 1) | (items > largest)
    if wrong.any():
        position = int(np.argmax(wrong))
        row = int(np.searchsorted(offsets, position, side="right") - 1)
        raise ValueError(
            f"histories must hold item codes from 1 to the number of items; row {row} holds {items[position]}."
        )
    return HistoryPairs(items.astype(np.int64, copy=False), offsets)


def _check_codes(targets: np.ndarray | None, history: HistoryPairs | None, n_items: int, start: int, stop: int) -> None:
    if targets is not None and targets[start:stop].max() > n_items:
        row = start + int(np.argmax(targets[start:stop] > n_items))
        raise ValueError(
            f"there are {n_items} items, but the target of row {row} is code {targets[row]}; "
            "use 0 for a target outside the vocabulary."
        )
    if history is not None:
        rows, columns = history.of(start, stop)
        if len(columns) and columns.max() >= n_items:
            row = start + int(rows[columns.argmax()])
            raise ValueError(f"there are {n_items} items, but the history of row {row} holds {columns.max() + 1}.")
