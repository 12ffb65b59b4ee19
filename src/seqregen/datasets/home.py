"""Where downloaded data lives."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["get_data_home"]


def get_data_home(data_home: str | os.PathLike | None = None) -> Path:
    """The directory that downloaded data is kept in; it is not made here.

    Parameters
    ----------
    data_home : str or path-like, optional
        The directory. By default the environment variable ``SEQREGEN_DATA``, and where that is not set,
        ``seqregen`` in the user's cache directory (``XDG_CACHE_HOME``, ``~/.cache``; ``LOCALAPPDATA`` on Windows).

    Returns
    -------
    Path

    Examples
    --------
    >>> from seqregen.datasets import get_data_home
    >>> get_data_home("somewhere").name
    'somewhere'
    """
    chosen = data_home or os.environ.get("SEQREGEN_DATA")
    # Path.expanduser would raise an error of a user who has no home directory, or is none.
    return Path(os.path.expanduser(chosen)) if chosen else cache_directory()


def cache_directory() -> Path:
    """``seqregen`` in the user's cache directory."""
    variable = "LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME"
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / ".cache") / "seqregen"
