"""Where a command computes, and with how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .console import CommandError

__all__ = ["computing"]

# More than the processors of any one machine; far beyond it, starting the threads ends the process.
_MOST_THREADS = 1024


@contextmanager
def computing(device: str, threads: int | None) -> Iterator[None]:
    """Refuse a device that is not there, and let torch use so many CPU threads for the time of the block."""
    import torch

    from ..training import resolve_device

    resolve_device(device)
    if threads is None:
        yield
        return
    if not 1 <= threads <= _MOST_THREADS:
        raise CommandError(f"--threads must be between 1 and {_MOST_THREADS}; got {threads}.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
