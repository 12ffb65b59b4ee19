"""What a regeneration made, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..sequences import Origin, SequenceDataset
from .decoding import Decoded
from .network import entropy
from .patterns import share_of_new

__all__ = ["RegenerationReport", "check_has_originals", "report_of", "why_no_pairs"]


@dataclass(frozen=True)
class RegenerationReport:
    """What regeneration made of a dataset.

    Attributes
    ----------
    pairs : int
        Pairs (sequence -> pattern) that the network was trained on.
    pairs_out_of_reach : int
        Pairs that it was not, because the part of the sequence that is read does not hold the pattern.
    rows_without_pattern : int or None
        Original rows that contain no pattern; they are decoded all the same. None where the rows came without
        their pairs.
    decodes : int
        Rows x memories.
    too_short : int
        Decodes of fewer than two items, which are dropped.
    duplicates : int
        Decodes that equal an earlier one, which are dropped.
    kept : int
        Regenerated rows.
    kept_by_memory : tuple of int
        How many of them come from each memory first.
    mean_length : float
        Mean length of the regenerated rows.
    memory_use : tuple of float
        Mean probability that the gate gives each memory over the training pairs.
    gate_entropy : float
        Mean entropy (nats) of the gate of a pair: 0 is one memory for each pair.
    memory_entropy : float
        Entropy (nats) of ``memory_use``: 0 is one memory for all pairs, log K all memories alike.
    share_new : float
        Share of regenerated rows that are neither mined nor a contiguous piece of an original row.
    """

    pairs: int
    pairs_out_of_reach: int
    rows_without_pattern: int | None
    decodes: int
    too_short: int
    duplicates: int
    kept: int
    kept_by_memory: tuple[int, ...]
    mean_length: float
    memory_use: tuple[float, ...]
    gate_entropy: float
    memory_entropy: float
    share_new: float

    def __str__(self) -> str:
        lines = []
        for name, value in asdict(self).items():
            shown = ", ".join(_number(part) for part in value) if isinstance(value, tuple) else _number(value)
            lines.append(f"{name.replace('_', ' '):<22}{shown}")
        return "\n".join(lines)


def report_of(
    fitted: Any, rows_before: SequenceDataset, decoded: Decoded, n_long: int, rows: Decoded, memory: np.ndarray
) -> RegenerationReport:
    """Report what a fitted regenerator made.

    Parameters
    ----------
    fitted : DatasetRegenerator
    rows_before : SequenceDataset
        Original and mined rows.
    decoded : Decoded
        All decodes.
    n_long : int
        How many of them have two items or more.
    rows : Decoded
        Those that are kept.
    memory : int array
        The memory that each of these comes from.
    """
    originals, mined = rows_before.originals(), rows_before[rows_before.origin == Origin.MINED]
    known = [fitted.patterns_, (mined.items, mined.offsets)]
    n_decodes, kept = len(decoded.free_steps), len(rows.free_steps)
    pairs = originals.pairs
    return RegenerationReport(
        pairs=fitted.n_pairs_,
        pairs_out_of_reach=fitted.n_pairs_out_of_reach_,
        rows_without_pattern=None if pairs is None else int(np.count_nonzero(np.diff(pairs.offsets) == 0)),
        decodes=n_decodes,
        too_short=n_decodes - n_long,
        duplicates=n_long - kept,
        kept=kept,
        kept_by_memory=tuple(np.bincount(memory, minlength=len(fitted.memory_use_)).tolist()),
        mean_length=len(rows.items) / max(kept, 1),
        memory_use=tuple(np.asarray(fitted.memory_use_).tolist()),
        gate_entropy=fitted.gate_entropy_,
        memory_entropy=max(0.0, float(entropy(torch.as_tensor(fitted.memory_use_)))),
        share_new=share_of_new(rows.items, rows.offsets, known, (originals.items, originals.offsets)),
    )


def _number(value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def check_has_originals(data: SequenceDataset, miner: Any) -> None:
    """Refuse rows none of which is original, whether they came so or the miner left the original ones away."""
    if data.n_original:
        return
    cause = "none of the rows is original" if miner is None else f"{miner!r} gives no original rows"
    advice = "Fit on the original rows." if miner is None else "Its include must hold 'original'."
    raise ValueError(f"DatasetRegenerator regenerates original rows, and {cause}. {advice}")


def why_no_pairs(n_given: int, regenerator: Any) -> str:
    """What to tell the user where there is nothing to learn from."""
    told = "DatasetRegenerator found no (sequence -> pattern) pair to learn from, so nothing is regenerated: "
    if n_given:
        return (
            f"{told}none of the {n_given} patterns lies in the last max_source_length={regenerator.max_source_length} "
            "items of its sequence. Raise max_source_length."
        )
    return (
        f"{told}no pattern has enough support. Lower PatternMiner's min_support, widen its window, or give more rows."
    )
