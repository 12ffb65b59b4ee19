"""Interleaved timing: both sides in the same minutes, so that a noisy machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Comparison", "Measurement", "seconds_of"]


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@dataclass
class Measurement:
    """What one comparison came to.

    ``ratio`` is the baseline's least seconds over ours: above 1 we are faster.
    """

    stage: str
    against: str
    seconds: list[float]
    baseline_seconds: list[float]
    note: str
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return min(self.baseline_seconds) / min(self.seconds)

    def as_record(self) -> dict[str, object]:
        """For JSON: the fields, the least seconds of either side, and the ratio."""
        return {
            "stage": self.stage,
            "against": self.against,
            "seconds": min(self.seconds),
            "baseline_seconds": min(self.baseline_seconds),
            "ratio": self.ratio,
            "all_seconds": self.seconds,
            "all_baseline_seconds": self.baseline_seconds,
            "note": self.note,
            **({"facts": self.facts} if self.facts else {}),
        }


@dataclass
class Comparison:
    """One of our stages beside a baseline or a limit.

    Parameters
    ----------
    stage, against : str
        What is done, and what it is compared with.
    ours, baseline : callables without arguments
        Each does its work once and returns the seconds that it is to be charged, extrapolated where ``note`` says so.
    note : str
        What the reader of the ratio has to know.
    facts : dict, optional
        Counts to be stored beside the figures; the callables may fill it.
    """

    stage: str
    against: str
    ours: Callable[[], float]
    baseline: Callable[[], float]
    note: str = ""
    facts: dict[str, object] = field(default_factory=dict)

    def measure(self, rounds: int = 3) -> Measurement:
        """Run both sides in turn, ``rounds`` times each."""
        seconds, baseline_seconds = [], []
        for _ in range(rounds):
            baseline_seconds.append(self.baseline())
            seconds.append(self.ours())
        return Measurement(self.stage, self.against, seconds, baseline_seconds, self.note, dict(self.facts))
