"""Public datasets: downloaded once, checked by their sha256, kept in the data home."""

from __future__ import annotations

import hashlib
import math
import os
import time
from dataclasses import dataclass
from http.client import HTTPException
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ..files import write_aside
from ..formats import read_text
from ..sequences import SequenceDataset
from .home import get_data_home

__all__ = ["FILES", "fetch_amazon", "fetch_cross_domain", "fetch_yelp"]

_S3REC = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data/"
_ABXI = "https://raw.githubusercontent.com/DiMarzioBian/ABXI/main/data/"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class RemoteFile:
    """Where a file comes from and how it is known; ``first_domain`` is the last item of the first of two domains."""

    url: str
    sha256: str
    fetcher: str
    first_domain: int | None = None


FILES = {
    "amazon-beauty.txt": RemoteFile(
        _S3REC + "Beauty.txt",
        "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
        "seqregen.datasets.fetch_amazon('beauty')",
    ),
    "amazon-sports.txt": RemoteFile(
        _S3REC + "Sports_and_Outdoors.txt",
        "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
        "seqregen.datasets.fetch_amazon('sports')",
    ),
    "amazon-toys.txt": RemoteFile(
        _S3REC + "Toys_and_Games.txt",
        "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
        "seqregen.datasets.fetch_amazon('toys')",
    ),
    "yelp.txt": RemoteFile(
        _S3REC + "Yelp.txt",
        "724b219106b81dd2349027da997334ddb6da9fe2f152ad6e0d97a93170f7caed",
        "seqregen.datasets.fetch_yelp()",
    ),
    "amazon-beauty-electronics.txt": RemoteFile(
        _ABXI + "abe/abe_50_preprocessed.txt",
        "e13235003725700fdc709eb78a8865bd7e4ab75dc28ae569f7a4cebcdab1e33b",
        "seqregen.datasets.fetch_cross_domain('beauty-electronics')",
        first_domain=10379,
    ),
    "amazon-food-kitchen.txt": RemoteFile(
        _ABXI + "afk/afk_50_preprocessed.txt",
        "5f9856f574879920a70c93461add1ebc1c997b1ce6d626ba8d475315f53a4a15",
        "seqregen.datasets.fetch_cross_domain('food-kitchen')",
        first_domain=11837,
    ),
}


def fetch_amazon(
    category: str = "beauty",
    *,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
) -> SequenceDataset:
    """Load the sequences of one category of Amazon reviews (5-core, 2014), downloading them at first use.

    =============== ======= ======= ============== =============
    category          users   items   interactions   mean length
    =============== ======= ======= ============== =============
    ``"beauty"``     22,363  12,101        198,502           8.9
    ``"sports"``     35,598  18,357        296,337           8.3
    ``"toys"``       19,412  11,924        167,597           8.6
    =============== ======= ======= ============== =============

    Each row is a user's items in order of time, with ids from 1. Source: the files of S3-Rec (Zhou et al.,
    CIKM 2020), https://github.com/RUCAIBox/CIKM2020-S3Rec, made from the review data of McAuley et al. (2015).

    Parameters
    ----------
    category : {"beauty", "sports", "toys"}, default="beauty"
        Which category.
    data_home : str or path-like, optional
        Where downloads are kept; see :func:`get_data_home`.
    download_if_missing : bool, default=True
        Download what is not there yet; with False that is an error.
    n_retries : int, default=3
        How often a download is tried again when the network fails; 0 tries once.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    SequenceDataset
        With ``users``, no times.

    Raises
    ------
    ValueError
        The category is not known, ``n_retries`` or ``delay`` is no number of at least 0, or the file is not the one
        expected (its sha256 differs).
    FileNotFoundError
        The file is not there, and must not be downloaded.
    OSError
        The download failed.
    """
    name = _choose("category", category, {key: f"amazon-{key}.txt" for key in ("beauty", "sports", "toys")})
    return _fetch(name, data_home, download_if_missing, n_retries, delay)


def fetch_yelp(
    *,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
) -> SequenceDataset:
    """Load the sequences of Yelp reviews (5-core, since 2019), downloading them at first use.

    30,431 users, 20,033 items, 316,354 interactions, mean length 10.4. Each row is a user's items in order of
    time, with ids from 1. Source: the files of S3-Rec (Zhou et al., CIKM 2020).

    Parameters
    ----------
    data_home, download_if_missing, n_retries, delay
        As of :func:`fetch_amazon`, and so are the errors.

    Returns
    -------
    SequenceDataset
        With ``users``, no times.
    """
    return _fetch("yelp.txt", data_home, download_if_missing, n_retries, delay)


def fetch_cross_domain(
    pair: str = "beauty-electronics",
    *,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
) -> SequenceDataset:
    """Load sequences of Amazon users who are active in two categories, downloading them at first use.

    ======================== ======= =============== =================
    pair                       users           items      interactions
    ======================== ======= =============== =================
    ``"beauty-electronics"``   4,474 10,379 + 14,188   50,329 + 63,800
    ``"food-kitchen"``         7,144 11,837 + 16,258   83,663 + 89,885
    ======================== ======= =============== =================

    Source: the files of ABXI (Bian et al., 2025), https://github.com/DiMarzioBian/ABXI.

    Parameters
    ----------
    pair : {"beauty-electronics", "food-kitchen"}, default="beauty-electronics"
        Which two categories.
    data_home, download_if_missing, n_retries, delay
        As of :func:`fetch_amazon`, and so are the errors.

    Returns
    -------
    SequenceDataset
        With ``users``, ``timestamps`` (seconds since 1970) and ``domains`` (0 the first, 1 the second).
    """
    names = {key: f"amazon-{key}.txt" for key in ("beauty-electronics", "food-kitchen")}
    return _fetch(_choose("pair", pair, names), data_home, download_if_missing, n_retries, delay)


def _choose(parameter: str, value: Any, names: dict[str, str]) -> str:
    # What is no string may not even be looked up.
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{parameter} must be one of {', '.join(map(repr, names))}; got {value!r}.")
    return names[value]


def _fetch(
    name: str, data_home: str | os.PathLike | None, download_if_missing: bool, n_retries: int, delay: float
) -> SequenceDataset:
    _check_tries(n_retries, delay)
    remote = FILES[name]
    path = get_data_home(data_home) / name
    if not _may_be_searched(path.parent):
        raise PermissionError(f"the folder {str(path.parent)!r} may not be searched; name another by data_home.")
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != remote.sha256:
            raise ValueError(
                f"{str(path)!r} is not the expected file: its sha256 is {digest}, expected {remote.sha256}. "
                "Move it away to have it downloaded again."
            )
    elif download_if_missing:
        _download(remote, path, n_retries, delay)
    else:
        raise FileNotFoundError(f"there is no file {str(path)!r}, and download_if_missing=False.")
    return read_text(path, first_domain=remote.first_domain)


def _may_be_searched(folder: Path) -> bool:
    try:
        return not folder.is_dir() or os.access(folder, os.X_OK)
    except PermissionError:
        return False


def _check_tries(n_retries: Any, delay: Any) -> None:
    if isinstance(n_retries, bool) or not isinstance(n_retries, Integral) or n_retries < 0:
        raise ValueError(f"n_retries must be an integer >= 0; got {n_retries!r}.")
    if isinstance(delay, bool) or not isinstance(delay, Real) or not 0 <= float(delay) < math.inf:
        raise ValueError(f"delay must be a number of seconds >= 0; got {delay!r}.")


def _download(remote: RemoteFile, path: Path, n_retries: int, delay: float) -> None:
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(f"data_home {str(path.parent)!r} is a file; give a folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {str(path.parent)!r} may not be written; name another by data_home.")
    for tries_left in reversed(range(n_retries + 1)):
        try:
            content = _read_url(remote.url)
            break
        except (OSError, HTTPException) as error:
            # A refusal of the server (404) stays one; everything else may pass, as too many requests do.
            code = getattr(error, "code", None)
            is_final = isinstance(code, int) and code < 500 and code not in (408, 429)
            if tries_left == 0 or is_final:
                raise OSError(f"{remote.url} could not be downloaded ({error}); put the file at {path}.") from error
            time.sleep(delay)
    digest = hashlib.sha256(content).hexdigest()
    if digest != remote.sha256:
        raise ValueError(
            f"{remote.url} gave another file than expected: its sha256 is {digest}, expected {remote.sha256}. "
            "Nothing was kept."
        )
    with write_aside(path) as aside:
        aside.write_bytes(content)


def _read_url(url: str) -> Any:
    with urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        return response.read()
