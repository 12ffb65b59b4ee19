"""Checkpoints of a training run: written aside, read safely, tied to the run that wrote them."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..callers import stacklevel_of_caller
from ..files import write_aside

__all__ = ["CheckpointFile", "check_checkpoint_dir", "fingerprint"]


def fingerprint(*parts: Any) -> str:
    """A short digest of what decides the outcome of a run: settings (JSON-able) and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(str((part.dtype, part.shape)).encode())
            digest.update(np.ascontiguousarray(part).view(np.uint8).data)
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def check_checkpoint_dir(estimator: Any) -> None:
    """Refuse a path that is no directory, before anything is trained; warn where no fit would find its checkpoint."""
    if estimator.checkpoint_dir is None:
        return
    directory = Path(estimator.checkpoint_dir)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"{type(estimator).__name__}: checkpoint_dir={os.fspath(directory)!r} is a file; give a directory."
        )
    if estimator.random_state is None:
        warnings.warn(
            f"{type(estimator).__name__}: with random_state=None every fit draws another seed and begins anew, "
            "whatever lies in checkpoint_dir. Give an integer random_state to go on.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


class CheckpointFile:
    """One file in a directory, named after the run, so that runs with other settings do not meet.

    Parameters
    ----------
    directory : str or path-like
        Made if it is not there.
    name : str
        What is trained.
    run : str
        The run's :func:`fingerprint`.
    """

    def __init__(self, directory: str | os.PathLike, name: str, run: str) -> None:
        self.path = Path(directory) / f"{name}-{run}.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, strings, lists and dicts."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(self.path) as aside:
            torch.save(state, aside)

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is no file.

        Raises
        ------
        ValueError
            The file cannot be read as a checkpoint.
        """
        if not self.path.exists():
            return None
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"the checkpoint {self.path} cannot be read ({type(error).__name__}); it is truncated or corrupt. "
                "Delete it to start this run from the beginning."
            ) from error
