"""How the regenerator's learning rate falls."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["SCHEDULES", "schedule_of"]

SCHEDULES = ("constant", "cosine", "published")
# The published script steps, once a batch, a schedule that was meant for epochs.
_PUBLISHED_HALF_PERIOD = 40


def schedule_of(name: str, n_steps: int) -> Callable[[int], float] | None:
    """Factor of the learning rate in step 0, 1, 2, ...; None where it does not change.

    Parameters
    ----------
    name : {"constant", "cosine", "published"}
        "cosine" falls from 1 to 0 once; "published" goes up and down with a period of 80 steps.
    n_steps : int
        Steps of the whole training.

    Examples
    --------
    >>> from seqregen.regeneration.schedules import schedule_of
    >>> factor = schedule_of("cosine", n_steps=10)
    >>> [round(factor(step), 3) for step in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """
    if name == "constant":
        return None
    half_period = _PUBLISHED_HALF_PERIOD if name == "published" else n_steps
    return lambda step: (1 + math.cos(math.pi * step / half_period)) / 2
