"""Items drawn behind rows, one after the other, from what a recommender expects next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..model_selection import append_validation
from ..sequences import SequenceDataset

__all__ = ["DrawingSettings", "continued"]


@dataclass(frozen=True)
class DrawingSettings:
    """How items are drawn; see :class:`seqregen.TeacherRegenerator`."""

    n_items: int
    temperature: float
    top_k: int | None
    exclude_history: bool


def continued(
    rows: SequenceDataset,
    score_blocks: Callable[[SequenceDataset], Iterator[np.ndarray]],
    is_sayable: np.ndarray,
    settings: DrawingSettings,
    random: np.random.Generator,
    *,
    verbose: bool = False,
) -> SequenceDataset:
    """The rows with ``n_items`` drawn items behind each.

    Parameters
    ----------
    rows : SequenceDataset
        Rows of one item or more, without validation items.
    score_blocks : callable
        Scores of all items after each of the given rows, some rows at a time.
    is_sayable : bool ndarray of shape (n_items,)
        Items that may be drawn.
    settings : DrawingSettings
    random : numpy Generator
    verbose : bool, default=False
        Whether a progress bar is shown.

    Returns
    -------
    SequenceDataset
    """
    for _ in tqdm(range(settings.n_items), desc="TeacherRegenerator draws", disable=not verbose):
        drawn, first = np.zeros(len(rows), dtype=np.int64), 0
        for scores in score_blocks(rows):
            block = slice(first, first + len(scores))
            drawn[block] = _drawn_from(torch.from_numpy(scores), rows[block], is_sayable, settings, random)
            first += len(scores)
        rows = append_validation(rows.replace(validation=drawn))
    return rows


def _drawn_from(
    scores: Tensor,
    rows: SequenceDataset,
    is_sayable: np.ndarray,
    settings: DrawingSettings,
    random: np.random.Generator,
) -> np.ndarray:
    """One item, as its code, for each row of scores; 0 where nothing is left to draw."""
    scores = scores.masked_fill(torch.from_numpy(~is_sayable), -torch.inf)
    if settings.exclude_history:
        scores[np.repeat(np.arange(len(rows)), rows.lengths), rows.items - 1] = -torch.inf
    columns = None
    if settings.top_k is not None and settings.top_k < scores.shape[1]:
        scores, columns = scores.topk(settings.top_k, dim=1)
    is_left = (scores != -torch.inf).any(dim=1)
    # Sums of many small numbers: in single precision the last items would never be drawn.
    bounds = torch.softmax(scores.div_(settings.temperature), dim=1).cumsum(dim=1, dtype=torch.float64)
    total = bounds[:, -1:]
    if total[is_left].isnan().any():
        raise ValueError("TeacherRegenerator: the teacher's scores of some items are not numbers, or infinite.")
    # Never the total itself, which what cannot be drawn may stand behind.
    at = (torch.from_numpy(random.random(len(rows)))[:, None] * total).minimum(
        total.nextafter(torch.zeros(1, dtype=torch.float64))
    )
    chosen = torch.searchsorted(bounds, at, right=True).clamp_(max=bounds.shape[1] - 1)
    codes = chosen if columns is None else columns.gather(1, chosen)
    return np.where(is_left.numpy(), codes[:, 0].numpy() + 1, 0)
