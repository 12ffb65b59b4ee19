"""What a regeneration made, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..sequences import SequenceDataset

__all__ = ["RegenerationReport", "check_has_originals", "why_no_pairs"]


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
