"""How time and memory grow with interactions and with items, on generated data.

``python -m benchmarks growth`` measures one size after the other, each in a process of its own, and writes one file a
size; finished sizes are skipped, but for what ``--mining-again`` measures anew. Seconds are those of the processor, on
one thread, so that other processes do not count. ``python -m benchmarks report`` has the table.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from .arguments import positive_number
from .machine import RESULTS, describe_machine, threads
from .memory import forget_peak, peak_mebibytes, resident_mebibytes
from .result_files import finished_files, read_json

__all__ = ["ITEM_SIZES", "SIZES", "STAGES", "Size", "added_mebibytes", "growth_table", "main", "measured_sizes"]

STORE = RESULTS / "growth"
MEAN_LENGTH = 8
STAGES = ("mine and pair", "regenerator epoch", "decode", "training epoch", "rank")


@dataclass(frozen=True, order=True)
class Size:
    """A generated data set.

    Attributes
    ----------
    n_items, n_interactions : int
    """

    n_items: int
    n_interactions: int

    @property
    def path(self) -> Path:
        return STORE / f"{self.n_interactions}-interactions-{self.n_items}-items.json"


# Interactions grow over ten thousand items, and items under a hundred thousand interactions.
SIZES = tuple(Size(10_000, 10**power) for power in (4, 5, 6, 7))
ITEM_SIZES = tuple(Size(10**power, 10**5) for power in (3, 4, 5, 6))


def measure(size: Size, limit: float, n_stages: int = len(STAGES)) -> dict[str, Any]:
    """Seconds and peak memory of each stage; one that is expected to take longer than ``limit`` seconds is left out."""
    with threads(1):
        stages = dict(islice(_stages(size, limit), n_stages))
    return {
        "n_items": size.n_items,
        "n_interactions": size.n_interactions,
        "limit_seconds": limit,
        "stages": stages,
        "machine": describe_machine(),
    }


def _stages(size: Size, limit: float) -> Iterator[tuple[str, dict[str, Any]]]:
    import seqregen as sr

    sequences = sr.datasets.make_sequences(
        n_sequences=size.n_interactions // MEAN_LENGTH, n_items=size.n_items, mean_length=MEAN_LENGTH, random_state=0
    )
    X, y = sr.model_selection.leave_one_out(sequences, validation=True)
    del sequences
    miner = sr.PatternMiner(window=5, min_support=2, random_state=0)
    mined, record = _measured(lambda: miner.fit_transform(X))
    counts = {"pairs": len(mined.pairs), "patterns": len(miner.patterns_), "matches": int(miner.support_.sum())}
    yield STAGES[0], record | counts

    regenerator = sr.DatasetRegenerator(max_epochs=1, item_embeddings=None, device="cpu", random_state=0)
    if _expected(STAGES[1], size) < limit:
        _, record = _measured(lambda: regenerator.fit(mined))
        yield STAGES[1], record
        if _expected(STAGES[2], size) < limit:
            rows, record = _measured(lambda: regenerator.transform(mined))
            yield STAGES[2], record | {"rows": len(rows)}
            del rows
    model = sr.targets.SASRec(max_epochs=1, device="cpu", random_state=0)
    if _expected(STAGES[3], size) < limit:
        _, record = _measured(lambda: model.fit(X))
        yield STAGES[3], record
        _, record = _measured(lambda: model.rank(X, y))
        yield STAGES[4], record


def _measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    before = resident_mebibytes()
    forget_peak()
    started = time.process_time()
    made = work()
    seconds = time.process_time() - started
    return made, {"seconds": seconds, "mebibytes": peak_mebibytes(), "mebibytes_before": before}


def _expected(stage: str, size: Size) -> float:
    """Seconds by the next smaller size that was measured, in proportion to interactions; 0 where none was."""
    smaller = [
        (Size(known["n_items"], known["n_interactions"]), known["stages"].get(stage))
        for known in measured_sizes()
        if known["n_interactions"] < size.n_interactions and known["n_items"] == size.n_items
    ]
    if not smaller:
        return 0.0
    nearest, record = max(smaller, key=lambda pair: pair[0].n_interactions)
    if record is None:
        return math.inf
    return record["seconds"] * size.n_interactions / nearest.n_interactions


def measured_sizes() -> list[dict[str, Any]]:
    """The records in the store, smallest first."""
    records = [read_json(path) for path in finished_files(STORE, "*.json")]
    return sorted(records, key=lambda record: (record["n_items"], record["n_interactions"]))


def growth_table() -> str:
    """Seconds and added memory by size, and the exponent of either over each series of sizes."""
    known = {Size(record["n_items"], record["n_interactions"]): record["stages"] for record in measured_sizes()}
    lines = [f"| interactions | items | matches | pairs | {' | '.join(STAGES)} |", "|" + " --- |" * (len(STAGES) + 4)]
    for size in sorted(set(SIZES + ITEM_SIZES), key=lambda size: (size.n_interactions, size.n_items)):
        if size in known:
            cells = (_cell(known[size].get(stage)) for stage in STAGES)
            mining = known[size][STAGES[0]]
            counts = (f"{mining[what]:,}" if what in mining else "" for what in ("matches", "pairs"))
            lines.append(f"| {size.n_interactions:,} | {size.n_items:,} | {' | '.join((*counts, *cells))} |")
    for name, series, what in (("interactions", SIZES, "n_interactions"), ("items", ITEM_SIZES, "n_items")):
        measured = [size for size in series if size in known]
        found = (_exponents([(getattr(size, what), known[size].get(stage)) for size in measured]) for stage in STAGES)
        lines.append(f"| exponent in {name} | | | | {' | '.join(found)} |")
    return "\n".join(lines)


def _cell(record: dict[str, float] | None) -> str:
    return "" if record is None else f"{record['seconds']:.3g} s, {added_mebibytes(record):,.0f} MiB"


def added_mebibytes(record: dict[str, float]) -> float:
    """Peak memory of a stage beyond what was there before it."""
    return record["mebibytes"] - record["mebibytes_before"]


def _exponents(points: list[tuple[int, dict[str, float] | None]]) -> str:
    """Slopes of the logarithms of seconds and of added memory, by least squares over the three largest sizes.

    Smaller ones are all overhead.
    """
    measured = [(size, record) for size, record in points if record is not None][-3:]
    if len(measured) < 2:
        return ""
    sizes = np.log([size for size, _ in measured])
    slopes = (
        np.polyfit(sizes, np.log([value(record) for _, record in measured]), 1)[0]
        for value in (lambda record: record["seconds"], added_mebibytes)
    )
    return ", ".join(f"{slope:.2f}" for slope in slopes)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument(
        "--limit",
        type=positive_number,
        default=600,
        help="leave out stages that take more seconds (default %(default)s)",
    )
    parser.add_argument(
        "--largest", type=positive_number, default=1e7, help="most interactions, and most items (default %(default)s)"
    )
    parser.add_argument(
        "--mining-again", action="store_true", help="measure mining anew in the sizes that are finished"
    )
    options = parser.parse_args(arguments)
    STORE.mkdir(parents=True, exist_ok=True)
    for size in sorted(set(SIZES + ITEM_SIZES), key=lambda size: (size.n_interactions, size.n_items)):
        finished = size.path.exists()
        if (finished and not options.mining_again) or max(size.n_interactions, size.n_items) > options.largest:
            continue
        print(f"{size.n_interactions:,} interactions, {size.n_items:,} items", flush=True)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            record = pool.submit(measure, size, options.limit, 1 if finished else len(STAGES)).result()
        if finished:
            former = read_json(size.path)
            record = former | {"stages": former["stages"] | record["stages"]}
        _write(size.path, record)
        for stage, found in record["stages"].items():
            print(f"  {stage:<20}{found['seconds']:>10.2f} s{found['mebibytes']:>10.0f} MiB", flush=True)
    print(growth_table())
    return 0


def _write(path: Path, record: dict[str, Any]) -> None:
    from seqregen.files import write_aside

    with write_aside(path) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
