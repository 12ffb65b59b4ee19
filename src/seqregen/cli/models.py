"""Model files: pickles whose last line tells by whom they were written, and whether they are whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import write_aside
from ..last_line_seal import append_seal, words_of_seal
from .console import CommandError, complain

__all__ = ["load_model", "save_model"]

# What a file is; behind it stands the version of seqregen.
_WORDS = b"seqregen model "
# Where they are looked for in a file that is not whole, from its end.
_LAST_LINE = 200
# The first and the last byte of what pickle and joblib write.
_PICKLE, _END_OF_PICKLE = b"\x80", b"."


def save_model(model: Any, path: str) -> None:
    """Write a fitted recommender for :func:`load_model`, and for ``joblib.load``."""
    import joblib

    with write_aside(path) as aside:
        joblib.dump(model, aside)
        append_seal(aside, _WORDS + __version__.encode())


def load_model(path: str) -> Any:
    """Read what :func:`save_model` wrote.

    Parameters
    ----------
    path : str
        The file. It is a pickle: reading one runs what its writer put into it.

    Returns
    -------
    object
        The fitted recommender.

    Raises
    ------
    CommandError
        The file is missing, damaged, no recommender, or of another version whose models are not those of this one.
    """
    if not os.path.isfile(path):
        raise CommandError(f"there is no model file {path!r}.")
    version = _version_of_sealed(path)
    model = _unpickle(path, version)
    if not (hasattr(model, "rank") and hasattr(model, "predict") and hasattr(model, "vocabulary_")):
        raise CommandError(f"{path!r} holds a {type(model).__name__}, not a fitted recommender of 'seqregen train'.")
    _check_parameters_are_there(model, path)
    if version is None:
        complain(
            f"the model file {path!r} has no checksum and names no version of seqregen, so whether it is damaged "
            "cannot be told; train it again to be sure.",
            "warning",
        )
    elif version != __version__:
        complain(
            f"the model file {path!r} was written by seqregen {version}, and this is seqregen {__version__}, which may "
            "rank otherwise; train the model again to be sure.",
            "warning",
        )
    return model


def _version_of_sealed(path: str) -> str | None:
    """The version that wrote a sealed file, which then is whole; None of a file without a seal."""
    content = Path(path).read_bytes()
    words = words_of_seal(content)
    if words is not None and words.startswith(_WORDS):
        return words.removeprefix(_WORDS).decode()
    was_sealed = _WORDS in content[-_LAST_LINE:] or (
        content.startswith(_PICKLE) and not content.endswith(_END_OF_PICKLE)
    )
    if was_sealed:
        raise CommandError(
            f"the model file {path!r} is damaged: truncated, or changed since it was written. Train the model again, "
            "or copy the file again from where it came from."
        )
    return None


def _unpickle(path: str, version: str | None) -> Any:
    import joblib

    try:
        return joblib.load(path)
    except MemoryError:
        raise
    # A pickle that is damaged, or of classes that are not here, may raise anything at all; the message passes it on.
    except Exception as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        raise CommandError(f"{path!r} cannot be read as a model ({found}): {_why(error, path, version)}.") from error


def _why(error: Exception, path: str, version: str | None) -> str:
    """Why a file cannot be read, as far as can be told."""
    if version is not None and version != __version__:
        return f"seqregen {version} wrote it, and this is {__version__}; train the model again, or install {version}"
    if version is not None:
        return "it is whole, so what is missing are packages, or the versions of them, that it was written with"
    with open(path, "rb") as file:
        if file.read(1) != _PICKLE:
            return "it is no model file; expected what 'seqregen train' wrote"
    if isinstance(error, (AttributeError, ImportError)):
        return "another version of seqregen wrote it, or what wrote it is not installed here; train the model again"
    return "it is truncated or damaged; expected what 'seqregen train' wrote"


def _check_parameters_are_there(model: Any, path: str) -> None:
    """Refuse a model whose class has got parameters since."""
    try:
        for part in (model, getattr(model, "recommender_", model)):
            getattr(part, "get_params", dict)()
    except AttributeError as error:
        raise CommandError(
            f"the model file {path!r} was written by another version of seqregen than this, {__version__} ({error}); "
            "train the model again."
        ) from error
