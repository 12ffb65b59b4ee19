"""Settings of the whole process, while threads that need them changed come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

__all__ = ["ProcessWide"]


class ProcessWide:
    """Enters a context with the first thread that comes, and leaves it with the last one that goes.

    Parameters
    ----------
    make : callable
        Makes the context manager that changes the settings and puts back what was there before.

    Examples
    --------
    >>> from contextlib import contextmanager
    >>> @contextmanager
    ... def spoken():
    ...     print("on")
    ...     yield
    ...     print("off")
    >>> switch = ProcessWide(spoken)
    >>> with switch.inside(), switch.inside():
    ...     print("inside twice")
    on
    inside twice
    off
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._lock, self._undo, self._n_inside = threading.Lock(), ExitStack(), 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._lock:
            if self._n_inside == 0:
                self._undo.enter_context(self._make())
            self._n_inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_inside -= 1
                if self._n_inside == 0:
                    self._undo.close()
