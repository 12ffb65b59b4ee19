"""Sequences from a file, or from a name."""

from __future__ import annotations

import os
from pathlib import Path

from ..formats import read_parquet, read_text
from ..sequences import SequenceDataset
from .fetchers import FILES
from .home import cache_directory

__all__ = ["load_sequences"]


def load_sequences(path: str | os.PathLike) -> SequenceDataset:
    """Read sequences from a text or a Parquet file.

    Parameters
    ----------
    path : str or path-like
        A file, or the name of one. It is looked for as given, then in the directory that the environment
        variable ``SEQREGEN_DATA`` names, then where :func:`fetch_amazon` and its like keep their downloads.
        A name that ends in ``.parquet`` or ``.pq`` is read by :func:`seqregen.formats.read_parquet`,
        everything else by :func:`seqregen.formats.read_text`.

    Returns
    -------
    SequenceDataset

    Raises
    ------
    FileNotFoundError
        No such file; the message lists the places that were tried, and the function that downloads a known name.
    ValueError
        The file cannot be read; the message names it, and the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from seqregen.datasets import load_sequences
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory) / "mine.txt"
    ...     _ = path.write_text("1 3 5 3\\n2 5\\n")
    ...     load_sequences(path)
    SequenceDataset(2 rows, 2 items, 4 interactions, mean length 2.0)
    """
    found = _find(path)
    if found.suffix.lower() in (".parquet", ".pq"):
        return read_parquet(found)
    known = FILES.get(found.name)
    return read_text(found, first_domain=known.first_domain if known else None)


def _find(path: str | os.PathLike) -> Path:
    given = Path(path).expanduser()
    homes = [Path(os.environ["SEQREGEN_DATA"]).expanduser()] if os.environ.get("SEQREGEN_DATA") else []
    places = [given]
    if not given.is_absolute():
        places += [home / given for home in (*homes, cache_directory())]
    for place in places:
        # A pipe is as good as a file.
        if place.exists() and not place.is_dir():
            return place
    if given.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)!r} is a directory; give one text or Parquet file.")
    advice = f" {FILES[given.name].fetcher} downloads it." if given.name in FILES else ""
    tried = ", ".join(str(place) for place in places)
    raise FileNotFoundError(f"there is no file {os.fspath(path)!r}; tried {tried}.{advice}")
