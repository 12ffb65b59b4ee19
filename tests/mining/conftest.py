"""The real datasets, read once."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from seqregen import SequenceDataset

ROOT = Path(__file__).resolve().parents[2]


@cache
def read_training_part(name: str) -> SequenceDataset:
    path = Path(os.environ.get("SEQREGEN_DATA", ROOT.parent / "shared" / "data")) / f"{name}.txt"
    if not path.exists():
        pytest.skip(f"{path.name} is not there; set SEQREGEN_DATA to its directory")
    rows = [[int(item) for item in line.split()[1:]] for line in path.read_text().splitlines()]
    items = np.array([item for row in rows for item in row[:-2]])
    return SequenceDataset(
        items, np.cumsum([0, *(len(row) - 2 for row in rows)]), np.arange(1, max(map(max, rows)) + 1)
    )


@pytest.fixture(scope="session")
def training_part():
    """All but the last two items of each row, by name of the dataset."""
    return read_training_part
