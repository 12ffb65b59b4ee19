"""Data to work on: files, downloads, and a generator with planted transitions."""

from .fetchers import fetch_amazon, fetch_cross_domain, fetch_yelp
from .generator import make_sequences
from .home import get_data_home
from .loaders import load_sequences

__all__ = [
    "fetch_amazon",
    "fetch_cross_domain",
    "fetch_yelp",
    "get_data_home",
    "load_sequences",
    "make_sequences",
]
