"""Where a warning points: at the line of the user that it is about."""

from __future__ import annotations

import sys

__all__ = ["stacklevel_of_caller"]

# Packages whose frames are passed over on the way there.
_NOT_THE_USER = ("seqregen", "sklearn", "joblib")


def stacklevel_of_caller() -> int:
    """The ``stacklevel`` that makes a warning of the calling function point at the user's own line.

    However deep in this package it is raised, and if scikit-learn or joblib stand between.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USER:
        frame, level = frame.f_back, level + 1
    return level
