"""The parameters of an estimator that say where and how a fit runs."""

from __future__ import annotations

from typing import Any

from ..parameters import check_flag, check_random_state
from .checkpoints import check_checkpoint_dir
from .devices import resolve_device

__all__ = ["check_run_parameters"]


def check_run_parameters(estimator: Any) -> None:
    """Refuse ``device``, ``random_state``, ``checkpoint_dir`` or ``verbose`` that a fit could not run with."""
    # A number is how much to say, as elsewhere in scikit-learn.
    check_flag(estimator, "verbose", number=True)
    check_random_state(estimator)
    check_checkpoint_dir(estimator)
    resolve_device(estimator.device)
