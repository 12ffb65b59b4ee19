"""Giving memory that is no longer used back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

__all__ = ["release_unused_memory"]


def _find_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except AttributeError:
        # A C library that is not glibc.
        return None


_TRIM = _find_trim()


def release_unused_memory() -> None:
    """Let glibc return freed memory; elsewhere nothing is done.

    Batches differ in size, so the heap of a long run is full of holes and grows to twice what is in use.
    """
    if _TRIM is not None:
        _TRIM(0)
