"""Checkpoints of a training run: written aside, sealed, read safely, tied to the run that wrote them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from ..callers import stacklevel_of_caller
from ..files import write_aside
from .fingerprint import fingerprint

__all__ = ["CheckpointFile", "check_checkpoint_dir", "checkpoint_of", "warn_of_unrepeatable_runs"]

# The last line of a file: these words, then the SHA-256 of all before it. torch reads over it.
_SEAL = b"\nseqregen checkpoint 1 "
_SEAL_LENGTH = len(_SEAL) + 64 + 1


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

    Its last line seals the rest with a SHA-256, so that a damaged file is refused and never gives another model.

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
        """Write a state of tensors, numbers, strings, lists and dicts; numbers of numpy become Python's."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(self.path) as aside, open(aside, "wb") as file:
            payload = _Digesting(file)
            torch.save(_plain(state), payload)  # type: ignore[arg-type]
            file.write(_seal(payload.digest))

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is no file.

        Raises
        ------
        ValueError
            The file is damaged, or cannot be read as a checkpoint.
        """
        if not self.path.exists():
            return None
        content = memoryview(self.path.read_bytes())
        payload, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
        if seal != _seal(hashlib.sha256(payload)):
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


class _Digesting:
    """A file that digests what is written to it; torch writes from the front to the back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


def _plain(state: Any) -> Any:
    """A state without scalars of numpy, say a learning rate out of a grid, which no safe reading gives back."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(_plain, state))
    return state.item() if isinstance(state, np.generic) else state


def _seal(digest: Any) -> bytes:
    return _SEAL + digest.hexdigest().encode() + b"\n"
