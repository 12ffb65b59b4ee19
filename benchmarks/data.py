"""Reading the benchmark's data with nothing but the standard library: the peers' environment reads it too."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["MAX_LENGTH", "MissingData", "data_file", "read_sequences", "training_part", "truncated"]

ROOT = Path(__file__).resolve().parents[1]
# Items a row in the published setting: the last 50 of the whole sequence, held-out items included.
MAX_LENGTH = 50


class MissingData(FileNotFoundError):
    """A data set that does not lie where it was looked for."""


def data_file(name: str = "amazon-beauty") -> Path:
    """Path of a data set in ``SEQREGEN_DATA`` (default ``../shared/data`` beside the sources).

    Raises
    ------
    MissingData
        The file is not there.
    """
    directory = Path(os.environ.get("SEQREGEN_DATA", ROOT.parent / "shared" / "data"))
    path = directory / f"{name}.txt"
    if not path.exists():
        raise MissingData(f"{path.name} is not in {directory}; set SEQREGEN_DATA to the directory where it lies.")
    return path


def read_sequences(path: str | os.PathLike) -> list[list[int]]:
    """Rows of a file of lines ``user item item ...``: item numbers in order of time."""
    with open(path, encoding="utf-8") as lines:
        return [[int(item) for item in line.split()[1:]] for line in lines]


def training_part(sequences: list[list[int]]) -> list[list[int]]:
    """All but the last two items of each row: one is for validation, one for the test."""
    return [row[:-2] for row in sequences]


def truncated(sequences: list[list[int]]) -> list[list[int]]:
    """The last 50 items of each whole sequence, as the published rows are cut before anything is held out."""
    return [row[-MAX_LENGTH:] for row in sequences]
