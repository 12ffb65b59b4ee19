"""The command line: ``seqregen demo | describe | mine | regenerate | train | score``."""

from .main import main

__all__ = ["main"]
