"""Sequences from a file, or from a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..formats import read_parquet, read_text
from ..sequences import SequenceDataset
from .fetchers import FILES
from .home import cache_directory

__all__ = ["find_file", "load_sequences"]

_PARQUET = (".parquet", ".pq")


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
        The file cannot be read; the message names it, and the line. Text may come through a pipe, Parquet may not.

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
    found = find_file(path)
    if found.suffix.lower() in _PARQUET:
        return read_parquet(found)
    known = FILES.get(found.name)
    return read_text(found, first_domain=known.first_domain if known else None)


def find_file(path: str | os.PathLike) -> Path:
    """Where the file lies that :func:`load_sequences` reads.

    Parameters
    ----------
    path : str or path-like
        A file, or the name of one, as for :func:`load_sequences`.

    Returns
    -------
    Path
        The first of the places that holds one.

    Raises
    ------
    FileNotFoundError
        There is none.
    IsADirectoryError
        ``path`` is a directory.
    ValueError
        A file that is named as Parquet is a pipe or a device.
    """
    shown, given = os.fspath(path), Path(path)
    if not shown:
        raise FileNotFoundError("there is no file '': the name is empty; give the name of a text or Parquet file.")
    tried = []
    for place in _places(given):
        if _is_there(place) and not place.is_dir():
            return _require_seekable(place)
        tried.append(place)
    for place in tried:
        if _is_there(place) and place.is_dir():
            raise IsADirectoryError(f"{str(place)!r} is a directory; give one text or Parquet file.")
    advice = f" {FILES[given.name].fetcher} downloads it." if given.name in FILES else ""
    raise FileNotFoundError(f"there is no file {shown!r}; tried {', '.join(map(str, tried))}.{advice}")


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except PermissionError:
        # Within a folder that may not be searched.
        return False


def _places(given: Path) -> Iterator[Path]:
    """Where to look, one after the other; what a place needs is not asked before those ahead of it were tried."""
    yield given
    expanded = _expanded(given)
    if expanded != given:
        yield expanded
    if expanded.is_absolute():
        return
    named = os.environ.get("SEQREGEN_DATA")
    if named:
        yield _expanded(named) / given
    try:
        home = cache_directory()
    except RuntimeError:
        # A user without a home directory has no cache either.
        return
    yield home / given


def _expanded(path: str | os.PathLike) -> Path:
    # Path.expanduser would raise an error of a user who has no home directory, or is none.
    return Path(os.path.expanduser(path))


def _require_seekable(place: Path) -> Path:
    # A pipe of text is as good as a file.
    if place.suffix.lower() in _PARQUET and not place.is_file():
        raise ValueError(
            f"{str(place)!r} cannot be read as Parquet: it is a pipe or a device, and Parquet is read from its end; "
            "write it to a file first."
        )
    return place
