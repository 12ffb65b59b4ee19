"""Score blocks: the arithmetic on one block of rows x items, in numpy on the CPU and in torch elsewhere.

Which arithmetic is fastest differs by backend. On the CPU a comparison packed to bits and counted by
``bitwise_count`` costs a tenth of the matrix product that makes the scores, and torch's boolean sum four times
as much; blocks are small enough to stay in the cache. On an accelerator the block is counted where it lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = [
    "HistoryPairs",
    "NotANumberError",
    "as_block",
    "candidates",
    "check_numbers",
    "count_at_least",
    "rows_of_a_block",
]

# Scores in one block: of a size that stays in the cache of one core, or that fills an accelerator.
_SCORES_ON_CPU = 3 * 2**19
_SCORES_ON_ACCELERATOR = 2**26
# Set bits of each byte, where numpy is too old to count them itself (1.26).
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


class NotANumberError(ValueError, FloatingPointError):
    """A score is NaN."""


class HistoryPairs:
    """The distinct (row, item) pairs of all histories, cut into blocks of rows without a search.

    Parameters
    ----------
    items : int64 ndarray of shape (n_interactions,)
        Item codes, 1-based.
    offsets : int64 ndarray of shape (n_rows + 1,)
        Where each row begins.
    """

    def __init__(self, items: np.ndarray, offsets: np.ndarray) -> None:
        n_rows = len(offsets) - 1
        width = int(items.max()) + 1 if len(items) else 1
        keys = np.repeat(np.arange(n_rows, dtype=np.int64) * width, np.diff(offsets)) + items
        rows, codes = np.divmod(np.unique(keys), width)
        self.rows = rows
        self.columns = codes - 1
        self.starts = np.searchsorted(rows, np.arange(n_rows + 1))

    def of(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows, counted from ``start``, and columns of the pairs of a block of rows."""
        part = slice(self.starts[start], self.starts[stop])
        return self.rows[part] - start, self.columns[part]

    def contain(self, targets: np.ndarray) -> np.ndarray:
        """Whether each row's target code lies in its own history, bool (n_rows,)."""
        found = np.zeros(len(targets), dtype=bool)
        found[self.rows[self.columns + 1 == targets[self.rows]]] = True
        return found


def rows_of_a_block(n_items: int, on_cpu: bool) -> int:
    """How many rows a block of the default size has."""
    scores = _SCORES_ON_CPU if on_cpu else _SCORES_ON_ACCELERATOR
    return int(np.clip(scores // max(n_items, 1), 16, 8192))


def as_block(scores: Any) -> np.ndarray | torch.Tensor:
    """Contiguous floating-point scores: a numpy array for everything on the CPU, else the tensor."""
    if isinstance(scores, np.ndarray):
        floating = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
        return np.require(floating, requirements=["C", "W"])
    scores = scores.detach()
    if not scores.is_floating_point():
        scores = scores.double()
    if scores.device.type != "cpu":
        return scores.contiguous()
    # numpy has no bfloat16, and compares half precision slowly.
    return (scores.float() if scores.element_size() < 4 else scores).contiguous().numpy()


def check_numbers(scores: np.ndarray | torch.Tensor, start: int) -> None:
    """Refuse a block with a NaN; ``start`` is the number of its first row."""
    largest = scores.max()
    # The largest number is NaN exactly where one score is, at a fraction of the price of looking for it.
    if largest == largest:
        return
    row, column = _first_nan(scores)
    raise NotANumberError(
        f"the score of item code {column + 1} in row {start + row} is NaN; scores must be numbers. "
        "A model whose training diverged gives such scores: lower its learning rate."
    )


def _first_nan(scores: np.ndarray | torch.Tensor) -> tuple[int, int]:
    nan = np.isnan(scores if isinstance(scores, np.ndarray) else scores.cpu().float().numpy())
    row, column = np.unravel_index(int(nan.argmax()), nan.shape)
    return int(row), int(column)


def count_at_least(
    scores: np.ndarray | torch.Tensor, columns: np.ndarray, excluded: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Count in every row the items that score no less than the row's target.

    Parameters
    ----------
    scores : ndarray or tensor of shape (n_rows, n_items)
        One block.
    columns : int64 ndarray of shape (n_rows,)
        The target's column in each row.
    excluded : pair of int64 ndarrays, or None
        Rows and columns, each pair once, of items that do not count.

    Returns
    -------
    counts : int64 ndarray of shape (n_rows,)
        The target itself is counted: this is its rank, ties against it.
    target_scores : floating ndarray of shape (n_rows,)
    """
    if not isinstance(scores, np.ndarray):
        return _count_on_accelerator(scores, columns, excluded)
    target_scores = scores[np.arange(len(scores)), columns]
    packed = np.packbits(scores >= target_scores[:, None], axis=1)
    counts = _count_ones(packed).sum(axis=1, dtype=np.int64)
    if excluded is not None:
        rows, excluded_columns = excluded
        counted = scores[rows, excluded_columns] >= target_scores[rows]
        counts -= np.bincount(rows[counted], minlength=len(scores))
    return counts, target_scores


def _count_ones(packed: np.ndarray) -> np.ndarray:
    return np.bitwise_count(packed) if hasattr(np, "bitwise_count") else _ONES[packed]


def _count_on_accelerator(
    scores: torch.Tensor, columns: np.ndarray, excluded: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    from ..nn import on_device

    target_scores = scores.gather(1, on_device(columns, scores.device)[:, None])
    counts = (scores >= target_scores).sum(dim=1)
    if excluded is not None:
        rows, excluded_columns = (on_device(part, scores.device) for part in excluded)
        counted = scores[rows, excluded_columns] >= target_scores[rows, 0]
        counts.index_add_(0, rows, counted.long(), alpha=-1)
    return counts.cpu().numpy(), target_scores[:, 0].double().cpu().numpy()


def candidates(
    scores: np.ndarray | torch.Tensor, k: int, excluded: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find in every row all items that score no less than its k-th best, excluded ones scoring -inf.

    Returns
    -------
    rows, columns : int64 ndarrays of shape (n_candidates,)
        In order of row, then column; at least ``k`` in every row, more where items tie with the k-th best.
    values : floating ndarray of shape (n_candidates,)
    """
    if not isinstance(scores, np.ndarray):
        return _candidates_on_accelerator(scores, k, excluded)
    if excluded is None:
        return _candidates_on_cpu(scores, k)
    # The block may be a view of what the caller keeps: what is overwritten is put back.
    kept = scores[excluded]
    scores[excluded] = -np.inf
    found = _candidates_on_cpu(scores, k)
    scores[excluded] = kept
    return found


def _candidates_on_cpu(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_items = scores.shape[1]
    kth_best = np.partition(scores, n_items - k, axis=1)[:, n_items - k]
    places = np.flatnonzero(scores >= kth_best[:, None])
    rows, columns = np.divmod(places, n_items)
    return rows, columns, scores.reshape(-1)[places]


def _candidates_on_accelerator(
    scores: torch.Tensor, k: int, excluded: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import torch

    from ..nn import on_device

    if excluded is not None:
        rows, columns = (on_device(part, scores.device) for part in excluded)
        scores = scores.index_put((rows, columns), scores.new_full((), -torch.inf))
    kth_best = scores.topk(k, dim=1).values[:, -1:]
    rows, columns = torch.nonzero(scores >= kth_best, as_tuple=True)
    values = scores[rows, columns]
    values = values.float() if values.element_size() < 4 else values
    return rows.cpu().numpy(), columns.cpu().numpy(), values.cpu().numpy()
