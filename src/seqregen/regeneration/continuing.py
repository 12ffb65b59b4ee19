"""Items drawn behind rows, one after the other, from what a recommender expects next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..model_selection import append_validation
from ..sequences import SequenceDataset

__all__ = ["DrawingSettings", "continued"]

# So few that their scores stay in a processor's cache.
_ROWS_AT_ONCE = 256
# Items in a group: about the root of a catalogue of ten thousand.
_GROUP = 128


@dataclass(frozen=True)
class DrawingSettings:
    """How items are drawn; see :class:`seqregen.TeacherRegenerator`."""

    n_items: int
    temperature: float
    exclude_history: bool


def continued(
    rows: SequenceDataset,
    score_blocks: Callable[[SequenceDataset, int], Iterable[Any]],
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
        Rows of one item or more, without validation items; there may be none.
    score_blocks : callable
        Scores of all items after each of the given rows, so many rows at a time.
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
    if len(rows) == 0:
        return rows
    not_sayable = torch.from_numpy(np.flatnonzero(~is_sayable))
    for _ in tqdm(range(settings.n_items), desc="TeacherRegenerator draws", disable=not verbose):
        drawn = np.zeros(len(rows), dtype=np.int64)
        for chosen, scores in _own_blocks(score_blocks(rows, _ROWS_AT_ONCE), rows):
            scores[:, not_sayable] = -torch.inf
            if settings.exclude_history:
                _exclude(scores, rows[chosen])
            drawn[chosen] = _drawn_from(scores, settings, random)
        rows = append_validation(rows.replace(validation=drawn))
    return rows


def _own_blocks(blocks: Iterable[Any], rows: SequenceDataset) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of scores that may be written over, for the teacher may keep its own, and the rows that each is of."""
    first = 0
    for block in blocks:
        scores = torch.from_numpy(np.array(block, dtype=np.float32))
        if scores.ndim != 2 or scores.shape[1] != rows.n_items:
            raise ValueError(
                f"TeacherRegenerator: the teacher's score_blocks gave scores of the shape {tuple(scores.shape)}; "
                f"needed: (rows, {rows.n_items}), a column for each item of the vocabulary."
            )
        chosen = slice(first, first + len(scores))
        first = chosen.stop
        if first <= len(rows):
            yield chosen, scores
    if first != len(rows):
        raise ValueError(
            f"TeacherRegenerator: the teacher's score_blocks gave scores of {first} rows; it was asked for those of "
            f"{len(rows)}, each once and in order."
        )


def _exclude(scores: Tensor, rows: SequenceDataset) -> None:
    """Rule out the items that the rows have already, in place."""
    scores[np.repeat(np.arange(len(rows)), rows.lengths), rows.items - 1] = -torch.inf


def _drawn_from(scores: Tensor, settings: DrawingSettings, random: np.random.Generator) -> np.ndarray:
    """One item, as its code, for each row of scores, which are used up; 0 where nothing is left to draw."""
    highest = scores.amax(dim=1, keepdim=True)
    is_left = highest[:, 0] != -torch.inf
    # A smaller one would be 0 in single precision, by which nothing can be divided.
    temperature = max(settings.temperature, torch.finfo(scores.dtype).tiny)
    shares = scores.sub_(torch.where(is_left[:, None], highest, 0.0)).div_(temperature).exp_()
    return torch.where(is_left, _drawn_in_proportion(shares, random) + 1, 0).numpy()


def _drawn_in_proportion(shares: Tensor, random: np.random.Generator) -> Tensor:
    """One column, (n_rows,), for each row of shares: first a group of columns by its sum, then one of the group.

    Running sums over whole rows would take most of the time, and in single precision the last items never came.
    """
    n_rows, n_columns = shares.shape
    n_groups = n_columns // _GROUP
    grouped = shares[:, : n_groups * _GROUP].reshape(n_rows, n_groups, _GROUP).sum(dim=2)
    rest = shares[:, n_groups * _GROUP :].sum(dim=1, keepdim=True)
    group = _first_above(torch.cat([grouped, rest], dim=1), random)
    inside = group[:, None] * _GROUP + torch.arange(_GROUP)
    members = shares.gather(1, inside.clamp(max=n_columns - 1)).masked_fill_(inside >= n_columns, 0)
    return group * _GROUP + _first_above(members, random)


def _first_above(shares: Tensor, random: np.random.Generator) -> Tensor:
    """One column for each row, by its share of the sum; never one without a share, but where all are without."""
    bounds = shares.cumsum(dim=1, dtype=torch.float64)
    total = bounds[:, -1:]
    if not total.isfinite().all():
        raise ValueError("TeacherRegenerator: the teacher's scores of some items are not numbers, or infinite.")
    # Never the total itself, which what has no share may stand behind.
    at = (torch.from_numpy(random.random(len(shares)))[:, None] * total).minimum(
        total.nextafter(-torch.ones_like(total))
    )
    return torch.searchsorted(bounds, at, right=True)[:, 0].clamp_(max=shares.shape[1] - 1)
