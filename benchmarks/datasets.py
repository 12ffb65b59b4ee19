"""What the data sets are before and after regeneration: the paper's Tables 1 and 2, and ours beside them.

``python -m benchmarks datasets`` counts the original rows, the mined ones, and, with ``--regenerate``, the regenerated
ones, one file a data set; what was counted before is not counted again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import seqregen as sr
from seqregen.files import write_aside

from .data import data_file, read_sequences
from .machine import RESULTS
from .published.tables import PAPER
from .result_files import read_json
from .row_maker import WINDOWS, RowMaker
from .runs import CACHE

__all__ = ["datasets_table", "main"]

STORE = RESULTS / "datasets"


def count(name: str, regenerate: bool) -> dict[str, Any]:
    """Statistics of a data set: whole rows as published, and what is trained on, with what was added."""
    whole = sr.SequenceDataset.from_sequences(read_sequences(data_file(name)))
    maker = RowMaker(name, 0, CACHE)
    found: dict[str, Any] = {"whole": asdict(whole.describe()), "mined": _facts(maker.mined)}
    found["patterns"] = found["mined"]["mined"]["rows"]
    if regenerate:
        found["regenerated"] = _facts(maker.regenerated())
        found["regenerator"] = maker.notes["regenerator"]
    return found


def _facts(rows: sr.SequenceDataset) -> dict[str, Any]:
    """Rows, interactions and mean length, in all and by origin."""
    parts = {"all": rows} | {origin.name.lower(): rows[rows.origin == origin] for origin in sr.Origin}
    return {
        name: {
            "rows": len(part),
            "interactions": part.n_interactions,
            "mean_length": part.n_interactions / len(part) if len(part) else None,
        }
        for name, part in parts.items()
    }


def datasets_table() -> str:
    """The data sets of the store, beside Tables 1 and 2."""
    lines = [
        "| data set | users | items | interactions | mean length | paper | mined rows | mean length | "
        "regenerated rows | mean length | all rows | interactions | mean length | paper |",
        "|" + " --- |" * 14,
    ]
    for name in WINDOWS:
        path = STORE / f"{name}.json"
        if not path.exists():
            continue
        found = read_json(path)
        whole, rows = found["whole"], found.get("regenerated") or found["mined"]
        cells = [name, f"{whole['users']:,}", f"{whole['items']:,}", f"{whole['interactions']:,}",
                 f"{whole['mean_length']:.1f}", _published("table1", name)]  # fmt: skip
        for part in ("mined", "regenerated"):
            cells += [f"{rows[part]['rows']:,}", _length(rows[part])] if rows[part]["rows"] else ["", ""]
        if "regenerated" in found:
            # The paper's numbers are met with the items that are held out of the original rows.
            n_rows = rows["all"]["rows"]
            n_interactions = rows["all"]["interactions"] - rows["original"]["interactions"] + whole["interactions"]
            cells += [f"{n_rows:,}", f"{n_interactions:,}", f"{n_interactions / n_rows:.1f}"]
        else:
            cells += ["", "", ""]
        cells.append(_published("table2", name))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _published(table: str, name: str) -> str:
    numbers = PAPER[table][name]
    return f"{numbers['interactions'] / 1e6:.2f} million, {numbers['mean_length']:.1f}"


def _length(facts: dict[str, Any]) -> str:
    return f"{facts['mean_length']:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks datasets", description=__doc__)
    parser.add_argument("--datasets", nargs="+", choices=WINDOWS, default=list(WINDOWS))
    parser.add_argument("--regenerate", action="store_true", help="train a regenerator, too: some ten minutes each")
    options = parser.parse_args(arguments)
    STORE.mkdir(parents=True, exist_ok=True)
    for name in options.datasets:
        path = STORE / f"{name}.json"
        if path.exists() and (not options.regenerate or "regenerated" in read_json(path)):
            continue
        print(name, flush=True)
        _write(path, count(name, options.regenerate))
    print(datasets_table())
    return 0


def _write(path: Path, found: dict[str, Any]) -> None:
    with write_aside(path) as aside:
        aside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
