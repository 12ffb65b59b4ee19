"""What ends a training: validation items, where there are any to rank, else a plateau of the loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..callers import stacklevel_of_caller
from ..metrics import ndcg_at_k
from ..metrics.full_ranking import rank_targets_in_blocks
from ..model_selection import hold_out_last
from ..nn import product
from ..ragged import row_of_position
from ..sequences import SequenceDataset
from ..training import StopRule
from ..training.batches import history_batches
from .encoding import last_states_of
from .network import NextItemNetwork
from .ranker import ROWS_AT_ONCE

__all__ = ["hold_out", "stop_rule", "validation_measure"]


def hold_out(data: SequenceDataset, name: str) -> tuple[SequenceDataset, SequenceDataset | None]:
    """The rows to train on, and the original rows with validation items that early stopping watches.

    Parameters
    ----------
    data : SequenceDataset
        Where all rows are original and have no validation item, they lose their last item to validation, unless
        that could not be ranked in any of them, or none would have two items left.
    name : str
        Who warns that there is nothing to watch.
    """
    to_be_held = data.validation is None and data.n_original == len(data) and data.lengths.max() > 2
    held = hold_out_last(data) if to_be_held else data
    originals = held.originals()
    if originals.validation is not None:
        watched = originals[(originals.validation > 0) & (originals.lengths > 0)]
        if _has_reachable_targets(watched):
            if held.lengths.max() > 1:
                _warn_of_rows_without_a_rest(watched, name)
            return held, watched
    warnings.warn(
        f"{name} has no validation item to stop on{_why_nothing_is_watched(originals)}",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )
    return data, None


def _warn_of_rows_without_a_rest(watched: SequenceDataset, name: str) -> None:
    """Tell where most rows were shortened to one item, as those of two items are: nothing is learnt from them."""
    n_short = np.count_nonzero(watched.lengths == 1)
    if n_short > len(watched) / 2:
        warnings.warn(
            f"{name} learns nothing from {n_short:,} of the {len(watched):,} rows that have a validation item: each "
            "has one item beside it, and none to predict from it. To train on rows of two items whole, give "
            "hold_out_last(sequences, min_length=3), which holds items out of longer rows alone.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _why_nothing_is_watched(originals: SequenceDataset) -> str:
    """The end of the warning: the cause, what is done, and what would be better where anything would."""
    instead = ", and stops on a plateau of the training loss."
    if originals.validation is not None and (originals.validation > 0).any():
        return f": each is an item of its own row already, which is left out of the ranking{instead}"
    if originals.lengths.max(initial=0) <= 2:
        return f": no original row has three items, one to hold out and two to learn from{instead}"
    return (
        f"{instead} Better: leave_one_out(sequences, validation=True) before regenerating, or RegeneratedRecommender, "
        "which holds last items out by itself."
    )


def _has_reachable_targets(watched: SequenceDataset) -> bool:
    """Whether any validation item is outside its row, whose items are left out of the ranking."""
    assert watched.validation is not None
    inside = watched.items == np.repeat(watched.validation, watched.lengths)
    rows = row_of_position(watched.offsets)[inside]
    return bool((np.bincount(rows, minlength=len(watched)) == 0).any())


def stop_rule(watched: SequenceDataset | None, patience: int, plateau: str) -> StopRule:
    """Stop when NDCG@20 of what is watched rises no more, or a loss falls no more where nothing is.

    Parameters
    ----------
    watched : SequenceDataset or None
    patience : int
    plateau : str
        The entry of an epoch's record that is the loss: five epochs, or ``patience`` where that is less, that
        bring less than 1 % are the end.
    """
    if watched is None:
        # A training loss falls for as long as there is anything to learn by heart. Replayed on the benchmarks' runs of
        # one seed (tests/test_benchmark_curves.py) this rule keeps 96 % of the best validation NDCG@20 on average.
        return StopRule(plateau, patience=min(patience, 5), rising=False, tolerance=0.01)
    return StopRule("ndcg@20", patience)


def validation_measure(
    network: NextItemNetwork, watched: SequenceDataset, max_length: int, device: torch.device
) -> Callable[[], dict[str, float]]:
    """Measures NDCG@20 on the validation items of some rows: full ranking without the history."""
    targets = watched.validation
    assert targets is not None
    batches = list(history_batches(watched, max_length, ROWS_AT_ONCE, device))

    def measure() -> dict[str, float]:
        states = last_states_of(network, batches, len(watched))
        table = network.item_table().detach()

        def score_block(start: int, stop: int) -> Tensor:
            return product(states[start:stop], table)

        ranks = rank_targets_in_blocks(score_block, len(watched), targets, (watched.items, watched.offsets))
        return {"ndcg@20": float(ndcg_at_k(ranks, 20))}

    return measure
