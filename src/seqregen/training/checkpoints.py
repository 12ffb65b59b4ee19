"""Checkpoints of a training run: written aside, sealed, read safely, tied to the run that wrote them."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..callers import stacklevel_of_caller
from ..files import write_aside
from ..last_line_seal import append_seal, words_of_seal
from .fingerprint import fingerprint

__all__ = ["CheckpointFile", "check_checkpoint_dir", "checkpoint_of", "warn_of_unrepeatable_runs"]

# What a file is, and the version of its format.
_WORDS = b"seqregen checkpoint 2"


def check_checkpoint_dir(estimator: Any) -> None:
    """Make the directory and refuse one that cannot be written, before anything is trained.

    Raises
    ------
    TypeError
        ``checkpoint_dir`` is no path.
    OSError
        The directory cannot be made or written.
    """
    if estimator.checkpoint_dir is not None:
        _require_writable(type(estimator).__name__, estimator.checkpoint_dir)


def warn_of_unrepeatable_runs(estimator: Any) -> None:
    """Warn of a ``checkpoint_dir`` in which no fit would find its checkpoint."""
    if estimator.checkpoint_dir is not None and estimator.random_state is None:
        warnings.warn(
            f"{type(estimator).__name__}: with random_state=None every fit draws another seed and begins anew, "
            "whatever lies in checkpoint_dir. Give an integer random_state to go on.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _require_writable(owner: str, path: Any) -> None:
    # An empty path would be the working directory.
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise TypeError(f"{owner}: checkpoint_dir must be the path of a directory or None; got {path!r}.")
    directory = Path(path)
    place = f"{owner}: checkpoint_dir={os.fspath(path)!r}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{place} is a file; give a directory.") from None
    except OSError as error:
        raise type(error)(f"{place} cannot be made: {error.strerror or error}; give another directory.") from error
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise type(error)(f"{place} cannot be written: {error.strerror or error}; give another directory.") from error


class CheckpointFile:
    """One file in a directory, named after the run, so that runs with other settings do not meet.

    Its last line seals the rest, so that a damaged file is refused and never gives another model.

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
        """Write a state of tensors, numbers, strings, lists and dicts; numbers of numpy become Python's.

        Raises
        ------
        OSError
            The file cannot be written, say as the disk is full; what was there before is still there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(self.path) as aside:
            try:
                torch.save(_plain(state), aside)
            except RuntimeError as error:
                # Which is all that torch says of a write that failed.
                raise OSError(
                    f"the checkpoint {self.path} cannot be written: is the disk full? Make room, and run it again."
                ) from error
            append_seal(aside, _WORDS)

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is no file.

        Raises
        ------
        ValueError
            The file is damaged, or cannot be read as a checkpoint.
        """
        if not self.path.exists():
            return None
        if words_of_seal(self.path.read_bytes()) != _WORDS:
            raise ValueError(
                f"the checkpoint {self.path} cannot be read: it is damaged, that is truncated, or changed since it was "
                "written. Delete it to start this run from the beginning."
            )
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"the checkpoint {self.path} cannot be read ({type(error).__name__}), although it is not damaged: "
                "another version of torch may have written it. Delete it to start this run from the beginning."
            ) from error


def checkpoint_of(estimator: Any, network: Any, *run: Any) -> CheckpointFile:
    """The file of an estimator's run in its ``checkpoint_dir``.

    Parameters
    ----------
    estimator, network : object
        Code of their classes that is the user's own may change between two runs, as this library's may between two
        versions: both tell runs apart.
    *run
        Settings, seed and data, as :func:`fingerprint` takes them.
    """
    from .. import __version__

    made = {"seqregen": __version__, "code": [type(estimator), type(network)]}
    return CheckpointFile(estimator.checkpoint_dir, type(estimator).__name__, fingerprint(made, *run))


def _plain(state: Any) -> Any:
    """A state without scalars of numpy, say a learning rate out of a grid, which no safe reading gives back."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(_plain, state))
    return state.item() if isinstance(state, np.generic) else state
