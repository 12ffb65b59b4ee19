"""Reading result files; one that is broken is named, with what to do about it."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from seqregen.metrics import UNREACHABLE, ndcg_at_k

__all__ = ["BrokenResult", "finished_files", "read_json", "read_ranks", "read_run"]

# What all that read a run rely on.
_FACTS: dict[str, type] = {
    "dataset": str, "recipe": str, "variant": str, "seed": int, "settings": dict, "history": list, "rows": dict,
    "test": dict, "groups": dict,
}  # fmt: skip


class BrokenResult(ValueError):
    """A result file that cannot be used as it is."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"{path} {fault}. Copy it again from where it was made (of a run both files, .json and .npz), or delete it "
            "and measure again."
        )


def finished_files(directory: Path, pattern: str) -> list[Path]:
    """The files of a directory that are whole: those that are being written begin with a dot."""
    return sorted(path for path in directory.glob(pattern) if not path.name.startswith("."))


def read_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises
    ------
    BrokenResult
        It is no JSON, as when it was copied in part.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenResult(path, f"is broken: {error}") from error


def read_run(path: Path) -> dict[str, Any]:
    """The record of a finished run.

    Raises
    ------
    BrokenResult
        It is no JSON, or no record of a run, or that of another run than its name says.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise BrokenResult(path, f"is no record of a run but a {type(record).__name__}")
    for name, kind in _FACTS.items():
        if name not in record:
            raise BrokenResult(path, f"is no whole record of a run: it has no {name!r}")
        if not isinstance(record[name], kind):
            raise BrokenResult(path, f"is no whole record of a run: its {name!r} is no {kind.__name__}")
    # A copy under another name would be counted beside the run that it is of.
    called = "_".join(str(record[name]) for name in ("dataset", "recipe", "variant", "seed"))
    if called != path.stem:
        raise BrokenResult(path, f"holds another run than its name says, {called}")
    return record


def read_ranks(path: Path, record: dict[str, Any]) -> np.ndarray:
    """The ranks of a run, int64 (n_users,).

    Raises
    ------
    BrokenResult
        The file is missing or broken, or its ranks are not those that the record was made of: the two files travel
        apart.
    """
    try:
        # numpy leaves a file open that it opened and cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            ranks = found["ranks"].astype(np.int64)
    except FileNotFoundError as error:
        raise BrokenResult(path, "is missing") from error
    # What numpy raises for an archive that is empty, cut off, damaged or another one.
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise BrokenResult(path, f"is broken: {error}") from error
    n_users = sum(group["users"] for group in record["groups"]["history_length"].values())
    if ranks.shape != (n_users,):
        raise BrokenResult(path, f"has ranks of shape {ranks.shape}, where the run's .json has {n_users:,} users")
    ranks = np.where(ranks == 0, UNREACHABLE, ranks)
    found, told = ndcg_at_k(ranks, 20), record["test"]["ndcg@20"]
    if not np.isclose(found, told, rtol=1e-6):
        raise BrokenResult(path, f"is of another run than the .json: its ndcg@20 is {found:.6f}, there {told:.6f}")
    return ranks
