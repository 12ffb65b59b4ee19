"""Types of the command lines' numbers; a wrong one is refused before anything is begun."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

__all__ = ["positive_integer", "positive_number", "seed"]


def positive_integer(text: str) -> int:
    """1, 2, ..."""
    return _integer(text, 1, None)


def seed(text: str) -> int:
    """What numpy takes for a seed: 0 to 2**32 - 1."""
    return _integer(text, 0, 2**32 - 1)


def positive_number(text: str) -> float:
    """A number above 0, or ``inf``."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def _integer(text: str, least: int, most: int | None) -> int:
    allowed = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not {allowed}") from None
    if number < least or (most is not None and number > most):
        raise ArgumentTypeError(f"{text!r} is not {allowed}")
    return number
