"""Resident memory of this process: what it holds now, and the most that it held."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["forget_peak", "peak_mebibytes", "resident_mebibytes"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_mebibytes() -> float:
    """Largest resident size of this process so far, or since :func:`forget_peak` where the system counts anew."""
    # Linux hands ru_maxrss on to a program that is started, so a process would begin with its parent's peak.
    return _of_status("VmHWM") if _STATUS.exists() else _of_getrusage()


def resident_mebibytes() -> float:
    """Resident size of this process now; its peak so far where the system does not tell."""
    return _of_status("VmRSS") if _STATUS.exists() else _of_getrusage()


def forget_peak() -> None:
    """Count the peak anew from here, on Linux; elsewhere it stays that of the process so far."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def _of_status(name: str) -> float:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def _of_getrusage() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
