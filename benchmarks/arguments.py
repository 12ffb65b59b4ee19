"""Types of the command lines' numbers; a wrong one is refused before anything is begun."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

__all__ = ["positive_integer", "positive_number"]


def positive_integer(text: str) -> int:
    """1, 2, ..."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def positive_number(text: str) -> float:
    """A number above 0, or ``inf``."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return number
